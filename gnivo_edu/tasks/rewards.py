"""Rewards of texts, by name or as module:function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from gnivo_edu.names import load_function, nearest, one_line

TextReward = Callable[[list[str]], ArrayLike]

REWARDS = {"sentiment": "gnivo_edu.tasks.stories:sentiment"}


def get_reward(name: str) -> TextReward:
    """A function from a list of texts to as many numbers: a named reward, or `module:function`.

    Modules are also looked for in the current folder. Raises ValueError, in one line, on a name
    that is not known (with the nearest one), on a module or function that is not there, and on a
    module that cannot be imported.

    >>> get_reward("sentiment")(["A happy end.", "She was sad."]).round(2)
    array([0.75, 0.25])
    >>> get_reward("sentimant")
    Traceback (most recent call last):
    ValueError: there is no reward 'sentimant'; did you mean 'sentiment'? Your own: module:function
    """
    function = reward_function(name)
    return function if name in REWARDS else _guarded(name, function)


def reward_function(name: str) -> Callable[..., Any]:
    """What `get_reward` calls: the function of this name itself. Raises ValueError as it does."""
    target = REWARDS.get(name, name)
    if ":" not in target:
        hint = nearest(name, REWARDS, otherwise=f"known: {', '.join(REWARDS)}.")
        raise ValueError(f"there is no reward {name!r}; {hint} Your own: module:function")
    try:
        return load_function(target)
    except ValueError as error:
        raise ValueError(f"reward {name!r}: {error}") from error


def _guarded(name: str, function: TextReward) -> TextReward:
    """The same function; what it raises says whose fault it is, in one line."""

    def reward(texts: list[str]) -> ArrayLike:
        try:
            return function(texts)
        except (Exception, SystemExit) as error:
            raise ValueError(f"the reward {name} raised {one_line(error)}") from error

    return reward
