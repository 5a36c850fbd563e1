"""What `gnivo-edu new` writes works: its own tests pass, and the commands that it prints run."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gnivo_edu import cli
from gnivo_edu.new import KINDS, write_new

ROOT = Path(__file__).resolve().parents[1]


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command that was printed, run where the files are, with this Python."""
    command = shlex.split(line)
    start = [sys.executable] if command[0] == "python" else [sys.executable, "-m", "gnivo_edu.cli"]
    place = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [*start, *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": place},
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "task"])
def test_what_is_written_passes_its_tests_and_what_is_printed_runs(
    kind: str, tmp_path: Path
) -> None:
    for line in write_new(kind, "FirstTry", tmp_path).then:
        done = run(line, tmp_path)
        assert done.returncode == 0, (line, done.stdout, done.stderr)


@pytest.mark.slow
def test_a_task_trains_the_model_that_it_is_given(tmp_path: Path, shared_model: str) -> None:
    test, train = write_new("task", "first_try", tmp_path, model=shared_model).then
    assert run(test, tmp_path).returncode == 0
    done = run(f"{train} --json", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "first_try" / "model").is_dir()


@pytest.mark.slow
def test_an_environment_is_taken_wherever_one_is_named(tmp_path: Path) -> None:
    write_new("environment", "Stairs", tmp_path)
    for line in (
        "gnivo-edu pretrain --task stairs:Stairs-v0 --steps 2 --size tiny --out base",
        "gnivo-edu evaluate --model base --task stairs:Stairs-v0 --samples 3 --json",
        "gnivo-edu explore --model base --task stairs:Stairs-v0 --group-size 2 --json",
        "gnivo-edu train --set model=base --set task=stairs:Stairs-v0 --set steps=1 --set out=run",
    ):
        done = run(line, tmp_path)
        assert done.returncode == 0, (line, done.stderr)


@pytest.mark.slow
def test_the_written_tests_of_a_loss_fail_where_its_price_has_the_wrong_sign(
    tmp_path: Path,
) -> None:
    written = write_new("objective", "first_try", tmp_path)
    source = written.files[0].read_text(encoding="utf-8")
    turned = source.replace("batch.rewards - price", "batch.rewards + price")
    assert turned != source
    written.files[0].write_text(turned, encoding="utf-8")
    assert run(f"{written.then[0]} -k rests", tmp_path).returncode == 1


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^test_mine\.py exists already"):
        write_new("objective", "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
    assert (tmp_path / "test_mine.py").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("obective", "mine", "did you mean 'objective'"),
        ("objective", "my loss", "is no name for a module"),
        ("objective", "../mine", "is no name for a module"),
        ("objective", "größe", "is no name for a module"),
        ("objective", "__main__", "is no name for a module"),
        ("objective", "", "is no name for a module"),
        ("environment", "Class", "is a word of Python"),
        ("task", "random", "a module 'random' already"),
        ("objective", "torch", "a module 'torch' already"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    kind: str, name: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        write_new(kind, name, tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_without_pytest_its_installation_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pytest" else find(name)
    )
    written = write_new("objective", "mine", tmp_path)
    assert written.then[:2] == (
        "python -m pip install pytest",
        "python -m pytest test_mine.py",
    )


def test_a_model_is_of_a_task(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a model is of a task"):
        write_new("objective", "mine", tmp_path, model="a/b")
    write_new("task", "mine", tmp_path, model='C:\\a "b" $name')
    import yaml

    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["model"] == 'C:\\a "b" $name'


def test_the_command_writes_here_and_says_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gnivo-edu", "new", "environment", "Stairs"])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert capsys.readouterr().out.splitlines() == [
        "wrote stairs.py, test_stairs.py",
        "Next: python -m pytest test_stairs.py",
        "Next: gnivo-edu verify --env stairs:Stairs-v0",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stairs.py", "test_stairs.py"]
    monkeypatch.setattr(sys, "argv", ["gnivo-edu", "new", "objective", "mine", "--json"])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    report = json.loads(capsys.readouterr().out)
    assert report["written"] == ["mine.py", "test_mine.py"]
    assert report["next"][1] == "gnivo-edu judge mine:mine"
