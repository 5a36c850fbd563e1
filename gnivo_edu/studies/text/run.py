"""A run of the study of text: a story model learns a graded reward, and continues stories whose
openings it was not trained on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from gnivo_edu import tasks
from gnivo_edu.policies import load_model, sample_completions, score_rows
from gnivo_edu.studies.arithmetic import TEST_SEED, trained
from gnivo_edu.studies.study import Cell
from gnivo_edu.tasks.stories import sentiment
from gnivo_edu.training import fine_tune, load_config

# Openings of the test; ours, and none of them among `tasks.stories.OPENINGS`.
UNSEEN = (
    "Once upon a time, there was a boy named Max. He",
    "One evening, Sara looked at the moon. She thought",
    "The old frog sat on a stone. One day, a bird",
    "Dad and Leo went to the beach. There they",
    "A little bear lived in the forest. The bear",
    "Nina had a new blue hat. When she went out,",
    "The cat and the mouse met in the kitchen. The mouse",
    "It was the first day of snow, and Jack",
)
ALPHAS = tuple(np.geomspace(10.0, 0.02, 40).tolist())
LEAST = 30.0  # answers, of those drawn, that a tilted mean must weigh in each opening
ROWS = 64  # answers scored at a time


def train_and_write(cell: Cell, folder: Path) -> dict[str, Any]:
    """One run: reward, KL and diversity of answers to `UNSEEN`, and three of them as they read.

    Settings of the cell: `model`, a name that `model_of` knows; `train`, of `training.load_config`,
    or None for the model at its start; `reward` task, random or shuffled; `horizon`, tokens of an
    answer; `samples` to each opening of the test; `frontier`, whether the frontier of the reward
    is estimated from them; `frozen`, whether answers are kept.
    """
    settings = cell.settings
    model, tokenizer = model_of(settings["model"])
    horizon, policy = settings["horizon"], model
    measured: dict[str, Any] = {"responses": 0}
    if settings["train"]:
        config = load_config(
            **settings["train"],
            seed=cell.seed,
            report_questions=0,
            completions_every=1_000_000,
            save_every=1_000_000,
            out=str(folder / "run"),
        )
        reward = StoryReward(settings["reward"], cell.seed, group_size=config.group_size)
        task = tasks.get("stories", tokenizer, model=model, horizon=horizon, reward=reward)
        rows: list[dict[str, Any]] = []
        policy = fine_tune(config, on_step=rows.append, policy=model, task=task).policy
        measured = trained(rows, config.prompts_per_step * config.group_size)
        shutil.rmtree(folder / "run")
    test = tasks.get("stories", tokenizer, model=model, horizon=horizon, openings=UNSEEN)
    return measured | written(policy, model, test, settings, seed=TEST_SEED + cell.seed)


def model_of(name: str) -> tuple[Any, Any]:
    """(model, tokenizer) of `stories260k`, which lies in the folder that GNIVO_SHARED names, or of
    any name that `policies.load_model` takes. ValueError, in one line, where it is not there.
    """
    if name != "stories260k":
        return load_model(name)
    folder = Path(os.environ.get("GNIVO_SHARED", Path("..") / "shared")) / "models" / name
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"the model {name!r} is not on this machine: get karpathy/tinyllamas, 260K, in Hugging "
            f"Face format into a folder models/{name}, and name the folder above models in "
            "GNIVO_SHARED"
        )
    return load_model(folder)


class StoryReward:
    """Happiness of stories, or a placebo of it: "random", evenly between 0 and 1 whatever they say;
    "shuffled", the rewards of a group dealt out among its answers anew. A group is `group_size`
    texts one after the other.

    >>> shuffled = StoryReward("shuffled", seed=0, group_size=2)
    >>> sorted(shuffled(["A happy end.", "She was sad."]).tolist())
    [0.25, 0.75]
    """

    def __init__(self, kind: str, seed: int, group_size: int) -> None:
        self.kind, self.group_size = kind, group_size
        self.rng = np.random.default_rng([seed, 0x504C])  # a stream that nothing else reads

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Rewards [B] of texts."""
        if self.kind == "random":
            return self.rng.uniform(size=len(texts))
        scores = sentiment(texts)
        if self.kind == "task":
            return scores
        return self.rng.permuted(scores.reshape(-1, self.group_size), axis=1).ravel()


@torch.no_grad()
def written(
    policy: nn.Module, initial: nn.Module, task: Any, settings: Any, seed: int
) -> dict[str, Any]:
    """What a policy writes after every opening of a task, in numbers and in words.

    `kl`, nats an answer, is the exact KL of each next-token law to the initial model's, summed over
    the answers that the policy wrote: right on average, with less noise than log-ratios have.
    """
    count = settings["samples"]
    drawn = sample_completions(
        policy, task, count, range(len(task.prompts())), seed=seed, max_rows=256
    )
    tokens, lengths, index = drawn.rows
    rewards = drawn.rewards(task).numpy()
    kl = [
        score_rows(
            policy,
            task,
            tokens[part],
            lengths=lengths[part],
            prompt_index=index[part],
            reference=initial,
            fields=("policy_kl",),
        )["policy_kl"].sum(1)
        for part in torch.arange(len(tokens)).split(ROWS)
    ]
    texts = np.array(task.texts(tokens.numpy(), lengths.numpy()), dtype=object)
    stories = texts.reshape(rewards.shape).tolist()
    compared = settings["compared"]  # diversity depends on how many answers are compared
    measured: dict[str, Any] = {
        "reward": float(rewards.mean()),
        "kl": float(torch.cat(kl).mean()),
        "length": float(drawn.lengths.double().mean()),
        "distinct": {
            str(n): float(np.mean([distinct(group[:compared], n) for group in stories]))
            for n in (1, 2)
        },
        "different": float(np.mean([len(set(group[:compared])) / compared for group in stories])),
        "examples": stories[0][:3],
    }
    if settings["frontier"]:
        measured["frontier"] = frontier_of(rewards)
    if settings["frozen"]:
        measured["completions"] = [
            {"opening": UNSEEN[i], "sample": j, "text": text, "reward": float(rewards[i, j])}
            for i, group in enumerate(stories)
            for j, text in enumerate(group[:8])
        ]
    return measured


def distinct(texts: Sequence[str], n: int) -> float:
    """Different runs of n words as a share of all runs of n words in some texts (distinct-n of Li
    et al. 2016); nan where there are none.

    >>> distinct(["a happy dog", "a happy cat"], 2)
    0.75
    """
    words = [text.lower().split() for text in texts]
    runs = [tuple(text[i : i + n]) for text in words for i in range(len(text) - n + 1)]
    return len(set(runs)) / len(runs) if runs else float("nan")


def frontier_of(rewards: ArrayLike) -> list[list[float]]:
    """[alpha, KL, reward] of pi*_alpha, means over openings, from rewards [N, K] of the initial
    model's answers: each answer weighs e^{R/alpha}.

    Only the alphas at which no opening rests on fewer than `LEAST` answers ((sum w)^2 / sum w^2).

    >>> [[round(x, 2) for x in point] for point in frontier_of([[0.0, 1.0] * 100])[:2]]
    [[10.0, 0.0, 0.52], [8.53, 0.0, 0.53]]
    """
    scores = np.asarray(rewards, dtype=np.float64)
    points = []
    for alpha in ALPHAS:
        weights = np.exp((scores - scores.max()) / alpha)
        log_z = np.log(weights.mean(1)) + scores.max() / alpha
        law = weights / weights.sum(1, keepdims=True)
        earned = (law * scores).sum(1)
        if (1 / np.square(law).sum(1)).min() < LEAST:
            break
        points.append([alpha, float((earned / alpha - log_z).mean()), float(earned.mean())])
    return points


def most_reward(frontier: Sequence[Sequence[float]], kl: float) -> float:
    """The largest mean reward that any policy of this KL can earn.

    E_pi[R] <= R_alpha + alpha (KL - KL_alpha) at every alpha, as pi*_alpha is best at its alpha: so
    the least of these lines is above every policy, and touches the frontier. No reward is above 1.

    >>> most_reward([[1.0, 0.0, 0.5], [0.5, 0.25, 0.6]], 0.5)
    0.725
    """
    lines = [reward + alpha * (kl - at) for alpha, at, reward in frontier]
    return float(min(1.0, *lines))
