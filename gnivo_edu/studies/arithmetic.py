"""The run that most studies are made of: the shipped model learns arithmetic by some method, and
answers questions that it has not seen.

It is trained on questions of two and three operations and tested on two, three and four: tier 4 is
the hard benchmark, of a kind that its training does not ask. Test questions are those of the
split "test"; questions for choosing settings are those of the split "train" that no run is trained
on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gnivo_edu.evaluation import evaluate
from gnivo_edu.policies import load_checkpoint
from gnivo_edu.studies.rewards import paid
from gnivo_edu.studies.study import Cell
from gnivo_edu.tasks.arithmetic import TRAIN_QUESTIONS, Arithmetic
from gnivo_edu.training import fine_tune, load_config

TRAINED, TESTED = (2, 3), (2, 3, 4)
TEST_SEED = 2**31  # of the test's answers: a stream that no training reads
POINTS = 20  # of a curve
LAST = 10  # steps that the last metrics are means over
# What a curve holds, by the names of `training.metrics`.
CURVE = {
    "reward": "reward_clean",
    "kl_to_initial": "kl_to_initial",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "residual": "fit/residual_rms_over_target_rms",
}


def train_and_test(
    cell: Cell, folder: Path, policy: Callable[[], nn.Module] = load_checkpoint
) -> dict[str, Any]:
    """One run: its scores on each tier, how far it went from its start, what it took, its curve.

    Settings of the cell: `train`, of `training.load_config`; `reward`, see `paid`; `tiers` it is
    trained on and `tested` on; `test` "test" or "validation", `questions` of each tier and
    `samples` to each;
    `frozen`, whether its completions are kept. Without `train` the model at its start is tested.
    The trained model stays in `folder`/model.
    """
    settings = cell.settings
    measured: dict[str, Any] = {"responses": 0, "kl_to_initial": 0.0}
    model = policy()
    if settings.get("train"):
        reward = settings.get("reward", "task")
        task = paid(reward, seed=cell.seed, tiers=tuple(settings.get("tiers", TRAINED)))
        config = load_config(
            **settings["train"],
            seed=cell.seed,
            report_questions=0,
            completions_every=10,
            save_every=1_000_000,
            out=str(folder / "run"),
        )
        run = fine_tune(config, policy=model, task=task)
        model = run.policy
        lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        measured = trained(
            list(map(json.loads, lines)), config.prompts_per_step * config.group_size
        )
        shutil.move(folder / "run" / "model", folder / "model")
        shutil.rmtree(folder / "run")
    return measured | test(model, settings)


def trained(rows: list[dict[str, Any]], answers: int) -> dict[str, Any]:
    """What the metrics of a run say of it; `answers` of a step."""
    last = rows[-LAST:]
    kls = [row["kl_to_initial"] for row in rows if "kl_to_initial" in row]
    return {
        "responses": answers * len(rows),
        "kl_to_initial": kls[-1],
        "entropy": float(np.mean([row["entropy"] for row in last if "entropy" in row] or [np.nan])),
        "grad_norm": float(np.mean([row["grad_norm"] for row in last])),
        "tokens": rows[-1]["num_tokens"],
        "training_seconds": sum(row["step_time"] for row in rows),
        "curve": curve(rows, answers),
    }


def curve(rows: list[dict[str, Any]], answers: int) -> dict[str, list[float | None]]:
    """Means over `POINTS` windows of steps, at the responses drawn and the seconds gone by their
    ends; None where a window has no such number.
    """
    windows = [part for part in np.array_split(np.arange(len(rows)), POINTS) if len(part)]
    seconds = np.cumsum([row["step_time"] for row in rows])
    points: dict[str, list[float | None]] = {
        "responses": [float(answers * (part[-1] + 1)) for part in windows],
        "seconds": [float(seconds[part[-1]]) for part in windows],
    }
    for name, metric in CURVE.items():
        points[name] = [_mean(rows, part, metric) for part in windows]
    return points


def _mean(rows: list[dict[str, Any]], part: Any, metric: str) -> float | None:
    # Without noise the reward that was paid is the clean one.
    values = [
        rows[i].get(metric, rows[i]["reward"] if metric == "reward_clean" else None) for i in part
    ]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def test(model: nn.Module, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Pass@1 and Pass@3 of each tier, and the mean over tiers, on questions not trained on."""
    tiers = tuple(settings.get("tested", TESTED))
    count, samples = settings.get("questions", 200), settings.get("samples", 4)
    first = 0 if settings.get("test", "test") == "test" else TRAIN_QUESTIONS
    split: Any = "train" if first else "test"
    task = Arithmetic(tiers, num_prompts=first + count, split=split)
    prompts = np.arange(len(task.tier)).reshape(len(tiers), -1)[:, first:].flatten().tolist()
    report = evaluate(model, task, samples=samples, ks=(1, 3), seed=TEST_SEED, prompts=prompts)
    tier = task.tier[report.problems]
    scores = {
        f"pass@{k}": {str(one): float(report.pass_at(k)[tier == one].mean()) for one in tiers}
        for k in (1, 3)
    }
    for by_tier in scores.values():
        by_tier["mean"] = float(np.mean(list(by_tier.values())))
    frozen = [
        {"problem": int(problem), "sample": sample, "text": text, "reward": float(reward)}
        for problem, texts, rewards in zip(
            report.problems, report.texts, report.rewards, strict=True
        )
        for sample, (text, reward) in enumerate(zip(texts, rewards, strict=True))
    ]
    kept = {"completions": frozen} if settings.get("frozen") else {}
    return {**scores, "length": float(report.lengths.mean()), **kept}
