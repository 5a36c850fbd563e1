"""Losses under rewards that are turned round: by listing, and where they come to rest."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest

from gnivo_edu import objectives
from gnivo_edu.population import Population, expect, laws, point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims import noise
from gnivo_edu.population.claims.noise import P, turned_round


@pytest.mark.parametrize("of", ["group", "answer"])
def test_the_noise_is_the_average_over_coins(of):
    answers = problem("one step")
    batch = Population.of(answers, 2).batch(point_at(answers, 0.5))
    total = 0.0
    for first in (False, True):
        for second in (False, True):
            if of == "group" and first != second:
                continue
            chance = (P if first else 1 - P) * (P if second else 1 - P)
            if of == "group":
                chance = P if first else 1 - P
            rewards = batch.rewards.clone()
            for place, coin in enumerate((first, second)):
                if coin:
                    rewards[:, place] = 1 - rewards[:, place]
            loss = objectives.gnivo(replace(batch, rewards=rewards), alpha=0.5).loss
            total += chance * float(loss)
    assert float(turned_round(batch, objectives.gnivo, of, alpha=0.5).loss) == pytest.approx(total)


def test_the_curve_is_where_the_losses_rest_with_rewards_of_0_and_1():
    answers = problem("one step")
    answers = replace(answers, rewards=(answers.rewards > 0.5).double())
    population = Population.of(answers, 2)
    for row in noise._temperatures():
        alpha = row["alpha"]
        for loss, name in (
            (objectives.gnivo, "GN-IVO"),
            (objectives.gvpo, "VIMPO and GVPO"),
        ):
            noisy = partial(turned_round, loss=loss, of="group")
            sizes = []
            for temperature in (row[name], 0.9 * row[name]):
                policy = answers.from_law(laws.tilt(answers, temperature))
                point = point_at(answers, alpha, policy=policy)
                slope = expect(noisy, population, point=point, alpha=alpha).gradient["logits"]
                sizes.append(float(slope.norm()))
            assert sizes[0] < 1e-12 * math.exp(1 / alpha)
            assert sizes[1] > 1e-5


def test_a_small_alpha_does_not_help_gn_ivo_against_noise():
    """Its temperature never falls below 1/log((1 - p)/p): the odds of a reward that is true."""
    floor = 1 / math.log((1 - P) / P)
    rows = noise._temperatures()
    assert all(row["GN-IVO"] > floor for row in rows)
    assert rows[0]["GN-IVO"] == pytest.approx(floor, rel=1e-3)
    assert rows[0]["GN-IVO"] > 4 * rows[0]["VIMPO and GVPO"]
