"""Output that cannot be written ends no command; what a terminal would obey is not obeyed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gnivo_edu import cli
from gnivo_edu.commands import tables
from tests.conftest import ROOT

FEW = ("verify", "--env", "PosterProblem", "--alpha", "0.5", "--group-size", "2")


def run(*arguments: str, cwd: Path = ROOT, **more: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.run(
        [sys.executable, "-m", "gnivo_edu.cli", *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        **more,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_letters_that_a_terminal_does_not_have_are_written_out(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(report: object) -> None:
        tables.print_rows("李雷 \x1b[31m\u202e", [{"who": "Łukasz, [red]Nowak[/red] :smile:"}])

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(tables, "print_verification", show)
    monkeypatch.setattr(sys, "argv", ["gnivo-edu", *FEW])
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    text = written.getvalue().decode(encoding)
    assert "\\x1b[31m\\u202e" in text
    assert "\x1b" not in text
    assert "[red]Nowak[/red] :smile:" in text
    assert ("Łukasz" if encoding == "utf-8" else "\\u0141ukasz") in text


class Gone(io.TextIOWrapper):
    """A stream whose reader has gone, as of `| head -1`."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("holds", [True, False])
def test_a_reader_that_has_gone_does_not_change_the_exit_status(
    holds: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "gnivo_edu.verify.verify_environments", lambda *_, **named: {"passed": holds}
    )
    monkeypatch.setattr(sys, "argv", ["gnivo-edu", *FEW, "--json"])
    with (tmp_path / "pipe").open("wb") as file, Gone(file) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert sys.stdout is stream
    assert ended.value.code == (0 if holds else 1)


@pytest.mark.slow
def test_a_closed_pipe_and_no_stream_at_all() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(*FEW, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    code = f"import sys; sys.stdout = sys.stderr = None; sys.argv[1:] = {list(FEW)!r}\n"
    code += "from gnivo_edu import cli; cli.main()"
    alone = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert alone.returncode == 0


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    """Call a command whose request is wrong, in an empty folder: the one line that it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["gnivo-edu", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, said = capsys.readouterr()
        assert (ended.value.code, out, said.count("\n")) == (2, "", 1), said
        assert said.removesuffix("\n").isprintable()
        return said

    return call


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("pretrain --out=", "the path is empty"),
        ("evaluate --model table --task Brackets --out=", "the path is empty"),
        ("evaluate --table=", "the path is empty"),
        ("train --config=", "the path is empty"),
        ("train --set out=", "out must be text, got None"),
        ("train --set \"out=' '\"", "out is empty"),
        ("train --config ~nobody-at-all/c.yaml", "no home folder for '~nobody-at-all/c.yaml'"),
        ("check \x1b[31m", "there is no \\x1b[31m"),
        ("train --set objective_options.alpha=true", "alpha must be a number, got True"),
        ("train --set objective_options.alpah=1", "did you mean 'alpha'"),
        ("train --set objective=grop", "did you mean 'grpo'"),
        ("train --set objective_options.reward_max=1e30", "reward_max must be at most 1,000,000"),
        ("train --set learning_rate=1e38", "learning_rate must be at most 1e+30"),
        ("train --set prompts_per_step=1000000000", "answers a step: take at most"),
        ("train --set seed=1 --set seed=2", "--set has seed twice"),
        ("judge gvpo --set alpha=1", "give --alpha instead"),
        (
            "judge gnivo --set weights=row",
            "weights must be one of raw, softmax, completion, completion_softmax, got 'row'",
        ),
        ("judge gnivo --set depths=[1]", "depths cannot be written"),
        ("verify --model x --prompt-index 0", "--prompt-index is of environments"),
        ("verify --env Brackets --group-size 2.5", "--group-size"),
        ("evaluate --compare a b --samples 3 --out c", "leave out --samples, --out"),
        ("evaluate --model no/such --task stories --set chat=maybe", "chat must be true or false"),
        (
            "evaluate --model no/such --task stories --set horizon=x",
            "horizon must be a whole number",
        ),
        ("evaluate --model no/such --task gsm8k --set check_rows=2", "check_rows must be true or"),
        ("evaluate --model no/such --task gsm8k --set tokenizer=2", "has no option 'tokenizer'"),
        ("evaluate --model table --task Brackets --set horizon=true", "horizon must be a whole"),
        ("evaluate --model table --task Brackets --samples 100000000000", "samples"),
        ("evaluate --model no/such --task gsm8k --samples 1000000", "--samples"),
        ("evaluate --model no/such --task gsm8k --out /", "all of the file system"),
        ("explore --model no/such --out /", "all of the file system"),
        ("pretrain --out //", "all of the file system"),
        ("demo --out /..", "all of the file system"),
        ("explore --model no/such --alpha 1e-320", "alpha must be at least 1e-300"),
        ("explore --model no/such --task stories --set horizon=2 --horizon 3", "given twice"),
        ("explore --model no/such --group-size 1000000", "above the limit of 1,000,000"),
        (
            "explore --model no/such --top-k 9 --tree-horizon 100000",
            "smaller vocabulary or horizon",
        ),
        ("pretrain --task ArithmeticChain --set operations=x", "operations must be a whole number"),
    ],
)
def test_a_request_that_is_wrong_is_one_line_before_anything_is_loaded(
    arguments: str, words: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    import shlex

    assert words in refused(*shlex.split(arguments))
    assert not list(tmp_path.iterdir())


def test_home_is_home_in_every_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    (home / "c.yaml").write_text("model: table\ntask: Brackets\nsteps: 1\nreport_questions: 0\n")

    def done(*arguments: str) -> dict[str, object]:
        monkeypatch.setattr(sys, "argv", ["gnivo-edu", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, said = capsys.readouterr()
        assert ended.value.code == 0, said
        content: dict[str, object] = json.loads(out)
        return content

    done("train", "--config", "~/c.yaml", "--set", "out=~/run")
    few = ("--task", "Brackets", "--samples", "1", "--k", "1")
    for name in ("one", "two"):
        done("evaluate", "--model", "table", *few, "--out", f"~/{name}")
    done("evaluate", "--compare", "~/one", "~/two")
    done("evaluate", "--table", "~/one")
    assert {path.name for path in home.iterdir()} == {"c.yaml", "run", "one", "two"}
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
