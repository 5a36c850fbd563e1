"""Each published setting on the shipped checkpoint, by hand: its learning rate searched, then 150
steps of one seed, as `recipes/arithmetic/results.md`.

    python recipes/arithmetic/run_all.py [--workers 2] [--rows gnivo grpo ...]

Every setting is trained for 40 steps at each of four rates; the rate that is best on questions of
the training set goes on to 150 steps and is measured on the test set. `rates.json` keeps the whole
search. One thread a run, so that a second run gives the same numbers. Runs that are there are read,
not repeated.
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

HERE = Path(__file__).resolve().parent
NAMES = [name for name in published.names() if name != "group_value"]  # it trains no policy
RATES = (3e-5, 1e-4, 3e-4, 1e-3)
SEARCHED, STEPS, LAST = 40, 150, 20
COLUMNS = (
    "setting",
    "learning rate",
    "before",
    "after",
    "change (95%)",
    "log-ratio",
    "KL to the start",
    "token weight",
    "what holds it",
)


def command(*words: str) -> str:
    """What a command of the project prints, on one thread."""
    done = subprocess.run(
        [sys.executable, "-m", "gnivo_edu.cli", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def train(folder: Path, name: str, rate: float, *, steps: int, questions: int) -> dict[str, Any]:
    """The report of a setting's run at one rate, which goes on where it is; read if it is there."""
    report = folder / f"report_{steps}.json"
    if not report.exists():
        recipe = HERE / f"{name.replace('/', '_')}.yaml"
        recipe = recipe if recipe.exists() else HERE.parent / "arithmetic_cpu.yaml"
        changes = {"setting": name, "steps": steps, "learning_rate": rate, "out": folder}
        changes |= {"report_questions": questions}
        told = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
        resume = ["--resume"] if folder.exists() else []
        text = command("train", "--config", str(recipe), *told, *resume, "--json")
        report.write_text(text, encoding="utf-8")
    return dict(json.loads(report.read_text(encoding="utf-8")))


def test_set(model: str, folder: Path) -> Path:
    """The folder of a model's answers to the questions of the test set, four to each."""
    told = ("--set", "split=test", "--samples", "4", "--k", "1", "--out", str(folder))
    if not (folder / "report.json").exists():
        command("evaluate", "--model", model, "--task", "arithmetic", *told)
    return folder


def measure(name: str, out: Path) -> dict[str, Any]:
    """A setting's search, its chosen rate, its change on the test set and its last metrics."""
    runs = {rate: out / name.replace("/", "-") / f"{rate:g}" for rate in RATES}
    search = {
        rate: train(folder, name, rate, steps=SEARCHED, questions=64)["change"]["after"]
        for rate, folder in runs.items()
    }
    rate = max(search, key=lambda rate: search[rate])
    folder = runs[rate]
    train(folder, name, rate, steps=STEPS, questions=0)
    trained = test_set(str(folder / "model"), folder / "test")
    pair = (out / "test", trained)
    before, after = (json.loads((one / "report.json").read_text("utf-8"))["reward"] for one in pair)
    change = json.loads(command("evaluate", "--compare", *map(str, pair), "--json"))
    print(f"{name}: done at {rate:g}", flush=True)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "rate": rate,
        "search": {f"{rate:g}": after for rate, after in search.items()},
        "before": before,
        "after": after,
        "change": change,
        "last": [json.loads(line) for line in lines[-LAST:]],
    }


def row(name: str, measured: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    change, setting = measured["change"], published.setting(name)

    def late(metric: str) -> float:
        """Mean over the last steps that measure it."""
        values = [line[metric] for line in measured["last"] if metric in line]
        return sum(values) / len(values)

    low, high = change["interval_reward"]
    held = f"acts: {setting.acts}" if setting.acts else f"none: {setting.none}"
    return (
        f"`{name}`",
        f"{measured['rate']:g}",
        f"{measured['before']:.3f}",
        f"{measured['after']:.3f}",
        f"{change['difference_reward']:+.3f} ({low:+.3f} to {high:+.3f})",
        f"{late('logratio'):+.3f}",
        f"{late('kl_to_initial'):.3f}",
        f"{late('token_weight'):.3g}",
        held,
    )


def table(measured: dict[str, dict[str, Any]]) -> str:
    """The whole file."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(row(n, m) for n, m in measured.items())]
    grid = ", ".join(f"{rate:g}" for rate in RATES)
    return "\n".join(
        [
            "# Every published setting, once, on the shipped checkpoint",
            "",
            f"`python recipes/arithmetic/run_all.py` wrote this: `arithmetic`, {STEPS} steps of 16 "
            f"questions and 8 answers, one seed, one thread a run. The learning rate is ours and "
            f"searched with the same budget for each: {SEARCHED} steps at each of {grid}, the best "
            "mean reward on 64 questions of the training set goes on (`rates.json` keeps the "
            "search). `before` and `after` are mean rewards on the 600 questions of the test set, "
            "four answers each. One seed ranks nothing: the table says whether a setting trains, "
            f"and whether what is to hold it acts. Means over the updates of the last {LAST} "
            "steps: log-ratio, the mean over "
            "answers of log pi/pi_ref, nats; KL to the model at the start, nats an answer; token "
            "weight, the root mean square of what the loss gives a token, times the number of "
            "answers (of a policy gradient on its own answers: of the advantages). A setting may "
            "fail here and not where it was published: VIMPO's actor is one for long answers, and "
            "`vimpo/short` has another; DRO's alpha = 1 holds it near its start.",
            "",
            *("| " + " | ".join(cells) + " |" for cells in rows),
            "",
        ]
    )


def main() -> None:
    """Run what is asked for and write the table and the search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "runs" / "published")
    parser.add_argument("--rows", nargs="*", default=NAMES)
    asked = parser.parse_args()
    test_set("shipped", asked.out / "test")
    with ThreadPoolExecutor(asked.workers) as pool:
        rows = list(pool.map(lambda name: measure(name, asked.out), asked.rows))
    measured = dict(zip(asked.rows, rows, strict=True))
    (HERE / "results.md").write_text(table(measured), encoding="utf-8")
    search = {name: each["search"] | {"chosen": each["rate"]} for name, each in measured.items()}
    (HERE / "rates.json").write_text(json.dumps(search, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
