"""Scores of given answers under any policy: a real language model without its logits, a table of
logits as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gnivo_edu.policies.cached_rows import Way, positions_of, prompts_of, without_padding
from gnivo_edu.policies.chunked import Reference, chunked_scores, chunked_weighted_sum
from gnivo_edu.policies.dense import FIELDS, law_scores
from gnivo_edu.policies.heads import Head, find_head, has_hidden_states
from gnivo_edu.policies.modes import device_of, evaluating
from gnivo_edu.policies.one_law import parts_of
from gnivo_edu.policies.packable import takes_packed_rows
from gnivo_edu.policies.packed import Answers, Packed, best_layout, packed_rows
from gnivo_edu.policies.pieces import pieces_of
from gnivo_edu.policies.recompute import recomputes
from gnivo_edu.policies.sampling import SampledGroups
from gnivo_edu.policies.scoring import next_token_logps
from toy_envs import TokenMDP


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
    kl_top_k: int | None = None,
    read: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Float[Tensor, "B T"]]:
    """`policy_logps`, `entropy` and, with a reference, `policy_kl` of given answers, nats, 0 after
    `lengths`; with `read` also `values`, what it says of the last hidden states before each token.

    The law is that of `next_token_logps`: over the first `task.vocab_size` ids, renormalised.
    `temperature` divides the logits of policy and reference alike. Any causal LM that `find_head`
    knows is run without its head, whose logits are never all made (`chunked_scores`: differentiable
    once, half precisions come out in float32); tables and other modules that only return logits are
    scored from these. The reference is a constant, dropout off. `kl_top_k`: of the KL only the
    terms of the policy's k likeliest tokens (`law_scores`); exact unless given.

    Raises ValueError on fields that are unknown, a head that is refused, and a mask that is not
    left-padded.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> mdp = TokenMDP(2, 2)
    >>> answers = torch.tensor([[0, 1]]), torch.tensor([2])
    >>> score_rows(TabularLM.from_mdp(mdp), mdp, *answers)["entropy"].exp()
    tensor([[2., 2.]], dtype=torch.float64, grad_fn=<ExpBackward0>)
    """
    wanted = _scorable(fields, reference)
    rows = _Answers(device_of(policy), task, tokens, lengths, prompt_index)
    if not _by_head(policy, reference):
        return rows.spread(_dense(policy, rows, reference, wanted, temperature, kl_top_k))
    hidden, head = _hidden(policy, rows, temperature=temperature)
    constant = _constant(reference, rows, wanted, temperature)
    scores = chunked_scores(
        hidden,
        head,
        targets=rows.targets,
        fields=wanted,
        reference=constant,
        chunk=chunk,
        kl_top_k=kl_top_k,
    )
    if read is not None:
        scores["values"] = read(hidden)
    return rows.spread(scores)


def value_rows(
    policy: nn.Module,
    task: TokenMDP,
    tokens: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
    prompt_index: int | Int[Tensor, " B"],
    read: Callable[[Tensor], Tensor],
    body: nn.Module | None = None,
) -> Float[Tensor, "B T"]:
    """What `read` says of the last hidden states before each token of given answers, 0 after
    `lengths`: of the policy's, or of another `body` of its kind.
    """
    rows = _Answers(device_of(policy), task, tokens, lengths, prompt_index)
    hidden, _ = _hidden(policy, rows, temperature=1.0, body=body)
    return rows.spread({"values": read(hidden)})["values"]


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
    rows = _Answers(device_of(policy), mdp, tokens, lengths, prompt_index)
    wanted = _scorable(FIELDS, reference)
    return rows.spread(_dense(policy, rows, reference, wanted, temperature=1.0))


def weighted_rows(
    policy: nn.Module,
    task: TokenMDP,
    tokens: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
    prompt_index: int | Int[Tensor, " B"],
    coefficients: Mapping[str, Tensor],
    reference: nn.Module | None = None,
    temperature: float = 1.0,
    chunk: int | None = None,
    kl_top_k: int | None = None,
    read: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, ""]:
    """sum of coefficient * field over given answers, a scalar for one call of backward: the second
    of two passes.

    `coefficients` [B, T] by field, as `training.Coefficients.of_rows` gives them. The gradient of
    the head and of the hidden states is made chunk by chunk at once, without logits that are kept
    or made twice. Otherwise as `score_rows`; raises ValueError on coefficients of a field that is
    not scored here, unless they are all zero.
    """
    weights = {name: c for name, c in coefficients.items() if bool(c.any())}
    of_values = weights.pop("values", None) if read is not None else None
    if beyond := set(weights) - set(_scorable(FIELDS, reference)):
        hint = "give a reference" if beyond == {"policy_kl"} else f"known: {', '.join(FIELDS)}"
        raise ValueError(f"the loss depends on {min(beyond)}, which is not scored here: {hint}")
    rows = _Answers(device_of(policy), task, tokens, lengths, prompt_index)
    weights = {name: c.to(rows.device)[rows.inside] for name, c in weights.items()}
    if not _by_head(policy, reference):
        fields = (*FIELDS[:1], *weights)
        scores = _dense(policy, rows, reference, fields, temperature, kl_top_k)
        # The zero term keeps the sum in the graph where no coefficient is left.
        terms = ((c * scores[name]).sum() for name, c in weights.items())
        return sum(terms, 0.0 * scores["policy_logps"].sum())
    hidden, head = _hidden(policy, rows, temperature=temperature)
    constant = _constant(reference, rows, tuple(weights), temperature)
    total = chunked_weighted_sum(
        hidden,
        head,
        targets=rows.targets,
        coefficients=weights,
        reference=constant,
        chunk=chunk,
        kl_top_k=kl_top_k,
    )
    if read is not None and of_values is not None:
        total = total + (of_values.to(rows.device)[rows.inside] * read(hidden)).sum()
    return total


def two_pass_scorers(
    policy: nn.Module,
    task: TokenMDP,
    samples: SampledGroups,
    reference: nn.Module | None = None,
    fields: Sequence[str] = FIELDS,
    temperature: float = 1.0,
    chunk: int | None = None,
    kl_top_k: int | None = None,
) -> tuple[Callable[[Tensor], dict[str, Tensor]], Callable[[Tensor, Mapping[str, Tensor]], Tensor]]:
    """(`score`, `weighted_sum`) for `training.two_pass_step`; row r is response r % K of prompt r
    // K; dropout off.
    """
    tokens, lengths, prompt_index = samples.rows
    law: dict[str, Any] = {"reference": reference, "temperature": temperature}
    law |= {"chunk": chunk, "kl_top_k": kl_top_k}

    def of(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return tokens[rows], lengths[rows], prompt_index[rows]

    def score(rows: Int[Tensor, " B"]) -> dict[str, Tensor]:
        with evaluating(policy):
            return score_rows(policy, task, *of(rows), fields=fields, **law)

    def weighted_sum(rows: Int[Tensor, " B"], coefficients: Mapping[str, Tensor]) -> Tensor:
        with evaluating(policy):
            return weighted_rows(policy, task, *of(rows), coefficients=coefficients, **law)

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
    with evaluating(policy):
        fields = score_rows(policy, mdp, *samples.rows, reference=reference, fields=FIELDS[1:])
    return {name: x.view(shape) for name, x in fields.items()}


class _Answers:
    """Prompts and answers of some rows on one device, cut to the longest of each."""

    def __init__(
        self,
        device: torch.device,
        task: TokenMDP,
        tokens: Tensor,
        lengths: Tensor,
        prompt_index: int | Tensor,
    ) -> None:
        self.device = device
        self.task = task
        tokens, lengths = (x.to(device) for x in (tokens, lengths))
        self.index = torch.as_tensor(prompt_index, device=device).expand(len(tokens))
        places = torch.arange(tokens.shape[1], device=device)
        self.inside: Bool[Tensor, "B T"] = places < lengths[:, None]
        self.tokens = tokens.masked_fill(~self.inside, task.pad_token_id)
        self.targets = tokens[self.inside]
        index = self.index.cpu()
        prompts, mask = (x[index] for x in prompts_of(task))
        self.prompts, self.mask = without_padding(prompts, mask, device)

    def packed(self, policy: nn.Module, backbone: nn.Module) -> Packed | None:
        """Answers to one prompt in one row, and what all prompts begin with once, where that pays
        and the policy is exact in it.
        """
        _, owner = self.index.unique(return_inverse=True)
        if len(owner) < 2 or _half_on_cpu(policy):
            return None
        arrays = (self.prompts, self.mask, self.tokens, self.inside.sum(1), owner)
        prompts, mask, tokens, lengths, owner = (x.cpu().numpy() for x in arrays)
        answers = Answers(prompts=prompts, mask=mask, tokens=tokens, lengths=lengths, owner=owner)
        config: Any = policy.config
        # Layers that are run again in the backward pass read no cache.
        shared = 0 if recomputes(backbone) else answers.shared
        for most in dict.fromkeys((shared, 0)):
            layout = best_layout(answers, config.get_text_config(), shared=most)
            if layout is None:
                return None
            if takes_packed_rows(policy, beginning=layout.shared > 0):
                return packed_rows(answers, device_of(policy), layout)
        return None

    def pieces(self, policy: nn.Module, part: Int[Tensor, " b"]) -> list[Int[Tensor, " p"]]:
        """Numbers of some rows that are run together, those of like length where that pays."""
        if len(part) < 2 or _half_on_cpu(policy):
            return [part]
        lengths = [x.sum(1).cpu()[part].numpy() for x in (self.mask, self.inside)]
        config: Any = policy.config
        pieces = pieces_of(lengths[0], np.maximum(lengths[1] - 1, 0), config.get_text_config())
        return [part] if len(pieces) == 1 else [part[torch.from_numpy(x)] for x in pieces]

    def spread(self, fields: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "B T"]]:
        """Fields of the written tokens [M], one after the other, as rows with 0 after the end."""
        shape = self.inside.shape
        return {
            name: x.new_zeros(shape).masked_scatter(self.inside, x) for name, x in fields.items()
        }


def _half_on_cpu(policy: nn.Module) -> bool:
    """Whether a policy runs in half precision on a CPU: there some kernels refuse a mask that is
    given, and packed rows round otherwise than those of the sampler.
    """
    if device_of(policy).type != "cpu":
        return False
    return torch.is_autocast_enabled("cpu") or next(policy.parameters()).element_size() < 4


def _hidden(
    policy: nn.Module, rows: _Answers, temperature: float, body: nn.Module | None = None
) -> tuple[Tensor, Head]:
    """Last hidden states [M, H] before each token of the answers, of another `body` if one is
    given, and the policy's head over the actions.
    """
    backbone, head = find_head(policy)
    backbone = backbone if body is None else body
    actions = rows.task.vocab_size
    if head.weight.shape[0] < actions:
        raise ValueError(
            f"the head has {head.weight.shape[0]} rows; the task has {actions} actions"
        )
    head = replace(head, num_actions=actions, temperature=temperature)
    # In training mode dropout would be drawn for other tokens: then all rows are run as they are.
    packed = None if backbone.training else rows.packed(policy, backbone)
    if packed is not None:
        return packed.states(backbone), head
    device = device_of(policy)
    parts = [
        (way, piece)
        for way, part in parts_of(policy, rows.mask.sum(1))
        for piece in ([part] if backbone.training else rows.pieces(policy, part))
    ]
    states = []
    for way, part in parts:
        together = _states(backbone, rows, part.to(device), way)
        states.append(together[rows.inside[part.to(rows.device), : together.shape[1]].to(device)])
    if len(parts) == 1:
        return states[0], head
    # Back to the order of the answers, from which each part has taken its own.
    places = torch.empty(rows.inside.shape, dtype=torch.long)
    inside = rows.inside.cpu()
    places[inside] = torch.arange(len(rows.targets))
    taken = torch.cat([places[part][inside[part]] for _, part in parts])
    return torch.cat(states)[taken.argsort().to(device)], head


def _states(
    backbone: nn.Module, rows: _Answers, part: Int[Tensor, " b"], way: Way
) -> Float[Tensor, "b T H"]:
    """Last hidden states before each token of the answers of some rows, which are run together."""
    device = part.device
    chosen = part.to(rows.device)
    prompts, mask = without_padding(rows.prompts[chosen], rows.mask[chosen], device)
    # The last token of an answer is scored and never read.
    length = int(rows.inside[chosen].any(0).sum())
    written = rows.tokens[chosen, : max(length - 1, 0)].to(device)
    inputs: dict[str, Any] = {"input_ids": torch.cat([prompts, written], 1), "use_cache": False}
    if not bool(mask.all()):
        # Nothing that is scored attends to what follows an answer, so only the left needs a mask.
        mask = nn.functional.pad(mask, (0, written.shape[1]), value=True)
        inputs["attention_mask"] = mask.long()
        if way.positions:
            inputs["position_ids"] = positions_of(mask)
    states: Tensor = backbone(**inputs).last_hidden_state[:, prompts.shape[1] - 1 :]
    return states


def _constant(
    reference: nn.Module | None, rows: _Answers, fields: Sequence[str], temperature: float
) -> Reference | None:
    """Hidden states and head of the reference, where a field needs them."""
    if reference is None or "policy_kl" not in fields:
        return None
    with torch.no_grad(), evaluating(reference):
        return _hidden(reference, rows, temperature=temperature)


def _by_head(policy: nn.Module, reference: nn.Module | None) -> bool:
    """Whether hidden states are there; both laws are taken in one way, and tables have logits
    only.
    """
    return all(has_hidden_states(model) for model in (policy, reference) if model is not None)


def _dense(
    policy: nn.Module,
    rows: _Answers,
    reference: nn.Module | None,
    fields: Sequence[str],
    temperature: float,
    kl_top_k: int | None = None,
) -> dict[str, Float[Tensor, " M"]]:
    """The same from the logits of every action; only where something is scored, since a table may
    be -inf after it.
    """

    def law_of(model: nn.Module) -> Tensor:
        logps = next_token_logps(
            model, rows.task, prefixes=rows.tokens[:, :-1], prompt_index=rows.index
        )
        return (logps[rows.inside.to(logps.device)] / temperature).log_softmax(-1)

    law = law_of(policy)
    constant = None
    if reference is not None and "policy_kl" in fields:
        with torch.no_grad(), evaluating(reference):
            constant = law_of(reference).to(law)
    return law_scores(law, rows.targets, fields=fields, reference=constant, kl_top_k=kl_top_k)


def _scorable(fields: Sequence[str], reference: nn.Module | None) -> tuple[str, ...]:
    """The fields without those that need a reference, if there is none."""
    return tuple(name for name in fields if reference is not None or name != "policy_kl")
