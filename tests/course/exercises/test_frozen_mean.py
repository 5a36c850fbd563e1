"""Exercises 27 and 29: pushes of scattered groups are those of the library's loss, masks those of
its sampler.
"""

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import objectives, policies
from gnivo_edu.batch import GroupBatch
from gnivo_edu.course import check
from gnivo_edu.population import questions


def scattered(seed, count=3, size=4):
    """A shuffled batch: rewards, log-ratios, groups, and the GroupBatch it came from with the order
    of shuffling.
    """
    rng = np.random.default_rng(seed)
    policy, behaviour = (-torch.tensor(rng.exponential(size=(count, size, 1))) for _ in "ab")
    h = (policy - behaviour).numpy().ravel()
    rewards = rng.uniform(size=(count, size))
    batch = GroupBatch(
        policy_logps=policy,
        behaviour_logps=behaviour,
        rewards=torch.tensor(rewards),
        mask=torch.ones_like(policy),
    )
    order = rng.permutation(count * size)
    groups = np.repeat(np.arange(count), size)
    return rewards.ravel()[order], h[order], groups[order], batch, order


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cut", [1, 2, 5, 12])
def test_pushes_are_those_of_the_librarys_whole_groups(seed, cut):
    rewards, h, groups, batch, order = scattered(seed)
    _, push = questions.loss_and_push(objectives.gvpo, batch, alpha=0.7)
    expected = 3 * push.numpy().ravel()[order]  # the library takes the mean over three prompts
    for rows in np.array_split(np.arange(12), range(cut, 12, cut)):
        found = check.frozen_group_mean.reference(rewards, h, groups, rows, 0.7)
        np.testing.assert_allclose(found, expected[rows], atol=1e-14)


def test_pushes_of_a_group_sum_to_zero():
    rewards, h, groups, *_ = scattered(5)
    found = check.frozen_group_mean.reference(rewards, h, groups, np.arange(12), 0.3)
    np.testing.assert_allclose(np.bincount(groups, found), 0, atol=1e-13)


def test_the_local_mean_is_what_torch_makes_of_a_loss_inside_the_micro_batch():
    rewards, h, groups, batch, order = scattered(1)
    push = questions.scattered_gvpo(batch, 0.7, torch.from_numpy(order), 3, "micro-batch")
    expected = 3 * push.numpy().ravel()[order]
    wrong = check.frozen_group_mean.wrong_answers["micro-batch local mean"]
    found = np.concatenate(
        [wrong(rewards, h, groups, rows, 0.7) for rows in np.arange(12).reshape(4, 3)]
    )
    np.testing.assert_allclose(found, expected, atol=1e-14)
    true = check.frozen_group_mean.reference(rewards, h, groups, np.arange(12), 0.7)
    assert np.abs(found - true).max() > 0.05


def test_other_ways_to_write_the_push_are_right():
    def by_loop(rewards, logratios, groups, rows, alpha):
        found = []
        for i in rows:
            mine = [j for j in range(len(groups)) if groups[j] == groups[i]]
            bracket = (
                rewards[i] - rewards[mine].mean() - alpha * (logratios[i] - logratios[mine].mean())
            )
            found.append(alpha / (len(mine) - 1) * bracket)
        return found

    check.frozen_group_mean.run(by_loop)


def test_the_mask_is_that_of_the_sampler():
    brackets = toy_envs.Brackets(horizon=5)
    policy = policies.TabularLM.from_mdp(brackets)
    drawn = policies.sample_groups(policy, brackets, 50, [0], torch.Generator().manual_seed(0))
    mask = drawn.mask[0].numpy()
    padded = np.where(mask, drawn.tokens[0].numpy(), brackets.eos_token_id)
    np.testing.assert_array_equal(check.answer_mask.reference(padded, brackets.eos_token_id), mask)
    assert (padded != 2).sum() < mask.sum(), "reading it off the values loses the end tokens"


def test_a_mask_of_numbers_is_a_mask():
    check.answer_mask.run(
        lambda tokens, eos: (
            (np.cumsum(tokens == eos, 1) - (tokens == eos) == 0).astype(int).tolist()
        )
    )
    for wrong in (
        lambda tokens, eos: tokens,
        lambda tokens, eos: tokens[0] == eos,
        lambda tokens, eos: check.answer_mask.reference(tokens, eos).astype(float),
        lambda tokens, eos: check.answer_mask.reference(tokens, eos).astype("float32"),
    ):
        with pytest.raises(check.CheckFailed, match="expected a mask"):  # floats have no ~mask
            check.answer_mask.run(wrong)
