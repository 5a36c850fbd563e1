"""Fine-tuning any causal LM with any objective: sample groups, score them, push the gradient through, repeat."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.surrogate import average
from gnivo_edu.training.checkpoint import RunFolder
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.metrics import fit_metrics, rollout_metrics
from gnivo_edu.training.needs import needs
from gnivo_edu.training.rollout import Drawn, Rollouts, frozen, prompts_of_step
from gnivo_edu.training.setup import make_policy_and_task, save_policy
from gnivo_edu.training.two_pass import two_pass_step

Say = Callable[[str], None]
OnStep = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class FineTuned:
    """What a run leaves in memory: the policy, the task, the last metrics; the rest is in its folder."""

    policy: nn.Module
    task: Any
    metrics: dict[str, Any]
    folder: RunFolder


def fine_tune(
    config: TrainConfig, resume: bool = False, say: Say = lambda line: None, on_step: OnStep = lambda row: None
) -> FineTuned:
    """Run a configuration, or go on where its last checkpoint stands, as if it had never stopped.

    Algorithm 1 with any objective of the registry: draw groups, reward them, make `inner_steps` updates by the
    two-pass rule, so that a group may be scored in micro-batches of any size. On the CPU, with the same number of
    threads, a run that was killed at any moment and resumed gives the same weights and metrics (timings aside), bit
    for bit. `say` gets messages, `on_step` each row of metrics. The trained model is saved in `out`/model.

    Raises ValueError, in one line, on settings that do not fit, on a checkpoint that cannot be used or written, and on
    a loss that is not finite (its batch is saved for inspection).
    """
    return _Run(config, say).go(resume, on_step)


class _Run:
    """The state of a run: what it draws from, the optimiser, and how far it has come."""

    def __init__(self, config: TrainConfig, say: Say) -> None:
        self.config, self.say = config, say
        self.folder = RunFolder(config.out)
        mixed = "bf16" if config.precision == "bf16" else "no"
        trackers = list(config.trackers) or None
        self.accelerator = Accelerator(mixed_precision=mixed, log_with=trackers, project_dir=config.out)
        self.objective = objectives.get(config.objective)
        asked = needs(self.objective, config.objective_options, config.group_size)
        _check(config, asked)
        torch.manual_seed(config.seed)  # adapters start at random; all later draws have streams of their own
        policy, self.task = make_policy_and_task(config, self.accelerator.device)
        self.rollouts = Rollouts(config, self.accelerator, policy, self.task, asked)
        self.policy, self.critic = policy, self.rollouts.critic
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": self.parameters, "lr": config.learning_rate}]
        if self.critic is not None:
            groups.append({"params": list(self.critic.parameters()), "lr": config.value_learning_rate})
        maker = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.SGD
        self.optimizer = maker(groups, weight_decay=config.weight_decay)
        self.rates = [group["lr"] for group in groups]
        self.step, self.inner = 0, 0
        self.drawn: Drawn | None = None
        self.lines = {"metrics.jsonl": 0, "completions.jsonl": 0}
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index

    def go(self, resume: bool, on_step: OnStep) -> FineTuned:
        """From the start or the last checkpoint to the last step."""
        config, row = self.config, {}
        if self.rank == 0:
            self.folder.begin(config, resume)
        self.accelerator.wait_for_everyone()
        if resume:
            self._restore()
        if config.trackers:
            self.accelerator.init_trackers("gnivo_edu", config=_plain(config.to_dict()))
        updates = self.step * config.inner_steps + self.inner
        while self.step < config.steps:
            begun = time.perf_counter()
            if self.inner == 0:
                self.rollouts.refresh(self.step)
                prompts = prompts_of_step(config.seed, self.step, config.prompts_per_step, len(self.task.prompts()))
                self.drawn = self.rollouts.draw(self.step, prompts[self.rank :: self.world])
            while self.inner < config.inner_steps:
                row = self._update()
                self.inner, updates = self.inner + 1, updates + 1
                if updates % config.save_every == 0 and self.inner < config.inner_steps:
                    self._save()
            row = {"step": self.step, **row, "step_time": time.perf_counter() - begun}
            self._log(row)
            on_step(row)
            self.step, self.inner, self.drawn = self.step + 1, 0, None
            if updates % config.save_every == 0 or self.step == config.steps:
                self._save()
        self.accelerator.end_training()
        if self.rank == 0:
            save_policy(self.policy, self.folder.path / "model")
        return FineTuned(self.policy, self.task, row, self.folder)

    def _update(self) -> dict[str, Any]:
        """One update on the current answers; its metrics."""
        config, drawn = self.config, self.drawn
        assert drawn is not None
        batch = self.rollouts.record(drawn)
        rows = batch.rewards.numel()
        one_pass = config.micro_batch is None or config.micro_batch >= rows
        kept: dict[str, list[Tensor]] = {}

        def score(rows: Tensor) -> dict[str, Tensor]:
            fields = self.rollouts.score(drawn, rows)
            for name, x in fields.items():
                kept.setdefault(name, []).append(x.detach())
            return fields

        self.optimizer.zero_grad(set_to_none=True)
        try:
            out = two_pass_step(
                self._loss,
                batch,
                score,
                config.micro_batch,
                weighted_sum=None if one_pass else lambda r, c: self.rollouts.weighted_sum(drawn, r, dict(c)),
                run_backward=self.accelerator.backward,
            )
        except ValueError as error:
            raise self._stop(str(error), drawn) from error
        if not bool(out.loss.isfinite()):
            raise self._stop(f"the loss is {float(out.loss)}", drawn)
        norm = self._clip()
        if not math.isfinite(norm):
            raise self._stop(f"the norm of the gradient is {norm}", drawn)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * _schedule(config, self.step)
        self.optimizer.step()
        live = {name: torch.cat(parts).view_as(batch.mask) for name, parts in kept.items() if name != "log_z"}
        seen = self.rollouts.record(drawn, **live)
        return {
            "loss": float(out.loss),
            **rollout_metrics(drawn),
            **fit_metrics(seen, _alpha(self.objective, config)),
            **{f"objective/{name}": float(x) for name, x in out.metrics.items()},
            "grad_norm": norm,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }

    def _loss(self, batch: GroupBatch) -> LossOutput:
        """The objective, at the level asked for, and the KL to the initial model."""
        config = self.config
        out = self.objective(batch.by_step() if config.level == "step" else batch, **config.objective_options)
        if not config.kl_to_initial:
            return out
        assert batch.policy_kl is not None
        kl = average(batch, batch.policy_kl.masked_fill(~batch.mask, 0.0), "seq-mean-token-sum")
        return LossOutput(out.loss + config.kl_to_initial * kl, {**out.metrics, "kl_to_initial": kl.detach()})

    def _clip(self) -> float:
        """Average gradients over processes and clip the policy's; their norm before."""
        every = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.world > 1:
            for p in every:
                p.grad = self.accelerator.reduce(torch.zeros_like(p) if p.grad is None else p.grad, "mean")
        return float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm))

    # --- what is kept ------------------------------------------------------------------------------------------

    def _log(self, row: dict[str, Any]) -> None:
        if self.config.trackers:
            self.accelerator.log({k: v for k, v in row.items() if k != "step"}, step=self.step)
        if self.rank:
            return
        self.folder.append("metrics.jsonl", [row])
        self.lines["metrics.jsonl"] += 1
        if self.step % self.config.completions_every == 0 or self.step + 1 == self.config.steps:
            rows = self._completions()
            self.folder.append("completions.jsonl", rows)
            self.lines["completions.jsonl"] += len(rows)

    def _completions(self, count: int = 2) -> list[dict[str, Any]]:
        """A few answers as text, with their rewards."""
        drawn, rows = self.drawn, []
        assert drawn is not None
        for i in range(min(count, len(drawn["tokens"]))):
            for k in range(min(count, self.config.group_size)):
                tokens = drawn["tokens"][i, k, : int(drawn["lengths"][i, k])].tolist()
                reward = float(drawn["rewards"][i, k])
                rows.append(
                    {
                        "step": self.step,
                        "prompt": int(drawn["prompt_index"][i]),
                        "tokens": tokens,
                        "text": self.task.decode(tokens),
                        "reward": reward,
                    }
                )
        return rows

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.rank:
            return
        moved = self.rollouts.reference is not self.rollouts.initial
        tensors = {
            "policy": self._weights(self.policy),
            "reference": self._weights(self.rollouts.reference) if moved else None,
            "critic": None if self.critic is None else self.critic.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "drawn": self.drawn if self.inner else None,
        }
        self.folder.save(self.step, self.inner, tensors, self.lines, self.config.keep)

    def _restore(self) -> None:
        found = self.folder.load(self.say)
        if self.rank == 0:
            self.folder.cut({} if found is None else found[0]["lines"])
        if found is None:
            self.say("there is no checkpoint yet: starting from the beginning")
            return
        state, tensors = found
        try:
            self._put(self.policy, tensors["policy"])
            if tensors["reference"] is not None:
                self.rollouts.reference = frozen(self.policy)
                self._put(self.rollouts.reference, tensors["reference"])
            if self.critic is not None:
                self.critic.load_state_dict(tensors["critic"])
            self.optimizer.load_state_dict(tensors["optimizer"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the checkpoint in {self.folder.checkpoints} is of another model: {' '.join(str(error).split())[:160]}"
            ) from error
        self.step, self.inner, self.drawn = state["step"], state["inner"], tensors["drawn"]
        self.lines = dict(state["lines"])
        self.say(f"resuming at step {self.step}" + (f", update {self.inner}" if self.inner else ""))

    def _weights(self, model: nn.Module) -> dict[str, Tensor]:
        """What is trained, by name, whichever copy of the policy it is taken from."""
        trained = {name for name, p in self.policy.named_parameters() if p.requires_grad}
        return {name: p.detach().cpu() for name, p in model.named_parameters() if name in trained}

    def _put(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        named = dict(model.named_parameters())
        with torch.no_grad():
            for name, x in tensors.items():
                if named[name].shape != x.shape:
                    raise ValueError(f"{name} is {list(x.shape)} there and {list(named[name].shape)} here")
                named[name].copy_(x)

    def _stop(self, why: str, drawn: Drawn) -> ValueError:
        """A message for a run that cannot go on, its answers saved for inspection."""
        path = self.folder.path / f"stopped-at-step-{self.step}.pt"
        torch.save(drawn, path)
        return ValueError(
            f"stopped at step {self.step}: {why}; its answers are in {path}. A smaller learning_rate, a larger alpha "
            f"or, for raw weights, reward_max may help"
        )


def _schedule(config: TrainConfig, step: int) -> float:
    """Factor of the learning rate at a step: a ramp, then constant, linear to 0, or half a cosine to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def _check(config: TrainConfig, asked: set[str]) -> None:
    if "prefix_values" in asked:
        raise ValueError(f"{config.objective} fits an explicit V_theta and moves no policy: train with gnivo instead")
    if config.kl_to_initial and "policy_kl" in asked and config.reference != "initial":
        raise ValueError(f"{config.objective} has a KL of its own: with kl_to_initial, set reference=initial")


def _alpha(objective: Callable[..., LossOutput], config: TrainConfig) -> float | None:
    default = inspect.signature(objective).parameters.get("alpha")
    found = config.objective_options.get("alpha", None if default is None else default.default)
    return None if found is None else float(found)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Plain values only, as trackers take them."""
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in config.items()}
