"""What a run has changed: the initial and the trained model on the same questions, and texts of
both to read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from gnivo_edu.evaluation.evaluate import evaluate
from gnivo_edu.evaluation.report import compare
from gnivo_edu.training.loop import FineTuned

# At most so many questions, and about so many answers to them in all.
PROMPTS, COMPLETIONS = 64, 256
SEED = 2**31  # streams that training does not read
LAST = 10  # steps that the summary averages at either end


def before_and_after(
    initial: nn.Module,
    policy: nn.Module,
    task: Any,
    prompts: int = PROMPTS,
    completions: int = COMPLETIONS,
    texts: int = 2,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Mean rewards of both models on the same questions of the task, their difference with its
    interval, and texts.

    `prompts` questions, spread evenly over those of the task that can be graded, get `completions`
    answers in all from each model (at least two to a question). `difference` is after minus before,
    `interval` its 95% bootstrap interval over questions, paired; null for one question. `texts`
    holds, for the first questions, a prompt and one answer of each model with its reward.
    These are questions that the run has learned from: `gnivo-edu evaluate` on a test split says
    what carries over.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> coin = TokenMDP(2, 1, reward=lambda tokens, lengths: tokens[:, 0])
    >>> fair, loaded = (TabularLM.from_tables(coin, [np.log([[1 - p, p]])]) for p in (0.5, 0.9))
    >>> change = before_and_after(fair, loaded, coin, completions=1000)
    >>> [round(change[name], 1) for name in ("before", "after", "questions", "answers")]
    [0.5, 0.9, 1, 1000]
    """
    questions = task.gradable()
    places = np.linspace(0, len(questions) - 1, min(prompts, len(questions))).round().astype(int)
    index = questions[np.unique(places)].tolist()
    samples = max(2, completions // len(index))
    before, after = (
        evaluate(
            model, task, samples=samples, ks=(1,), prompts=index, seed=SEED, temperature=temperature
        )
        for model in (initial, policy)
    )
    change = compare(before, after)
    return {
        "before": float(before.rewards.mean()),
        "after": float(after.rewards.mean()),
        "difference": change["difference_reward"],
        "interval": change["interval_reward"],
        "questions": len(index),
        "answers": samples * len(index),
        "texts": [
            {
                "prompt": task.question_text(prompt),
                "before": {"text": before.texts[n][0], "reward": float(before.rewards[n, 0])},
                "after": {"text": after.texts[n][0], "reward": float(after.rewards[n, 0])},
            }
            for n, prompt in enumerate(index[:texts])
        ],
    }


def report_of(run: FineTuned, progress: Callable[[str], None]) -> dict[str, Any]:
    """What `train --json` prints of a run: a summary of its rewards, its configuration and, if that
    asks for it, what the run has changed.
    """
    config = run.config
    lines = (run.folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rewards = [json.loads(line)["reward"] for line in lines]  # those before a resume among them
    early, late = (sum(part) / max(len(part), 1) for part in (rewards[:LAST], rewards[-LAST:]))
    summary = {
        "objective": config.objective,
        "steps": config.steps,
        f"reward, first {LAST} steps": early,
        f"reward, last {LAST} steps": late,
        "seconds": run.seconds,
        "folder": config.out,
    }
    report = {"passed": True, "summary": summary, "config": config.to_dict()}
    if config.report_questions:
        progress("comparing the model with what it was")
        report["change"] = before_and_after(
            run.initial,
            run.policy,
            task=run.task,
            prompts=config.report_questions,
            temperature=config.temperature,
        )
    return report
