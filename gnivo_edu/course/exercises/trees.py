"""Random policies and small trees for the cases of the exercises, counted out answer by answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnivo_edu.course.exercises.arrays import Array, frozen


def random_law(rng: np.random.Generator, *shape: int) -> Array:
    """Log-probabilities [...] that are normalised along the last axis, nats."""
    return np.log(rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]))


def random_tables(
    rng: np.random.Generator, vocab_size: int, horizon: int, eos_token_id: int | None = None
) -> list[Array]:
    """A random policy: read-only tables [V**t, V] of log-probabilities; a finished prefix repeats
    the end token.

    >>> [table.shape for table in random_tables(np.random.default_rng(0), vocab_size=2, horizon=3)]
    [(1, 2), (2, 2), (4, 2)]
    """
    tables, finished = [], np.zeros(1, dtype=bool)
    is_end = np.arange(vocab_size) == eos_token_id
    for t in range(horizon):
        table = random_law(rng, vocab_size**t, vocab_size)
        table[finished] = np.where(is_end, 0.0, -np.inf)
        tables.append(frozen(table))
        finished = (finished[:, None] | is_end).ravel()
    return tables


def backward(step_logps: Sequence[Array], rewards: Array, alpha: float) -> list[Array]:
    """Soft values [V**t] of every prefix, t = 0..T, nats, read-only: R/alpha at the end, then
    backwards.

    >>> values = backward([np.log([[0.5, 0.5]])], np.array([0.0, 1.0]), alpha=1.0)
    >>> [table.round(4).tolist() for table in values]
    [[0.6201], [0.0, 1.0]]
    """
    values = [rewards / alpha]
    for table in reversed(step_logps):
        values.append(np.logaddexp.reduce(table + values[-1].reshape(table.shape), axis=1))
    return [frozen(v) for v in reversed(values)]


def prefix_law(step_logps: Sequence[Array]) -> list[Array]:
    """log pi(prefix) [V**t], t = 0..T, nats, read-only.

    >>> np.exp(prefix_law([np.log([[0.25, 0.75]])])[1])
    array([0.25, 0.75])
    """
    laws = [np.zeros(1)]
    for table in step_logps:
        laws.append((laws[-1][:, None] + table).ravel())
    return [frozen(law) for law in laws]


@dataclass(frozen=True)
class Walk:
    """One answer through a tree: what the exercises on a single answer are given, and what they
    must find.

    `logps` [T]: log pi_ref of each token; `values` [T]: V before each token; `optimal_logps` [T]:
    log pi*(s_t), t = 1..T.
    """

    logps: Array
    values: Array
    reward: float
    optimal_logps: Array


def random_walk(rng: np.random.Generator, vocab_size: int, horizon: int, alpha: float) -> Walk:
    """A random answer in a random tree. log pi* is added up over the answers through each prefix,
    without any V.
    """
    step_logps = random_tables(rng, vocab_size, horizon)
    rewards = rng.uniform(size=vocab_size**horizon)
    leaf = int(rng.integers(vocab_size**horizon))
    numbers = [leaf // vocab_size ** (horizon - t) for t in range(horizon + 1)]
    tilted = prefix_law(step_logps)[-1] + rewards / alpha
    tilted -= np.logaddexp.reduce(tilted)
    through = [tilted.reshape(vocab_size**t, -1)[numbers[t]] for t in range(1, horizon + 1)]
    values = backward(step_logps, rewards, alpha)
    return Walk(
        logps=np.array(
            [table.ravel()[number] for table, number in zip(step_logps, numbers[1:], strict=True)]
        ),
        values=np.array([values[t][numbers[t]] for t in range(horizon)]),
        reward=float(rewards[leaf]),
        optimal_logps=np.array([np.logaddexp.reduce(answers) for answers in through]),
    )
