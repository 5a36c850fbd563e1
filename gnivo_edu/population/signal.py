"""Signal and noise: an objective's expected gradient beside its standard deviation, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from gnivo_edu import exact, objectives
from gnivo_edu.population import Answers, Population, gradient_covariance, point_at

# The policy pi_ref e^{x R/alpha}/Z: pi* at x = 1.
PLACES = {"reference": 0.0, "half-way": 0.5, "near the optimum": 0.9}
REWARDS = ("sparse", "dense")
GROUP_SIZES = (2, 4, 8)
# The others sample from the reference.
ON_POLICY = ("cispo", "dapo", "dr_grpo", "grpo", "gspo", "ppo", "rloo", "vimpo")


@dataclass(frozen=True)
class Noise:
    """One cell. `signal`: norm of the expected gradient with respect to the logits. `variance`:
    trace of the covariance of one group's gradient. `snr`: signal over root variance, per root of
    the number of answers drawn, so that groups of different size are compared at equal cost; a
    batch of M answers has sqrt(M) times it. 0 where there is no signal."""

    objective: str
    rewards: str
    place: str
    group_size: int
    sampling: str
    signal: float
    variance: float

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio per root answer."""
        deviation = math.sqrt(self.group_size * self.variance)
        return self.signal / deviation if self.signal > 1e-12 else 0.0


@cache
def problem(rewards: str) -> Answers:
    """Eight answers of three binary tokens, a random reference.

    "sparse": one answer is right; "dense": the share of ones.

    >>> problem("sparse").rewards.sum().item(), problem("dense").rewards.unique().tolist()[1:3]
    (1.0, [0.3333333333333333, 0.6666666666666666])
    """
    if rewards not in REWARDS:
        raise ValueError(f"rewards must be one of {', '.join(REWARDS)}, got {rewards!r}")
    ones = [bin(i).count("1") for i in range(8)]
    values = [float(i == 5) for i in range(8)] if rewards == "sparse" else [n / 3 for n in ones]
    reference = exact.random_reference(2, 3, seed=1)
    return Answers.of(exact.enumerate_tree_from_rewards(values, 2, reference=reference))


def noise(name: str, rewards: str, place: str, group_size: int, alpha: float = 0.5) -> Noise:
    """One objective at its defaults, at one policy: exact moments over all groups of K answers.

    Groups come from where the objective learns from: the policy itself (`ON_POLICY`) or the
    reference. Critics and explicit values are those of the optimum. Raises ValueError on unknown
    names.

    >>> cell = noise("gvpo", "dense", "reference", 2)
    >>> 0 < cell.snr < 1
    True
    """
    answers = problem(rewards)
    if place not in PLACES:
        raise ValueError(f"place must be one of {', '.join(PLACES)}, got {place!r}")
    point = point_at(answers, alpha, policy=answers.tilted(PLACES[place] * answers.rewards / alpha))
    sampler = "current" if name in ON_POLICY else "reference"
    population = Population.of(answers, group_size, sampler=sampler)
    objective = objectives.get(name)
    mean, covariance = gradient_covariance(objective, population, point=point, alpha=alpha)
    return Noise(
        name,
        rewards,
        place=place,
        group_size=group_size,
        sampling={"current": "on-policy"}.get(sampler, sampler),
        signal=float(mean.norm()),
        variance=float(covariance.trace()),
    )


def signal_and_noise(alpha: float = 0.5, only: str | None = None) -> list[Noise]:
    """Every objective that moves the policy: at three policies, two rewards and three group sizes.

    `group_value`, whose V_theta is no policy, is left out.
    """
    names = [n for n in objectives.names() if n != "group_value"] if only is None else [only]
    return [
        noise(name, rewards, place=place, group_size=group_size, alpha=alpha)
        for name in names
        for rewards in REWARDS
        for place in PLACES
        for group_size in GROUP_SIZES
    ]


def rows(cells: list[Noise]) -> list[dict[str, Any]]:
    """The table of `snr`: a row per objective and kind of reward, a column per policy and size."""
    table: dict[tuple[str, str], dict[str, Any]] = {}
    for c in cells:
        empty = {"objective": c.objective, "rewards": c.rewards}
        row = table.setdefault((c.objective, c.rewards), empty)
        row[f"{c.place}, K={c.group_size}"] = c.snr
    return list(table.values())
