"""The state of a run: of this model, and of one checkpoint on every process."""

from __future__ import annotations

from typing import Any

import pytest

from gnivo_edu.training.checkpoint import RunFolder
from gnivo_edu.training.processes import Processes
from gnivo_edu.training.state import RunState
from tests.training.training_runs import Stop, tiny


def test_a_checkpoint_of_another_model_is_one_line(tmp_path):
    tiny(tmp_path / "one")
    tiny(tmp_path / "two", task="toy_envs/RandomTree-v0")
    for path in (tmp_path / "one" / "checkpoints").iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    foreign = max((tmp_path / "two" / "checkpoints").iterdir())
    foreign.rename(tmp_path / "one" / "checkpoints" / foreign.name)
    with pytest.raises(ValueError, match=r"changed: task, which was 'toy_envs/RandomTree-v0'"):
        tiny(tmp_path / "one", resume=True)


def test_a_resume_says_where_it_goes_on_and_that_there_is_nowhere_to_go_on_from(tmp_path):
    said: list[str] = []
    for name, saved in (("early", 100), ("late", 3)):
        settings = {"objective": "gvpo", "inner_steps": 2, "save_every": saved}
        with pytest.raises(Stop):
            tiny(tmp_path / name, stop_at=2, **settings)
        tiny(tmp_path / name, resume=True, progress=said.append, **settings)
    assert said == [
        "there is no checkpoint yet: starting from the beginning",
        "resuming at step 1, update 1",
    ]


class Apart(Processes):
    """As if another process had found its checkpoint one step later."""

    def __init__(self) -> None:
        self.rank, self.world = 0, 1

    def gather(self, make: Any) -> list[Any]:
        made = make()
        return [made, (made[0] + 1, made[1])] if isinstance(made, tuple) else [made]


def test_processes_that_read_different_checkpoints_are_told_to_share_the_folder(tmp_path):
    nothing: Any = None  # there is no checkpoint that anything would be put into
    with pytest.raises(ValueError, match=r"do not read the same checkpoint in .*: share that") as e:
        RunState(nothing, nothing).restore(RunFolder(tmp_path), Apart(), progress=str)
    assert "\n" not in str(e.value)
