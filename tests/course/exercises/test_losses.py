"""The losses of exercises 12, 13, 14 and 17 are those of the library, and their slopes those of
autograd.
"""

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.course import check


def group(seed, size=4, width=5, equal=False):
    rng = np.random.default_rng(seed)
    lengths = np.full(size, width) if equal else rng.integers(1, width + 1, size=size)
    policy, reference = -rng.exponential(size=(2, size, width))
    return policy, reference, lengths, rng.uniform(size=size)


def batch_of(policy, reference, lengths, rewards):
    mask = np.arange(policy.shape[1]) < lengths[:, None]
    return GroupBatch(
        policy_logps=torch.tensor(policy[None], requires_grad=True),
        behaviour_logps=torch.tensor(reference[None]),
        rewards=torch.tensor(rewards[None]),
        mask=torch.tensor(mask[None]),
    )


@pytest.mark.parametrize("seed", range(4))
def test_prefix_logratio_and_loss_of_unequal_lengths(seed):
    policy, reference, lengths, rewards = group(seed)
    batch = batch_of(policy, reference, lengths, rewards)
    rho = check.prefix_logratio.reference(policy, reference, lengths)
    np.testing.assert_allclose(rho, batch.prefix_logratio[0].detach().numpy(), atol=1e-12)
    loss = check.gnivo_loss_unequal_lengths.reference(policy, reference, lengths, rewards, 0.5)
    assert loss == pytest.approx(
        objectives.gnivo(batch, alpha=0.5, lengths="sum_max").loss.item(), rel=1e-12
    )


@pytest.mark.parametrize("seed", range(4))
def test_loss_and_its_gradient_weights(seed):
    policy, reference, lengths, rewards = group(seed, equal=True)
    batch = batch_of(policy, reference, lengths, rewards)
    rho = check.prefix_logratio.reference(policy, reference, lengths)
    out = objectives.gnivo(batch, alpha=0.5)
    assert check.gnivo_loss.reference(rho, rewards, 0.5) == pytest.approx(
        out.loss.item(), rel=1e-12
    )
    out.loss.backward()
    # A token is in every later prefix: its slope is the sum of theirs.
    weights = check.gnivo_gradient_weights.reference(rho, rewards, 0.5)
    np.testing.assert_allclose(weights.sum(axis=0), 0, atol=1e-12)
    tokens = weights[:, ::-1].cumsum(axis=1)[:, ::-1]
    np.testing.assert_allclose(-tokens, batch.policy_logps.grad[0].numpy(), atol=1e-12)


def test_the_two_losses_agree_where_lengths_do():
    policy, reference, lengths, rewards = group(9, equal=True)
    rho = check.prefix_logratio.reference(policy, reference, lengths)
    expected = check.gnivo_loss.reference(rho, rewards, 0.7)
    found = check.gnivo_loss_unequal_lengths.reference(policy, reference, lengths, rewards, 0.7)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("own T_i, averaged", "own"),
        ("divide by max T_i", "mean_max"),
        ("sums to the shortest", "sum_min"),
    ],
)
def test_wrong_answers_are_the_librarys_other_choices(name, option):
    policy, reference, lengths, rewards = group(2)
    wrong = check.gnivo_loss_unequal_lengths.wrong_answers[name]
    expected = objectives.gnivo(
        batch_of(policy, reference, lengths, rewards), alpha=0.5, lengths=option
    ).loss.item()
    assert wrong(policy, reference, lengths, rewards, 0.5) == pytest.approx(expected, rel=1e-12)


def test_softmax_weights_are_the_librarys():
    policy, reference, lengths, rewards = group(5, equal=True)
    rho = check.prefix_logratio.reference(policy, reference, lengths)
    found = check.gnivo_loss.wrong_answers["softmax weights at t < T"](rho, rewards, 0.5)
    batch = batch_of(policy, reference, lengths, rewards)
    assert found == pytest.approx(
        objectives.gnivo(batch, alpha=0.5, weights="softmax").loss.item(), rel=1e-12
    )
