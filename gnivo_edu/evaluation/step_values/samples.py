"""The answers of a group, with fresh continuations of their beginnings and the scores of both
models: what step values are estimated from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gnivo_edu.evaluation.step_values.asked import Asked, Row
from gnivo_edu.evaluation.step_values.continuations import Budget, Continuations
from gnivo_edu.evaluation.step_values.estimate import Estimate, estimate_log_z
from gnivo_edu.exact import Array


@dataclass(frozen=True, eq=False)
class Samples:
    """K answers to one prompt, the group, and what was drawn to find their values; float64.

    `steps`: step ids of each answer. `rewards` [K] of the group, `rewards_after[prefix]` [N] of the
    fresh answers of the reference that start with a prefix. `policy_logps`, `reference_logps`: log
    pi and log pi_ref of every token, nats, of the group and then of the fresh answers from the
    empty prefix on.
    """

    group: list[Row]
    drawn_by_policy: bool
    steps: list[NDArray[np.int64]]
    rewards: Array
    rewards_after: dict[Row, Array]
    policy_logps: list[Array]
    reference_logps: list[Array]

    @property
    def binary(self) -> bool:
        """Whether every reward is 0 or 1."""
        rewards = np.concatenate([self.rewards, *self.rewards_after.values()])
        return bool(np.isin(rewards, (0.0, 1.0)).all())

    @property
    def all_alike(self) -> bool:
        """Whether every answer and every continuation earned the same."""
        return len(set(np.concatenate([self.rewards, *self.rewards_after.values()]).tolist())) == 1

    def log_z(self, alpha: float, level: float) -> Estimate:
        """log Z, nats, an average over the answers whose writer is known.

        Those are the fresh ones from the reference, and the group too if the policy drew it.
        Answers that a caller brought have no known writer.
        """
        rewards = np.concatenate([self.rewards, self.rewards_after[()]])
        first = 0 if self.drawn_by_policy else len(self.group)
        return estimate_log_z(
            rewards[first:],
            policy_logps=[row.sum() for row in self.policy_logps[first:]],
            reference_logps=[row.sum() for row in self.reference_logps[first:]],
            from_policy=(np.arange(len(rewards)) < len(self.group))[first:],
            alpha=alpha,
            level=level,
            binary=self.binary,
        )


def draw_samples(
    asked: Asked,
    policy: nn.Module,
    reference: nn.Module,
    group: list[Row],
    drawn_by_policy: bool,
    continuations: int,
    names: tuple[str, str],
    budget: Budget,
) -> Samples:
    """A group of answers with fresh continuations of the reference and the scores of both models,
    which are called `names`.

    Every beginning is continued `continuations` times, and on where intervals are widest as long as
    the budget lasts.
    """
    steps = [asked.task.step_ids(np.array([row]), [len(row)])[0] for row in group]
    fresh = Continuations(asked, reference, group, steps=steps)
    fresh.draw_evenly(continuations, budget)
    fresh.draw_widest(budget)
    budget.say("scoring the answers")
    scores = [asked.scores(model, [*group, *fresh.rows[()]]) for model in (policy, reference)]
    for name, logps in zip(names, scores, strict=True):
        written = [bool(np.isfinite(row).all()) for row in logps[: len(group)]]
        if not all(written):
            raise ValueError(f"{name} cannot write answer {written.index(False)}: give another one")
    return Samples(
        group=group,
        drawn_by_policy=drawn_by_policy,
        steps=steps,
        rewards=asked.rewards(group),
        rewards_after={prefix: np.array(fresh.rewards[prefix]) for prefix in fresh.rows},
        policy_logps=scores[0],
        reference_logps=scores[1],
    )
