"""Objectives: pure functions from a GroupBatch to a loss, one file each, and their registry.

>>> "gvpo" in names(), get("gnivo") is gnivo
(True, True)
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from gnivo_edu.names import load_function, nearest
from gnivo_edu.objectives.checks import checked

# One line makes an objective known: a function named as its file. It is then in the atlas, in the
# tests that hold for every objective, and on the page of objectives.
from gnivo_edu.objectives.cispo import cispo as cispo
from gnivo_edu.objectives.dapo import dapo as dapo
from gnivo_edu.objectives.dr_grpo import dr_grpo as dr_grpo
from gnivo_edu.objectives.dro import dro as dro
from gnivo_edu.objectives.gnivo import gnivo as gnivo
from gnivo_edu.objectives.group_value import group_value as group_value
from gnivo_edu.objectives.grpo import grpo as grpo
from gnivo_edu.objectives.gspo import gspo as gspo
from gnivo_edu.objectives.gvpo import gvpo as gvpo
from gnivo_edu.objectives.online_dpo import online_dpo as online_dpo
from gnivo_edu.objectives.oreo import oreo as oreo
from gnivo_edu.objectives.output import LossOutput as LossOutput
from gnivo_edu.objectives.ppo import ppo as ppo
from gnivo_edu.objectives.rloo import rloo as rloo
from gnivo_edu.objectives.sft_winning import sft_winning as sft_winning
from gnivo_edu.objectives.value_mse import value_mse as value_mse
from gnivo_edu.objectives.vimpo import vimpo as vimpo

_REGISTRY: dict[str, Callable[..., LossOutput]] = {
    name: checked(f)
    for name, f in list(globals().items())
    if getattr(f, "__module__", None) == f"{__name__}.{name}"
}
# `objectives.gvpo`, `get("gvpo")` and the function of its file are one: pickle looks there.
for _name, _function in _REGISTRY.items():
    globals()[_name] = _function
    setattr(sys.modules[_function.__module__], _name, _function)


def names() -> tuple[str, ...]:
    """Names of all objectives, in alphabetical order."""
    return tuple(sorted(_REGISTRY))


def get(name: str) -> Callable[..., LossOutput]:
    """The objective of this name, or one's own as `module:function`, also of a module in the
    current folder: a function of a GroupBatch that returns a `LossOutput`, or the loss alone.

    Raises ValueError, in one line, on what is not there (with the nearest name) and on a module
    that cannot be imported.

    >>> get("gnvio")
    Traceback (most recent call last):
    ValueError: there is no objective 'gnvio'; did you mean 'gnivo'? Your own: module:function
    """
    if name in _REGISTRY:
        return _REGISTRY[name]
    if ":" in name:
        return as_objective(load_function(name))
    # "sft" is short for "sft_winning".
    hint = nearest(name, names(), otherwise=f"known: {', '.join(names())}.", cutoff=0.4)
    raise ValueError(f"there is no objective {name!r}; {hint} Your own: module:function")


def as_objective(function: Callable[..., Any]) -> Callable[..., LossOutput]:
    """A function of a GroupBatch that may return a loss without metrics, as an objective; those of
    the registry are.

    >>> as_objective(gvpo) is gvpo, as_objective(lambda batch: 0.5)(None).loss
    (True, 0.5)
    """
    if any(function is known for known in _REGISTRY.values()):
        return function

    @functools.wraps(function)
    def objective(*batch: Any, **settings: Any) -> LossOutput:
        out = function(*batch, **settings)
        return out if isinstance(out, LossOutput) else LossOutput(out)

    return objective
