"""VIMPO from its definition, in plain Python, with every option of its code."""

from __future__ import annotations

import math
from collections.abc import Callable

from tests.objectives.objective_checks import Groups, Row


def mean(x: list[float]) -> float:
    return sum(x) / len(x)


def token_kl(row: Row, kl: str, t: int, sampler: bool = False) -> float:
    x = (row.b[t] if sampler else row.p[t]) - row.r[t]
    estimates: dict[str, Callable[[], float]] = {
        "exact": lambda: row.kl[t],
        "k1": lambda: x,
        "k2": lambda: x * x / 2,
        "k3": lambda: math.exp(-x) - 1 + x,
    }
    return estimates[kl]()


def loops(
    live: Groups,
    frozen: Groups,
    alpha: float,
    actor: float = 5e-3,
    lam: float = 1.0,
    baseline: str = "mean",
    kl: str = "exact",
    whitened: bool = True,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float | None = 10.0,
    value: str = "raw",
    detached: bool = True,
    huber: float | None = None,
    cap: float | None = None,
    normalised: bool = False,
    value_weight: float = 1.0,
    advantages: str = "implicit",
    actor_ratio: float | None = None,
) -> float:
    soft = value == "soft"
    bound = math.inf if huber is None else huber

    def residuals(groups: Groups) -> tuple[list[float], list[float]]:
        """Of each response, and its target."""
        differences, targets = [], []
        for group, same in zip(groups, frozen, strict=True):
            returns = [
                row.R - soft * alpha * sum(token_kl(row, kl, t, True) for t in range(len(row.p)))
                for row in same
            ]
            for i, row in enumerate(group):
                others = returns if baseline == "mean" else returns[:i] + returns[i + 1 :]
                b = min(mean(others), math.inf if cap is None else cap)
                charged = same[i] if detached else row
                x = sum(
                    alpha * (row.p[t] - row.r[t]) - (not soft) * alpha * token_kl(charged, kl, t)
                    for t in range(len(row.p))
                )
                differences.append(x - (row.R - b))
                targets.append(row.R - b)
        return differences, targets

    differences, targets = residuals(live)
    value_loss = value_weight * mean(
        [x * x / 2 if abs(x) <= bound else bound * (abs(x) - bound / 2) for x in differences]
    )
    if normalised:
        value_loss /= max(mean([x * x for x in targets]), 1e-4)
    if soft:
        return value_loss

    advised = []
    for group in frozen:
        # From the first one on, so that equal rewards are 0 exactly.
        centre = group[0].R + mean([row.R - group[0].R for row in group])
        spread = math.sqrt(sum((row.R - centre) ** 2 for row in group) / (len(group) - 1))
        for row in group:
            delta = [
                alpha * (row.p[t] - row.r[t] - token_kl(row, kl, t)) for t in range(len(row.p))
            ]
            implicit = [
                sum(lam ** (m - t) * delta[m] for m in range(t, len(delta)))
                for t in range(len(delta))
            ]
            of_group = len(delta) * [(row.R - centre) / (spread + 1e-6)]
            advised += implicit if advantages == "implicit" else of_group
    if whitened and advantages == "implicit":
        centre = mean(advised)
        variance = sum((a - centre) ** 2 for a in advised) / max(len(advised) - 1, 1)
        advised = [(a - centre) / math.sqrt(variance + 1e-8) for a in advised]

    def actor_loss(groups: Groups) -> tuple[float, list[float]]:
        """The token mean, and the slope of each token's loss in its log-ratio."""
        tokens = [(row, t) for group in groups for row in group for t in range(len(row.p))]
        terms, slopes = [], []
        for (row, t), a in zip(tokens, advised, strict=True):
            u = math.exp(row.p[t] - row.b[t])
            plain, clipped = -a * u, -a * min(max(u, 1 - clip_low), 1 + clip_high)
            most = -dual_clip * a if dual_clip is not None and a < 0 else math.inf
            terms.append(min(max(plain, clipped), most))
            slopes.append(-a * u if plain >= clipped and plain < most else 0.0)
        return mean(terms), slopes

    if actor_ratio is not None:
        _, slopes = actor_loss(frozen)
        # By log-probabilities: the value loss is a mean over responses, the actor's over tokens.
        responses = [row for group in frozen for row in group]
        pulls = [
            alpha * max(-bound, min(x, bound)) / len(responses)
            for x, row in zip(residuals(frozen)[0], responses, strict=True)
            for _ in row.p
        ]
        theirs = math.sqrt(mean([x * x for x in slopes])) / len(slopes)
        actor = actor_ratio * math.sqrt(mean([x * x for x in pulls])) / theirs if theirs else 0.0
    return value_loss + actor * actor_loss(live)[0]
