"""Each published setting on the shipped checkpoint, by hand: what its recipe does in 150 steps of
one seed, as `recipes/arithmetic/results.md`.

    python recipes/arithmetic/run_all.py [--workers 2] [--steps 150] [--rows gnivo grpo ...]

One thread a run, so that a second run gives the same numbers. Nothing is tuned: the table says
whether a setting trains and what holds it, and no more. Runs that are there are read, not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gnivo_edu.objectives import published

ROOT = Path(__file__).resolve().parents[2]
TRAINED = [name for name in published.names() if name != "group_value"]
LAST = 20
COLUMNS = (
    "setting",
    "reward before",
    "reward after",
    "change (95%)",
    "log-ratio",
    "KL to the start",
    "token weight",
    "what holds it",
)


def run(name: str, out: Path, steps: int) -> dict[str, Any]:
    """The report of a setting's run, and its last lines of metrics."""
    folder = out / name.replace("/", "-")
    report = folder / "report.json"
    if not report.exists():
        recipe = ROOT / "recipes" / "arithmetic" / f"{name.replace('/', '_')}.yaml"
        recipe = recipe if recipe.exists() else ROOT / "recipes" / "arithmetic_cpu.yaml"
        changes = (f"setting={name}", f"steps={steps}", f"out={folder}", "report_questions=128")
        told = [word for change in changes for word in ("--set", change)]
        command = ("-m", "gnivo_edu.cli", "train", "--config", str(recipe), *told, "--json")
        resume = ["--resume"] if folder.exists() else []
        done = subprocess.run(
            [sys.executable, *command, *resume],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
        report.write_text(done.stdout, encoding="utf-8")
        print(f"{name}: done", flush=True)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads(report.read_text(encoding="utf-8")) | {
        "last": [json.loads(line) for line in lines[-LAST:]]
    }


def row(name: str, report: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table: what is not measured for a setting is a dash."""
    change, setting = report["change"], published.setting(name)

    def late(metric: str) -> float:
        """Mean over the last steps that measure it."""
        measured = [line[metric] for line in report["last"] if metric in line]
        return sum(measured) / len(measured)

    low, high = change["interval"]
    held = f"acts: {setting.acts}" if setting.acts else f"none: {setting.none}"
    return (
        f"`{name}`",
        f"{change['before']:.3f}",
        f"{change['after']:.3f}",
        f"{change['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
        f"{late('logratio'):+.3f}",
        f"{late('kl_to_initial'):.3f}",
        f"{late('token_weight'):.3g}",
        held,
    )


def table(reports: dict[str, dict[str, Any]], steps: int) -> str:
    """The whole file."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(row(n, r) for n, r in reports.items())]
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(
        [
            "# Every published setting, once, on the shipped checkpoint",
            "",
            f"`python recipes/arithmetic/run_all.py` wrote this: `arithmetic`, {steps} steps of 16 "
            "questions and 8 answers, learning rate 1e-4, one seed, one thread a run. Nothing is "
            "tuned and one seed ranks nothing: the table says whether a setting trains, and "
            "whether what is to hold it acts. `before` and `after` are mean rewards on the same "
            f"questions. Means over the last updates of {LAST} steps: log-ratio, the mean over "
            "answers of log pi/pi_ref, nats; KL to the model at the start, nats an answer; token "
            "weight, the root mean square of what the loss gives a token, times the number of "
            "answers (of a policy gradient on its own answers: of the advantages). A setting may "
            "fail here and not where it was published: VIMPO's actor is one for long answers, and "
            "`vimpo/short` has another.",
            "",
            *lines,
            "",
        ]
    )


def main() -> None:
    """Run what is asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "published")
    parser.add_argument(
        "--rows", nargs="*", default=[n for n in published.names() if n != "group_value"]
    )
    asked = parser.parse_args()
    with ThreadPoolExecutor(asked.workers) as pool:
        reports = dict(
            zip(
                asked.rows,
                pool.map(lambda name: run(name, asked.out, asked.steps), asked.rows),
                strict=True,
            )
        )
    written = ROOT / "recipes" / "arithmetic" / "results.md"
    written.write_text(table(reports, steps=asked.steps), encoding="utf-8")
    print(f"{written.relative_to(ROOT)} is written")


if __name__ == "__main__":
    main()
