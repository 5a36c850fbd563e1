"""Fine-tuning any causal LM with any objective: sample groups, score them, push the gradient
through, repeat.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.surrogate import average
from gnivo_edu.policies import pick_device
from gnivo_edu.policies.cached_rows import check_room
from gnivo_edu.training.checkpoint import RunFolder, why_not_written
from gnivo_edu.training.config import TrainConfig, name_of
from gnivo_edu.training.metrics import (
    exact_error,
    exact_keys,
    fit_metrics,
    objective_metrics,
    rollout_metrics,
)
from gnivo_edu.training.processes import Processes
from gnivo_edu.training.rollout import Drawn, Rollouts, agree_on_questions, prompts_of_step
from gnivo_edu.training.run_log import RunLog, check_trackers
from gnivo_edu.training.settings import check_settings, needs, option_of, rate_factor, reward_name
from gnivo_edu.training.setup import make_policy_and_task, save_policy
from gnivo_edu.training.state import RunState
from gnivo_edu.training.two_pass import Coefficients, Passes, coefficients
from toy_envs import TokenMDP

Say = Callable[[str], None]
Row = dict[str, Any]
OnStep = Callable[[Row], None]
Objective = Callable[..., LossOutput]


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


class RunStoppedError(ValueError):
    """A run that cannot go on; `told`: whether every process knows it."""

    def __init__(self, message: str, told: bool) -> None:
        super().__init__(message)
        self.told = told


def fine_tune(
    config: TrainConfig | None = None,
    resume: bool = False,
    say: Say = lambda line: None,
    on_step: OnStep = lambda row: None,
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
    same weights and metrics (timings aside), bit for bit. `say` gets messages, `on_step` each row
    of metrics. The trained model is saved in `out`/model, whole, with its tokenizer; adapters, if
    any, are merged into it, and lie in `out`/adapter as well.

    Under torchrun or `accelerate launch` each process draws and scores its share of the prompts.
    Objectives see the answers of all, so that the number of processes changes no result but by
    rounding; a run may be resumed with another. The first process alone writes, and calls `say` and
    `on_step`.

    Raises ValueError, in one line, on settings that do not fit, on a checkpoint that cannot be used
    or written, and on a loss or weights that are not finite (the batch is saved for inspection;
    such weights reach no checkpoint).

    >>> from toy_envs import Brackets
    >>> import tempfile
    >>> config = TrainConfig(steps=1, out=tempfile.mkdtemp() + "/run")
    >>> run = fine_tune(config, policy="table", task=Brackets(), objective=objectives.rloo)
    >>> run.task.name, run.metrics["step"]
    ('Brackets', 0)
    """
    given = {"model": policy, "task": task, "objective": objective}
    # gymnasium.make puts wrappers around a token MDP.
    given = {key: getattr(thing, "unwrapped", thing) for key, thing in given.items()}
    names: Row = {key: name_of(thing) for key, thing in given.items() if thing is not None}
    config = replace(config or TrainConfig(), **names)
    things = {key: None if isinstance(thing, str) else thing for key, thing in given.items()}
    check_trackers(config.trackers)
    # Accelerate has to be told of a CPU, or it misses the other processes.
    on_cpu = pick_device().type == "cpu"
    accelerator = Accelerator(
        cpu=on_cpu, log_with=list(config.trackers) or None, project_dir=config.out
    )
    processes = Processes(accelerator)
    run = processes.agree(lambda: _Run(config, accelerator, processes, say, things))
    try:
        return run.go(resume, on_step)
    finally:
        run.log.end()


class _Run:
    """A run: what it draws from, the optimiser, and how far it has come."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        processes: Processes,
        say: Say,
        given: Mapping[str, Any],
    ) -> None:
        self.config, self.processes = config, processes
        self.objective: Objective = given["objective"] or objectives.get(config.objective)
        self.device = accelerator.device
        if config.precision == "float64" and self.device.type == "mps":
            self.device = torch.device("cpu")  # that accelerator has no float64
        self.say: Say = say if processes.first else lambda line: None
        self.folder = RunFolder(config.out)
        asked = needs(self.objective, config.objective_options, config.group_size)
        check_settings(config, asked, processes.world)
        self.alpha = option_of(self.objective, config, "alpha")
        self.policy, self.task = make_policy_and_task(
            config, self.device, policy=given["model"], task=given["task"]
        )
        self.rollouts = Rollouts(config, self.device, self.policy, self.task, needs=asked)
        ids, mask = self.rollouts.prompts, self.rollouts.prompt_mask
        # All prompts have to fit, before the first step.
        check_room(self.policy, self.task, ids, mask, index=torch.arange(len(ids)))
        self.parameters = [p for p in self.policy.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": self.parameters, "lr": config.learning_rate}]
        if self.rollouts.critic is not None:
            critic = list(self.rollouts.critic.parameters())
            groups.append({"params": critic, "lr": config.value_learning_rate})
        maker = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.SGD
        self.optimizer = maker(groups, weight_decay=config.weight_decay)
        self.trained = [p for group in groups for p in group["params"]]
        self.rates = [group["lr"] for group in groups]
        self.state = RunState(self.rollouts, self.optimizer)
        self.log = RunLog(config, accelerator, self.folder, self.task)

    def go(self, resume: bool, on_step: OnStep) -> FineTuned:
        """From the start or the last checkpoint to the last step."""
        config, state, processes = self.config, self.state, self.processes
        row: Row = {}
        start = time.perf_counter()
        self.questions = agree_on_questions(self.task, processes, self.say)
        processes.alone(lambda: self.folder.begin(config, resume))
        if resume:
            self._restore()
        processes.alone(lambda: self.log.begin(state.step, resume))
        updates = state.step * config.inner_steps + state.inner
        while state.step < config.steps:
            begun = time.perf_counter()
            if state.inner == 0:
                self._draw()
            while state.inner < config.inner_steps:
                row = self._update()
                state.inner, updates = state.inner + 1, updates + 1
                if updates % config.save_every == 0 and state.inner < config.inner_steps:
                    processes.alone(lambda: state.save(self.folder, config.keep))
            row = {"step": state.step, **row, "step_time": time.perf_counter() - begun}
            processes.alone(partial(self._log, row))
            if processes.first:
                on_step(row)
            state.step, state.inner = state.step + 1, 0
            if updates % config.save_every == 0 or state.step == config.steps:
                processes.alone(lambda: state.save(self.folder, config.keep))
        processes.alone(lambda: save_policy(self.policy, self.task, self.folder.path))
        return FineTuned(
            policy=self.policy,
            initial=self.rollouts.initial,
            task=self.task,
            metrics=row,
            folder=self.folder,
            config=config,
            seconds=time.perf_counter() - start,
        )

    def _restore(self) -> None:
        self.processes.agree(lambda: self.state.restore(self.folder, self.say))
        there = self.processes.gather(lambda: (self.state.step, self.state.inner))
        if len(set(there)) > 1:
            raise ValueError(
                f"the processes do not read the same checkpoint in {self.folder.path}: share that "
                "folder"
            )
        self.processes.alone(lambda: self.folder.cut(self.state.lines))

    def _draw(self) -> None:
        """The answers of a step: each process draws to its share of the prompts, and gets those of
        all.
        """
        config, step = self.config, self.state.step
        self.rollouts.refresh(step)
        places = prompts_of_step(
            config.seed, step, count=config.prompts_per_step, total=len(self.questions)
        )
        prompts = self.questions[places]
        share = self.processes.share(len(prompts))
        try:
            drawn = self.processes.collect(lambda: self.rollouts.draw(step, prompts, share))
        except ValueError as error:
            if self.state.drawn is None or "gives nan" not in str(error):
                raise
            raise self._stop(ValueError("since the last update the policy gives nan")) from error
        self.state.drawn = drawn
        read = config.group_size * int(self.rollouts.prompt_mask[prompts].sum())
        self.state.tokens += int(drawn["lengths"].sum()) + read

    def _update(self) -> Row:
        """One update on the current answers; its metrics."""
        drawn = self.state.drawn
        assert drawn is not None
        self.optimizer.zero_grad(set_to_none=True)
        try:
            batch, taken = self._gradient(drawn)
        except ValueError as error:
            raise self._stop(error) from error
        loss = float(taken.output.loss)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm))
        if not math.isfinite(loss + norm):
            message = f"the loss is {loss:g}, the norm of the gradient {norm:g}"
            raise self._stop(ValueError(message))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * rate_factor(self.config, self.state.step)
        row = self._metrics(drawn, batch, taken.output) | {
            "grad_norm": norm,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        self.optimizer.step()
        rows = self._parts()[0][: self.config.group_size]
        troubles = self.processes.gather(lambda: self.rollouts.trouble(drawn, rows, self.trained))
        if trouble := max(troubles):
            raise self._stop(ValueError(trouble))
        return row

    def _gradient(self, drawn: Drawn) -> tuple[GroupBatch, Coefficients]:
        """Add the gradient of the loss to `.grad` by the two-pass rule; the batch and its
        coefficients.

        Each process scores and differentiates the rows of its share of the prompts; the
        coefficients between the two passes are those of the answers of all.
        """
        config, rollouts = self.config, self.rollouts
        share = self.processes.share(config.prompts_per_step)
        first = share.start * config.group_size  # of the rows of this process among those of all
        passes = Passes(
            lambda rows: rollouts.score(drawn, rows + first),
            [rows - first for rows in self._parts()],
            lambda rows, c: rollouts.weighted_sum(drawn, rows + first, c),
        )
        shape = (share.stop - share.start, config.group_size, drawn["tokens"].shape[-1])
        scored = self.processes.collect(lambda: passes.first(shape))
        live = {name: x.to(self.device) for name, x in scored.items()}
        batch = rollouts.record(drawn, **live)
        taken = coefficients(self._loss, batch, live)
        self.processes.sum_gradients(lambda: passes.second(taken.of_prompts(share)), self.trained)
        return batch, taken

    def _parts(self) -> list[Tensor]:
        """The rows of this process, in micro-batches."""
        share, K = self.processes.share(self.config.prompts_per_step), self.config.group_size
        rows = torch.arange(share.start * K, share.stop * K)
        return list(rows.split(self.config.micro_batch or len(rows)))

    def _metrics(self, drawn: Drawn, batch: GroupBatch, out: LossOutput) -> Row:
        """What is said of an update, of the policy before it."""
        return {
            "loss": float(out.loss),
            **rollout_metrics(drawn, reward_name(self.config)),
            "num_tokens": self.state.tokens,
            **fit_metrics(batch, self.alpha),
            **self._moved(drawn, batch),
            **objective_metrics(out.metrics, batch, self.objective, config=self.config),
        }

    def _moved(self, drawn: Drawn, batch: GroupBatch) -> Row:
        """`kl_to_initial`, nats: from the batch where it has that KL already, else measured before
        the last update of the steps that report.
        """
        config = self.config
        if batch.policy_kl is not None and (config.kl_to_initial or config.reference == "initial"):
            kl = batch.policy_kl.masked_fill(~batch.mask, 0.0).sum(-1)
        elif self._reports() and self.state.inner + 1 == config.inner_steps:
            measured = self.processes.collect(
                lambda: {"kl": self.rollouts.kl_to_initial(drawn, self._parts())}
            )
            kl = measured["kl"]
        else:
            return {}
        return {"kl_to_initial": float(kl.mean())}

    def _log(self, row: dict[str, Any]) -> None:
        """Measure what is to be measured now, on the first process alone, and write the row."""
        if self._reports():
            row |= exact_error(self.policy, self.task, self.keys)
        assert self.state.drawn is not None
        self.log.write(row, self.state.drawn, self.state.lines)

    @cached_property
    def keys(self) -> list[exact.Solution]:
        """The answer key of every prompt under the initial model, where they can be enumerated."""
        return exact_keys(self.rollouts.initial, self.task, self.alpha)

    def _reports(self) -> bool:
        """Whether this is one of the steps at which more is measured and written."""
        step, config = self.state.step, self.config
        return step % config.completions_every == 0 or step + 1 == config.steps

    def _loss(self, batch: GroupBatch) -> LossOutput:
        """The objective, at the level asked for, and the KL to the initial model."""
        config = self.config
        acted = batch.by_step() if config.level == "step" else batch
        out = self.objective(acted, **config.objective_options)
        if not config.kl_to_initial:
            return out
        assert batch.policy_kl is not None
        kl = average(batch, batch.policy_kl.masked_fill(~batch.mask, 0.0), "seq-mean-token-sum")
        metrics = {**out.metrics, "kl_to_initial": kl.detach()}
        return LossOutput(out.loss + config.kl_to_initial * kl, metrics)

    def _stop(self, error: ValueError) -> ValueError:
        """A message for a run that cannot go on, the answers that it learned from saved for
        inspection.
        """
        path = self.folder.path / f"stopped-at-step-{self.state.step}.pt"
        saved = f"its answers are in {path}"
        if self.processes.first:
            try:
                torch.save(self.state.drawn, path)
            except (OSError, RuntimeError) as full:
                path.unlink(missing_ok=True)
                saved = f"its answers could not be written to {path} ({why_not_written(full)})"
        # All processes see the same numbers, so all know of this error.
        told = getattr(error, "told", True)
        return RunStoppedError(
            f"stopped at step {self.state.step}: {error}; {saved}. A smaller learning_rate, a "
            "larger alpha or, for raw weights, reward_max may help",
            told,
        )
