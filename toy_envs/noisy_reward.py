"""A wrapper around any token MDP whose rewards are turned round now and then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from toy_envs.core import TokenMDP

Shared = Literal["group", "answer"]


def flips(keys: Iterable[tuple[int, ...]], chance: float) -> NDArray[np.bool_]:
    """Whether each key is flipped: its hash lies below `chance`.

    The decision depends on the key alone, on no order of calls, process or machine. A key names
    what is decided upon: (seed, step, prompt), for one.

    >>> flips([(0, 1, 0), (0, 1, 1), (0, 1, 0)], chance=0.5)
    array([ True, False,  True])
    """
    limit = chance * 2**64
    digests = (hashlib.blake2b(repr(key).encode(), digest_size=8).digest() for key in keys)
    return np.array([int.from_bytes(digest, "big") < limit for digest in digests], dtype=np.bool_)


def flipped(
    rewards: NDArray[np.float64], flip: NDArray[np.bool_], low: float = 0.0, high: float = 1.0
) -> NDArray[np.float64]:
    """low + high - R where `flip` holds, R elsewhere. Raises ValueError on R outside low..high.

    >>> flipped(np.array([0.0, 1.0, 0.25]), np.array([True, False, True]))
    array([1.  , 1.  , 0.75])
    """
    return np.where(flip, low + high - _checked(rewards, low, high=high), rewards)


def _checked(rewards: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    if ((rewards < low) | (rewards > high)).any():
        raise ValueError(
            f"noise turns rewards from {low:g} to {high:g} round, this task pays from "
            f"{rewards.min():g} to {rewards.max():g}: take NoisyReward with its low and high"
        )
    return rewards


class NoisyReward(TokenMDP):
    """Another token MDP, toy or task, whose reward R is low + high - R with some chance.

    Question: what does a learner make of a grader that errs?

    The noise is that of VIMPO's experiments: with of="group" one decision a prompt, which all of
    its answers share; with of="answer" one for each different answer. A decision is a hash of
    (`seed`, `round`, prompt, and the answer where it has its own). So the reward stays a fixed
    function of the answer: all tools take the wrapper as they take any problem, and what is
    enumerated is one draw of the noise. `at_round` draws it anew. On average over rounds an answer
    earns (1 - 2p) R + p (low + high): `expected` is that problem, without noise. A loss whose
    gradient is linear in R learns, on average, what that one teaches: with p < 1/2 its pi* is that
    of the clean problem at alpha/(1 - 2p).

    `clean` is what was wrapped, and what `evaluate` draws from. All but the reward is its own:
    prompts, texts, steps, grades, reference. In training the setting `reward_noise` draws the noise
    anew for every group or answer of every step, and keeps the clean reward beside; this wrapper,
    given as the task, is a data set with wrong labels that stay wrong.

    >>> from toy_envs import CriticalStep
    >>> always = NoisyReward(CriticalStep(), chance=1.0)
    >>> answers = [[0, 0, 1, 0, 0], [1, 1, 0, 1, 1]], [5, 5]
    >>> always.clean.reward(*answers), always.reward(*answers)
    (array([1., 0.]), array([0., 1.]))
    >>> NoisyReward(CriticalStep(), chance=0.25).expected().reward(*answers)
    array([0.75, 0.25])

    ## Information
    As for every TokenMDP: `action_mask`, `prefix`, `prompt_index`, `illegal_action`.

    ## Arguments
    `mdp`; `chance` in 0..1; `of`, "group" or "answer"; `seed`; `low` and `high`, between which
    rewards lie; `round`. Raises ValueError on anything else, and on a reward that lies elsewhere.
    """

    def __init__(
        self,
        mdp: gym.Env[Any, Any],
        chance: float = 0.25,
        of: Shared = "group",
        seed: int = 0,
        low: float = 0.0,
        high: float = 1.0,
        round: int = 0,
    ) -> None:
        clean: Any = mdp.unwrapped  # gymnasium.make puts wrappers around a token MDP
        if not isinstance(clean, TokenMDP):
            raise ValueError(f"NoisyReward wraps a TokenMDP, got {type(clean).__name__}")
        if not 0 <= chance <= 1:
            raise ValueError(f"chance must be from 0 to 1, got {chance}")
        if of not in get_args(Shared):
            raise ValueError(f"of must be 'group' or 'answer', got {of!r}")
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        vars(self).update(vars(clean))  # sizes, tokens, spaces and what a task keeps of its own
        self.tokenizer, self.own_vocabulary = clean.tokenizer, clean.own_vocabulary
        self.clean, self.chance, self.of, self.seed = clean, float(chance), of, int(seed)
        self.low, self.high, self.round = float(low), float(high), int(round)
        self.name = f"NoisyReward({clean.name})"
        # A random stream of its own; and no spec, which would make the problem without the noise.
        self._np_random, self.spec = None, None

    def at_round(self, round: int) -> NoisyReward:
        """The same problem with other decisions."""
        return NoisyReward(
            self.clean,
            self.chance,
            of=self.of,
            seed=self.seed,
            low=self.low,
            high=self.high,
            round=round,
        )

    def expected(self) -> NoisyReward:
        """The problem that pays (1 - 2p) R + p (low + high): the mean over all rounds."""
        return _Expected(
            self.clean, self.chance, of=self.of, seed=self.seed, low=self.low, high=self.high
        )

    def without_noise(self) -> TokenMDP:
        """What is wrapped."""
        return self.clean

    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        keys = [(self.seed, self.round, prompt) for prompt in prompt_index.tolist()]
        if self.of == "answer":
            ends = zip(keys, tokens.tolist(), lengths.tolist(), strict=True)
            keys = [(*key, *row[:length]) for key, row, length in ends]
        rewards = self._clean_rewards(tokens, lengths, prompt_index)
        return flipped(rewards, flips(keys, self.chance), low=self.low, high=self.high)

    def _clean_rewards(self, *answers: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.clean._score(*answers), dtype=np.float64)

    def __getattr__(self, name: str) -> Any:
        """What a task has beyond a TokenMDP, such as its problems."""
        if name == "clean":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.clean, name)


class _Expected(NoisyReward):
    # Pays the mean over all draws of the noise; it is documented as the class above.

    def _score(self, *answers: NDArray[np.int64]) -> ArrayLike:
        rewards = _checked(self._clean_rewards(*answers), self.low, high=self.high)
        return (1 - 2 * self.chance) * rewards + self.chance * (self.low + self.high)


def _of_the_clean(name: str) -> Callable[..., Any]:
    @wraps(getattr(TokenMDP, name))
    def method(self: NoisyReward, *args: Any, **options: Any) -> Any:
        return getattr(self.clean, name)(*args, **options)

    return method


# What a task may say of itself, beside its reward.
for _name in (
    *("reference", "prompt_mask", "gradable", "prompt_text", "question_text", "asked"),
    *("grade", "statuses", "step_ids", "pieces", "token_texts", "demonstration", "decode"),
):
    setattr(NoisyReward, _name, _of_the_clean(_name))
