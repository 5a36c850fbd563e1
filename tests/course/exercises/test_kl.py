"""Exercises 23 and 30 are slopes of the library's estimates, right on average, and each mistake
pulls elsewhere.
"""

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import exact
from gnivo_edu.batch import GroupBatch
from gnivo_edu.course.exercises.kl_in_the_loss import EXERCISE
from gnivo_edu.course.exercises.stale_kl_in_the_loss import EXERCISE as STALE
from gnivo_edu.objectives.surrogate import kl_estimate
from gnivo_edu.population.answers import Answers
from gnivo_edu.population.kl_laboratory import kl_laboratory
from tests.course.exercises import refusal

WRONG = EXERCISE.wrong_answers


def group(seed, size=4, width=5):
    rng = np.random.default_rng(seed)
    policy, reference = -rng.exponential(size=(2, size, width))
    return policy, reference, rng.integers(1, width + 1, size=size)


@pytest.mark.parametrize("k", ["k1", "k2", "k3"])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_autograds_slope_of_the_librarys_estimate(k, seed):
    policy, reference, lengths = group(seed)
    batch = GroupBatch(
        policy_logps=torch.tensor(policy[None], requires_grad=True),
        behaviour_logps=torch.tensor(policy[None]),
        reference_logps=torch.tensor(reference[None]),
        rewards=torch.zeros(1, 4, dtype=torch.float64),
        mask=torch.tensor((np.arange(5) < lengths[:, None])[None]),
    )
    batch.group_mean(kl_estimate(batch.sequence_logratio, k).mean(1)).backward()
    function = {
        "k1": WRONG["k1 (zero gradient)"],
        "k2": EXERCISE.reference,
        "k3": WRONG["forward KL"],
    }[k]
    np.testing.assert_allclose(
        function(policy, reference, lengths), batch.policy_logps.grad[0].numpy(), atol=1e-13
    )


@pytest.fixture(scope="module")
def tree():
    mdp = toy_envs.Brackets(horizon=3)
    return exact.enumerate_tree(mdp, exact.random_reference(3, 3, 3))


def expected_gradient(tree, policy, function):
    """sum_y pi(y) sum_t slope_t grad log pi(y_t), each answer a group of one, by the logits of each
    state.
    """
    answers = Answers.of(tree)
    logits = answers.from_tables(policy).requires_grad_()
    logps = answers.token_logps(answers.policy(logits))
    fixed = (
        logps.detach().numpy(),
        answers.token_logps(answers.reference).numpy(),
        answers.lengths.numpy(),
    )
    slopes = np.concatenate(
        [function(*(x[i : i + 1] for x in fixed)) for i in range(len(fixed[0]))]
    )
    (answers.law(answers.from_tables(policy)) @ (torch.tensor(slopes) * logps).sum(-1)).backward()
    return logits.grad.numpy()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (None, "reverse KL"),
        ("h + 1", "reverse KL"),
        ("tokens to go", "reverse KL"),
        ("k1 (zero gradient)", "zero"),
        ("forward KL", "forward KL"),
        ("k3 of each token", "forward KL per state"),
        ("own token only", "reverse KL per state"),
        ("k3 ratio inverted", None),
        ("k for its slope", None),
    ],
)
def test_where_it_and_its_mistakes_pull_on_average(tree, name, target):
    policy = exact.random_reference(3, 3, 4)
    found = expected_gradient(tree, policy, EXERCISE.reference if name is None else WRONG[name])
    targets = kl_laboratory(tree, policy).targets
    near = {t: np.abs(found - gradient.numpy()).max() for t, gradient in targets.items()}
    if target is None:
        assert min(near.values()) > 1e-2
    else:
        assert near[target] < 1e-13
        assert [t for t, distance in near.items() if distance < 1e-3] == [target]


def test_other_right_ways_pass_for_every_seed():
    def looped(policy, reference, lengths):
        out = [[0.0] * policy.shape[1] for _ in lengths]
        for i, n in enumerate(lengths):
            h = sum(policy[i, t] - reference[i, t] for t in range(n))
            out[i][:n] = [h / len(lengths)] * int(n)
        return out

    def by_autograd(policy, reference, lengths):
        written = torch.arange(policy.shape[1]) < torch.tensor(lengths)[:, None]
        leaf = torch.tensor(policy).nan_to_num().requires_grad_()
        h = (leaf - torch.tensor(reference)).where(written, 0.0).sum(-1)
        kl_estimate(h, "k2").mean().backward()
        return leaf.grad.numpy()

    for seed in range(10):
        for right in (looped, by_autograd, EXERCISE.reference):
            assert EXERCISE.run(right, seed) == 9


@pytest.mark.parametrize("seed", range(3))
def test_the_stale_term_is_autograds_slope_of_weight_times_k3(seed):
    policy, reference, lengths = group(seed)
    old = group(seed + 10)[0]
    leaf, written = (
        torch.tensor(policy, requires_grad=True),
        torch.arange(5) < torch.tensor(lengths)[:, None],
    )
    log_u, h = (
        (leaf - torch.tensor(other)).where(written, 0.0).sum(-1) for other in (old, reference)
    )
    (log_u.exp() * kl_estimate(h, "k3")).mean().backward()
    found = STALE.reference(policy, old, reference, lengths)
    np.testing.assert_allclose(found, leaf.grad.numpy(), atol=1e-12)
    fresh = STALE.reference(policy, policy, reference, lengths)
    np.testing.assert_allclose(fresh, EXERCISE.reference(policy, reference, lengths), atol=1e-13)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (None, "reverse KL"),
        ("k1 weighted", "reverse KL"),
        ("constant weight", "forward KL"),
        ("everything by token", "reverse KL per state"),
        ("no weight", None),
        ("weight inverted", None),
        ("a weight for each token", None),
    ],
)
def test_where_the_stale_term_and_its_mistakes_pull_on_average(tree, name, target):
    """Every answer with its chance under an old policy; the laboratory takes its targets from
    elsewhere.
    """
    policy, old = exact.random_reference(3, 3, 4), exact.random_reference(3, 3, 9)
    answers, function = (
        Answers.of(tree),
        STALE.reference if name is None else STALE.wrong_answers[name],
    )
    logits = answers.from_tables(policy).requires_grad_()
    logps = answers.token_logps(answers.policy(logits))
    laws = [
        logps.detach(),
        answers.token_logps(answers.from_tables(old)),
        answers.token_logps(answers.reference),
    ]
    rows = [
        function(*(x[i : i + 1].numpy() for x in (*laws, answers.lengths)))
        for i in range(len(logps))
    ]
    (
        answers.law(answers.from_tables(old)) @ (torch.tensor(np.concatenate(rows)) * logps).sum(-1)
    ).backward()
    targets = kl_laboratory(tree, policy, behaviour=old).targets
    near = {t: float((logits.grad - gradient).abs().max()) for t, gradient in targets.items()}
    assert [t for t, distance in near.items() if distance < 1e-12] == (
        [] if target is None else [target]
    )


def test_other_ways_to_write_the_stale_term_pass():
    def looped(policy, old, reference, lengths):
        out = np.zeros(policy.shape)
        for i, n in enumerate(lengths):
            h, u = (
                np.sum(policy[i, :n] - reference[i, :n]),
                np.exp(np.sum(policy[i, :n] - old[i, :n])),
            )
            out[i, :n] = u * ((np.exp(-h) - 1 + h) + (1 - np.exp(-h))) / len(lengths)
        return out

    for seed in range(10):
        assert STALE.run(looped, seed) == STALE.run(STALE.reference, seed) == 7


def test_what_the_message_says():
    off = refusal(EXERCISE, lambda *a: EXERCISE.reference(*a) + 1e-4)
    assert "at response 0, t = 1: expected 0.5" in off
    assert "expected an array of shape (3, 4), got one number" in refusal(EXERCISE, lambda *a: 0.5)
    rounded = refusal(EXERCISE, lambda *a: EXERCISE.reference(*a).astype(np.float32))
    assert "exact work needs all the digits" in rounded
    assert len(EXERCISE.hints) == len(STALE.hints) == 3
