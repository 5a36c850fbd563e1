"""What people hand to a token MDP, read by name and whole, or refused: rewards and numbers."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RewardFunction = Callable[..., ArrayLike]

GIVEN = ("tokens", "lengths", "prompt_index")
# How else a parameter for the number of the prompt may be called.
_PROMPT = ("prompt", "prompts", "prompt_indices", "prompt_number", "prompt_numbers", "index")
_MEANING = {name: name for name in GIVEN} | dict.fromkeys(_PROMPT, "prompt_index")


@dataclass(frozen=True)
class RewardCall:
    """A reward function, and which of `GIVEN` its parameters take: by place, and by keyword."""

    function: RewardFunction
    places: tuple[str, ...]
    keywords: Mapping[str, str]

    def __call__(
        self,
        tokens: NDArray[np.int64],
        lengths: NDArray[np.int64],
        prompt_index: NDArray[np.int64],
    ) -> ArrayLike:
        """What the function returns on answers padded to [B, horizon]."""
        given = dict(zip(GIVEN, (tokens, lengths, prompt_index), strict=True))
        keywords = {name: given[meaning] for name, meaning in self.keywords.items()}
        return self.function(*(given[meaning] for meaning in self.places), **keywords)


def read_reward(function: RewardFunction) -> RewardCall:
    """How to call a reward function: its parameters are read by name.

    `tokens`, `lengths` and `prompt_index` (or `prompt`, `index`) are given wherever they stand, by
    keyword too; `**options` takes those that no parameter names. A parameter of another name takes
    the tokens or the lengths if it needs a value and they are not taken yet, in this order, and
    keeps its default if it has one. Raises ValueError, in one line, on a parameter for which there
    is nothing, and on what is no function.

    >>> call = read_reward(lambda y, n, scale=2.0, *, index: scale * y + index)
    >>> call.places, call.keywords
    (('tokens', 'lengths'), {'index': 'prompt_index'})
    """
    if not callable(function):
        raise ValueError(
            f"reward must be a function of (tokens, lengths), got {type(function).__name__}"
        )
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # compiled code may not say what it takes
        return RewardCall(function, places=("tokens", "lengths"), keywords={})
    named = {_MEANING[p.name] for p in parameters if p.name in _MEANING}
    unnamed = [name for name in ("tokens", "lengths") if name not in named]
    places: list[str] = []
    keywords: dict[str, str] = {}
    gap = False  # whether a parameter is left to its default: those after it go by keyword
    for p in parameters:
        meaning = _MEANING.get(p.name)
        if p.kind is p.VAR_POSITIONAL:
            # (*args, **options) is how a function passes on what it is given.
            places += unnamed
            unnamed = []
            named |= {"prompt_index"}
        elif p.kind is p.VAR_KEYWORD:
            free = [name for name in GIVEN if name not in named and name not in places]
            keywords |= {name: name for name in free}
        elif meaning is None and p.default is not p.empty:
            gap = True
        elif p.kind is p.KEYWORD_ONLY or (gap and p.kind is not p.POSITIONAL_ONLY):
            if meaning is None:
                raise _nothing_for(p.name)
            keywords[p.name] = meaning
        else:
            if meaning is None and not unnamed:
                raise _nothing_for(p.name)
            places.append(meaning or unnamed.pop(0))
    return RewardCall(function, places=tuple(places), keywords=keywords)


def _nothing_for(name: str) -> ValueError:
    return ValueError(
        f"the reward function needs {name!r}, which is none of {', '.join(GIVEN)}: "
        "give it one of these names, or a default"
    )


def read_rewards(scores: Any) -> NDArray[np.float64]:
    """What a reward function returned, as float64; ValueError, in one line, if it is no numbers.

    A tensor may be on any device, in any precision, and may carry a gradient: it is dropped. A
    masked number is nan.
    """
    if scores is None:
        raise ValueError(
            "the reward function returns nothing: it must return one number per answer"
        )
    if isinstance(scores, list | tuple):
        scores = [_plain(score) for score in scores]
    try:
        if isinstance(scores, np.ma.MaskedArray):
            scores = np.where(np.ma.getmaskarray(scores), np.nan, scores.data)
        rewards = np.asarray(_plain(scores))
        if rewards.dtype.kind not in "biufO":
            raise TypeError(f"got {rewards.dtype}")
        return rewards.astype(np.float64)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"the reward function must return numbers, one per answer: {_one_line(error)}"
        ) from error


def _plain(score: Any) -> Any:
    """A tensor as plain numbers, without importing torch; anything else as it is."""
    return score.tolist() if hasattr(score, "detach") else score


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:80]


def whole_number(value: Any, name: str) -> int:
    """An int from what Python takes for one (of numpy and torch too); else ValueError."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name} must be a whole number, got {_one_line(repr(value))}") from error


def whole(**numbers: Any) -> list[int]:
    """Each of some arguments as an int, in their order; ValueError names the first that is none.

    >>> whole(horizon=np.int64(3), seed=True)
    [3, 1]
    """
    return [whole_number(value, name) for name, value in numbers.items()]


def whole_numbers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    """Whole numbers as int64; ValueError, in one line, on 1.7, on nan and on text.

    >>> whole_numbers([1.0, 2.0], "lengths")
    array([1, 2])
    """
    try:
        array = np.asarray(_plain(values))
    except (ValueError, OverflowError) as error:  # rows of unequal length
        raise ValueError(f"{name} must be whole numbers: {_one_line(error)}") from error
    if array.dtype.kind == "f":
        fractions = array[~(np.isfinite(array) & (array == np.floor(array)))]
        if fractions.size:
            raise ValueError(f"{name} must be whole numbers, got {float(fractions[0])}")
    elif array.dtype.kind not in "biu":
        raise ValueError(f"{name} must be whole numbers, got {array.dtype}")
    if array.dtype.kind in "fu" and array.size and (largest := np.abs(array).max()) >= 2**63:
        raise ValueError(f"{name} must be whole numbers below 2**63, got {largest}")
    return array.astype(np.int64, copy=False)
