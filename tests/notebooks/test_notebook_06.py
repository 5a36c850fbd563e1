"""Notebook 06: its equations, each under its number and by other means, and what its prose says."""

import itertools
import math
import re

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.grpo import group_advantages
from gnivo_edu.objectives.ppo import generalised_advantages
from gnivo_edu.population import Answers, Population, expect, gradient_covariance, point_at
from tests.notebooks.notebook import Notebook

BOOK = Notebook("06_what_a_critic_is_for")
WRONG = toy_envs.PosterProblem.examples["wrong at 3"]
TABLES = toy_envs.PosterProblem().reference()


# --- a small world of eight answers with graded rewards, counted by hand --------------------------


class World:
    """Binary trees of random rewards; pushes of single answers as plain dictionaries {(prefix,
    action): number}.
    """

    def __init__(self, horizon=3, seed=4):
        self.T = horizon
        self.tree = exact.enumerate_tree(
            toy_envs.RandomTree(vocab_size=2, horizon=horizon),
            exact.random_reference(2, horizon, seed=seed),
        )
        self.answers = list(itertools.product((0, 1), repeat=horizon))
        self.reward = dict(zip(self.answers, self.tree.rewards, strict=True))
        self.prefixes = [s for t in range(horizon) for s in itertools.product((0, 1), repeat=t)]
        self.places = [(s, a) for s in self.prefixes for a in (0, 1)]

    def chance(self, s, a):
        return math.exp(self.tree.step_logps[len(s)][self.tree.index(s)[1], a])

    def law(self, y):
        return math.prod(self.chance(y[:t], y[t]) for t in range(self.T))

    def mean_reward(self, s):
        through = [y for y in self.answers if y[: len(s)] == s]
        return sum(self.law(y) * self.reward[y] for y in through) / sum(map(self.law, through))

    def taken(self, s, a):
        return math.prod(self.chance(s[:t], s[t]) for t in range(len(s))) * self.chance(s, a)

    def push(self, y, blame):
        """(6.1) in the logits of a table."""
        slopes = dict.fromkeys(self.places, 0.0)
        for t, amount in enumerate(blame):
            for a in (0, 1):
                slopes[y[:t], a] += amount * ((y[t] == a) - self.chance(y[:t], a))
        return np.array([slopes[place] for place in self.places])

    def mean_push(self, blame):
        return sum(self.law(y) * self.push(y, blame(y)) for y in self.answers)

    def key(self):
        """P(s) pi(a|s) (p(s, a) - p(s))."""
        return np.array(
            [
                self.taken(s, a) * (self.mean_reward((*s, a)) - self.mean_reward(s))
                for s, a in self.places
            ]
        )

    def gae(self, y, guess, lam):
        """(6.6), term by term; `guess(prefix)` of unfinished prefixes."""
        p = [guess(y[:t]) for t in range(self.T)] + [self.reward[y]]
        return [
            sum(lam ** (m - t) * (p[m] - p[m - 1]) for m in range(t, self.T + 1))
            for t in range(1, self.T + 1)
        ]


@pytest.fixture(scope="module")
def world():
    return World()


def test_equation_6_1(world):
    """The push is the slope of sum_t A_t log pi(y_t | s_{t-1}), taken by differences."""
    rng, h = np.random.default_rng(0), 1e-6
    logits = {s: np.log([world.chance(s, 0), world.chance(s, 1)]) for s in world.prefixes}
    y, blame = (1, 0, 1), rng.normal(size=3)

    def total():
        return sum(
            A * (logits[y[:t]][y[t]] - np.logaddexp.reduce(logits[y[:t]]))
            for t, A in enumerate(blame)
        )

    slopes = []
    for s, a in world.places:
        values = []
        for step in (h, -h):
            logits[s][a] += step
            values.append(total())
            logits[s][a] -= step
        slopes.append((values[0] - values[1]) / (2 * h))
    assert world.push(y, blame) == pytest.approx(slopes, abs=1e-8)


def test_equation_6_2(world):
    """Both sides, counted; and the right side, times the chance of coming by, is the slope of the
    mean reward.
    """
    for s, a in world.places:
        both = []
        for prefix in ((*s, a), s):
            through = [y for y in world.answers if y[: len(prefix)] == prefix]
            mass = sum(map(world.law, through))
            both.append(sum(world.law(y) * (world.reward[y] - 0.3) for y in through) / mass)
        assert both[0] - both[1] == pytest.approx(
            world.mean_reward((*s, a)) - world.mean_reward(s), abs=1e-12
        )
    for baseline in (0.0, 0.7):
        push = world.mean_push(lambda y, b=baseline: [world.reward[y] - b] * 3)
        assert push == pytest.approx(world.key(), abs=1e-12)
    answers = Answers.of(world.tree)
    logits = answers.reference.clone().requires_grad_()
    mean_reward = answers.law(answers.policy(logits)) @ answers.rewards
    slope = torch.autograd.grad(mean_reward, logits)[0]
    order = [answers.state_numbers.index(world.tree.index(s)) for s in world.prefixes]
    assert slope[order].flatten().numpy() == pytest.approx(world.key(), abs=1e-12)


def test_equation_6_3():
    rewards = np.random.default_rng(1).uniform(size=(2, 5))
    logps = torch.full((2, 5, 1), -0.5, dtype=torch.float64, requires_grad=True)
    batch = GroupBatch(
        policy_logps=logps,
        behaviour_logps=logps,
        rewards=torch.from_numpy(rewards),
        mask=logps == logps,
    )
    objectives.rloo(batch, clip_low=None).loss.backward()
    expected = [
        [row[i] - sum(r for j, r in enumerate(row) if j != i) / 4 for i in range(5)]
        for row in rewards
    ]
    assert -10 * logps.grad[..., 0].numpy() == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_equation_6_4(size):
    """Every group of K answers to a problem of four, with its probability; and the library's
    covariance.
    """
    world = World(horizon=2, seed=9)
    score = {y: world.push(y, [1.0] * 2) for y in world.answers}

    def noise(size, advantage):
        first, second = 0.0, 0.0
        for group in itertools.product(world.answers, repeat=size):
            chance = math.prod(map(world.law, group))
            push = sum(A * score[y] for A, y in zip(advantage(group), group, strict=True)) / size
            first, second = first + chance * push, second + chance * push @ push
        return size * (second - first @ first)

    def others(group):
        earned = [world.reward[y] for y in group]
        return [r - (sum(earned) - r) / (len(group) - 1) for r in earned]

    mean = world.mean_reward(())
    known, two = noise(1, lambda group: [world.reward[group[0]] - mean]), noise(2, others)
    expected = ((size - 2) * known + two) / (size - 1)
    assert noise(size, others) == pytest.approx(expected, abs=1e-12)
    answers = Answers.of(world.tree)
    groups = Population.of(answers, size, sampler="current")
    _, covariance = gradient_covariance(
        objectives.rloo, groups, point_at(answers, 0.5), alpha=0.5, clip_low=None
    )
    assert size * covariance.trace().item() == pytest.approx(expected, abs=1e-12)


def test_equation_6_5():
    rewards = np.random.default_rng(2).uniform(size=(3, 4))
    rewards[1] = 0.25
    batch = GroupBatch(
        policy_logps=torch.zeros(3, 4, 1, dtype=torch.float64),
        behaviour_logps=torch.zeros(3, 4, 1).double(),
        rewards=torch.from_numpy(rewards),
        mask=torch.ones(3, 4, 1, dtype=torch.bool),
    )
    for row, advantages in zip(rewards, group_advantages(batch, "group").numpy(), strict=True):
        mean = sum(row) / 4
        std = math.sqrt(sum((r - mean) ** 2 for r in row) / 3)
        assert advantages == pytest.approx([(r - mean) / (std + 1e-4) for r in row], abs=1e-12)
    assert (advantages != 0).all()
    assert (group_advantages(batch, "group")[1] == 0).all(), "a tied group says nothing"


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
def test_equation_6_6(world, lam):
    """The library's GAE, answer by answer; at lam = 1 it is R minus the guess, at lam = 0 the
    surprise alone.
    """
    rng = np.random.default_rng(3)
    guess = {s: rng.uniform() for s in world.prefixes}
    values = torch.tensor(
        [[guess[y[:t]] for t in range(3)] for y in world.answers], dtype=torch.float64
    )[:, None]
    zeros = torch.zeros_like(values)
    batch = GroupBatch(
        policy_logps=zeros,
        behaviour_logps=zeros,
        mask=zeros == 0,
        rewards=torch.tensor([world.reward[y] for y in world.answers], dtype=torch.float64)[
            :, None
        ],
    )
    advantages = generalised_advantages(batch, values, zeros, lam)[:, 0].numpy()
    for y, row in zip(world.answers, advantages, strict=True):
        assert row == pytest.approx(world.gae(y, guess.get, lam), abs=1e-12)
        if lam == 1:
            assert row == pytest.approx(
                [world.reward[y] - guess[y[:t]] for t in range(3)], abs=1e-12
            )


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_equation_6_7(world, lam):
    """A critic that says the same everywhere: lam^(T - t) times the key; the exact critic: the key
    at any lam.
    """
    fade = np.array([lam ** (3 - len(s) - 1) for s, _ in world.places])
    for constant in (0.0, world.mean_reward(())):
        push = world.mean_push(lambda y, c=constant: world.gae(y, lambda s: c, lam))
        assert push == pytest.approx(fade * world.key(), abs=1e-12)
    push = world.mean_push(lambda y: world.gae(y, world.mean_reward, lam))
    assert push == pytest.approx(world.key(), abs=1e-12)
    strange = np.random.default_rng(5)
    guess = {s: strange.uniform() for s in world.prefixes}
    push = world.mean_push(lambda y: world.gae(y, guess.get, lam))
    assert (np.abs(push - world.key()).max() < 1e-12) == (lam == 1), (
        "a wrong critic is harmless at lam = 1 only"
    )


def test_equation_6_8(world):
    """At pi*, what is left after paying is alpha V(s_t), for every answer through s_t and so on
    average.
    """
    alpha = 0.3
    solution = exact.solve(world.tree, alpha)
    for y in world.answers:
        ratio = [
            solution.optimal_step_logps[t][world.tree.index(y[:t])[1], y[t]]
            - math.log(world.chance(y[:t], y[t]))
            for t in range(3)
        ]
        for t in range(4):
            left = world.reward[y] - alpha * sum(ratio[t:])
            assert left == pytest.approx(alpha * solution.soft_value(y[:t]), abs=1e-12)


def test_with_the_kl_paid_the_mean_push_is_the_advantage_of_what_is_left(world):
    """Away from the start: P(s) pi(a|s) (Q - V) with R - alpha log pi/pi_ref of the steps still to
    come for p.
    """
    alpha, answers = 0.4, Answers.of(world.tree)
    policy = answers.policy(
        torch.randn(answers.reference.shape, generator=torch.Generator().manual_seed(0)).double()
    )
    law, ratio = (
        answers.law(policy),
        answers.token_logps(policy) - answers.token_logps(answers.reference),
    )
    to_come = answers.rewards[:, None] - alpha * ratio.flip(1).cumsum(1).flip(1)
    expected = torch.zeros_like(policy)
    for s in range(len(policy)):
        here = (answers.states == s) & answers.mask
        weight = law[:, None] * here
        mean = (weight * to_come).sum() / weight.sum()
        for a in (0, 1):
            chosen = weight * (answers.tokens == a)
            expected[s, a] = (chosen * (to_come - mean)).sum()
    pairs = Population.of(answers, 2, sampler="current")
    push = -expect(
        objectives.rloo, pairs, point_at(answers, alpha, policy), alpha=alpha, clip_low=None
    ).gradient["logits"]
    assert float((push - expected).abs().max()) < 1e-12
    assert float(push.abs().max()) > 1e-2


# --- what the prose says --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def poster():
    """Law, answers, rewards, and the chance of ending right of every prefix of the poster's
    problem.
    """
    problem = toy_envs.PosterProblem()
    tree = exact.enumerate_tree(problem)
    law, answers = np.exp(tree.prefix_logps[-1]), list(tree.answers())
    chance = {}
    for t in range(8):
        mass = law.reshape(2**t, -1)
        share = (mass * tree.rewards.reshape(2**t, -1)).sum(1) / mass.sum(1)
        chance |= {tree.prefix(t, n): p for n, p in enumerate(share)}
    return law, answers, tree.rewards, chance


def row(name, after=""):
    """The numbers of a printed row."""
    line = re.search(
        rf"^{re.escape(name)} (.*)$",
        BOOK.printed.partition(after)[2] if after else BOOK.printed,
        re.M,
    )[1]
    return [float(x.replace("−", "-")) for x in re.findall(r"[+−-]?\d*\.\d+|\d+\.", line)]


def test_in_chances_the_mistake_cost_more_and_in_nats_the_missed_check(poster):
    chances, nats = row("change of the chance"), row("alpha times the credit in nats")
    assert np.argmin(chances) == 2
    assert np.argmin(nats) == 6
    chance = poster[3]
    assert chances == pytest.approx(
        [chance[WRONG[: t + 1]] - chance[WRONG[:t]] for t in range(7)], abs=0.006
    )
    key = exact.solve(exact.enumerate_tree(toy_envs.PosterProblem()), 0.5)
    for t in range(8):
        assert math.exp(key.soft_value(WRONG[:t])) == pytest.approx(
            1 + chance[WRONG[:t]] * math.expm1(2), rel=1e-12
        )


def test_nothing_that_is_claimed_within_a_bound_is_off():
    said = re.findall(r"within 1e-12[^:]*: (\w+)", BOOK.printed)
    assert len(said) == 12
    assert set(said) == {"True"}
    assert "False" not in BOOK.printed


def test_a_coin_toss_for_a_baseline_is_worse_than_none(poster):
    law, answers, rewards, chance = poster
    plain, known = row("no baseline")[0], row("the mean p(s_0)")[-1]
    size = {y: row("RLOO, K = " + f"{y:<2}")[0] for y in (2, 4, 8, 32)}
    assert known < size[32] < size[8] < plain < size[4] < size[2]
    squares = np.array(
        [sum(2 * (1 - chance_of(y[:t], y[t])) ** 2 for t in range(7)) for y in answers]
    )
    for noise, baseline in ((plain, 0.0), (known, chance[()])):
        second = law @ ((rewards - baseline) ** 2 * squares)
        assert noise == pytest.approx(second - key_norm(poster) ** 2, abs=6e-4)


def chance_of(s, a):
    """Chance of step a after s in the poster's problem."""
    return math.exp(TABLES[len(s)][int("0" + "".join(map(str, s)), 2), a])


def key_norm(poster):
    """Length of the true mean push."""
    law, answers, _, chance = poster
    total = 0.0
    for s in (y for y in chance if len(y) < 7):
        reach = sum(p for p, y in zip(law, answers, strict=True) if y[: len(s)] == s)
        total += sum((reach * chance_of(s, a) * (chance[(*s, a)] - chance[s])) ** 2 for a in (0, 1))
    return math.sqrt(total)


def test_grpo_is_loudest_where_almost_all_or_almost_none_is_right():
    rows = [
        [float(x.rstrip("%")) for x in line.split()]
        for line in re.findall(r"^ +\d+% .*$", BOOK.printed, re.M)
    ]
    factors = {p: (rloo, grpo) for p, _, rloo, grpo in rows}
    for p, tied, rloo, grpo in rows:
        share = 0.5739953746875 if p == 57 else p / 100
        assert rloo == 1.0
        assert tied == pytest.approx(100 * (share**8 + (1 - share) ** 8), abs=0.5)
        total = 0.0
        for group in itertools.product((0.0, 1.0), repeat=8):
            right = sum(group)
            A = (np.array(group) - right / 8) / (np.std(group, ddof=1) + 1e-4)
            total += share**right * (1 - share) ** (8 - right) * float(np.mean(A * group))
        assert grpo == pytest.approx(total / (share * (1 - share)), abs=6e-4)
    assert (
        factors[2][1]
        > factors[10][1]
        > factors[30][1]
        > factors[57][1]
        < factors[90][1]
        < factors[98][1]
    )
    assert rows[0][1] > 50, "with hard prompts most groups are tied"


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_in_large_groups_grpo_climbs_twice_the_arcsine_of_the_root(p):
    size, k = 4000, np.arange(1, 4000)
    logs = [math.lgamma(size + 1) - math.lgamma(n + 1) - math.lgamma(size - n + 1) for n in k]
    chances = np.exp(np.array(logs) + k * math.log(p) + (size - k) * math.log1p(-p))
    std = np.sqrt(k * (size - k) / size / (size - 1))
    factor = chances @ (k / size * (1 - k / size) / (std + 1e-4)) / (p * (1 - p))
    h = 1e-5
    slope = (2 * math.asin(math.sqrt(p + h)) - 2 * math.asin(math.sqrt(p - h))) / (2 * h)
    assert factor == pytest.approx(slope, rel=2e-3)
    assert slope == pytest.approx(1 / math.sqrt(p * (1 - p)), rel=1e-6)


def test_five_kinds_of_blame_and_one_mean_push(poster):
    chance, names = (
        poster[3],
        ("REINFORCE", "RLOO", "GRPO", "PPO, exact critic", "PPO, lazy critic"),
    )
    assert "rewards of the group: [1. 0. 0. 1. 1. 1. 1. 0.]" in BOOK.printed
    one, mean = "[blame in this one group of eight]", "[mean push over all groups of eight]"
    blame = {name: row(name, one) for name in names}
    push = {name: row(name, mean) for name in names}
    key = row("exact key", mean)
    assert len({tuple(x) for x in blame.values()}) == 5, "no two rows are alike"
    assert blame["REINFORCE"] == [0] * 7
    assert blame["RLOO"] == pytest.approx([-5 / 7] * 7, abs=0.006)
    assert blame["GRPO"] == pytest.approx([-0.625 / (math.sqrt(15 / 8 / 7) + 1e-4)] * 7, abs=0.006)
    true = [chance[WRONG[: t + 1]] - chance[WRONG[:t]] for t in range(7)]
    assert key == pytest.approx(true, abs=0.006)
    echo = [sum(0.5 ** (m - t) * true[m] for m in range(t, 7)) for t in range(7)]
    assert blame["PPO, exact critic"] == pytest.approx(echo, abs=0.006)
    assert sorted(range(7), key=lambda t: echo[t])[:2] == [2, 6], "it points at steps 3 and 7"
    assert blame["PPO, lazy critic"] == pytest.approx(
        [-chance[()] * 0.5 ** (6 - t) for t in range(7)], abs=0.006
    )
    assert push["REINFORCE"] == push["RLOO"] == push["PPO, exact critic"] == key
    factor = next(float(x.split()[-1]) for x in re.findall(r"^ +57% .*$", BOOK.printed, re.M))
    assert push["GRPO"] == pytest.approx([factor * x for x in true], abs=0.006)
    assert push["PPO, lazy critic"] == pytest.approx(
        [0.5 ** (6 - t) * x for t, x in enumerate(true)], abs=0.006
    )


def by_steps(poster, guess, lam):
    """Bias (share) and noise of GAE, answer by answer."""
    law, answers, rewards, chance = poster
    mean, second = {}, 0.0
    for p, y, r in zip(law, answers, rewards, strict=True):
        g = [guess(y[:t]) for t in range(7)] + [r]
        later = 0.0
        for t in reversed(range(7)):
            later = g[t + 1] - g[t] + lam * later
            c = chance_of(y[:t], y[t])
            second += p * later**2 * 2 * (1 - c) ** 2
            for a in (0, 1):
                slope = (a == y[t]) - chance_of(y[:t], a)
                mean[y[:t], a] = mean.get((y[:t], a), 0.0) + p * later * slope
    miss = 0.0
    for (s, a), slope in mean.items():
        reach = math.prod(chance_of(s[:t], s[t]) for t in range(len(s)))
        miss += (slope - reach * chance_of(s, a) * (chance[(*s, a)] - chance[s])) ** 2
    return math.sqrt(miss) / key_norm(poster), second - sum(x * x for x in mean.values())


def test_bias_and_noise_of_three_critics(poster):
    chance = poster[3]
    tables = [table.copy() for table in TABLES]
    tables[6][1:] = np.log([0.9, 0.1])
    mender = exact.solve(exact.enumerate_tree(toy_envs.PosterProblem(), tables), 0.5)
    guesses = {
        "exact": chance.get,
        "lazy": lambda s: chance[()],
        "stranger's": mender.success_probability,
    }
    errors = {}
    for name, guess in guesses.items():
        line = re.search(
            rf"^{name} +λ = 0: off by +(\d+)%, noise (\S+) +λ = 1: off by +(\d+)%, noise (\S+)$",
            BOOK.printed,
            re.M,
        )
        errors[name] = [float(x) for x in line.groups()]
        for lam, off, scatter in ((0.0, *errors[name][:2]), (1.0, *errors[name][2:])):
            bias, noise = by_steps(poster, guess, lam)
            assert off == pytest.approx(100 * bias, abs=0.5)
            assert scatter == pytest.approx(noise, abs=6e-4)
    assert (
        errors["exact"][0]
        == errors["exact"][2]
        == errors["lazy"][2]
        == errors["stranger's"][2]
        == 0
    )
    assert min(errors["lazy"][0], errors["stranger's"][0]) > 80
    assert errors["exact"][3] > errors["lazy"][3], (
        "at lam = 1 the exact critic is noisier than no critic"
    )
    assert errors["exact"][1] == pytest.approx(errors["exact"][3] / 2, rel=0.1), "about half"
    assert errors["exact"][1] < errors["lazy"][3]


def test_the_quietest_baseline_expects_what_the_other_choice_brings(poster):
    """Of two choices the rare one pushes most: weights pi(1-pi)^2, so each chance is weighed by the
    other's.
    """
    chance = poster[3]

    def swapped(s):
        return chance_of(s, 0) * chance[(*s, 1)] + chance_of(s, 1) * chance[(*s, 0)]

    bias, least = by_steps(poster, swapped, 1.0)
    assert bias < 1e-12
    rng = np.random.default_rng(0)
    for nudge in (0.02, 0.2):
        near = {s: swapped(s) + nudge * rng.normal() for s in chance if len(s) < 7}
        assert by_steps(poster, near.get, 1.0)[1] > least
    assert (
        least
        < by_steps(poster, lambda s: chance[()], 1.0)[1]
        < by_steps(poster, chance.get, 1.0)[1]
    )


def test_a_wrong_critic_is_worth_less_the_more_answers_there_are():
    table = BOOK.printed.partition("answers      ")[2]
    best = {
        name: [float(x) for x in re.findall(r"λ=(\S+)", re.search(rf"^{name} .*$", table, re.M)[0])]
        for name in ("exact", "lazy", "stranger's")
    }
    assert best["exact"] == [0] * 4, "best believed at once, always"
    for name in ("lazy", "stranger's"):
        assert best[name] == sorted(best[name])
        assert best[name][0] < 1 == best[name][-1]
    off = {
        name: [
            float(x) for x in re.findall(r"± *(\d+)%", re.search(rf"^{name} .*$", table, re.M)[0])
        ]
        for name in best
    }
    assert all(x == sorted(x, reverse=True) for x in off.values())
    assert all(85 < x[0] < 100 for x in off.values()), "off by almost its own length"


def test_a_critic_that_peeks_teaches_nothing(world):
    push = world.mean_push(
        lambda y: [world.reward[y] - world.mean_reward(y[: t + 1]) for t in range(3)]
    )
    assert np.abs(push).max() < 1e-12 < np.abs(world.key()).max()
    assert re.search(
        r"noise 0\.\d+, off by 100%; the mean push is zero everywhere within 1e-12: True",
        BOOK.printed,
    )


def test_reading_the_last_guess_once_more_pays_twice(world):
    def twice(y):
        again = world.mean_reward(y[:2])
        return [world.reward[y] + again - world.mean_reward(y[:t]) for t in range(3)]

    multiple = np.array([2 if len(s) < 2 else 1 for s, _ in world.places])
    assert world.mean_push(twice) == pytest.approx(multiple * world.key(), abs=1e-12)
    assert "as a multiple of the exact key: [2. 2. 2. 2. 2. 2. 1.]" in BOOK.printed


def test_it_rests_at_the_best_policy_and_nowhere_before():
    rows = re.findall(
        r"^(\w+) +mean push, RLOO (\S+) +largest blame, critic alpha V (\S+)$", BOOK.printed, re.M
    )
    numbers = {name: (float(a), float(b)) for name, a, b in rows}
    assert numbers["best"] == (0, 0)
    assert min(numbers["start"]) > min(numbers["halfway"]) > 0.01
