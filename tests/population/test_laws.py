"""The laws of answers that theory states, against what defines them."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from gnivo_edu.population import laws, total_variation
from gnivo_edu.population.atlas import problem


def test_the_law_of_the_best_of_k_is_that_of_all_tuples():
    answers = problem("one step")
    p, R = answers.law(answers.reference), answers.rewards
    law = torch.zeros_like(p)
    for choice in product(range(len(p)), repeat=3):
        drawn = torch.tensor(choice)
        best = drawn[R[drawn] == R[drawn].max()]
        law.index_add_(0, best, (p[drawn].prod() / len(best)).expand(len(best)))
    torch.testing.assert_close(laws.best_of(answers, 3, p), law, rtol=0, atol=1e-14)


def test_the_vimpo_law_has_no_residual():
    """sum_t (alpha log pi/pi_ref - alpha KL(s_t)) = R - E R at every answer."""
    answers, alpha = problem("tree"), 0.4
    law = laws.vimpo_law(answers, alpha)
    policy = answers.from_law(law)
    ratio = (answers.token_logps(policy) - answers.token_logps(answers.reference)).sum(-1)
    kl = answers.kl(policy)[answers.states].masked_fill(~answers.mask, 0.0).sum(-1)
    residual = alpha * (ratio - kl) - (answers.rewards - law @ answers.rewards)
    assert float(residual.abs().max()) < 1e-13
    assert total_variation(law, laws.tilt(answers, alpha)) > 0.01


def test_a_law_that_pays_for_later_kl_is_the_optimum_at_its_own_price_alone():
    answers, alpha = problem("tree"), 0.4
    best = laws.tilt(answers, alpha)
    paid, dear = (laws.vimpo_law(answers, alpha, price=price) for price in (alpha, 1.5 * alpha))
    assert total_variation(paid, best) < 1e-14
    assert total_variation(dear, best) > 1e-3


def test_a_small_grpo_actor_tilts_as_its_advantages_say():
    """alpha (h - E h) = R - E R, both at 1 - 1/K, plus actor/alpha times A."""
    answers, alpha, K, actor = problem("one step"), 0.5, 3, 0.02
    law = laws.vimpo_with_grpo(answers, alpha, actor=actor, K=K)
    h = (law / answers.law(answers.reference)).log()
    advantage = laws.mean_given_own(answers, K, law, laws.centred_rewards(True, floor=1e-6))
    nats = (1 - 1 / K) * answers.rewards / alpha + actor / alpha**2 * advantage
    gap = h - law @ h - (nats - law @ nats)
    assert float(gap.abs().max()) < 1e-12
    assert total_variation(law, laws.vimpo_with_grpo(answers, alpha, actor=0.0, K=K)) > 1e-3


def test_the_laws_of_grpo_solve_their_own_equations():
    answers, alpha, K = problem("one step"), 2.0, 3
    for scale in (False, True):
        law = laws.grpo_by_state(answers, alpha, K, scale)
        A = laws.mean_given_own(answers, K, law, laws.centred_rewards(scale))
        assert float(law.sum()) == pytest.approx(1.0, abs=1e-12)
        assert float(law @ A) == pytest.approx(0.0, abs=1e-12)
        torch.testing.assert_close(
            law * (alpha - A), alpha * answers.law(answers.reference), rtol=0, atol=1e-12
        )


def test_dro_with_a_wrong_value_obeys_proposition_1():
    answers, alpha = problem("tree"), 0.5
    mu = answers.law(answers.reference)
    value = alpha * float((mu @ (answers.rewards / alpha).exp()).log()) - 0.2
    law = laws.dro_wrong_value(answers, alpha, value, mu)
    h = (law / mu).log()
    own = float(mu @ (answers.rewards - alpha * h))
    torch.testing.assert_close(
        alpha * h, answers.rewards - value - law / mu * (own - value), rtol=0, atol=1e-10
    )
    assert float(law.sum()) == pytest.approx(1.0, abs=1e-12)


def test_a_mean_given_ones_own_answer_averages_to_the_mean_over_groups():
    answers = problem("one step")
    p = answers.law(answers.reference)
    centred = laws.mean_given_own(answers, 3, p, laws.centred_rewards(False))
    torch.testing.assert_close(
        centred, (1 - 1 / 3) * (answers.rewards - p @ answers.rewards), rtol=0, atol=1e-14
    )
