"""Fine-tuning any causal LM with any objective: sample groups, score them, push the gradient
through, repeat.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.training.card import model_card
from gnivo_edu.training.checkpoint import RunFolder, RunStoppedError
from gnivo_edu.training.config import TrainConfig, name_of
from gnivo_edu.training.field_gradients import (
    Coefficients,
    NotFiniteError,
    Objective,
    coefficients,
)
from gnivo_edu.training.metrics import (
    fit_metrics,
    objective_metrics,
    reward_name,
    rollout_metrics,
    token_weight,
)
from gnivo_edu.training.origin import note_end, origin_of
from gnivo_edu.training.processes import (
    Processes,
    accelerator_for,
    agree_on_questions,
    prompts_of_step,
)
from gnivo_edu.training.rollout import Drawn, Rollouts
from gnivo_edu.training.run_log import RunLog
from gnivo_edu.training.settings import (
    check_horizon,
    check_known,
    check_settings,
    loss_of,
    needs,
    option_of,
)
from gnivo_edu.training.setup import (
    make_optimizer,
    make_policy_and_task,
    rate_factor,
    save_policy,
    saved_dtype,
)
from gnivo_edu.training.state import RunState
from gnivo_edu.training.trouble import Watch, answer_in_words, clip_gradient, first_broken
from gnivo_edu.training.two_pass import Passes
from gnivo_edu.training.writers import live_logps
from toy_envs import TokenMDP

Row = dict[str, Any]


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
            note_end(run.config, run.state.origin, task=run.task, objective=run.objective)
        run.folder.release()


class _Run:
    """A run: what it draws from, the optimiser, and how far it has come."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        processes: Processes,
        progress: Callable[[str], None] | None,
        objects: Mapping[str, Any],
    ) -> None:
        self.config, self.processes = config, processes
        given = objects["objective"]
        self.objective: Objective = (
            objectives.as_objective(given) if given else objectives.get(config.objective)
        )
        self.device = accelerator.device
        if config.precision == "float64" and self.device.type == "mps":
            self.device = torch.device("cpu")  # that accelerator has no float64
        self.progress = (processes.first and progress) or (lambda line: None)
        self.folder, self.watch = RunFolder(config.out), Watch(self.progress)
        fields = needs(self.objective, config.objective_options, group_size=config.group_size)
        check_settings(config, fields, world=processes.world)
        self.alpha = option_of(self.objective, config, name="alpha")
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
        self.loss = loss_of(self.objective, config)
        self.optimizer = make_optimizer(config, self.policy, critic=self.rollouts.critic)
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.state = RunState(self.rollouts, self.optimizer)
        self.log = RunLog(
            config, accelerator, folder=self.folder, state=self.state, alpha=self.alpha
        )
        # The answers that this process draws and scores: those to its share of each step's prompts,
        # as rows of the answers of all, in micro-batches.
        self.share, K = processes.share(config.prompts_per_step), config.group_size
        rows = torch.arange(self.share.start * K, self.share.stop * K)
        self.parts = list(rows.split(config.micro_batch or len(rows)))

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
                row = self._update()
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
            objective=self.objective,
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
                lambda: self.rollouts.draw(state.step, prompts, share=self.share)
            )
        except ValueError as error:
            # Where the weights came from a file, a policy that gives nan was not spoiled here.
            if state.drawn is None or "gives nan" not in str(error):
                raise
            raise self._stop(ValueError("since the last update the policy gives nan")) from error
        state.drawn = drawn
        read = config.group_size * int(self.rollouts.prompt_mask[prompts].sum())
        state.tokens += int(drawn["lengths"].sum()) + read

    def _update(self) -> Row:
        """One update on the current answers; its metrics."""
        drawn = self.state.drawn
        assert drawn is not None
        self.optimizer.zero_grad(set_to_none=True)
        try:
            batch, gradient = self._gradient(drawn)
        except ValueError as error:
            raise self._stop(error) from error
        loss = float(gradient.output.loss)
        # The policy's gradient alone is clipped; the critic learns at a rate of its own.
        policy_group = self.optimizer.param_groups[0]
        norm = clip_gradient(policy_group["params"], self.config.max_grad_norm)
        if not math.isfinite(loss + norm):
            raise self._stop(self._broken(drawn, gradient, norm=norm))
        self.watch.norm(norm, self.config.max_grad_norm)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * rate_factor(self.config, self.state.step)
        row = self._metrics(drawn, batch, out=gradient.output)
        row |= {"grad_norm": norm, "learning_rate": policy_group["lr"]}
        row["token_weight"] = token_weight(gradient)
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            rate = policy_group["lr"]
            too_large = f"a step of learning_rate {rate:g} is too large for the weights' precision"
            raise self._stop(ValueError(too_large)) from error
        rows = self.parts[0][: self.config.group_size]
        troubles = self.processes.gather(
            lambda: self.rollouts.trouble(drawn, rows, parameters=self.trained)
        )
        if trouble := max(troubles):
            raise self._stop(ValueError(trouble))
        return row

    def _gradient(self, drawn: Drawn) -> tuple[GroupBatch, Coefficients]:
        """Add the gradient of the loss to `.grad` by the two-pass rule; the batch and its
        coefficients.

        Each process scores and differentiates the rows of its share of the prompts; the
        coefficients between the two passes are those of the answers of all.
        """
        passes = self._passes(drawn, self.parts)
        shape = (self.share.stop - self.share.start, *drawn["tokens"].shape[1:])
        scored = self.processes.collect(lambda: passes.first(shape))
        if self.state.inner == 0:
            drawn["behaviour_logps"] = live_logps(drawn, scored["policy_logps"].cpu())
        if self.state.inner == 0 and "behaviour_values" in self.rollouts.needs:
            # And what the critic says, which the later updates on these answers are held to.
            drawn["behaviour_values"] = scored["values"].cpu()
        batch = self.rollouts.record(drawn, **scored)
        fields = {name: x.to(self.device) for name, x in scored.items()}
        given = {name: drawn[name] for name in ("depths",) if name in drawn}
        gradient = coefficients(self.loss, batch, live=fields, **given).for_fields(fields)
        self.processes.sum_gradients(lambda: passes.second(gradient), self.trained)
        return batch, gradient

    def _passes(self, drawn: Drawn, parts: Sequence[Tensor]) -> Passes:
        return Passes(
            lambda rows: self.rollouts.score(drawn, rows),
            parts,
            weighted_sum=lambda rows, c: self.rollouts.weighted_sum(drawn, rows, coefficients=c),
        )

    def _broken(self, drawn: Drawn, gradient: Coefficients, norm: float) -> ValueError:
        """A loss or a gradient that is not finite, with the answer whose own gradient is not."""
        rows = torch.cat(self.parts)

        def push(row: Tensor) -> None:
            self._passes(drawn, [row]).second(gradient)

        broken = self.processes.gather(lambda: first_broken(rows, push, parameters=self.trained))
        row = next((row for row in broken if row >= 0), None)
        loss = float(gradient.output.loss)
        why = f"the loss is {loss:g}, the norm of the gradient {norm:g}"
        if row is None:
            return ValueError(why)
        return NotFiniteError(why, list(divmod(row, self.config.group_size)))

    def _metrics(self, drawn: Drawn, batch: GroupBatch, out: LossOutput) -> Row:
        """What is said of an update, of the policy before it."""
        # What is said of sampling is about what the sampler noted, rounding included.
        sampled = replace(batch, behaviour_logps=drawn["logps"].to(batch.rewards))
        return {
            "loss": float(out.loss),
            **rollout_metrics(drawn, reward_name(self.config)),
            "num_tokens": self.state.tokens,
            **self.rollouts.writers.metrics(drawn, self.state.step),
            **fit_metrics(sampled, self.alpha),
            **self._moved(drawn, batch),
            **objective_metrics(out.metrics, batch, objective=self.objective, config=self.config),
        }

    def _moved(self, drawn: Drawn, batch: GroupBatch) -> Row:
        """`kl_to_initial`, nats: from the batch where it has that KL already, else measured before
        the last update of the steps that report.
        """
        config, state = self.config, self.state
        has_it = config.kl_to_initial or (config.reference == "initial" and not config.kl_top_k)
        if batch.policy_kl is not None and has_it:
            kl = batch.policy_kl.masked_fill(~batch.mask, 0.0).sum(-1)
        elif self.log.reports(state.step) and state.inner + 1 == config.inner_steps:
            kl = self.processes.collect(
                lambda: {"kl": self.rollouts.kl_to_initial(drawn, self.parts)}
            )["kl"]
        else:
            return {}
        return {"kl_to_initial": float(kl.mean())}

    def _stop(self, error: ValueError) -> RunStoppedError:
        """What is raised where a run cannot go on; see `RunFolder.stop`."""
        state, first = self.state, self.processes.first
        if isinstance(error, NotFiniteError) and state.drawn is not None and len(error.place) > 1:
            answer = answer_in_words(state.drawn, self.task, place=error.place)
            error = ValueError(f"{error}; it is that of {answer}")
        return self.folder.stop(error, step=state.step, drawn=state.drawn, write=first)
