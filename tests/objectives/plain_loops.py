"""Losses from their definitions, in plain Python, where two objectives share one."""

from __future__ import annotations

import math
from typing import Any

import torch

from gnivo_edu.batch import GroupBatch
from tests.objectives.objective_checks import Groups


def advantages_loops(
    groups: Groups, scale: str, pays: list[float] | None = None
) -> list[list[float]]:
    """Rewards less their pays, less the group's mean, over a standard deviation + 1e-4."""

    def std(x: list[float]) -> float:
        return math.sqrt(sum((a - sum(x) / len(x)) ** 2 for a in x) / (len(x) - 1))

    everything = std([row.R for group in groups for row in group])
    advantages = []
    for group in groups:
        rewards = [row.R - pay for row, pay in zip(group, pays or [0.0] * len(group), strict=True)]
        divisor = {"group": std(rewards) + 1e-4, "batch": everything + 1e-4, "none": 1.0}[scale]
        advantages.append([(r - sum(rewards) / len(rewards)) / divisor for r in rewards])
    return advantages


def grpo_loops(
    live: Groups,
    _: Groups,
    alpha: float,
    kl: str = "k3",
    scale: str = "group",
    normaliser: str = "seq-mean-token-mean",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    max_length: int = 1,
) -> float:
    total, tokens, responses = 0.0, 0, 0
    for group, advantages in zip(live, advantages_loops(live, scale), strict=True):
        for row, a in zip(group, advantages, strict=True):
            h = sum(row.p) - sum(row.r)
            response = 0.0
            for t in range(len(row.p)):
                u = math.exp(row.p[t] - row.b[t])
                x = row.p[t] - row.r[t]
                k = {
                    "k3": math.exp(-x) - 1 + x,
                    "exact": row.kl[t],
                    "sequence": h * h / (2 * len(row.p)),
                    "none": 0.0,
                }[kl]
                response += -min(u * a, max(1 - clip_low, min(u, 1 + clip_high)) * a) + alpha * k
            total += response / (len(row.p) if normaliser == "seq-mean-token-mean" else 1)
            tokens += len(row.p)
            responses += 1
    if normaliser == "token-mean":
        return total / tokens
    return total / responses / (max_length if normaliser == "seq-mean-token-sum-norm" else 1)


HORIZON = 7


GROUP_SETTINGS: list[dict[str, Any]] = [
    {"weights": weights, **choice}
    for weights in ("raw", "softmax")
    for choice in (
        {"prefixes": "last"},
        {"prefixes": "given", "depths": torch.tensor([2, 7, 5])},
        *({"lengths": name} for name in ("sum_max", "sum_min", "mean_max", "mean_min", "own")),
        {"lengths": "horizon", "horizon": HORIZON},
    )
]


GROUP_IDS = [
    "-".join(str(v) for k, v in choice.items() if k != "depths") for choice in GROUP_SETTINGS
]


def group_loops(
    batch: GroupBatch, scores: list[list[list[float]]], alpha: float, settings: dict[str, Any]
) -> float:
    """The same objective from its definition, one depth at a time; `scores[n][i][t - 1]`, t =
    1..T_i.
    """
    total = 0.0
    for n, group in enumerate(scores):
        rewards = batch.rewards[n].tolist()
        lengths = [len(row) for row in group]
        weights = [math.exp((r - settings.get("reward_max", 0.0)) / alpha) for r in rewards]
        if settings["weights"] == "softmax":
            weights = [w / sum(weights) for w in weights]

        def term(
            i: int, t: int, group: list[list[float]] = group, weights: list[float] = weights
        ) -> float:
            at = [row[min(t, len(row)) - 1] for row in group]
            return -weights[i] * (at[i] - math.log(sum(math.exp(x) for x in at)))

        members = range(len(group))
        kind = settings.get("lengths", "sum_max")
        if settings.get("prefixes") == "last":
            total += sum(term(i, max(lengths)) for i in members)
        elif settings.get("prefixes") == "given":
            total += sum(term(i, int(settings["depths"][n])) for i in members)
        elif kind == "own":
            total += sum(term(i, t) / lengths[i] for i in members for t in range(1, lengths[i] + 1))
        else:
            last = {"max": max(lengths), "min": min(lengths)}.get(kind[-3:], HORIZON)
            terms = [term(i, t) for i in members for t in range(1, last + 1)]
            total += sum(terms) / (1 if kind.startswith("sum") else last)
    return total / len(scores)


def prefix_sums(batch: GroupBatch) -> list[list[list[float]]]:
    out = []
    for n in range(len(batch.rewards)):
        group = []
        for k in range(batch.rewards.shape[1]):
            ratios = [
                float(batch.policy_logps[n, k, t] - batch.behaviour_logps[n, k, t])
                for t in range(int(batch.mask[n, k].sum()))
            ]
            group.append([sum(ratios[: t + 1]) for t in range(len(ratios))])
        out.append(group)
    return out
