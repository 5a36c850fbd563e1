"""Notebook 09: its equations, each under its number and by other means, and what its prose says."""

import copy
import re

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import exact, objectives, policies, training
from gnivo_edu.evaluation.agreement import rank_correlation, value_agreement
from gnivo_edu.population import Answers, Population, point_at, total_variation
from gnivo_edu.population.roots import rest
from tests.notebooks.notebook import Notebook

BOOK = Notebook("09_a_transformer_instead_of_a_table")
ALPHA = 0.2


def rows(pattern):
    """name -> numbers, of the lines that a pattern finds."""
    return {
        name.strip(): tuple(map(float, x))
        for name, *x in re.findall(pattern, BOOK.printed.replace("−", "-"), re.M)
    }


@pytest.fixture(scope="module")
def digits():
    return toy_envs.DigitSum(vocab_size=4, horizon=4, target=6)


def writer(env, seed=1, weights=0.15):
    return policies.small_transformer(
        env, "tiny", dtype=torch.float64, seed=seed, initializer_range=weights
    )


def key_of(policy, env, alpha=ALPHA):
    return exact.solve(exact.enumerate_tree(env, policies.tabulate(policy, env)), alpha)


# --- the equations, each by brute force -----------------------------------------------------------


def test_equation_9_1(digits):
    """The library's tables are the softmax over the actions of the logits one place earlier, in
    plain Python.
    """
    model = writer(digits, weights=0.4)
    tables = policies.tabulate(model, digits)
    for prefix in [(), (2,), (3, 0), (1, 1, 2)]:
        with torch.no_grad():
            z = (
                model(input_ids=torch.tensor([[digits.bos_token_id, *prefix]]))
                .logits[0, -1, :4]
                .numpy()
            )
        number = sum(d * 4 ** (len(prefix) - 1 - i) for i, d in enumerate(prefix))
        np.testing.assert_allclose(
            tables[len(prefix)][number], z - np.log(np.exp(z).sum()), atol=1e-13
        )


def test_equation_9_2(digits):
    """At pi*, and only there, rho + log Z is V: here with a transformer as the reference."""
    model = writer(digits)
    key = key_of(model, digits)
    best = policies.TabularLM.from_tables(digits, key.optimal_step_logps)
    at_best = value_agreement(best, model, digits, ALPHA)
    assert at_best.rms < 1e-12
    assert at_best.rank_correlation == pytest.approx(1, abs=1e-12)
    nearly = [table.copy() for table in key.optimal_step_logps]
    nearly[0][0] = np.log(0.9 * np.exp(nearly[0][0]) + 0.1 / 4)
    assert (
        value_agreement(policies.TabularLM.from_tables(digits, nearly), model, digits, ALPHA).rms
        > 1e-3
    )


def test_equation_9_3():
    """Against a sum over pairs that knows no ranks."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, 30).astype(float), rng.standard_normal(30).round(1)
    a, b = (np.sign(v[:, None] - v[None, :]).sum(axis=1) for v in (x, y))
    assert rank_correlation(x, y) == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-14)


def test_equation_9_4(digits):
    """A small step along one gradient changes the other log-probability by the overlap."""
    rows = torch.tensor([[0, 3], [2, 2]])

    def logps(model):
        return policies.next_token_logps(model, digits, rows)[:, -1, 3]

    for model, alone in ((writer(digits), False), (policies.TabularLM.from_mdp(digits), True)):
        parameters = list(model.parameters())
        here = logps(model)
        g, h = (torch.autograd.grad(x, parameters, retain_graph=True) for x in here)
        overlap = float(sum((a * b).sum() for a, b in zip(g, h, strict=True)))
        moved, step = copy.deepcopy(model), 1e-6
        with torch.no_grad():
            for p, direction in zip(moved.parameters(), h, strict=True):
                p += step * direction
        change = float((logps(moved) - here)[0].detach()) / step
        assert change == pytest.approx(overlap, rel=1e-4, abs=1e-9)
        assert (overlap == 0) == alone


# --- what the prose says --------------------------------------------------------------------------


def test_the_tree_shows_what_is_said_of_it(digits):
    key = key_of(writer(digits), digits)
    first = key.tree.step_logps[0][0]
    assert set(np.argsort(first)[-2:]) == {1, 2}, "it likes to begin with a 1 or a 2"
    gaps = {(a, b): key.soft_value((a, b)) - key.log_z for a in range(4) for b in range(4)}
    assert min(gaps, key=gaps.get) == (0, 0)
    assert digits.reward([[0, 0, 3, 3]], [4])[0] == 1


def test_theorem_1_holds_whoever_computed_the_reference(digits):
    lines = re.findall(r"^(random|shipped).* below 1e-10 nats: (\w+)$", BOOK.printed, re.M)
    assert lines == [("random", "True"), ("shipped", "True")]
    tree = key_of(writer(digits, weights=0.4), digits).tree
    assert exact.verify_soft_value_theorem(tree, ALPHA).max_abs_error < 1e-10


def test_all_weights_reach_the_best_policy_and_the_last_layer_does_not():
    line = r"^(all weights|last layer only) +spread (.+) nats, KL to π\* (.+) nats$"
    ends = {name: numbers for name, *numbers in re.findall(line, BOOK.printed, re.M)}
    assert ends["all weights"] == ["below 1e-9", "below 1e-12"]
    spread, kl = map(float, ends["last layer only"])
    assert spread > 1
    assert kl > 0.01


@pytest.mark.slow
def test_the_last_layer_rests_though_it_is_not_there():
    small = toy_envs.RandomTree(vocab_size=2, horizon=5)
    model = writer(small, weights=0.4)
    model.requires_grad_(False)
    model.lm_head.requires_grad_(True)
    records = training.fit_population(model, small, alpha=0.5, group_size=2).records
    assert records[-1].gradient_norm < 1e-6 * records[0].gradient_norm
    assert model.config.hidden_size < sum(2**t for t in range(5)), (
        "too few directions for every prefix"
    )


def test_the_signature_figure_meets_what_is_asked():
    lines = rows(
        r"^(table|transformer|control: transformer, shuffled) +(-?0\.\d+) +(\d+\.\d+) +340$"
    )
    for name in ("table", "transformer"):
        rank, off = lines[name]
        assert rank >= 0.95, name
        assert off < 0.25, name
    rank, off = lines["control: transformer, shuffled"]
    assert abs(rank) < 0.2
    assert off > 5 * lines["transformer"][1]
    assert lines["table"][1] < lines["transformer"][1], "the table is closer"


def test_the_closest_relative_mostly_ends_with_the_same_digit():
    lines = re.findall(r"^transformer +(\d\d)  (.*)$", BOOK.printed, re.M)
    names, cells = (
        [name for name, _ in lines],
        np.array([[float(x) for x in row.split()] for _, row in lines]),
    )
    assert cells.shape == (8, 8)
    assert cells.min() > 0, "felt by all of them"
    closest = (cells - np.eye(8)).argmax(axis=1)
    assert sum(names[i][1] == names[j][1] for i, j in enumerate(closest)) == 7


@pytest.mark.slow
def test_the_worst_answers_lie_too_high_in_the_table_as_well():
    """By the notebook's own cells."""
    space = BOOK.space("import toy_envs", "def part(", "def twins(")
    for policy in space["learned"].values():
        agreement = value_agreement(policy, space["reference"], space["digits"], ALPHA)
        gap = agreement.implicit - agreement.exact
        assert gap[agreement.exact < 0.1].min() > 0
        assert gap[agreement.exact < 1].mean() > 0.05
        assert agreement.rank_correlation >= 0.95


def test_in_float32_the_logarithms_differ_in_the_seventh_decimal(digits):
    single = policies.small_transformer(digits, "tiny", seed=1, initializer_range=0.15)
    pairs = zip(
        policies.tabulate(single, digits), policies.tabulate(writer(digits), digits), strict=True
    )
    assert 5e-8 < max(np.abs(a - b).max() for a, b in pairs) < 1e-6
    tree = key_of(single, digits).tree
    assert exact.verify_soft_value_theorem(tree, ALPHA).max_abs_error < 1e-10


def test_complete_answers_have_seven_rewards(digits):
    assert len(np.unique(exact.enumerate_tree(digits).rewards.round(12))) == 7


def test_an_untrained_transformer_says_nothing(digits):
    agreement = value_agreement(writer(digits), writer(digits), digits, ALPHA)
    assert np.isnan(agreement.rank_correlation)
    assert agreement.rms > 1


def test_what_was_never_drawn():
    errors = r"RMS (\S+) nats at \d+ prefixes drawn, (\S+) at \d+ never drawn$"
    pattern = rf"^  (as it was|table|transformer) +{errors}"
    lines = [
        (name, float(seen), float(unseen))
        for name, seen, unseen in re.findall(pattern, BOOK.printed, re.M)
    ]
    assert [name for name, *_ in lines] == ["as it was", "table", "transformer"] * 2
    was, table, network = (np.array(x[1:]) for x in lines[:3])
    assert abs(table[0] - network[0]) < 0.05, "where they have been, the two know about the same"
    assert table[1] > 0.95 * was[1], "the table is hardly better than before"
    assert network[1] == pytest.approx(2 / 3 * was[1], rel=0.05), "a third of the error"
    was, table, network = (np.array(x[1:]) for x in lines[3:])
    assert network[1] > was[1], "worse than before"
    assert network[0] > 1.5 * table[0], "far behind"


def poor(env, reference, draw):
    """RMS of table and transformer at prefixes that were never drawn, as in the notebook."""
    few = policies.sample_completions(reference, env, 8, [0] * 40, seed=draw)
    drawn, numbers = set(), np.zeros(320, dtype=int)
    for t, column in enumerate(few.tokens.reshape(-1, 4).numpy().T, start=1):
        numbers = 4 * numbers + column
        drawn |= {(t, n) for n in numbers}
    table = policies.TabularLM.from_tables(env, policies.tabulate(reference, env))
    ends = {}
    for name, policy, rate in (
        ("table", table, 0.05),
        ("transformer", copy.deepcopy(reference), 0.003),
    ):
        torch.manual_seed(0)
        adam = torch.optim.Adam(policy.parameters(), lr=rate)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 200)
        for _ in range(10):
            for rows in torch.randperm(40).split(2):
                batch = policies.make_group_batch(
                    policy,
                    env,
                    policies.SampledGroups(
                        tokens=few.tokens[rows],
                        lengths=few.lengths[rows],
                        logps=few.logps[rows],
                        truncated=few.truncated[rows],
                        prompt_index=few.prompt_index[rows],
                    ),
                )
                adam.zero_grad()
                objectives.gnivo(batch, ALPHA, reward_max=1.0).loss.backward()
                adam.step()
                slower.step()
        agreement = value_agreement(policy, reference, env, ALPHA)
        unseen = np.array(
            [p not in drawn for p in zip(agreement.depth, agreement.prefix, strict=True)]
        )
        ends[name] = np.sqrt(((agreement.implicit - agreement.exact)[unseen] ** 2).mean())
    return ends


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "helps"), [(3, True), (4, True), (5, False)])
def test_sharing_helps_some_writers_and_not_all(digits, seed, helps):
    ends = poor(digits, writer(digits, seed), draw=1)
    assert (ends["transformer"] < 0.8 * ends["table"]) == helps


def test_each_number_believes_a_lie():
    controls = rows(r"^(\D+?) +([+-]0\.\d{3}) +(\d\.\d\d) +(\d\.\d\d)$")
    assert set(controls) == {
        "shuffled",
        "no reference",
        "twice alpha",
        "only the end",
        "a little noise",
        "the transformer",
    }
    for name, (r, _, begun) in controls.items():
        assert (r > 0.95 and begun < 0.15) == (name in ("a little noise", "the transformer"))
    assert controls["twice alpha"][0] > 0.95
    assert controls["twice alpha"][1] > controls["shuffled"][1]
    assert controls["no reference"][0] > 0.5
    assert controls["no reference"][1] == pytest.approx(1, abs=0.1)
    r, off, begun = controls["only the end"]
    assert r > 0.85
    assert off < 0.35
    assert begun > 5 * controls["the transformer"][2]
    assert controls["the transformer"][2] < controls["the transformer"][1], (
        "better than on the whole"
    )
    assert 1 - controls["a little noise"][0] == pytest.approx(0.02, abs=0.005)


def test_more_ties_lower_the_ceiling(digits):
    ceilings = []
    for env in (digits, toy_envs.PosterProblem(), toy_envs.CombinationLock()):
        values = value_agreement(writer(env), writer(env), env, ALPHA).exact
        noise = np.random.default_rng(0).standard_normal(len(values))
        ceilings.append(
            (
                np.unique(values.round(9), return_counts=True)[1].max() / len(values),
                rank_correlation(values + 1e-6 * noise, values),
            )
        )
    assert sorted(ceilings) == sorted(ceilings, key=lambda pair: -pair[1])


def test_a_brief_run_of_fine_tune_is_on_its_way():
    lines = rows(
        r"^(table|transformer) +r = (\S+) \(shuffled (\S+)\), RMS (\S+) nats \(shuffled (\S+)\)$"
    )
    for r, shuffled, off, control in lines.values():
        assert r > 0.8
        assert abs(shuffled) < 0.2
        assert off < control / 2


@pytest.mark.parametrize(
    ("objective", "forgives"), [(objectives.gvpo, True), (objectives.gnivo, False)]
)
def test_answers_drawn_by_the_policy_in_training_move_gnivo_and_not_gvpo(objective, forgives):
    """Exactly, over all pairs, with the sampling law that of the policy where it rests."""
    env = toy_envs.RandomTree(vocab_size=2, horizon=3)
    answers = Answers.of(key_of(writer(env), env, 0.5).tree)
    at_rest = rest(
        objective, Population.of(answers, 2, "current"), point_at(answers, 0.5), alpha=0.5
    )
    law = answers.law(answers.policy(at_rest.point.logits))
    far = total_variation(law, answers.law(answers.tilted(answers.rewards / 0.5)))
    assert at_rest.converged
    assert (far < 1e-9) == forgives
