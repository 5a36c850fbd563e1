"""What the exact laboratory says of the rows of `ablations`: how far a batch points uphill, and
where the method ends while its reference stays.

Three questions of four steps, each right with one chance: the first wrong one settles the answer,
and what follows it is forced. So that an answer has one of five forms, and groups of sixteen can be
listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from math import sqrt
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.groups import CompletionWeights
from gnivo_edu.population import (
    Answers,
    Population,
    divergence,
    gradient_covariance,
    point_at,
    total_variation,
)
from gnivo_edu.population.roots import rest
from gnivo_edu.training import TrainConfig, load_config

SURE = (0.95, 0.8, 0.6)  # chances of a right step; of a right answer 0.81, 0.41 and 0.13
TOKENS, TOKENS_PER_STEP = 4, 2
Loss = Callable[..., LossOutput]


def few_depths(
    batch: GroupBatch,
    alpha: float = 0.2,
    weights: CompletionWeights = "softmax",
    prefixes: str = "given",
    depths: Int[Tensor, " N"] | None = None,
    horizon: int = TOKENS,
    count: int = 1,
) -> LossOutput:
    """GN-IVO at `count` depths of 1..`horizon`, evenly spread from the one that was drawn; their
    mean. Each of them is uniform, and no two are equal.
    """
    if depths is None or prefixes != "given":
        raise ValueError("few_depths starts at a depth that is drawn: set prefixes to given")
    shifts = [n * horizon // count for n in range(count)]
    parts = [
        objectives.gnivo(
            batch,
            alpha=alpha,
            weights=weights,
            prefixes="given",
            depths=(depths - 1 + shift) % horizon + 1,
            horizon=horizon,
        )
        for shift in shifts
    ]
    return LossOutput(torch.stack([part.loss for part in parts]).mean(), parts[0].metrics)


@cache
def question(sure: float) -> Answers:
    """All answers to a question whose steps are right with chance `sure`; the right one earns 1.

    >>> len(question(0.8).rewards), round(float(question(0.8).law(question(0.8).reference)[0]), 4)
    (5, 0.4096)
    """
    tables = []
    for depth in range(TOKENS):
        table = np.full((2**depth, 2), -np.inf)
        table[:, 0] = 0.0  # after a slip
        table[0] = np.log([sure, 1 - sure])
        tables.append(table)
    rewards = np.zeros(2**TOKENS)
    rewards[0] = 1.0
    return Answers.of(exact.enumerate_tree_from_rewards(rewards, 2, reference=tables))


def laboratory(train: Mapping[str, Any]) -> dict[str, float]:
    """The laboratory's numbers for the settings of a run, policy, sampler and reference being one.

    `noise`: answers that a batch needs for its noise to be as large as its mean gradient.
    `cosine` of the mean gradient and that of the mean reward. `uphill`, their cosine for a batch
    of few answers, per root answer: cosine/sqrt(noise). `away`, of GN-IVO: where it ends while the
    reference stays, total variation from pi*, mean over the questions; `kl`: that of pi* to the
    reference, nats.
    """
    config = load_config(**train)
    return batch_of(config) | (end_of(config) if config.objective == "gnivo" else {})


def batch_of(config: TrainConfig) -> dict[str, float]:
    """`noise`, `cosine` and `uphill`, see `laboratory`."""
    alike = squared = variance = steepest = 0.0
    for answers in map(question, SURE):
        population = Population.of(answers, config.group_size, sampler="current")
        point = point_at(answers, alpha=1.0)  # its values are not looked at
        # The depths that may be drawn are a mixture of losses: their second moments add up.
        moments = [gradient_covariance(loss, population, point) for loss in _losses(config)]
        means = torch.stack([mean.flatten() for mean, _ in moments])
        second = torch.stack(
            [m @ m + covariance.trace() for m, (_, covariance) in zip(means, moments, strict=True)]
        )
        mean, best = means.mean(0), _uphill(answers)
        alike -= float(mean @ best)  # a loss is descended
        squared += float(mean @ mean)
        steepest += float(best @ best)
        variance += float(second.mean() - mean @ mean)
    # A batch of B answers has B/K groups, spread over Q questions, each with logits of its own: its
    # mean gradient has the square sum |g_q|^2/Q^2, its noise K/B sum tr C_q/Q.
    noise = config.group_size * len(SURE) * variance / squared
    cosine = alike / sqrt(squared * steepest)
    return {"noise": noise, "cosine": cosine, "uphill": cosine / sqrt(noise)}


def end_of(config: TrainConfig) -> dict[str, float]:
    """`away` and `kl`, see `laboratory`; nothing where no end is found."""
    alpha = config.objective_options["alpha"]
    distances, divergences = [], []
    for answers in map(question, SURE):
        optimum = answers.tilted(answers.rewards / alpha)
        # On average one drawn depth is all of them.
        loss = _losses(config, drawn=False)[0]
        population = Population.of(answers, config.group_size)
        ended = rest(loss, population, point_at(answers, alpha, policy=optimum))
        if not ended.converged:
            return {}
        law = answers.law(answers.policy(ended.point.logits))
        distances.append(total_variation(law, answers.law(optimum)))
        divergences.append(divergence(answers.law(optimum), answers.law(answers.reference)))
    return {"away": float(np.mean(distances)), "kl": float(np.mean(divergences))}


def _losses(config: TrainConfig, drawn: bool = True) -> list[Loss]:
    """The loss of a configuration in the laboratory; one for each depth that it may draw."""
    options = dict(config.objective_options)
    count = options.pop("count", 1)
    few = count > 1 or options.get("prefixes") == "given"
    if not few:
        loss: Loss = partial(objectives.get(config.objective), **options)
        return [partial(_by_step, loss=loss) if config.level == "step" else loss]
    kept = {name: options[name] for name in ("alpha", "weights")}
    if not drawn:
        return [partial(objectives.gnivo, **kept)]
    # 3 of 9 depths in training are 2 of 4 here: every third, and every second.
    count = 2 if count > 1 else 1
    return [partial(_at, first=t, count=count, **kept) for t in range(1, TOKENS // count + 1)]


def _at(batch: GroupBatch, first: int, count: int, **options: Any) -> LossOutput:
    depths = torch.full((len(batch.rewards),), first)
    return few_depths(batch, count=count, depths=depths, **options)


def _by_step(batch: GroupBatch, loss: Loss, **options: Any) -> LossOutput:
    ids = (torch.arange(TOKENS) // TOKENS_PER_STEP).expand(batch.policy_logps.shape)
    return loss(replace(batch, step_ids=ids).by_step(), **options)


def _uphill(answers: Answers) -> Tensor:
    """Gradient of the mean reward by the logits, at the reference."""
    logits = point_at(answers, alpha=1.0).logits.clone().requires_grad_()
    reward = answers.law(answers.policy(logits)) @ answers.rewards
    return torch.autograd.grad(reward, logits)[0].flatten()
