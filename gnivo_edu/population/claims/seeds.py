"""Claims of the poster's derivation on the way to its loss, and of the books that VIMPO keeps."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import laws
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims.claim import (
    ALPHA,
    TREE,
    gradient,
    holds,
    holds_if,
    off_optimum,
)
from gnivo_edu.population.questions import relative_error


def _off_values(pinned: bool) -> float:
    """Largest error against V - log Z of a V_theta that was fitted from a random start, nats.

    `pinned`: it is written through a policy, whose prefixes' probabilities sum to one.
    """
    tree, rng = problem("tree").tree, np.random.default_rng(0)
    solution, errors = exact.solve(tree, ALPHA), []
    for t in range(1, tree.horizon + 1):
        possible = tree.reachable(t)
        value, log_law = solution.values[t][possible], tree.prefix_logps[t][possible]
        objective = exact.GroupObjective.from_logs(log_law, value, group_size=3, log_total=value)
        fit = objective.fit(2 * rng.standard_normal(len(value)))
        if pinned:
            fit = fit - np.logaddexp.reduce(log_law + fit)
        errors.append(np.abs(fit - (value - solution.log_z)).max())
    return float(max(errors))


def _profiled(batch: GroupBatch, alpha: float, held: bool = False) -> LossOutput:
    """The squared error of complete answers at the log Z that is best for this policy.

    `held`: at the log Z that is best for the reference.
    """
    target = batch.rewards / alpha
    left = target if held else target - batch.sequence_logratio
    log_z = batch.group_mean(left.mean(1)).expand(len(target))
    return objectives.value_mse(replace(batch, log_z=log_z), alpha, prefixes="last")


def _off_variance(held: bool) -> float:
    """Distance of the squared error's gradient from that of GVPO's loss, 2/alpha^2 times, relative.

    At pi_ref e^R.
    """
    answers = problem("tree")
    policy = answers.tilted(answers.rewards)
    squares = gradient(_profiled, answers, policy=policy, group_size=1, held=held)
    gvpo = gradient(objectives.gvpo, answers, policy=policy, group_size=2)
    return relative_error(squares, 2 / ALPHA**2 * gvpo)


def _minus_sign(known: bool) -> float:
    """The gradient at V of the cross-entropy with the sum of weights added, not multiplied;
    relative to V_theta = 0. All pairs of answers, first tokens.

    `known`: the weights are e^V; else one sample of it, e^{R/alpha}.
    """
    answers = problem("tree")
    law = answers.law(answers.reference)
    _, first = answers.ends[:, 0].unique(return_inverse=True)
    reach, weighted = (
        laws.prefix_law(answers, x, depth=1) for x in (law, law * (answers.rewards / ALPHA).exp())
    )
    value = (weighted / reach).log()
    pairs = torch.tensor(list(product(range(len(law)), repeat=2)))
    weights = (value[first] if known else answers.rewards / ALPHA)[pairs].exp()
    targets = weights / weights.sum(1, keepdim=True)

    def slope(v: Tensor) -> float:
        leaf = v.clone().requires_grad_()
        log_q = leaf[first][pairs].log_softmax(1)
        # The sum of the weights has no V_theta in it.
        loss = law[pairs].prod(1) @ (weights.sum(1) - (targets * log_q).sum(1))
        return float(torch.autograd.grad(loss, leaf)[0].norm())

    return slope(value) / slope(torch.zeros_like(value))


def _off_anchor(paid: str) -> float:
    """By how much VIMPO's implied value misses 0 at the end, at pi_V, in some answer; reward units.

    `paid`: the reward is taken off with the "last token", or "never".
    """
    answers = problem("tree")
    law = laws.vimpo_law(answers, ALPHA)
    policy = answers.from_law(law)
    logratio = answers.token_logps(policy) - answers.token_logps(answers.reference)
    steps = (logratio - answers.kl(policy)[answers.states]).masked_fill(~answers.mask, 0.0)
    value = law @ answers.rewards + ALPHA * steps.sum(1)
    return float((value - answers.rewards * (paid == "last token")).abs().max())


def _off_optimum_by_token(discount: float) -> float:
    """Largest difference of log pi*(token | state) where the reward is paid over the tokens at
    random, the rest of it at the end, from where all is paid at the end; nats.
    """
    tree, rng = problem("tree").tree, np.random.default_rng(0)
    paid = [rng.normal(size=table.shape) for table in tree.step_logps]
    left = tree.rewards.copy()
    for amounts in paid:
        # The answers through one prefix are neighbours.
        left -= np.repeat(amounts.ravel(), len(left) // amounts.size)
    value, worst = left / ALPHA, 0.0
    optimal = exact.solve(tree, ALPHA).optimal_step_logps
    for t in reversed(range(tree.horizon)):
        scores = tree.step_logps[t] + paid[t] / ALPHA + discount * value.reshape(paid[t].shape)
        value = np.logaddexp.reduce(scores, axis=1)
        possible = np.isfinite(optimal[t])
        possible[np.setdiff1d(np.arange(len(value)), tree.reachable(t))] = False
        gap = (scores - value[:, None])[possible] - optimal[t][possible]
        worst = max(worst, float(np.abs(gap).max()))
    return worst


POSTER = "GN-IVO, ICLR 2026, poster"
COMPLETE = "log Z known, complete answers"
CLAIMS = [
    holds(
        "policy-preserved",
        "A value known up to one constant per depth preserves the optimal policy: written through "
        "a policy it is V - log Z at every prefix.",
        source=f"{POSTER}, abstract and Theorem 2",
        read="poster",
        where=f"{TREE}, K = 3, a free V_theta fitted from a random start, t = 1, 2, 3",
        unit="largest error against V - log Z, nats",
        number=lambda: _off_values(pinned=True),
        unless="V_theta is read as it is, not written through a policy",
        counterfactual=lambda: _off_values(pinned=False),
    ),
    holds(
        "mse-optimum",
        "L_MSE(Z, theta) of complete answers is least at pi* and the true Z.",
        source=f"{POSTER}, the step before Eq. 7",
        read="poster",
        unless="log Z is 0.4 nats too small",
        **off_optimum("value_mse", COMPLETE, instead={"shift": -0.2}),
    ),
    holds_if(
        "mse-one-sample",
        "In L_MSE one sample R/alpha may stand for V, as e^{R/alpha} stands for e^V in Eq. 8.",
        source=f"a reading of {POSTER}, the step before Eq. 7",
        read="poster",
        unless="only complete answers enter (t = T)",
        **off_optimum(
            "value_mse",
            "log Z known, all depths against R/alpha",
            instead={"settings": {"prefixes": "last"}},
        ),
    ),
    holds(
        "mse-variance",
        "L_MSE of complete answers needs no network for log Z: at the best log Z for each policy "
        "it is the variance that is GVPO's loss, 2/alpha^2 times.",
        source=f"of {POSTER}: 'still requires an auxiliary network to approximate'",
        read="poster",
        kind="identity",
        where=f"{TREE}, reference samples, at pi_ref e^R",
        unit="distance of the two gradients, relative",
        number=lambda: _off_variance(held=False),
        unless="log Z is held at what is best for the reference",
        counterfactual=lambda: _off_variance(held=True),
    ),
    holds_if(
        "minus-sign",
        "Between the sum of all e^V and the cross-entropy of Eq. 7 stands a minus sign.",
        source=f"{POSTER}, Eq. 7 as transcribed; the step to Eq. 8 multiplies",
        read="poster",
        where=f"{TREE}, K = 2, t = 1, one sample e^(R/alpha) in the place of each e^V",
        unit="gradient at V, relative to V_theta = 0",
        number=lambda: _minus_sign(known=False),
        unless="V itself is known: then sum and product have the same minimiser",
        counterfactual=lambda: _minus_sign(known=True),
    ),
    holds(
        "vimpo-anchor",
        "V(s_T) = 0 with R paid at the last token, VIMPO's anchor, and V(s_T) = R are the same "
        "condition on the policy.",
        source="VIMPO, arXiv 2606.20008, abstract: 'no future reward remains at the end'",
        read="paper",
        kind="identity",
        where=f"{TREE}, at pi_V, where the anchor V(s_T) = R holds in every answer",
        unit="largest value left at the end, reward",
        number=lambda: _off_anchor(paid="last token"),
        unless="R is not paid on the way",
        counterfactual=lambda: _off_anchor(paid="never"),
    ),
    holds(
        "token-rewards",
        "Where on an answer its reward is paid does not move pi*: rewards per token are not in "
        "this library because nothing here could tell them from their sum.",
        source="derived in this project; soft backward induction with rewards on the way",
        read="third party",
        where=f"{TREE}, random amounts at every token, the rest at the end",
        unit="largest difference of log pi*(token | state), nats",
        number=lambda: _off_optimum_by_token(discount=1.0),
        unless="later rewards are discounted by 0.9",
        counterfactual=lambda: _off_optimum_by_token(discount=0.9),
    ),
]
