"""What a run has changed: the initial and the trained model on the same questions, and texts of
both to read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from gnivo_edu.evaluation.evaluate import evaluate
from gnivo_edu.evaluation.report import compare
from gnivo_edu.policies.generation import sample_completions
from gnivo_edu.training.questions import question_text, questions_of

PROMPTS, COMPLETIONS = (
    64,
    256,
)  # at most so many questions, and about so many answers to them in all
SEED = 2**31  # streams that training does not read


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
    >>> found = before_and_after(fair, loaded, coin, completions=1000)
    >>> round(found["before"], 1), round(found["after"], 1), found["questions"], found["answers"], found["interval"]
    (0.5, 0.9, 1, 1000, None)
    """
    every = questions_of(task)
    count = len(every)
    index = every[
        np.unique(np.linspace(0, count - 1, min(prompts, count)).round().astype(int))
    ].tolist()
    samples = max(2, completions // len(index))
    both = [
        evaluate(
            model,
            task,
            samples,
            (1,),
            SEED,
            temperature,
            index,
            task_name=getattr(task, "name", "task"),
        )
        for model in (initial, policy)
    ]
    before, after = both
    found = compare(before, after)
    return {
        "before": float(before.rewards.mean()),
        "after": float(after.rewards.mean()),
        "difference": found["difference_reward"],
        "interval": found["interval_reward"],
        "questions": len(index),
        "answers": samples * len(index),
        "texts": [_texts(i, initial, policy, task, temperature) for i in index[:texts]],
    }


def _texts(
    prompt_index: int, initial: nn.Module, policy: nn.Module, task: Any, temperature: float
) -> dict[str, Any]:
    """One answer of each model to a question, from the same stream of random numbers."""
    found: dict[str, Any] = {"prompt": question_text(task, prompt_index)}
    for name, model in (("before", initial), ("after", policy)):
        drawn = sample_completions(
            model, task, 1, [prompt_index], seed=SEED, temperature=temperature
        )
        tokens, lengths = drawn.tokens[0].cpu().numpy(), drawn.lengths[0].cpu().numpy()
        reward = task.reward(tokens, lengths, np.array([prompt_index]))
        found[name] = {
            "text": task.decode(tokens[0, : int(lengths[0])]),
            "reward": float(reward[0]),
        }
    return found
