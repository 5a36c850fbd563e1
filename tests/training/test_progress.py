"""A run with a bar: what is said when it stops, and which process says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gnivo_edu.training import load_config, progress
from gnivo_edu.training.progress import train_with_progress
from tests.training.training_runs import TINY

CONFIG = load_config(**TINY)


def test_the_first_process_hands_back_the_run(tmp_path: Path) -> None:
    said: list[str] = []
    config = load_config(**TINY | {"steps": 1}, out=str(tmp_path))
    run = train_with_progress(config, False, progress=said.append)
    assert run.metrics["step"] == 0
    assert said == []
    train_with_progress(config, True, progress=said.append)
    assert said == ["resuming at step 1"]


def test_an_interrupted_run_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, on_step: Any, **named: Any) -> None:
        for step in range(2):
            on_step({"step": step, "reward": 0.5, "step_tokens": 10, "step_time": 0.1})
        raise KeyboardInterrupt

    said: list[str] = []
    monkeypatch.setattr(progress, "fine_tune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_with_progress(CONFIG, False, progress=said.append)
    assert said == [
        "interrupted after 2 steps of this run: --resume goes on from its last checkpoint"
    ]


@pytest.mark.parametrize(
    ("rank", "told", "ends"),
    [("0", True, ValueError), ("1", True, SystemExit), ("1", False, ValueError)],
)
def test_an_error_is_raised_by_one_process(
    rank: str, told: bool, ends: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every process knows of it, by the first; else by the one that met it."""

    def stops(*arguments: Any, **named: Any) -> None:
        error = ValueError("stopped")
        error.told = told  # type: ignore[attr-defined]
        raise error

    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(progress, "fine_tune", stops)
    with pytest.raises(ends) as stopped:
        train_with_progress(CONFIG, False, progress=print)
    assert str(stopped.value) == ("2" if ends is SystemExit else "stopped")


def test_the_others_end_with_success_where_the_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(progress, "fine_tune", lambda *arguments, **named: None)
    with pytest.raises(SystemExit) as ended:
        train_with_progress(CONFIG, False, progress=print)
    assert ended.value.code == 0


def test_without_a_terminal_there_is_a_line_a_step(tmp_path: Path, capsys: Any) -> None:
    config = load_config(**TINY | {"steps": 2}, out=str(tmp_path))
    train_with_progress(config, False, progress=print)
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert [line.split(" reward ")[0] for line in lines] == ["step 1/2", "step 2/2"]


def test_a_rank_without_a_launch_is_said_and_the_run_is_one_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "5")
    said: list[str] = []
    config = load_config(**TINY | {"steps": 1}, out=str(tmp_path))
    run = train_with_progress(config, False, progress=said.append)
    assert run.metrics["step"] == 0
    assert said == ["RANK=5 is set, but no launcher started this: running as a single process"]
