"""Names for where an objective ends: laws of answers that are known, tried from simple to
general.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.population import laws
from gnivo_edu.population.answers import Answers, total_variation

SAME = 1e-6  # total variation below which two laws are the same


def name_of(
    answers: Answers, law: Float[Tensor, " n"], alpha: float, group_size: int
) -> str | None:
    """What law of answers this is, if it is a known one: tested to 1e-6 in total variation, from
    simple to general.
    """
    reference, R = answers.law(answers.reference), answers.rewards
    if total_variation(law, reference) < SAME:
        return "the reference itself: it does not move"
    x = (law / reference).log()
    ones, length = torch.ones_like(R), answers.lengths.to(R.dtype)
    for columns in ([ones, R], [ones, R, length, R * length]):
        A = torch.stack(columns, 1)
        fit = torch.linalg.lstsq(
            A * law.sqrt()[:, None], (x * law.sqrt())[:, None], driver="gelsd"
        ).solution[:, 0]
        if (
            len(R.unique()) > 2
            and total_variation((reference.log() + A @ fit).softmax(0), law) < SAME
        ):
            if len(columns) == 2:
                side = "" if fit[1] > 0 else ": it pays for low rewards (is a sign turned?)"
                return (
                    f"pi_ref e^(R/a)/Z with a = {1 / float(fit[1]):.4g} instead of {alpha:g}{side}"
                )
            terms = zip(fit[1:].tolist(), ("R", "length", "R length"), strict=True)
            parts = " + ".join(f"{f:.3g} {name}" for f, name in terms if abs(f) > SAME)
            return f"a law that counts the length: log pi/pi_ref = {parts} + constant"
    if total_variation(law, laws.best_of(answers, group_size, reference)) < SAME:
        return f"the law of the best of {group_size}"
    levels, index = R.unique(return_inverse=True)
    mass = torch.zeros_like(levels)
    given = mass.index_add(0, index, law) / mass.index_add(0, index, reference)
    if len(levels) < len(R) and total_variation(reference * given[index], law) < SAME:
        tilt = ", ".join(
            f"{float(v):.3g} at R = {float(r):g}" for r, v in zip(levels, given, strict=True)
        )
        return f"pi_ref times a function of the reward alone: {tilt}"
    return None
