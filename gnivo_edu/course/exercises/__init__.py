"""The exercises by their names: those of the course, one file each here, and those of one's own,
one file each in a folder `exercises` beside the notebook.
"""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from gnivo_edu.course.exercises.base import Case, CheckFailed, Exercise
from gnivo_edu.names import nearest, one_line

__all__ = ["Case", "CheckFailed", "Exercise", "all", "get", "names", "of_ones_own"]

# One line makes an exercise of the course known: the name of its file, in the order of the course.
_COURSE = (
    "sequence_logprob",
    "enumerate_leaves",
    "log_z",
    "tilted_policy",
    "soft_value_backup",
    "value_by_averaging",
    "optimal_prefix_logps",
    "step_credit",
    "success_probability",
    "optimal_step_logps",
    "alpha_for_kl_budget",
    "prefix_logratio",
    "gnivo_loss",
    "gnivo_gradient_weights",
    "shift_and_spread",
    "pin_the_shift",
    "gnivo_loss_unequal_lengths",
    "rloo_advantage",
    "grpo_advantage",
    "gae",
    "gvpo_loss",
    "vimpo_residual",
    "kl_in_the_loss",
    "pass_at_k",
    "first_wrong_auc",
    "best_of_k_law",
    "frozen_group_mean",
    "grpo_one_step_law",
    "answer_mask",
    "stale_kl_in_the_loss",
    "paired_interval",
    "answer_logps",
    "rank_correlation",
    "prune_row",
    "monte_carlo_value",
    "rows_that_fit",
    "two_pass_gradient",
    "drops",
    "seeds_that_count",
    "winner_weight",
    "flipped_temperature",
    "group_push",
    "refreshed_law",
    "jump_at_refresh",
)
_MODULES = {name: import_module(f"{__name__}.{name}") for name in _COURSE}
# Where one's own lie: a notebook runs in its own folder, a command where `notebooks` is.
_FOLDERS = ("exercises", "notebooks/exercises")


def all() -> tuple[Exercise, ...]:
    """Every exercise of the course, in its order.

    >>> [exercise.name for exercise in all()][:3]
    ['sequence_logprob', 'enumerate_leaves', 'log_z']
    """
    return tuple(module.EXERCISE for module in _MODULES.values())


def of_ones_own() -> dict[str, Path]:
    """The files of one's own exercises by their names: those in a folder `exercises` of the current
    folder, or of `notebooks` in it. None is read.
    """
    files = [path for folder in _FOLDERS for path in sorted(Path(folder).glob("*.py"))]
    return {path.stem: path for path in files if not path.stem.startswith("_")}


def names() -> tuple[str, ...]:
    """The names of all exercises: of the course in its order, then of one's own."""
    return (*_COURSE, *(name for name in of_ones_own() if name not in _MODULES))


def get(name: str) -> Exercise:
    """The exercise of this name. Raises ValueError, in one line, where there is none, and on a file
    of one's own that cannot be read or does not hold it.

    >>> get("step_credits")
    Traceback (most recent call last):
    ValueError: no exercise named step_credits: did you mean 'step_credit'?
    """
    if name in _MODULES:
        exercise: Exercise = _MODULES[name].EXERCISE
        return exercise
    if (path := of_ones_own().get(name)) is not None:
        return _read(path.resolve(), path.stat().st_mtime_ns)
    hint = nearest(
        name,
        names(),
        otherwise=f"one of your own is exercises/{name}.py, beside the "
        "notebook (`gnivo-edu new exercise` writes one)",
    )
    raise ValueError(f"no exercise named {name}: {hint}")


@functools.cache
def _read(path: Path, _changed: int) -> Exercise:
    """The exercise that a file holds; it is read again once it has changed."""
    shown = f"exercises/{path.name}"
    try:
        module = _module(path)
    except (Exception, SystemExit) as error:  # a file of somebody's own may raise anything
        raise ValueError(f"{shown} cannot be read: {one_line(error)}") from error
    exercise = getattr(module, "EXERCISE", None)
    if not isinstance(exercise, Exercise):
        raise ValueError(f"{shown} has no EXERCISE = Exercise(...), which says what is checked")
    if exercise.name != path.stem:
        raise ValueError(
            f"{shown} holds the exercise {exercise.name!r}: give the file and the exercise one name"
        )
    return exercise


def _module(path: Path) -> ModuleType:
    module = ModuleType(f"{__name__}.{path.stem}_of_ones_own")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # as an import would, for what looks it up by its name
    SourceFileLoader(module.__name__, str(path)).exec_module(module)
    return module
