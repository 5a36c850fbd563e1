"""The conditions that docstrings put on their minimisers: each is needed, and each is enough."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Answers, Population, expect, laws, point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.roots import jacobian, rest, slopes
from toy_envs import TokenMDP

ALPHA = 0.5
ZERO, FAR = 1e-10, 1e-4


def push(
    loss: partial[LossOutput], law: torch.Tensor, answers: Answers, sampler: str = "reference"
) -> float:
    """The largest entry of the expected gradient, over pairs, at the policy with this law."""
    population = Population.of(answers, 2, sampler=sampler)
    point = point_at(answers, ALPHA, policy=answers.from_law(law))
    return float(expect(loss, population, point, alpha=ALPHA).gradient["logits"].abs().max())


def ended(vocab_size: int, horizon: int, shortest: int = 1, eos: bool = True) -> Answers:
    """Random rewards and habits; the last token ends an answer, of at least `shortest` tokens."""
    reference = exact.random_reference(vocab_size, horizon, seed=0)
    for table in reference[: shortest - 1]:
        table[:, -1] = -np.inf
        table -= np.logaddexp.reduce(table, axis=1, keepdims=True)
    mdp = TokenMDP(
        vocab_size,
        horizon,
        reward=lambda tokens, lengths: np.zeros(len(tokens)),
        eos_token_id=vocab_size - 1 if eos else None,
    )
    tree = exact.enumerate_tree(mdp, reference)
    reachable = tree.reachable(horizon)
    tree.rewards[reachable] = np.random.default_rng(0).random(len(reachable))
    return Answers.of(tree)


# --- GRPO: a law at every alpha, and token sums ---------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["none", "group"])
def test_grpos_k3_has_a_rest_also_where_alpha_is_below_every_advantage_at_the_reference(scale):
    answers = problem("one step")
    population = Population.of(answers, 2, sampler="current")
    statistic = laws.centred_rewards(scale == "group")
    advantage = partial(laws.mean_given_own, answers, 2, statistic=statistic)
    reference = answers.law(answers.reference)
    point = point_at(answers, ALPHA)
    for alpha in (1.0, 0.25, 0.12, 0.06):
        search = rest(partial(objectives.grpo, scale=scale), population, point, alpha=alpha)
        point = search.point
        law = answers.law(answers.policy(point.logits))
        room = alpha - advantage(law=law)
        assert search.converged
        assert float(room.min()) > 0
        assert float((room - alpha * reference / law).abs().max()) < ZERO
    assert alpha < float(advantage(law=reference).max())


def test_grpos_kl_of_whole_answers_needs_token_sums():
    answers = problem("tree")
    loss = partial(objectives.grpo, kl="sequence", scale="none")
    tilted = laws.tilt(answers, 2 * ALPHA)  # alpha K/(K - 1)
    sums = partial(loss, normaliser="seq-mean-token-sum")
    assert push(sums, tilted, answers, sampler="current") < ZERO
    assert push(loss, tilted, answers, sampler="current") > FAR


# --- value_mse: the conditional mean needs a free log Z -------------------------------------------


def at_depth(batch: GroupBatch, alpha: float, t: int, free: bool) -> LossOutput:
    """value_mse against R/alpha at depth t; `free`: at the best log Z for this policy."""
    cut = replace(batch, mask=batch.mask & (torch.arange(batch.mask.shape[-1]) < t))
    if free:
        best = (cut.rewards / alpha - cut.sequence_logratio).mean(1)
        cut = replace(cut, log_z=batch.group_mean(best).expand(len(best)))
    return objectives.value_mse(cut, alpha, prefixes="last")


@pytest.mark.parametrize("t", [1, 2])
def test_one_depth_of_value_mse_is_the_conditional_mean_if_log_z_is_free(t):
    reference = exact.random_reference(2, 3, seed=2)
    rewards = np.random.default_rng(3).random(8)
    answers = Answers.of(exact.enumerate_tree_from_rewards(rewards, 2, reference=reference))
    law = answers.law(answers.reference)
    mass, weighted = (
        laws.prefix_law(answers, x, depth=t) for x in (law, law * answers.rewards / ALPHA)
    )
    mean = (mass.log() + weighted / mass).softmax(0)
    # The rest of an answer is as the reference writes it.
    fitted = law * (mean / mass)[answers.ends[:, t - 1].unique(return_inverse=True)[1]]
    assert push(partial(at_depth, t=t, free=True), fitted, answers) < ZERO
    assert push(partial(at_depth, t=t, free=False), fitted, answers) > FAR


# --- GN-IVO: means over depths, where the prefix settles T ----------------------------------------


@pytest.mark.parametrize(
    ("answers", "settled"),
    [
        (ended(3, 2), {"mean_max", "mean_min"}),
        (ended(2, 3), {"mean_min"}),  # a chain: answers differ in their length alone
        (ended(3, 3), set()),
    ],
    ids=["two tokens", "a chain", "a tree"],
)
def test_a_mean_over_depths_is_exact_where_the_prefix_settles_the_length(answers, settled):
    for lengths in ("mean_max", "mean_min", "own"):
        loss = partial(objectives.gnivo, lengths=lengths)
        slope = push(loss, laws.tilt(answers, ALPHA), answers)
        assert slope < ZERO if lengths in settled else slope > FAR, (lengths, slope)


# --- group_value: how many constants the loss cannot see ------------------------------------------


@pytest.mark.parametrize(
    ("answers", "constants"),
    [
        (ended(2, 3, eos=False), 3),
        (ended(2, 3, shortest=3), 3),
        (ended(2, 3, shortest=2), 2),
        (ended(2, 3), 1),
    ],
    ids=["no end", "three", "two", "one"],
)
def test_the_constants_of_group_value_are_one_from_the_first_depth_that_can_end(answers, constants):
    population, fields = Population.of(answers, 2), ("prefix_values",)
    point = point_at(answers, ALPHA)

    def field(x: torch.Tensor) -> torch.Tensor:
        moved = point.with_flat(fields, x)
        return slopes(objectives.group_value, population, moved, alpha=ALPHA)["prefix_values"]

    v = point.flat(fields)
    assert float(field(v).abs().max()) < ZERO  # V itself is a rest
    curvature = torch.linalg.svdvals(jacobian(field, v))
    assert int((curvature < 1e-8).sum()) == constants
