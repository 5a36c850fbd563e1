"""Completion weights against the published ones, trained on the shipped checkpoint: three seeds, at
three shares of answers that earlier policies wrote, as `recipes/arithmetic/completion_weights.md`.

    python recipes/arithmetic/completion_weights.py [--steps 24] [--seeds 0 1 2]

The reference is the model at the start in every run, so that the log-ratio acts. Answers of the
reference itself need no run: there both weights are the same by definition. One thread a run, one
run at a time; runs that are there are read, not repeated, and one that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch

from gnivo_edu import tasks
from gnivo_edu.policies import divergences, evaluating, sample_completions
from gnivo_edu.statistics import t_quantile
from gnivo_edu.training import TrainConfig, fine_tune, load_config

HERE = Path(__file__).resolve().parent
ALPHA = 0.2
# The options of each kind of weights; where they are not normalised, a right answer weighs one.
WEIGHTS = {
    "softmax": {"weights": "softmax"},
    "completion_softmax": {"weights": "completion_softmax"},
    "completion": {"weights": "completion", "reward_max": 1.0},
}
PUBLISHED = "softmax"
# What each group takes from the replay, by the share that is asked for.
SAMPLERS = {0.0: "policy", 0.5: {"policy": 4, "replay": 4}, 1.0: "replay"}
SAMPLES = 2  # answers to each of the 600 questions of the test set
MEASURES = ("reward", "kl", "objective")


def configuration(weights: str, share: float, *, seed: int, steps: int, out: Path) -> TrainConfig:
    """One run."""
    changes = {
        "objective_options": {"alpha": ALPHA, **WEIGHTS[weights]},
        "reference": "initial",
        "sampler": SAMPLERS[share],
        "replay_age": 12,
        "questions": 64,  # so that a question comes again within four steps
        "steps": steps,
        "seed": seed,
        "report_questions": 0,
        "out": str(out / f"{weights}-{share:g}-{seed}"),
    }
    return load_config(HERE.parent / "arithmetic_cpu.yaml", **changes)


def measure(config: TrainConfig) -> dict[str, float]:
    """Train it, unless its result is there; what the model is worth on the test set.

    `reward`: mean; `kl`: KL to the model at the start, nats an answer; `objective`: reward - alpha
    KL, which every one of the losses is meant to raise; `share`: of replayed answers, as it was.
    """
    result = Path(config.out) / f"result_{config.steps}.json"
    if not result.exists():
        run = fine_tune(config, resume=Path(config.out).exists())
        task = tasks.get(config.task, split="test")
        with evaluating(run.policy), torch.no_grad():
            questions = np.arange(len(task.prompts()))
            answers = sample_completions(run.policy, task, SAMPLES, questions, seed=2**31)
            away = divergences(run.policy, task, answers, reference=run.initial)["policy_kl"]
        reward, kl = float(answers.rewards(task).mean()), float(away.sum(-1).mean())
        lines = (Path(config.out) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        shares = [json.loads(line).get("sampler/replay_share", 0.0) for line in lines]
        row = {
            "reward": reward,
            "kl": kl,
            "objective": reward - ALPHA * kl,
            "share": sum(shares) / len(shares),
        }
        result.write_text(json.dumps(row), encoding="utf-8")
        print(f"{config.out}: {row}", flush=True)
    return dict(json.loads(result.read_text(encoding="utf-8")))


def over_seeds(values: list[float], *, sign: str = "") -> str:
    """Mean and 95% interval of Student's t over seeds."""
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return f"{mean:{sign}.3f}"
    half = t_quantile(0.95, count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return f"{mean:{sign}.3f} ({mean - half:{sign}.3f} to {mean + half:{sign}.3f})"


def table(rows: dict[tuple[str, float], list[dict[str, float]]], steps: int, seeds: int) -> str:
    """The whole file."""
    text = [
        "# Completion weights against the published ones, on the shipped checkpoint",
        "",
        f"`python recipes/arithmetic/completion_weights.py --steps {steps}` wrote this: "
        f"`arithmetic`, {steps} steps of 16 questions (of 64) and 8 answers, alpha {ALPHA}, "
        f"learning rate 1e-4 for all, gradients clipped to norm 1, {seeds} seeds, one thread a "
        "run. The reference is the model at the start. The share is that of each group's answers "
        "that the policy wrote up to 12 steps earlier, as asked; in brackets as it was, since the "
        "policy writes what is missing. On the 600 questions of the test set, two answers each: "
        "mean reward, KL to the model at the start in nats an answer, and what every one of these "
        f"losses is meant to raise, reward - {ALPHA} KL. Intervals are 95% intervals of Student's "
        "t over seeds; differences are paired by seed. `completion` parts from `softmax` in two "
        "ways: by the ratio of its answers, and since its weights are not normalised in the group.",
        "",
        "| share | weights | reward | KL | reward - alpha KL |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (weights, share), results in rows.items():
        there = float(np.mean([result["share"] for result in results]))
        cells = [over_seeds([result[name] for result in results]) for name in MEASURES]
        text.append(f"| {share:g} ({there:.2f}) | `{weights}` | " + " | ".join(cells) + " |")
    text += [
        "",
        f"Minus `{PUBLISHED}`, the published practice, seed by seed:",
        "",
        "| share | weights | reward | KL | reward - alpha KL |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (weights, share), results in rows.items():
        if weights == PUBLISHED:
            continue
        pairs = list(zip(results, rows[PUBLISHED, share], strict=True))
        cells = [over_seeds([a[name] - b[name] for a, b in pairs], sign="+") for name in MEASURES]
        text.append(f"| {share:g} | `{weights}` | " + " | ".join(cells) + " |")
    return "\n".join([*text, ""])


def main() -> None:
    """Run what is not there, seed by seed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "runs" / "completion")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keys = [(weights, share) for share in SAMPLERS for weights in WEIGHTS]
    rows: dict[tuple[str, float], list[dict[str, float]]] = {key: [] for key in keys}
    for seed in asked.seeds:
        for weights, share in keys:
            config = configuration(weights, share, seed=seed, steps=asked.steps, out=asked.out)
            rows[weights, share].append(measure(config))
    text = table(rows, steps=asked.steps, seeds=len(asked.seeds))
    (HERE / "completion_weights.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
