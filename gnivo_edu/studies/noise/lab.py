"""Where methods end under noisy rewards, twice: by counting every group and every coin, and by
training a table on samples.

The problem is small on purpose: answers of two tokens, one right among four, groups of eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import toy_envs
from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.policies import TabularLM, tabulate
from gnivo_edu.population import Answers, Objective, Population, point_at, total_variation
from gnivo_edu.population.flow import flow
from gnivo_edu.population.roots import mass_field, newton
from gnivo_edu.studies.study import Cell
from gnivo_edu.studies.table1.search import K
from gnivo_edu.training import TrainConfig, fine_tune, load_config

ALPHA = 0.2  # of GN-IVO as published, and here of every method that has an anchor
EDGE = 1e-4  # chance of a wrong answer below which the flow is followed no further
PLACES = 80  # on the flow, before Newton's method takes over

# As published, and with the initial model as an anchor that stays: then theory knows the end.
TABLES: dict[str, dict[str, Any]] = {
    "GN-IVO": {"setting": "gnivo"},
    "SFT-winning": {"setting": "sft_winning"},
    "GRPO": {"setting": "grpo"},
    "GN-IVO, anchored": {
        "setting": "gnivo",
        "reference": "initial",
        "sampler": "reference",
        "objective_options": {"weights": "raw", "reward_max": 1.0},
    },
    "GVPO, anchored": {"setting": "gvpo/initial", "objective_options": {"alpha": ALPHA}},
    "VIMPO, anchored": {
        "setting": "vimpo",
        "objective_options": {"alpha": ALPHA, "actor": 0.0, "baseline": "leave_one_out"},
    },
}


def lock() -> toy_envs.CombinationLock:
    """The problem: one right answer of four; every token has a chance of 1/2 at the start."""
    return toy_envs.CombinationLock(vocab_size=2, horizon=2)


def answers() -> Answers:
    """Its answers under the policy that a table starts from."""
    return Answers.of(exact.enumerate_tree(lock(), tabulate(TabularLM.from_mdp(lock()), lock())))


def config_of(method: str, of: str, chance: float, **more: Any) -> TrainConfig:
    """How a table is trained by a method, with this noise."""
    return load_config(
        **TABLES[method],
        model="table",
        task="toy_envs/CombinationLock-v0",
        task_options={"vocab_size": 2, "horizon": 2},
        group_size=K,
        reward_noise=chance,
        reward_noise_of=of,
        **more,
    )


def noisy_groups(
    lab: Answers, of: str, chance: float, sampler: str, size: int = K
) -> tuple[Population, Tensor]:
    """All groups with all falls of their coins, and which rewards [G, K] are turned round in each:
    one coin for a "group", or one for an "answer".
    """
    n = len(lab.rewards)
    if of == "group":
        plain = Population.of(lab, size, sampler)
        flips = torch.tensor([False, True]).repeat_interleave(len(plain.choice))[:, None]
        choice = plain.choice.repeat(2, 1)
        multiplicity = plain.multiplicity.repeat(2)
    else:
        # An answer and its coin make one item of 2n: multisets of items, with multiplicities.
        items = Population.of(exact.enumerate_tree_from_rewards([0.0] * 2 * n, 2 * n), size)
        choice, flips = items.choice % n, items.choice >= n
        multiplicity = items.multiplicity
    coins = torch.where(flips, chance, 1 - chance).double().prod(1)
    groups = Population(
        lab, size, sampler=sampler, choice=choice, multiplicity=multiplicity * coins
    )
    return groups, flips.expand_as(choice)


def turned_round(loss: Objective, flips: Tensor) -> Objective:
    """A loss that sees 1 - R where `flips` says so."""

    def noisy(batch: GroupBatch, **settings: Any) -> LossOutput:
        rewards = torch.where(flips, 1 - batch.rewards, batch.rewards)
        return loss(replace(batch, rewards=rewards), **settings)

    return noisy


@cache
def end(method: str, of: str, chance: float) -> tuple[float, tuple[float, ...]]:
    """Where a method ends under noise, exactly: the chance of a right answer, and the law of all
    four.

    The expected push is followed from the start; near a rest Newton's method makes it exact. A
    method that is pushed on for ever ends at the edge, a right answer.
    """
    config, lab = config_of(method, of=of, chance=chance), answers()
    options = dict(config.objective_options)
    loss: Objective = objectives.get(config.objective)
    if config.reference == "sampler":
        loss = _own_reference(loss)
    sampler = "reference" if config.sampler == "reference" else "current"
    population, flips = noisy_groups(lab, of, chance=chance, sampler=sampler)
    start = point_at(lab, options.get("alpha", ALPHA))
    field = mass_field(turned_round(loss, flips), population, start, **options)

    def law(x: Tensor) -> Float[Tensor, " n"]:
        return lab.law(lab.policy(start.with_flat(("logits",), x).logits))

    for count, (x, push, _) in enumerate(flow(field, start.flat(("logits",)))):
        here = law(x)
        if float(push.abs().max()) < 1e-6 or count == PLACES or wrong(here, lab) < EDGE:
            break
    if wrong(here, lab) >= EDGE:
        x, _, _ = newton(field, x)
        here = law(x)
    return 1 - wrong(here, lab), tuple(here.tolist())


def wrong(law: Float[Tensor, " n"], lab: Answers) -> float:
    """The chance of a wrong answer."""
    return float(law @ (1 - lab.rewards))


def _own_reference(loss: Objective) -> Objective:
    # The reference of a published run is the policy that drew the answers.
    def moving(batch: GroupBatch, **settings: Any) -> LossOutput:
        return loss(replace(batch, reference_logps=batch.behaviour_logps), **settings)

    return moving


def train_table(cell: Cell, folder: Path) -> dict[str, Any]:
    """One run of a table: the law of its answers at the end, and the chance of a right one.

    Rate and number of steps were chosen on seed 1000, under 25% of groups turned round.
    """
    settings, lab = cell.settings, answers()
    config = config_of(
        settings["table"],
        of=settings["of"],
        chance=settings["chance"],
        steps=settings["steps"],
        prompts_per_step=32,
        learning_rate=0.05,
        schedule="cosine",
        max_grad_norm=float("inf"),
        precision="float64",
        seed=cell.seed,
        report_questions=0,
        completions_every=1_000_000,
        save_every=1_000_000,
        out=str(folder / "run"),
    )
    run = fine_tune(config, policy=TabularLM.from_mdp(lock()), task=lock())
    law = lab.law(lab.from_tables(tabulate(run.policy, lock())))
    return {"right": 1 - wrong(law, lab), "law": law.tolist()}


def exact_end(cell: Cell) -> dict[str, Any]:
    """The same two, by counting."""
    settings = cell.settings
    right, law = end(settings["table"], of=settings["of"], chance=settings["chance"])
    return {"right": right, "law": list(law)}


def apart(first: Sequence[float], second: Sequence[float]) -> float:
    """Total variation of two laws of answers."""
    return total_variation(torch.tensor(first), torch.tensor(second))


def ceiling(chance: float, size: int = K, alpha: float = ALPHA) -> float:
    """The chance of a right answer at which GN-IVO stops, as published, when the rewards 0 and 1 of
    whole groups are turned round with some chance; 1 where it does not stop.

    The reference is the policy itself, so an answer is pushed by its softmax weight less 1/K. With
    q the chance of a right answer, right answers hold the weight W(m) in a group with m of them,
    and W'(m) once it is turned round: the push is (1 - p) E[W] + p E[W'] - q.

    >>> round(ceiling(0.25), 3), ceiling(0.1), ceiling(0.25, size=4)
    (0.793, 1.0, 1.0)
    """
    m = np.arange(size + 1)
    heavy = np.exp(1 / alpha)
    clean = m * heavy / (m * heavy + size - m)
    turned = m / (m + (size - m) * heavy)
    weight = (1 - chance) * clean + chance * turned
    ways = np.array([comb(size, k) for k in m.tolist()])

    def push(q: float) -> float:
        return float((ways * q**m * (1 - q) ** (size - m)) @ weight) - q

    low, high = 0.01, 1 - 1e-6
    if push(high) > 0:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if push(middle) > 0 else (low, middle)
    return low
