"""Names for where an objective ends: known laws of answers, tried from simple to general."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.population import Answers, laws, total_variation
from gnivo_edu.population.laws import SAME


def name_of(
    answers: Answers, law: Float[Tensor, " n"], alpha: float, group_size: int
) -> str | None:
    """What law of answers this is, if it is a known one to 1e-6 in total variation."""
    reference = answers.law(answers.reference)
    R = answers.rewards
    if total_variation(law, reference) < SAME:
        return "the reference itself: it does not move"
    # Is log pi/pi_ref linear in R, or in R, the length and their product? Least squares weighted by
    # pi, so that answers that it has all but given up do not decide.
    length = answers.lengths.to(R.dtype)
    root = law.sqrt()[:, None]
    logratio = (law / reference).log()[:, None]
    for columns in ([R], [R, length, R * length]):
        A = torch.stack([torch.ones_like(R), *columns], 1)
        fit = torch.linalg.lstsq(A * root, logratio * root, driver="gelsd").solution.flatten()
        fitted = (reference.log() + A @ fit).softmax(0)
        if len(R.unique()) <= 2 or total_variation(fitted, law) >= SAME:
            continue
        if len(columns) == 1:
            side = "" if fit[1] > 0 else ": it pays for low rewards (is a sign turned?)"
            return f"pi_ref e^(R/a)/Z with a = {1 / float(fit[1]):.4g} instead of {alpha:g}{side}"
        terms = zip(fit[1:].tolist(), ("R", "length", "R length"), strict=True)
        parts = " + ".join(f"{f:.3g} {name}" for f, name in terms if abs(f) > SAME)
        return f"a law that counts the length: log pi/pi_ref = {parts} + constant"
    if total_variation(law, laws.best_of(answers, group_size, sampler=reference)) < SAME:
        return f"the law of the best of {group_size}"
    levels, index = R.unique(return_inverse=True)
    given = index.bincount(law) / index.bincount(reference)
    if len(levels) < len(R) and total_variation(reference * given[index], law) < SAME:
        pairs = zip(levels.tolist(), given.tolist(), strict=True)
        factors = ", ".join(f"{factor:.3g} at R = {level:g}" for level, factor in pairs)
        return f"pi_ref times a function of the reward alone: {factors}"
    return None
