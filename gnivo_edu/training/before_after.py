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
from gnivo_edu.training.card import model_card
from gnivo_edu.training.loop import FineTuned

# At most so many questions; about so many answers to them in all, but no fewer than so many to one.
PROMPTS, COMPLETIONS, FEWEST = 64, 256, 4
SEED = 2**31  # streams that training does not read
LAST = 10  # steps that the summary averages at either end, at most


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
    answers in all from each model, and at least four each: more questions, more answers.
    `difference` is after minus before, `interval` its 95% bootstrap interval over questions,
    paired; null for one question. `texts` holds, for the first questions, a prompt and one answer
    of each model with its reward. `toy_envs.NoisyReward` and `reward_noise` play no part.
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
    samples = max(FEWEST, completions // len(index))
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
    asks for it, what the run has changed, which its model's card then says too.
    """
    config = run.config
    lines = (run.folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]  # those before a resume among them
    rewards = [row["reward"] for row in rows]
    clipped = sum(row["grad_norm"] > config.max_grad_norm for row in rows)
    summary = {
        "objective": config.objective,
        "steps": config.steps,
        **_ends(rewards),
        f"steps clipped to norm {config.max_grad_norm:g}": f"{clipped} of {len(rows)}",
        "seconds": run.seconds,
        "folder": config.out,
    }
    report = {"passed": True, "summary": summary, "config": config.to_dict()}
    if config.report_questions:
        progress("comparing the model with what it was")
        change = before_and_after(
            run.initial,
            run.policy,
            task=run.task,
            prompts=config.report_questions,
            temperature=config.temperature,
        )
        card = run.folder.path / "model" / "README.md"
        card.write_text(model_card(config, change), encoding="utf-8")
        report["change"] = change
    return report


def _ends(rewards: list[float]) -> dict[str, float]:
    """The mean reward of the first and of the last steps: two windows of one length that share no
    step, or one number where there are not two steps.

    >>> _ends([0.0, 0.25, 0.5, 1.0, 1.0])
    {'reward, first 2 steps': 0.125, 'reward, last 2 steps': 1.0}
    >>> _ends([0.5]), list(_ends([0.5, 1.0]))
    ({'reward, its one step': 0.5}, ['reward, first step', 'reward, last step'])
    """
    count = min(LAST, len(rewards) // 2)
    if count == 0:
        return {"reward, its one step": rewards[0]} if rewards else {}
    steps = "step" if count == 1 else f"{count} steps"
    first, last = (sum(part) / count for part in (rewards[:count], rewards[-count:]))
    return {f"reward, first {steps}": first, f"reward, last {steps}": last}
