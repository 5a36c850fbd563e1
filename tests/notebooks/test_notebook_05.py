"""Notebook 05: its equations, each under its number and by other means, and what its prose says."""

import itertools
import math
import re

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import exact, objectives, policies, training
from gnivo_edu.batch import GroupBatch
from tests.notebooks.notebook import Notebook

BOOK = Notebook("05_learns_where_it_went_wrong")
WRONG = toy_envs.PosterProblem.examples["wrong at 3"]


# --- the equations, each by brute force -----------------------------------------------------------


@pytest.fixture(scope="module")
def key():
    return exact.solve(exact.enumerate_tree(toy_envs.PosterProblem()), 0.5)


def random_group(rng, lengths, columns):
    """Log-probabilities under a policy and a reference [K, T], and rewards [K]."""
    shape = (len(lengths), columns)
    return (
        -rng.exponential(size=shape),
        -rng.exponential(size=shape),
        rng.uniform(size=len(lengths)),
    )


def term_by_term(policy, reference, lengths, rewards, alpha, depths):
    """The loss as it is written: one term after another, a finished answer keeping its rho."""
    loss = 0.0
    for t in range(1, depths + 1):
        rho = [
            sum(policy[i][:cut]) - sum(reference[i][:cut])
            for i, cut in enumerate(np.minimum(t, lengths))
        ]
        total = math.log(sum(map(math.exp, rho)))
        loss -= sum(math.exp(r / alpha) * (x - total) for r, x in zip(rewards, rho, strict=True))
    return loss


def library_loss(policy, reference, lengths, rewards, alpha):
    mask = np.arange(policy.shape[1]) < np.asarray(lengths)[:, None]
    fields = {
        "policy_logps": policy,
        "behaviour_logps": reference,
        "rewards": rewards,
        "mask": mask,
    }
    batch = GroupBatch(
        **{name: torch.from_numpy(np.asarray(x))[None] for name, x in fields.items()}
    )
    return objectives.gnivo(batch, alpha=alpha).loss.item()


def test_equation_5_1(key):
    """rho of the best policy, from products of its choices, is V - log Z at every prefix."""
    tree = key.tree
    for t in range(1, 8):
        for number in range(2**t):
            prefix, ratio = tree.prefix(t, number), 1.0
            for k, token in enumerate(prefix):
                row = tree.index(prefix[:k])[1]
                ratio *= math.exp(key.optimal_step_logps[k][row, token]) / math.exp(
                    tree.step_logps[k][row, token]
                )
            assert math.log(ratio) == pytest.approx(key.soft_value(prefix) - key.log_z, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_equation_5_2(alpha):
    policy, reference, rewards = random_group(np.random.default_rng(0), [5] * 4, 5)
    by_term = term_by_term(policy, reference, [5] * 4, rewards, alpha, depths=5)
    assert library_loss(policy, reference, [5] * 4, rewards, alpha) == pytest.approx(
        by_term, rel=1e-12
    )


def test_equation_5_3():
    """At the start the slope with respect to rho_t^i, by differences, is the same number at every
    t.
    """
    rng, alpha, h = np.random.default_rng(1), 0.5, 1e-5
    _, reference, rewards = random_group(rng, [4] * 3, 4)
    weights = np.exp(rewards / alpha)
    for i, t in itertools.product(range(3), range(4)):
        loss = []
        for step in (h, -h):
            policy = reference.copy()
            policy[i, t] += step
            if t < 3:
                policy[i, t + 1] -= step  # moves rho at this depth alone
            loss.append(term_by_term(policy, reference, [4] * 3, rewards, alpha, depths=4))
        assert -(loss[0] - loss[1]) / (2 * h) == pytest.approx(
            weights[i] - weights.sum() / 3, abs=1e-6
        )


@pytest.mark.parametrize("size", [2, 3])
def test_equation_5_4(size):
    """Over every group of complete answers, with its probability, given the first member's
    prefix.
    """
    mdp = toy_envs.RandomTree(vocab_size=2, horizon=3)
    tree = exact.enumerate_tree(mdp, exact.random_reference(2, 3, seed=2))
    solution = exact.solve(tree, 0.5)
    law, weights = np.exp(tree.prefix_logps[-1]), np.exp(tree.rewards / 0.5)
    for t in range(4):
        push, mass = np.zeros(2**t), np.zeros(2**t)
        for members in itertools.product(range(8), repeat=size):
            chance, prefix = math.prod(law[i] for i in members), members[0] // 2 ** (3 - t)
            push[prefix] += chance * (weights[members[0]] - sum(weights[i] for i in members) / size)
            mass[prefix] += chance
        expected = (1 - 1 / size) * (np.exp(solution.values[t]) - math.exp(solution.log_z))
        assert push / mass == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("columns", [4, 6])
def test_equation_5_5(columns):
    lengths = [2, 4, 1]
    policy, reference, rewards = random_group(np.random.default_rng(3), lengths, columns)
    by_term = term_by_term(policy, reference, lengths, rewards, 0.5, depths=4)
    assert library_loss(policy, reference, lengths, rewards, 0.5) == pytest.approx(
        by_term, rel=1e-12
    )


def test_equation_5_6():
    """Tilting the start by nR/alpha, and tilting the last round's policy once more, meet the fitted
    policy.
    """
    mdp, alpha = toy_envs.RandomTree(vocab_size=2, horizon=3), 0.5
    rewards = exact.enumerate_tree(mdp).rewards
    law = np.full(8, 1 / 8)
    for done in training.exact_rounds(mdp, alpha, rounds=6):
        law = law * np.exp(rewards / alpha)
        law /= law.sum()
        at_once = np.exp(done.round * rewards / alpha)
        assert law == pytest.approx(at_once / at_once.sum(), abs=1e-12)
        assert done.kl < 1e-9
        assert done.expected_reward == pytest.approx(float(law @ rewards), abs=1e-6)
    assert law.argmax() == rewards.argmax()
    assert law.max() > 0.6, "it is on its way to the single best answer"


# --- what the prose says --------------------------------------------------------------------------


def test_one_group_blames_every_step_alike():
    rows = re.findall(r"^[✓✗]{7}  R = ([01])    (.*)$", BOOK.printed, re.MULTILINE)
    assert len(rows) == 8
    for reward, row in rows:
        numbers = row.split()
        assert numbers == [numbers[0]] * 7
        assert (float(numbers[0]) > 0) == (reward == "1")


def test_many_groups_tell_the_steps_apart(key):
    rows = dict(re.findall(r"^ *(\d+ groups|exact)    (.*)$", BOOK.printed, re.MULTILINE))
    push = {name: [float(x) for x in row.split()] for name, row in rows.items()}
    expected = [
        7 / 8 * (math.exp(key.soft_value(WRONG[:t])) - math.exp(key.log_z)) for t in range(1, 8)
    ]
    assert push["exact"] == pytest.approx(expected, abs=0.006)
    assert push["10000 groups"] == pytest.approx(push["exact"], abs=0.1)
    for row in push.values():
        assert min(row[:2]) > 0, "upwards while the answer is on its way"
        assert max(row[2:]) < 0, "down after the mistake"
        assert row[6] == min(row), "further down after the missed check"


@pytest.fixture(scope="module")
def run():
    problem = toy_envs.PosterProblem()
    at = [1, 10, 100, 1000]
    return training.train(
        problem, 0.5, 8, steps=1000, groups_per_step=1, learning_rate=0.02, record_at=at, seed=0
    )


@pytest.mark.slow
def test_the_strip_finds_the_mistake_first_and_the_missed_check_next(run):
    strip = {r.groups: np.array(run.credits(i, WRONG)) for i, r in enumerate(run.records)}
    expected = run.key.step_credit(WRONG)
    assert np.abs(strip[1]).max() < 0.02, "after one group, next to nothing"
    assert strip[10].argmin() == 2, "after ten, the mistake"
    assert strip[100].argmin() == 6, "after a hundred, the missed check"
    assert strip[1000] == pytest.approx(expected, abs=0.03)
    rows = re.findall(r"^\d \D+? +(?:right|wrong) .*$", BOOK.printed, re.MULTILINE)
    assert any("▼−0.68" in row and "▼−0.67" in row for row in rows), (
        "the committed figure shows the same"
    )


@pytest.mark.slow
def test_kl_and_the_typical_error_fall_and_the_worst_does_not(run):
    first, last = run.records[0], run.records[-1]
    assert last.kl < first.kl / 50
    assert last.value_error > first.value_error
    ends = re.findall(r"^GN-IVO +\D+? +(\S+) +(\S+) +1000$", BOOK.printed, re.MULTILINE)
    (kl0, kl1), (typical0, typical1), (worst0, worst1) = [(float(a), float(b)) for a, b in ends]
    assert (kl0, kl1) == pytest.approx((first.kl, last.kl), rel=0.01)
    assert typical1 < typical0 / 10
    assert (worst0, worst1) == pytest.approx((first.value_error, last.value_error), rel=0.01)


def test_the_worst_answer_was_hardly_ever_written(key):
    text, times = re.search(
        r"worst answer is ([✓✗]{7}), .*\n.*about (\d+) should", BOOK.printed
    ).groups()
    number = int(text.replace("✓", "0").replace("✗", "1"), 2)
    expected = 8_000 * math.exp(key.tree.prefix_logps[7][number])
    assert round(expected) == int(times) < 5
    best = key.tree.prefix_logps[7][number] + key.values[7][number] - key.log_z
    assert best < math.log(1e-3), "the best policy hardly ever writes it either"


def test_dividing_by_the_own_length_moves_the_optimum():
    summed, divided = (float(x) for x in re.findall(r"misses V by (\S+) nats", BOOK.printed))
    assert summed == 0
    assert divided > 0.1


@pytest.mark.slow
def test_softmax_weights_arrive_at_another_policy():
    scene = toy_envs.RandomTree(vocab_size=3, horizon=3)

    def last(weights, steps):
        return training.train(scene, 0.2, 2, steps=steps, weights=weights, seed=0).records[-1].kl

    raw, softened = last("raw", 600), last("softmax", 600)
    assert softened > 20 * raw
    ends = re.findall(r"^(?:raw|softmax) weights +end (\S+) nats", BOOK.printed, re.MULTILINE)
    assert [float(x) for x in ends] == pytest.approx([raw, softened], abs=1e-4)

    pairs = policies.all_groups(scene, exact.uniform_reference(3, 3), 2)
    model = policies.TabularLM.from_mdp(scene)
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        batch = policies.make_group_batch(model, scene, pairs)
        loss = objectives.gnivo(batch, alpha=0.2, weights="softmax").loss
        loss.backward()
        return loss

    optimiser.step(closure)
    key = exact.solve(exact.enumerate_tree(scene), 0.2)
    limit, _ = training.algorithm1.distance_from_key(policies.tabulate(model, scene), key)
    assert softened == pytest.approx(limit, rel=0.15), "it is not slow: it has arrived"
