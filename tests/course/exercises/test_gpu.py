"""Exercises 36 and 37: bytes as the tensors have them, the gradient as the library makes it; each
mistake is named.
"""

import numpy as np
import pytest
import torch

from gnivo_edu import objectives, training
from gnivo_edu.batch import GroupBatch
from gnivo_edu.course import check
from gnivo_edu.course.exercises.two_pass_gradient import network
from tests.course.exercises import refusal


def test_their_numbers_are_those_of_the_story():
    assert check.rows_that_fit.statement.startswith("Exercise 36: ")
    assert check.two_pass_gradient.statement.startswith("Exercise 37: ")
    assert set(check.two_pass_gradient.wrong_answers) >= {
        "softmax per micro-batch",
        "mean of means",
        "divided by K",
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_bytes_are_those_of_a_tensor(dtype):
    """So many rows of logits take no more than the memory, and one more row does."""
    gib, tokens, vocabulary = 1 / 1024, 7, 333
    fit = check.rows_that_fit.reference(
        gib, tokens, vocabulary, torch.zeros(1, dtype=dtype).itemsize, 2
    )
    taken = [
        2 * torch.zeros(rows, tokens, vocabulary, dtype=dtype).nbytes for rows in (fit, fit + 1)
    ]
    assert taken[0] <= 2**20 < taken[1]


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_that_of_the_librarys_two_passes(seed):
    rng = np.random.default_rng(seed)
    K, P, alpha = 6, 3, 0.7
    X, theta, rewards = rng.normal(size=(K, P)), rng.normal(size=P), rng.uniform(size=K)
    parts = np.split(rng.permutation(K), [2, 4])
    found = check.two_pass_gradient.reference(*network(X, theta, 2), rewards, alpha, parts)

    parameter = torch.tensor(theta, requires_grad=True)
    features = torch.tensor(X)
    at_first = torch.full((1, K, 1), -16.0, dtype=torch.float64)
    batch = GroupBatch(
        policy_logps=at_first,
        behaviour_logps=at_first,
        rewards=torch.tensor(rewards)[None],
        mask=at_first < 0,
    )

    def score(rows):
        return {"policy_logps": (features[rows] @ parameter)[:, None] - 16}

    training.two_pass_step(
        objectives.gnivo, batch, score, [rows.tolist() for rows in parts], alpha=alpha
    )
    np.testing.assert_allclose(found, parameter.grad.numpy(), rtol=1e-12)


def test_other_ways_to_write_them_are_right():
    def divided(gib, tokens, vocabulary, itemsize, copies):
        return int(gib * 2**30 / itemsize / copies / tokens / vocabulary + 1e-12)

    def row_by_row(score, pull, rewards, alpha, parts):
        order = np.concatenate(parts)
        rho = np.concatenate([score([i]) for i in order])[np.argsort(order)]
        w, q = np.exp(rewards / alpha), np.exp(rho - rho.max())
        c = w.sum() * q / q.sum() - w
        return sum(pull([i], [c[i]]) for i in range(len(c)))

    for seed in range(10):
        check.rows_that_fit.run(divided, seed)
        check.two_pass_gradient.run(row_by_row, seed)


def test_a_group_asked_for_at_once_does_not_fit():
    assert "out of memory: asked about 3 rows at once, 2 fit" in refusal(
        check.two_pass_gradient, check.two_pass_gradient.wrong_answers["all at once"]
    )
