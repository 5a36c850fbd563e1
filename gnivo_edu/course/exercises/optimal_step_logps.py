"""Exercise 10: the best policy, token by token.

Divide the theorem at one prefix by the theorem at the prefix before it, and Z is gone:

    pi*(a | s) = pi_ref(a | s) e^{V(s, a) - V(s)}

A policy is a list of T tables. The row of a prefix in table t is its number in base V, first token
most significant, so that the children of the prefix in row i are rows i V, i V + 1, ..., i V + V -
1 of the next depth.

Write `optimal_step_logps(step_logps, values) -> list of T tables` [V**t, V]: log pi*(a | s), in
nats.

- `step_logps`: T tables, `step_logps[t]` float64 [V**t, V]: log pi_ref(a | s) of every prefix s of
  t tokens. A finished prefix repeats the end token: its row is 0 there and -inf elsewhere;
- `values`: T + 1 arrays, `values[t]` float64 [V**t]: V(s) of every prefix of t tokens, in nats.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, arrays, by_depth, frozen
from gnivo_edu.course.exercises.base import Case, Exercise
from gnivo_edu.course.exercises.trees import backward, prefix_law, random_tables

Tables = list[Array]


def optimal_step_logps(step_logps: Tables, values: Tables) -> Tables:
    """log pi*(a|s) = log pi_ref(a|s) + V(s, a) - V(s), T tables [V**t, V], nats.

    >>> fair, values = np.log([[0.5, 0.5]]), [np.array([np.log(2.0)]), np.log([1.0, 3.0])]
    >>> np.exp(optimal_step_logps([fair], values)[0]).round(12)
    array([[0.25, 0.75]])
    """
    children = [
        after.reshape(table.shape) for table, after in zip(step_logps, values[1:], strict=True)
    ]
    return [table + children[t] - values[t][:, None] for t, table in enumerate(step_logps)]


# --- wrong answers: each docstring completes "this is what you get when ..." ----------------------


def tilted(step_logps: Tables, values: Tables) -> Tables:
    """V(s) is not subtracted: the rows do not sum to 1."""
    return [table + values[t + 1].reshape(table.shape) for t, table in enumerate(step_logps)]


def without_reference(step_logps: Tables, values: Tables) -> Tables:
    """softmax(V) over the children is returned, without the reference."""
    children = [values[t + 1].reshape(table.shape) for t, table in enumerate(step_logps)]
    return [v - np.logaddexp.reduce(v, axis=1, keepdims=True) for v in children]


def by_log_z(step_logps: Tables, values: Tables) -> Tables:
    """log Z = V(s_0) is subtracted everywhere: that is for whole prefixes; a single step takes its
    own V(s).
    """
    return [table - values[0][0] for table in tilted(step_logps, values)]


def over_group(step_logps: Tables, values: Tables) -> Tables:
    """the softmax runs along axis 0, over the prefixes of one depth: each prefix chooses among its
    own tokens.
    """
    return [
        table - np.logaddexp.reduce(table, axis=0, keepdims=True)
        for table in tilted(step_logps, values)
    ]


def own_value_for_child(step_logps: Tables, values: Tables) -> Tables:
    """the depth is off by one, V(s) for V(s, a): it cancels, and the reference comes out
    unchanged.
    """
    return list(step_logps)


def parents_value(step_logps: Tables, values: Tables) -> Tables:
    """the depth is off by one: the value of the prefix one token shorter is subtracted, not that of
    the prefix.
    """
    below = tilted(step_logps, values)
    parents = [values[max(t - 1, 0)] for t in range(len(below))]
    return [
        table - np.repeat(v, len(table) // len(v))[:, None]
        for table, v in zip(below, parents, strict=True)
    ]


def children_transposed(step_logps: Tables, values: Tables) -> Tables:
    """the children are read in the wrong order: `reshape(V**t, V)` puts a prefix's children in its
    row.
    """
    children = [values[t + 1].reshape(table.shape[::-1]).T for t, table in enumerate(step_logps)]
    found = [table + child for table, child in zip(step_logps, children, strict=True)]
    return [table - np.logaddexp.reduce(table, axis=1, keepdims=True) for table in found]


def advantage_alone(step_logps: Tables, values: Tables) -> Tables:
    """V(s, a) - V(s) is returned, which is log pi*/pi_ref: add log pi_ref."""
    return [
        values[t + 1].reshape(table.shape) - values[t][:, None]
        for t, table in enumerate(step_logps)
    ]


def greedy(step_logps: Tables, values: Tables) -> Tables:
    """the child of the largest value gets probability 1: pi* tilts, it does not choose."""
    best = [values[t + 1].reshape(table.shape).argmax(axis=1) for t, table in enumerate(step_logps)]
    return [
        np.where(np.arange(table.shape[1]) == top[:, None], 0.0, -np.inf)
        for table, top in zip(step_logps, best, strict=True)
    ]


def probabilities(step_logps: Tables, values: Tables) -> Tables:
    """probabilities are returned: the answer is their logarithm."""
    return [np.exp(table) for table in optimal_step_logps(step_logps, values)]


def overflows(step_logps: Tables, values: Tables) -> Tables:
    """e^V overflows: V may be 1000 nats. Add and subtract logarithms."""
    return [
        table + np.log(np.exp(values[t + 1].reshape(table.shape)) / np.exp(values[t])[:, None])
        for t, table in enumerate(step_logps)
    ]


# --- the check ------------------------------------------------------------------------------------


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Three tokens by hand, random trees with pi* counted from all answers, then the limits."""
    fair = frozen(np.full((4, 2), np.log(0.5)))
    tables = [frozen(np.log([[0.6, 0.4]])), frozen(np.log([[0.7, 0.3], [0.5, 0.5]])), fair]
    e, rewards = np.exp(2), np.repeat([0.0, 1.0, 0.0, 0.5], 2)
    after = np.array([0.7 + 0.3 * e, 0.5 + 0.5 * np.e])  # E_ref[e^{R/alpha}] after one token
    first = np.log([[0.6, 0.4]] * after / (0.6 * after[0] + 0.4 * after[1]))
    second = np.log([[0.7, 0.3 * e], [0.5, 0.5 * np.e]] / after[:, None])
    where = (
        "V = 2, T = 3, reference 0.6 0.4, then 0.7 0.3 or 0.5 0.5, then fair, rewards 0 0 1 1 0 0 "
        ".5 .5, alpha 0.5"
    )
    yield Case(where, (tables, backward(tables, rewards, 0.5)), [first, second, fair])
    where = "the same, every reward raised by 3: all values rise by 6"
    yield Case(where, (tables, backward(tables, rewards + 3, 0.5)), [first, second, fair])
    yield Case(
        "no reward anywhere: the reference", (tables, backward(tables, np.zeros(8), 0.5)), tables
    )
    for vocab_size, horizon, eos in ((3, 2, None), (2, 4, None), (3, 3, int(rng.integers(3)))):
        tables = random_tables(rng, vocab_size, horizon, eos)
        rewards = rng.uniform(size=vocab_size**horizon)
        alpha = round(float(rng.uniform(0.2, 2)), 3)
        where = f"a random tree, V = {vocab_size}, T = {horizon}, end token {eos}"
        expected = counted(tables, rewards, alpha)
        yield Case(f"{where}, alpha {alpha}", (tables, backward(tables, rewards, alpha)), expected)
    rewards = rewards / rewards.max()
    expected = counted(tables, rewards, 0.001)
    yield Case(f"{where}, alpha 0.001", (tables, backward(tables, rewards, 0.001)), expected)


def counted(step_logps: Tables, rewards: Array, alpha: float) -> Tables:
    """pi* from complete answers: the share of a prefix's tilted answers that go on with each token,
    no V needed.
    """
    vocab_size = step_logps[0].shape[1]
    answers = prefix_law(step_logps)[-1] + rewards / alpha
    tables: Tables = []
    for t, table in enumerate(step_logps):
        mass = np.logaddexp.reduce(answers.reshape(vocab_size**t, vocab_size, -1), axis=2)
        reached = np.logaddexp.reduce(mass, axis=1, keepdims=True)
        reachable = reached > -np.inf
        law = np.where(reachable, mass - np.where(reachable, reached, 0.0), table)
        # After a prefix that the reference never reaches, nothing is asked for.
        unreached = prefix_law(step_logps)[t] == -np.inf
        tables.append(np.ma.array(law, mask=np.repeat(unreached[:, None], vocab_size, axis=1)))
    return tables


EXERCISE = Exercise(
    name="optimal_step_logps",
    compares="log pi*(a | s) at every prefix, in nats",
    statement=__doc__,
    reference=optimal_step_logps,
    gives="log pi*(a|s), T tables [V**t, V], nats.",
    wrong_answers={
        "softmax of V without the reference": without_reference,
        "normalised by log Z": by_log_z,
        "softmax over the group axis": over_group,
        "depth off by one": own_value_for_child,
        "depth off by one, above": parents_value,
        "children in the wrong order": children_transposed,
        "unnormalised": tilted,
        "log-ratio for log-probability": advantage_alone,
        "greedy": greedy,
        "probabilities for log-probabilities": probabilities,
        "overflow at large V": overflows,
    },
    hints=(
        "Take the logarithm: one term from the reference, one from the child s, a, one from the "
        "prefix s itself.",
        "The children of depth t are `values[t + 1]`; reshaped to [V**t, V], row i holds the "
        "children of prefix i.",
        "`step_logps[t] + values[t + 1].reshape(-1, V) - values[t][:, None]`, for every t. Each "
        "row then sums to 1.",
    ),
    cases=cases,
    parse=arrays,
    difference=by_depth(0, ("prefix", 0), ("token", 0)),
    praise="each row sums to 1, and following it gives pi* of whole answers",
)
