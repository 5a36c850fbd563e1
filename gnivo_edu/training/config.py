"""What a run is told: a dataclass, a YAML file, `--set key=value`; unknown keys are answered with
the nearest name.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from gnivo_edu.names import nearest


@dataclass(frozen=True)
class TrainConfig:
    """One fine-tuning run. Everything that decides its numbers is here; the resolved configuration
    is saved beside it.

    `model`: a folder or hub id of a causal LM, "shipped" for the small checkpoint of `arithmetic`,
    or "table" for a TabularLM on a toy environment. `task`: a task of `gnivo_edu.tasks`, or
    "toy_envs/Name-v0"; `task_options` go to it.
    `objective`: a name of the registry; `objective_options` go to it (alpha among them).
    A step draws `group_size` answers to each of `prompts_per_step` prompts and makes `inner_steps`
    updates on them.
    `micro_batch`: answers scored at a time, None for all; the gradient does not depend on it.
    `reference`: "sampler", the policy that drew the answers (published GN-IVO); "initial", the
    model as it was; or "refreshed", a copy of the policy taken every `refresh_every` steps.
    `sampler`: who draws the answers, the "policy" that learns or the "reference". With raw weights
    GN-IVO ends at pi* only on answers of its reference: its Algorithm 1 is reference=refreshed,
    sampler=reference. `kl_to_initial`: coefficient, reward per nat, of an exact KL to the initial
    model, summed over an answer's tokens, that is added to the loss. `level`: what an action is for
    the objective, a "token" or a "step" of the task.
    `schedule` of the learning rate after `warmup_steps`. `precision` of the forward passes:
    "float32", "bf16" (weights stay float32), or "float64". `lora_rank`: 0 trains all weights;
    above, adapters (extra `llm`; `out`/model holds them merged, `out`/adapter alone).
    `save_every`: updates between checkpoints; `keep` of them stay. `completions_every`: steps
    between saved texts, and between measurements of `value/exact_error` where the task can be
    enumerated. `report_questions`: how many questions the report compares the initial and the
    trained model on; 0 for none.
    `trackers`: names that accelerate knows, such as tensorboard or wandb; metrics.jsonl is always
    written."""

    model: str = "shipped"
    task: str = "arithmetic"
    task_options: dict[str, Any] = field(default_factory=dict)
    objective: str = "gnivo"
    objective_options: dict[str, Any] = field(default_factory=dict)
    level: Literal["token", "step"] = "token"
    steps: int = 100
    prompts_per_step: int = 16
    group_size: int = 8
    inner_steps: int = 1
    micro_batch: int | None = None
    temperature: float = 1.0
    reference: Literal["sampler", "initial", "refreshed"] = "sampler"
    sampler: Literal["policy", "reference"] = "policy"
    refresh_every: int = 10
    kl_to_initial: float = 0.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    max_grad_norm: float = 1.0
    value_learning_rate: float = 1e-3
    precision: Literal["float32", "bf16", "float64"] = "float32"
    lora_rank: int = 0
    lora_alpha: int = 16
    seed: int = 0
    save_every: int = 50
    keep: int = 2
    completions_every: int = 20
    report_questions: int = 64
    trackers: tuple[str, ...] = ()
    out: str = "runs/train"

    # A run may be told to go on for longer, or to write elsewhere or more often; all else decides
    # its numbers.
    FREE: typing.ClassVar = (
        "steps",
        "out",
        "save_every",
        "keep",
        "completions_every",
        "report_questions",
        "trackers",
    )

    def __post_init__(self) -> None:
        if self.sampler == "reference" and self.reference == "sampler":
            raise ValueError(
                "sampler=reference needs a reference of its own: set reference=initial or refreshed"
            )
        counts = ("steps", "prompts_per_step", "group_size", "inner_steps", "refresh_every")
        for name in (*counts, "save_every", "keep", "completions_every", "lora_alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(
                f"micro_batch must be at least 1 answer, or null for all, got {self.micro_batch}"
            )
        if not self.max_grad_norm > 0:  # .inf is a way to say: no clipping
            raise ValueError(f"max_grad_norm must be positive, got {self.max_grad_norm}")
        for name in ("temperature", "learning_rate", "value_learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        for name in (
            "kl_to_initial",
            "weight_decay",
            "warmup_steps",
            "lora_rank",
            "report_questions",
            "seed",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must not be negative, and finite, got {getattr(self, name)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are written to YAML and JSON."""
        return dataclasses.asdict(self) | {"trackers": list(self.trackers)}

    def changed(self, other: Mapping[str, Any]) -> list[str]:
        """Names of the settings that decide a run's numbers and differ from those of a saved
        configuration.
        """
        own = self.to_dict()
        free = {*self.FREE} - (
            {"steps"} if self.schedule != "constant" else set()
        )  # the rate depends on the end
        return [
            name for name in own if name not in free and own[name] != other.get(name, own[name])
        ]


def load_config(
    path: str | Path | None = None, changes: Sequence[str] = (), **given: Any
) -> TrainConfig:
    """A configuration from a YAML file, `key=value` changes and keyword arguments, later ones
    first.

    `task_options.x=1` and `objective_options.alpha=0.1` set one entry of a group; values are read
    as YAML. Where the objective is another than the file's, only those of the file's
    `objective_options` stay that it takes. Raises ValueError, in one line, on unknown keys (with
    the nearest valid name), values of another type and broken files.

    >>> load_config(changes=["objective=grpo", "objective_options.alpha=0.1", "steps=3"]).objective_options
    {'alpha': 0.1}
    >>> load_config(changes=["learning_rat=1e-3"])
    Traceback (most recent call last):
    ValueError: there is no setting 'learning_rat'; did you mean 'learning_rate'?
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            read = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        if read is not None and not isinstance(read, dict):
            raise ValueError(f"{path} must hold settings, one `key: value` a line")
        values |= read or {}
    parsed = [_parse(change) for change in changes]
    own = values.get("objective", TrainConfig.objective)
    objective = _as("objective", {**dict(parsed), **given}.get("objective", own), str)
    if objective != own and isinstance(values.get("objective_options"), dict):
        values["objective_options"] = _taken(objective, values["objective_options"])
    for key, value in parsed:
        group, dot, entry = key.partition(".")
        entries = values.get(group) or {}  # an empty group in a file is no group at all
        if dot and not isinstance(entries, dict):
            raise ValueError(
                f"{key} cannot be set: {group} is {entries!r}, and no group of entries"
            )
        values[group] = {**entries, entry: value} if dot else value
    values |= given
    types_of = typing.get_type_hints(TrainConfig)
    for key, value in values.items():
        if key not in types_of or key == "FREE":
            hint = nearest(key, types_of.keys() - {"FREE"}, otherwise="TrainConfig lists them all")
            raise ValueError(f"there is no setting {key!r}; {hint}")
        values[key] = _as(key, value, types_of[key])
    return TrainConfig(**values)


def _parse(change: str) -> tuple[str, Any]:
    key, equals, text = change.partition("=")
    if not equals:
        raise ValueError(f"--set takes key=value, got {change!r}")
    try:
        return key.strip(), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(
            f"--set {change}: the value is not YAML: {' '.join(str(error).split())}"
        ) from error


def _taken(objective: str, options: dict[str, Any]) -> dict[str, Any]:
    """Those options that an objective has a parameter for."""
    import inspect

    from gnivo_edu import objectives

    known = inspect.signature(objectives.get(objective)).parameters
    return {name: value for name, value in options.items() if name in known}


def _as(name: str, value: Any, kind: Any) -> Any:
    """A value of the type that the setting has; YAML reads 1e-3 as text, and 1 where 1.0 is
    meant.
    """
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value in choices:
            return value
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if origin is types.UnionType:
        return None if value is None else _as(name, value, choices[0])
    if origin in (dict, tuple):
        value = (
            {} if value is None and origin is dict else value
        )  # `task_options:` with nothing below it
        wanted: Any = dict if origin is dict else (list, tuple)
        if not isinstance(value, wanted):
            raise ValueError(
                f"{name} must be {'a group of entries' if origin is dict else 'a list'}, got "
                f"{value!r}"
            )
        if odd := [k for k in value if origin is dict and not isinstance(k, str)]:
            raise ValueError(f"the entries of {name} have names, got {odd[0]!r}")
        return {k: _number(v) for k, v in value.items()} if origin is dict else tuple(value)
    if kind is str:
        if isinstance(value, str):
            return value
        raise ValueError(f"{name} must be text, got {value!r}")
    number = _number(value)
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or (kind is int and number % 1 != 0)
    ):
        raise ValueError(
            f"{name} must be {'a whole number' if kind is int else 'a number'}, got {value!r}"
        )
    return kind(number)


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e-3 for text: make it a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
