"""Notebook 08: its equations, each under its number and by other means, and what its prose says."""

import itertools
import math
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.population import (
    Answers,
    Population,
    expect,
    laws,
    point_at,
    signal,
    total_variation,
)
from gnivo_edu.population.atlas import find, problem, rows_of
from gnivo_edu.population.atlas.row import Row, tilt_at
from tests.notebooks.notebook import Notebook

BOOK = Notebook("08_where_does_each_loss_end_up")
DR_GRPO = partial(objectives.dr_grpo, kl="sequence")
GRPO = partial(objectives.grpo, kl="k3", scale="none")
ALPHA = 0.5
GROUPED, SINGLE = ("GN-IVO", "GVPO", "RLOO"), ("DRO", "OREO", "PPO")


@pytest.fixture(scope="module")
def book():
    """The names that the notebook defines, from those of its cells that define what the tests
    use.
    """
    return BOOK.space(
        "def mean_push(", "def best_of_k_law(", "def grpo_one_step_law(", "chosen = {"
    )


def napkin(seed):
    """Another world of one token: four answers, two of which may tie."""
    rng = np.random.default_rng(seed)
    rewards = rng.integers(0, 5, size=4) / 4
    return Answers.of(
        exact.enumerate_tree_from_rewards(rewards, 4, exact.random_reference(4, 1, seed=seed))
    )


def push_at(loss, population, policy):
    point = point_at(population.answers, ALPHA, policy)
    return float(expect(loss, population, point, alpha=ALPHA).gradient["logits"].abs().max())


def one_group(answers, policy, group):
    """The group as a batch of its own: policy_logps is what gradients go to."""
    chosen = list(group)
    mine, theirs = (answers.token_logps(x)[None, chosen] for x in (policy, answers.reference))
    return GroupBatch(
        policy_logps=mine,
        behaviour_logps=mine.detach(),
        reference_logps=theirs,
        rewards=answers.rewards[None, chosen],
        mask=answers.mask[None, chosen],
    )


# --- the equations, each by brute force -----------------------------------------------------------


@pytest.mark.parametrize("seed", [2, 3])
def test_equation_8_1(seed):
    """Every group with its chance, differentiated one by one; through the chances it would be
    another push.
    """
    answers = napkin(seed)
    policy = answers.policy(
        torch.randn(answers.reference.shape, generator=torch.Generator().manual_seed(seed)).double()
    )
    logits = policy.clone().requires_grad_()
    live = answers.policy(logits)
    law, chances = answers.law(policy), answers.law(live)
    held, through = torch.zeros_like(logits), torch.zeros_like(logits)
    for group in itertools.product(range(4), repeat=2):
        loss = DR_GRPO(one_group(answers, live, group), alpha=ALPHA).loss
        held += law[list(group)].prod() * torch.autograd.grad(loss, logits, retain_graph=True)[0]
        through += torch.autograd.grad(
            chances[list(group)].prod() * loss, logits, retain_graph=True
        )[0]
    population = Population.of(answers, 2, "current")
    got = expect(DR_GRPO, population, point_at(answers, ALPHA, policy), alpha=ALPHA).gradient[
        "logits"
    ]
    assert got.numpy() == pytest.approx(held.numpy(), abs=1e-14)
    assert float((through - held).abs().max()) > 1e-3


@pytest.mark.parametrize(("seed", "size"), [(2, 3), (5, 4)])
def test_equation_8_2(book, seed, size):
    """Draw by draw; and the loss rests at the law of its winners."""
    answers = napkin(seed)
    p, rewards = answers.law(answers.reference).numpy(), answers.rewards.numpy()
    winner = dict.fromkeys(rewards, 0.0)
    for draw in itertools.product(range(4), repeat=size):
        winner[max(rewards[list(draw)])] += math.prod(p[list(draw)])
    for r, chance in winner.items():
        assert p[rewards <= r].sum() ** size - p[rewards < r].sum() ** size == pytest.approx(
            chance, abs=1e-14
        )
    law = book["best_of_k_law"](p, rewards, size)
    for r, chance in winner.items():
        assert law[rewards == r].sum() == pytest.approx(chance, abs=1e-14)
    population = Population.of(answers, size, "reference")
    assert (
        push_at(objectives.sft_winning, population, answers.from_law(torch.from_numpy(law))) < 1e-13
    )
    assert push_at(objectives.sft_winning, population, answers.reference) > 1e-2


@pytest.mark.parametrize(("seed", "size"), [(2, 2), (3, 3), (5, 4)])
def test_equation_8_3(seed, size):
    answers = napkin(seed)
    population = Population.of(answers, size, "current")
    weights = answers.law(answers.reference) * (answers.rewards / (ALPHA * size / (size - 1))).exp()
    assert push_at(DR_GRPO, population, answers.from_law(weights / weights.sum())) < 1e-13
    assert push_at(DR_GRPO, population, answers.tilted(answers.rewards / ALPHA)) > 1e-3


@pytest.mark.parametrize("seed", [2, 3])
def test_equation_8_4(book, seed):
    """k3 has the mean gradient of KL(pi_ref || pi); and where (8.4) holds, GRPO rests."""
    answers = napkin(seed)
    policy = answers.policy(
        torch.randn(answers.reference.shape, generator=torch.Generator().manual_seed(seed)).double()
    )
    flat = replace(answers, rewards=torch.zeros_like(answers.rewards))
    got = expect(
        GRPO, Population.of(flat, 2, "current"), point_at(answers, 1.0, policy), alpha=1.0
    ).gradient["logits"]
    logits = policy.clone().requires_grad_()
    reference = answers.law(answers.reference)
    kl = (reference * (reference / answers.law(answers.policy(logits))).log()).sum()
    assert got.numpy() == pytest.approx(torch.autograd.grad(kl, logits)[0].numpy(), abs=1e-14)
    A = (1 - 1 / 3) * answers.rewards.numpy()
    law = book["grpo_one_step_law"](A, reference.numpy(), ALPHA)
    assert np.ptp(A + ALPHA * reference.numpy() / law) < 1e-12
    assert (
        push_at(GRPO, Population.of(answers, 3, "current"), answers.from_law(torch.from_numpy(law)))
        < 1e-14
    )


@pytest.mark.parametrize("seed", [2, 3])
def test_equation_8_5(book, seed):
    """It is a law for one c only, above every A; pi* is no such law, nor is any tilt."""
    answers = napkin(seed)
    p, A = answers.law(answers.reference).numpy(), (1 - 1 / 3) * answers.rewards.numpy()
    law = book["grpo_one_step_law"](A, p, ALPHA)
    assert law.sum() == pytest.approx(1.0, abs=1e-12)
    assert law.min() > 0
    c = (A + ALPHA * p / law).mean()
    assert A.max() < c < A.max() + ALPHA
    for other in (c + 0.01, c + 1):
        assert (ALPHA * p / (other - A)).sum() < 1 - 1e-3
    assert book["grpo_one_step_law"](A + 7, p, ALPHA) == pytest.approx(law, abs=1e-12)
    population = Population.of(answers, 3, "current")
    for temperature in (0.4, 0.5, 0.75, 1.0):
        assert push_at(GRPO, population, answers.tilted(answers.rewards / temperature)) > 1e-4


@pytest.mark.parametrize(("name", "writer"), [("gvpo", "reference"), ("rloo", "current")])
def test_equation_8_6(name, writer):
    """All pairs, each differentiated on its own."""
    answers = signal.problem("dense")
    policy = answers.tilted(0.5 * answers.rewards / ALPHA)
    logits = policy.clone().requires_grad_()
    law = answers.law(policy if writer == "current" else answers.reference)
    pushes, chances = [], []
    for pair in itertools.product(range(8), repeat=2):
        loss = objectives.get(name)(
            one_group(answers, answers.policy(logits), pair), alpha=ALPHA
        ).loss
        pushes.append(torch.autograd.grad(loss, logits)[0].flatten())
        chances.append(law[list(pair)].prod())
    pushes, chances = torch.stack(pushes), torch.stack(chances)
    mean = chances @ pushes
    variance = float(chances @ (pushes - mean).square().sum(1))
    assert signal.noise(name, "dense", "half-way", 2).snr == pytest.approx(
        float(mean.norm()) / math.sqrt(2 * variance), rel=1e-10
    )


# --- what the prose says --------------------------------------------------------------------------


def numbers(pattern):
    match = re.search(pattern, BOOK.printed)
    assert match, pattern
    return [float(x) for x in match.groups()]


def test_the_three_losses_stop_at_three_places_none_of_them_the_optimum():
    columns = [
        re.search(rf"^earns {r} +(.+)$", BOOK.printed, re.MULTILINE)[1].split()
        for r in ("0", "0.5", "1")
    ]
    reference, star, *ends = np.array(columns, dtype=float).T
    assert reference == pytest.approx([0.5, 0.3, 0.2])
    places = [star, *ends]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(places, 2)) > 0.03
    for walked in re.findall(r"(?:formula|tilt of α') +(\[.+\])\nwalked +(\[.+\])", BOOK.printed):
        assert walked[0] == walked[1]
    assert len(re.findall(r"\nwalked ", BOOK.printed)) == 3


def test_best_of_k_hears_only_the_order():
    lines = re.findall(r"rewards doubled: (\S.*?) +\[(.+)\]", BOOK.printed)
    assert lines[0][1] == "0.125 0.387 0.488"
    p = np.array([0.5, 0.3, 0.2]) * np.exp([0, 2, 4])
    assert [float(x) for x in lines[1][1].split()] == pytest.approx(p / p.sum(), abs=6e-4)


def test_grpo_climbs_by_unequal_steps_whatever_its_alpha(book):
    steps = [
        re.search(rf"^  {name} .+to the next: \[(.+)\]", BOOK.printed, re.MULTILINE)[1]
        for name in ("GRPO", "π\\*")
    ]
    grpo, star = ([float(x) for x in step.split()] for step in steps)
    assert star[0] == star[1]
    assert grpo[1] / grpo[0] == pytest.approx(2, abs=0.1)
    p, rewards = np.array([0.5, 0.3, 0.2]), np.array([0, 0.5, 1])
    for alpha in (0.05, 0.3, 2.0):
        small, large = np.diff(np.log(book["grpo_one_step_law"](2 / 3 * rewards, p, alpha) / p))
        assert large > 1.05 * small


def test_waiting_goes_on_for_ever_and_the_sign_says_so():
    rows = re.findall(r"after +(\d+) steps: (\S+) left for the others, push (\S+)", BOOK.printed)
    left = [float(x) for _, x, _ in rows]
    assert len(left) == 4
    assert all(8 < a / b < 15 for a, b in itertools.pairwise(left))
    assert min(float(x) for *_, x in rows) > 0
    signs = dict(re.findall(r"^(\S.*?) {2,}([-+0](?: +[-+0]){5})$", BOOK.printed, re.MULTILINE))
    signs = {name: "".join(row.split()) for name, row in signs.items()}
    assert signs == {
        "GVPO, answers by reference": "++0---",
        "Dr. GRPO, KL of answers": "++----",
        "Dr. GRPO, no KL": "++++++",
        "best of 3, again and again": "++++++",
    }


def test_most_rows_of_the_atlas_are_not_exact():
    elsewhere, total = numbers(r"(\d+) of (\d+)  do not stop at π\*")
    assert total == len(rows_of())
    assert elsewhere == sum(row.expected != "exact" for row in rows_of())
    assert elsewhere > total / 2


def table_of_the_map():
    rows = re.findall(
        r"^\d+ +(\S.*?) {2,}(exact|biased|other optimum|collapses) +(\S+) +(\S+) +(\S+)$",
        BOOK.printed,
        re.MULTILINE,
    )
    return {
        name: (verdict, *map(float, values))
        for name, verdict, *values in rows
        if "mine" not in name
    }


def test_two_dozen_rows_of_one_problem_and_one_alpha_are_on_the_map(book):
    table = table_of_the_map()
    assert set(table) == set(book["chosen"]) | {"best of 3, once", "best of 3, again"}
    assert len(table) == 24
    verdicts = [verdict for verdict, *_ in table.values()]
    assert verdicts.count("exact") == 7
    assert verdicts.count("collapses") == 6
    assert "24 of 24 rows: theory and computation agree" in BOOK.printed
    corners = [row[1:3] for row in table.values() if row[0] == "collapses"]
    best = max(corners, key=lambda corner: corner[1])
    assert best[1] == 1.0
    assert corners.count(best) == 4, "four of the six end at the best answer"


def test_nearly_everything_that_rests_lies_close_to_the_frontier():
    tree = problem("tree").tree
    gaps = []
    for verdict, kl, reward, _ in table_of_the_map().values():
        if verdict == "collapses":
            continue
        low, high = 0.01, 50.0
        for _ in range(60):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if exact.solve(tree, middle).kl > kl else (low, middle)
        gaps.append(exact.solve(tree, middle).expected_reward - reward)
    assert sum(gap < 0.005 for gap in gaps) >= 16
    assert len(gaps) == 18


def test_all_but_two_are_silent_at_the_optimum():
    rows = re.findall(
        r"^(\S.*?) +mean push at π\* below 1e-12: True, noise (\S+)$", BOOK.printed, re.MULTILINE
    )
    assert [name for name, noise in rows if float(noise) > 0] == ["GN-IVO", "PPO, wrong critic"]
    assert len(rows) == 8


def test_a_wrong_critic_is_biased_the_more_it_is_believed():
    far = [numbers(rf"{name} +\w+ +(\S+) from")[0] for name in ("λ = 1", "λ = 0.95", "λ = 0.5")]
    assert far[0] == 0
    assert far == sorted(set(far))


@pytest.mark.parametrize("size", [2, 3])
def test_grpo_with_an_exact_kl_rests_where_vimpo_does(size):
    """At pi_V for alpha K/(K - 1), on this tree and whatever the group."""
    answers = problem("tree")
    law = laws.vimpo_law(answers, ALPHA * size / (size - 1))
    population = Population.of(answers, size, "current")
    loss = partial(objectives.grpo, kl="exact", scale="none", normaliser="seq-mean-token-sum")
    assert push_at(loss, population, answers.from_law(law)) < 1e-14
    assert push_at(partial(objectives.vimpo, actor=0.0), population, answers.from_law(law)) < 1e-14
    assert push_at(loss, population, answers.tilted(answers.rewards / ALPHA)) > 1e-3
    assert "the two laws agree within 1e-9: True" in BOOK.printed


def test_who_lost_the_anchor():
    rows = dict(
        re.findall(
            r"^(\S.*?) {2,}\w+ +(\S+ from π\*|(?:reward|a rest) .+ of the starts)$",
            BOOK.printed,
            re.MULTILINE,
        )
    )
    for name in ("GVPO, moving", "DPO, hard labels"):
        assert rows[name] == "reward 1 from 4 of the starts"
    assert rows["RLOO, old answers"] == "reward 0.9 from 1; reward 1 from 3 of the starts"
    assert rows["PPO, k3 in the reward"].startswith("reward 0.5 from ")
    assert "a rest from" in rows["PPO, k3 in the reward"]
    for name in ("RLOO", "GVPO, uniform writer"):
        assert rows[name] == "0.000 from π*"
    assert 0 < float(rows["GN-IVO, old answers"].split()[0]) < 0.1


def test_refreshing_compounds_and_an_anchor_holds():
    assert "at π_0 e^(3R/α)/Z within 1e-9: True" in BOOK.printed
    answers = problem("tree")
    rows = re.findall(
        r"^n = (\d+) +KL (\S+) nats, expected reward (\S+)$", BOOK.printed, re.MULTILINE
    )
    for n, _, reward in rows:
        law = answers.law(answers.tilted(int(n) * answers.rewards / ALPHA))
        assert float(law @ answers.rewards) == pytest.approx(float(reward), abs=6e-4)
    assert [float(reward) for *_, reward in rows] == sorted(float(reward) for *_, reward in rows)
    moving = "moving, with a KL to the initial policy"
    kl, reward = numbers(rf"{moving}: KL (\S+) nats, expected reward (\S+), other optimum")
    assert kl < 0.5
    assert reward < 0.7
    held = next(
        row for row in rows_of("gnivo") if row.variant.startswith("reference refreshed, KL to")
    )
    assert (held.anchor, dict(held.settings)) == (0.5, {"weights": "softmax", "prefixes": "last"})


@pytest.fixture(scope="module")
def heard():
    """SNR [panel][loss] at the reference, half-way and near, K = 2 and 8."""
    rows = re.findall(r"^(sparse|dense) +(\S+) +(\d\S*(?: +\d\S*){5})$", BOOK.printed, re.MULTILINE)
    table = {
        (panel, loss): np.array(values.split(), dtype=float).reshape(3, 2)
        for panel, loss, values in rows
    }
    assert len(table) == 12
    return table


@pytest.mark.parametrize("panel", ["sparse", "dense"])
def test_what_is_said_of_signal_and_noise(heard, panel):
    of = {loss: heard[panel, loss] for loss in (*GROUPED, *SINGLE)}
    best = np.max([of["PPO"], of["OREO"]], axis=0)
    for loss in (*GROUPED, "DRO"):
        assert (best > of[loss]).all(), "a true critic buys the most"
    assert all((of[loss][:, 1] > of[loss][:, 0]).all() for loss in GROUPED), "a larger group helps"
    assert all((of[loss][:, 1] == of[loss][:, 0]).all() for loss in SINGLE)
    for loss in ("GVPO", "RLOO", "DRO", "OREO"):
        assert (of[loss][2] >= 0.75 * of[loss][0]).all(), loss
    assert (of["GN-IVO"][2] < 0.5 * of["GN-IVO"][0]).all()
    gap = best - np.max([of[loss] for loss in GROUPED], axis=0)
    assert (gap[:, 1] < gap[:, 0]).all(), "the more answers per prompt, the less a critic adds"


@pytest.mark.parametrize("rewards", signal.REWARDS)
def test_residual_losses_fall_silent_and_others_do_not(rewards):
    """Signal and noise near the optimum, as shares of those at the reference."""
    for name in ("gvpo", "rloo", "dro", "oreo", "gnivo", "ppo"):
        start, near = (
            signal.noise(name, rewards, place, 2) for place in ("reference", "near the optimum")
        )
        fading, quieter = near.signal / start.signal, math.sqrt(near.variance / start.variance)
        if name == "ppo":
            assert fading > 0.9
            assert quieter > 0.9
        elif name == "gnivo":
            assert fading < 0.5 * quieter
        else:
            assert fading < 0.2
            assert quieter < 0.2


def test_the_lies_are_found_out():
    rows = re.findall(
        r"^(\S.*?) +law off by (\S+), found: (\w+) +agrees: (\w+)$", BOOK.printed, re.MULTILINE
    )
    assert [(name, agrees) for name, *_, agrees in rows] == [
        ("honest", "True"),
        ("alpha off by 1%", "False"),
        ("sign turned round", "False"),
        ("wrong verdict", "False"),
    ]
    assert float(rows[1][1]) == pytest.approx(2e-3, abs=5e-4)


def test_a_loss_of_ones_own_is_judged(book):
    """As it stands it is exact for three writers; with alpha 10% off it is found biased, unless
    theory says where.
    """
    assert len(re.findall(r"mine, writer: \w+ +exact", BOOK.printed)) == 3

    def off(batch, alpha):
        left = batch.rewards - 1.1 * alpha * batch.sequence_logratio
        left = left - left.mean(1, keepdim=True)
        return objectives.LossOutput(batch.group_mean(torch.log(torch.cosh(left)).sum(1)))

    row = Row("mine", "", None, "none stated", function=off, sampling="uniform", group_size=2)
    assert find(row).verdict == "biased"
    told = find(replace(row, law=tilt_at(1.1)))
    assert told.verdict == "other optimum"
    assert told.theory_error < 1e-9


def test_the_twins_are_the_law_the_text_names():
    answers = problem("tree")
    vimpo = next(row for row in rows_of("vimpo") if row.variant == "value loss, group mean")
    assert total_variation(find(vimpo).law, laws.vimpo_law(answers, ALPHA * 3 / 2)) < 1e-9
