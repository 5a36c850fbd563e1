"""What every objective still learns from a group whose rewards are all equal: a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.surrogate import centred
from gnivo_edu.policies import SampledGroups, make_group_batch, tabulate, token_logps
from gnivo_edu.population.questions import Objective, loss_and_push
from toy_envs import TokenMDP

ROUNDING = 1e-12  # below it a push is none


@dataclass(frozen=True)
class TiedGroup:
    """What one objective still does in groups with equal rewards.

    `push`: its norm over the tokens; `share`: that, divided by the norm when one answer of each
    group is paid more. `net`: the sum of the pushes over the sum of their sizes, +1 if every answer
    is raised, -1 if every one is lowered, 0 if they are only moved against each other. `levels`:
    minus the correlation, within groups, of the push on an answer with its log-ratio: 1 if what has
    become likelier than under the reference is lowered in proportion. `net` and `levels` are nan
    where there is no push, and `levels` where there is nothing to level.
    """

    objective: str
    policy: str
    push: float
    share: float
    net: float
    levels: float


def tied_groups(
    mdp: TokenMDP,
    policies: Mapping[str, nn.Module],
    reference: nn.Module,
    answers: SampledGroups,
    alpha: float,
    more: Mapping[str, Objective] | None = None,
) -> list[TiedGroup]:
    """Question: does a group whose rewards are all equal teach anything? Answer: it depends on the
    objective.

    One row for every objective of the registry, and of `more`, at every policy: the same `answers`,
    taken as drawn from that policy, with exact critics (`full_record`). Centred rewards are all 0,
    so what is left is a pull on log-ratios or a comparison with a critic. GVPO's push on answer i
    of a single group, for one, is

        - alpha^2/(K - 1) (h_i - mean h),    h = log pi/pi_ref.

    Raises ValueError if the rewards of a group differ. Source: trl#3708, trl#3857, trl#6367,
    verl#5228.
    """
    rows = []
    every = {name: objectives.get(name) for name in objectives.names()} | dict(more or {})
    for where, policy in policies.items():
        tie = full_record(mdp, policy, reference=reference, answers=answers, alpha=alpha)
        if bool((tie.rewards != tie.rewards[:, :1]).any()):
            raise ValueError(
                "the rewards of a group differ: give groups whose answers all earn the same"
            )
        paid = tie.rewards.clone()
        paid[:, 0] += 1
        h = tie.sequence_logratio.detach()
        for name, objective in every.items():
            _, push = loss_and_push(objective, tie, alpha=alpha)
            _, push_if_paid = loss_and_push(objective, replace(tie, rewards=paid), alpha=alpha)
            size = float(push.norm())
            share = size / float(push_if_paid.norm())
            net, levels = _shape(push.sum(-1), h) if size >= ROUNDING else (nan, nan)
            rows.append(TiedGroup(name, where, push=size, share=share, net=net, levels=levels))
    return rows


def _shape(push: Float[Tensor, "N K"], h: Float[Tensor, "N K"]) -> tuple[float, float]:
    """`net` and `levels` of a push on answers."""
    a, b = (centred(x).flatten() for x in (push, h))  # what moves answers of a group apart
    levels = -float(a @ b / (a.norm() * b.norm())) if min(a.norm(), b.norm()) > ROUNDING else nan
    return float(push.sum() / push.abs().sum()), levels


def full_record(
    mdp: TokenMDP, policy: nn.Module, reference: nn.Module, answers: SampledGroups, alpha: float
) -> GroupBatch:
    """The on-policy record of some answers, with every optional field, none of it estimated.

    `values`: the exact value of the policy, E_pi[R - alpha log pi/pi_ref | state], reward units; at
    pi* it is alpha V. `policy_kl`, `entropy`, nats, from the tables; `log_z`, nats, from the tree;
    `prefix_values`, nats: log Z + rho, the policy's implicit value. For prompt 0 of a finite token
    MDP.
    """
    tables, base = (tabulate(model, mdp) for model in (policy, reference))
    tree = exact.enumerate_tree(mdp, base)
    at: dict[str, list[Tensor]] = {"values": [], "policy_kl": [], "entropy": []}
    N, _, T = answers.tokens.shape
    # After its end an answer goes on with end tokens, as a finished answer does in the tables.
    digit = answers.tokens.masked_fill(~answers.mask, mdp.eos_token_id or 0).numpy()
    # Bellman's equation of the policy, from the end: V(s) = E_pi[V(s') - alpha log pi/pi_ref].
    value = tree.rewards
    for t in reversed(range(T)):
        p = np.exp(tables[t])
        logs = np.where(p > 0, tables[t], 0.0)
        ratio = np.where(p > 0, logs - base[t], 0.0)
        value = np.where(p > 0, p * (value.reshape(p.shape) - alpha * ratio), 0.0).sum(1)
        state = digit[..., :t] @ (mdp.vocab_size ** np.arange(t)[::-1]).astype(np.int64)
        columns = {"values": value, "policy_kl": (p * ratio).sum(1), "entropy": -(p * logs).sum(1)}
        for name, x in columns.items():
            at[name].insert(0, torch.from_numpy(x[state]))
    fields = {name: torch.stack(by_token, -1) for name, by_token in at.items()}
    with torch.no_grad():
        flat = answers.tokens.flatten(0, 1)
        logps = token_logps(policy, mdp, tokens=flat, lengths=answers.lengths.flatten())
        scored = replace(answers, logps=logps.view(answers.tokens.shape))
        batch = make_group_batch(policy, mdp, samples=scored, reference=reference, **fields)
    log_z = torch.full((N,), exact.solve(tree, alpha).log_z, dtype=torch.float64)
    return replace(batch, log_z=log_z, prefix_values=log_z[:, None, None] + batch.prefix_logratio)
