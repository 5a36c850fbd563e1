"""One update on the answers of a step: the gradient of the loss, checked and clipped, a step of the
optimiser, and what is said of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.training.checkpoint import RunStoppedError
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
from gnivo_edu.training.processes import Processes
from gnivo_edu.training.rollout import Drawn
from gnivo_edu.training.run_log import RunLog
from gnivo_edu.training.settings import loss_of
from gnivo_edu.training.setup import rate_factor
from gnivo_edu.training.state import RunState
from gnivo_edu.training.trouble import Watch, answer_in_words, clip_gradient, first_broken
from gnivo_edu.training.two_pass import Passes
from gnivo_edu.training.writers import live_logps

Row = dict[str, Any]


class Updates:
    """The updates of a run, each on the answers that its `state` holds."""

    def __init__(
        self, state: RunState, processes: Processes, log: RunLog, watch: Watch, objective: Objective
    ) -> None:
        self.state, self.processes, self.log, self.watch = state, processes, log, watch
        self.rollouts, self.optimizer = state.rollouts, state.optimizer
        self.config, self.objective = log.config, objective
        self.loss = loss_of(objective, self.config)
        self.device = self.rollouts.device
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        # The answers that this process scores: those to its share of each step's prompts, as rows
        # of the answers of all, in micro-batches.
        self.share, K = processes.share(self.config.prompts_per_step), self.config.group_size
        rows = torch.arange(self.share.start * K, self.share.stop * K)
        self.parts = list(rows.split(self.config.micro_batch or len(rows)))

    def update(self) -> Row:
        """One update on the current answers; its metrics."""
        drawn = self.state.drawn
        assert drawn is not None
        self.optimizer.zero_grad(set_to_none=True)
        try:
            batch, gradient = self._gradient(drawn)
        except ValueError as error:
            raise self.stopped(error) from error
        loss = float(gradient.output.loss)
        # The policy's gradient alone is clipped; the critic learns at a rate of its own.
        policy_group = self.optimizer.param_groups[0]
        norm = clip_gradient(policy_group["params"], self.config.max_grad_norm)
        if not math.isfinite(loss + norm):
            raise self.stopped(self._broken(drawn, gradient, norm=norm))
        self.watch.norm(norm, self.config.max_grad_norm)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * rate_factor(self.config, self.state.step)
        row = self._metrics(drawn, batch, out=gradient.output)
        row |= {"grad_norm": norm, "learning_rate": policy_group["lr"]}
        row["token_weight"] = token_weight(gradient)
        if self.log.keeps(self.state.step):
            slope = gradient.by_field["policy_logps"]
            self.processes.alone(lambda: self.log.record(drawn, batch, slope))
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            rate = policy_group["lr"]
            too_large = f"a step of learning_rate {rate:g} is too large for the weights' precision"
            raise self.stopped(ValueError(too_large)) from error
        first = self.parts[0][:1]
        troubles = self.processes.gather(
            lambda: self.rollouts.trouble(drawn, first, parameters=self.trained)
        )
        if trouble := max(troubles):
            raise self.stopped(ValueError(trouble))
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
            **fit_metrics(sampled, self.log.alpha),
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

    def stopped(self, error: ValueError) -> RunStoppedError:
        """What is raised where a run cannot go on; see `RunFolder.stop`."""
        state, first = self.state, self.processes.first
        if isinstance(error, NotFiniteError) and state.drawn is not None and len(error.place) > 1:
            answer = answer_in_words(state.drawn, self.rollouts.task, place=error.place)
            error = ValueError(f"{error}; it is that of {answer}")
        return self.log.folder.stop(error, step=state.step, drawn=state.drawn, write=first)
