"""Published settings: how each method was trained where it was published, field by field, and where
each field comes from.

The table is `published.yaml`, beside this file; `training.load_config` takes settings from it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gnivo_edu.files import read_settings
from gnivo_edu.names import nearest

# What belongs to a method, and not to a model, a task or a budget. They leave with the objective.
METHOD = (
    "objective",
    "setting",
    "objective_options",
    "level",
    "inner_steps",
    "reference",
    "refresh_every",
    "sampler",
    "replay_age",
    "data",
    "data_writer",
    "kl_to_initial",
    "kl_gradient",
    "kl_top_k",
    "critic",
)


@dataclass(frozen=True)
class Field:
    """A value of a setting; `mark`: "source" (read in a paper or official code), "second-hand", or
    "ours"; `note`: what that rests on.
    """

    value: Any
    mark: Literal["source", "second-hand", "ours"]
    note: str


@dataclass(frozen=True)
class PublishedSetting:
    """The fields of a method by the names that `TrainConfig` has for them.

    `acts`: what holds the policy to a reference, "" if nothing does; then `none` says why.
    `without`: the change of settings that takes it away."""

    name: str
    source: str
    fields: dict[str, Field]
    acts: str
    none: str
    without: dict[str, Any]

    @property
    def objective(self) -> str:
        """The name of its objective in the registry.

        >>> setting("gnivo/letter").objective
        'gnivo'
        """
        return self.name.partition("/")[0]

    def values(self) -> dict[str, Any]:
        """The settings as a configuration has them: options of the objective in a group.

        >>> values = setting("grpo").values()
        >>> values["reference"], values["objective_options"]["alpha"]
        ('initial', 0.04)
        """
        values: dict[str, Any] = {"objective": self.objective, "setting": self.name}
        options: dict[str, Any] = {}
        for name, field in self.fields.items():
            group, dot, entry = name.partition(".")
            if dot:
                options[entry] = field.value
            else:
                values[group] = field.value
        return values | {"objective_options": options}


def names() -> tuple[str, ...]:
    """Names of all published settings: `objective`, or `objective/variant`.

    >>> "vimpo" in names(), "gnivo/acting" in names()
    (True, True)
    """
    return tuple(_table())


def setting(name: str) -> PublishedSetting:
    """The published setting of this name; ValueError with the nearest one if there is none.

    >>> reference = setting("vimpo").fields["reference"]
    >>> reference.value, reference.mark
    ('initial', 'source')
    >>> setting("vimpa")
    Traceback (most recent call last):
    ValueError: there is no published setting 'vimpa'; did you mean 'vimpo'?
    """
    if name not in _table():
        hint = nearest(name, names())
        raise ValueError(f"there is no published setting {name!r}; {hint}")
    entry = _table()[name]
    return PublishedSetting(
        name,
        entry["source"],
        fields={key: Field(*given) for key, given in entry["fields"].items()},
        acts=entry["regulariser"].get("acts", ""),
        none=entry["regulariser"].get("none", ""),
        without=entry["regulariser"].get("without", {}),
    )


def rows(config: Any) -> list[dict[str, Any]]:
    """A row for each field that belongs to the method of a `TrainConfig`: its value, and where that
    comes from.

    `mark` is that of the published setting, or "yours" where the configuration has another value.

    >>> from gnivo_edu.training.config import load_config
    >>> told = rows(load_config(changes=["objective=gvpo", "inner_steps=1"]))
    >>> [(row["value"], row["mark"]) for row in told if row["field"] == "inner_steps"]
    [(1, 'yours')]
    """
    values = config.to_dict()
    if not config.setting:  # an objective of one's own
        said = {"mark": "yours", "note": "nothing is published of it"}
        return [{"field": name, "value": values[name], **said} for name in METHOD[2:]]
    listed = []
    for name, field in setting(config.setting).fields.items():
        group, dot, entry = name.partition(".")
        value = values[group].get(entry) if dot else values[group]
        kept = value == field.value
        listed.append(
            {
                "field": entry or group,
                "value": value,
                "mark": field.mark if kept else "yours",
                "note": field.note if kept else f"published: {field.value}",
            }
        )
    return listed


@functools.cache
def _table() -> dict[str, Any]:
    return read_settings(Path(__file__).with_suffix(".yaml"))
