"""Command lines drawn at random over all commands, with broken files, records and settings: each
ends, in one of four exit states, and never in a traceback.

GNIVO_FUZZ_SECONDS says how long the test of the night takes, and GNIVO_FUZZ_SEED where it begins.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gnivo_edu import cli
from tests.conftest import ROOT

SHORT, LONG = 8.0, float(os.environ.get("GNIVO_FUZZ_SECONDS", "300"))
SEED = int(os.environ.get("GNIVO_FUZZ_SEED", "0"))
SLOWEST = 60.0  # seconds of processor time for one command, whatever else the machine does
HANGS = 900.0  # seconds after which a command that only waits is given up

# Numbers and words that somebody may give for any other.
ODD = (
    *("", " ", "0", "-1", "1", "2", "2.0", "2.5", "1e-3", "1e38", "1e400", "nan", "inf", "-inf"),
    *("true", "False", "no", "null", "~", "x", "horizn", "0x10", "1_0", "1:30", "010", "9" * 25),
    *("[1, 2]", "[a]", "[[1]]", "{a: 1}", "{a", "[", "'", '"', "a=b", "a b", "###", "*", "&a"),
    *(
        "\n",
        "\x1b[31m",
        "\u202e",
        "李雷",
        "\udce9",
        "\\",
        "-",
        "--",
        "/",
        "..",
        "[/red]",
        ":smile:",
    ),
    *(
        "/dev/null",
        "/no/such",
        "~nobody-at-all/x",
        "!!python/name:os.system",
        "100000",
        "1000000000",
    ),
)
# Contents of a file that somebody may give for another.
CONTENTS = (
    *(
        b"",
        b"\n",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"3",
        b'"a"',
        b'["a"]',
        b"\xff\xfe\x00",
        b"\x00" * 9,
    ),
    *(b'{"prompt": "Once", "question": "?", "answer": "#### 1"}\n' * 2, b'{"prompt": 3}\n'),
    *(b'{"prompt": ["a"]}\n', b'{"prompt": null}\n', b'{"prompt": "\\ud800"}', b'{"a": 1, "a": 2}'),
    *(b"[" * 5000, b"a: " + b"[" * 5000, b"a: &a [*a]", b"a: 1\na: 2", b"seed: 1", b"- a", b"?"),
    *("seed: 1".encode("utf-16"), "out: Käse".encode("latin-1"), b"\xef\xbb\xbfseed: 1\n", b"\t"),
    *(b"objective: gnivo\nobjective_options: {alpha: true}\n", b"task_options: 3\n", b"1: 2\n"),
    *(b"steps: " + b"9" * 5000, b"model: [x]\n", b"task: {}\n", b"out: 2026-01-02\n", b"a,b\n1\n"),
    b'{"cells": [{"cell_type": "code", "source": ["check.log_z(1)"]}]}',
)
NAMES = ("a.jsonl", "b.json", "c.yaml", "d.csv", "e.ipynb", "f.parquet", "g.txt")
# What is right, and quick; the rest is drawn from ODD, or another option's.
TASKS = (
    "stories",
    "arithmetic",
    "gsm8k",
    "math500",
    "Brackets",
    "toy_envs/RandomTree-v0",
    "mine:X-v0",
)
SETTINGS = (
    *("horizon=2", "horizon=4", "limit=1", "path_or_id=a.jsonl", "path_or_id=b.json", "split=test"),
    *(
        "chat=False",
        "stop=###",
        "openings=Once",
        "openings=[a, b]",
        "check_rows=false",
        "reward=x:y",
    ),
    *("segmenter=line", "eos_token_ids=[0]", "tiers=[2]", "num_prompts=2", "base=3", "tree_seed=1"),
    *(
        "vocab_size=2",
        "code_seed=1",
        "target=3",
        "operations=1",
        "reward_max=1.0",
        "weights=softmax",
    ),
)
TRAINING = (
    *("model=table", "task=toy_envs/Brackets-v0", "steps=1", "prompts_per_step=1", "group_size=2"),
    *("report_questions=0", "out=run", "objective=grpo", "objective_options.alpha=0.1", "seed=1"),
    *("learning_rate=1e-3", "task_options.horizon=3", "level=step", "micro_batch=1", "lora_rank=1"),
    *(
        "optimizer=sgd",
        "schedule=cosine",
        "trackers=[]",
        "keep=1",
        "inner_steps=2",
        "precision=bf16",
    ),
    *("reference=initial", "sampler=reference", "kl_to_initial=0.1", "temperature=0.5"),
)
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "verify": {
        "--env": ("Brackets", "PosterProblem"),
        "--alpha": ("0.5", "1"),
        "--group-size": ("2", "3"),
        "--prompt-index": ("0",),
        "--top-k": ("2",),
        "--horizon": ("2",),
        "--prompt": ("Once",),
        "--reward": ("sentiment",),
    },
    "atlas": {"--only": ("sft_winnin",)},
    "judge": {"": ("gvp", "x:y"), "--alpha": ("0.5",), "--set": SETTINGS},
    "claims": {"--only": ("gvpo-unbiased", "inde")},
    "pretrain": {
        "--out": ("base",),
        "--task": ("arithmetic", "ArithmeticChain"),
        "--set": SETTINGS,
        "--tier": ("2",),
        "--wrong-rate": ("0.5",),
        "--size": ("tiny",),
        "--architecture": ("llama",),
        "--seed": ("1",),
    },
    "train": {"--config": ("c.yaml",), "--set": TRAINING, "--resume": ()},
    "evaluate": {
        "--task": TASKS,
        "--samples": ("2",),
        "--k": ("1",),
        "--seed": ("1",),
        "--temperature": ("0.5",),
        "--problems": ("1",),
        "--max-rows": ("4",),
        "--out": ("results",),
        "--set": SETTINGS,
        "--table": ("results",),
    },
    "explore": {
        "--task": TASKS,
        "--prompt": ("Once",),
        "--reference": ("table", "shipped"),
        "--prompt-index": ("0",),
        "--alpha": ("0.5",),
        "--horizon": ("2",),
        "--top-k": ("2",),
        "--tree-horizon": ("2",),
        "--seed": ("1",),
        "--out": ("page",),
        "--set": SETTINGS,
    },
    "check": {"": NAMES, "--csv": ("marks.csv",), "--seed": ("1",), "--seed-per-student": ()},
    "doctor": {},
    "bench": {"": ("exac",)},
    "build-course": {"--only": ("00_wich_step",), "--check": ()},
    "lab": {"--port": ("8899",), "--no-browser": ()},
    "start": {"": ("course",)},
    "new": {"": ("objective", "task", "environment", "exercise"), "--model": ("a/b",)},
    "demo": {},
    "--version": {},
}
# Without these a command would take minutes, or never come back.
ALWAYS = {
    "verify": ("--env", "Brackets", "--alpha", "0.5", "--group-size", "2"),
    "pretrain": ("--steps", "1", "--size", "tiny"),
    "train": ("--set=steps=1", "--set=report_questions=0"),
    "evaluate": ("--problems", "1", "--samples", "1", "--k", "1"),
    "explore": ("--group-size", "2", "--continuations", "2"),
    "atlas": ("--only", "sft_winnin"),
    "claims": ("--only", "gvpo-unbiased"),
    "judge": ("gvp",),
    "bench": ("exac",),
    "check": ("--exercise", "log_z", "--timeout", "5"),
    "build-course": ("--only", "00_wich_step"),
    "lab": ("--dry-run",),
    "new": ("exercise", "mine"),
    "demo": ("--model", "/no/such/model"),
}


class TooLong(BaseException):
    """Raised in a command that computes or waits for too long; no command catches it."""


def drawn(rng: random.Random, models: tuple[str, ...]) -> tuple[str, ...]:
    """One command line: some options of one command, a third of their values odd."""
    name = rng.choice(list(OPTIONS))
    options = dict(OPTIONS[name])
    if name in ("evaluate", "explore", "verify"):
        options["--model"] = models
    arguments = list(ALWAYS.get(name, ()))
    if name in ("evaluate", "explore"):
        arguments += ["--model", rng.choice(models)]
    for option in rng.sample(list(options), k=rng.randint(0, min(4, len(options)))):
        values = options[option]
        value = rng.choice(values) if values and rng.random() < 0.67 else rng.choice(ODD)
        if option == "--set":
            key = rng.choice(values).partition("=")[0]
            value = rng.choice((value, f"{key}={rng.choice(ODD)}", f"{key[:-1]}={value}"))
        # A flag has no value; now and then, neither has an option that needs one.
        arguments += [option] * bool(option) + [value] * bool(values or rng.random() < 0.1)
    if rng.random() < 0.05:
        rng.shuffle(arguments)
    return name, *arguments, *["--json"] * (rng.random() < 0.3)


def written(rng: random.Random, folder: Path) -> None:
    """Other contents for one of the files of the current folder."""
    name = rng.choice(NAMES)
    data = bytearray(rng.choice(CONTENTS))
    for _ in range(rng.choice((0, 0, 1, 3)) if data else 0):
        data[rng.randrange(len(data))] = rng.randrange(256)
    (folder / name).write_bytes(bytes(data))
    for result in folder.glob("results*/*.json*"):
        if rng.random() < 0.2:
            lines = result.read_text(errors="replace").splitlines()
            old, new = rng.choice(
                (("1", "5"), ("0", '"0"'), ("true", "1"), ("[", "[-1, "), (",", ""))
            )
            result.write_text("\n".join(lines).replace(old, new, 1) + "\n")


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[Any, str, str]]]:
    """Call a command in this process: its exit status, and what it wrote."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("needs a timer that interrupts")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def late(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = {number: signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)}

    def call(
        *arguments: str, slowest: float = SLOWEST, hangs: float = HANGS
    ) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["gnivo-edu", *arguments])
        status: Any = "no exit"
        try:
            signal.setitimer(signal.ITIMER_PROF, slowest)  # user and system time of this process
            signal.setitimer(signal.ITIMER_REAL, hangs)
            cli.main()
        except SystemExit as stopped:
            status = stopped.code
        except BaseException:
            status = traceback.format_exc()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        return status, *capfd.readouterr()

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


def fuzz(
    command: Callable[..., tuple[Any, str, str]],
    folder: Path,
    models: tuple[str, ...],
    seconds: float,
) -> dict[Any, int]:
    """How often each exit state came in this time; fails on the first command that ends badly."""
    counts: dict[Any, int] = {}
    end = time.monotonic() + seconds
    for number in itertools.count():
        if time.monotonic() > end:
            return counts
        rng = random.Random(f"{SEED}/{number}")
        for _ in range(2):
            written(rng, folder)
        arguments = drawn(rng, models)
        status, out, said = command(*arguments)
        line = f"{SEED}/{number}: gnivo-edu {shlex.join(arguments)}"
        assert status in (0, 1, 2, 130), f"{line}\n{status}"
        assert "Traceback" not in said, f"{line}\n{said}"
        assert "\x1b" not in out + said, f"{line}\n{out}{said}"
        if status == 2:
            last = said.rstrip("\n").splitlines()[-1:]
            assert [text.startswith("gnivo-edu: ") for text in last] == [True], f"{line}\n{said}"
        elif "--json" in arguments and status == 0:
            json.loads(out) if out.startswith("{") else None
        counts[status] = counts.get(status, 0) + 1


@pytest.fixture(scope="session")
def models() -> tuple[str, ...]:
    """Models that answer in milliseconds: a table, the one that ships and, where it is there, one
    that writes stories.
    """
    # What the first command imports is no time of its own: on a busy machine it takes a minute.
    import gnivo_edu.policies
    import gnivo_edu.training.loop  # noqa: F401

    shared = Path(os.environ.get("GNIVO_SHARED", ROOT.parent / "shared")) / "models" / "stories260k"
    return ("table", "shipped", *[str(shared)] * shared.is_dir())


def test_a_command_is_stopped_when_it_computes_or_hangs_for_too_long(
    command: Callable[..., tuple[Any, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a processor, as on a busy machine, is neither."""

    def computes() -> None:
        while True:
            pass

    def waits() -> None:
        time.sleep(0.2)

    monkeypatch.setattr(cli, "main", computes)
    assert "TooLong" in command(slowest=0.1)[0]
    monkeypatch.setattr(cli, "main", waits)
    assert command(slowest=0.1)[0] == "no exit"
    assert "TooLong" in command(hangs=0.1)[0]


@pytest.mark.slow
def test_commands_drawn_at_random_end_well(
    command: Callable[..., tuple[Any, str, str]], tmp_path: Path, models: tuple[str, ...]
) -> None:
    counts = fuzz(command, tmp_path, models=models, seconds=SHORT)
    assert counts


@pytest.mark.nightly
def test_many_commands_drawn_at_random_end_well(
    command: Callable[..., tuple[Any, str, str]],
    tmp_path: Path,
    models: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    counts = fuzz(command, tmp_path, models=models, seconds=LONG)
    with capfd.disabled():
        print(f"{sum(counts.values())} commands in {LONG:.0f} s, by exit state: {counts}")
