"""Fine-tuning any causal LM with any objective: sample groups, score them, push the gradient
through, repeat.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.surrogate import average
from gnivo_edu.policies import pick_device
from gnivo_edu.policies.cached_rows import check_room, prompts_of
from gnivo_edu.training.after_update import moved, trouble
from gnivo_edu.training.checkpoint import RunFolder, why_not_written
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.exact_error import exact_error, exact_keys
from gnivo_edu.training.metrics import fit_metrics, objective_metrics, rollout_metrics
from gnivo_edu.training.needs import needs
from gnivo_edu.training.processes import Processes
from gnivo_edu.training.questions import agree_on_questions
from gnivo_edu.training.rollout import Rollouts, prompts_of_step
from gnivo_edu.training.run_log import RunLog, check_trackers
from gnivo_edu.training.settings import check_settings, option_of, rate_factor, reward_name
from gnivo_edu.training.setup import make_policy_and_task, save_policy
from gnivo_edu.training.state import RunState
from gnivo_edu.training.two_pass import backward, coefficients

Say = Callable[[str], None]
OnStep = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class FineTuned:
    """What a run leaves in memory: the policy, what it was, the task, the last metrics; the rest is
    in its folder.
    """

    policy: nn.Module
    initial: nn.Module
    task: Any
    metrics: dict[str, Any]
    folder: RunFolder


def fine_tune(
    config: TrainConfig,
    resume: bool = False,
    say: Say = lambda line: None,
    on_step: OnStep = lambda row: None,
) -> FineTuned:
    """Run a configuration, or go on where its last checkpoint stands, as if it had never stopped.

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
    such weights reach no checkpoint)."""
    check_trackers(config.trackers)
    on_cpu = (
        pick_device().type == "cpu"
    )  # accelerate has to be told, or it misses the other processes
    accelerator = Accelerator(
        cpu=on_cpu, log_with=list(config.trackers) or None, project_dir=config.out
    )
    processes = Processes(accelerator)
    run = processes.agree(lambda: _Run(config, accelerator, processes, say))
    try:
        return run.go(resume, on_step)
    finally:
        run.log.end()


class _Run:
    """A run: what it draws from, the optimiser, and how far it has come."""

    def __init__(
        self, config: TrainConfig, accelerator: Accelerator, processes: Processes, say: Say
    ) -> None:
        self.config, self.processes = config, processes
        exact = config.precision == "float64"
        self.device = (
            torch.device("cpu")
            if exact and accelerator.device.type == "mps"
            else accelerator.device
        )
        self.say: Say = say if processes.first else lambda line: None
        self.folder = RunFolder(config.out)
        self.objective = objectives.get(config.objective)
        asked = needs(self.objective, config.objective_options, config.group_size)
        check_settings(config, asked, processes.world)
        self.alpha = option_of(self.objective, config, "alpha")
        self.policy, self.task = make_policy_and_task(config, self.device)
        ids, mask = prompts_of(self.task)
        self.prompt_lengths = mask.sum(1)
        check_room(
            self.policy, self.task, ids, mask, torch.arange(len(ids))
        )  # of all prompts, before the first step
        self.rollouts = Rollouts(config, self.device, self.policy, self.task, asked)
        self.parameters = [p for p in self.policy.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": self.parameters, "lr": config.learning_rate}]
        if self.rollouts.critic is not None:
            groups.append(
                {
                    "params": list(self.rollouts.critic.parameters()),
                    "lr": config.value_learning_rate,
                }
            )
        maker = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.SGD
        self.optimizer = maker(groups, weight_decay=config.weight_decay)
        self.trained, self.rates = (
            [p for g in groups for p in g["params"]],
            [g["lr"] for g in groups],
        )
        self.state = RunState(self.rollouts, self.optimizer)
        self.log = RunLog(config, accelerator, self.folder, self.task)
        self.keys = exact_keys(self.rollouts.initial, self.task, self.alpha)

    def go(self, resume: bool, on_step: OnStep) -> FineTuned:
        """From the start or the last checkpoint to the last step."""
        config, state, processes, row = self.config, self.state, self.processes, {}
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
        return FineTuned(self.policy, self.rollouts.initial, self.task, row, self.folder)

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
        prompts = self.questions[
            prompts_of_step(config.seed, step, config.prompts_per_step, len(self.questions))
        ]
        share = self.processes.share(len(prompts))
        try:
            drawn = self.processes.collect(lambda: self.rollouts.draw(step, prompts, share))
        except ValueError as error:
            if self.state.drawn is None or "gives nan" not in str(error):
                raise
            raise self._stop(ValueError("since the last update the policy gives nan")) from error
        self.state.drawn = drawn
        self.state.tokens += int(
            drawn["lengths"].sum() + config.group_size * self.prompt_lengths[prompts].sum()
        )

    def _update(self) -> dict[str, Any]:
        """One update on the current answers; its metrics. The coefficients are those of the answers
        of all.
        """
        config, drawn, K = self.config, self.state.drawn, self.config.group_size
        assert drawn is not None
        share = self.processes.share(config.prompts_per_step)
        rows = torch.arange(share.start * K, share.stop * K)
        parts = rows.split(config.micro_batch or len(rows))
        once = len(parts) == 1  # then the first pass keeps its graph, and there is no second
        graphs: list[dict[str, Tensor]] = []

        def first_pass() -> dict[str, Tensor]:
            with torch.set_grad_enabled(once):
                scored = [self.rollouts.score(drawn, part) for part in parts]
            graphs.extend(scored[:1] if once else [])
            fields = {name: torch.cat([x[name].detach() for x in scored]) for name in scored[0]}
            shape = {
                name: (-1, K) if name == "log_z" else (-1, K, x.shape[-1])
                for name, x in fields.items()
            }
            return {name: x.view(shape[name]) for name, x in fields.items()}

        def second_pass() -> None:
            at = share.start * K
            score = (
                (lambda part: graphs.pop())
                if once
                else (lambda part: self.rollouts.score(drawn, part + at))
            )
            weighted = (
                None if once else (lambda part, c: self.rollouts.weighted_sum(drawn, part + at, c))
            )
            backward(score, taken.of_prompts(share), config.micro_batch, weighted)

        self.optimizer.zero_grad(set_to_none=True)
        try:
            live = {
                name: x.to(self.device) for name, x in self.processes.collect(first_pass).items()
            }
            if "log_z" in live:
                live["log_z"] = live["log_z"].mean(1)
            batch = self.rollouts.record(drawn, **live)
            taken = coefficients(self._loss, batch, live)
            self.processes.sum_gradients(second_pass, self.trained)
        except ValueError as error:
            raise self._stop(error) from error
        out, norm = (
            taken.output,
            float(torch.nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)),
        )
        if not math.isfinite(float(out.loss) + norm):
            raise self._stop(
                ValueError(f"the loss is {float(out.loss):g}, the norm of the gradient {norm:g}")
            )
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * rate_factor(config, self.state.step)
        due = self._reports() and self.state.inner + 1 == config.inner_steps
        row = {
            "loss": float(out.loss),
            **rollout_metrics(drawn, reward_name(config)),
            "num_tokens": self.state.tokens,
            **fit_metrics(batch, self.alpha),
            **moved(self.rollouts, self.processes, drawn, batch, parts, due),
            **objective_metrics(out.metrics, batch, self.objective, config),
            "grad_norm": norm,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        self.optimizer.step()
        if said := max(
            self.processes.gather(lambda: trouble(self.rollouts, drawn, parts[0][:K], self.trained))
        ):
            raise self._stop(ValueError(said))
        return row

    def _log(self, row: dict[str, Any]) -> None:
        """Measure what is to be measured now, on the first process alone, and write the row."""
        row |= exact_error(self.policy, self.task, self.keys) if self._reports() else {}
        assert self.state.drawn is not None
        self.log.write(row, self.state.drawn, self.state.lines)

    def _reports(self) -> bool:
        """Whether this is one of the steps at which more is measured and written."""
        return (
            self.state.step % self.config.completions_every == 0
            or self.state.step + 1 == self.config.steps
        )

    def _loss(self, batch: GroupBatch) -> LossOutput:
        """The objective, at the level asked for, and the KL to the initial model."""
        config = self.config
        out = self.objective(
            batch.by_step() if config.level == "step" else batch, **config.objective_options
        )
        if not config.kl_to_initial:
            return out
        assert batch.policy_kl is not None
        kl = average(batch, batch.policy_kl.masked_fill(~batch.mask, 0.0), "seq-mean-token-sum")
        return LossOutput(
            out.loss + config.kl_to_initial * kl, {**out.metrics, "kl_to_initial": kl.detach()}
        )

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
        stopped = ValueError(
            f"stopped at step {self.state.step}: {error}; {saved}. A smaller learning_rate, a "
            "larger "
            f"alpha or, for raw weights, reward_max may help"
        )
        stopped.told = getattr(error, "told", True)  # type: ignore[attr-defined]  # all see the same numbers
        return stopped
