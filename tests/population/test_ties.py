"""Groups with equal rewards: the table against formulas, the exact record against whole answers."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import exact, objectives, policies
from gnivo_edu.population import questions, ties
from tests.population.conftest import ALPHA


@pytest.fixture(scope="module")
def tied():
    """One group of four wrong answers to the poster's problem, at three policies."""
    problem = toy_envs.PosterProblem()
    reference = policies.TabularLM.from_mdp(problem)
    key = exact.solve(exact.enumerate_tree(problem), ALPHA)
    writer = policies.TabularLM.from_mdp(problem)
    with torch.no_grad():
        writer.logits += 0.4 * torch.randn(
            writer.logits.shape, generator=torch.Generator().manual_seed(1)
        )
    at = {
        "reference": reference,
        "writer": writer,
        "best": policies.TabularLM.from_tables(problem, key.optimal_step_logps),
    }
    tokens = torch.tensor(
        [
            [
                [0, 0, 1, 0, 0, 0, 1],
                [0, 1, 0, 0, 1, 0, 1],
                [0, 0, 0, 0, 0, 1, 1],
                [1, 1, 0, 0, 0, 0, 1],
            ]
        ]
    )
    answers = policies.SampledGroups(
        tokens=tokens,
        lengths=torch.full((1, 4), 7),
        logps=torch.zeros(1, 4, 7, dtype=torch.float64),
        truncated=torch.zeros(1, 4, dtype=torch.bool),
        prompt_index=torch.zeros(1, dtype=torch.long),
    )
    more = {"grpo, no KL": partial(objectives.grpo, kl="none")}
    table = ties.tied_groups(problem, at, reference, answers, ALPHA, more)
    rows = {(row.policy, row.objective): row for row in table}
    return problem, at, answers, rows, key


def test_the_table_covers_every_objective_of_the_registry(tied):
    *_, rows, _ = tied
    expected = {*objectives.names(), "grpo, no KL"}
    assert set(rows) == {
        (policy, name) for policy in ("reference", "writer", "best") for name in expected
    }
    assert all(math.isfinite(row.share) for row in rows.values())


def test_what_stays_silent_in_a_tied_group(tied):
    *_, rows, _ = tied
    silent = {
        where: {name for (at, name), row in rows.items() if at == where and row.push < 1e-11}
        for where, _ in rows
    }
    never = {"cispo", "dapo", "dr_grpo", "gspo", "grpo, no KL"}
    relative = {"gvpo", "rloo", "online_dpo"}
    assert silent["writer"] == never
    assert silent["reference"] == never | relative | {"grpo", "gnivo", "group_value", "vimpo"}
    assert silent["best"] == never | relative | {"dro", "oreo", "ppo"}, (
        "with exact critics they rest as well"
    )


def test_what_the_others_do_there(tied):
    *_, rows, _ = tied
    for name in ("gvpo", "rloo"):
        assert rows["writer", name].levels == pytest.approx(1, abs=1e-12)
        assert rows["writer", name].net == pytest.approx(0, abs=1e-12)
    for name in ("gnivo", "group_value", "online_dpo"):
        assert rows["writer", name].levels > 0.5
        assert rows["writer", name].net == pytest.approx(0, abs=1e-12)
    assert all(rows["reference", name].net == pytest.approx(-1) for name in ("dro", "oreo")), (
        "worse than expected"
    )
    assert rows["writer", "sft_winning"].net == pytest.approx(1), "four losers are imitated"
    for name in ("grpo", "vimpo"):
        assert rows["best", name].push > 0.01, "they go on pulling at the best policy"
        assert rows["best", name].net > 0.5


def test_pushes_of_a_tied_group_are_the_formulas(tied):
    problem, at, answers, rows, _ = tied
    record = ties.full_record(problem, at["writer"], at["reference"], answers, ALPHA)
    h = record.sequence_logratio[0].detach().numpy()
    _, gvpo = questions.loss_and_push(objectives.gvpo, record, alpha=ALPHA)
    np.testing.assert_allclose(gvpo[0, :, 0], -(ALPHA**2) / 3 * (h - h.mean()), atol=1e-14)
    assert rows["writer", "gvpo"].push == pytest.approx(
        ALPHA**2 / 3 * np.linalg.norm(h - h.mean()) * 7**0.5, rel=1e-12
    )
    paid = np.array([0.75, -0.25, -0.25, -0.25]) - ALPHA * (h - h.mean())
    share = ALPHA * np.linalg.norm(h - h.mean()) / np.linalg.norm(paid)
    assert rows["writer", "gvpo"].share == pytest.approx(share, rel=1e-12)
    _, last = questions.loss_and_push(objectives.gnivo, record, alpha=ALPHA, prefixes="last")
    q = np.exp(h) / np.exp(h).sum()
    np.testing.assert_allclose(
        last[0, :, 0], 4 * (1 / 4 - q), atol=1e-14
    )  # W = 4, since e^{0/alpha} = 1
    _, k3 = questions.loss_and_push(objectives.grpo, record, alpha=ALPHA)
    x = record.logratio[0].detach().numpy()
    np.testing.assert_allclose(k3[0], -ALPHA / (4 * 7) * (1 - np.exp(-x)), atol=1e-14)


def test_rewards_that_differ_are_refused(tied):
    problem, at, answers, *_ = tied
    mixed = answers.tokens.clone()
    mixed[0, 0] = 0
    with pytest.raises(ValueError, match="the rewards of a group differ"):
        ties.tied_groups(problem, at, at["reference"], replace(answers, tokens=mixed), ALPHA)


@pytest.mark.parametrize("name", ["tree", "brackets"])
def test_the_full_record_is_exact(name, request):
    """Values, KL and entropy of each state by adding up whole answers; the implicit value at the
    best policy is V.
    """
    mdp, *models = request.getfixturevalue(name)
    reference, writer = (models[0], models[1]) if name == "tree" else (models[1], models[0])
    every = policies.all_groups(mdp, policies.tabulate(writer, mdp), 1)
    record = ties.full_record(mdp, writer, reference, every, ALPHA)
    p = record.policy_logps[:, 0].detach().sum(-1).exp().numpy()
    paid = (record.rewards[:, 0] - ALPHA * record.sequence_logratio[:, 0].detach()).numpy()
    x, tokens, lengths = (
        record.logratio[:, 0].detach().numpy(),
        every.tokens[:, 0].numpy(),
        every.lengths[:, 0].numpy(),
    )
    for i in range(0, len(p), 5):
        for t in range(lengths[i]):
            through = (tokens[:, :t] == tokens[i, :t]).all(1)
            weight = p * through / (p * through).sum()
            past = ALPHA * x[i, :t].sum()
            assert record.values[i, 0, t].item() == pytest.approx(weight @ paid + past, abs=1e-12)
            assert record.policy_kl[i, 0, t].item() == pytest.approx(weight @ x[:, t], abs=1e-12)
            logp = record.policy_logps[:, 0, t].detach().numpy()
            assert record.entropy[i, 0, t].item() == pytest.approx(-weight @ logp, abs=1e-12)
    torch.testing.assert_close(record.behaviour_logps, record.policy_logps.detach())


def test_at_the_best_policy_critic_and_implicit_value_are_the_soft_value(tree):
    mdp, reference, _, best, key = tree
    record = ties.full_record(
        mdp, best, reference, policies.all_groups(mdp, policies.tabulate(best, mdp), 1), ALPHA
    )
    for i, answer in enumerate(itertools.product(range(2), repeat=3)):
        for t in range(3):
            assert record.values[i, 0, t].item() == pytest.approx(
                ALPHA * key.soft_value(answer[:t]), abs=1e-12
            )
            assert record.prefix_values[i, 0, t].item() == pytest.approx(
                key.soft_value(answer[: t + 1]), abs=1e-12
            )
