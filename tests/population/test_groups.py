"""All groups: multisets against K-tuples, mixtures of samplers, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.population import Population, expect, sampling_policy
from gnivo_edu.population.atlas import problem
from tests.population.problems import ALPHA, moved


@pytest.mark.parametrize(
    "sampler", ["reference", "current", "uniform", {"reference": 0.3, "uniform": 0.7}]
)
@pytest.mark.parametrize("name", objectives.names())
def test_multisets_with_their_multiplicities_give_what_all_tuples_give(answers, name, sampler):
    point = moved(answers)
    listed = [Population.of(answers, 3, sampler, ordered=ordered) for ordered in (False, True)]
    few, all_of_them = (
        expect(objectives.get(name), population, point, alpha=ALPHA) for population in listed
    )
    assert few.loss == pytest.approx(all_of_them.loss, abs=1e-12)
    for field in point.FIELDS:
        torch.testing.assert_close(
            few.gradient[field], all_of_them.gradient[field], rtol=0, atol=1e-12
        )


def test_a_mixture_draws_whole_answers_from_its_parts(answers):
    mixed = answers.law(sampling_policy(answers, {"reference": 0.25, "uniform": 0.75}, None))
    uniform = answers.law(sampling_policy(answers, "uniform", None))
    torch.testing.assert_close(
        mixed, 0.25 * answers.law(answers.reference) + 0.75 * uniform, rtol=0, atol=1e-14
    )


def test_eight_of_sixteen_answers_are_listed_exactly():
    """The number of groups, their total probability, and GVPO's zero gradient at pi* under any
    sampler, at K = 8.
    """
    answers = problem("16 answers")
    population = Population.of(answers, 8, "uniform")
    assert len(population.choice) == math.comb(23, 8) == 490_314
    weight = population.weights(sampling_policy(answers, "uniform", None))
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(population.multiplicity.sum()) == 16.0**8


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda a: Population.of(a, 0), "group_size must be at least 1"),
        (lambda a: Population.of(a, 40), "too many to list"),
        (lambda a: Population.of(a, 2, draws=500, sampler="current"), "list them all"),
        (lambda a: Population.of(a, 2, draws=5), "at least 100 groups"),
        (
            lambda a: sampling_policy(a, "refernce", None),
            "sampler must be one of reference, current, uniform",
        ),
        (lambda a: sampling_policy(a, {"reference": 0.7}, None), "sum 1"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(answers, build, says):
    with pytest.raises(ValueError, match=says) as error:
        build(answers)
    assert "\n" not in str(error.value)
