"""Objectives: pure functions from a GroupBatch to a loss, one file each, and their registry.

>>> names()
('dr_grpo', 'dro', 'gnivo', 'group_value', 'grpo', 'gvpo', 'online_dpo', 'oreo', 'ppo', 'rloo', 'sft_winning',
 'value_mse', 'vimpo')
>>> get("gnivo") is gnivo
True
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from gnivo_edu.objectives.dr_grpo import dr_grpo
from gnivo_edu.objectives.dro import dro
from gnivo_edu.objectives.gnivo import gnivo
from gnivo_edu.objectives.group_value import group_value
from gnivo_edu.objectives.grpo import grpo
from gnivo_edu.objectives.gvpo import gvpo
from gnivo_edu.objectives.online_dpo import online_dpo
from gnivo_edu.objectives.oreo import oreo
from gnivo_edu.objectives.output import LossOutput
from gnivo_edu.objectives.ppo import ppo
from gnivo_edu.objectives.rloo import rloo
from gnivo_edu.objectives.sft_winning import sft_winning
from gnivo_edu.objectives.value_mse import value_mse
from gnivo_edu.objectives.vimpo import vimpo

_REGISTRY: dict[str, Callable[..., LossOutput]] = {
    f.__name__: f
    for f in (
        dr_grpo,
        dro,
        gnivo,
        group_value,
        grpo,
        gvpo,
        online_dpo,
        oreo,
        ppo,
        rloo,
        sft_winning,
        value_mse,
        vimpo,
    )
}


def names() -> tuple[str, ...]:
    """Names of all objectives, in alphabetical order."""
    return tuple(sorted(_REGISTRY))


def get(name: str) -> Callable[..., LossOutput]:
    """The objective of this name; ValueError with the nearest one if there is none.

    >>> get("gnvio")
    Traceback (most recent call last):
    ValueError: there is no objective 'gnvio'; did you mean 'gnivo'?
    """
    if name in _REGISTRY:
        return _REGISTRY[name]
    near = difflib.get_close_matches(name.lower(), _REGISTRY, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names())}"
    raise ValueError(f"there is no objective {name!r}; {hint}")


__all__ = [
    "LossOutput",
    "dr_grpo",
    "dro",
    "get",
    "gnivo",
    "group_value",
    "grpo",
    "gvpo",
    "names",
    "online_dpo",
    "oreo",
    "ppo",
    "rloo",
    "sft_winning",
    "value_mse",
    "vimpo",
]
