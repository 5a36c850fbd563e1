"""Elective E2: its equations, each under its number and by other means, and what its prose says."""

import itertools
import re

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import exact, objectives, policies
from gnivo_edu.batch import GroupBatch
from gnivo_edu.population import questions, ties
from tests.notebooks.notebook import Notebook

BOOK = Notebook("E2_why_is_the_loss_zero")


def numbers(pattern):
    """All numbers in the lines that match: [[...], ...]."""
    return [
        [float(x) for x in re.findall(r"-?\d+\.\d+|\d+", line)]
        for line in re.findall(pattern, BOOK.printed, re.M)
    ]


# --- the equations --------------------------------------------------------------------------------


def group(seed, size=4, length=3):
    """One group with any log-probabilities and rewards: [1, K, T]."""
    rng = np.random.default_rng(seed)
    policy, reference = (torch.tensor(-rng.exponential(size=(1, size, length))) for _ in range(2))
    return GroupBatch(
        policy_logps=policy,
        behaviour_logps=policy.clone(),
        reference_logps=reference,
        rewards=torch.tensor(rng.uniform(size=(1, size))),
        mask=torch.ones(1, size, length),
    )


@pytest.mark.parametrize("seed", range(3))
def test_equation_E2_1(seed):
    """By differences of the loss as it is written, with ratios of moved to unmoved
    probabilities.
    """
    batch = group(seed)
    R = (batch.rewards - 0.5 * batch.sequence_logratio)[0].numpy()
    advantages = np.array([R[i] - np.delete(R, i).mean() for i in range(4)])
    assert advantages.sum() == pytest.approx(0, abs=1e-14)

    def loss(moved):
        return -np.mean(np.exp(moved) * advantages)

    slopes = [(loss(h) - loss(-h)) / 2e-5 for h in 1e-5 * np.eye(4)]
    value, push = questions.loss_and_push(objectives.rloo, batch, alpha=0.5)
    assert value == pytest.approx(0, abs=1e-13)
    for t in range(3):
        assert push[0, :, t].numpy() == pytest.approx(-np.array(slopes), abs=1e-9)
        assert push[0, :, t].numpy() == pytest.approx(advantages / 4, abs=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_equation_E2_2(seed):
    batch = group(seed)
    R, h = batch.rewards[0].numpy(), batch.sequence_logratio[0].numpy()
    left = 0.3 / 3 * ((R - R.mean()) - 0.3 * (h - h.mean()))
    _, gvpo = questions.loss_and_push(objectives.gvpo, batch, alpha=0.3)
    _, rloo = questions.loss_and_push(objectives.rloo, batch, alpha=0.3)
    assert gvpo[0, :, 0].numpy() == pytest.approx(left, abs=1e-14)
    assert 0.3 * rloo[0, :, 0].numpy() == pytest.approx(left, abs=1e-14)


def test_equation_E2_3():
    """Whether the mean of h is differentiated or frozen, the slope is the same; for one bracket
    alone it is not.
    """
    batch = group(0)
    h, R = batch.sequence_logratio[0].clone().requires_grad_(), batch.rewards[0]
    brackets = [(R - R.mean()) - 0.5 * (h - centre) for centre in (h.mean(), h.mean().detach())]
    live, frozen = (
        torch.autograd.grad(b.square().sum(), h, retain_graph=True)[0] for b in brackets
    )
    torch.testing.assert_close(live, frozen, rtol=0, atol=1e-14)
    first, other = (torch.autograd.grad(b[0].square(), h, retain_graph=True)[0] for b in brackets)
    assert (first - other).abs().max() > 0.01
    assert brackets[0].sum().item() == pytest.approx(0, abs=1e-14)


def test_equation_E2_4():
    batch = group(2)
    tie = GroupBatch(
        **{
            name: getattr(batch, name)
            for name in ("policy_logps", "behaviour_logps", "reference_logps", "mask")
        },
        rewards=torch.full((1, 4), 0.6, dtype=torch.float64),
    )
    h = tie.sequence_logratio[0].numpy()
    _, gvpo = questions.loss_and_push(objectives.gvpo, tie, alpha=0.5)
    assert gvpo[0, :, 0].numpy() == pytest.approx(-(0.25) / 3 * (h - h.mean()), abs=1e-14)
    for t in (1, 2, 3):
        depths = torch.tensor([t])
        _, gnivo = questions.loss_and_push(
            objectives.gnivo, tie, alpha=0.5, prefixes="given", depths=depths
        )
        rho = tie.prefix_logratio[0, :, t - 1].numpy()
        q, total = np.exp(rho) / np.exp(rho).sum(), 4 * np.exp(0.6 / 0.5)
        assert gnivo[0, :, 0].numpy() == pytest.approx(total * (1 / 4 - q), abs=1e-12)


def test_equation_E2_5():
    """Answer by answer, a product of choices with and without the last one."""
    brackets = toy_envs.Brackets(horizon=5)
    tables = exact.uniform_reference(3, 5)
    whole = without = 0.0
    for length in range(1, 6):
        for tokens in itertools.product(range(3), repeat=length):
            if 2 in tokens[:-1] or (length < 5 and tokens[-1] != 2):
                continue
            whole += 3.0**-length
            without += 3.0 ** -(length - (tokens[-1] == 2))
    assert whole == pytest.approx(1, abs=1e-12)
    assert questions.total_probability(brackets, tables) == pytest.approx(1, abs=1e-12)
    assert questions.total_probability(brackets, tables, "not pad") == pytest.approx(
        without, abs=1e-12
    )
    assert without > 1
    assert f"sum over 63 answers: {without:.4f}" in BOOK.printed


@pytest.mark.parametrize("size", [2, 3])
def test_equation_E2_6(size):
    """The left side by the library's loss over all groups, the right side by all answers."""
    brackets = toy_envs.Brackets(horizon=3)
    writer = policies.TabularLM.from_mdp(brackets, seed=3)
    law = policies.tabulate(writer, brackets)
    groups = policies.make_group_batch(writer, brackets, policies.all_groups(brackets, law, size))
    loss = objectives.grpo(groups, kl="none", scale="none", normaliser="seq-mean-token-mean").loss
    (slope,) = torch.autograd.grad(loss, [writer.logits])
    one = policies.make_group_batch(writer, brackets, policies.all_groups(brackets, law, 1))
    R, logp = one.rewards[:, 0], one.policy_logps.sum((1, 2))
    weight = (one.group_weight * (R - one.group_weight @ R) / one.lengths[:, 0]).detach()
    (right,) = torch.autograd.grad((1 - 1 / size) * weight @ logp, [writer.logits])
    torch.testing.assert_close(-slope, right, rtol=0, atol=1e-14)


# --- what the prose says --------------------------------------------------------------------------


def test_the_loss_is_flat_while_the_policy_arrives():
    loss, slope, kl = numbers(r"^RLOO +(?:loss|size of its slope|KL to the best policy, nats) .*$")[
        :3
    ]
    assert loss[:2] == [0, 0]
    assert min(slope[:2]) > 0
    assert kl[1] < kl[0] / 30
    assert "the pushes sum to 0 within 1e-12: True" in BOOK.printed


def test_with_a_kl_term_the_reading_is_alpha_times_the_kl():
    rows = re.findall(r"^\w+ +GRPO's loss (\S+) +0\.04 times its KL (\S+)$", BOOK.printed, re.M)
    assert [left for left, _ in rows] == [right for _, right in rows]
    assert [float(left) for left, _ in rows] == sorted(float(left) for left, _ in rows)
    assert float(rows[0][0]) == 0 < float(rows[1][0])


def test_the_same_push_and_two_readings():
    rows = re.findall(r"^(\w+) +(\S+) +(\S+) +True +(\S+)$", BOOK.printed, re.M)
    assert [name for name, *_ in rows] == ["start", "halfway", "trained", "best"]
    assert all(float(zero) == 0 for _, zero, *_ in rows)
    left = [float(share) for *_, share in rows]
    assert left[0] == 1
    assert left[-1] == 0
    assert left == sorted(left, reverse=True)


def test_cutting_a_group():
    rows = numbers(r"^ +(?:1|2|4|8|16) +\d\.\d+ +\d\.\d+ +\d\.\d+ +\d\.\d+$")
    assert [row[0] for row in rows] == [1, 2, 4, 8, 16]
    assert all(row[1] == row[4] == 0 for row in rows), (
        "frozen means and means over answers do not mind"
    )
    assert rows[0][2] == 1, "with one answer nothing is left to learn"
    assert all(row[2] > 0.1 and row[3] > 0.02 for row in rows[:-1])
    assert rows[-1][2] == rows[-1][3] == 0
    assert "equal within 1e-12: True" in BOOK.printed
    assert "GN-IVO in micro-batches of 2, error below 1e-12: True" in BOOK.printed


@pytest.fixture(scope="module")
def shares():
    """Bars of the tied group: {objective: (reference, halfway, best)}."""
    lines = re.findall(r"^(\w[\w ]*?) {2,}(\S+) {2,}(\S+) {2,}(\S+)$", BOOK.printed, re.M)
    known = {*objectives.names(), "grpo without KL"}
    return {name: tuple(float(x) for x in values) for name, *values in lines if name in known}


def test_families_in_a_tied_group(shares):
    assert set(shares) == {*objectives.names(), "grpo without KL"}
    for name in ("cispo", "dapo", "dr_grpo", "gspo", "grpo without KL"):
        assert shares[name] == (0, 0, 0), "nothing, ever"
    for name in ("gvpo", "rloo", "online_dpo"):
        assert shares[name][0] == shares[name][2] == 0 < shares[name][1], "level the log-ratios"
    assert shares["gnivo"][0] == 0
    assert min(shares["gnivo"][1:]) > 0, "does not quite fall silent"
    for name in ("dro", "oreo", "ppo"):
        assert shares[name][2] == 0 < min(shares[name][:2]), "compare with a critic"
    for name in ("grpo", "vimpo"):
        assert shares[name][0] == 0 < min(shares[name][1:]), "go on pulling at the best policy"
    assert min(shares["sft_winning"] + shares["value_mse"]) > 0


def test_gnivos_remainder_cancels_in_the_average_over_all_groups():
    problem = toy_envs.RandomTree(vocab_size=2, horizon=3)
    law = policies.tabulate(policies.TabularLM.from_mdp(problem), problem)
    key = exact.solve(exact.enumerate_tree(problem, law), 0.5)
    best = policies.TabularLM.from_tables(problem, key.optimal_step_logps)
    batch = policies.make_group_batch(best, problem, policies.all_groups(problem, law, 3))
    (slope,) = torch.autograd.grad(objectives.gnivo(batch, alpha=0.5).loss, [best.logits])
    assert slope.abs().max() < 1e-12


def test_net_and_levels():
    rows = re.findall(r"^(\w[\w ]*?) +(-?\d\.\d\d) *(\d\.\d\d)?$", BOOK.printed, re.M)
    table = {name: (float(net), float(levels or "nan")) for name, net, levels in rows}
    assert all(table[name] == (0, 1) for name in ("gvpo", "rloo", "online_dpo"))
    assert table["gnivo"][0] == table["ppo"][0] == 0
    assert table["sft_winning"][0] == 1
    assert max(table["dro"][0], table["oreo"][0]) < 0, "four failures are worse than expected"
    assert min(table["grpo"][1], table["vimpo"][1]) > 0.9


def test_ppo_without_whitening_takes_the_bad_news():
    problem = toy_envs.PosterProblem()
    reference = policies.TabularLM.from_mdp(problem)
    drawn = policies.sample_groups(reference, problem, 64, [0], torch.Generator().manual_seed(0))
    record = ties.full_record(problem, reference, reference, drawn, 0.5)
    wrong = record.rewards[0] == 0
    fields = ("policy_logps", "behaviour_logps", "reference_logps", "rewards", "mask", "values")
    tie = GroupBatch(**{name: getattr(record, name)[:, wrong][:, :4] for name in fields})
    for whitened, net in ((True, 0), (False, -1)):
        _, push = questions.loss_and_push(
            objectives.ppo, tie, alpha=0.5, whitened=whitened, lam=1.0
        )
        answers = push.sum(-1)
        assert float(answers.sum() / answers.abs().sum()) == pytest.approx(net, abs=1e-9)


def test_k1_is_a_thermometer_and_no_heater():
    (v1, s1), (_, s2), (v3, s3) = [
        (float(a), float(b))
        for a, b in re.findall(
            r"^k\d: expected value (\S+) nats, .*slope (\S+)$", BOOK.printed, re.M
        )
    ]
    assert v1 == v3 > 0
    assert s1 == 0
    assert min(s2, s3) > 0.1


def test_lengths():
    off = dict(re.findall(r"^(\S.*?) +off the true direction by (\S+)$", BOOK.printed, re.M))
    assert float(off["plain sum"]) == float(off["a constant"]) == 0
    assert float(off["own length"]) > 2 * float(off["tokens of the group"]) > 0
    rows = re.findall(
        r"^(right|wrong), length (\d) +1\.00 +1\.00 +(\S+) +(\S+)$", BOOK.printed, re.M
    )
    for column in (2, 3):
        for word in ("right", "wrong"):
            push = [float(row[column]) for row in rows if row[0] == word]
            assert push == sorted(push, reverse=True), "less per token, the longer"
            assert len(push) >= 2


def test_the_control_fails_and_only_one_of_two_numbers_tells():
    ends = dict(
        re.findall(
            r"^sign turned round +(loss|share not explained) +\S+ +(\S+) +75$", BOOK.printed, re.M
        )
    )
    assert float(ends["loss"]) == 0
    assert float(ends["share not explained"]) > 1


def test_a_second_step_on_the_same_answers_has_a_loss():
    problem = toy_envs.PosterProblem()
    policy = policies.TabularLM.from_mdp(problem)
    drawn = policies.sample_groups(policy, problem, 8, [0], torch.Generator().manual_seed(1))
    first = objectives.rloo(policies.make_group_batch(policy, problem, drawn), alpha=0.5).loss
    first.backward()
    with torch.no_grad():
        policy.logits -= policy.logits.grad
    assert abs(first.item()) < 1e-13
    assert (
        abs(
            objectives.rloo(
                policies.make_group_batch(policy, problem, drawn), alpha=0.5
            ).loss.item()
        )
        > 0.01
    )
