"""Groups of answers: drawn from the law that is scored, listed, and put on record."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gnivo_edu.exact import enumerate_tree, uniform_reference
from gnivo_edu.policies import (
    TabularLM,
    all_groups,
    make_group_batch,
    sample_groups,
    tabulate,
    token_logps,
)
from tests.policies.three_actions import answers, padded, reward
from toy_envs import TokenMDP


def test_sampled_and_scored_log_probabilities_agree(mdp: TokenMDP, policy: nn.Module) -> None:
    groups = sample_groups(policy, mdp, 5, [0, 1, 1], torch.Generator().manual_seed(0))
    assert groups.tokens.shape == (3, 5, 4)
    policy.eval()
    rows = groups.prompt_index.repeat_interleave(5)
    scored = token_logps(
        policy, mdp, groups.tokens.view(15, 4), groups.lengths.view(15), rows
    ).view(3, 5, 4)
    assert (scored - groups.logps).abs().max().item() < (
        1e-12 if isinstance(policy, TabularLM) else 5e-6
    )
    for own, length, cut in zip(
        groups.tokens.view(15, 4).tolist(),
        groups.lengths.view(-1).tolist(),
        groups.truncated.view(-1),
        strict=True,
    ):
        assert tuple(own[:length]) in answers()
        assert own[length:] == [mdp.pad_token_id] * (4 - length)
        assert bool(cut) == (2 not in own)


def test_a_generator_makes_it_repeatable(mdp: TokenMDP) -> None:
    policy = TabularLM.from_mdp(mdp, seed=1)
    draw = [
        sample_groups(policy, mdp, 6, [0], torch.Generator().manual_seed(s)).tokens
        for s in (1, 1, 2)
    ]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    with pytest.raises(ValueError, match="group_size must be at least 1"):
        sample_groups(policy, mdp, 0)


def test_samples_follow_the_law(mdp: TokenMDP) -> None:
    policy = TabularLM.from_mdp(mdp, seed=1)
    groups = sample_groups(policy, mdp, 20_000, [1], torch.Generator().manual_seed(0))
    everything, lengths = padded(answers())
    expected = token_logps(policy, mdp, everything, lengths, 1).sum(1).exp()
    seen = (groups.tokens[0, :, None] == everything).all(-1).double().mean(0)
    assert ((seen - expected).abs() < 5 * (expected / 20_000).sqrt()).all()


def test_all_groups_are_every_group_with_its_probability(mdp: TokenMDP) -> None:
    policy = TabularLM.from_mdp(mdp, seed=1)
    tables = tabulate(policy, mdp, 1)
    groups = all_groups(mdp, tables, 2, prompt_index=1)
    assert groups.tokens.shape == (31**2, 2, 4)
    assert len({tuple(row) for row in groups.tokens.view(-1, 8).tolist()}) == 31**2
    assert groups.group_weight is not None
    assert abs(groups.group_weight.sum().item() - 1) < 1e-12
    batch = make_group_batch(policy, mdp, groups)
    assert torch.allclose(batch.policy_logps, batch.behaviour_logps, atol=1e-14)
    # An expectation over groups is one over answers.
    tree = enumerate_tree(mdp, tables, 1)
    mean = float(np.exp(tree.prefix_logps[-1]) @ tree.rewards)
    assert batch.group_mean(batch.rewards.mean(1)).item() == pytest.approx(mean, abs=1e-13)
    with pytest.raises(ValueError, match="groups of 4, above the limit"):
        all_groups(mdp, tables, 4)
    with pytest.raises(ValueError, match="too many to list"):
        all_groups(mdp, tables, 2, max_groups=10)


def test_make_group_batch_scores_rewards_and_records(mdp: TokenMDP) -> None:
    policy, reference = TabularLM.from_mdp(mdp, seed=1), TabularLM.from_mdp(mdp)
    groups = sample_groups(policy, mdp, 3, [1, 0], torch.Generator().manual_seed(3))
    batch = make_group_batch(
        policy, mdp, groups, reference, log_z=torch.zeros(2, dtype=torch.float64)
    )
    assert batch.policy_logps.requires_grad
    assert not batch.reference_logps.requires_grad
    assert torch.equal(batch.lengths, groups.lengths)
    assert torch.allclose(
        batch.reference_logps[batch.mask], torch.tensor(1 / 3, dtype=torch.float64).log()
    )
    expected = reward(groups.tokens.view(-1, 4).numpy(), groups.lengths.view(-1).numpy())
    assert torch.equal(batch.rewards, torch.from_numpy(expected).view(2, 3))
    assert batch.log_z is not None
    same = make_group_batch(policy, mdp, groups)
    assert torch.equal(same.reference_logps, same.behaviour_logps)


def test_one_step_problems_and_environments_without_eos() -> None:
    mdp = TokenMDP(2, 1, reward=lambda tokens, lengths: tokens[:, 0])
    policy = TabularLM.from_mdp(mdp)
    np.testing.assert_allclose(tabulate(policy, mdp)[0], uniform_reference(2, 1)[0])
    groups = sample_groups(policy, mdp, 4)
    assert not groups.truncated.any()
    assert (groups.lengths == 1).all()


def test_rows_and_rewards_of_groups_are_those_of_each_answer_and_its_prompt() -> None:
    class ByPrompt(TokenMDP):
        def _score(self, tokens, lengths, prompt_index):
            return 10 * prompt_index + lengths + tokens[:, 0] / 10

    task = ByPrompt(3, 4, eos_token_id=2, prompts=[[3, 0], [3, 1]])
    policy = TabularLM.from_mdp(task, seed=1)
    groups = sample_groups(policy, task, 3, [1, 0, 1], torch.Generator().manual_seed(0))
    tokens, lengths, index = groups.rows
    assert index.tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 1]
    rewards = groups.rewards(task)
    assert rewards.dtype == torch.float64
    for r in range(9):
        n, k = divmod(r, 3)
        assert torch.equal(tokens[r], groups.tokens[n, k])
        assert lengths[r] == groups.lengths[n, k]
        expected = 10 * float(index[r]) + float(lengths[r]) + float(tokens[r, 0]) / 10
        assert float(rewards[n, k]) == pytest.approx(expected, abs=1e-12)
