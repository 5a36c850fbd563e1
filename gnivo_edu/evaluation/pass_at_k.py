"""Pass@k and maj@k from samples, and the chances by enumeration that they are estimates of.

Two sources of chance stand behind every number here: the samples that were drawn to a problem, and
the problems that happen to be in the set. Estimators deal with the first (`pass_at_k`,
`majority_at_k` are unbiased); intervals (`gnivo_edu.statistics`) resample whole problems, so that
they carry both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gnivo_edu.exact import Array, enumerate_tree


def pass_at_k(correct: ArrayLike, samples: ArrayLike, k: int) -> Array:
    """The chance that a set of k of the n samples drawn to a problem holds a right one; unbiased
    for 1 - (1 - p)^k.

        pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i<k} (n - c - i) / (n - i)

    `correct` (c) and `samples` (n) int, broadcast against each other; float64 of their common
    shape. The product has no large numbers in it. Raises ValueError on k < 1, on c outside 0..n,
    and on k > n: from fewer than k samples no unbiased estimate exists, whatever c is.

    Source: Chen et al. 2021, Evaluating Large Language Models Trained on Code (arXiv:2107.03374),
        eq. 1.

    >>> pass_at_k([0, 1, 2, 4], 4, k=2).round(4)
    array([0.    , 0.5   , 0.8333, 1.    ])
    >>> pass_at_k(0, 2, k=3)
    Traceback (most recent call last):
    ValueError: pass@3 needs at least 3 samples to a problem, got 2: draw more, ...
    """
    c, n = np.broadcast_arrays(np.asarray(correct), np.asarray(samples))
    if c.dtype.kind not in "iu" or n.dtype.kind not in "iu":
        raise ValueError(
            f"correct and samples are counts: give integers, got {c.dtype} and {n.dtype}"
        )
    check_k(k, int(n.min()) if n.size else k)
    if ((c < 0) | (c > n)).any():
        bad = np.argmax(((c < 0) | (c > n)).ravel())
        raise ValueError(f"of {n.ravel()[bad]} samples {c.ravel()[bad]} cannot be correct")
    i = np.arange(k)
    wrong = np.maximum(n[..., None] - c[..., None] - i, 0)
    return np.asarray(1 - np.prod(wrong / (n[..., None] - i), axis=-1))


def check_k(k: int, samples: int) -> None:
    """Raise ValueError unless 1 <= k <= samples."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if k > samples:
        raise ValueError(
            f"pass@{k} needs at least {k} samples to a problem, got {samples}: draw more, or ask "
            "for a smaller k"
        )


def ks_of(samples: int, asked: Sequence[int] | None = None) -> tuple[int, ...]:
    """Each k of Pass@k: those that are asked for, else those of 1 and 3 that so many samples allow.
    Raises ValueError as `check_k` does.

    >>> ks_of(8), ks_of(1), ks_of(8, [2])
    ((1, 3), (1,), (2,))
    """
    ks = tuple(asked or (k for k in (1, 3) if k <= samples))
    for k in ks:
        check_k(k, samples)
    return ks


def majority_at_k(votes: Sequence[Hashable | None], right: Hashable, k: int) -> float:
    """The chance that the majority of k of the n votes on one problem is `right`: exact over all
    C(n, k) sets of votes.

    A tie of m answers is settled by lot: the right one, if it is among them, gets 1/m. None is an
    abstention: it takes one of the k places and votes for nothing; where all abstain there is no
    majority. Since every set of k samples is counted once, the estimate is unbiased for the
    majority of k fresh samples. No enumeration: with m_a votes for answer a, the sets in which the
    right answer has j votes and ties with q others are a coefficient of

        C(m_right, j) x^j (1 + x)^{m_None} prod_{a wrong} (sum_{i<j} C(m_a, i) x^i + y C(m_a, j)
        x^j)

    in exact integers. Raises ValueError on k < 1 and k > n.

    >>> majority_at_k(["7", "7", "5", None], right="7", k=3)
    0.75
    """
    check_k(k, len(votes))
    counts = Counter(votes)
    silent = counts.pop(None, 0)
    for_right = counts.pop(right, 0)
    total = Fraction(0)
    for j in range(1, min(for_right, k) + 1):
        # Number of sets by (votes cast, wrong answers that tie); the silent votes come first.
        ways = {(i, 0): comb(silent, i) for i in range(min(silent, k - j) + 1)}
        for count in counts.values():
            ways = _with_answer(ways, count, most=j, room=k - j)
        share = sum(
            Fraction(number, ties + 1) for (cast, ties), number in ways.items() if cast == k - j
        )
        total += comb(for_right, j) * share
    return float(total / comb(len(votes), k))


def _with_answer(
    ways: dict[tuple[int, int], int], count: int, most: int, room: int
) -> dict[tuple[int, int], int]:
    """The sets after one more wrong answer with `count` votes has got at most `most` of them."""
    extended: dict[tuple[int, int], int] = Counter()
    for (cast, ties), number in ways.items():
        for i in range(min(count, most, room - cast) + 1):
            extended[cast + i, ties + (i == most)] += number * comb(count, i)
    return extended


def exact_chances(
    policy: Any, task: Any, temperature: float = 1.0, solved_at: float = 1.0
) -> Array:
    """The chance that one completion is right, for every prompt of a finite token MDP, float64 [N].

    Every answer is listed. The policy is any causal LM; every step's law is raised to
    1/`temperature` and normalised, as the sampler does. Right: a reward of at least `solved_at`.
    With p a chance, Pass@k is 1 - (1 - p)^k. Raises ValueError on a temperature that is not above
    0, and where the answers are too many to list.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> coin = TokenMDP(2, 1, reward=lambda tokens, lengths: tokens[:, 0])
    >>> policy = TabularLM.from_tables(coin, [np.log([[0.2, 0.8]])])
    >>> exact_chances(policy, coin).round(4), exact_chances(policy, coin, temperature=0.5).round(4)
    (array([0.8]), array([0.9412]))
    """
    from gnivo_edu.policies import tabulate

    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    chances = []
    for i in range(len(task.prompts())):
        tables = []
        for table in tabulate(policy, task, prompt_index=i):
            warmed = table / temperature
            tables.append(warmed - np.logaddexp.reduce(warmed, axis=1, keepdims=True))
        tree = enumerate_tree(task, tables, prompt_index=i)
        chances.append(float(np.exp(tree.prefix_logps[-1])[tree.rewards >= solved_at].sum()))
    return np.array(chances)
