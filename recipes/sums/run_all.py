"""Sums in words with a real small model: its warm-up, four methods and a placebo with adapters
from there, and the test set before and after, as `recipes/sums/results.md`.

    gnivo-edu fetch smollm2
    python recipes/sums/run_all.py [--workers 2] [--rows gnivo grpo ...] [--only warm train test]

Three parts, in this order: `warm` teaches SmolLM2-135M-Instruct the format, `train` runs each
recipe of this folder from there, `test` asks every model the questions of the test set and measures
its KL to the warm-up. `where.py` then looks at single steps; `--only write` writes results.json and
results.md from what is there, its step_values.json among it. One thread a run. Runs that are there
are read, not repeated, and one that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import where
import yaml
from hits import Row, agreement, hit_rates, interval, judged
from table import table

from gnivo_edu import evaluation, tasks
from gnivo_edu.statistics import paired_difference

HERE = Path(__file__).resolve().parent
NAMES = ("gnivo", "gvpo", "vimpo", "grpo", "gnivo_shuffled")
PARTS = ("warm", "train", "test", "write")
MODEL, WARM_STEPS = "smollm2", 40
SAMPLES, SEED = 3, 1  # answers to each question of the test set, and the seed of their streams
KL_QUESTIONS = (50, 50)  # of each tier: one answer each is scored by both models
ENDS = 10  # steps of a run that its first and last rewards average


def command(*words: str, log: Path, cost: Path | None = None) -> None:
    """Run a command of the project on one thread; what it says goes to `log`, and what it took to
    `cost`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "gnivo_edu.cli", *words],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise SystemExit(f"{' '.join(words)}: {' '.join(last)}")
    if cost is not None:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
        took = {
            "minutes": (time.perf_counter() - begun) / 60,
            "cpu_minutes": (used.ru_utime + used.ru_stime) / 60,
            "peak_gib": used.ru_maxrss * unit / 2**30,
        }
        cost.write_text(json.dumps(took) + "\n", encoding="utf-8")


def warm_up(out: Path, model: str, steps: int, options: Sequence[str]) -> None:
    """The warm-up, unless it is there."""
    if not (out / "warm" / "recipe.json").exists():
        told = ("--model", model, "--task", "sums", "--steps", str(steps))
        more = [word for option in options for word in ("--set", option)]
        log = out / "logs" / "warm.log"
        command("pretrain", *told, *more, "--out", str(out / "warm"), log=log)


def train(name: str, out: Path, changes: Sequence[str]) -> None:
    """A recipe's run from the warm-up, unless it is there."""
    folder = out / name
    if (folder / "cost.json").exists():
        return
    told = [f"model={out / 'warm'}", f"out={folder}", *changes]
    words = [word for change in told for word in ("--set", change)]
    resume = ["--resume"] if folder.exists() else []
    recipe = str(HERE / f"{name}.yaml")
    log, cost = out / "logs" / f"{name}.log", folder / "cost.json"
    command("train", "--config", recipe, *words, *resume, log=log, cost=cost)
    print(f"{name}: trained", flush=True)


def test(name: str, out: Path, options: Sequence[str], samples: int) -> None:
    """A model's answers to the test set, and its KL to the warm-up, unless they are there."""
    folder = out / "test" / name
    model = out / "warm" if name == "warm" else out / name / "model"
    if not (folder / "report.json").exists():
        told = ("--samples", str(samples), "--k", "1", "--seed", str(SEED), "--max-rows", "96")
        more = [word for option in (*options, "split=test") for word in ("--set", option)]
        asked = ("evaluate", "--model", str(model), "--task", "sums", "--out", str(folder))
        command(*asked, *told, *more, log=out / "logs" / f"test_{name}.log")
        print(f"{name}: tested", flush=True)
    if name != "warm" and not (folder / "kl.json").exists():
        given = where.options(out)
        policy, task = tasks.load(str(model), "sums", options=given)
        initial, _ = tasks.load(str(out / "warm"), "sums", options=given)
        answers = where.first_answers(task, folder, KL_QUESTIONS)
        away = [row.sum() for row in where.scores(policy, task, answers, reference=initial)]
        (folder / "kl.json").write_text(json.dumps(interval(away)) + "\n", encoding="utf-8")


# --- results.json ---------------------------------------------------------------------------------


def results(out: Path, names: Sequence[str], values: Row | None) -> Row:
    """All numbers of results.md, from the folders of the runs and from step_values.json."""
    told = json.loads((out / "warm" / "recipe.json").read_text(encoding="utf-8"))
    before = evaluation.load_report(out / "test" / "warm")
    task = tasks.load(str(out / "warm"), "sums", options=where.options(out))[1]
    tiers = np.array(task.tier)[before.problems]
    report: Row = {
        "model": told["model"],
        "warm_up": {
            "command": "gnivo-edu pretrain --model smollm2 --task sums --set examples=0 "
            f"--steps {told['steps']}",
            "demonstrations": told["steps"] * told["batch_size"],
            "nats_per_token": told["nats_per_token"],
            **tested(before, tiers),
        },
        "test": {"questions": len(tiers), "samples": before.rewards.shape[1], "seed": SEED},
        "runs": {name: run(name, out, before, tiers) for name in names},
    }
    if values is not None and judged(values):
        kept = [answer["reward"] == 0 for answer in values["answers"]]
        report["steps"] = {
            "answers": len(kept),
            "wrong": sum(kept),
            "judged": len(judged(values)),
            "never_right": sum(not any(a["right_after"]) for a in judged(values)),
            "continuations": values["continuations"],
            "alpha": values["alpha"],
            "first_wrong": {
                tier: np.bincount(
                    [a["first_wrong"] for a in judged(values) if a["tier"] == tier]
                ).tolist()
                for tier in dict.fromkeys(tiers.tolist())
            },
            "hit_rates": hit_rates(values),
            "correlations": agreement(values),
        }
    return rounded(report)


def tested(report: Any, tiers: np.ndarray) -> Row:
    """What a model is worth on the test set: Pass@1 in all and by tier."""
    right = report.pass_at(1)
    return {
        "pass@1": interval(right),
        "by_tier": {t: interval(right[tiers == t]) for t in dict.fromkeys(tiers.tolist())},
        "truncated": float(report.truncated.mean()),
        "mean_length": float(report.lengths.mean()),
    }


def run(name: str, out: Path, before: Any, tiers: np.ndarray) -> Row:
    """A run: what it changed, what it took."""
    after = evaluation.load_report(out / "test" / name)
    placebo = out / "test" / f"{name}_shuffled"

    def change(since: Any = before, tier: str = "") -> Row:
        some = (tiers == tier) | (tier == "")
        gain = paired_difference(*(report.pass_at(1)[some] for report in (since, after)))
        return {"mean": gain.mean, "low": gain.low, "high": gain.high}

    text = (out / name / "metrics.jsonl").read_text(encoding="utf-8")
    steps = [json.loads(line) for line in text.splitlines()]
    paid = [step.get("reward_clean", step["reward"]) for step in steps]
    recipe = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
    answers = recipe["prompts_per_step"] * recipe["group_size"]
    beyond = {}
    if (placebo / "report.json").exists():
        beyond = {"beyond_placebo": change(since=evaluation.load_report(placebo))}
    return {
        "setting": recipe["setting"],
        "learning_rate": recipe["learning_rate"],
        "steps": len(steps),
        "answers": len(steps) * answers,
        "samples": after.rewards.shape[1],
        "reward_noise": recipe.get("reward_noise", 0.0),
        **tested(after, tiers),
        "change": change(),
        "change_by_tier": {tier: change(tier=tier) for tier in dict.fromkeys(tiers.tolist())},
        **beyond,
        "kl": json.loads((out / "test" / name / "kl.json").read_text(encoding="utf-8")),
        "right_in_training": [float(np.mean(part)) for part in (paid[:ENDS], paid[-ENDS:])],
        **json.loads((out / name / "cost.json").read_text(encoding="utf-8")),
    }


def rounded(value: Any) -> Any:
    """The same with numbers of four decimals, but for those below a hundredth."""
    if isinstance(value, dict):
        return {key: rounded(x) for key, x in value.items()}
    if isinstance(value, list):
        return [rounded(x) for x in value]
    return round(value, 4) if isinstance(value, float) and abs(value) >= 0.01 else value


def main() -> None:
    """Do the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "runs" / "sums")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--rows", nargs="*", default=NAMES)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--warm-steps", type=int, default=WARM_STEPS)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--options", nargs="*", default=["examples=0"], help="of the task")
    parser.add_argument("--changes", nargs="*", default=[], help="of every recipe, key=value")
    asked = parser.parse_args()
    if "warm" in asked.only:
        warm_up(asked.out, asked.model, asked.warm_steps, asked.options)
    with ThreadPoolExecutor(asked.workers) as pool:
        if "train" in asked.only:
            list(pool.map(lambda name: train(name, asked.out, asked.changes), asked.rows))
        if "test" in asked.only:
            every = ("warm", *asked.rows)
            list(pool.map(lambda name: test(name, asked.out, asked.options, asked.samples), every))
    if "write" in asked.only:
        file = asked.results / "step_values.json"
        values = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        report = results(asked.out, asked.rows, values)
        with tempfile.TemporaryDirectory(dir=asked.results) as aside:
            for name, text in (
                ("results.json", json.dumps(report, indent=1) + "\n"),
                ("results.md", table(report)),
            ):
                (Path(aside) / name).write_text(text, encoding="utf-8")
                (Path(aside) / name).replace(asked.results / name)


if __name__ == "__main__":
    main()
