"""What the whole next-token law says at each token of an answer: its entropy, its exact KL; and how
rows are scored.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gnivo_edu.policies.sampling import SampledGroups
from gnivo_edu.policies.scoring import device_of, evaluating, next_token_logps
from toy_envs import TokenMDP


def entropy_of(logps: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """- sum_a p(a) log p(a), nats; actions of probability 0 add nothing, to the gradient either.

    >>> entropy_of(torch.tensor([[0.5, 0.5, 0.0]]).log())
    tensor([0.6931])
    """
    return -(logps.exp() * logps.masked_fill(logps == -torch.inf, 0.0)).sum(-1)


def kl_of(logps: Float[Tensor, "*B V"], reference: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """KL(p || q) = sum_a p(a) log p(a)/q(a), nats; inf where q(a) = 0 < p(a).

    >>> kl_of(torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.25, 0.75, 0.0]).log())
    tensor(0.1438)
    """
    impossible = logps == -torch.inf
    return (
        logps.exp() * (logps.masked_fill(impossible, 0.0) - reference.masked_fill(impossible, 0.0))
    ).sum(-1)


def score_tokens(
    policy: nn.Module,
    mdp: TokenMDP,
    tokens: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
    prompt_index: int | Int[Tensor, " B"] = 0,
    reference: nn.Module | None = None,
) -> dict[str, Float[Tensor, "B T"]]:
    """`policy_logps`, `entropy` and, with a reference, `policy_kl` of given answers, from one pass;
    differentiable.

    All in nats, 0 after `lengths`, of the law before each token, over the V actions; names and
    meaning are those of `GroupBatch`. `policy_kl` is exact, KL(policy || reference): no sample of
    it enters. The reference is scored without gradient, dropout off. `policy_logps` is
    `token_logps`. Raises ValueError if a vocabulary is too small.

    >>> from gnivo_edu.policies import TabularLM
    >>> mdp = TokenMDP(2, 2)
    >>> policy, reference = TabularLM.from_mdp(mdp), TabularLM.from_mdp(mdp, seed=0)
    >>> fields = score_tokens(policy, mdp, torch.tensor([[0, 1]]), torch.tensor([2]), reference=reference)
    >>> sorted(fields), fields["entropy"].exp(), bool((fields["policy_kl"] > 0).all())
    (['entropy', 'policy_kl', 'policy_logps'], tensor([[2., 2.]], dtype=torch.float64, grad_fn=<ExpBackward0>), True)
    """
    device = device_of(policy)
    tokens, lengths = tokens.to(device), lengths.to(device)
    inside = torch.arange(tokens.shape[1], device=device) < lengths[:, None]
    prefixes = tokens.masked_fill(~inside, mdp.pad_token_id)[:, :-1]
    # After the end a table puts all mass on one action; the gradient of -inf is nan even where it
    # is masked later.
    law = next_token_logps(policy, mdp, prefixes, prompt_index).masked_fill(~inside[..., None], 0.0)
    fields = {
        "policy_logps": law.gather(-1, tokens.masked_fill(~inside, 0)[..., None])[..., 0],
        "entropy": entropy_of(law),
    }
    if reference is not None:
        with torch.no_grad(), evaluating(reference):
            other = next_token_logps(reference, mdp, prefixes, prompt_index).to(device, law.dtype)
            other = other.masked_fill(~inside[..., None], 0.0)
        fields["policy_kl"] = kl_of(law, other)
    return {name: x.masked_fill(~inside, 0.0) for name, x in fields.items()}


def row_scorer(
    policy: nn.Module, mdp: TokenMDP, samples: SampledGroups, reference: nn.Module | None = None
) -> Callable[[Int[Tensor, " B"]], dict[str, Float[Tensor, "B T"]]]:
    """`score(rows)` of sampled groups, for `training.two_pass_step`: what `score_tokens` gives,
    dropout off.

    Row r is response r % K of prompt r // K.
    """
    K, T = samples.tokens.shape[1:]
    tokens, lengths = samples.tokens.reshape(-1, T), samples.lengths.reshape(-1)

    def score(rows: Int[Tensor, " B"]) -> dict[str, Float[Tensor, "B T"]]:
        with evaluating(policy):
            index = samples.prompt_index[rows // K]
            return score_tokens(policy, mdp, tokens[rows], lengths[rows], index, reference)

    return score


def divergences(
    policy: nn.Module, mdp: TokenMDP, samples: SampledGroups, reference: nn.Module | None = None
) -> dict[str, Float[Tensor, "N K T"]]:
    """`entropy` and, with a reference, exact `policy_kl` of sampled groups: further fields for
    `make_group_batch`.

    >>> from gnivo_edu.policies import TabularLM, sample_groups
    >>> mdp = TokenMDP(2, 3)
    >>> policy = TabularLM.from_mdp(mdp)
    >>> fields = divergences(policy, mdp, sample_groups(policy, mdp, 4), policy)
    >>> {name: list(x.shape) for name, x in fields.items()}, float(fields["policy_kl"].detach().abs().max())
    ({'entropy': [1, 4, 3], 'policy_kl': [1, 4, 3]}, 0.0)
    """
    shape = samples.tokens.shape
    fields = row_scorer(policy, mdp, samples, reference)(torch.arange(shape[0] * shape[1]))
    return {name: x.view(shape) for name, x in fields.items() if name != "policy_logps"}
