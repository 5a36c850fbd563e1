"""Exercise 15: right up to a shift.

Theorem 2: the group loss finds V up to one constant for each depth, which it cannot see,

    V_theta(s_t) = V(s_t) + log C_t

for every prefix s_t of t tokens that the reference can write. So measure, at each depth,
the shift and how far it is from being one constant: over the reachable prefixes of t tokens,

    shift_t = mean of V_theta - V,        spread_t = (largest V_theta - V) - (smallest V_theta - V)

The mean is a plain one, every reachable prefix counts alike. In a perfect fit all spreads are 0,
whatever the shifts.

Write `shift_and_spread(v_theta, values, prefix_logps) -> (shifts, spreads)`, two arrays [T] for t =
1 ... T, in nats.

- `v_theta`, `values`: lists of T arrays, entry t - 1 float64 [V**t]: V_theta and V of every prefix
  of t tokens;
- `prefix_logps`: a list of T arrays of the same shapes: log pi_ref(prefix). It is -inf where the
  reference never goes; nothing was fitted there, and V_theta means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, array, by_entry, by_part, frozen, tuple_of
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.trees import backward, prefix_law, random_tables

Depths = list[Array]
Pair = tuple[Array, Array]


def shift_and_spread(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """Mean of V_theta - V, and its largest minus its smallest, over the reachable prefixes of each
    depth; [T], [T].

    >>> v_theta = [np.array([1.0, 3.0]), np.array([5.0, 4.0, 6.0, 99.0])]
    >>> prefix_logps = [np.log([0.5, 0.5]), np.array([-1.4, -1.4, -0.7, -np.inf])]
    >>> shift_and_spread(v_theta, [np.zeros(2), np.zeros(4)], prefix_logps)
    (array([2., 5.]), array([2., 2.]))
    """
    gaps = [(a - b)[p > -np.inf] for a, b, p in zip(v_theta, values, prefix_logps, strict=True)]
    return np.array([gap.mean() for gap in gaps]), np.array([gap.max() - gap.min() for gap in gaps])


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def reachable_gaps(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Depths:
    """V_theta - V at the reachable prefixes of each depth: what the mistakes summarise wrongly."""
    return [(a - b)[p > -np.inf] for a, b, p in zip(v_theta, values, prefix_logps, strict=True)]


def one_constant(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """one constant is taken for all depths: every depth has a shift of its own."""
    gaps = np.concatenate(reachable_gaps(v_theta, values, prefix_logps))
    return np.full(len(values), gaps.mean()), np.full(len(values), gaps.max() - gaps.min())


def mean_called_spread(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """the mean distance from the shift is called the spread: one bad prefix among many hides in a
    mean.
    """
    shifts, _ = shift_and_spread(v_theta, values, prefix_logps)
    gaps = reachable_gaps(v_theta, values, prefix_logps)
    return shifts, np.array([np.abs(gap - c).mean() for gap, c in zip(gaps, shifts, strict=True)])


def std_called_spread(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """the standard deviation is called the spread: here it is the largest minus the smallest."""
    shifts, _ = shift_and_spread(v_theta, values, prefix_logps)
    return shifts, np.array([gap.std() for gap in reachable_gaps(v_theta, values, prefix_logps)])


def error_called_spread(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """the largest |V_theta - V| is called the spread: a pure shift then looks like an error."""
    shifts, _ = shift_and_spread(v_theta, values, prefix_logps)
    return shifts, np.array(
        [np.abs(gap).max() for gap in reachable_gaps(v_theta, values, prefix_logps)]
    )


def distance_from_shift(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """the largest distance from the shift is called the spread: here it is the largest minus the
    smallest.
    """
    shifts, _ = shift_and_spread(v_theta, values, prefix_logps)
    gaps = reachable_gaps(v_theta, values, prefix_logps)
    return shifts, np.array([np.abs(gap - c).max() for gap, c in zip(gaps, shifts, strict=True)])


def counts_unreachable(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """prefixes that the reference never writes are counted: nothing was fitted there, leave out log
    pi_ref = -inf.
    """
    return shift_and_spread(v_theta, values, [np.zeros_like(p) for p in prefix_logps])


def sign(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """V - V_theta is taken: the shift is what V_theta has too much."""
    shifts, spreads = shift_and_spread(v_theta, values, prefix_logps)
    return -shifts, spreads


def weighted_mean(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """the mean is weighted by the reference: here every reachable prefix counts alike."""
    _, spreads = shift_and_spread(v_theta, values, prefix_logps)
    reachable = [p[p > -np.inf] for p in prefix_logps]
    gaps = reachable_gaps(v_theta, values, prefix_logps)
    return np.array(
        [np.average(gap, weights=np.exp(p)) for gap, p in zip(gaps, reachable, strict=True)]
    ), spreads


def of_v_theta(v_theta: Depths, values: Depths, prefix_logps: Depths) -> Pair:
    """V_theta is measured without subtracting V."""
    return shift_and_spread(v_theta, [np.zeros_like(v) for v in values], prefix_logps)


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Gaps by hand, a perfect fit, unreachable prefixes, random fits."""
    values = [frozen([0.5, 2.0]), frozen([0.0, 1.0, 2.0, 0.5]), frozen(np.arange(8) / 4)]
    gaps = ([1.0, 2.0], [-1.0, -1.0, -1.25, 0.25], [3.0, 3.5, 3.0, 3.0, 3.0, 2.75, 3.0, 3.75])
    law = prefix_law(
        [np.log([[0.6, 0.4]]), np.log([[0.7, 0.3], [0.5, 0.5]]), np.log([[0.9, 0.1]] * 4)]
    )[1:]
    fitted = [frozen(v + gap) for v, gap in zip(values, gaps, strict=True)]
    expected = np.array([1.5, -0.75, 3.125]), np.array([1.0, 1.5, 1.0])
    yield Case(
        "T = 3, V = 2; V_theta - V is 1 2, then -1 -1 -1.25 0.25, then about 3",
        (fitted, values, law),
        expected,
    )
    shifted = [frozen(v + c) for v, c in zip(fitted, (10.0, 0.0, -7.0), strict=True)]
    expected = np.array([11.5, -0.75, -3.875]), np.array([1.0, 1.5, 1.0])
    yield Case(
        "the same, V_theta shifted by 10, 0 and -7: the spreads stay",
        (shifted, values, law),
        expected,
    )
    for eos in (None, int(rng.integers(3)), int(rng.integers(3))):
        tables, alpha = random_tables(rng, 3, 3, eos), round(float(rng.uniform(0.2, 2)), 3)
        true, laws = backward(tables, rng.uniform(size=27), alpha)[1:], prefix_law(tables)[1:]
        constants, noise = rng.normal(scale=2, size=3), rng.normal(size=(3, 27))
        perfect = [v + c for v, c in zip(true, constants, strict=True)]
        where = f"a random tree, V = 3, T = 3, end token {eos}, alpha {alpha}"
        guess = [frozen(np.where(p > -np.inf, v, 50.0)) for v, p in zip(perfect, laws, strict=True)]
        yield Case(
            f"{where}, a perfect fit where it can be reached",
            (guess, true, laws),
            (constants, np.zeros(3)),
        )
        guess = [frozen(v + noise[t, : len(v)]) for t, v in enumerate(guess)]
        yield Case(f"{where}, a poor fit", (guess, true, laws), shift_and_spread(guess, true, laws))


EXERCISE = Exercise(
    name="shift_and_spread",
    compares="the shift of V_theta against V, and its spread, at each depth, in nats",
    statement=__doc__,
    reference=shift_and_spread,
    gives="Shift and spread of V_theta - V at each depth; [T], [T].",
    wrong_answers={
        "one constant for all depths": one_constant,
        "mean called spread": mean_called_spread,
        "standard deviation called spread": std_called_spread,
        "largest error called spread": error_called_spread,
        "distance from the shift called spread": distance_from_shift,
        "unreachable prefixes counted": counts_unreachable,
        "sign": sign,
        "mean weighted by pi_ref": weighted_mean,
        "V not subtracted": of_v_theta,
    },
    hints=(
        "Go depth by depth. What should V_theta - V look like at one depth if the theorem holds?",
        "Keep the prefixes that the reference can write, `prefix_logps[t - 1] > -np.inf`, before "
        "you take any mean.",
        "gap = (v_theta - values)[reachable]; its shift is gap.mean(), its spread gap.max() - "
        "gap.min().",
    ),
    cases=cases,
    parse=tuple_of(
        "a pair (shifts, spreads) of arrays", array, array, kinds=(list, tuple, np.ndarray)
    ),
    difference=by_part(shifts=by_entry(("t", 1)), spreads=by_entry(("t", 1))),
    praise="each depth has its own shift, and the spread sees a single bad prefix",
)
