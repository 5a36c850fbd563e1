"""What was said of `ablations` before its runs, from the laboratory's numbers."""

from __future__ import annotations

from typing import Any

from gnivo_edu.studies.ablations.rows import (
    MEASURE,
    OURS,
    RIVAL,
    SHUFFLED,
    STAYING,
    alpha_row,
    size_row,
)
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Prediction


def against(row: str, base: str = OURS) -> Any:
    """Reads the mean paired difference of a row in mean Pass@1."""
    return lambda results: results.difference(row, base, MEASURE).mean


def margin_growth(results: Results) -> float:
    """By how much GN-IVO's margin over GRPO is larger at K = 2 than at K = 16."""
    small, large = (
        results.difference(size_row(OURS, size), size_row(RIVAL, size), MEASURE).mean
        for size in (2, 16)
    )
    return small - large


def kl_ratio(results: Results) -> float:
    """KL with alpha 1 over that with alpha 0.1, the reference staying."""
    most, least = (results.mean(STAYING[n], "kl_to_initial").mean for n in (0, -1))
    return least / most


COMMAND = "gnivo-edu study ablations"
NO_GAIN = "without a reward to learn from it lies about as far below GN-IVO as the base does"
PREDICTIONS = (
    Prediction(
        name="pairs are noisier than groups of eight",
        says="In the laboratory the uphill signal of an answer is 0.150 in groups of two and 0.213 "
        "in groups of eight: at equal answers K = 2 gains less. Mean Pass@1 of K = 2 less that of "
        "K = 8.",
        low=-0.1,
        high=-0.005,
        command=COMMAND,
        falsified="a difference of 0 or above: or a noise that the optimiser does not mind.",
        placebo_misses=f"{NO_GAIN}, which is further.",
        number=against(size_row(OURS, 2)),
        placebo=against(SHUFFLED),
    ),
    Prediction(
        name="the margin over GRPO is no larger at small K",
        says="Second-hand of the paper: the margin over GRPO is clearer at small K. In the "
        "laboratory GN-IVO has 0.85 of GRPO's uphill signal at K = 2 and 0.97 at K = 16. Margin at "
        "K = 2 less margin at K = 16.",
        low=-0.1,
        high=0.01,
        command=COMMAND,
        falsified="a margin that is larger by more than a point at K = 2.",
        placebo_misses="it is no margin of a placebo; none is run at other group sizes.",
        number=margin_growth,
    ),
    Prediction(
        name="alpha 0.1 is alpha 0.2",
        says="Where the reference is the policy itself, alpha only sets how much a right answer "
        "weighs more than a wrong one: 148 or 22,026 times, which after normalising is the same. "
        "Mean Pass@1 of alpha 0.1 less that of 0.2.",
        low=-0.015,
        high=0.015,
        command=COMMAND,
        falsified="a difference of more than 1.5 points either way.",
        placebo_misses=f"{NO_GAIN}.",
        number=against(alpha_row(0.1)),
        placebo=against(SHUFFLED),
    ),
    Prediction(
        name="alpha 1 is not worse while the reference moves",
        says="Second-hand of the paper: alpha 1 is slower and lower. In the laboratory its uphill "
        "signal is 0.221, that of alpha 0.2 is 0.213, and Adam divides the shorter gradient out. "
        "Mean Pass@1 of alpha 1 less that of 0.2.",
        low=-0.01,
        high=0.04,
        command=COMMAND,
        falsified="alpha 1 more than a point lower.",
        placebo_misses=f"{NO_GAIN}.",
        number=against(alpha_row(1.0)),
        placebo=against(SHUFFLED),
    ),
    Prediction(
        name="one depth is worse than all",
        says="One drawn depth has the same mean gradient as all and more noise: an uphill signal "
        "of 0.159 against 0.213. Mean Pass@1 of one depth less that of all; the paper says so too, "
        "second-hand.",
        low=-0.1,
        high=-0.005,
        command=COMMAND,
        falsified="a difference of 0 or above.",
        placebo_misses=f"{NO_GAIN}, which is further.",
        number=against("1 depth"),
        placebo=against(SHUFFLED),
    ),
    Prediction(
        name="the last depth alone is no worse than all",
        says="All depths count the first token nine times and the last once, which points less "
        "well uphill: 0.213 against 0.247. Mean Pass@1 of the last depth less that of all.",
        low=-0.01,
        high=0.06,
        command=COMMAND,
        falsified="the last depth more than a point lower: then the early tokens deserve it.",
        placebo_misses=f"{NO_GAIN}.",
        number=against("last depth"),
        placebo=against(SHUFFLED),
    ),
    Prediction(
        name="a large alpha holds the policy where the reference stays",
        says="The optimum of alpha 1 is 0.085 nats from the reference in the laboratory, that of "
        "alpha 0.1 1.05. Trained KL of alpha 1 over that of alpha 0.1; a run that has not arrived "
        "has a ratio nearer 1.",
        low=0.0,
        high=0.6,
        command=COMMAND,
        falsified="a ratio above 0.6: then alpha acts by speed alone.",
        placebo_misses="it is a ratio of two alphas, and placebos are run at one.",
        number=kl_ratio,
    ),
)
