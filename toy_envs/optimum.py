"""The optimum of a small token MDP, by brute force over complete answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toy_envs.core import Prefix, TokenMDP

MAX_ANSWERS = 2**20


@dataclass(frozen=True)
class Optimum:
    """What the best policy at temperature `alpha` reaches."""

    alpha: float  # reward per nat
    log_z: float  # nats
    expected_reward: float  # reward
    kl: float  # KL(pi* || pi_ref), nats
    entropy: float  # nats

    def __str__(self) -> str:
        return (
            f"alpha {self.alpha:g}: log Z = {self.log_z:.4f}, E[R] = {self.expected_reward:.4f}, "
            f"KL = {self.kl:.4f}, entropy = {self.entropy:.4f}"
        )


def count_answers(env: TokenMDP) -> int:
    """Number of complete answers to a prompt: those closed by EOS, and those that fill the horizon.

    >>> count_answers(TokenMDP(vocab_size=2, horizon=7))
    128
    >>> count_answers(TokenMDP(vocab_size=3, horizon=2, eos_token_id=2))
    7
    """
    v, horizon = env.vocab_size, env.horizon
    if env.eos_token_id is None:
        return v**horizon
    # (V - 1)**t prefixes of t tokens hold no EOS: each can be closed, or is full at the horizon.
    return sum((v - 1) ** t for t in range(horizon)) + (v - 1) ** horizon


def complete_answers(
    env: TokenMDP,
    tables: Sequence[NDArray[np.float64]] | None = None,
    prefix: Prefix = (),
    row: int = 0,
    logp: float = 0.0,
) -> Iterator[tuple[Prefix, float]]:
    """Every complete answer that a policy can write, with its log-probability in nats.

    `tables` [V**t, V] of log-probabilities in nats; None is the uniform policy. The answers go on
    from `prefix`, whose number is `row` and whose log-probability is `logp`.

    >>> mdp = TokenMDP(vocab_size=2, horizon=2, eos_token_id=1)
    >>> [answer for answer, logp in complete_answers(mdp)]
    [(0, 0), (0, 1), (1,)]
    """
    if env.is_finished(prefix):
        yield prefix, logp
        return
    for token in range(env.vocab_size):
        step = -math.log(env.vocab_size)
        if tables is not None:
            step = float(tables[len(prefix)][row, token])
        if step > -math.inf:
            child = row * env.vocab_size + token
            yield from complete_answers(
                env, tables, prefix=(*prefix, token), row=child, logp=logp + step
            )


def as_batch(
    answers: Sequence[Prefix], horizon: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Answers as `TokenMDP.reward` takes them: tokens int64 [B, horizon], lengths int64 [B]."""
    lengths = np.array([len(answer) for answer in answers], dtype=np.int64)
    tokens = np.zeros((len(answers), horizon), dtype=np.int64)
    for row, answer in zip(tokens, answers, strict=True):
        row[: len(answer)] = answer
    return tokens, lengths


def optimum(
    env: TokenMDP,
    alpha: float,
    prompt_index: int = 0,
    reference: Sequence[NDArray[np.float64]] | None = None,
) -> Optimum:
    """The optimal policy of E[R] - alpha KL(pi || pi_ref), by normalising over complete answers.

    pi*(y) = pi_ref(y) e^{R(y)/alpha} / Z,   Z = sum over complete y of pi_ref(y) e^{R(y)/alpha}.

    Args: `env`, a TokenMDP of at most 2**20 answers; `alpha` > 0, reward per nat; `reference`,
    log-probability tables [V**t, V], by default the environment's own, else the uniform policy.
    Returns float64 numbers: log Z, KL and entropy in nats, E[R] in reward units. No prefix is ever
    given a value here, so this is an independent witness for backward induction. Raises ValueError
    where alpha or the reference is unfit, or the answers are too many.

    >>> mdp = TokenMDP(vocab_size=2, horizon=3, reward=lambda tokens, lengths: tokens.all(axis=1))
    >>> print(optimum(mdp, alpha=0.5))
    alpha 0.5: log Z = 0.5870, E[R] = 0.5135, KL = 0.4400, entropy = 1.6394
    """
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"alpha must be a positive number, got {alpha}")
    if count_answers(env) > MAX_ANSWERS:
        raise ValueError(
            f"{count_answers(env)} answers are too many to enumerate; make the problem smaller"
        )
    tables = env.reference(prompt_index) if reference is None else reference
    shapes = [(env.vocab_size**t, env.vocab_size) for t in range(env.horizon)]
    if tables is not None and [table.shape for table in tables] != shapes:
        raise ValueError(f"reference tables must have shapes {shapes}")
    answers, logps = zip(*complete_answers(env, tables), strict=True)
    logp = np.array(logps)
    if abs(np.exp(logp).sum() - 1) > 1e-9:
        raise ValueError(f"the reference's probabilities sum to {np.exp(logp).sum():.6g}, not to 1")
    rewards = env.reward(*as_batch(answers, env.horizon), prompt_index)
    scores = logp + rewards / alpha
    weights = np.exp(scores - scores.max())
    optimal = weights / weights.sum()  # pi*(y)
    log_z = float(scores.max() + np.log(weights.sum()))
    log_ratio = rewards / alpha - log_z  # log pi*(y)/pi_ref(y)
    return Optimum(
        alpha=float(alpha),
        log_z=log_z,
        expected_reward=float(optimal @ rewards),
        kl=max(0.0, float(optimal @ log_ratio)),  # rounding could leave -1e-17
        entropy=max(0.0, float(-(optimal @ (logp + log_ratio)))),
    )
