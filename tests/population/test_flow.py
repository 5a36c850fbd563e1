"""The flow of a field: where it leads, where it pauses, and what it leaves alone."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from gnivo_edu.population import point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.flow import flow, likeliest, pauses, slow_flow


def test_it_follows_the_field_and_not_its_roots():
    """dx/dt = x - x^3: from either side of 0 to the rest of that side, never to 0 itself."""
    for start, end in ((0.1, 1.0), (-0.1, -1.0), (3.0, 1.0)):
        places = islice(flow(lambda x: x**3 - x, torch.tensor([start])), 200)
        assert float(list(places)[-1][0]) == pytest.approx(end, abs=0.05)


def test_it_keeps_to_the_path_and_counts_what_it_spends():
    """dx/dt = -x: x(t) is read off the second entry, which is the time."""
    calls = 0

    def field(x):
        nonlocal calls
        calls += 1
        return torch.stack([x[0], -torch.ones_like(x[1])])

    for x, slope, spent in islice(flow(field, torch.tensor([2.0, 0.0]).double()), 30):
        assert float(x[0]) == pytest.approx(2 * float((-x[1]).exp()), abs=0.05)
        assert float(slope[0]) == float(x[0])
        assert spent == calls


def test_implicit_steps_follow_what_only_fades_beside_what_is_stiff():
    """dx/dt = e^{-x}, whose x is log t, beside a coordinate a thousand times as fast."""

    def field(x):
        return torch.stack([-(-x[0]).exp(), 1e3 * x[1]])

    def nothing(x, push):
        return torch.zeros(2, dtype=torch.bool)

    start = torch.tensor([0.0, 1.0], dtype=torch.float64)
    *_, (x, _, calls) = slow_flow(field, start, nothing)
    assert float(x[0]) > 15
    assert abs(float(x[1])) < 1e-9
    assert calls < 250


def corner(sign):
    """A field that pushes the first of five answers up (or down) for ever, at unit speed."""
    answers = problem("one step")
    push = torch.zeros(5, dtype=torch.float64)
    push[4] = -sign

    def law_of(point):
        return answers.law(answers.policy(point.logits))

    start = point_at(answers, 0.5)
    return list(pauses(lambda x: push, start, ("logits",), law_of=law_of, answers=answers))


def test_a_push_without_end_leads_to_an_edge_or_leaves_an_answer_behind():
    *_, last = corner(1)
    assert last.kind == "edge"
    assert float(last.law[4]) > 1 - 1e-7
    *_, last = corner(-1)
    assert last.kind == "rest"
    assert float(last.law[4]) < 1e-8


def test_the_likeliest_reward_has_the_mass_of_its_ties():
    answers = problem("one step")  # 0, 0.3, 0.3, 0.7, 1
    law = torch.tensor([0.1, 0.25, 0.25, 0.3, 0.1], dtype=torch.float64)
    reward, mass = likeliest(answers, law)
    assert (reward, mass) == (pytest.approx(0.3), pytest.approx(0.5))
