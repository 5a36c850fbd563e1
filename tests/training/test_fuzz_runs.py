"""Bits that flip in what a run has left, and kills at any moment: nothing wrong is resumed, and
what is resumed ends in the same weights, metrics and texts, bit for bit.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from gnivo_edu.training import checkpoint
from gnivo_edu.training.manifest import read_checkpoint
from tests.training.training_runs import TINY, left, run

SETTINGS = TINY | {
    "steps": 3,
    "inner_steps": 2,
    "save_every": 1,
    "keep": 2,
    "group_size": 2,
    "completions_every": 1,
}
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks and kills")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, and its newest checkpoint but one: between two updates."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(out, **SETTINGS)
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["000002-001", "000003-000"]
    return out


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def accepted(folder: Path, name: str, bits) -> list[int]:
    """The bits of a file of a checkpoint that may flip unseen."""
    good = (folder / name).read_bytes()
    unseen = []
    for bit in bits:
        flipped(folder / name, bit)
        try:
            read_checkpoint(folder)
            unseen.append(bit)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # as RunFolder.load has it
            pass
        (folder / name).write_bytes(good)
    read_checkpoint(folder)
    return unseen


@pytest.mark.slow
def test_no_bit_of_a_manifest_may_flip(whole):
    folder = whole / "checkpoints" / "000002-001"
    size = 8 * (folder / checkpoint.STATE).stat().st_size
    assert accepted(folder, checkpoint.STATE, range(size)) == []


@pytest.mark.slow
def test_no_bit_of_the_tensors_may_flip(whole):
    rng = random.Random(0)
    for folder in (whole / "checkpoints").iterdir():
        size = 8 * (folder / checkpoint.TENSORS).stat().st_size
        assert accepted(folder, checkpoint.TENSORS, rng.sample(range(size), 1000)) == []


def resumes_as_it_should(hurt: Path, whole: Path) -> bool:
    """Whether a run with one bit flipped ends as the whole one, or is refused in one line."""
    try:
        run(hurt, resume=True, **SETTINGS)
    except ValueError as error:
        return "\n" not in str(error)
    return left(hurt) == left(whole)


@pytest.mark.parametrize(
    "count", [pytest.param(6, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.nightly)]
)
def test_a_bit_anywhere_in_a_run_s_folder_changes_nothing_or_is_told(count, whole, tmp_path):
    rng = random.Random(count)
    files = sorted(
        path.relative_to(whole)
        for path in whole.rglob("*")
        if path.stat().st_size and path.is_file() and "model" not in path.parts
    )
    for number in range(count):
        hurt, name = tmp_path / str(number), rng.choice(files)
        shutil.copytree(whole, hurt)
        bit = rng.randrange(8 * (hurt / name).stat().st_size)
        flipped(hurt / name, bit)
        assert resumes_as_it_should(hurt, whole), (name, bit)
        shutil.rmtree(hurt)


@LINUX
@pytest.mark.parametrize(
    "count", [pytest.param(3, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.nightly)]
)
def test_a_run_that_is_killed_at_any_moment_ends_in_the_same_bits(count, tmp_path):
    """SIGKILL in a process of its own, while it starts, learns, logs, saves or cleans up."""
    settings = SETTINGS | {"steps": 12, "objective": "gvpo"}
    run(tmp_path / "warm", **settings)  # the first one is slower than those that will be killed
    began = time.monotonic()
    run(tmp_path / "whole", **settings)
    seconds = time.monotonic() - began
    rng, kills, out = random.Random(count), 0, tmp_path / "killed"
    while kills < count:
        child = os.fork()
        if child == 0:
            try:
                torch.set_num_threads(1)
                run(out, resume=(out / "config.yaml").exists(), **settings)
            finally:
                os._exit(0)
        time.sleep(rng.random() * seconds)
        os.kill(child, signal.SIGKILL)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            kills += 1
        else:  # it was done: its bits count, and another one starts
            assert left(out) == left(tmp_path / "whole")
            shutil.rmtree(out)
    run(out, resume=(out / "config.yaml").exists(), **settings)
    assert left(out) == left(tmp_path / "whole")
