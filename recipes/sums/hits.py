"""What step_values.json of the sums says: how often a method finds the first wrong step, and how
implicit step values agree with Monte-Carlo ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gnivo_edu.exact import value_of_chance
from gnivo_edu.statistics import bootstrap_interval, rank_correlation

ALPHA = 0.2  # of the values in nats: GN-IVO's
CONTROL = "most surprising token"  # what the other guesses are held against
DRAWS = 2000  # resamplings of a correlation

Row = dict[str, Any]


def credits(answer: Row, right: Sequence[int], count: int) -> np.ndarray:
    """Monte-Carlo credit of each step, nats: V after it minus V before it; at the end V = R/alpha.

    V = log E[e^{R/alpha}] of `count` continuations of which `right` were right.
    """
    chances = [*(number / count for number in right), answer["reward"]]
    return np.diff([value_of_chance(chance, ALPHA) for chance in chances])


def guesses(values: Row) -> dict[str, list[np.ndarray]]:
    """A number for each step of every answer, by method: the lower, the likelier it is the first
    wrong one.
    """
    answers, count = values["answers"], values["continuations"]
    rows = {
        "Monte-Carlo values, nats": [credits(a, a["right_after"], count) for a in answers],
        "Monte-Carlo chances of a right answer": [
            np.diff([*(n / count for n in a["right_after"]), a["reward"]]) for a in answers
        ],
    }
    for name in values["names"]:
        rows[f"implicit values, `{name}`"] = [np.array(a["implicit"][name]) for a in answers]
    rows[CONTROL] = [np.array(a["least_log_p_of_a_token"]) for a in answers]
    rows["least likely step"] = [np.array(a["log_p"]) for a in answers]
    # The commonest first error of its tier, told from these very answers: the best constant guess.
    usual = {tier: commonest(judged(values), tier) for tier in {a["tier"] for a in answers}}
    rows["position: the tier's commonest"] = [
        -(np.arange(len(a["log_p"])) == usual[a["tier"]]).astype(float) for a in answers
    ]
    rows["chance"] = [np.zeros(len(a["log_p"])) for a in answers]
    return rows


def is_judged(answer: Row) -> bool:
    """Whether an answer is wrong, with its first error inside one of its steps."""
    return answer["reward"] == 0 and 0 <= answer["first_wrong"] < len(answer["log_p"])


def judged(values: Row) -> list[Row]:
    """The wrong answers that a guess can be held to."""
    return [answer for answer in values["answers"] if is_judged(answer)]


def commonest(answers: Sequence[Row], tier: str) -> int:
    """Number of the step at which most of a tier's answers go wrong first."""
    counts = np.bincount([a["first_wrong"] for a in answers if a["tier"] == tier], minlength=1)
    return int(counts.argmax())


def hit(guess: np.ndarray, first: int) -> float:
    """1 where the lowest number is that of the first wrong step; where several steps share it, the
    chance of a draw among them.

    >>> hit(np.array([0.0, -2.0, 1.0]), 1), hit(np.array([-1.0, -1.0, 0.0]), 0)
    (1.0, 0.5)
    """
    lowest = np.flatnonzero(np.isclose(guess, guess.min(), rtol=0, atol=1e-9))
    return float(first in lowest) / len(lowest)


def hit_rates(values: Row) -> dict[str, Row]:
    """Share of the judged answers whose first wrong step a method finds, with its 95% interval over
    answers, each to a question of its own; in all, by tier, and minus that of `CONTROL` on the
    same answers.
    """
    mask = [is_judged(answer) for answer in values["answers"]]
    kept = judged(values)
    tiers = np.array([answer["tier"] for answer in kept])
    hits = {}
    for name, rows in guesses(values).items():
        guessed = [row for row, keep in zip(rows, mask, strict=True) if keep]
        pairs = zip(guessed, kept, strict=True)
        hits[name] = np.array([hit(guess, answer["first_wrong"]) for guess, answer in pairs])
    return {
        name: {
            **interval(some),
            "by_tier": {
                tier: interval(some[tiers == tier]) for tier in dict.fromkeys(tiers.tolist())
            },
            "beyond_control": interval(some - hits[CONTROL]),
        }
        for name, some in hits.items()
    }


def interval(values: Sequence[float] | np.ndarray) -> Row:
    """A mean over questions and its 95% bootstrap interval; no interval for one question."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return {"mean": float(values.mean()), "low": None, "high": None, "count": len(values)}
    told = bootstrap_interval(values)
    return {"mean": told.mean, "low": told.low, "high": told.high, "count": len(values)}


def agreement(values: Row) -> dict[str, Row]:
    """Spearman's correlation of the implicit credits of steps with the Monte-Carlo ones, with its
    95% bootstrap interval over answers; and of Monte-Carlo credits from one half of the
    continuations with those from the other.
    """
    answers, count = values["answers"], values["continuations"]
    half = count // 2
    carlo = [credits(a, a["right_after"], count) for a in answers]
    first = [credits(a, a["right_after_first_half"], half) for a in answers]
    rest = [np.subtract(a["right_after"], a["right_after_first_half"]).tolist() for a in answers]
    second = [credits(a, row, count - half) for a, row in zip(answers, rest, strict=True)]
    told = {"Monte-Carlo, half against half": correlation(first, second)}
    for name in values["names"]:
        told[name] = correlation([np.array(a["implicit"][name]) for a in answers], carlo)
    surprise = [np.array(a["log_p"]) for a in answers]
    told["log p of the step under the warm-up"] = correlation(surprise, carlo)
    return told


def correlation(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Row:
    """Spearman's correlation over all steps, resampled by answer."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        some = rng.integers(len(one), size=len(one))
        x, y = (np.concatenate([rows[i] for i in some]) for rows in (one, other))
        drawn.append(rank_correlation(x, y))
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = rank_correlation(np.concatenate(one), np.concatenate(other))
    return {"mean": value, "low": float(low), "high": float(high), "steps": sum(map(len, one))}
