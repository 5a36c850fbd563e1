"""What a run is told: a dataclass, a YAML file, `--set key=value`; unknown keys are answered with
the nearest name.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gnivo_edu import objectives
from gnivo_edu.files import read_changes, read_settings
from gnivo_edu.names import home, nearest, output_folder, shown
from gnivo_edu.objectives import published
from gnivo_edu.objectives.checks import SYNONYMS
from gnivo_edu.objectives.published import METHOD, PublishedSetting
from gnivo_edu.training.sampler import check_sampler, counts_of
from gnivo_edu.values import convert, convert_options

LARGEST_RATE = 1e30  # an optimiser multiplies it by up to ten thousand, in float32
LARGEST = 1_000_000  # beside a larger number float32 loses a reward of 1
LOWEST_TEMPERATURE = 1e-3  # logits are divided by it
MOST_ANSWERS = 100_000  # of a step
KLGradient = Literal["states", "answers"]


@dataclass(frozen=True)
class TrainConfig:
    """One fine-tuning run. Everything that decides its numbers is here; the resolved configuration
    is saved beside it.

    `model`: a folder or hub id of a causal LM, "shipped" for the small checkpoint of `arithmetic`,
    or "table" for a TabularLM on a toy environment. `task`: a task of `gnivo_edu.tasks`, or
    "toy_envs/Name-v0"; `task_options` go to it.
    `objective`: a name of the registry, or one's own as module:function; `objective_options` go to
    it (alpha among them).
    `setting`: the published setting (`objectives.published`) that `load_config` took what belongs
    to the method from; a note, as every value stands in its own field.
    A step draws `group_size` answers to each of `prompts_per_step` prompts and makes `inner_steps`
    updates on them.
    `micro_batch`: answers scored at a time, None for all; the gradient does not depend on it.
    Answers of one micro-batch to one prompt share its work (`policies.packed`), so that multiples
    of `group_size` cost least.
    `reference`: "sampler", the policy that drew the answers; "initial", the model as it was; or
    "refreshed", a copy of the policy taken every `refresh_every` steps.
    `sampler`: who writes the answers, a name for all of a group or counts that add up to
    `group_size`, such as {policy: 4, replay: 4}. "policy" is the one that learns, "reference" the
    reference; "replay" are answers that the policy wrote to the same prompt, at most `replay_age`
    steps ago (what is missing, as at the start, the policy writes); "data" those of the file
    `data`, see `read_answers` (questions to which it has too few are not asked); "demonstrations"
    the task's own, one a group. All but policy need a reference of their own, "initial" or
    "refreshed". With raw weights GN-IVO ends at pi* only on answers of its reference, with
    `objective_options` weights: completion on anybody's.
    An answer's `behaviour_logps` are always its writer's, at the temperature that it wrote with.
    The log-ratio h of an answer is to the reference, whoever wrote it; a ratio pi/pi_writer, such
    as a clipped one, is to its writer. `data_writer`: whose the answers are that come without
    `logps`, as demonstrations do. While it is "unknown", objectives that read no such ratio take
    them (DRO, OREO, GVPO, GN-IVO, SFT), others refuse them; "reference" takes the reference of the
    step for their writer, which is right where it wrote them: else the ratio weighs them as if.
    `questions`: how many of the task's questions the run asks, spread evenly over them; None for
    all. A prompt comes again after about questions / prompts_per_step steps.
    Algorithm 1 of GN-IVO, to the letter, is the default reference=sampler with inner_steps=1 (or
    reference=refreshed, refresh_every=1) and `objective_options` prefixes: given, for which a step
    draws one depth a prompt, kept for all its updates, uniform on 1..horizon: the option `horizon`
    of the objective, else the task's, in tokens. With level=step depths are counted in steps: an
    answer has no more steps than tokens, and a smaller `horizon` may be set. The reference is then
    the policy at every update, where GN-IVO is a policy gradient (see `objectives.gnivo`).
    `kl_to_initial`: coefficient, reward per nat, of KL(policy || initial model), the exact KL of
    each next-token law summed over an answer's tokens, that is added to the loss. `kl_gradient`:
    "states" differentiates these KLs in the states that the answers met, as implementations do,
    which is not the gradient of the KL of whole answers; "answers" adds what a token does to the
    states after it, and is (see `settings.kl_of_answers`).
    `kl_top_k`: of an objective's own KL (`policy_kl`) only the terms of the policy's k likeliest
    tokens, as VIMPO's code offers; null for all of them, the exact KL. `level`: what an action is
    for the objective, a "token" or a "step" of the task. `reward_noise`: the chance that a reward R
    of 0..1 becomes 1 - R in training, decided once for all answers to a prompt or for each
    (`reward_noise_of`); the report stays without.
    `schedule` of the learning rate after `warmup_steps`. `precision` of the forward passes:
    "float32", "bf16" (weights, gradients and moments stay float32), or "float64".
    `fused_optimizer`: the optimiser as one kernel, where device and precision have it.
    `gradient_checkpointing`: layers keep their inputs alone and are run again in the backward pass:
    the same gradient, for less memory and about a third more time. `lora_rank`: 0 trains all
    weights; above, adapters (extra `llm`; `out`/model holds them merged, `out`/adapter alone).
    `save_every`: updates between checkpoints; `keep` of them stay. `completions_every`: steps
    between saved texts, and between measurements of `value/exact_error` where the task can be
    enumerated. `completions`: at which steps every answer is kept with all numbers of its tokens
    (`out`/completions, see `training.record`; `gnivo-edu show` makes a page of it): "some", those
    same steps, or "all"; both need pyarrow, without which "some" keeps none.
    `report_questions`: how many questions the report compares the initial and the
    trained model on; 0 for none.
    `save_precision` of `out`/model: "own", that of the files that `model` was loaded from (float64
    with precision=float64), or the one that is named. Weights are trained, and checkpoints are
    kept, in float32: rounding to bf16 at the end can lose what a short run at a small rate has
    changed.
    `trackers`: names that accelerate knows, such as tensorboard or wandb; metrics.jsonl is always
    written."""

    model: str = "shipped"
    task: str = "arithmetic"
    task_options: dict[str, Any] = field(default_factory=dict)
    objective: str = "gnivo"
    objective_options: dict[str, Any] = field(default_factory=dict)
    setting: str = ""
    level: Literal["token", "step"] = "token"
    steps: int = 100
    prompts_per_step: int = 16
    questions: int | None = None
    group_size: int = 8
    inner_steps: int = 1
    micro_batch: int | None = None
    temperature: float = 1.0
    reward_noise: float = 0.0
    reward_noise_of: Literal["group", "answer"] = "group"
    reference: Literal["sampler", "initial", "refreshed"] = "sampler"
    sampler: str | dict[str, Any] = "policy"
    replay_age: int = 10
    data: str | None = None
    data_writer: Literal["unknown", "reference"] = "unknown"
    refresh_every: int = 10
    kl_to_initial: float = 0.0
    kl_gradient: KLGradient = "states"
    kl_top_k: int | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    fused_optimizer: bool = True
    gradient_checkpointing: bool = False
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    max_grad_norm: float = 1.0
    critic: Literal["network", "head", "probe"] = "probe"
    value_learning_rate: float = 1e-3
    precision: Literal["float32", "bf16", "float64"] = "float32"
    lora_rank: int = 0
    lora_alpha: int = 16
    seed: int = 0
    save_every: int = 50
    keep: int = 2
    completions: Literal["some", "all"] = "some"
    completions_every: int = 20
    report_questions: int = 64
    save_precision: Literal["own", "float32", "bf16", "float64"] = "own"
    trackers: tuple[str, ...] = ()
    out: str = "runs/train"

    # A run may be told to go on for longer, or to write elsewhere or more often; all else decides
    # its numbers.
    FREE: typing.ClassVar = (
        "steps",
        "setting",
        "out",
        "save_every",
        "keep",
        "completions",
        "completions_every",
        "report_questions",
        "save_precision",
        "trackers",
    )

    def __post_init__(self) -> None:
        for rule, holds, names in _RULES:
            for name in names:
                if not holds(getattr(self, name)):
                    raise ValueError(f"{name} must {rule}, got {getattr(self, name)}")
        check_sampler(self.sampler, self.group_size, reference=self.reference, data=self.data)
        answers = self.prompts_per_step * self.group_size
        if answers > MOST_ANSWERS:
            raise ValueError(
                f"prompts_per_step times group_size is {answers:,} answers a step: take at most "
                f"{MOST_ANSWERS:,}"
            )
        object.__setattr__(self, "out", str(output_folder(self.out)))
        if self.data is not None:
            object.__setattr__(self, "data", str(home(self.data, what="data")))

    @property
    def counts(self) -> dict[str, int]:
        """Answers of a group by who writes them, as `sampler` says."""
        return counts_of(self.sampler, self.group_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are written to YAML and JSON."""
        return dataclasses.asdict(self) | {"trackers": list(self.trackers)}

    def changed(self, other: Mapping[str, Any]) -> list[str]:
        """Names of the settings that decide a run's numbers and differ from those of a saved
        configuration.
        """
        free = set(self.FREE)
        if self.schedule != "constant":  # then the rate of every step depends on the last one
            free.discard("steps")
        return [
            name
            for name, value in self.to_dict().items()
            if name not in free and value != other.get(name, value)
        ]


# What a number must be, and which settings are held to it.
_RULES: tuple[tuple[str, Callable[[Any], bool], tuple[str, ...]], ...] = (
    (
        "be at least 1",
        lambda x: x >= 1,
        (
            *("steps", "prompts_per_step", "group_size", "inner_steps", "refresh_every"),
            *("save_every", "keep", "completions_every", "lora_alpha", "replay_age"),
        ),
    ),
    ("be at least 1 question, or null for all", lambda x: x is None or x >= 1, ("questions",)),
    ("be at least 1 answer, or null for all", lambda x: x is None or x >= 1, ("micro_batch",)),
    ("be at least 1 token, or null for all", lambda x: x is None or x >= 1, ("kl_top_k",)),
    ("be a chance from 0 to 1", lambda x: 0 <= x <= 1, ("reward_noise",)),
    ("be positive", lambda x: x > 0, ("max_grad_norm",)),  # .inf is a way to say: no clipping
    (
        "be positive and finite",
        lambda x: 0 < x < math.inf,
        ("temperature", "learning_rate", "value_learning_rate"),
    ),
    (
        f"be at least {LOWEST_TEMPERATURE:g}, or the logits overflow",
        lambda x: x >= LOWEST_TEMPERATURE,
        ("temperature",),
    ),
    (
        "not be negative, and finite",
        lambda x: 0 <= x < math.inf,
        ("kl_to_initial", "weight_decay", "warmup_steps", "lora_rank", "report_questions", "seed"),
    ),
    (
        f"be at most {LARGEST_RATE:g}, or float32 overflows",
        lambda x: x <= LARGEST_RATE,
        ("learning_rate", "value_learning_rate", "weight_decay"),
    ),
    (f"be at most {LARGEST:,}", lambda x: x <= LARGEST, ("temperature", "kl_to_initial")),
)


def name_of(thing: Any) -> str:
    """What a configuration calls a policy, a task or an objective that it is given: its name.

    >>> from gnivo_edu import objectives
    >>> from toy_envs import Brackets
    >>> name_of("gnivo"), name_of(Brackets()), name_of(objectives.gvpo)
    ('gnivo', 'Brackets', 'gvpo')
    """
    if isinstance(thing, str):
        return thing
    thing = getattr(thing, "func", thing)  # of a functools.partial
    names = (getattr(thing, attribute, "") for attribute in ("name", "name_or_path", "__name__"))
    return next((str(name) for name in names if name), type(thing).__name__)


def load_config(
    path: str | Path | None = None,
    changes: Sequence[str] = (),
    progress: Callable[[str], None] = lambda line: None,
    **given: Any,
) -> TrainConfig:
    """A configuration from a YAML file, `key=value` changes and keyword arguments, later ones
    first.

    Where an objective or a `setting` is named, what belongs to its method and is not said comes
    from its published setting (`objectives.published`). Where that is another one than the file's,
    what the file says of its method is dropped; `progress` gets a line that says so.
    `task_options.x=1` and `objective_options.alpha=0.1` set one entry of a group; values are read
    as `files.read_change` reads them. Raises ValueError, in one line, on unknown keys and options
    (with the nearest valid name), keys that stand twice, values of another type and broken files.

    >>> config = load_config(changes=["objective=grpo", "objective_options.alpha=0.1", "steps=3"])
    >>> config.reference, config.objective_options["alpha"], config.objective_options["kl"]
    ('initial', 0.1, 'k3')
    >>> load_config(changes=["learning_rat=1e-3"])
    Traceback (most recent call last):
    ValueError: there is no setting 'learning_rat'; did you mean 'learning_rate'?
    """
    values = read_settings(home(path)) if path is not None else {}
    parsed = read_changes(changes)
    stated = _setting(values)
    asked = {**parsed, **given}
    setting = _setting(asked, stated)
    name = asked.get("objective", "")
    # An objective of one's own has no published setting; another one's settings are not its.
    own = ":" in str(name) and name != values.get("objective")
    if own or (setting and setting != (stated or published.setting(TrainConfig.objective))):
        dropped = [key for key in values if key in METHOD]
        values = {key: value for key, value in values.items() if key not in METHOD}
        progress(_said(setting, dropped) if setting else f"objective={name}{_in_place(dropped)}")
    for key, value in parsed.items():
        group, dot, entry = key.partition(".")
        entries = values.get(group) or {}  # an empty group in a file is no group at all
        if dot and not isinstance(entries, dict):
            raise ValueError(
                f"{key} cannot be set: {group} is {shown(entries)}, and no group of entries"
            )
        values[group] = {**entries, entry: value} if dot else value
    values = values | given
    taken = setting.values() if setting else {}
    options = values.get("objective_options")
    if setting and isinstance(options, dict):
        values["objective_options"] = taken["objective_options"] | options
    settings = {key: _convert(key, value) for key, value in (taken | values).items()}
    if "objective_options" in settings:
        objective = settings.get("objective", TrainConfig.objective)
        settings["objective_options"] = _options(objective, settings["objective_options"])
    return TrainConfig(**settings)


def _setting(
    values: Mapping[str, Any], otherwise: PublishedSetting | None = None
) -> PublishedSetting | None:
    """The published setting that some values name, or that of the objective that they name;
    `otherwise` where they name none, or its objective alone.
    """
    name = _convert("setting", values.get("setting") or "")
    named = published.setting(name) if name else otherwise
    if "objective" not in values:
        return named
    objective = _convert("objective", values["objective"])
    objectives.get(objective)  # with the nearest name, if there is none
    if named and named.objective == objective:
        return named
    if name:
        raise ValueError(
            f"setting={name} is one of another objective than {objective!r}: name one of the two"
        )
    return None if ":" in objective else published.setting(objective)


def _said(setting: PublishedSetting, dropped: Sequence[str]) -> str:
    """Which setting is taken, in place of what, in one line."""
    values = setting.values()
    listed = values | values.pop("objective_options")
    said = ", ".join(f"{k}={v}" for k, v in listed.items() if k not in ("objective", "setting"))
    return f"setting={setting.name}{_in_place(dropped)}: {said}"


def _in_place(dropped: Sequence[str]) -> str:
    return f" in place of the file's {', '.join(dropped)}" if dropped else ""


def _options(objective: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of an objective, each of the type that it says."""
    function = objectives.get(objective)
    options = convert_options(
        f"the objective {objective!r}", options, makers=[function], synonyms=SYNONYMS
    )
    for name, x in options.items():
        # A clip at infinity is a way to say: no clipping.
        endless = "clip" in name and x == math.inf
        if isinstance(x, (int, float)) and not (abs(x) <= LARGEST or endless):
            raise ValueError(f"{name} must be at most {LARGEST:,}, got {x}")
    return options


_KINDS = {
    f.name: typing.get_type_hints(TrainConfig)[f.name] for f in dataclasses.fields(TrainConfig)
}


def _convert(name: Any, value: Any) -> Any:
    """A value of the type that the setting has. ValueError, in one line, where nothing can become a
    value of it.
    """
    if name not in _KINDS:
        hint = nearest(name, _KINDS, otherwise="TrainConfig lists them all")
        raise ValueError(f"there is no setting {shown(name)}; {hint}")
    if value is None and typing.get_origin(_KINDS[name]) is dict:
        value = {}  # `task_options:` with nothing below it
    return convert(name, value, _KINDS[name])
