"""Claims of what single steps are worth."""

from __future__ import annotations

from functools import cache

import numpy as np

import toy_envs
from gnivo_edu import exact
from gnivo_edu.population.claims.claim import (
    Curve,
    holds_if,
)

ALPHAS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@cache
def _poster_answers() -> tuple[exact.TokenTree, list[tuple[int, ...]]]:
    """The poster's problem and its wrong answers."""
    tree = exact.enumerate_tree(toy_envs.PosterProblem())
    answers = [tuple(answer) for answer in tree.answers()]
    return tree, [answer for answer in answers if tree.rewards[tree.index(answer)[1]] < 1]


def _missed_first_errors(alpha: float, chances: bool) -> tuple[float, float]:
    """Share of the wrong answers whose largest drop is not at their first error, each counted once
    and each by its probability; drops of V in nats, or of the reference's chance of success.
    """
    tree, wrong = _poster_answers()
    values = exact.solve(tree, alpha).values
    if chances:
        values = [exact.success_probability(v, alpha) for v in values]
    missed, weights = [], []
    for answer in wrong:
        path = [values[t][tree.index(answer[:t])[1]] for t in range(len(answer) + 1)]
        missed.append(int(np.argmin(np.diff(path))) != answer.index(1))
        weights.append(np.exp(tree.prefix_logps[-1][tree.index(answer)[1]]))
    return float(np.mean(missed)), float(np.average(missed, weights=weights))


def _first_drop_curve() -> Curve:
    rows = []
    for alpha in ALPHAS:
        nats, nats_weighted = _missed_first_errors(alpha, chances=False)
        chances, _ = _missed_first_errors(alpha, chances=True)
        row = {"alpha": alpha, "nats": nats, "nats by probability": nats_weighted}
        rows.append({**row, "chances": chances})
    return rows


CLAIMS = [
    holds_if(
        "first-drop",
        "The largest drop in value marks the first mistake.",
        source="a common reading of step values",
        read="story",
        kind="measurement",
        where="the poster's problem, its wrong answers, V in nats at alpha 0.2; at other alpha see "
        "the curve",
        unit="share of wrong answers where it does not",
        number=lambda: _missed_first_errors(0.2, chances=False)[0],
        unless="value is the reference's chance of success",
        counterfactual=lambda: _missed_first_errors(0.2, chances=True)[0],
        curve=_first_drop_curve,
    ),
]
