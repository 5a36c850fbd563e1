"""One step's answers: drawn, rewarded, put on record, scored row by row for the two-pass gradient,
and looked at again after an update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnivo_edu.batch import GroupBatch
from gnivo_edu.policies.cached_rows import check_room, prompts_of
from gnivo_edu.policies.critic import Critic, Unit, sharing_copy
from gnivo_edu.policies.generation import sample_completions
from gnivo_edu.policies.packable import as_known
from gnivo_edu.policies.recompute import recomputing
from gnivo_edu.policies.sampling import SampledGroups
from gnivo_edu.policies.score_model import score_rows, weighted_rows
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.depths import depths_of_step
from gnivo_edu.training.noise import noisy_rewards
from gnivo_edu.training.precision import forward_precision, wide_head
from gnivo_edu.training.writers import Drawn, Writers, writers_logps


class Rollouts:
    """The policy and what it is compared with; `needs`: the optional fields that the objective asks
    for.

    `reference` is what log-ratios and the exact KL are taken from: with "sampler" the
    log-probabilities of the draw itself, and a copy of the policy of that moment where a KL is
    asked for.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        policy: nn.Module,
        task: Any,
        needs: set[str],
    ) -> None:
        self.config, self.device, self.needs = config, device, needs
        self.policy, self.task = policy, task
        self.writers = Writers(config, task)
        self.initial = frozen(policy)
        self.reference = self.initial
        self.prompts, self.prompt_mask = prompts_of(task)
        # All prompts have to fit, before the first step.
        every = torch.arange(len(self.prompts))
        check_room(policy, task, ids=self.prompts, mask=self.prompt_mask, index=every)
        self.critic: Critic | None = None
        if {"values", "log_z"} & needs:
            unit: Unit = "reward" if "values" in needs else "nats"
            self.critic = Critic(policy, config.critic, unit=unit).to(device)
        kl = ("policy_kl",) if "policy_kl" in needs or config.kl_to_initial else ()
        self.fields = ("policy_logps", "entropy", *kl)

    def refresh(self, step: int) -> None:
        """Move the reference where the configuration says so, before the answers of a step are
        drawn.
        """
        config = self.config
        due = config.reference == "refreshed" and step and step % config.refresh_every == 0
        if due or (config.reference == "sampler" and "policy_kl" in self.needs):
            self.reference = frozen(self.policy)

    def draw(self, step: int, prompts: np.ndarray, share: slice = slice(None)) -> Drawn:
        """Groups of answers to a share of these prompts, on the CPU: tokens, lengths, rewards,
        writers and log-probabilities, and a depth for each prompt where the objective takes one.
        """
        config = self.config
        drawn = self.writers.groups(
            step, prompts, share=share, sample=partial(self._sample, step=step)
        )
        if config.reward_noise:
            clean = drawn["clean_rewards"] = drawn["rewards"]
            drawn["rewards"] = noisy_rewards(clean, config, step=step, first=share.start or 0)
        if config.reference != "sampler":
            # As the policy is scored: the same micro-batches, and the same chunks of tokens. So a
            # reference that has the policy's weights gives its log-probabilities bit for bit.
            fields = tuple(name for name in self.fields if name != "policy_kl")
            with torch.no_grad(), forward_precision(self.config, self.device):
                count = drawn["lengths"].numel()
                scored = [
                    self._score(self.reference, drawn, rows=rows, fields=fields)
                    for rows in torch.arange(count).split(config.micro_batch or count)
                ]
            logps = torch.cat([fields["policy_logps"].cpu() for fields in scored])
            drawn["reference_logps"] = logps.view_as(drawn["tokens"])
        drawn |= writers_logps(drawn)
        if config.level == "step" or "step_ids" in self.needs:
            flat = [drawn[name].flatten(0, 1).numpy() for name in ("tokens", "lengths")]
            drawn["step_ids"] = torch.from_numpy(self.task.step_ids(*flat)).view_as(drawn["tokens"])
        if "depths" in self.needs:
            # A step has at least one token, so that there are no more steps than tokens.
            horizon = config.objective_options.get("horizon") or self.task.horizon
            depths = depths_of_step(config.seed, step, count=len(prompts), horizon=horizon)
            drawn["depths"] = depths[share]
        return drawn

    def _sample(self, writer: str, step: int, **which: Any) -> SampledGroups:
        """Fresh answers of the policy or of the reference."""
        policy, config = self.policy if writer == "policy" else self.reference, self.config
        with forward_precision(self.config, self.device), wide_head(policy):
            return sample_completions(
                policy,
                self.task,
                seed=config.seed,
                step=step,
                temperature=config.temperature,
                **which,
            )

    def record(self, drawn: Drawn, **live: Tensor) -> GroupBatch:
        """The step as a GroupBatch in float64, whatever the precision of the network; live fields
        are place holders unless given.

        It is small beside the network. In float32 the mean of three equal rewards is off by a part
        in a hundred million, which AdamW would make a step of full size of; in float64 by a part in
        1e16, of which it makes none.
        """
        device = torch.device("cpu") if self.device.type == "mps" else self.device
        N, K, T = drawn["tokens"].shape
        noted = ("reference_logps", "step_ids", "behaviour_values")
        constants = {name: drawn[name] for name in noted if name in drawn}
        names = (*self.fields, *({"values"} & self.needs))
        places = {name: torch.zeros(N, K, T) for name in names}
        if "log_z" in self.needs:
            places["log_z"] = torch.zeros(N)
        numbers = {
            "behaviour_logps": drawn["behaviour_logps"],
            "rewards": drawn["rewards"],
            "mask": torch.arange(T) < drawn["lengths"][..., None],
            "truncated": drawn["truncated"],
            **{**places, **constants, **live},
        }
        return GroupBatch(
            **{
                name: x.to(device, torch.float64 if x.is_floating_point() else x.dtype)
                for name, x in numbers.items()
            }
        )

    def score(self, drawn: Drawn, rows: Tensor) -> dict[str, Tensor]:
        """The live fields of some rows, with gradient: for `two_pass_step`."""
        critic = self.critic
        with forward_precision(self.config, self.device):
            scored = self._score(
                self.policy,
                drawn,
                rows=rows,
                fields=self.fields,
                reference=self._compared() if "policy_kl" in self.fields else None,
                kl_top_k=self.config.kl_top_k,
                read=self._read,
            )
            if critic is not None and not critic.on_policy_body:
                with recomputing(critic):
                    scored["values"] = critic(self.policy, *self._answers(drawn, rows))
        if "log_z" in self.needs:
            # Before the first token the prompt is all there is: what is said there is log Z.
            scored["log_z"] = scored["values"][:, 0]
        return {name: x for name, x in scored.items() if name in {*self.fields, *self.needs}}

    def weighted_sum(
        self, drawn: Drawn, rows: Tensor, coefficients: Mapping[str, Tensor]
    ) -> Tensor:
        """sum of coefficient * field of some rows, for the second pass: no logits are kept, none
        made twice.
        """
        critic, scored = self.critic, dict(coefficients)
        if "log_z" in scored:
            # Of one critic, so in one sum with the value before the first token.
            first = torch.arange(drawn["tokens"].shape[2], device=scored["log_z"].device) == 0
            log_z = scored.pop("log_z")[:, None] * first
            scored["values"] = scored.get("values", 0.0) + log_z
        apart = 0.0
        with forward_precision(self.config, self.device):
            if critic is not None and not critic.on_policy_body:
                with recomputing(critic):
                    values = critic(self.policy, *self._answers(drawn, rows))
                apart = (scored.pop("values").to(values) * values).sum()
            with recomputing(self.policy):
                total = weighted_rows(
                    self.policy,
                    *self._answers(drawn, rows),
                    scored,
                    reference=self._compared(),
                    temperature=self.config.temperature,
                    kl_top_k=self.config.kl_top_k,
                    read=self._read,
                )
        return total + apart

    @property
    def _read(self) -> Callable[[Tensor], Tensor] | None:
        """What reads values off the policy's own hidden states, if its critic does."""
        critic = self.critic
        return critic.read if critic is not None and critic.on_policy_body else None

    def _compared(self) -> nn.Module:
        return self.initial if self.config.kl_to_initial else self.reference

    def _answers(self, drawn: Drawn, rows: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        K, T = drawn["tokens"].shape[1:]
        tokens, lengths = drawn["tokens"].view(-1, T)[rows], drawn["lengths"].view(-1)[rows]
        return self.task, tokens, lengths, drawn["prompt_index"][rows // K]

    def _score(
        self,
        policy: nn.Module,
        drawn: Drawn,
        rows: Tensor,
        fields: tuple[str, ...],
        reference: nn.Module | None = None,
        kl_top_k: int | None = None,
        read: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        with recomputing(policy):
            return score_rows(
                policy,
                *self._answers(drawn, rows),
                reference=reference,
                fields=fields,
                temperature=self.config.temperature,
                kl_top_k=kl_top_k,
                read=read,
            )

    # --- after an update --------------------------------------------------------------------------

    @torch.no_grad()
    def kl_to_initial(self, drawn: Drawn, parts: Sequence[Tensor]) -> Float[Tensor, " rows"]:
        """Exact KL(policy || initial model) along the answers of some rows, nats, summed over their
        tokens.

        Its mean over answers of the policy is an unbiased estimate of the KL of the two laws of
        answers, never negative. On answers of another sampler (sampler=reference, or after several
        updates on one draw) it is a mean along theirs.
        """
        fields = ("policy_kl",)
        with forward_precision(self.config, self.device):
            scored = [
                self._score(self.policy, drawn, rows=rows, fields=fields, reference=self.initial)
                for rows in parts
            ]
        return torch.cat([x["policy_kl"].sum(-1) for x in scored])

    @torch.no_grad()
    def trouble(self, drawn: Drawn, rows: Tensor, parameters: Iterable[Tensor]) -> str:
        """What is wrong with the weights after an update, "" if nothing: not all finite, or nan
        where rows are scored.

        Weights may be finite and far too large: they give nan with the next answer. So a row is
        scored, each time.
        """
        if not all(bool(p.isfinite().all()) for p in parameters):
            return "after the update not all weights are finite"
        with forward_precision(self.config, self.device):
            scored = self._score(self.policy, drawn, rows=rows, fields=("policy_logps",))
        return (
            "after the update the policy gives nan"
            if bool(scored["policy_logps"].isnan().any())
            else ""
        )


def frozen(policy: nn.Module) -> nn.Module:
    """A copy that does not learn; what the policy does not train itself (all but its adapters) is
    shared with it.
    """
    copied: nn.Module = sharing_copy(policy)
    as_known(copied, policy)
    return copied.requires_grad_(False).eval()
