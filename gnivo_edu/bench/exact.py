"""The exact solution: against one pass of `numpy.exp`, against plain recursion, and its growth."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from time import process_time

import numpy as np

from gnivo_edu import exact
from gnivo_edu.bench.ratio import Progress, Row, race, ratio_row, slope_row
from toy_envs import TokenMDP

ALPHA = 0.3
SLOPE = 0.95  # growth in proportion, to 5% of the exponent


def bench_exact(
    vocab_size: int = 10,
    horizon: int = 7,
    depths: Sequence[int] = (10, 11, 12),
    prompts: Sequence[int] = (64, 128, 256, 512),
    repeats: int = 11,
    progress: Progress = None,
) -> list[Row]:
    """`exact.solve` in passes of `numpy.exp` over the rewards (at most 2), its memory in arrays of
    them, and against a plain recursion over prefixes; and how its time grows with the V^T
    answers (V = 4) and, the enumeration included, with the number of prompts. Times are those of
    the processor: all is done by one thread.

    >>> rows = bench_exact(2, horizon=3, depths=(2, 3), prompts=(1, 2), repeats=1)
    >>> [row["case"] for row in rows[:2]]
    ['solve V=2 T=3 / numpy.exp', 'peak memory / one array']
    """
    if progress:
        progress(f"drawing {vocab_size**horizon:,} rewards")
    tree = _tree(vocab_size, horizon)
    # What a call returns is kept: a number, then, rather than a solution.
    calls = {
        "numpy.exp": lambda repeat: np.exp(tree.rewards).nbytes,
        "solve": lambda repeat: exact.solve(tree, ALPHA).log_z,
    }
    runs = race(calls, repeats, progress=progress, clock=process_time)
    tracemalloc.start()
    exact.solve(tree, ALPHA)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    name = f"solve V={vocab_size} T={horizon} / numpy.exp"
    rows = [
        ratio_row(
            name, runs["solve"].seconds, peer=runs["numpy.exp"].seconds, unit="s", bound=1 / 2
        ),
        ratio_row("peak memory / one array", [peak], peer=[tree.rewards.nbytes], unit="bytes"),
        _recursion(max(min(depths) - 3, 1), repeats, progress=progress),
    ]
    trees = {4**depth: _tree(4, depth) for depth in depths}
    grown = {count: lambda tree=tree: exact.solve(tree, ALPHA) for count, tree in trees.items()}
    rows.append(_growth("answers", grown, repeats, progress))
    problems = {count: _asked(count) for count in prompts}
    asked = {
        count: lambda mdp=mdp: [exact.solve(tree, ALPHA) for tree in exact.enumerate_prompts(mdp)]
        for count, mdp in problems.items()
    }
    return [*rows, _growth("prompts", asked, repeats, progress)]


def _tree(vocab_size: int, horizon: int) -> exact.TokenTree:
    rewards = np.random.default_rng(0).random(vocab_size**horizon)
    reference = exact.random_reference(vocab_size, horizon, seed=0)
    return exact.enumerate_tree_from_rewards(rewards, vocab_size, reference=reference)


def _asked(count: int) -> TokenMDP:
    """So many prompts, each with 4**5 answers."""
    prompts = np.stack([np.full(count, 4), np.arange(count) % 4], 1)
    return TokenMDP(4, 5, reward=lambda tokens, lengths: tokens.mean(1) / 3, prompts=prompts)


def _recursion(horizon: int, repeats: int, progress: Progress) -> Row:
    """Against the definition as one writes it down first."""
    tree = _tree(4, horizon)
    calls: dict[str, Callable[[int], float]] = {
        "solve": lambda repeat: exact.solve(tree, ALPHA).log_z,
        "recursion": lambda repeat: plain_value(tree, ()),
    }
    runs = race(calls, repeats, progress=progress, clock=process_time)
    assert math.isclose(runs["solve"].results[0], runs["recursion"].results[0], rel_tol=1e-12)
    name = f"solve V=4 T={horizon} / plain recursion"
    return ratio_row(name, runs["solve"].seconds, peer=runs["recursion"].seconds, unit="s", bound=1)


def plain_value(tree: exact.TokenTree, prefix: tuple[int, ...]) -> float:
    """V(prefix) = log sum_a pi_ref(a | prefix) e^{V(prefix, a)}, prefix by prefix.

    >>> tree = exact.enumerate_tree_from_rewards([0, 0, 0, 0.6], vocab_size=2)
    >>> round(plain_value(tree, ()), 9) == round(exact.solve(tree, ALPHA).log_z, 9)
    True
    """
    depth, number = tree.index(prefix)
    if depth == tree.horizon:
        return float(tree.rewards[number]) / ALPHA
    law = tree.step_logps[depth][number]
    terms = [law[a] + plain_value(tree, (*prefix, a)) for a in range(tree.vocab_size)]
    largest = max(terms)
    return float(largest + math.log(sum(math.exp(term - largest) for term in terms)))


def _growth(
    what: str, calls: Mapping[int, Callable[..., object]], repeats: int, progress: Progress
) -> Row:
    """Seconds by how many there are of something."""
    named = {str(count): lambda repeat, call=call: call() and None for count, call in calls.items()}
    runs = race(named, repeats, progress=progress, label=f"{what}: ", clock=process_time)
    seconds = np.array([run.seconds for run in runs.values()]).T
    labels = {"x_label": what, "y_label": "seconds", "series": "enumerate and solve"}
    if what == "answers":
        labels["series"] = "solve"
    return slope_row(f"growth with {what}: slope", list(calls), seconds, bound=SLOPE, **labels)
