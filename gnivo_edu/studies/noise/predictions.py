"""What was predicted of the study `noise` before its runs."""

from __future__ import annotations

from collections.abc import Callable

from gnivo_edu.studies.noise.report import ALONE, BASE, CLEAN, MEASURE, OURS, VIMPOS, against, far
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Prediction

CEILING = "python -c 'from gnivo_edu.studies.noise.lab import ceiling; print(ceiling(0.25))'"
ENDS = (
    "python -c 'from gnivo_edu.studies.noise.lab import end; "
    'print(end("GN-IVO", "answer", 0.25))\''
)


def _right(row: str) -> Callable[[Results], float]:
    return lambda results: results.mean("table: " + row, "right").mean


def _gain(row: str) -> Callable[[Results], float]:
    return lambda results: results.mean(row, MEASURE).mean - results.mean(BASE, MEASURE).mean


PREDICTIONS = (
    Prediction(
        "GN-IVO meets a ceiling when groups are turned round",
        "As published (softmax weights, the policy its own reference, K = 8) GN-IVO rests in a "
        "table at a chance of 0.793 of a right answer under 25% of groups turned round: beyond it, "
        "the few wrong answers of one group that was turned round get more weight than the many "
        "right ones of three groups that were not.",
        low=0.76,
        high=0.825,
        command=CEILING,
        falsified="a mean of five trained tables outside: no ceiling, or another.",
        placebo_misses="GRPO under the same noise has a push of half the size and the same "
        "direction, and goes on to 0.967.",
        number=_right("GN-IVO, group 25%"),
        placebo=_right("GRPO, group 25%"),
    ),
    Prediction(
        "No ceiling where each answer has its own coin",
        "With one coin for each answer a right one is still paid more often than a wrong one in "
        "every group, and GN-IVO's push never turns.",
        low=0.95,
        high=1.0,
        command=ENDS,
        falsified="tables that stop below 0.95.",
        placebo_misses="the same share of flips for whole groups has the ceiling.",
        number=_right("GN-IVO, answer 25%"),
        placebo=_right("GN-IVO, group 25%"),
    ),
    Prediction(
        "Anchored, GN-IVO ends at the tilt that an average weight leaves",
        "With raw weights and the initial model as reference it ends at pi_ref E[e^{R'/alpha}]/Z, "
        "R' the noisy reward: odds of at most (1 - p)/p = 3, here a chance of 0.496.",
        low=0.465,
        high=0.525,
        command="gnivo-edu claims --only gnivo-noise",
        falsified="tables outside, such as at the 0.802 of alpha/(1 - 2p).",
        placebo_misses="GVPO, whose loss is quadratic in R, ends at alpha/(1 - 2p).",
        number=_right("GN-IVO, anchored, group 25%"),
        placebo=_right("GVPO, anchored, group 25%"),
    ),
    Prediction(
        "GVPO ends at alpha/(1 - 2p)",
        "Total variation of trained tables from pi_ref e^{(1 - 2p) R/alpha}/Z, p = 0.25.",
        low=0.0,
        high=0.04,
        command="gnivo-edu claims --only vimpo-noise",
        falsified="a larger distance: the noise does more than raise the temperature.",
        placebo_misses="the end without noise is 0.178 away.",
        number=lambda results: far(results, "GVPO, anchored", VIMPOS, goal=VIMPOS).mean,
        placebo=lambda results: far(results, "GVPO, anchored", VIMPOS, goal=CLEAN).mean,
    ),
    Prediction(
        "Whole groups turned round cost GN-IVO more than GRPO",
        "Loss of Pass@1 (mean of tiers) of GN-IVO less that of GRPO at 25% of groups. The ceiling "
        "of 0.793 lies below what both reach without noise.",
        low=0.01,
        high=0.25,
        command=CEILING,
        falsified="a difference below 0.01: the ceiling does not matter in so short a training.",
        placebo_misses="with a coin for each answer there is no ceiling; that difference stands in "
        "the column of the placebo and need not lie outside by much.",
        number=lambda results: against(results, OURS, VIMPOS).mean,
        placebo=lambda results: against(results, OURS, ALONE).mean,
    ),
    Prediction(
        "GN-IVO stays under its ceiling on the questions that it is trained on",
        "Pass@1 of tier 2 under 25% of groups turned round.",
        low=0.5,
        high=0.81,
        command=CEILING,
        falsified="a mean above 0.81.",
        placebo_misses="without noise it has no ceiling and passes it.",
        number=lambda results: results.mean("GN-IVO, group 25%", "pass@1.2").mean,
        placebo=lambda results: results.mean("GN-IVO", "pass@1.2").mean,
    ),
    Prediction(
        "VIMPO bears the noise as well as GRPO, and no better",
        "Loss of VIMPO less that of GRPO at 25% of groups: noise leaves 1 - 2p of the expected "
        "push of either.",
        low=-0.05,
        high=0.05,
        command="gnivo-edu claims --only noise-shrinks",
        falsified="a difference of more than five points either way; VIMPO's claim is one below 0.",
        placebo_misses="no placebo: this predicts that nothing happens, and small effects are "
        "within.",
        number=lambda results: against(results, "VIMPO", VIMPOS).mean,
    ),
    Prediction(
        "From coins GRPO learns nothing",
        "Pass@1 under 50% of groups turned round, less that of the model at its start: the "
        "expected push is 0, and what is left is a random walk.",
        low=-0.15,
        high=0.04,
        command="gnivo-edu claims --only noise-shrinks",
        falsified="a gain above four points: then noise-free gains would not be the reward's.",
        placebo_misses="at 25% half of the push is left, and most of the gain.",
        number=_gain("GRPO, group 50%"),
        placebo=_gain("GRPO, group 25%"),
    ),
)
