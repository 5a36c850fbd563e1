"""Rewards of texts, by name or as module:function."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable

from numpy.typing import ArrayLike

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
    target = REWARDS.get(name, name)
    if ":" not in target:
        near = difflib.get_close_matches(name.lower(), REWARDS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(REWARDS)}."
        raise ValueError(f"there is no reward {name!r}; {hint} Your own: module:function")
    module_name, _, attribute = target.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module of the user's: whatever it raises
        raise ValueError(
            f"reward {name!r}: module {module_name!r} cannot be imported: {_told(error)}"
        ) from error
    finally:
        sys.path.remove(here)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ValueError(f"reward {name!r}: module {module_name!r} has no function {attribute!r}")
    return function if name in REWARDS else _guarded(name, function)


def _guarded(name: str, function: TextReward) -> TextReward:
    """The same function; what it raises says whose fault it is, in one line."""

    def reward(texts: list[str]) -> ArrayLike:
        try:
            return function(texts)
        except (Exception, SystemExit) as error:
            raise ValueError(f"the reward {name} raised {_told(error)}") from error

    return reward


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
