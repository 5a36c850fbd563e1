"""Fine-tuning any causal LM with any objective: sample groups, score them, push the gradient
through, repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from gnivo_edu import objectives
from gnivo_edu.training.card import model_card
from gnivo_edu.training.checkpoint import RunFolder
from gnivo_edu.training.config import TrainConfig, name_of
from gnivo_edu.training.field_gradients import Objective
from gnivo_edu.training.origin import note_end, origin_of
from gnivo_edu.training.processes import (
    Processes,
    accelerator_for,
    agree_on_questions,
    prompts_of_step,
)
from gnivo_edu.training.rollout import Rollouts
from gnivo_edu.training.run_log import RunLog
from gnivo_edu.training.settings import (
    check_horizon,
    check_known,
    check_settings,
    needs,
    option_of,
)
from gnivo_edu.training.setup import (
    make_optimizer,
    make_policy_and_task,
    save_policy,
    saved_dtype,
)
from gnivo_edu.training.state import RunState
from gnivo_edu.training.trouble import Watch
from gnivo_edu.training.update import Row, Updates
from toy_envs import TokenMDP


@dataclass(frozen=True)
class FineTuned:
    """What a run leaves in memory: the policy, what it was, the task, the last metrics, its
    configuration and how long it took; the rest is in its folder.
    """

    policy: nn.Module
    initial: nn.Module
    task: Any
    metrics: dict[str, Any]
    folder: RunFolder
    config: TrainConfig
    seconds: float


def fine_tune(
    config: TrainConfig | None = None,
    resume: bool = False,
    progress: Callable[[str], None] | None = None,
    on_step: Callable[[Row], None] = lambda row: None,
    *,
    policy: str | nn.Module | None = None,
    task: str | TokenMDP | None = None,
    objective: str | Objective | None = None,
) -> FineTuned:
    """Run a configuration, or go on where its last checkpoint stands, as if it had never stopped.

    `policy`, `task` and `objective` take the place of what the configuration names: other names, or
    the things themselves, any causal LM (a copy of it is trained, in the precision that it has),
    any token MDP, any function of a `GroupBatch` that returns a `LossOutput`. The configuration
    that is saved then holds their names, and a run of such things is resumed by the same call.

    Algorithm 1 with any objective of the registry: draw groups, reward them, make `inner_steps`
    updates by the two-pass rule, so that a group may be scored in micro-batches of any size. On the
    CPU, with the same number of threads, a run that was killed at any moment and resumed gives the
    same weights and metrics (timings aside), bit for bit. `progress` gets messages, `on_step` each
    row of metrics. The trained model is saved in `out`/model, whole, with its tokenizer; adapters,
    if any, are merged into it, and lie in `out`/adapter as well.

    Under torchrun or `accelerate launch` each process draws and scores its share of the prompts.
    Objectives see the answers of all, so that the number of processes changes no result but by
    rounding; a run may be resumed with another. The first process alone writes, and calls
    `progress` and `on_step`.

    Raises ValueError, in one line, on settings that do not fit, on a folder in which another run is
    at work, on a resume with other data, another model to begin from, other code of the user's or
    fewer steps than are done, on a checkpoint that cannot be used or written, and on a loss, a
    gradient or weights that are not finite (the line names the answer that broke them, if one did;
    the batch is saved for inspection; such weights reach no checkpoint).

    >>> from toy_envs import Brackets
    >>> import tempfile
    >>> config = TrainConfig(steps=1, out=tempfile.mkdtemp() + "/run")
    >>> run = fine_tune(config, policy="table", task=Brackets(), objective=objectives.rloo)
    >>> run.task.name, run.metrics["step"]
    ('Brackets', 0)
    """
    arguments = {"model": policy, "task": task, "objective": objective}
    # gymnasium.make puts wrappers around a token MDP.
    arguments = {key: getattr(thing, "unwrapped", thing) for key, thing in arguments.items()}
    names: Row = {key: name_of(thing) for key, thing in arguments.items() if thing is not None}
    config = replace(config or TrainConfig(), **names)
    if config.setting.partition("/")[0] != config.objective:
        config = replace(config, setting="")  # it is another objective's
    objects = {key: None if isinstance(thing, str) else thing for key, thing in arguments.items()}
    accelerator = accelerator_for(config.trackers, config.out)
    processes = Processes(accelerator)
    run = processes.agree(
        lambda: _Run(config, accelerator, processes=processes, progress=progress, objects=objects)
    )
    try:
        return run.go(resume, on_step)
    finally:
        run.log.end()
        if run.state.origin is not None:
            note_end(run.config, run.state.origin, task=run.task, objective=run.given)
        run.folder.release()


class _Run:
    """A run: what it draws from, what moves its weights, and how far it has come."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        processes: Processes,
        progress: Callable[[str], None] | None,
        objects: Mapping[str, Any],
    ) -> None:
        self.config, self.processes = config, processes
        # As it was given: what it holds is the user's, and belongs to the run's beginning.
        self.given = objects["objective"] or objectives.get(config.objective)
        self.objective: Objective = objectives.as_objective(self.given)
        self.device = accelerator.device
        if config.precision == "float64" and self.device.type == "mps":
            self.device = torch.device("cpu")  # that accelerator has no float64
        self.progress = (processes.first and progress) or (lambda line: None)
        self.folder, self.watch = RunFolder(config.out), Watch(self.progress)
        fields = needs(self.objective, config.objective_options, group_size=config.group_size)
        check_settings(config, fields, world=processes.world)
        self.policy, self.task = make_policy_and_task(
            config, self.device, policy=objects["model"], task=objects["task"]
        )
        loaded = None if objects["model"] is not None else self.policy
        self.saved_dtype = saved_dtype(config, loaded)
        self.rollouts = Rollouts(
            config, self.device, policy=self.policy, task=self.task, needs=fields
        )
        check_horizon(config, self.task)
        check_known(self.objective, config, unknown=self.rollouts.writers.unknown)
        optimizer = make_optimizer(config, self.policy, critic=self.rollouts.critic)
        self.state = RunState(self.rollouts, optimizer)
        alpha = option_of(self.objective, config, name="alpha")
        self.log = RunLog(config, accelerator, folder=self.folder, state=self.state, alpha=alpha)
        self.updates = Updates(
            self.state, processes, log=self.log, watch=self.watch, objective=self.objective
        )

    def go(self, resume: bool, on_step: Callable[[Row], None]) -> FineTuned:
        """From the start or the last checkpoint to the last step."""
        config, state, processes = self.config, self.state, self.processes
        row: Row = {}
        start = time.perf_counter()
        gradable = agree_on_questions(self.task, processes, progress=self.progress)
        self.questions = self.rollouts.writers.questions(gradable, self.progress)
        processes.alone(lambda: self._claim(resume))
        if resume:
            state.restore(self.folder, processes, progress=self.progress)
        processes.alone(lambda: self.folder.begin(config, state.lines))
        processes.alone(lambda: self.log.begin(state.step, resume))
        updates = state.step * config.inner_steps + state.inner
        while state.step < config.steps:
            begun = time.perf_counter()
            if state.inner == 0:
                self._draw()
            while state.inner < config.inner_steps:
                row = self.updates.update()
                state.inner, updates = state.inner + 1, updates + 1
                if updates % config.save_every == 0 and state.inner < config.inner_steps:
                    processes.alone(lambda: state.save(self.folder, config.keep))
            assert state.drawn is not None
            self.rollouts.writers.remember(state.step, state.drawn)
            row = {"step": state.step, **row, "step_time": time.perf_counter() - begun}
            processes.alone(partial(self.log.write, row))
            if processes.first:
                on_step(row)
                self.watch.step()
            state.step, state.inner = state.step + 1, 0
            if updates % config.save_every == 0 or state.step == config.steps:
                processes.alone(lambda: state.save(self.folder, config.keep))
        trained = partial(save_policy, self.policy, self.task, critic=self.rollouts.critic)
        trained = partial(trained, folder=self.folder.path, dtype=self.saved_dtype)
        processes.alone(lambda: trained(card=model_card(config)))
        return FineTuned(
            policy=self.policy,
            initial=self.rollouts.initial,
            task=self.task,
            metrics=row,
            folder=self.folder,
            config=config,
            seconds=time.perf_counter() - start,
        )

    def _claim(self, resume: bool) -> None:
        """The folder for this run alone; and what it begins with."""
        self.folder.claim(self.config, resume)
        self.state.origin = origin_of(
            self.config,
            self.rollouts.initial,
            task=self.task,
            questions=self.questions,
            objective=self.given,
        )

    def _draw(self) -> None:
        """The answers of a step: each process draws to its share of the prompts, and gets those of
        all.
        """
        config, state = self.config, self.state
        self.rollouts.refresh(state.step)
        count, total = config.prompts_per_step, len(self.questions)
        prompts = self.questions[prompts_of_step(config.seed, state.step, count=count, total=total)]
        try:
            drawn = self.processes.collect(
                lambda: self.rollouts.draw(state.step, prompts, share=self.updates.share)
            )
        except ValueError as error:
            # Where the weights came from a file, a policy that gives nan was not spoiled here.
            if state.drawn is None or "gives nan" not in str(error):
                raise
            nan = ValueError("since the last update the policy gives nan")
            raise self.updates.stopped(nan) from error
        state.drawn = drawn
        read = config.group_size * int(self.rollouts.prompt_mask[prompts].sum())
        state.tokens += int(drawn["lengths"].sum()) + read
