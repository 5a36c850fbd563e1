"""A training step as benchmarks take it: what is trained on what, and ours, measured."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from gnivo_edu.bench.models import ACTIONS, RandomPrompts, qwen2
from gnivo_edu.training.config import TrainConfig, load_config
from gnivo_edu.training.loop import fine_tune


@dataclass(frozen=True)
class Step:
    """What is trained, and on what: so many prompts of so many tokens, answers that all go to the
    horizon, and as many steps as the median is taken of, after a first one.

    >>> Step().tokens
    3072
    """

    prompts: int = 8
    prompt_length: int = 16
    group_size: int = 8
    horizon: int = 48
    size: str = "0.8M"
    steps: int = 2
    vocabulary: int = ACTIONS + 1

    @property
    def tokens(self) -> int:
        """Tokens of answers in a step."""
        return self.prompts * self.group_size * self.horizon

    def task(self) -> RandomPrompts:
        """The prompts, and what is paid."""
        return RandomPrompts(
            [self.prompt_length] * self.prompts, self.horizon, actions=self.vocabulary - 1
        )

    def model(self) -> Any:
        """The same weights each time."""
        positions = self.prompt_length + self.horizon
        return qwen2(self.size, positions=positions, vocabulary=self.vocabulary)

    def __str__(self) -> str:
        return (
            f"{self.prompts} prompts of {self.prompt_length} tokens, {self.group_size} answers of "
            f"{self.horizon} to each"
        )


SHORT = Step()
LONG = Step(prompts=4, prompt_length=256, horizon=64, steps=2)
TINY = Step(prompts=2, prompt_length=4, group_size=2, horizon=3, size="tiny", steps=1)


@dataclass
class Clock:
    """When steps ended."""

    ends: list[float] = field(default_factory=list)

    def tick(self, *_: Any) -> None:
        """A step has ended."""
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """The median step but for the first, in which either trainer sets itself up; nan where
        nobody was told of steps, as in a process that is not the first.
        """
        if len(self.ends) < 2:
            return math.nan
        return float(np.median(np.diff(self.ends)))


def our_step(
    step: Step, objective: str, repeat: int, out: str | None = None, **settings: Any
) -> float:
    """Seconds of a step of ours, in a run whose folder is then thrown away, unless `out` is given.

    `settings`: of the run, in place of those below; others go to the objective. Of the objective's
    published setting its options alone are taken: settings differ in how often they update on a
    draw, and in what they penalise.
    """
    names = {f.name for f in fields(TrainConfig)}
    options = {name: value for name, value in settings.items() if name not in names}
    published = load_config(objective=objective).objective_options
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            objective=objective,
            objective_options=published | options,
            reference=settings.get("reference", "initial"),
            steps=step.steps + 1,
            prompts_per_step=step.prompts,
            group_size=step.group_size,
            learning_rate=1e-6,
            report_questions=0,
            completions_every=step.steps + 1,
            save_every=step.steps + 1,
            out=out or f"{folder}/run",
            seed=repeat,
        )
        config = replace(config, **{name: settings[name] for name in settings if name in names})
        fine_tune(config, policy=step.model(), task=step.task(), on_step=clock.tick)
    return clock.seconds
