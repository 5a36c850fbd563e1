"""Algorithm 1 of GN-IVO on a TabularLM, small enough to hold its own answer key."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from gnivo_edu import exact, objectives
from gnivo_edu.machine import one_thread
from gnivo_edu.policies import TabularLM, make_group_batch, sample_groups, tabulate
from gnivo_edu.training.depths import depths_of_step
from gnivo_edu.training.rollout import frozen
from gnivo_edu.training.settings import takes_depths

Array = exact.Array


@dataclass(frozen=True)
class TrainingRecord:
    """Where training stands after a number of groups.

    `kl` KL(pi* || pi_theta) over complete answers, nats; `value_error` the largest |log
    pi_theta/pi_ref + log Z - V| over prefixes, nats; both against the answer key of the current
    reference. `loss` and `gradient_norm` are those of the last step. `refreshes` counts how often
    the reference has moved.
    """

    groups: int
    kl: float
    value_error: float
    loss: float
    gradient_norm: float
    refreshes: int


@dataclass(frozen=True)
class TrainingRun:
    """The trained policy, its records, the tables of pi_theta at each record, and the answer key it
    was held to.
    """

    policy: TabularLM
    records: list[TrainingRecord]
    tables: list[exact.Tables]
    key: exact.Solution

    def credits(self, record: int, answer: tuple[int, ...]) -> list[float]:
        """Step credits log pi_theta/pi_ref read off the policy at a record, nats."""
        tables, tree = self.tables[record], self.key.tree
        steps = [(*tree.index(answer[:t]), token) for t, token in enumerate(answer)]
        return [
            float(tables[t][number, token] - tree.step_logps[t][number, token])
            for t, number, token in steps
        ]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The records as plain dictionaries."""
        return [asdict(record) for record in self.records]


@one_thread()
def train(
    mdp: Any,
    alpha: float,
    group_size: int = 8,
    steps: int = 1000,
    groups_per_step: int = 16,
    learning_rate: float = 0.05,
    refresh_every: int | None = None,
    objective: str = "gnivo",
    record_at: Iterable[int] = (),
    seed: int = 0,
    prompt_index: int = 0,
    on_record: Callable[[TrainingRecord], None] | None = None,
    **settings: Any,
) -> TrainingRun:
    """Sample groups from pi_old, take a gradient step on the objective, and now and then set pi_old
    <- pi_theta.

    The policy starts at the environment's own reference, else uniform. With `refresh_every=None`
    pi_old stays there: the optimum is pi* at this alpha. Otherwise it moves every so many steps,
    and the answer key moves with it: 1 is the poster's Algorithm 1, for which rho = 0 at every step
    (see `objectives.gnivo`). `settings` go to the objective; raw weights get `reward_max` = 1, the
    largest reward of a toy environment, unless told otherwise; with prefixes="given" each step
    draws one depth a group, uniform on 1..horizon. A record is taken at the
    start, after each number of groups in `record_at`, and at the end. Adam, with the learning rate
    going down to zero along a half cosine. Deterministic given `seed`.

    Source: poster of GN-IVO, Algorithm 1. Departures: several groups a step; Adam; a schedule;
    `refresh_every`. Raises ValueError on an unknown objective, alpha <= 0, or a group of fewer than
    two.

    >>> import toy_envs
    >>> run = train(toy_envs.RandomTree(vocab_size=2, horizon=2), alpha=0.5, steps=60, seed=1)
    >>> run.records[-1].kl < run.records[0].kl / 10
    True
    """
    exact.check_alpha(alpha)
    if group_size < 2:
        raise ValueError(f"a group has at least 2 answers, got group_size={group_size}")
    loss_of = objectives.get(objective)
    if objective in ("gnivo", "group_value") and settings.get("weights", "raw") in (
        "raw",
        "completion",
    ):
        settings.setdefault("reward_max", 1.0)
    draws_depths = takes_depths(loss_of, settings) and "depths" not in settings
    policy = TabularLM.from_mdp(mdp)
    reference, key = (
        frozen(policy),
        _answer_key(policy, mdp, alpha=alpha, prompt_index=prompt_index),
    )
    optimiser = torch.optim.Adam(policy.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    prompts = torch.full((groups_per_step,), prompt_index)
    pending = sorted(set(record_at))
    records: list[TrainingRecord] = []
    tables: list[exact.Tables] = []
    loss, norm, refreshes = math.nan, math.nan, 0

    def record(groups: int) -> None:
        tables.append(tabulate(policy, mdp, prompt_index=prompt_index))
        kl, error = distance_from_key(tables[-1], key)
        records.append(
            TrainingRecord(
                groups,
                kl,
                value_error=error,
                loss=loss,
                gradient_norm=norm,
                refreshes=refreshes,
            )
        )
        if on_record:
            on_record(records[-1])

    record(0)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        if refresh_every and step and step % refresh_every == 0:
            reference, refreshes = frozen(policy), refreshes + 1
            key = _answer_key(policy, mdp, alpha=alpha, prompt_index=prompt_index)
        samples = sample_groups(
            reference, mdp, group_size=group_size, prompt_index=prompts, generator=generator
        )
        if draws_depths:
            horizon = settings.get("horizon") or mdp.horizon
            settings["depths"] = depths_of_step(seed, step, count=groups_per_step, horizon=horizon)
        out = loss_of(make_group_batch(policy, mdp, samples=samples), alpha=alpha, **settings)
        optimiser.zero_grad()
        out.loss.backward()
        loss = float(out.loss.detach())
        gradients = [p.grad for p in policy.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        optimiser.step()
        groups = (step + 1) * groups_per_step
        if step + 1 == steps or (pending and groups >= pending[0]):
            record(groups)
            pending = [n for n in pending if n > groups]
    return TrainingRun(policy, records, tables=tables, key=key)


def distance_from_key(tables: exact.Tables, key: exact.Solution) -> tuple[float, float]:
    """KL(pi* || pi_theta) over complete answers and the largest error of the implicit value, both
    in nats.

    The implicit value of a prefix is log pi_theta/pi_ref of it, plus log Z. Prefixes of probability
    zero are left out.
    """
    tree = key.tree
    logps: Array = np.zeros(1)
    error = 0.0
    for t, table in enumerate(tables, start=1):
        logps = (logps[:, None] + table).ravel()
        reachable = tree.reachable(t)
        implicit = logps[reachable] - tree.prefix_logps[t][reachable] + key.log_z
        error = max(error, float(np.abs(implicit - key.values[t][reachable]).max()))
    optimal = (tree.prefix_logps[-1] + key.values[-1] - key.log_z)[reachable]
    return float(np.exp(optimal) @ (optimal - logps[reachable])), error


def _answer_key(policy: TabularLM, mdp: Any, alpha: float, prompt_index: int) -> exact.Solution:
    tables = tabulate(policy, mdp, prompt_index=prompt_index)
    return exact.solve(exact.enumerate_tree(mdp, tables, prompt_index=prompt_index), alpha)
