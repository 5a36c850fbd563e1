"""A token MDP, enumerated: every prefix, every answer, every reward, under one reference policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.exact.size import check_size

if TYPE_CHECKING:
    from toy_envs import TokenMDP

Array = NDArray[np.float64]
Prefix = Sequence[int]
Tables = list[Array]

CHUNK = 1 << 16  # answers scored at a time, so that the token matrix never exists as a whole


@dataclass(frozen=True)
class TokenTree:
    """Every prefix of a token MDP under a reference policy.

    Prefixes of t tokens are numbered by reading their tokens as t digits in base V, so the children
    of prefix n are n V, ..., n V + V - 1 of the next depth. A finished answer is absorbing: its
    later prefixes repeat the end-of-sequence token with probability 1, so every answer has T
    tokens, and an impossible one has log-probability -inf.

    `step_logps[t]`  float64 [V**t, V]: log pi_ref(token | prefix of t tokens), nats;
    `rewards`        float64 [V**T], reward units (0 where an answer is impossible).
    """

    vocab_size: int
    horizon: int
    eos_token_id: int | None
    step_logps: Tables
    rewards: Array
    prompt_index: int = 0
    decode: Callable[[ArrayLike], str] = field(default=str, repr=False)

    @cached_property
    def prefix_logps(self) -> Tables:
        """`prefix_logps[t]` float64 [V**t]: log pi_ref(prefix of t tokens), t = 0..T, nats."""
        return prefix_log_law(self.step_logps)

    def reachable(self, t: int) -> NDArray[np.intp]:
        """Numbers of the prefixes of t tokens that have positive probability."""
        return np.flatnonzero(self.prefix_logps[t] > -np.inf)

    @property
    def num_sequences(self) -> int:
        """How many complete answers have positive probability."""
        return len(self.reachable(self.horizon))

    @property
    def num_prefixes(self) -> int:
        """How many prefixes have positive probability; a finished answer counts at each depth."""
        return sum(len(self.reachable(t)) for t in range(self.horizon + 1))

    def index(self, prefix: Prefix) -> tuple[int, int]:
        """(depth, number) of a prefix, the place of its entry in every per-depth array.

        >>> tree = enumerate_tree_from_rewards(np.zeros(8), vocab_size=2)
        >>> tree.index((1, 0))
        (2, 2)
        """
        tokens = np.asarray(prefix, dtype=np.int64).reshape(-1)
        if len(tokens) > self.horizon or ((tokens < 0) | (tokens >= self.vocab_size)).any():
            raise ValueError(
                f"a prefix has at most {self.horizon} tokens in 0..{self.vocab_size - 1}, got "
                f"{tokens.tolist()}"
            )
        number = 0
        for token in tokens.tolist():
            number = number * self.vocab_size + token
        return len(tokens), number

    def prefix(self, t: int, number: int) -> tuple[int, ...]:
        """The prefix of t tokens with this number, without the repeated end-of-sequence tokens."""
        tokens = digits(np.array([number]), self.vocab_size, count=t)[0]
        return tuple(tokens[: answer_lengths(tokens[None], self.eos_token_id)[0]].tolist())

    def answers(self) -> Iterator[tuple[int, ...]]:
        """All complete answers of positive probability, in order."""
        return (self.prefix(self.horizon, int(number)) for number in self.reachable(self.horizon))


def digits(numbers: NDArray[np.integer[Any]], base: int, count: int) -> NDArray[np.int64]:
    """Base-`base` digits [B, count] of integers [B], most significant first."""
    powers = base ** np.arange(count - 1, -1, -1, dtype=np.int64)
    return numbers[:, None] // powers % base


def answer_lengths(tokens: NDArray[np.int64], eos_token_id: int | None) -> NDArray[np.int64]:
    """Lengths [B] of answers [B, T], the end-of-sequence token included."""
    if eos_token_id is None or tokens.shape[1] == 0:
        return np.full(len(tokens), tokens.shape[1], dtype=np.int64)
    ended = tokens == eos_token_id
    return np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, tokens.shape[1])


def prefix_log_law(tables: Tables) -> Tables:
    """log-probability of every prefix, [V**t] for t = 0..T, under a policy given as tables."""
    laws = [np.zeros(1)]
    for table in tables:
        laws.append((laws[-1][:, None] + table).ravel())
    return laws


def uniform_reference(vocab_size: int, horizon: int, max_bytes: int | None = None) -> Tables:
    """The uniform policy as tables [V**t, V] of log-probabilities, nats; sizes as `check_size`."""
    check_size(vocab_size, horizon, max_bytes=max_bytes)
    return [np.full((vocab_size**t, vocab_size), -np.log(vocab_size)) for t in range(horizon)]


def random_reference(
    vocab_size: int, horizon: int, seed: int, scale: float = 1.0, max_bytes: int | None = None
) -> Tables:
    """A policy whose logits at every prefix are independent normals of deviation `scale`, nats;
    sizes as `check_size`.
    """
    check_size(vocab_size, horizon, max_bytes=max_bytes)
    rng = np.random.default_rng(seed)
    tables = [scale * rng.standard_normal((vocab_size**t, vocab_size)) for t in range(horizon)]
    return [table - np.logaddexp.reduce(table, axis=1, keepdims=True) for table in tables]


def enumerate_tree(
    mdp: TokenMDP,
    reference: Tables | None = None,
    prompt_index: int = 0,
    max_bytes: int | None = None,
) -> TokenTree:
    """Enumerate a token MDP under a reference policy.

    `mdp`: anything with the sizes, `eos_token_id`, `prompts`, `reward`, `reference` and `decode` of
    a `toy_envs.TokenMDP`. `reference`: float64 tables [V**t, V], t = 0..T-1, of log-probabilities
    in nats (-inf allowed); by default the one that the environment states, else the uniform one.
    The size is estimated first: a tree above `max_bytes` (default 2 GiB) raises TreeTooLargeError
    before anything is allocated. Raises ValueError on tables of another shape, rows that do not sum
    to one, and rewards that are not finite.

    >>> import toy_envs
    >>> mdp = toy_envs.TokenMDP(2, 3, reward=lambda tokens, lengths: tokens.mean(axis=1))
    >>> enumerate_tree(mdp).rewards.round(2)
    array([0.  , 0.33, 0.33, 0.67, 0.33, 0.67, 0.67, 1.  ])
    """
    check_size(mdp.vocab_size, mdp.horizon, max_bytes=max_bytes)
    prompts = len(mdp.prompts())
    if not 0 <= prompt_index < prompts:
        raise ValueError(f"prompt_index must be in 0..{prompts - 1}, got {prompt_index}")
    if reference is None:
        reference = mdp.reference(prompt_index)
    if reference is None:
        reference = uniform_reference(mdp.vocab_size, mdp.horizon, max_bytes=max_bytes)
    return TokenTree(
        vocab_size=mdp.vocab_size,
        horizon=mdp.horizon,
        eos_token_id=mdp.eos_token_id,
        step_logps=_checked_tables(
            reference, mdp.vocab_size, horizon=mdp.horizon, eos_token_id=mdp.eos_token_id
        ),
        rewards=_all_rewards(mdp, prompt_index),
        prompt_index=prompt_index,
        decode=mdp.decode,
    )


def enumerate_prompts(
    mdp: TokenMDP,
    reference: Callable[[int], Tables] | Tables | None = None,
    max_bytes: int | None = None,
) -> list[TokenTree]:
    """One tree per prompt. `reference` is one policy for all, or a function of the prompt's number.

    `max_bytes` limits the sum. Raises as `enumerate_tree`.
    """
    count = len(mdp.prompts())
    check_size(mdp.vocab_size, mdp.horizon, max_bytes=max_bytes, trees=count)
    tables = reference if callable(reference) else lambda _: reference
    return [
        enumerate_tree(mdp, tables(i), prompt_index=i, max_bytes=max_bytes) for i in range(count)
    ]


def enumerate_tree_from_rewards(
    rewards: ArrayLike, vocab_size: int, reference: Tables | None = None
) -> TokenTree:
    """A tree from its V**T rewards alone, for short examples; uniform reference by default.

    Raises ValueError on V < 2, rewards that are not V**T numbers in one row, and rewards that are
    not finite.
    """
    if vocab_size < 2:
        raise ValueError(f"need at least 2 tokens to read V**T rewards, got V={vocab_size}")
    rewards = np.asarray(rewards, dtype=np.float64)
    horizon = round(math.log(max(rewards.size, 1)) / math.log(vocab_size))
    if rewards.shape != (vocab_size**horizon,):
        count = len(rewards) if rewards.ndim == 1 else f"an array {list(rewards.shape)}"
        raise ValueError(f"need V**T rewards for V={vocab_size}, got {count}")
    _check_finite(rewards)
    tables = uniform_reference(vocab_size, horizon) if reference is None else reference
    return TokenTree(
        vocab_size,
        horizon,
        eos_token_id=None,
        step_logps=_checked_tables(tables, vocab_size, horizon=horizon, eos_token_id=None),
        rewards=rewards,
    )


def _checked_tables(
    reference: Tables, vocab_size: int, horizon: int, eos_token_id: int | None
) -> Tables:
    """The tables, validated, with finished prefixes made absorbing."""
    if len(reference) != horizon:
        raise ValueError(
            f"the reference has {len(reference)} tables, one per step is needed: {horizon}"
        )
    tables = []
    is_eos = np.arange(vocab_size) == eos_token_id
    finished = np.zeros(1, dtype=bool)  # per prefix of t tokens: does it hold an EOS?
    for t, stated in enumerate(reference):
        table = np.asarray(stated, dtype=np.float64)
        if table.shape != (vocab_size**t, vocab_size):
            raise ValueError(
                f"reference table {t} must be {(vocab_size**t, vocab_size)}, got {table.shape}"
            )
        total = np.exp(table).sum(axis=1)
        # What a reference says after the end of an answer does not matter.
        unfit = np.flatnonzero(~(finished | (np.abs(total - 1) < 1e-9)))
        if len(unfit):
            row = int(unfit[0])
            raise ValueError(
                f"row {row} of reference table {t} sums to {total[row]}: give log-probabilities"
            )
        if finished.any():
            table = table.copy()
            table[finished] = np.where(is_eos, 0.0, -np.inf)
        tables.append(table)
        finished = (finished[:, None] | is_eos).ravel()
    return tables


def _all_rewards(mdp: TokenMDP, prompt_index: int) -> Array:
    """Rewards of all V**T sequences; 0 for those that go on after EOS: their probability is 0."""
    rewards = np.zeros(mdp.vocab_size**mdp.horizon)
    for start in range(0, len(rewards), CHUNK):
        numbers = np.arange(start, min(start + CHUNK, len(rewards)), dtype=np.int64)
        tokens = digits(numbers, mdp.vocab_size, count=mdp.horizon)
        lengths = answer_lengths(tokens, mdp.eos_token_id)
        # Absorbing: after the first EOS only EOS may follow.
        after_end = np.arange(mdp.horizon) >= lengths[:, None]
        possible = (~after_end | (tokens == mdp.eos_token_id)).all(axis=1)
        rewards[numbers[possible]] = mdp.reward(tokens[possible], lengths[possible], prompt_index)
    _check_finite(rewards)
    return rewards


def _check_finite(rewards: Array) -> None:
    infinite = np.flatnonzero(~np.isfinite(rewards))
    if len(infinite):
        bad = int(infinite[0])
        raise ValueError(
            f"the reward of answer number {bad} is {rewards[bad]}: rewards must be finite"
        )
