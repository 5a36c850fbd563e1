"""The reference solutions of the exercises agree with the exact laboratory, which was written
without them.
"""

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact
from gnivo_edu.course import check

TREES = {
    "poster": (toy_envs.PosterProblem(), 0.5),
    "brackets": (toy_envs.Brackets(horizon=5), 0.3),
    "random": (
        toy_envs.TokenMDP(3, 4, reward=lambda tokens, lengths: np.sin(tokens @ [1, 2, 5, 7])),
        1.7,
    ),
    "greedy": (toy_envs.Brackets(horizon=4), 0.001),
}


@pytest.fixture(params=TREES)
def key(request):
    mdp, alpha = TREES[request.param]
    own = request.param == "poster"
    reference = None if own else exact.random_reference(mdp.vocab_size, mdp.horizon, seed=3)
    return exact.solve(exact.enumerate_tree(mdp, reference), alpha)


def answers_of(key):
    """Complete answers, their log-probabilities and rewards."""
    numbers = key.tree.reachable(key.tree.horizon)
    answers = tuple(key.tree.prefix(key.tree.horizon, int(number)) for number in numbers)
    return answers, key.tree.prefix_logps[-1][numbers], key.tree.rewards[numbers]


def padded(key, answer):
    """The answer as T tokens: finished, it repeats the end token."""
    return (*answer, *[key.tree.eos_token_id] * (key.tree.horizon - len(answer)))


def equal(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


def test_leaves(key):
    tree = key.tree

    def next_logps(prefix):
        depth, number = tree.index(prefix)
        return tree.step_logps[depth][number]

    found = dict(
        check.enumerate_leaves.reference(
            next_logps, tree.vocab_size, tree.horizon, tree.eos_token_id
        )
    )
    answers, logps, _ = answers_of(key)
    assert set(found) == set(answers)
    equal([found[answer] for answer in answers], np.exp(logps))


def test_log_z_and_tilted_policy(key):
    answers, logps, rewards = answers_of(key)
    equal(check.log_z.reference(logps, rewards, key.alpha), key.log_z)
    found = check.tilted_policy.reference(logps[None], rewards[None], key.alpha)
    equal(found[0], [key.optimal_logprob(padded(key, answer)) for answer in answers])


def test_backup_at_every_depth(key):
    for t, table in enumerate(key.tree.step_logps):
        found = check.soft_value_backup.reference(table, key.values[t + 1].reshape(table.shape))
        equal(found, key.values[t])


def test_value_by_averaging_at_every_prefix(key):
    answers, logps, rewards = answers_of(key)
    for t in range(min(key.tree.horizon, 3) + 1):
        for number in key.tree.reachable(t):
            prefix = key.tree.prefix(t, int(number))
            found = check.value_by_averaging.reference(answers, logps, rewards, prefix, key.alpha)
            equal(found, key.values[t][number])


def test_prefixes_and_credits_along_every_answer(key):
    answers, _, rewards = answers_of(key)
    for answer, reward in zip(answers[:50], rewards[:50], strict=True):
        prefixes = [padded(key, answer)[:t] for t in range(key.tree.horizon + 1)]
        logps = np.diff(
            [key.tree.prefix_logps[t][key.tree.index(s)[1]] for t, s in enumerate(prefixes)]
        )
        values = np.array([key.soft_value(s) for s in prefixes[:-1]])
        found = check.optimal_prefix_logps.reference(logps, values, reward, key.alpha)
        equal(found, [key.optimal_logprob(s) for s in prefixes[1:]])
        credit = check.step_credit.reference(values, reward, key.alpha)
        equal(credit, key.step_credit(prefixes[-1]))
        equal(credit.sum(), reward / key.alpha - key.log_z)


def test_success_probability_is_the_chance_counted_from_answers():
    key = exact.solve(exact.enumerate_tree(toy_envs.PosterProblem()), 0.5)
    law, right = np.exp(key.tree.prefix_logps[-1]), key.tree.rewards
    for t, values in enumerate(key.values):
        found = check.success_probability.reference(values, key.alpha)
        counted = (law * right).reshape(len(values), -1).sum(axis=1) / law.reshape(
            len(values), -1
        ).sum(axis=1)
        equal(found, counted)
        equal(found, exact.success_probability(values, key.alpha))
        equal(found[0], key.success_probability(key.tree.prefix(t, 0)))


def test_optimal_step_logps(key):
    found = check.optimal_step_logps.reference(key.tree.step_logps, key.values)
    for t, (ours, theirs) in enumerate(zip(found, key.optimal_step_logps, strict=True)):
        equal(ours, theirs)
        rows = key.tree.reachable(t)
        equal(np.logaddexp.reduce(ours[rows], axis=1), np.zeros(len(rows)))


def test_alpha_for_kl_budget():
    key = exact.solve(exact.enumerate_tree(toy_envs.PosterProblem()), 0.37)
    numbers = [np.arange(128) // 2 ** (6 - t) for t in range(7)]
    logps = np.stack(
        [t.ravel()[n] for t, n in zip(key.tree.step_logps, numbers, strict=True)], axis=1
    )
    found = check.alpha_for_kl_budget.reference(logps, key.tree.rewards, key.kl)
    equal(found, 0.37)


def test_shift_spread_and_pin_of_a_fitted_value(key):
    """V_theta = V + c_t is what the group objective finds: its spread is 0, and pinned it is V -
    log Z.
    """
    constants = np.random.default_rng(0).normal(size=key.tree.horizon)
    v_theta = [values + c for values, c in zip(key.values[1:], constants, strict=True)]
    laws = key.tree.prefix_logps[1:]
    shifts, spreads = check.shift_and_spread.reference(v_theta, key.values[1:], laws)
    equal(shifts, constants)
    equal(spreads, 0)
    pinned = check.pin_the_shift.reference(v_theta, laws)
    for t, found in enumerate(pinned, start=1):
        equal(found, key.values[t] - key.log_z)
        reachable = key.tree.reachable(t)
        through_policy = [key.optimal_logprob(key.tree.prefix(t, int(n))) for n in reachable]
        short = [len(key.tree.prefix(t, int(n))) < t for n in reachable]
        equal(np.where(short, 0, found[reachable] + laws[t - 1][reachable] - through_policy), 0)
