"""The tree of a language model: the text of each edge is the model's own, thick lines are the
answers asked for.
"""

from __future__ import annotations

import numpy as np
import pytest

from gnivo_edu import exact
from gnivo_edu.figures.prefix_tree import PrefixTree, prefix_tree
from gnivo_edu.figures.text_tree import text_tree


class Words:
    """Rank r after a prefix is a word of its own for every prefix."""

    vocab_size = 2

    def pieces(self, prefix):
        return ["".join(map(str, prefix[: t + 1])) for t in range(len(prefix))]


@pytest.fixture(scope="module")
def key():
    tables = exact.random_reference(2, 3, seed=1)
    return exact.solve(exact.enumerate_tree_from_rewards(np.linspace(0, 1, 8), 2, tables), 0.5)


def branches(tree: PrefixTree):
    found = {}

    def walk(branch, prefix):
        found[prefix] = branch
        for child in branch.branches:
            walk(child, child.token)

    walk(tree.root, "")
    return found


def test_every_edge_has_the_text_of_its_prefix(key):
    shown = text_tree(key, Words(), nodes=30)
    assert set(branches(shown)) - {""} == {
        *"01", "00", "01", "10", "11", *(f"{a}{b}{c}" for a in "01" for b in "01" for c in "01")
    }  # fmt: skip
    for prefix, branch in branches(shown).items():
        ranks = tuple(map(int, prefix))
        assert branch.reach == pytest.approx(
            np.exp(key.tree.prefix_logps[len(ranks)][key.tree.index(ranks)[1]])
        )
        assert branch.value == pytest.approx(key.soft_value(ranks) - key.log_z)
    assert "011" in shown.text()
    assert "<svg" in shown.html() or "<img" in shown.html()


def test_kept_answers_are_thick_and_shown_prefixes_thin(key):
    found = branches(text_tree(key, Words(), keep=[(1, 0, 1)], show=[(0, 0)], nodes=1))
    assert {prefix for prefix, branch in found.items() if branch.kept} == {"", "1", "10", "101"}
    assert {"0", "00"} <= set(found)


def test_all_else_is_the_plain_tree(key):
    plain = prefix_tree(key, "01", nodes=9, colours="credit")
    shown = text_tree(key, Words(), nodes=9, colours="credit")
    assert (shown.caption, shown.scale, shown.colours) == (
        plain.caption,
        plain.scale,
        plain.colours,
    )
    assert sorted(b.value for _, b in shown.root.walk()) == sorted(
        b.value for _, b in plain.root.walk()
    )
