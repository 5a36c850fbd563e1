"""What the implicit credits of a run say: how well they find the first wrong step, how often it was
learned, and what chances of ending right they mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gnivo_edu.exact import success_probability, value_of_chance
from gnivo_edu.statistics import Array, rank_correlation
from gnivo_edu.studies.credit.measures import AGAINST, Frozen, Scores, hit


def steps_of(frozen: Frozen, scores: Scores) -> dict[str, Any]:
    """How well some scores find the first wrong step: AUC against each of `AGAINST`, top-1 among
    all steps and among look-alikes.
    """
    return {
        "auc": {name: frozen.auc(scores, name) for name in AGAINST},
        "top1": {
            "all": float(frozen.hits(scores).mean()),
            "alike": float(np.nanmean(frozen.hits(scores, alike=True))),
        },
    }


def measures(frozen: Frozen, credits: Scores, count: int) -> dict[str, Any]:
    """All that is said of the implicit credits of one run, nats, one list an answer.

    `learned`: share of first wrong steps whose credit is above 0, which training has made likelier;
    `again_negative`: share of later wrong steps whose credit is below 0, though nothing is left to
    lose there. `correlation`: Spearman's, with Monte-Carlo credits over all steps. `drops`: see
    `drop_shares`; `calibration`: see there.
    """
    values = frozen.flat(credits)
    later = frozen.wrong & ~frozen.first
    every, monte_carlo = (
        np.concatenate([*map(np.asarray, rows)])
        for rows in (credits, frozen.monte_carlo(count, nats=True))
    )
    return {
        **steps_of(frozen, credits),
        "learned": float((values[frozen.first] > 0).mean()),
        "again_negative": float((values[later] < 0).mean()),
        "correlation": rank_correlation(every, monte_carlo),
        "drops": drop_shares(frozen, credits),
        "calibration": calibration(frozen, credits, count),
    }


def drop_shares(frozen: Frozen, credits: Scores) -> dict[str, float]:
    """Of the judged answers: how often the first step whose number is below 0 is the first wrong
    one, how often the lowest is, and how often both are one step.
    """
    first, lowest, same = [], [], []
    for i in frozen.judged:
        values = np.asarray(credits[i], dtype=np.float64)
        falls = np.flatnonzero(values < 0)
        drop = int(falls[0]) if len(falls) else -1
        first.append(drop == frozen.rows[i]["first_wrong"])
        lowest.append(hit(values, frozen.rows[i]["first_wrong"]))
        same.append(drop == int(values.argmin()))
    return {
        "first": float(np.mean(first)),
        "lowest": float(np.mean(lowest)),
        "same": float(np.mean(same)),
    }


def implied_chances(frozen: Frozen, credits: Scores, count: int) -> tuple[float, list[Array]]:
    """1/alpha at which the policy would be optimal, and the chance of ending right that its
    implicit values then mean, before each step and after the last.

    Of an optimal policy the credits of a right answer sum to 1/alpha - log Z and those of a wrong
    one to - log Z: 1/alpha is the difference of the two means. log Z is that of the Monte-Carlo
    chance at the start, V(s_t) = log Z + sum of the credits, and the chance is cut to 0..1. Where
    right answers gained nothing over wrong ones there is no such alpha: nan.
    """
    sums = np.array([np.sum(row) for row in credits])
    right = np.array([row["right"] for row in frozen.rows]) > 0
    inverse = float(sums[right].mean() - sums[~right].mean())
    if not inverse > 0:
        return inverse, [np.full(len(row) + 1, np.nan) for row in credits]
    implied = []
    for row, chance in zip(credits, frozen.chances(count), strict=True):
        values = value_of_chance(float(chance[0]), 1 / inverse) + np.cumsum([0.0, *row])
        implied.append(success_probability(values, 1 / inverse).clip(0, 1))
    return inverse, implied


def calibration(frozen: Frozen, credits: Scores, count: int) -> dict[str, float]:
    """How far implied chances lie from Monte-Carlo ones, at states between two steps: the mean
    absolute error, that of the chance at the start, which knows nothing of the steps, and the mean
    implied chance right after a first wrong step, where the Monte-Carlo one is near 0.
    """
    inverse, implied = implied_chances(frozen, credits, count)
    chances = frozen.chances(count)
    pairs = [
        (guess[t], chance[t], chance[0])
        for guess, chance in zip(implied, chances, strict=True)
        for t in range(1, len(chance) - 1)
    ]
    guess, true, start = np.array(pairs).T
    lost = [
        implied[i][frozen.rows[i]["first_wrong"] + 1]
        for i in frozen.judged
        if frozen.rows[i]["first_wrong"] + 1 < len(frozen.rows[i]["wrong"])
    ]
    return {
        "inverse_alpha": inverse,
        "error": float(np.abs(guess - true).mean()),
        "error_of_start": float(np.abs(start - true).mean()),
        "after_first_wrong": float(np.mean(lost)),
    }


def last_missed_chances(frozen: Frozen, count: int) -> dict[str, int]:
    """Of the judged answers, where their last missed chance is: the last step before which some
    continuation was right and after which none is. `first wrong step`, `later`, `earlier` than
    that one, or `none seen`, where no continuation was right from the question on.
    """
    told = dict.fromkeys(("first wrong step", "later", "earlier", "none seen"), 0)
    chances = frozen.chances(count)
    for i in frozen.judged:
        first = frozen.rows[i]["first_wrong"]
        missed = np.flatnonzero((chances[i][:-1] > 0) & (chances[i][1:] == 0))
        if not len(missed):
            told["none seen"] += 1
        elif missed[-1] == first:
            told["first wrong step"] += 1
        else:
            told["later" if missed[-1] > first else "earlier"] += 1
    return told
