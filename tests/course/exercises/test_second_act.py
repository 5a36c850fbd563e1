"""Exercises 18 to 22, 26 and 28: they agree with the library's objectives, and right and wrong are
told apart.
"""

import itertools
import re

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.course import exercises
from gnivo_edu.objectives.grpo import group_advantages
from gnivo_edu.objectives.ppo import generalised_advantages
from gnivo_edu.objectives.surrogate import centred
from tests.course.exercises import refusal

KNOWN = {exercise.name: exercise for exercise in exercises.all()}
STORY = {
    "rloo_advantage": (
        18,
        {"includes self", "/K for /(K-1)", "divides by std", "mean over prompts"},
    ),
    "grpo_advantage": (19, {"nan on ties", "batch-wide std", "std without mean", "wrong ddof"}),
    "gae": (20, {"bootstraps past the end", "accumulates forward", "lambda fixed at 1", "no mask"}),
    "gvpo_loss": (21, {"h uncentred", "1/K", "beta on R", "token mean"}),
    "vimpo_residual": (22, {"kappa from k1", "kappa not detached", "+kappa", "no baseline"}),
    "best_of_k_law": (26, {"ignores ties", "p^K", "K p", "softmax", "splits ties equally"}),
    "grpo_one_step_law": (
        28,
        {"exponential tilt", "no normalisation", "sign of A", "wrong branch"},
    ),
}


def reference(name):
    return KNOWN[name].reference


def group(seed, size=4, width=5):
    """Log-probabilities of policy and reference, mask and rewards of one group, responses of
    unequal length.
    """
    rng = np.random.default_rng(seed)
    policy, ref = -rng.exponential(size=(2, size, width))
    mask = np.arange(width) < rng.integers(1, width + 1, size=(size, 1))
    return policy, ref, mask, rng.uniform(size=size)


def batch_of(policy, ref, mask, rewards, **more):
    fields = {name: torch.tensor(np.asarray(value)[None]) for name, value in more.items()}
    return GroupBatch(
        policy_logps=torch.tensor(policy[None], requires_grad=True),
        behaviour_logps=torch.tensor(ref[None]),
        rewards=torch.tensor(rewards[None]),
        mask=torch.tensor(mask[None]),
        **fields,
    )


def prompts(seed):
    """Three prompts of four one-token responses, sampled by the policy itself, which is the
    reference.
    """
    rewards = torch.tensor(np.random.default_rng(seed).uniform(size=(3, 4)))
    half = torch.full((3, 4, 1), 0.5, dtype=torch.float64).log()
    mask = torch.ones(3, 4, 1)
    return GroupBatch(
        policy_logps=half.clone().requires_grad_(), behaviour_logps=half, rewards=rewards, mask=mask
    )


def slope(batch, loss):
    """d loss/d log-probability of each response, times the number of responses."""
    loss.backward()
    return batch.policy_logps.grad[..., 0].numpy() * batch.rewards.numel()


def equal(got, expected, tolerance=1e-12):
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


# --- they are the library's -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_rloo_pushes_each_response_by_its_advantage(seed):
    batch = prompts(seed)
    equal(
        -slope(batch, objectives.rloo(batch).loss),
        reference("rloo_advantage")(batch.rewards.numpy()),
    )
    found = KNOWN["rloo_advantage"].wrong_answers["includes self"](batch.rewards.numpy())
    equal(found, centred(batch.rewards).numpy())


@pytest.mark.parametrize("seed", range(3))
def test_grpo_pushes_each_response_by_its_advantage(seed):
    batch = prompts(seed)
    rewards = batch.rewards.numpy()
    equal(-slope(batch, objectives.grpo(batch).loss), reference("grpo_advantage")(rewards))
    wrong = KNOWN["grpo_advantage"].wrong_answers
    equal(wrong["batch-wide std"](rewards), group_advantages(batch, "batch").numpy())
    equal(wrong["mean without std"](rewards), group_advantages(batch, "none").numpy())


def test_a_tied_group_is_finite_as_in_the_library():
    rewards = np.array([[0.1, 0.1, 0.1, 0.1], [0.0, 1.0, 0.0, 0.0], [0.3, 0.3, 0.3, 0.6]])
    half, mask = torch.zeros(3, 4, 1, dtype=torch.float64), torch.ones(3, 4, 1)
    batch = GroupBatch(
        policy_logps=half, behaviour_logps=half, rewards=torch.tensor(rewards), mask=mask
    )
    found = reference("grpo_advantage")(rewards)
    equal(found[0], np.zeros(4))
    equal(found, group_advantages(batch, "group").numpy())


@pytest.mark.parametrize("seed", range(4))
def test_gae_is_ppos(seed):
    policy, values, mask, rewards = group(seed)
    cost = np.random.default_rng(seed + 50).normal(size=mask.shape) * mask
    batch = batch_of(policy, policy, mask, rewards)
    inside = torch.tensor((values * mask)[None])
    expected = generalised_advantages(batch, inside, torch.tensor(cost[None]), lam=0.8, gamma=0.9)[
        0
    ].numpy()
    last = np.arange(mask.shape[1]) == mask.sum(axis=1, keepdims=True) - 1
    paid = np.where(mask, np.where(last, rewards[:, None], 0.0) - cost, np.nan)
    equal(reference("gae")(paid, np.where(mask, values, np.nan), mask, 0.9, 0.8), expected)


@pytest.mark.parametrize("seed", range(4))
def test_gvpo_loss_is_the_librarys(seed):
    policy, ref, mask, rewards = group(seed)
    expected = objectives.gvpo(batch_of(policy, ref, mask, rewards), alpha=0.3).loss.item()
    assert reference("gvpo_loss")(policy, ref, mask, rewards, 0.3) == pytest.approx(
        expected, rel=1e-12
    )


def laws(seed, size=3, width=4, vocab_size=5):
    """Next-token laws of policy and reference, the sampled tokens, mask, rewards, as tensors and
    arrays.
    """
    torch.manual_seed(seed)
    table = (
        torch.randn(size, width, vocab_size, dtype=torch.float64).log_softmax(-1).requires_grad_()
    )
    ref = torch.randn(size, width, vocab_size, dtype=torch.float64).log_softmax(-1)
    tokens = torch.randint(vocab_size, (size, width, 1))
    _, _, mask, rewards = group(seed, size, width)
    kl = (table.exp() * (table - ref)).sum(-1)
    return table, ref, tokens, kl, mask, rewards


@pytest.mark.parametrize("seed", range(4))
def test_vimpo_residual_and_slopes_are_the_librarys(seed):
    table, ref, tokens, kl, mask, rewards = laws(seed)
    policy, theirs = (x.detach().gather(-1, tokens)[..., 0].numpy() for x in (table, ref))
    exact = kl.detach().numpy()
    for baseline, name in (("mean", None), ("leave_one_out", "leave-one-out mean")):
        batch = batch_of(policy, theirs, mask, rewards, policy_kl=exact)
        out = objectives.vimpo(batch, alpha=0.4, actor=0.0, baseline=baseline)
        out.loss.backward()
        function = (
            reference("vimpo_residual")
            if name is None
            else KNOWN["vimpo_residual"].wrong_answers[name]
        )
        residuals, slopes = function(policy, theirs, exact, mask, rewards, 0.4)
        equal((residuals**2).mean() / 2, out.loss.item())
        equal(slopes, batch.policy_logps.grad[0].numpy())


def test_kappa_not_detached_is_what_autograd_gives_without_detach():
    table, ref, tokens, kl, mask, rewards = laws(7)
    inside, paid = torch.tensor(mask), torch.tensor(rewards)
    x = (table - ref).gather(-1, tokens)[..., 0]
    residuals = 0.4 * ((x - kl) * inside).sum(-1) - (paid - paid.mean())
    (residuals.square().mean() / 2).backward()
    policy, theirs = (z.detach().gather(-1, tokens)[..., 0].numpy() for z in (table, ref))
    wrong = KNOWN["vimpo_residual"].wrong_answers["kappa not detached"]
    found = wrong(policy, theirs, kl.detach().numpy(), mask, rewards, 0.4)
    equal(found[0], residuals.detach().numpy())
    equal(found[1], table.grad.gather(-1, tokens)[..., 0].numpy())


def test_kappa_from_k1_leaves_nothing_of_the_policy():
    policy, ref, mask, rewards = group(3)
    wrong = KNOWN["vimpo_residual"].wrong_answers["kappa from k1"]
    equal(
        wrong(policy, ref, np.zeros_like(policy), mask, rewards, 0.4)[0], rewards.mean() - rewards
    )
    with pytest.raises(ValueError, match="zero at every token"):
        objectives.vimpo(batch_of(policy, ref, mask, rewards), kl="k1")


def expected_gradient(objective, law, sampler, ref, rewards, size, **settings):
    """d E[loss]/d logits of the law [n], over all groups of `size` one-token answers drawn from
    `sampler`.
    """
    groups = torch.tensor(list(itertools.product(range(len(law)), repeat=size)))
    logits = torch.tensor(law).log().requires_grad_()
    policy, sampler, ref, rewards = (
        logits.log_softmax(0),
        *map(torch.tensor, (sampler, ref, rewards)),
    )
    batch = GroupBatch(
        policy_logps=policy[groups][..., None],
        behaviour_logps=sampler.log()[groups][..., None],
        reference_logps=ref.log()[groups][..., None],
        rewards=rewards[groups],
        mask=torch.ones(*groups.shape, 1),
        group_weight=sampler[groups].prod(1),
    )
    objective(batch, **settings).loss.backward()
    return logits.grad.numpy()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_imitating_the_winner_comes_to_rest_at_best_of_k(size):
    probs, rewards = np.array([0.1, 0.25, 0.3, 0.35]), np.array([0.5, 1.0, 1.0, 0.0])
    exercise = KNOWN["best_of_k_law"]
    law = exercise.reference(probs, rewards, size)
    assert abs(law.sum() - 1) < 1e-13
    equal(expected_gradient(objectives.sft_winning, law, probs, probs, rewards, size), np.zeros(4))
    wrong = exercise.wrong_answers["splits ties equally"](probs, rewards, size)
    found = expected_gradient(objectives.sft_winning, wrong, probs, probs, rewards, size)
    assert np.abs(found).max() > 0.01


@pytest.mark.parametrize(("size", "offset"), [(2, 0.0), (3, 5.0), (4, -1.0)])
def test_grpo_comes_to_rest_at_its_one_step_law(size, offset):
    """Without std, A(y) is (1 - 1/K) R(y) up to a number, and numbers do not matter: no loop is
    needed.
    """
    ref, rewards, alpha = np.array([0.3, 0.2, 0.4, 0.1]), np.array([0.2, 1.0, 0.0, 0.7]), 0.4
    advantages = (1 - 1 / size) * rewards + offset
    settings = {"alpha": alpha, "kl": "k3", "scale": "none"}
    law = reference("grpo_one_step_law")(advantages, ref, alpha)
    equal(
        expected_gradient(objectives.grpo, law, law, ref, rewards, size, **settings),
        np.zeros(4),
        1e-13,
    )
    tilt = KNOWN["grpo_one_step_law"].wrong_answers["exponential tilt"](advantages, ref, alpha)
    assert (
        np.abs(expected_gradient(objectives.grpo, tilt, tilt, ref, rewards, size, **settings)).max()
        > 1e-3
    )


def test_grpo_with_std_comes_to_rest_there_too():
    """With std, A(y) = E[A_i | y_i = y] depends on the law: repeat until it stays."""
    ref, rewards, alpha, size = np.array([0.3, 0.3, 0.4]), np.array([0.2, 1.0, 0.0]), 2.0, 3
    groups = np.array(list(itertools.product(range(3), repeat=size)))
    given = reference("grpo_advantage")(rewards[groups])[:, 0]
    law = ref
    for _ in range(300):
        chance = law[groups[:, 1:]].prod(axis=1)
        advantages = np.array([(chance * given)[groups[:, 0] == y].sum() for y in range(3)])
        law = (law + reference("grpo_one_step_law")(advantages, ref, alpha)) / 2
    equal(law @ advantages, 0.0)
    equal(law, alpha * ref / (alpha - advantages))
    equal(
        expected_gradient(objectives.grpo, law, law, ref, rewards, size, alpha=alpha), np.zeros(3)
    )


@pytest.mark.parametrize("alpha", [0.001, 0.3, 50.0])
def test_the_one_step_law_is_a_law_and_no_move_raises_j(alpha):
    rng = np.random.default_rng(4)
    ref, advantages = rng.dirichlet(np.ones(6)), rng.normal(size=6)
    law = reference("grpo_one_step_law")(advantages, ref, alpha)
    assert law.min() > 0
    equal(law.sum(), 1.0)
    equal(np.ptp(advantages + alpha * ref / law), 0.0, 1e-9)
    wrong = KNOWN["grpo_one_step_law"].wrong_answers["wrong branch"](advantages, ref, alpha)
    equal(wrong.sum(), 1.0, 1e-9)
    assert wrong.min() < 0, "stationary and of sum 1, and no law"


# --- right in other ways --------------------------------------------------------------------------


def looped_gae(rewards, values, mask, gamma, lam):
    found = np.zeros(mask.shape)
    for i, length in enumerate(mask.sum(axis=1)):
        after = 0.0
        for t in reversed(range(length)):
            ahead = values[i, t + 1] if t + 1 < length else 0.0
            after = rewards[i, t] + gamma * ahead - values[i, t] + gamma * lam * after
            found[i, t] = after
    return found


def gvpo_by_variance(policy_logps, reference_logps, mask, rewards, alpha):
    h = [(a - b)[m].sum() for a, b, m in zip(policy_logps, reference_logps, mask, strict=True)]
    return np.var(rewards - alpha * np.array(h), ddof=1) / 2


def looped_vimpo(policy_logps, reference_logps, policy_kl, mask, rewards, alpha):
    slopes, residuals = np.zeros(mask.shape), []
    for i, m in enumerate(mask):
        total = alpha * sum((policy_logps - reference_logps - policy_kl)[i, m])
        residuals.append(total - rewards[i] + rewards.mean())
        slopes[i, m] = residuals[-1] * alpha / len(mask)
    return [residuals, slopes.tolist()]


def sorted_best_of_k(probs, rewards, group_size):
    law, below = np.zeros(len(probs)), 0.0
    for reward in sorted(set(rewards)):
        tied = rewards == reward
        upto = min(below + probs[tied].sum(), 1.0)
        law[tied] = probs[tied] / probs[tied].sum() * (upto**group_size - below**group_size)
        below = upto
    return law


def newton_law(advantages, reference, alpha):
    multiplier = (
        advantages + alpha * reference
    ).max()  # the sum is at least 1 here, and convex: Newton does not jump
    for _ in range(200):
        law = alpha * reference / (multiplier - advantages)
        multiplier += (law.sum() - 1) / (law / (multiplier - advantages)).sum()
    return law


RIGHT = {
    "rloo_advantage": [
        lambda r: (r - r.mean(1, keepdims=True)) * r.shape[1] / (r.shape[1] - 1),
        lambda r: [[x - np.delete(row, i).mean() for i, x in enumerate(row)] for row in r],
    ],
    "grpo_advantage": [
        lambda r: ((r.T - r.mean(1)) / (np.sqrt(np.var(r, axis=1, ddof=1)) + 1e-4)).T,
    ],
    "gae": [looped_gae],
    "gvpo_loss": [gvpo_by_variance],
    "vimpo_residual": [looped_vimpo],
    "best_of_k_law": [sorted_best_of_k],
    "grpo_one_step_law": [newton_law],
}


@pytest.mark.parametrize("name", RIGHT)
def test_other_right_ways_pass(name):
    for right in RIGHT[name]:
        for seed in range(20):
            KNOWN[name].run(right, seed)


# --- and wrong in others --------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORY)
def test_number_and_wrong_answers_are_the_storys(name):
    number, wrong = STORY[name]
    exercise = KNOWN[name]
    assert exercise.statement.startswith(f"Exercise {number}: ")
    assert set(exercise.wrong_answers) >= wrong
    assert len(exercise.hints) == 3


def test_they_stand_in_the_order_of_their_numbers():
    numbers = [
        int(re.match(r"Exercise (\d+): ", KNOWN[name].statement)[1])
        for name in KNOWN
        if name in STORY
    ]
    assert numbers == sorted(number for number, _ in STORY.values())


@pytest.mark.parametrize(
    ("name", "returned", "complaint"),
    [
        (
            "rloo_advantage",
            np.zeros((3, 2)),
            "expected an array of shape (2, 3), got an array of shape (3, 2)",
        ),
        ("rloo_advantage", np.zeros((2, 3)), "at prompt 0, response 0: expected 0.75, got 0"),
        ("gae", np.zeros((2, 3)), "at response 0, t"),
        ("gvpo_loss", np.zeros(4), "expected one number, got an array of shape (4,)"),
        (
            "vimpo_residual",
            np.zeros((2, 3)),
            "expected a pair (residuals, slopes) of arrays, got an array",
        ),
        ("vimpo_residual", ([0.625, -0.75], np.zeros((2, 3))), "slopes: at response 0, t"),
        ("best_of_k_law", np.array([0.01, 0.3, 0.45, 0.3]), "yours add up to 1.06, not to 1"),
        ("grpo_one_step_law", np.array([0.5, 0.8, -0.3]), "yours has negative probabilities"),
        (
            "grpo_one_step_law",
            np.array([0.4, 0.5, 0.1]),
            "at answer 0: expected 0.5, got 0.4 (2 of 3 entries differ)",
        ),
    ],
)
def test_what_the_message_says(name, returned, complaint):
    assert complaint in refusal(KNOWN[name], lambda *arguments: returned)


def test_six_digits_of_the_one_step_law_are_enough():
    exact = reference("grpo_one_step_law")
    KNOWN["grpo_one_step_law"].run(lambda *a: exact(*a) * (1 + 5e-7))
    assert "expected" in refusal(KNOWN["grpo_one_step_law"], lambda *a: exact(*a) * (1 + 1e-5))
