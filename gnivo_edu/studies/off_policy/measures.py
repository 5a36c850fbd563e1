"""What is measured of the runs of `off-policy`: gains, what a mixture changes of them, how much of
them it keeps, and what the laboratory said.
"""

from __future__ import annotations

from statistics import fmean

from gnivo_edu.statistics import Interval, t_interval
from gnivo_edu.studies.off_policy.rows import (
    BASE,
    EXACT,
    FRESH,
    MEASURE,
    METHODS,
    SAMPLERS,
    K,
    row_of,
)
from gnivo_edu.studies.results import Results, Run


def gain(results: Results, row: str) -> float:
    """How far a row lies above the model that it started from, in mean Pass@1."""
    return results.mean(row, MEASURE).mean - results.mean(BASE, MEASURE).mean


def laboratory(results: Results) -> dict[str, Run]:
    """What the laboratory says of each method, by its name."""
    rows = [row for row in results.rows if row.startswith(EXACT)]
    return {row.removeprefix(EXACT): results.of(row)[0] for row in rows}


def mixed(results: Results) -> list[tuple[str, str]]:
    """Methods with mixtures that were run, other than fresh answers."""
    pairs = [(method, sampler) for method in METHODS for sampler in SAMPLERS]
    return [pair for pair in pairs if pair[1] != FRESH and row_of(*pair) in results.rows]


def change(results: Results, method: str, sampler: str) -> Interval:
    """Paired difference of a mixture from fresh answers, same method, corrected."""
    rows = row_of(method, sampler), row_of(method, FRESH)
    return results.difference(*rows, MEASURE, comparisons=len(mixed(results)))


def share_kept(results: Results, method: str, sampler: str) -> Interval | None:
    """The gain with a mixture over that on fresh answers, with its interval over seeds; None where
    the gain on fresh answers may be none.
    """
    base = results.mean(BASE, MEASURE).mean
    if not results.mean(row_of(method, FRESH), MEASURE).low > base:
        return None
    fresh = results.values(row_of(method, FRESH), MEASURE)
    mixture = results.values(row_of(method, sampler), MEASURE)
    both = [seed for seed in fresh if seed in mixture]
    gained, gain_of_mixture = (
        fmean(values[seed] - base for seed in both) for values in (fresh, mixture)
    )
    share = gain_of_mixture / gained
    # The first order of a ratio of two means, paired by seed.
    moves = [
        share + (mixture[seed] - base - share * (fresh[seed] - base)) / gained for seed in both
    ]
    return t_interval(moves)


def written(results: Results, row: str) -> float | str:
    """Answers that a run wrote itself, of those that it learned from."""
    run = results.of(row)[0]
    train = run["settings"].get("train")
    if not train:
        return ""
    sampler = train["sampler"]
    visits = train["steps"] * train["prompts_per_step"] / train["questions"]
    # At the first visit there is nothing old, and the policy writes the group.
    replayed = sampler.get("replay", 0) * (1 - 1 / visits)
    return float(run["responses"] * (K - replayed - sampler.get("data", 0)) / K)
