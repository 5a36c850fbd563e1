"""The answers of questions.py against plain loops, formulas, and the library's losses."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import exact, objectives, policies
from gnivo_edu.batch import GroupBatch
from gnivo_edu.course import check
from gnivo_edu.population import questions, ties
from tests.population.conftest import ALPHA


def on_policy(mdp, policy, reference, size=3):
    """Every group of answers drawn from the policy."""
    return policies.make_group_batch(
        policy, mdp, policies.all_groups(mdp, policies.tabulate(policy, mdp), size), reference
    )


def one(batch, n):
    """Group n alone."""
    fields = ("policy_logps", "behaviour_logps", "reference_logps", "rewards", "mask")
    return GroupBatch(**{name: getattr(batch, name)[n : n + 1].detach() for name in fields})


def test_on_policy_the_loss_is_zero_and_the_push_is_the_advantage_over_the_group_size(brackets):
    batch = on_policy(*brackets, size=2)
    paid = batch.rewards - ALPHA * batch.sequence_logratio.detach()
    for n in range(0, len(paid), 37):
        loss, push = questions.loss_and_push(objectives.rloo, one(batch, n), alpha=ALPHA)
        advantage = paid[n] - paid[n].flip(0)  # two answers: against the other
        assert abs(loss) < 1e-13
        torch.testing.assert_close(
            push[0], (advantage / 2)[:, None] * batch.mask[n], rtol=0, atol=1e-14
        )
        assert advantage.abs().max() == 0 or push.norm() > 0


def test_off_policy_the_loss_is_not_zero(tree):
    mdp, reference, writer, *_ = tree
    batch = policies.make_group_batch(
        writer, mdp, policies.all_groups(mdp, policies.tabulate(reference, mdp), 2), reference
    )
    losses = [
        abs(questions.loss_and_push(objectives.rloo, one(batch, n), alpha=ALPHA)[0])
        for n in range(1, 8)
    ]
    assert min(losses) > 1e-4


def test_gvpo_pushes_alpha_times_as_rloo_does_in_every_group(brackets):
    batch = on_policy(*brackets, size=2)
    for n in range(0, len(batch.rewards), 23):
        (_, rloo), (_, gvpo) = (
            questions.loss_and_push(f, one(batch, n), alpha=ALPHA)
            for f in (objectives.rloo, objectives.gvpo)
        )
        torch.testing.assert_close(gvpo, ALPHA * rloo, rtol=0, atol=1e-14)


def test_with_a_kl_term_the_loss_on_show_is_alpha_times_the_kl_estimate(tree):
    mdp, reference, writer, *_ = tree
    batch = on_policy(mdp, writer, reference)
    out = objectives.grpo(batch, alpha=0.04, kl="k3")
    assert out.loss.item() == pytest.approx(0.04 * out.metrics["kl"].item(), rel=1e-12)
    assert out.loss.item() > 0


def test_a_loss_of_an_explicit_value_is_pushed_where_it_learns(tree):
    mdp, reference, writer, *_ = tree
    record = ties.full_record(
        mdp, writer, reference, policies.all_groups(mdp, policies.tabulate(writer, mdp), 2), ALPHA
    )
    _, push = questions.loss_and_push(objectives.group_value, record, alpha=ALPHA)
    rho, rewards = record.prefix_logratio.detach().numpy(), record.rewards.numpy()
    weight = record.group_weight.numpy()
    for n in range(0, 64, 9):
        expected = check.gnivo_gradient_weights.reference(rho[n], rewards[n], ALPHA) * weight[n]
        np.testing.assert_allclose(push[n].numpy(), expected, atol=1e-13)


def test_the_share_not_explained_is_one_at_the_reference_and_zero_at_the_best_policy(tree):
    mdp, reference, writer, best, _ = tree
    groups = policies.all_groups(mdp, policies.tabulate(writer, mdp), 2)  # any sampler will do
    share = {
        name: questions.unexplained(
            policies.make_group_batch(policy, mdp, groups, reference), ALPHA
        )
        for name, policy in (("reference", reference), ("writer", writer), ("best", best))
    }
    assert share["reference"] == pytest.approx(1, abs=1e-13)
    assert share["best"] < 1e-13
    batch = policies.make_group_batch(writer, mdp, groups, reference)
    top = bottom = 0.0
    for weight, R, h in zip(
        batch.group_weight, batch.rewards, batch.sequence_logratio.detach(), strict=True
    ):
        for i in range(2):
            target = R[i] - R.mean()
            top += float(weight * (target - ALPHA * (h[i] - h.mean())) ** 2)
            bottom += float(weight * target**2)
    assert share["writer"] == pytest.approx(math.sqrt(top / bottom), rel=1e-12)
    assert math.isnan(
        questions.unexplained(replace(batch, rewards=torch.ones_like(batch.rewards)), ALPHA)
    )


def test_k1_has_the_right_value_and_no_slope(tree):
    mdp, reference, writer, *_ = tree
    law, other = (
        policies.all_groups(mdp, policies.tabulate(m, mdp), 1).logps.sum((1, 2))
        for m in (writer, reference)
    )
    kl = float(law.exp() @ (law - other))
    (k1, flat), (k2, slope2), (k3, slope3) = (
        questions.kl_in_the_loss(mdp, writer, reference, k) for k in ("k1", "k2", "k3")
    )
    assert k1 == pytest.approx(kl, abs=1e-14)
    assert k3 == pytest.approx(kl, abs=1e-14)
    assert k2 == pytest.approx(float(law.exp() @ (law - other) ** 2) / 2, abs=1e-14)
    assert flat < 1e-13
    assert min(slope2, slope3) > 0.01


def walk(mdp, tables, prefix=(), chance=1.0, kept=1.0):
    """(sum of probabilities, the same without the factor of the end token), answer by answer."""
    if len(prefix) == mdp.horizon:
        return np.array([chance, kept])
    row = sum(token * mdp.vocab_size**d for d, token in enumerate(reversed(prefix)))
    total = np.zeros(2)
    for token in range(mdp.vocab_size):
        p = math.exp(tables[len(prefix)][row, token])
        if token == mdp.eos_token_id:
            total += [chance * p, kept]
        else:
            total += walk(mdp, tables, (*prefix, token), chance * p, kept * p)
    return total


def test_without_the_end_token_probabilities_sum_to_more_than_one(brackets):
    mdp, writer, _ = brackets
    tables = policies.tabulate(writer, mdp)
    whole, without = walk(mdp, tables)
    assert questions.total_probability(mdp, tables) == pytest.approx(whole, abs=1e-12)
    assert whole == pytest.approx(1, abs=1e-12)
    assert questions.total_probability(mdp, tables, "not pad") == pytest.approx(without, abs=1e-12)
    assert without > 1.5


def test_without_an_end_token_nothing_is_lost(tree):
    mdp, _, writer, *_ = tree
    assert questions.total_probability(
        mdp, policies.tabulate(writer, mdp), "not pad"
    ) == pytest.approx(1, abs=1e-12)


def test_the_credit_that_goes_missing_is_that_of_stopping(brackets):
    mdp, _, uniform = brackets
    tables = policies.tabulate(uniform, mdp)
    key = exact.solve(exact.enumerate_tree(mdp, tables), ALPHA)
    assert questions.credit_gap(mdp, tables, ALPHA) < 1e-13
    stopping = []
    for length in range(1, 5):
        for answer in itertools.product(range(2), repeat=length - 1):
            row = sum(token * 3**d for d, token in enumerate(reversed(answer)))
            stopping.append(
                abs(key.optimal_step_logps[length - 1][row, 2] - tables[length - 1][row, 2])
            )
    assert questions.credit_gap(mdp, tables, ALPHA, "not pad") == pytest.approx(
        max(stopping), abs=1e-12
    )


NORMALISERS = ("seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean", "token-mean")


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_the_expected_push_is_that_of_the_librarys_loss_group_by_group(normaliser):
    mdp = toy_envs.Brackets(horizon=3)
    writer = policies.TabularLM.from_mdp(mdp, seed=2)
    batch = on_policy(mdp, writer, policies.TabularLM.from_mdp(mdp), size=2)
    found = questions.length_bias(mdp, writer, 2, normaliser)
    law = policies.all_groups(mdp, policies.tabulate(writer, mdp), 1).logps.sum((1, 2)).exp()
    total = torch.zeros(len(law), dtype=torch.float64)
    for n, pair in enumerate(itertools.product(range(len(law)), repeat=2)):
        settings = {"kl": "none", "scale": "none", "normaliser": normaliser}
        _, push = questions.loss_and_push(objectives.grpo, one(batch, n), **settings)
        for i, answer in enumerate(pair):
            total[answer] += batch.group_weight[n] * push[0, i, 0]
    torch.testing.assert_close(found.per_token * found.scale, total / law, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [2, 3])
def test_dividing_by_the_own_length_is_the_formula_and_a_bias(size):
    mdp = toy_envs.Brackets(horizon=3)
    writer = policies.TabularLM.from_mdp(mdp, seed=0)
    found = {name: questions.length_bias(mdp, writer, size, name) for name in NORMALISERS}
    every = policies.all_groups(mdp, policies.tabulate(writer, mdp), 1)
    R = torch.from_numpy(mdp.reward(every.tokens[:, 0].numpy(), every.lengths[:, 0].numpy()))
    expected = (1 - 1 / size) * (R - every.logps.sum((1, 2)).exp() @ R) / every.lengths[:, 0]
    own = found["seq-mean-token-mean"]
    torch.testing.assert_close(own.per_token * own.scale, expected, rtol=0, atol=1e-14)
    for name in NORMALISERS[:2]:
        assert found[name].bias < 1e-14
        assert found[name].scale == pytest.approx(1, abs=1e-14)
    assert min(found[name].bias for name in NORMALISERS[2:]) > 0.01


def test_the_plain_sum_is_the_gradient_of_the_expected_reward(brackets):
    mdp, writer, _ = brackets
    every = policies.make_group_batch(
        writer, mdp, policies.all_groups(mdp, policies.tabulate(writer, mdp), 1)
    )
    logp = every.policy_logps.sum((1, 2))
    (true,) = torch.autograd.grad(logp.exp() @ every.rewards[:, 0], [writer.logits])
    batch = on_policy(*brackets, size=2)
    loss = objectives.grpo(batch, kl="none", scale="none", normaliser="seq-mean-token-sum").loss
    (slope,) = torch.autograd.grad(loss, [writer.logits])
    torch.testing.assert_close(-slope, true / 2, rtol=0, atol=1e-14)
    own = questions.length_bias(mdp, writer, 2, "seq-mean-token-mean")
    loss = objectives.grpo(on_policy(*brackets, size=2), kl="none", scale="none").loss
    (other,) = torch.autograd.grad(loss, [writer.logits])
    cosine = float((other * slope).sum() / (other.norm() * slope.norm()))
    assert own.bias == pytest.approx(math.sqrt(1 - cosine**2), rel=1e-10)


def test_short_right_answers_and_long_wrong_ones_are_favoured():
    mdp = toy_envs.Brackets(horizon=5)
    writer = policies.TabularLM.from_mdp(mdp)
    every = policies.all_groups(mdp, policies.tabulate(writer, mdp), 1)
    R, size = (
        mdp.reward(every.tokens[:, 0].numpy(), every.lengths[:, 0].numpy()),
        every.lengths[:, 0].numpy(),
    )
    for name in NORMALISERS[2:]:
        push = questions.length_bias(mdp, writer, 2, name).per_token.numpy()
        assert push[(R == 1) & (size == 3)].min() > 1.3 * push[(R == 1) & (size == 5)].max() > 0
        blame = [-push[(R == 0) & (size == own)].mean() for own in range(1, 6)]
        assert blame == sorted(blame, reverse=True)
        assert blame[-1] > 0


@pytest.fixture(scope="module")
def shuffled(brackets):
    mdp, writer, base = brackets
    generator = torch.Generator().manual_seed(0)
    answers = policies.sample_groups(writer, mdp, 4, [0] * 3, generator)
    batch = policies.make_group_batch(writer, mdp, answers, base)
    batch = replace(batch, rewards=torch.rand(3, 4, generator=generator, dtype=torch.float64))
    return batch, torch.randperm(12, generator=generator)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
def test_frozen_means_give_the_gradient_of_the_whole_group_and_local_ones_do_not(shuffled, size):
    batch, order = shuffled
    _, whole = questions.loss_and_push(objectives.gvpo, batch, alpha=ALPHA)
    frozen, local = (
        questions.scattered_gvpo(batch, ALPHA, order, size, m)
        for m in ("whole group", "micro-batch")
    )
    assert questions.relative_error(frozen, whole) < 1e-14
    assert (questions.relative_error(local, whole) > 0.1) == (size < 12)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_a_token_mean_depends_on_the_cut_and_the_others_do_not(shuffled, size):
    batch, order = shuffled
    for normaliser in NORMALISERS:
        whole, cut = (questions.scattered_average(batch, normaliser, order, s) for s in (12, size))
        assert (questions.relative_error(cut, whole) > 0.02) == (normaliser == "token-mean"), (
            normaliser
        )


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_undivided_it_is_the_librarys_loss(shuffled, normaliser):
    batch, order = shuffled
    fresh = replace(batch, behaviour_logps=batch.policy_logps.detach())
    _, whole = questions.loss_and_push(
        objectives.grpo, fresh, kl="none", scale="none", normaliser=normaliser
    )
    found = questions.scattered_average(batch, normaliser, order, 12)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("order", "size"), [([0, 1, 2], 1), ([0] * 12, 1), (list(range(12)), 5), (list(range(12)), 0)]
)
def test_a_cut_that_is_none_is_refused(shuffled, order, size):
    with pytest.raises(ValueError, match="order must hold each of"):
        questions.scattered_gvpo(shuffled[0], ALPHA, torch.tensor(order), size, "whole group")
