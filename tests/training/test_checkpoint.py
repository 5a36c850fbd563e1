"""A disk that is full, for real: writes stop at a size. One line says which file, and what to
do.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest
import torch

from tests.training.training_runs import left, run

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="forks, and sets a limit on files"
)

TINY = {
    "model": "table",
    "task": "toy_envs/Brackets-v0",
    "precision": "float64",
    "steps": 4,
    "prompts_per_step": 2,
    "group_size": 4,
    "learning_rate": 0.1,
}


def said_with_files_of_at_most(size, act):
    """What `act` raises in a process of its own whose files may have so many bytes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        import resource

        said = "nothing"
        try:
            torch.set_num_threads(1)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            act()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


@pytest.mark.parametrize(
    ("size", "changes", "words"),
    [
        (3_000, {"save_every": 1000}, ["metrics.jsonl could not be written (File too large)"]),
        (1_200, {"save_every": 1, "completions_every": 1000}, ["could not be written"]),
        (
            9_000,
            {"save_every": 1, "group_size": 64},
            ["the checkpoint of step", "is the disk full?", "last good"],
        ),
    ],
    ids=["log", "first row", "checkpoint"],
)
def test_it_is_one_line_that_names_the_file_and_the_run_goes_on_afterwards(
    size, changes, words, tmp_path
):
    settings = TINY | changes
    said = said_with_files_of_at_most(size, lambda: run(tmp_path / "full", **settings))
    assert said.startswith("ValueError: "), said
    assert "\n" not in said
    assert "inline_container" not in said
    assert all(
        word in said
        for word in [*words, str(tmp_path / "full"), "make room and run again with --resume"]
    ), said
    run(tmp_path / "full", resume=True, **settings)
    run(tmp_path / "whole", **settings)
    assert left(tmp_path / "full") == left(tmp_path / "whole")


def test_a_stop_says_why_also_where_its_answers_cannot_be_saved(tmp_path):
    settings = TINY | {
        "objective_options": {"alpha": 1e-4},
        "steps": 30,
        "group_size": 64,
        "save_every": 1000,
    }
    said = said_with_files_of_at_most(
        4_000, lambda: run(tmp_path, **settings, completions_every=1000)
    )
    assert said.startswith("RunStoppedError: stopped at step"), said
    assert "\n" not in said
    assert "its answers could not be written to" in said
    assert not list(tmp_path.glob("stopped-at-step-*.pt"))
