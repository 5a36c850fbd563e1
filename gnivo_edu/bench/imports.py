"""What importing costs."""

from __future__ import annotations

import subprocess
import sys

from gnivo_edu.bench.ratio import Progress, Row, race, ratio_row


def bench_import(repeats: int = 15, progress: Progress = None) -> list[Row]:
    """Importing `toy_envs` and `gnivo_edu.exact` against numpy and gymnasium, and `--help` against
    bare Python.
    """
    calls = {
        "bare Python": lambda repeat: _python("-c", "pass"),
        "numpy and gymnasium": lambda repeat: _python("-c", "import numpy, gymnasium"),
        "ours": lambda repeat: _python("-c", "import toy_envs, gnivo_edu.exact"),
        "--help": lambda repeat: _python("-m", "gnivo_edu.cli", "--help"),
    }
    seconds = {name: runs.seconds for name, runs in race(calls, repeats, progress=progress).items()}
    case, peer = "import / numpy and gymnasium", seconds["numpy and gymnasium"]
    return [
        ratio_row(case, seconds["ours"], peer=peer, unit="s", bound=0.5),
        ratio_row("--help / bare Python", seconds["--help"], peer=seconds["bare Python"], unit="s"),
    ]


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
