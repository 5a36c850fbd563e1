"""Every row of the atlas against its theory; the theory against what defines it; and an atlas that
can fail.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Population, expect, laws, point_at, total_variation
from gnivo_edu.population.atlas import (
    atlas,
    baselines,
    entries_of,
    find,
    implicit,
    problem,
    rows_of,
)
from gnivo_edu.population.atlas.row import tilt_at

FIELDS = {
    *(
        "objective",
        "variant",
        "sampling",
        "gradient_norm_at_optimum",
        "tv_from_optimum",
        "kl_from_optimum",
    ),
    *("theory", "theory_error", "evidence", "verdict", "source", "read_in", "command"),
}


@pytest.mark.parametrize("name", objectives.names())
def test_theory_and_computation_agree_in_every_row(name):
    for entry in entries_of(name):
        row = entry.row
        assert entry.agrees, (row.variant, entry.verdict, row.expected, entry.theory_error)
        assert entry.to_json().keys() >= FIELDS
        if row.law is not None:
            assert entry.theory_error < 1e-6
        if entry.verdict == "exact":
            assert entry.gradient_norm_at_optimum < 1e-9, row.variant
        elif row.expected and row.refreshes == 1 and not row.shift:
            assert entry.gradient_norm_at_optimum > 1e-5, row.variant
        if row.expected == "collapses":
            assert entry.theory_error is None
            assert min(entry.evidence["push"]) > 0


def test_a_wrong_theory_is_found_out():
    row = next(row for row in rows_of("gvpo") if row.expected == "exact")
    assert find(row).agrees
    wrong = find(replace(row, law=tilt_at(1.01)))
    assert not wrong.agrees
    assert wrong.theory_error > 1e-4
    assert not find(replace(row, expected="biased")).agrees


def test_a_wrong_sign_in_an_objective_is_found_out(monkeypatch):
    def broken(batch, alpha=0.1):
        return objectives.gvpo(replace(batch, rewards=-batch.rewards), alpha)

    monkeypatch.setitem(objectives._REGISTRY, "gvpo", broken)
    assert not find(rows_of("gvpo")[0]).agrees


def test_a_new_objective_appears_by_itself(monkeypatch):
    def centred(batch, alpha=0.1):
        """REINFORCE with the mean of the group as baseline."""
        advantage = batch.rewards - batch.rewards.mean(1, keepdim=True)
        logp = batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)
        return LossOutput(batch.group_mean(-(advantage * logp).mean(1)))

    monkeypatch.setitem(objectives._REGISTRY, "centred", centred)
    report = atlas("centred")
    assert [row["sampling"] for row in report["rows"]] == ["reference", "on-policy", "uniform"]
    assert report["rows"][1]["verdict"] == "collapses"
    assert report["passed"]


def test_softmax_weights_err_less_in_larger_groups():
    row = next(
        row for row in rows_of("gnivo") if row.variant.startswith("softmax weights, all depths")
    )
    misses = [find(replace(row, group_size=K)).tv_from_optimum for K in (2, 3, 4)]
    assert misses == sorted(misses, reverse=True)


def test_the_pull_of_oreos_kl_term_grows_with_its_weight():
    found = [find(row).tv_from_optimum for row in rows_of("oreo") if "a KL term" in row.variant]
    assert 1e-4 < found[0] < found[1]


def test_vimpos_actor_climbs_the_kl_by_exactly_its_gradient():
    """E[A grad log pi] = alpha sum_s visits(s) grad KL(s), the visits held fixed."""
    answers = problem("tree")
    policy = answers.policy(
        torch.randn(answers.reference.shape, generator=torch.Generator().manual_seed(3)).double()
    )
    actor = next(row for row in rows_of("vimpo") if row.expected == "collapses")
    got = expect(
        actor.loss, Population.of(answers, 2, "current"), point_at(answers, 0.5, policy)
    ).gradient["logits"]
    logits = policy.masked_fill(~answers.legal, 0.0).requires_grad_()
    visits = answers.visits(policy)
    tokens = float(answers.law(policy) @ answers.lengths.double())
    climb = torch.autograd.grad((visits * answers.kl(answers.policy(logits))).sum(), logits)[0]
    torch.testing.assert_close(got, -0.5 * climb / tokens, rtol=0, atol=1e-14)


# --- the laws against what defines them -----------------------------------------------------------


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


def test_the_laws_of_grpo_solve_their_own_equations():
    answers, alpha, K = problem("one step"), 2.0, 3
    for scale in (False, True):
        law = laws.grpo_one_step(answers, alpha, K, scale)
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


def test_the_objectives_of_the_papers_have_rows_with_a_theory():
    families = {row.objective for row in (*implicit.ROWS, *baselines.ROWS)}
    assert len(families) == 13
    assert families <= set(objectives.names())
    assert all(row.expected for name in families for row in rows_of(name))
