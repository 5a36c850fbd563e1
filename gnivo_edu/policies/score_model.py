"""Scores of given answers under any policy: a real language model without its logits, a table of
logits as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gnivo_edu.policies.cached_rows import prompts_of
from gnivo_edu.policies.chunked import FIELDS, Reference, chunked_scores, chunked_weighted_sum
from gnivo_edu.policies.divergences import entropy_of, kl_of
from gnivo_edu.policies.heads import Head, find_head, has_hidden_states
from gnivo_edu.policies.sampling import SampledGroups
from gnivo_edu.policies.scoring import device_of, evaluating, next_token_logps
from toy_envs import TokenMDP

Fields = Mapping[str, Tensor]
Rows = Int[Tensor, " B"]


def score_rows(
    policy: nn.Module,
    task: TokenMDP,
    tokens: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
    prompt_index: int | Int[Tensor, " B"] = 0,
    reference: nn.Module | None = None,
    fields: Sequence[str] = FIELDS,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> dict[str, Float[Tensor, "B T"]]:
    """`policy_logps`, `entropy` and, with a reference, `policy_kl` of given answers, nats, 0 after
    `lengths`.

    The law is that of `next_token_logps`: over the first `task.vocab_size` ids, renormalised.
    `temperature` divides the logits of policy and reference alike. Any causal LM that `find_head`
    knows is run without its head, whose logits are never all made (`chunked_scores`: differentiable
    once, half precisions come out in float32); tables and other modules that only return logits are
    scored from these. The reference is a constant, dropout off.

    Raises ValueError on fields that are unknown, a head that is refused, and a mask that is not
    left-padded.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> mdp = TokenMDP(2, 2)
    >>> answers = torch.tensor([[0, 1]]), torch.tensor([2])
    >>> score_rows(TabularLM.from_mdp(mdp), mdp, *answers)["entropy"].exp()
    tensor([[2., 2.]], dtype=torch.float64, grad_fn=<ExpBackward0>)
    """
    wanted = _known(fields, reference)
    rows = _Answers(policy, task, tokens, lengths, prompt_index)
    if not _by_head(policy, reference):
        return rows.spread(_dense(policy, task, rows, reference, wanted, temperature))
    hidden, head = _hidden(policy, task, rows, temperature)
    other = _constant(reference, task, rows, temperature) if "policy_kl" in wanted else None
    return rows.spread(chunked_scores(hidden, head, rows.targets, wanted, other, chunk))


def score_tokens(
    policy: nn.Module,
    mdp: TokenMDP,
    tokens: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
    prompt_index: int | Int[Tensor, " B"] = 0,
    reference: nn.Module | None = None,
) -> dict[str, Float[Tensor, "B T"]]:
    """`score_rows` from the logits of every action, for any model, whatever its head.

    Prompts of one length; `policy_logps` is `token_logps`, and every field may be differentiated
    any number of times. Raises ValueError if a vocabulary is too small.

    >>> from gnivo_edu.policies import TabularLM
    >>> mdp = TokenMDP(2, 2)
    >>> policy, reference = TabularLM.from_mdp(mdp), TabularLM.from_mdp(mdp, seed=0)
    >>> answers = torch.tensor([[0, 1]]), torch.tensor([2])
    >>> fields = score_tokens(policy, mdp, *answers, reference=reference)
    >>> sorted(fields), bool((fields["policy_kl"] > 0).all())
    (['entropy', 'policy_kl', 'policy_logps'], True)
    """
    rows = _Answers(policy, mdp, tokens, lengths, prompt_index)
    wanted = _known(FIELDS, reference)
    return rows.spread(_dense(policy, mdp, rows, reference, wanted, temperature=1.0))


def weighted_rows(
    policy: nn.Module,
    task: TokenMDP,
    tokens: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
    prompt_index: int | Int[Tensor, " B"],
    coefficients: Fields,
    reference: nn.Module | None = None,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Float[Tensor, ""]:
    """sum of coefficient * field over given answers, a scalar for one call of backward: the second
    of two passes.

    `coefficients` [B, T] by field, as `training.Coefficients.of_rows` gives them. The gradient of
    the head and of the hidden states is made chunk by chunk at once, without logits that are kept
    or made twice. Otherwise as `score_rows`; raises ValueError on coefficients of a field that is
    not scored here, unless they are all zero.
    """
    used = {name: c for name, c in coefficients.items() if bool(c.any())}
    if beyond := set(used) - set(_known(FIELDS, reference)):
        hint = "give a reference" if beyond == {"policy_kl"} else f"known: {', '.join(FIELDS)}"
        raise ValueError(f"the loss depends on {min(beyond)}, which is not scored here: {hint}")
    rows = _Answers(policy, task, tokens, lengths, prompt_index)
    own = {name: c.to(rows.device)[rows.inside] for name, c in used.items()}
    if not _by_head(policy, reference):
        scored = _dense(policy, task, rows, reference, FIELDS[:1] + tuple(own), temperature)
        return sum(
            ((c * scored[name]).sum() for name, c in own.items()),
            0.0 * scored["policy_logps"].sum(),
        )
    hidden, head = _hidden(policy, task, rows, temperature)
    other = _constant(reference, task, rows, temperature) if "policy_kl" in used else None
    return chunked_weighted_sum(hidden, head, rows.targets, own, other, chunk)


def two_pass_scorers(
    policy: nn.Module,
    task: TokenMDP,
    samples: SampledGroups,
    reference: nn.Module | None = None,
    fields: Sequence[str] = FIELDS,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> tuple[Callable[[Rows], dict[str, Tensor]], Callable[[Rows, Fields], Tensor]]:
    """(`score`, `weighted_sum`) for `training.two_pass_step`; row r is response r % K of prompt r
    // K; dropout off.
    """
    K, T = samples.tokens.shape[1:]
    tokens, lengths = samples.tokens.reshape(-1, T), samples.lengths.reshape(-1)

    def of(rows: Rows) -> tuple[nn.Module, TokenMDP, Tensor, Tensor, Tensor]:
        return policy, task, tokens[rows], lengths[rows], samples.prompt_index[rows // K]

    def score(rows: Rows) -> dict[str, Tensor]:
        with evaluating(policy):
            return score_rows(*of(rows), reference, fields, temperature, chunk)

    def weighted_sum(rows: Rows, coefficients: Fields) -> Tensor:
        with evaluating(policy):
            return weighted_rows(*of(rows), coefficients, reference, temperature, chunk)

    return score, weighted_sum


def divergences(
    policy: nn.Module, mdp: TokenMDP, samples: SampledGroups, reference: nn.Module | None = None
) -> dict[str, Float[Tensor, "N K T"]]:
    """`entropy` and, with a reference, exact `policy_kl` of sampled groups: further fields for
    `make_group_batch`.

    >>> from gnivo_edu.policies import TabularLM, sample_groups
    >>> mdp = TokenMDP(2, 3)
    >>> policy = TabularLM.from_mdp(mdp)
    >>> fields = divergences(policy, mdp, sample_groups(policy, mdp, 4), policy)
    >>> {name: list(x.shape) for name, x in fields.items()}
    {'entropy': [1, 4, 3], 'policy_kl': [1, 4, 3]}
    """
    shape = samples.tokens.shape
    score, _ = two_pass_scorers(policy, mdp, samples, reference, fields=FIELDS[1:])
    fields = score(torch.arange(shape[0] * shape[1]))
    return {name: x.view(shape) for name, x in fields.items()}


class _Answers:
    """Prompts and answers of some rows on the policy's device, cut to the longest of each."""

    def __init__(
        self,
        policy: nn.Module,
        task: TokenMDP,
        tokens: Tensor,
        lengths: Tensor,
        prompt_index: int | Tensor,
    ) -> None:
        self.device = device_of(policy)
        tokens, lengths = tokens.to(self.device), lengths.to(self.device)
        self.index = torch.as_tensor(prompt_index, device=self.device).expand(len(tokens))
        self.inside: Bool[Tensor, "B T"] = (
            torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]
        )
        self.tokens = tokens.masked_fill(~self.inside, task.pad_token_id)
        self.targets = tokens[self.inside]
        index = self.index.cpu()
        prompts, mask = (x[index].to(self.device) for x in prompts_of(task))
        # Columns that are padding in every row are left out.
        first = int((~mask).sum(1).min()) if len(mask) else 0
        self.prompts, self.mask = prompts[:, first:], mask[:, first:]
        self.length = int(lengths.max()) if len(lengths) else 0

    def spread(self, fields: Fields) -> dict[str, Float[Tensor, "B T"]]:
        """Fields of the written tokens [M], one after the other, as rows with 0 after the end."""
        shape = self.inside.shape
        return {
            name: x.new_zeros(shape).masked_scatter(self.inside, x) for name, x in fields.items()
        }


def _hidden(
    policy: nn.Module, task: TokenMDP, rows: _Answers, temperature: float
) -> tuple[Tensor, Head]:
    """Last hidden states [M, H] before each token of the answers, and the head over the actions."""
    backbone, head = find_head(policy)
    if head.weight.shape[0] < task.vocab_size:
        raise ValueError(
            f"the head has {head.weight.shape[0]} rows; the task has {task.vocab_size} actions"
        )
    device = device_of(policy)
    ids = torch.cat([rows.prompts, rows.tokens[:, : max(rows.length - 1, 0)]], 1).to(device)
    inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if not bool(rows.mask.all()):
        # What follows an answer is attended by nothing that is scored, so only the left needs a
        # mask.
        mask = nn.functional.pad(
            rows.mask.long(), (0, ids.shape[1] - rows.mask.shape[1]), value=1
        ).to(device)
        _check_attention(policy, head.weight.dtype)
        inputs["attention_mask"] = mask
        if "position_ids" in inspect.signature(backbone.forward).parameters:
            inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    states: Tensor = backbone(**inputs).last_hidden_state[:, rows.prompts.shape[1] - 1 :]
    inside = rows.inside[:, : states.shape[1]].to(device)
    return states[inside], replace(head, num_actions=task.vocab_size, temperature=temperature)


def _constant(
    reference: nn.Module | None, task: TokenMDP, rows: _Answers, temperature: float
) -> Reference | None:
    if reference is None:
        return None
    with torch.no_grad(), evaluating(reference):
        return _hidden(reference, task, rows, temperature)


def _check_attention(policy: nn.Module, dtype: torch.dtype) -> None:
    if dtype == torch.float64 and getattr(policy.config, "_attn_implementation", None) == "eager":
        raise ValueError(
            "eager attention gives nan on padding in float64: load with attn_implementation='sdpa'"
        )


def _by_head(policy: nn.Module, reference: nn.Module | None) -> bool:
    """Whether hidden states are there; both laws are taken in one way, and tables have logits
    only.
    """
    return all(has_hidden_states(model) for model in (policy, reference) if model is not None)


def _dense(
    policy: nn.Module,
    task: Any,
    rows: _Answers,
    reference: nn.Module | None,
    fields: Sequence[str],
    temperature: float,
) -> dict[str, Float[Tensor, " M"]]:
    """The same from the logits of every action; only where something is scored, since a table may
    be -inf after it.
    """

    def law_of(model: nn.Module) -> Tensor:
        law = next_token_logps(model, task, rows.tokens[:, :-1], rows.index)[
            rows.inside.to(device_of(model))
        ]
        return (law / temperature).log_softmax(-1)

    law, scored = law_of(policy), {}
    if "policy_logps" in fields:
        scored["policy_logps"] = law.gather(-1, rows.targets[:, None])[:, 0]
    if "entropy" in fields:
        scored["entropy"] = entropy_of(law)
    if "policy_kl" in fields and reference is not None:
        with torch.no_grad(), evaluating(reference):
            other = law_of(reference).to(law)
        scored["policy_kl"] = kl_of(law, other)
    return scored


def _known(fields: Sequence[str], reference: nn.Module | None) -> tuple[str, ...]:
    """The fields that can be scored: without a reference no KL."""
    if unknown := set(fields) - set(FIELDS):
        raise ValueError(
            f"{min(unknown)} is nothing that can be scored; known: {', '.join(FIELDS)}"
        )
    return tuple(
        name for name in FIELDS if name in fields and (reference is not None or name != "policy_kl")
    )
