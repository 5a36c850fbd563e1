"""The tree of notebooks/moving_reference.md, learned from samples: one reference after another,
each until the policy nearly rests, beside what enumeration says of the same question.

A refresh begins at, and is held to, the policy that the last one left, with an optimiser of its
own: so the learning rate may fall to zero before each, as a rest asks for. Groups are drawn from
the fifteen answers' probabilities, and any objective of the library is differentiated on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Answers, Population, expect, laws, point_at, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving import (
    Policy,
    along_answers,
    both_kls,
    change_by_token,
    refreshed,
    value_loss,
)
from gnivo_edu.population.moving.tables import ALPHA, SHARES, new_references, searched
from gnivo_edu.studies.study import Cell

RATE = 0.05  # of Adam at the first update; it falls to zero along half a cosine
LAST = 20  # updates before a refresh that its loss is the mean of


@dataclass(frozen=True)
class Method:
    """An objective and who writes its answers: raw weights ask for the reference's own."""

    loss: Callable[..., LossOutput]
    writer: str


METHODS = {
    "GVPO": Method(objectives.gvpo, "reference"),
    "GN-IVO": Method(partial(objectives.gnivo, weights="raw"), "reference"),
    "GN-IVO, softmax": Method(partial(objectives.gnivo, weights="softmax"), "reference"),
    "VIMPO": Method(value_loss, "current"),
}


def refresh_and_measure(cell: Cell, folder: Path) -> dict[str, Any]:
    """One run: `times` refreshes of a `method`, and after each how far it is from where theory
    says.

    Settings of the cell: `method` of METHODS; `alpha`; `times`; `steps`, `groups` and `K` of a
    refresh; `shuffled`, the placebo; `draws`, groups that jumps are measured on, and answers that
    swaps are (0: neither).
    """
    settings, seed = cell.settings, cell.seed
    method, alpha, draws = settings["method"], settings["alpha"], settings["draws"]
    seen = problem("tree")
    measured: dict[str, Any] = {"after": {}, "jump": {}, "laws": {}}
    curves: list[list[float]] = []
    for n in range(1, settings["times"] + 1):
        policy, losses = train(seen, settings, seed=1000 * seed + n)
        measured["laws"][str(n)] = seen.law(policy).tolist()
        measured["after"][str(n)] = place(seen, policy, method=method, alpha=alpha, n=n)
        if method == "VIMPO" and draws:
            jumps = jump(seen, policy, K=settings["K"], alpha=alpha, draws=draws, seed=seed)
            measured["jump"][str(n)] = jumps
            curves.append(losses)
            if n == 1:
                measured["swap"] = swaps(seen, policy, alpha=alpha, draws=8 * draws, seed=seed)
        seen = replace(seen, reference=policy)
    return measured | in_training(curves)


def train(seen: Answers, settings: Mapping[str, Any], seed: int) -> tuple[Policy, list[float]]:
    """The policy that one refresh leaves, trained from samples against the reference of `seen`, and
    the loss at each update; `settings` as those of a cell. With `shuffled` the rewards of all
    answers of an update are dealt out among them anew.

    >>> settings = {"method": "GVPO", "alpha": 0.5, "steps": 60, "groups": 16, "K": 8}
    >>> policy, _ = train(problem("tree"), settings | {"shuffled": False}, seed=0)
    >>> end = laws.tilt(problem("tree"), 0.5)
    >>> total_variation(problem("tree").law(policy), end) < 0.05
    True
    """
    method, alpha, K = METHODS[settings["method"]], settings["alpha"], settings["K"]
    groups, steps = settings["groups"], settings["steps"]
    generator = torch.Generator().manual_seed(seed)
    start = point_at(seen, alpha)
    logits = start.logits.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=RATE)
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + cos(pi * step / steps))
        writer = seen.reference if method.writer == "reference" else seen.policy(logits.detach())
        law = seen.law(writer).expand(groups, -1)
        choice = torch.multinomial(law, K, replacement=True, generator=generator)
        ones = torch.ones(groups, dtype=torch.float64)
        drawn = Population(
            seen, K, sampler=method.writer, choice=choice, multiplicity=ones, sampled=True
        )
        batch = drawn.batch(replace(start, logits=logits))
        if settings["shuffled"]:
            order = torch.randperm(groups * K, generator=generator)
            dealt = batch.rewards.flatten()[order].view_as(batch.rewards)
            batch = replace(batch, rewards=dealt)
        loss = method.loss(batch, alpha=alpha).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return seen.policy(logits.detach()), losses


def place(seen: Answers, policy: Policy, method: str, alpha: float, n: int) -> dict[str, float]:
    """Where a policy stands after n refreshes: total variation from the end at alpha/n (`lower`),
    from the exact end of n refreshes (`rest`) and from pi* of ALPHA (`star`); E[R], the gain of the
    last refresh and alpha times both KLs.
    """
    answers = problem("tree")
    law, old = answers.law(policy), answers.law(seen.reference)
    rest = goal(method, alpha=alpha, n=n)
    return {
        "lower": total_variation(law, lower_end(method, alpha / n)),
        "rest": total_variation(law, rest),
        "star": total_variation(law, laws.tilt(answers, ALPHA)),
        "reward": float(law @ answers.rewards),
        "gain": float((law - old) @ answers.rewards),
        "kls": alpha * both_kls(answers, old=seen.reference, new=policy),
    }


def goal(method: str, alpha: float, n: int) -> laws.Law:
    """The exact law that n refreshes of a method end at. Softmax weights have no formula: their
    rest is searched, for pairs, at ALPHA alone.
    """
    answers = problem("tree")
    if method == "VIMPO":
        return answers.law(refreshed(answers, alpha, times=n))
    if method == "GN-IVO, softmax":
        if alpha != ALPHA:
            raise ValueError(f"the rest of softmax weights is known for alpha = {ALPHA:g} alone")
        return _softmax_ends()[n]
    return laws.tilt(answers, alpha / n)


def lower_end(method: str, alpha: float) -> laws.Law:
    """The exact law of one rest at a lower alpha; of softmax weights pi*, which they are after."""
    return goal("GN-IVO" if method == "GN-IVO, softmax" else method, alpha=alpha, n=1)


@cache
def _softmax_ends() -> dict[int, laws.Law]:
    pairs = partial(objectives.gnivo, weights="softmax")
    return searched(pairs, problem("tree"), sampler="reference")


def jump(
    seen: Answers, policy: Policy, K: int, alpha: float, draws: int, seed: int
) -> dict[str, float]:
    """By what a refresh, and alpha to s alpha, multiply VIMPO's value loss on the same groups of
    the policy's answers; `unlearnt`, the share u of the rewards' variance that its log-ratios do
    not say; and K/(1 + (K - 1) u), what the factor of a refresh is to be.
    """
    at = partial(_loss, policy=policy, K=K, draws=draws, seed=seed)
    before = at(seen, alpha=alpha)
    u = unlearnt(seen, policy, alpha)
    return {
        "refresh": at(replace(seen, reference=policy), alpha=alpha) / before,
        **{f"anneal_{100 * s:.0f}": at(seen, alpha=s * alpha) / before for s in SHARES},
        "unlearnt": u,
        "gauge": K / (1 + (K - 1) * u),
    }


def _loss(seen: Answers, policy: Policy, K: int, alpha: float, draws: int, seed: int) -> float:
    drawn = Population.of(seen, K, sampler=seen.to_tables(policy), draws=draws, seed=seed)
    return expect(value_loss, drawn, point_at(seen, alpha, policy=policy), alpha=alpha).loss


def unlearnt(seen: Answers, policy: Policy, alpha: float) -> float:
    """u: of the variance of rewards under a policy, what alpha (log-ratio - KL) misses."""
    law = seen.law(policy)
    # The implied value of an answer is what a swap to the policy itself would take off it.
    learnt = -along_answers(seen, change_by_token(seen, policy, policy, alpha=alpha))[:, -1]
    centred = seen.rewards - law @ seen.rewards
    return float(law @ (learnt - centred).square() / (law @ centred.square()))


def swaps(
    seen: Answers, policy: Policy, alpha: float, draws: int, seed: int
) -> dict[str, dict[str, Any]]:
    """What new references do to the implied values along so many answers of the policy: `sd` by
    depth and the largest `mean`, on the sample and exactly; the mean on answers of the old
    reference; and by how much the value loss rises, beside half the last variance.
    """
    generator = torch.Generator().manual_seed(seed)
    law, old_law = seen.law(policy), seen.law(seen.reference)
    drawn, drawn_old = (
        torch.multinomial(x, draws, replacement=True, generator=generator) for x in (law, old_law)
    )
    at = partial(_loss, policy=policy, K=8, draws=draws // 8, seed=seed, alpha=alpha)
    before = at(seen)
    report: dict[str, dict[str, Any]] = {}
    for name, reference in new_references(seen, policy).items():
        change = along_answers(seen, change_by_token(seen, policy, reference, alpha=alpha))
        exact_sd = (law @ change.square()).sqrt()
        report[name] = {
            "mean": _largest_mean(change, drawn),
            "mean_old": _largest_mean(change, drawn_old),
            "sd": _by_depth(change[drawn].std(0)),
            "exact_sd": _by_depth(exact_sd),
            "rise": at(replace(seen, reference=reference)) - before,
            "half_variance": float(exact_sd[-1].square() / 2),
        }
    return report


def _largest_mean(change: Tensor, drawn: Tensor) -> float:
    return float(change[drawn].mean(0).abs().max())


def _by_depth(values: Tensor) -> dict[str, float]:
    return {str(t): value for t, value in enumerate(values.tolist(), start=1)}


def in_training(curves: list[list[float]]) -> dict[str, Any]:
    """The value loss of each refresh, step by step, and the jump as whoever reads the log sees it:
    the first step after a refresh over the mean of the last ones before it.
    """
    if len(curves) < 2:
        return {}
    factors = [new[0] / float(np.mean(old[-LAST:])) for old, new in pairwise(curves)]
    return {"value_loss": curves, "logged_jump": float(np.mean(factors))}
