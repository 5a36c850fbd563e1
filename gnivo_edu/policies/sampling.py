"""Groups of answers: drawn from a policy, or every possible one with its probability; and their
GroupBatch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact.tree import answer_lengths, digits
from gnivo_edu.policies.modes import device_of, evaluating
from gnivo_edu.policies.sampling_law import SamplingLaw
from gnivo_edu.policies.scoring import next_token_logps, token_logps
from toy_envs import TokenMDP


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledGroups:
    """K answers to each of N prompts, padded after `lengths` with `pad_token_id`.

    `logps` [N, K, T], nats, under the law that drew them, 0 after the end; `truncated`: the answer
    reached the horizon without the end-of-sequence token that the environment has; `prompt_index`
    [N], number of the prompt; `group_weight` [N], probability of each group where all of them are
    listed (`all_groups`), else None; `law`: the temperature, top-k and top-p they were drawn with.
    Where `law.truncates`, some answers were cut off, which objectives that read values off a policy
    refuse.
    """

    tokens: Int[Tensor, "N K T"]
    lengths: Int[Tensor, "N K"]
    logps: Float[Tensor, "N K T"]
    truncated: Bool[Tensor, "N K"]
    prompt_index: Int[Tensor, " N"]
    group_weight: Float[Tensor, " N"] | None = None
    law: SamplingLaw = field(default_factory=SamplingLaw)

    @property
    def mask(self) -> Bool[Tensor, "N K T"]:
        """Ones, then zeros, made from the lengths."""
        places = torch.arange(self.tokens.shape[-1], device=self.tokens.device)
        return places < self.lengths[..., None]

    @property
    def rows(self) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"], Int[Tensor, " B"]]:
        """(tokens, lengths, prompt_index) of all answers, B = N K: row r is answer r % K to prompt
        r // K.
        """
        index = self.prompt_index.repeat_interleave(self.lengths.shape[1])
        return self.tokens.flatten(0, 1), self.lengths.flatten(), index

    def rewards(self, task: TokenMDP) -> Float[Tensor, "N K"]:
        """What the task pays for each answer, float64, on the CPU.

        >>> from gnivo_edu.policies import TabularLM
        >>> task = TokenMDP(2, 3, reward=lambda tokens, lengths: tokens[:, 0])
        >>> groups = sample_groups(TabularLM.from_mdp(task), task, group_size=4)
        >>> bool((groups.rewards(task) == groups.tokens[..., 0]).all())
        True
        """
        rewards = task.reward(*(x.cpu().numpy() for x in self.rows))
        return torch.from_numpy(np.asarray(rewards)).view(self.lengths.shape)


@torch.no_grad()
def sample_groups(
    policy: nn.Module,
    mdp: TokenMDP,
    group_size: int,
    prompt_index: ArrayLike | Tensor = (0,),
    generator: torch.Generator | None = None,
) -> SampledGroups:
    """Draw `group_size` independent answers to each prompt of `prompt_index` [N], token by token.

    Plain ancestral sampling from the policy over the V actions, with dropout off, for any causal
    LM: the law that `token_logps` scores. A `generator` makes it repeatable, whatever the device.
    Raises ValueError on group_size < 1.

    >>> from gnivo_edu.policies import TabularLM
    >>> mdp = TokenMDP(2, 3, eos_token_id=1)
    >>> random = torch.Generator().manual_seed(0)
    >>> groups = sample_groups(TabularLM.from_mdp(mdp), mdp, group_size=4, generator=random)
    >>> groups.tokens.shape, groups.lengths.max().item() <= 3
    (torch.Size([1, 4, 3]), True)
    """
    if group_size < 1:
        raise ValueError(f"group_size must be at least 1, got {group_size}")
    device, T = device_of(policy), mdp.horizon
    prompts = torch.as_tensor(prompt_index, device=device).reshape(-1)
    rows = prompts.repeat_interleave(group_size)
    tokens = torch.full((len(rows), T), mdp.pad_token_id, device=device)
    ended = torch.zeros(len(rows), dtype=torch.bool, device=device)
    lengths = torch.zeros_like(rows)
    columns = []
    with evaluating(policy):
        for t in range(T):
            logps = next_token_logps(policy, mdp, prefixes=tokens[:, :t], prompt_index=rows)[:, -1]
            # A generator draws on its own device, so that it draws the same whatever the policy's.
            place = device if generator is None else generator.device
            token = torch.multinomial(logps.exp().to(place), 1, generator=generator).to(device)
            columns.append(logps.gather(1, token)[:, 0].masked_fill(ended, 0.0))
            tokens[:, t] = token[:, 0].masked_fill(ended, mdp.pad_token_id)
            lengths += ~ended
            if mdp.eos_token_id is not None:
                ended |= token[:, 0] == mdp.eos_token_id
    shape = (len(prompts), group_size)
    truncated = ended if mdp.eos_token_id is None else ~ended
    return SampledGroups(
        tokens=tokens.view(*shape, T),
        lengths=lengths.view(shape),
        logps=torch.stack(columns, 1).view(*shape, T),
        truncated=truncated.view(shape),
        prompt_index=prompts,
    )


def all_groups(
    mdp: TokenMDP,
    tables: list[NDArray[np.float64]],
    group_size: int,
    prompt_index: int = 0,
    max_groups: int = 200_000,
) -> SampledGroups:
    """Every ordered group of complete answers to one prompt, with its probability under `tables`,
    float64.

    With it a population loss is the loss of one batch: `group_weight` [N] sums to 1, N = (number of
    answers of positive probability)**K. Raises ValueError above `max_groups`.

    >>> mdp = TokenMDP(2, 2, eos_token_id=1)
    >>> tables = [np.log([[0.5, 0.5]]), np.log([[0.25, 0.75], [0.5, 0.5]])]
    >>> groups = all_groups(mdp, tables, group_size=2)
    >>> groups.tokens.shape, float(groups.group_weight.sum())
    (torch.Size([9, 2, 2]), 1.0)
    """
    V, T, eos = mdp.vocab_size, mdp.horizon, mdp.eos_token_id
    if max_groups < V**T:
        raise ValueError(
            f"{V}**{T} answers are too many to list groups of them: "
            f"the limit is {max_groups:,} groups"
        )
    # Every sequence of T tokens, then only those that are a complete answer, each once: after its
    # end an answer is written with end tokens.
    numbers = np.arange(V**T)
    tokens = digits(numbers, V, T)
    lengths = answer_lengths(tokens, eos)
    inside = np.arange(T) < lengths[:, None]
    logps = np.stack([tables[t][numbers // V ** (T - t), tokens[:, t]] for t in range(T)], 1)
    logps = np.where(inside, logps, 0.0)
    possible = (inside | (tokens == eos)).all(1) & (logps.sum(1) > -np.inf)
    truncated = (tokens != eos).all(1)[possible] & (eos is not None)
    tokens = np.where(inside, tokens, mdp.pad_token_id)[possible]
    logps, lengths = (x[possible] for x in (logps, lengths))
    if len(tokens) ** group_size > max_groups:
        raise ValueError(
            f"{len(tokens)} answers make {len(tokens) ** group_size:,} groups of {group_size}, "
            f"above the limit of {max_groups:,}: take a smaller tree or group, or raise max_groups"
        )
    choice = digits(np.arange(len(tokens) ** group_size), len(tokens), group_size)
    logs = torch.from_numpy(logps[choice])
    return SampledGroups(
        tokens=torch.from_numpy(tokens[choice]),
        lengths=torch.from_numpy(lengths[choice]),
        logps=logs,
        truncated=torch.from_numpy(truncated[choice]),
        prompt_index=torch.full((len(choice),), prompt_index),
        group_weight=logs.sum((1, 2)).exp(),
    )


def make_group_batch(
    policy: nn.Module,
    mdp: TokenMDP,
    samples: SampledGroups,
    reference: nn.Module | None = None,
    **fields: Any,
) -> GroupBatch:
    """Score sampled groups with the policy (with gradient), reward them, and put them on record.

    `behaviour_logps` are those of the sampler; `reference_logps` those of `reference`, scored
    without gradient, or of the sampler. Rewards come from `mdp.reward`; all in the policy's
    precision.
    `fields` are further fields of `GroupBatch`."""
    shape = samples.tokens.shape
    logps = token_logps(policy, mdp, *samples.rows).view(shape)
    device, dtype = logps.device, logps.dtype
    if reference is not None:
        with torch.no_grad(), evaluating(reference):
            reference_logps = token_logps(reference, mdp, *samples.rows)
        fields["reference_logps"] = reference_logps.view(shape).to(device, dtype)
    if samples.group_weight is not None:
        fields.setdefault("group_weight", samples.group_weight.to(device, dtype))
    return GroupBatch(
        policy_logps=logps,
        behaviour_logps=samples.logps.to(device, dtype),
        rewards=samples.rewards(mdp).to(device, dtype),
        mask=samples.mask.to(device),
        truncated=samples.truncated.to(device),
        **fields,
    )
