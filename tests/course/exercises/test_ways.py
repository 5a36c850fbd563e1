"""Other right ways to solve an exercise pass; other wrong ones, and other forms of answer, do
not.
"""

import math

import numpy as np
import pytest

from gnivo_edu.course import check, exercises
from tests.course.exercises import refusal


def logsumexp(x, axis=-1):
    largest = np.max(x, axis=axis, keepdims=True)
    return np.squeeze(largest, axis) + np.log(np.exp(x - largest).sum(axis=axis))


def looped_backup(next_logps, next_values):
    next_logps, next_values = np.asarray(next_logps), np.asarray(next_values)
    if next_logps.ndim == 1:
        exponents = [a + b for a, b in zip(next_logps, next_values, strict=True)]
        top = max(exponents)
        return top + math.log(sum(math.exp(x - top) for x in exponents))
    return [looped_backup(a, b) for a, b in zip(next_logps, next_values, strict=True)]


def averaged_with_a_dictionary(answers, logps, rewards, prefix, alpha):
    law = {
        y: (p, r)
        for y, p, r in zip(answers, logps, rewards, strict=True)
        if y[: len(prefix)] == prefix
    }
    top = max(r / alpha for _, r in law.values())
    mass = sum(math.exp(p) for p, _ in law.values())
    return top + math.log(sum(math.exp(p + r / alpha - top) for p, r in law.values()) / mass)


def optimal_by_softmax(step_logps, values):
    tables = []
    for t, table in enumerate(step_logps):
        tilted = table + values[t + 1].reshape(-1, table.shape[1])
        tables.append(tilted - logsumexp(tilted, axis=1)[:, None])
    return tables


def optimal_by_prefix(step_logps, values):
    tables = [np.empty(table.shape) for table in step_logps]
    for t, table in enumerate(step_logps):
        V = table.shape[1]
        for i in range(len(table)):
            for a in range(V):
                tables[t][i, a] = table[i, a] + values[t + 1][i * V + a] - values[t][i]
    return tuple(tables)


def alpha_by_linear_bisection(logps, rewards, kl_budget):
    p, low, high = np.exp(logps.sum(axis=1)), 0.0005, 2000.0
    for _ in range(80):
        alpha = (low + high) / 2
        tilted = p * np.exp((rewards - rewards.max()) / alpha)
        tilted /= tilted.sum()
        kl = np.sum(tilted * np.log(np.where(tilted > 0, tilted / p, 1.0)))
        low, high = (alpha, high) if kl > kl_budget else (low, alpha)
    return alpha


def looped_prefix_logratio(policy_logps, reference_logps, lengths):
    rho = np.zeros(policy_logps.shape)
    for i, length in enumerate(lengths):
        total = 0.0
        for t in range(policy_logps.shape[1]):
            if t < length:
                total += policy_logps[i, t] - reference_logps[i, t]
            rho[i, t] = total
    return rho


def looped_loss(prefix_logratio, rewards, alpha):
    loss = 0.0
    for rho in prefix_logratio.T:
        total = logsumexp(rho)
        loss += sum(math.exp(r / alpha) * (total - x) for r, x in zip(rewards, rho, strict=True))
    return loss


def weights_by_depth(prefix_logratio, rewards, alpha):
    w = np.exp(rewards / alpha)
    columns = [w - w.sum() * np.exp(rho - logsumexp(rho)) for rho in prefix_logratio.T]
    return np.stack(columns, axis=1)


def looped_shifts(v_theta, values, prefix_logps):
    shifts, spreads = [], []
    for a, b, p in zip(v_theta, values, prefix_logps, strict=True):
        gaps = [x - y for x, y, logp in zip(a, b, p, strict=True) if np.exp(logp) > 0]
        shifts.append(sum(gaps) / len(gaps))
        spreads.append(np.ptp(gaps))
    return [shifts, spreads]


def composed(policy_logps, reference_logps, lengths, rewards, alpha):
    longest = max(lengths)
    rho = check.prefix_logratio.reference(
        policy_logps[:, :longest], reference_logps[:, :longest], lengths
    )
    return check.gnivo_loss.reference(rho, rewards, alpha)


RIGHT = {
    "log_z": [
        lambda p, r, a: np.logaddexp.reduce(p + r / a),
        lambda p, r, a: (
            r[p > -np.inf].max() / a + math.log(np.sum(np.exp(p + (r - r[p > -np.inf].max()) / a)))
        ),
    ],
    "tilted_policy": [lambda p, r, a: np.stack([x - logsumexp(x) for x in p + r / a])],
    "soft_value_backup": [looped_backup, lambda p, v: logsumexp(p + v)],
    "value_by_averaging": [averaged_with_a_dictionary],
    "optimal_prefix_logps": [lambda p, v, r, a: np.cumsum(p + np.diff([*v, r / a]))],
    "step_credit": [lambda v, r, a: [y - x for x, y in zip(v, [*v[1:], r / a], strict=True)]],
    "success_probability": [
        lambda v, a: np.exp(v - 1 / a) * np.expm1(-v) / np.expm1(-1 / a),
        lambda v, a: (np.exp(v - 1 / a) - np.exp(-1 / a)) / -np.expm1(-1 / a),
    ],
    "optimal_step_logps": [optimal_by_softmax, optimal_by_prefix],
    "alpha_for_kl_budget": [alpha_by_linear_bisection],
    "prefix_logratio": [looped_prefix_logratio],
    "gnivo_loss": [looped_loss],
    "gnivo_gradient_weights": [weights_by_depth],
    "shift_and_spread": [looped_shifts],
    "pin_the_shift": [lambda vs, ps: [v - logsumexp(p + v) for v, p in zip(vs, ps, strict=True)]],
    "gnivo_loss_unequal_lengths": [composed],
}
NEW = [exercise for exercise in exercises.all() if exercise.name in RIGHT]


@pytest.mark.parametrize("exercise", NEW, ids=lambda e: e.name)
def test_other_right_ways_pass(exercise):
    for right in RIGHT[exercise.name]:
        for seed in range(10):
            exercise.run(right, seed)


def test_all_exercises_but_the_first_two_are_here():
    assert [e.name for e in exercises.all()][2:17] == [e.name for e in NEW] == list(RIGHT)
    assert all(len(e.wrong_answers) >= 4 and len(e.hints) == 3 for e in NEW)


@pytest.mark.parametrize(
    ("name", "returned", "complaint"),
    [
        ("log_z", np.zeros(3), "expected one number, got an array of shape (3,)"),
        (
            "tilted_policy",
            np.zeros((3, 2)),
            "expected an array of shape (2, 3), got an array of shape (3, 2)",
        ),
        (
            "tilted_policy",
            np.zeros((2, 3), dtype=np.float32),
            "expected float64, got float32: exact work needs",
        ),
        ("soft_value_backup", np.zeros(1), "expected one number, got an array of shape (1,)"),
        ("step_credit", np.zeros(3), "expected an array of shape (4,), got an array of shape (3,)"),
        ("step_credit", np.zeros(4), "at step 1: expected 0.5, got 0 (4 of 4 entries differ)"),
        (
            "prefix_logratio",
            np.zeros((3, 4)),
            "at response 0, t = 1: expected 0.5, got 0 (12 of 12 entries differ)",
        ),
        (
            "optimal_step_logps",
            np.zeros((2, 2)),
            "expected a list of arrays, one for each depth, got an array",
        ),
        ("pin_the_shift", [np.zeros(2)], "expected a list of 2 arrays, got 1 of them"),
        ("pin_the_shift", [np.zeros(2), np.zeros(4)], "t = 1, at prefix 0: expected -1.09861"),
        ("shift_and_spread", [(0, 0)] * 3, "expected a pair (shifts, spreads) of arrays, got list"),
        (
            "shift_and_spread",
            (np.array([1.5, -0.75, 3.125]), np.zeros(3)),
            "spreads: at t = 1: expected 1, got 0",
        ),
        ("alpha_for_kl_budget", 0.4, "expected alpha 0.5, got 0.4"),
    ],
)
def test_what_the_message_says(name, returned, complaint):
    assert complaint in refusal(getattr(check, name), lambda *arguments: returned)


def test_alpha_to_six_digits_is_enough():
    exact = check.alpha_for_kl_budget.reference
    check.alpha_for_kl_budget.run(lambda *a: exact(*a) * (1 + 9e-7))
    assert "expected alpha" in refusal(check.alpha_for_kl_budget, lambda *a: exact(*a) * (1 + 1e-5))


def test_a_mistake_that_was_right_so_far_is_named_alone():
    """nan on nan padding is also what counting the padding gives; but that would have failed on the
    first case.
    """
    message = refusal(check.prefix_logratio, check.prefix_logratio.wrong_answers["padding times 0"])
    assert "0 * nan is nan" in message
    assert "padding is counted" not in message
