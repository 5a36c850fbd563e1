"""A tree of a model as a file: what comes back is what was written."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from gnivo_edu.policies import read_tree, tree_from_model, write_tree
from gnivo_edu.policies.from_model import TextTree
from gnivo_edu.policies.tree_file import Spelling


def lengths_of(texts: list[str]) -> list[float]:
    return [len(text) / 10 for text in texts]


@pytest.fixture(scope="module")
def grown() -> TextTree:
    """Random rows of three tokens out of six, which keep a random part of the mass."""
    rng = np.random.default_rng(0)
    kept = [rng.permuted(np.arange(6)[None].repeat(3**t, 0), axis=1)[:, :3] for t in range(3)]
    return TextTree(
        Spelling({0: " a", 1: "b", 2: " cé", 3: "\n", 4: '"', 5: " d e"}),
        prompt="a b",
        prompt_ids=[7, 0, 1],
        token_ids=kept,
        tables=[np.log(rng.dirichlet(np.ones(3), size=3**t)) for t in range(3)],
        kept_mass=[rng.random(3**t) for t in range(3)],
        reward=lengths_of,
    )


def test_what_is_read_is_what_was_written(grown: TextTree, tmp_path: Any) -> None:
    write_tree(grown, tmp_path / "tree.json", model="mine", command="this one")
    mdp, facts = read_tree(tmp_path / "tree.json", lengths_of)
    assert facts == {"model": "mine", "command": "this one"}
    assert (mdp.prompt, mdp.prompt_ids) == (grown.prompt, grown.prompt_ids)
    leaves = list(itertools.product(range(3), repeat=3))
    assert mdp.decode((0, 1)) != ""
    for kind in ("decode", "pieces", "model_tokens"):
        ours, theirs = ([getattr(tree, kind)(y) for y in leaves] for tree in (mdp, grown))
        assert ours == theirs
    for mine, theirs in zip(mdp.model_logps(), grown.model_logps(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=3e-6, rtol=0)
    for table, mass, other in zip(mdp.reference(), mdp.kept_mass, grown.kept_mass, strict=True):
        np.testing.assert_allclose(np.exp(table).sum(1), 1, atol=1e-14)
        np.testing.assert_allclose(mass, other, atol=2e-6)
    lengths = np.full(27, 3)
    np.testing.assert_array_equal(mdp.reward(leaves, lengths), grown.reward(leaves, lengths))


def test_bytes_of_characters_are_refused(model: Any, tokenizer: Any, tmp_path: Any) -> None:
    """Two tokens that make one character spell another text than each by itself."""
    mdp, _ = tree_from_model(model, tokenizer, "a b", 3, 3, lengths_of)
    with pytest.raises(ValueError, match="take another prompt"):
        write_tree(mdp, tmp_path / "tree.json")
    assert not (tmp_path / "tree.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"top_k": 2},
        {"model_logps": [[[0.0, 0.0, 0.0]]]},
        {"texts": []},
        {"token_ids": None},
        None,
    ],
)
def test_what_is_no_tree_is_refused_in_one_line(
    grown: TextTree, tmp_path: Any, change: dict[str, Any] | None
) -> None:
    path = tmp_path / "tree.json"
    write_tree(grown, path)
    path.write_text(
        "[1, 2" if change is None else json.dumps(json.loads(path.read_text()) | change)
    )
    with pytest.raises(ValueError, match="holds no tree of a model") as raised:
        read_tree(path, lengths_of)
    assert "\n" not in str(raised.value)
