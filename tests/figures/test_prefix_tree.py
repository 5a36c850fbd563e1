"""The prefix tree: exact numbers, pruning by probability mass, finished answers, the picture's
areas.
"""

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.exact.theorems import prefix_log_law
from gnivo_edu.figures.style import percent, signed
from gnivo_edu.figures.tree_picture import DOT

CASES = [
    (toy_envs.PosterProblem(), 0.5, 22),
    (toy_envs.Brackets(), 0.2, 18),
    (toy_envs.RandomTree(4, 6), 0.1, 30),
]


def walk(branch, vocabulary, prefix=()):
    """(prefix, branch) of all that is shown, the prefix found from the tokens alone."""
    yield prefix, branch
    for child in branch.branches:
        yield from walk(child, vocabulary, (*prefix, vocabulary.index(child.token)))


@pytest.mark.parametrize(("env", "alpha", "nodes"), CASES)
@pytest.mark.parametrize("with_policy", [False, True])
@pytest.mark.parametrize("colours", ["value", "credit"])
def test_every_number_of_the_tree_is_exact(env, alpha, nodes, with_policy, colours):
    key = exact.solve(exact.enumerate_tree(env), alpha)
    policy = key.optimal_step_logps if with_policy else None
    shown = figures.prefix_tree(key, env.vocabulary, policy, colours, nodes)
    laws = [
        prefix_log_law(law)
        for law in (key.tree.step_logps, key.optimal_step_logps)[: 1 + with_policy]
    ]
    branches = dict(walk(shown.root, env.vocabulary))
    assert len(branches) == nodes
    for prefix, branch in branches.items():
        t, row = key.tree.index(prefix)
        assert branch.reach == pytest.approx(np.exp(laws[-1][t][row]), rel=1e-9)
        before = key.log_z if colours == "value" or t == 0 else key.soft_value(prefix[:-1])
        assert branch.value == pytest.approx(key.soft_value(prefix) - before, abs=1e-12)
        finished = env.is_finished(prefix)
        assert (branch.reward is not None) == finished
        if finished:
            assert branch.reward == pytest.approx(env.reward([prefix], [len(prefix)])[0])
            assert not branch.branches
            assert branch.others == 0
            continue
        assert len(branch.branches) + branch.others == env.vocab_size
        for law in range(len(laws)):
            total = sum(child.chances[law] for child in branch.branches) + branch.rest[law]
            assert total == pytest.approx(1)


@pytest.mark.parametrize(("env", "alpha", "nodes"), CASES)
def test_what_is_left_out_is_less_likely_than_what_is_shown(env, alpha, nodes):
    key = exact.solve(exact.enumerate_tree(env), alpha)
    shown = figures.prefix_tree(key, env.vocabulary, nodes=nodes)
    branches = dict(walk(shown.root, env.vocabulary))
    least = min(branch.reach for branch in branches.values())
    for t in range(1, env.horizon + 1):
        for row in key.tree.reachable(t):
            prefix = key.tree.prefix(t, int(row))
            if len(prefix) == t and prefix not in branches:
                assert np.exp(key.tree.prefix_logps[t][row]) <= least * (1 + 1e-12)


def test_kept_answers_are_shown_whole_and_thick(problem, key):
    rare = (1, 1, 1, 1, 1, 1, 1)
    shown = figures.prefix_tree(key, problem.vocabulary, nodes=5, keep=[rare])
    branches = dict(walk(shown.root, problem.vocabulary))
    assert all(branches[rare[:t]].kept for t in range(8))
    assert sum(branch.kept for branch in branches.values()) == 8
    widths = [line.get_linewidth() for line in shown.figure().axes[0].lines]
    assert widths.count(2.0) == 7


def test_areas_are_proportional_to_probability_and_colours_are_right(problem, key):
    shown = figures.prefix_tree(key, problem.vocabulary, nodes=12)
    fills = [
        c
        for c in shown.figure().axes[0].collections
        if c.get_facecolor().size and c.get_facecolor()[0, 3] == 1
    ]
    areas = sorted(float(fill.get_sizes()[0]) for fill in fills)
    reaches = sorted(branch.reach for _, branch in shown.root.walk())
    assert np.array(areas) / (72 * DOT) ** 2 == pytest.approx(reaches)


def test_text_and_list_say_the_same(brackets, bracket_key):
    shown = figures.prefix_tree(
        bracket_key, brackets.vocabulary, bracket_key.optimal_step_logps, nodes=10
    )
    text, html = shown.text(), shown.html()
    first = shown.root.branches[0]
    line = text.splitlines()[1]
    assert line.startswith(f"  ( {percent(first.chances[0])}→{percent(first.chances[1])} ")
    assert signed(first.value) in line
    assert "reached" in line
    hidden = [b for _, b in shown.root.walk() if b.others]
    assert text.count("+") >= len(hidden)
    assert sum(f"+{b.others} other" in html for b in hidden) == len(hidden)
    assert "[.]" in text
    assert "3px double" in html
    assert html.count("<details open>") == sum(
        bool(b.branches or b.others) for _, b in shown.root.walk()
    )
    assert len([line for line in text.splitlines() if ", reached " in line]) == 10


def test_four_to_the_sixth_is_pruned_quickly():
    key = exact.solve(exact.enumerate_tree(toy_envs.RandomTree(4, 6)), 0.1)
    shown = figures.prefix_tree(key, "abcd", nodes=21)
    assert [b.others for _, b in shown.root.walk()].count(
        4
    ) == 16  # depth two whole, nothing below it
    assert len(shown.png()) < 200_000
