"""Fit a network to the exact population loss, to machine precision: Gauss-Newton through the
network's Jacobian.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gnivo_edu import exact, objectives
from gnivo_edu.exact.measures import spread
from gnivo_edu.exact.tree import prefix_log_law
from gnivo_edu.machine import one_thread
from gnivo_edu.policies import evaluating, next_token_logps, tabulate
from gnivo_edu.population import Answers, Population, point_at
from gnivo_edu.training.algorithm1 import distance_from_key
from toy_envs import TokenMDP

MAX_BYTES = 2**30  # of the Jacobian
# Relative to the mean curvature: a step this short that does not help will not help shorter.
MAX_DAMPING = 1e6


@dataclass(frozen=True)
class FitRecord:
    """Where the fit stands: the exact expected loss, the norm of its gradient, and the distance
    from the answer key.

    `spread`: largest minus smallest log pi_theta/pi_ref - V over the prefixes of one depth, at the
    worst depth; `value_error`: largest |log pi_theta/pi_ref + log Z - V| over prefixes; `kl`:
    KL(pi* || pi_theta) over complete answers. All three in nats, from enumeration.
    """

    iteration: int
    loss: float
    gradient_norm: float
    spread: float
    value_error: float
    kl: float


@dataclass(frozen=True)
class PopulationFit:
    """The records, first to last, the answer key, and whether the gradient has vanished."""

    records: list[FitRecord]
    key: exact.Solution
    converged: bool
    seconds: float


@one_thread()
def fit_population(
    policy: nn.Module,
    mdp: TokenMDP,
    alpha: float,
    group_size: int = 2,
    objective: str = "gnivo",
    reference: nn.Module | None = None,
    prompt_index: int = 0,
    max_iterations: int = 60,
    tolerance: float = 1e-10,
    progress: Callable[[str], None] | None = None,
) -> PopulationFit:
    """Minimise an objective's exact expected loss over all groups of answers, over the parameters
    of `policy`.

        step = - J^T (H J J^T + lambda)^{-1} g = - (J^T H J + lambda)^{-1} J^T g

    x holds the log-probability of every token in every state; J = dx/dtheta, and g and H are the
    gradient and the Hessian of the expected loss in x. The step is damped by lambda until the loss
    falls. What takes a thousand steps of a first-order method takes about ten of these, and the
    gradient goes to zero in float64: no plateau is mistaken for a minimum.

    `policy`: any causal LM in float64, changed in place. Answers are drawn from `reference`, which
    is also the reference policy; by default the policy as it comes. `objective`: one that is convex
    in the log-probabilities, "gnivo" or "gvpo". Ends when the gradient's norm is `tolerance` times
    the first, or when no step lowers the loss. Raises ValueError on a policy that is not float64,
    and on one with too many parameters.

    Source: Schraudolph (2002), Neural Computation 14:1723, the generalised Gauss-Newton matrix.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import RandomTree
    >>> mdp = RandomTree(vocab_size=2, horizon=3)
    >>> fit = fit_population(TabularLM.from_mdp(mdp), mdp, alpha=0.5)
    >>> fit.converged, fit.records[-1].spread < 1e-9, fit.records[-1].kl < 1e-12
    (True, True, True)
    """
    start = time.perf_counter()
    with evaluating(policy):
        problem = _Problem(
            policy,
            mdp,
            alpha=alpha,
            group_size=group_size,
            objective=objective,
            reference=reference,
            prompt_index=prompt_index,
        )
        records: list[FitRecord] = []
        scores, damping, converged = problem.score(), 1e-2, False
        for iteration in range(max_iterations + 1):
            jacobian = problem.jacobian(scores)
            loss, gradient, hessian = problem.derivatives(scores.detach())
            norm = float((jacobian.T @ gradient).norm())
            records.append(problem.record(iteration, loss, gradient_norm=norm))
            if progress:
                progress(
                    f"Gauss-Newton step {iteration}: gradient {norm:.1e}, KL {records[-1].kl:.1e} "
                    "nats"
                )
            converged = norm <= tolerance * records[0].gradient_norm
            if converged or iteration == max_iterations:
                break
            scores, damping = problem.step(
                loss, gradient, hessian=hessian, jacobian=jacobian, damping=damping
            )
            if damping > MAX_DAMPING:
                break
    seconds = time.perf_counter() - start
    return PopulationFit(records, problem.key, converged=converged, seconds=seconds)


class _Problem:
    """The expected loss as a function of x, the log-probability of each token in each state, and x
    of the network.
    """

    def __init__(
        self,
        policy: nn.Module,
        mdp: TokenMDP,
        alpha: float,
        group_size: int,
        objective: str,
        reference: nn.Module | None,
        prompt_index: int,
    ) -> None:
        self.policy, self.mdp, self.prompt_index = policy, mdp, prompt_index
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        if any(p.dtype != torch.float64 for p in self.parameters):
            raise ValueError("an exact fit needs float64: make the policy with dtype=torch.float64")
        tables = tabulate(reference or policy, mdp, prompt_index=prompt_index)
        tree = exact.enumerate_tree(mdp, tables, prompt_index=prompt_index)
        self.key, self.answers = exact.solve(tree, alpha), Answers.of(tree)
        tokens, mask, (T, V) = self.answers.tokens, self.answers.mask, (mdp.horizon, mdp.vocab_size)
        # Each token in each state, and the first answer that takes it; answers that differ in their
        # last token share what the network is fed.
        code = (self.answers.states * V + tokens).where(mask, -1)
        codes, where = np.unique(code.flatten().numpy(), return_index=True)
        self.codes, first = (torch.from_numpy(x[codes >= 0]) for x in (codes, where))
        self.fed, row = tokens.where(mask, mdp.pad_token_id)[:, :-1].unique(
            dim=0, return_inverse=True
        )
        self.place = (row[first // T] * T + first % T) * V + tokens.flatten()[first]
        size = 8 * len(self.codes) * sum(p.numel() for p in self.parameters)
        if size > MAX_BYTES:
            raise ValueError(
                f"the Jacobian takes {size / 2**20:,.0f} MiB: take a smaller network or environment"
            )
        population = Population.of(self.answers, group_size)
        self.choice = population.choice
        self.batch = population.batch(point_at(self.answers, alpha))
        self.objective, self.settings = objectives.get(objective), {"alpha": alpha}
        if objective == "gnivo":
            self.settings["reward_max"] = float(self.answers.rewards.max())

    def score(self) -> Float[Tensor, " X"]:
        """x of the network as it is, differentiable."""
        logps = next_token_logps(
            self.policy, self.mdp, prefixes=self.fed, prompt_index=self.prompt_index
        )
        return logps.flatten()[self.place]

    def jacobian(self, scores: Float[Tensor, " X"]) -> Float[Tensor, "X P"]:
        """dx / dtheta."""
        eye = torch.eye(len(scores), dtype=torch.float64)
        rows = torch.autograd.grad(
            scores, self.parameters, eye, is_grads_batched=True, materialize_grads=True
        )
        return torch.cat([row.flatten(1) for row in rows], 1)

    def loss(self, scores: Float[Tensor, " X"]) -> Float[Tensor, ""]:
        """The expected loss; x is not assumed to be normalised."""
        table = torch.zeros(self.answers.reference.numel(), dtype=torch.float64).index_put(
            (self.codes,), scores
        )
        logps = self.answers.token_logps(table.view_as(self.answers.reference))
        batch = replace(self.batch, policy_logps=logps[self.choice])
        return self.objective(batch, **self.settings).loss

    def derivatives(
        self, scores: Float[Tensor, " X"]
    ) -> tuple[float, Float[Tensor, " X"], Float[Tensor, "X X"]]:
        """The expected loss, its gradient and its Hessian in x."""
        x = scores.clone().requires_grad_()
        loss = self.loss(x)
        (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
        (hessian,) = torch.autograd.grad(
            gradient, x, torch.eye(len(x), dtype=torch.float64), is_grads_batched=True
        )
        return float(loss.detach()), gradient.detach(), hessian

    def step(
        self, loss: float, gradient: Tensor, hessian: Tensor, jacobian: Tensor, damping: float
    ) -> tuple[Float[Tensor, " X"], float]:
        """Move the network, damped until the loss does not rise; returns x there and the damping to
        go on with.
        """
        here = parameters_to_vector(self.parameters).detach()
        curvature = hessian @ (jacobian @ jacobian.T)
        scale = curvature.trace() / len(curvature)
        eye = torch.eye(len(curvature), dtype=torch.float64)
        while damping <= MAX_DAMPING:
            move = jacobian.T @ torch.linalg.solve(curvature + damping * scale * eye, gradient)
            vector_to_parameters(here - move, self.parameters)
            scores = self.score()
            if float(self.loss(scores.detach())) <= loss:
                return scores, damping / 10
            damping *= 4
        vector_to_parameters(here, self.parameters)
        return self.score(), damping

    def record(self, iteration: int, loss: float, gradient_norm: float) -> FitRecord:
        """Measured on the tables of the network, which the fit does not use."""
        tables, tree = (
            tabulate(self.policy, self.mdp, prompt_index=self.prompt_index),
            self.key.tree,
        )
        laws = prefix_log_law(tables)
        # Prefixes out of reach have probability 0, and no ratio.
        gaps = [
            spread(laws[t][seen] - tree.prefix_logps[t][seen] - self.key.values[t][seen])
            for t, seen in ((t, tree.reachable(t)) for t in range(1, tree.horizon + 1))
        ]
        kl, error = distance_from_key(tables, self.key)
        return FitRecord(
            iteration,
            loss,
            gradient_norm=gradient_norm,
            spread=max(gaps),
            value_error=error,
            kl=max(kl, 0.0),
        )
