"""What k1, k2, k3 estimate and where they pull, against closed forms, brute force, and the
objectives themselves.
"""

import json
import math

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import exact, objectives, policies
from gnivo_edu.objectives.surrogate import kl_estimate
from gnivo_edu.population.answers import Answers
from gnivo_edu.population.kl_laboratory import ESTIMATORS, INVERTED, kl_laboratory

NEVER = {(k, place, level) for k, place in (("k2", "reward"), ("k2", "weighted"), ("k3", "reward"))
         for level in ("token", "sequence")}  # fmt: skip


def tables(mdp, seed, scale=1.0):
    return exact.random_reference(mdp.vocab_size, mdp.horizon, seed, scale)


def one_step():
    return exact.enumerate_tree_from_rewards(np.zeros(3), 3, exact.random_reference(3, 1, 1))


def ruled_out():
    """A reference that cannot write every token everywhere, and a policy that keeps to it."""
    mdp = toy_envs.RandomTree(vocab_size=3, horizon=3)
    laws = [tables(mdp, 1), tables(mdp, 2)]
    for law in laws:
        law[1][0, 2] = law[2][4, 0] = -np.inf
        for t in (1, 2):
            law[t] -= np.logaddexp.reduce(law[t], axis=1, keepdims=True)
    return exact.enumerate_tree(mdp, laws[0]), laws[1]


FULL, RAGGED = toy_envs.RandomTree(vocab_size=2, horizon=3), toy_envs.Brackets(horizon=3)
PROBLEMS = {
    "fixed length": (exact.enumerate_tree(FULL, tables(FULL, 1)), tables(FULL, 2)),
    "end token": (exact.enumerate_tree(RAGGED, tables(RAGGED, 3)), tables(RAGGED, 4)),
    "tokens ruled out": ruled_out(),
    "one step": (one_step(), exact.random_reference(3, 1, 2)),
}


@pytest.fixture(params=PROBLEMS, scope="module")
def problem(request):
    return PROBLEMS[request.param]


def log_law(tree, policy):
    """log pi(y) of every answer that the tree can write, one token after another."""
    laws = []
    for y in tree.answers():
        laws.append(sum(policy[t][tree.index(y[:t])[1], token] for t, token in enumerate(y)))
    return np.array(laws)


# --- the theory -----------------------------------------------------------------------------------


def test_every_gradient_is_what_theory_says_and_no_other_is_any_target(problem):
    report = kl_laboratory(*problem)
    assert report.passed
    assert report.kl > 0.05
    single = problem[0].horizon == 1
    for row in report.rows:
        key = (row.estimator, row.place, row.level)
        if key in NEVER:
            assert row.theory is None
            assert row.equals == "none of these"
            assert min(row.distances.values()) > 1e-3
        else:
            assert row.equals == (row.theory.removesuffix(" per state") if single else row.theory)


def test_k1_and_k3_average_to_the_kl_and_k2_does_not(problem):
    report = kl_laboratory(*problem)
    p, q = log_law(problem[0], problem[1]), log_law(problem[0], problem[0].step_logps)
    assert report.kl == pytest.approx(np.exp(p) @ (p - q), abs=1e-12)
    assert report.forward_kl == pytest.approx(np.exp(q) @ (q - p), abs=1e-12)
    assert report.chi_square == pytest.approx(np.exp(2 * p - q).sum() - 1, abs=1e-12)
    for row in report.rows:
        assert row.estimates_kl == (row.estimator != "k2")
        if row.level == "sequence":
            x = p - q
            k = {"k1": x, "k2": x**2 / 2, "k3": np.exp(-x) - 1 + x}[row.estimator]
            assert row.value == pytest.approx(np.exp(p) @ k, abs=1e-12)
            assert row.value_variance == pytest.approx(
                np.exp(p) @ k**2 - (np.exp(p) @ k) ** 2, abs=1e-12
            )


def test_one_step_gradients_by_hand():
    tree, policy = PROBLEMS["one step"]
    report = kl_laboratory(tree, policy)
    p, q, x = (
        np.exp(policy[0][0]),
        np.exp(tree.step_logps[0][0]),
        policy[0][0] - tree.step_logps[0][0],
    )
    by_hand = {"zero": 0 * p, "reverse KL": p * (x - p @ x), "forward KL": p - q}
    for name, gradient in by_hand.items():
        assert report.targets[name][0].numpy() == pytest.approx(gradient, abs=1e-14)
    for estimator, name in (("k1", "zero"), ("k2", "reverse KL"), ("k3", "forward KL")):
        assert report[estimator, "loss", "token"].gradient[0].numpy() == pytest.approx(
            by_hand[name], abs=1e-14
        )
    in_reward = report["k3", "reward", "token"].gradient[0].numpy()
    assert in_reward == pytest.approx(by_hand["reverse KL"] - by_hand["forward KL"], abs=1e-14)


@pytest.mark.parametrize("name", ["fixed length", "end token"])
def test_targets_are_the_slopes_of_brute_force_divergences(name):
    """By central differences of fourth order, one logit after another."""
    tree, policy = PROBLEMS[name]
    answers, h = Answers.of(tree), 2e-3
    targets = kl_laboratory(tree, policy).targets
    q = log_law(tree, tree.step_logps)
    visits = [np.exp(log_law_of_prefixes(policy, t)) for t in range(tree.horizon)]

    def divergences(law):
        p = log_law(tree, law)
        held = np.zeros(2)
        for t, s in answers.state_numbers:
            ours, theirs = law[t][s], tree.step_logps[t][s]
            held += visits[t][s] * np.array(
                [np.exp(ours) @ (ours - theirs), np.exp(theirs) @ (theirs - ours)]
            )
        return np.array([np.exp(p) @ (p - q), np.exp(q) @ (q - p), *held])

    for row, (t, s) in enumerate(answers.state_numbers):
        for token in range(tree.vocab_size):
            moved = {}
            for step in (-2, -1, 1, 2):
                law = [table.copy() for table in policy]
                law[t][s, token] += step * h
                law[t][s] -= np.logaddexp.reduce(law[t][s])
                moved[step] = divergences(law)
            slopes = (8 * (moved[1] - moved[-1]) - (moved[2] - moved[-2])) / (12 * h)
            names = ("reverse KL", "forward KL", "reverse KL per state", "forward KL per state")
            assert [float(targets[n][row, token]) for n in names] == pytest.approx(slopes, abs=1e-9)


def log_law_of_prefixes(policy, depth):
    law = np.zeros(1)
    for table in policy[:depth]:
        law = (law[:, None] + table).ravel()
    return law


def test_reward_and_loss_add_up_to_the_gradient_of_the_mean(problem):
    """grad E[k] = E[grad k] + E[k grad log pi]; and `weighted` is both. The mean is differentiated
    by autograd.
    """
    tree, policy = problem
    report, answers = kl_laboratory(tree, policy), Answers.of(tree)
    logits = answers.from_tables(policy).masked_fill(~answers.legal, 0.0).requires_grad_()
    pi = answers.policy(logits)
    x = answers.token_logps(pi) - answers.token_logps(answers.reference)
    for k in ("k1", "k2", "k3"):
        per_token = (kl_estimate(x, k) * answers.mask).sum(-1)
        for level, estimate in (("token", per_token), ("sequence", kl_estimate(x.sum(-1), k))):
            (slope,) = torch.autograd.grad(answers.law(pi) @ estimate, logits, retain_graph=True)
            parts = report[k, "reward", level].gradient + report[k, "loss", level].gradient
            assert parts.numpy() == pytest.approx(slope.numpy(), abs=1e-12)
            if level == "sequence":
                assert report[k, "weighted", level].gradient.numpy() == pytest.approx(
                    slope.numpy(), abs=1e-12
                )


def test_k3_in_the_reward_pulls_by_reverse_minus_forward(problem):
    report = kl_laboratory(*problem)
    for level, forward in (("sequence", "forward KL"), ("token", "forward KL per state")):
        expected = report.targets["reverse KL"] - report.targets[forward]
        assert report["k3", "reward", level].gradient.numpy() == pytest.approx(
            expected.numpy(), abs=1e-13
        )


def test_near_the_reference_k2_and_k3_in_the_reward_hardly_pull():
    mdp = RAGGED
    tree = exact.enumerate_tree(mdp, tables(mdp, 3))
    shares = []
    for step in (0.1, 0.05, 0.025):
        near = [
            (1 - step) * a + step * b for a, b in zip(tables(mdp, 3), tables(mdp, 4), strict=True)
        ]
        near = [table - np.logaddexp.reduce(table, axis=1, keepdims=True) for table in near]
        report = kl_laboratory(tree, near)
        whole = report["k1", "reward", "sequence"].gradient_norm
        shares.append([report[k, "reward", level].gradient_norm / whole
                       for k in ("k2", "k3") for level in ("token", "sequence")])  # fmt: skip
    first, second, third = np.array(shares)
    assert first.max() < 0.15
    assert second / first == pytest.approx(np.full(4, 0.5), abs=0.05), "halfway, half the share"
    assert third / second == pytest.approx(np.full(4, 0.5), abs=0.05)


def test_k1_in_the_loss_is_noise():
    report = kl_laboratory(*PROBLEMS["end token"])
    row = report["k1", "loss", "sequence"]
    assert row.gradient_norm < 1e-14
    assert row.gradient_variance > 0.5
    assert row.cosine is None


# --- against the objectives of the library --------------------------------------------------------


def expected_gradient(mdp, tree, policy, objective, group_size, **settings):
    """The slope of an objective's on-policy population loss, by autograd through a TabularLM, per
    reachable state.
    """
    model, answers = policies.TabularLM.from_tables(mdp, policy), Answers.of(tree)
    samples = policies.all_groups(mdp, policy, group_size)
    reference = policies.TabularLM.from_tables(mdp, tree.step_logps)
    batch = policies.make_group_batch(model, mdp, samples, reference)
    batch = type(batch)(**{**vars_of(batch), "rewards": torch.zeros_like(batch.rewards)})
    objective(batch, **settings).backward()
    places = [sum(mdp.vocab_size**d for d in range(t)) + s for t, s in answers.state_numbers]
    return model.logits.grad[0, places].numpy()


def vars_of(batch):
    return {name: getattr(batch, name) for name in type(batch).__dataclass_fields__}


@pytest.mark.parametrize("k", ["k1", "k2", "k3"])
@pytest.mark.parametrize(("name", "mdp"), [("fixed length", FULL), ("end token", RAGGED)])
def test_differentiating_the_librarys_estimates_gives_the_rows(name, mdp, k):
    tree, policy = PROBLEMS[name]
    report = kl_laboratory(tree, policy)

    def per_token(batch):
        estimate = kl_estimate(batch.logratio, k).masked_fill(~batch.mask, 0.0)
        return batch.group_mean(estimate.sum(-1).mean(1))

    def per_answer(batch):
        return batch.group_mean(kl_estimate(batch.sequence_logratio, k).mean(1))

    for level, objective in (("token", per_token), ("sequence", per_answer)):
        found = expected_gradient(mdp, tree, policy, objective, 1)
        assert found == pytest.approx(report[k, "loss", level].gradient.numpy(), abs=1e-13)


def test_rloo_has_the_reverse_kl_and_grpo_the_forward_kl_of_each_state():
    tree, policy = PROBLEMS["end token"]
    targets = kl_laboratory(tree, policy).targets
    terms = {
        "reverse KL": lambda b: objectives.rloo(b, alpha=1.0).loss,
        "forward KL per state": lambda b: (
            objectives.grpo(b, alpha=1.0, normaliser="seq-mean-token-sum").loss
        ),
        "zero": lambda b: objectives.grpo(b, alpha=1.0, kl="none").loss,
    }
    for name, objective in terms.items():
        found = expected_gradient(RAGGED, tree, policy, objective, 2)
        assert found == pytest.approx(targets[name].numpy(), abs=1e-13), name


# --- samples from another policy ------------------------------------------------------------------


@pytest.mark.parametrize(("name", "mdp"), [("fixed length", FULL), ("end token", RAGGED)])
def test_off_policy_only_the_weighted_gradients_survive(name, mdp):
    tree, policy = PROBLEMS[name]
    report = kl_laboratory(tree, policy, behaviour=tables(mdp, 9))
    assert report.passed
    for row in report.rows:
        if row.place == "weighted" and row.estimator != "k2":
            assert row.equals == (
                "reverse KL" if row.level == "sequence" else "reverse KL per state"
            )
            assert row.estimates_kl == (row.level == "sequence"), (
                "a token's weight does not move the states"
            )
        else:
            assert row.equals == "none of these"
            assert not row.estimates_kl
            assert min(row.distances.values()) > 1e-3


def test_on_samples_of_the_reference_k1_in_the_loss_pushes_away():
    tree, policy = PROBLEMS["end token"]
    report = kl_laboratory(tree, policy, behaviour=tree.step_logps)
    row = report["k1", "loss", "sequence"]
    assert row.gradient.numpy() == pytest.approx(-report.targets["forward KL"].numpy(), abs=1e-14)
    assert row.value == pytest.approx(-report.forward_kl, abs=1e-14)


def test_naming_the_policy_itself_as_sampler_changes_no_number(problem):
    tree, policy = problem
    ours, again = kl_laboratory(tree, policy), kl_laboratory(tree, policy, behaviour=policy)
    for row, other in zip(ours.rows, again.rows, strict=True):
        assert row.equals == other.equals
        assert torch.equal(row.gradient, other.gradient)


# --- the control ----------------------------------------------------------------------------------


def test_the_inverted_ratio_is_caught(problem):
    """The known mistake of teaching code: log ref - log pi handed to the formulas."""
    tree, policy = problem
    report = kl_laboratory(tree, policy, estimators=INVERTED)
    assert not report.passed
    k1, k3 = report["k1", "reward", "sequence"], report["k3", "loss", "sequence"]
    assert k1.value == pytest.approx(-report.kl, abs=1e-13)
    assert k3.value == pytest.approx(report.chi_square - report.kl, abs=1e-13)
    assert not any(row.estimates_kl for row in report.rows)
    assert k1.gradient.numpy() == pytest.approx(-report.targets["reverse KL"].numpy(), abs=1e-13)
    assert k1.cosine == pytest.approx(-1.0), "it pays for leaving the reference"
    assert report["k1", "loss", "sequence"].equals == "zero", (
        "here nothing shows: only the value tells"
    )
    assert k3.equals == "none of these"


def test_inverted_k3_in_the_loss_is_half_the_gradient_of_chi_square():
    tree, policy = PROBLEMS["end token"]
    answers = Answers.of(tree)
    logits = answers.from_tables(policy).requires_grad_()
    p, q = answers.law(answers.policy(logits)), answers.law(answers.reference)
    (slope,) = torch.autograd.grad(((p * p / q).sum() - 1) / 2, logits)
    found = kl_laboratory(tree, policy, estimators=INVERTED)["k3", "loss", "sequence"].gradient
    assert found.numpy() == pytest.approx(slope.numpy(), abs=1e-13)


def test_k2_cannot_tell_an_inverted_ratio():
    tree, policy = PROBLEMS["end token"]
    ours = kl_laboratory(tree, policy)
    inverted = kl_laboratory(tree, policy, estimators={"k2": lambda x: kl_estimate(-x, "k2")})
    for row in inverted.rows:
        assert row.value == ours["k2", row.place, row.level].value
        assert torch.equal(row.gradient, ours["k2", row.place, row.level].gradient)


def test_at_the_reference_nothing_pulls_and_no_control_can_bite():
    tree, _ = PROBLEMS["fixed length"]
    report = kl_laboratory(tree, tree.step_logps, estimators={**ESTIMATORS, **INVERTED})
    assert report.passed
    assert all(row.equals == "zero" and row.cosine is None for row in report.rows)


# --- the record, and what is refused --------------------------------------------------------------


def test_the_record_is_plain_json_and_prints():
    report = kl_laboratory(*PROBLEMS["end token"])
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["passed"] is True
    assert plain["answers"] == 15
    assert len(plain["rows"]) == 18
    assert plain["rows"][0]["distances"]["reverse KL"] < 1e-12
    lines = str(report).splitlines()
    assert lines[0].endswith("nats, 15 answers, on-policy")
    assert len(lines) == 20
    assert lines[2].split()[:3] == ["k1", "reward", "token"]


def test_what_stands_after_the_end_does_not_matter():
    tree, policy = PROBLEMS["end token"]
    other = [table.copy() for table in policy]
    eos = RAGGED.eos_token_id
    for t in (1, 2):
        for s in range(len(other[t])):
            digits = [s // 3**d % 3 for d in range(t)]
            if eos in digits:
                other[t][s] = math.log(1 / 3)
    ours, again = kl_laboratory(tree, policy), kl_laboratory(tree, other)
    assert [row.value for row in ours.rows] == [row.value for row in again.rows]


def test_padding_is_never_estimated():
    """An estimator that is 1 on padding counts the tokens of an answer, and nothing after its
    end.
    """
    tree, policy = PROBLEMS["end token"]
    row = kl_laboratory(tree, policy, estimators={"x + 1": lambda x: x + 1})[
        "x + 1", "loss", "token"
    ]
    lengths = np.array([len(y) for y in tree.answers()])
    assert row.value_error == pytest.approx(np.exp(log_law(tree, policy)) @ lengths, abs=1e-12)


def test_bad_input_gives_one_clear_line():
    tree, policy = PROBLEMS["fixed length"]
    never = [table.copy() for table in policy]
    never[1][0] = [-np.inf, 0.0]
    cases = [
        ({"policy": policy[:2]}, "policy must be tables of shapes"),
        (
            {"policy": [table + 0.1 for table in policy]},
            "rows of policy must be log-probabilities that sum to one",
        ),
        ({"policy": never}, "policy never takes a token that the reference takes"),
        ({"policy": policy, "behaviour": never}, "behaviour never takes"),
        (
            {"policy": policy, "estimators": {"mine": lambda x: x.sum()}},
            "estimator 'mine' must give one",
        ),
        (
            {"policy": policy, "estimators": {"flat": torch.zeros_like}},
            "estimator 'flat' must give one",
        ),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            kl_laboratory(tree, **arguments)
    large = toy_envs.RandomTree(vocab_size=2, horizon=12)
    with pytest.raises(ValueError, match="take a smaller vocabulary or horizon"):
        kl_laboratory(exact.enumerate_tree(large), exact.uniform_reference(2, 12))
