import json
from fractions import Fraction
from itertools import product

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Population, expect, point_at
from gnivo_edu.population.judge import judge
from gnivo_edu.population.judge.contract import examine
from gnivo_edu.population.judge.counterexample import ALPHA, RationalTree, family, search
from gnivo_edu.population.judge.ends import find_end, small_tree, typical_push
from gnivo_edu.population.judge.subject import Subject, load_objective

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


# --- objectives that a reader might write ---------------------------------------------------------


def reinforce(batch, alpha):
    advantage = batch.rewards - batch.rewards.mean(1, keepdim=True)
    return -(advantage * batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)).mean()


def turned_sign(batch, alpha):
    r = batch.rewards - alpha * batch.sequence_logratio.detach()
    advantage = r - r.mean(1, keepdim=True)
    return (advantage * batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)).mean()


def leaks_padding(batch, alpha):
    h = (batch.policy_logps - batch.reference_logps).sum(-1)
    return batch.group_mean((batch.rewards - alpha * h).var(1))


def mean_over_padding(batch, alpha):
    return batch.group_mean((batch.rewards - alpha * batch.logratio.mean(-1)).var(1))


def mean_over_length(batch, alpha):
    return batch.group_mean(
        (batch.rewards - alpha * batch.sequence_logratio / batch.lengths).var(1)
    )


def first_two(batch, alpha, power=2):
    r = batch.rewards - alpha * batch.sequence_logratio
    return batch.group_mean((r[:, 0] - r[:, 1]).abs() ** power)


def token_mean(batch, alpha):
    r = batch.rewards - alpha * batch.sequence_logratio.detach()
    advantage = (r - r.mean(1, keepdim=True))[..., None]
    return -(advantage * batch.policy_logps).masked_fill(~batch.mask, 0.0).sum() / batch.mask.sum()


def wrong_alpha(batch, alpha):
    return objectives.gvpo(batch, alpha=2 * alpha)


def lines(report):
    return {line.question: line for line in report.lines}


def subject_of(function, name="f", alpha=0.5, **settings):
    return examine(function, name, alpha, settings)[0]


# --- the card -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cards():
    asked = {
        "gvpo": ("gvpo", {}),
        "softmax": ("gnivo", {"weights": "softmax"}),
        "dr_grpo": ("dr_grpo", {}),
        "mean_over_length": (mean_over_length, {}),
        "leaks_padding": (leaks_padding, {"seconds": 3.0}),  # the contract needs no more
        "reinforce": (reinforce, {}),
    }
    return {name: judge(objective, **settings) for name, (objective, settings) in asked.items()}


def test_gvpo_is_exact_and_safe_and_has_no_counterexample(cards):
    card, found = cards["gvpo"], lines(cards["gvpo"])
    assert card.verdict == "exact"
    assert card.passed
    assert len(card.ends) == 8
    assert all(end.tv < 1e-10 and end.push_at_optimum < 1e-12 for end in card.ends)
    assert not found["off-policy"].numbers["moves"]
    assert card.counterexample is None
    assert card.searches[0].tried == card.searches[0].of == len(family())
    assert (
        found["equal rewards"].numbers["reference"]
        < 1e-12
        < 0.1
        < found["equal rewards"].numbers["pi*"]
    )
    assert found["equal rewards"].numbers["pull_to_reference"] > 0.1
    # At the reference GVPO's gradient is alpha times RLOO's: the same signal, the same noise.
    for K in ("2", "4", "8"):
        noise = found["gradient noise"].numbers[K]
        assert noise["signal_to_noise"] == pytest.approx(noise["rloo"], rel=1e-10)


def test_softmax_weights_are_biased_but_not_for_one_token(cards):
    card = cards["softmax"]
    assert card.verdict == "biased"
    for end in card.ends:
        assert end.verdict == ("exact" if end.tree == "one token" else "biased")
    tree = card.counterexample.tree
    assert len(tree.rewards) > 2
    assert all(len(smaller.rewards) == 2 for smaller in family()[:24])
    assert card.counterexample.exact == (Fraction(9, 280), 0)


def test_dr_grpo_collapses_with_evidence_and_teaches_nothing_on_ties(cards):
    card = cards["dr_grpo"]
    assert card.verdict == "collapses"
    assert card.best_sampler == "current"
    assert "towards the best" in card.summary
    assert "nothing" in lines(card)["equal rewards"].answer
    assert len(card.counterexample.tree.rewards) == 2
    assert card.counterexample.end is None


def test_a_mean_over_the_length_is_caught_as_length_bias_with_its_law(cards):
    card, found = cards["mean_over_length"], lines(cards["mean_over_length"])
    assert card.verdict == "other optimum"
    assert "2 R length" in card.summary  # R/alpha per token: log pi/pi_ref = length (R - c)/alpha
    assert found["contract"].holds
    assert found["length bias"].holds is False
    assert abs(found["length bias"].numbers["shift"]) > 0.01
    assert len(card.counterexample.tree.rewards) > 2


def test_a_leak_of_padding_breaks_the_contract_and_nothing_else(cards):
    found = lines(cards["leaks_padding"])
    assert [name for name, line in found.items() if line.holds is False] == ["contract"]
    assert "outside the mask" in found["contract"].answer
    assert not cards["leaks_padding"].passed


def test_reinforce_without_kl_collapses_and_its_plain_mean_is_reweighted(cards):
    assert cards["reinforce"].verdict == "collapses"
    assert "plain mean" in lines(cards["reinforce"])["contract"].answer


def test_the_card_is_json_and_a_page(cards):
    for card in cards.values():
        data = json.loads(json.dumps(card.to_json(), allow_nan=False))
        assert data["passed"] == card.passed
        assert data["verdict"] in card.text()
        assert max(len(row) for row in card.text(width=90).splitlines()) <= 90
        assert card.seconds < 60
    assert "9/280" in cards["softmax"].text()


# --- where it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sampler", "verdict"),
    [
        ("gnivo", "reference", "exact"),
        ("gnivo", "current", "biased"),
        ("rloo", "current", "exact"),
        ("dro", "uniform", "exact"),
        ("sft_winning", "reference", "other optimum"),
    ],
)
def test_verdicts_of_the_registry(name, sampler, verdict):
    subject = subject_of(objectives.get(name), name)
    assert find_end(subject, subject.tree, sampler, 2, 0.5).verdict == verdict


def test_another_alpha_is_named():
    end = find_end(subject_of(wrong_alpha), "15 answers", "reference", 2, 0.5)
    assert end.verdict == "other optimum"
    assert "a = 1 instead of 0.5" in end.evidence


def test_the_best_of_k_is_named():
    end = find_end(subject_of(objectives.sft_winning), "15 answers", "reference", 2, 0.5)
    assert "best of 2" in end.evidence


def test_a_turned_sign_is_seen_although_pi_star_is_a_root():
    subject = subject_of(turned_sign)
    for sampler in ("reference", "current"):
        end = find_end(subject, "one token", sampler, 2, 0.5)
        assert end.push_at_optimum < 1e-12
        assert end.verdict == "collapses"
        assert "sign" in end.evidence


def test_a_mean_over_padding_is_another_alpha_and_breaks_the_contract():
    subject, findings = examine(mean_over_padding, "f", 0.5, {})
    assert [finding.name for finding in findings if not finding.holds] == ["padding"]
    assert f"a = {0.5 / 3:.4g}" in find_end(subject, "15 answers", "uniform", 2, 0.5).evidence


def test_a_loss_is_judged_the_same_in_other_units():
    huge = subject_of(
        lambda batch, alpha: 1e6 * objectives.gnivo(batch, alpha, weights="softmax").loss
    )
    scaled = Subject(huge.function, "f", scale=typical_push(huge, 0.5))
    plain = subject_of(objectives.gnivo, weights="softmax")
    plain = Subject(plain.function, "f", plain.settings, scale=typical_push(plain, 0.5))
    one, other = (find_end(subject, "one token", "current", 4, 0.5) for subject in (scaled, plain))
    assert one.tv == pytest.approx(other.tv, abs=1e-10)
    one, other = (
        find_end(subject, "4 answers", "reference", 2, 0.5) for subject in (scaled, plain)
    )
    assert one.push_at_optimum == pytest.approx(other.push_at_optimum, rel=1e-8)


def test_a_leak_through_a_constant_field_breaks_the_contract():
    def leaks(batch, alpha):
        return reinforce(batch, alpha) * (1 + batch.behaviour_logps.mean())

    assert (
        next(finding.name for finding in examine(leaks, "f", 0.5, {})[1] if not finding.holds)
        == "mask"
    )


# --- how it is called -----------------------------------------------------------------------------


def test_an_objective_that_looks_at_the_order_gets_all_orders():
    subject = subject_of(first_two)
    assert not subject.symmetric
    assert find_end(subject, "one token", "uniform", 4, 0.5).tv < 1e-10


@pytest.mark.parametrize(
    ("function", "prompts"), [(reinforce, "mean"), (token_mean, "one"), (leaks_padding, "weighted")]
)
def test_how_it_averages_over_prompts_is_found_out(function, prompts):
    assert subject_of(function).prompts == prompts


@pytest.mark.parametrize("function", [reinforce, token_mean])
def test_a_plain_mean_has_the_expected_gradient_of_each_group_weighted(function):
    answers = small_tree("4 answers")
    population = Population.of(answers, 2)
    point = point_at(answers, 0.5, answers.tilted(answers.rewards))
    found = expect(subject_of(function), population, point, alpha=0.5).gradient["logits"]
    leaves = point.detached()
    law = answers.law(answers.reference)
    total = torch.zeros(())
    for i, j in product(range(4), repeat=2):
        group = Population.of(answers, 2)
        place = int(((group.choice == torch.tensor(sorted((i, j)))).all(1)).nonzero())
        batch = group.batch(leaves)
        one = {
            name: getattr(batch, name)[[place]]
            for name in ("policy_logps", "behaviour_logps", "rewards", "mask")
        }
        one["reference_logps"] = batch.reference_logps[[place]]
        total = total + law[i] * law[j] * function(type(batch)(**one), 0.5)
    (wanted,) = torch.autograd.grad(total, [leaves.logits])
    assert float((found - wanted).abs().max()) < 1e-14


def test_a_loss_output_and_a_loss_without_alpha_are_accepted():
    assert subject_of(lambda batch: LossOutput(reinforce(batch, 1.0))).takes_alpha is False


def pairs_only(batch, alpha):
    if batch.rewards.shape[1] != 2:
        raise ValueError("pairs only")
    return first_two(batch, alpha)


def test_an_objective_of_pairs_is_judged_on_pairs():
    assert subject_of(pairs_only).sizes == (2,)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda batch, alpha: first_two(batch, alpha).item(),
            "returns a float: return the loss as a tensor",
        ),
        (lambda batch, alpha: first_two(batch, alpha) * float("nan"), "nan or inf"),
        (lambda batch, rewards: 0, "cannot be called with a batch and alpha"),
        (lambda batch, alpha: batch.rewards, r"tensor \[3, 2\]: return one number"),
        (lambda batch, alpha: first_two(batch, alpha).detach(), "does not depend on policy_logps"),
        (lambda batch, alpha: first_two(batch, alpha) * torch.rand(()), "two calls"),
        (lambda batch, alpha: batch.reward, "raised AttributeError"),
    ],
)
def test_what_cannot_be_judged_is_one_clear_line(function, words):
    with pytest.raises(ValueError, match=words) as raised:
        judge(function)
    assert "\n" not in str(raised.value)


def test_settings_and_alpha_are_checked():
    with pytest.raises(ValueError, match="no setting 'powr'; it takes alpha, power"):
        judge(first_two, powr=1)
    with pytest.raises(ValueError, match=r"alpha must lie in 0.1..10"):
        judge("gvpo", alpha=0.0)


def test_an_objective_is_loaded_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_loss_of_a_reader.py").write_text(
        "def loss(batch, alpha):\n    return batch.policy_logps.sum()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_objective("my_loss_of_a_reader:loss").__name__ == "loss"
    for name, words in {
        "my_loss_of_a_reader:los": "no function 'los'",
        "nowhere_to_be_found:loss": "cannot be imported",
        "gvop": "did you mean 'gvpo'",
    }.items():
        with pytest.raises(ValueError, match=words):
            load_objective(name)


# --- the smallest counterexample ------------------------------------------------------------------


def test_the_family_holds_every_tree_once_up_to_the_names_of_tokens():
    found = family()
    assert len(found) == len(set(found))
    coins = [Fraction(1, 2), THIRD, 1 - THIRD, Fraction(1, 4), Fraction(3, 4)]
    rewards = [Fraction(0), HALF, Fraction(1)]

    def laws(tree):
        branches = tree.reference[:2], tree.reference[2:]
        pairs = [
            sorted(zip(p, r, strict=True))
            for p, r in zip(branches, (tree.rewards[:2], tree.rewards[2:]), strict=True)
        ]
        return len(tree.rewards), str(sorted(pairs) if len(tree.rewards) == 4 else pairs)

    every = [RationalTree((p,), r) for p in coins for r in product(rewards, repeat=2)]
    every += [
        RationalTree(p, r) for p in product(coins, repeat=2) for r in product(rewards, repeat=3)
    ]
    every += [
        RationalTree(p, r) for p in product(coins, repeat=3) for r in product(rewards, repeat=4)
    ]
    assert {laws(tree) for tree in every} == {laws(tree) for tree in found}


@pytest.mark.parametrize("tree", [family()[5], family()[100], family()[-1]])
def test_a_rational_tree_and_its_float_twin_agree(tree):
    answers = tree.answers()
    assert answers.law(answers.reference).tolist() == pytest.approx(
        [float(p) for p in tree.reference], abs=1e-15
    )
    best = answers.law(answers.tilted(answers.rewards / ALPHA))
    assert sum(tree.optimum) == 1
    assert best.tolist() == pytest.approx([float(p) for p in tree.optimum], abs=1e-15)


def test_a_gradient_in_fractions_is_derived_by_hand():
    # REINFORCE, K = 2, samples from the reference (1/2, 1/2), pi* = (1/5, 4/5), rewards (0, 1): the
    # group {a, b} has probability 1/2, advantages -1/2 and 1/2, and gradient -(1/2)[-1/2 (1 - 1/5)
    # + 1/2 (0 - 1/5)] = 1/4.
    found = search(subject_of(reinforce), "reference").found
    assert found.tree == RationalTree((HALF,), (Fraction(0), Fraction(1)))
    assert found.tree.optimum == (Fraction(1, 5), Fraction(4, 5))
    assert found.exact == (Fraction(1, 8),)
    assert found.gradient == pytest.approx((0.125,), abs=1e-15)


def test_irrational_slopes_are_not_called_fractions():
    found = search(subject_of(objectives.grpo), "current").found
    assert found.exact is None
    assert abs(found.gradient[0]) > 0.01


def test_stale_samples_break_gnivo_on_a_tree_of_three_answers():
    subject = subject_of(objectives.gnivo)
    assert search(subject, "uniform").found.exact == (Fraction(1, 16), 0)
