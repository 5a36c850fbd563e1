"""The tree inside a language model: a small random one to float64 precision, and a real one."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu import exact
from gnivo_edu.policies import load_model, tree_from_model
from gnivo_edu.tasks import get_reward

SHARED = Path(os.environ.get("GNIVO_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
STORIES = SHARED / "models/stories260k"
PROMPT = "Once upon a time, there was a little girl. She was very"


def lengths_of(texts: list[str]) -> list[float]:
    return [len(text) / 10 for text in texts]


def brute_force(
    model: Any, ids: list[int], allowed: list[int], top_k: int
) -> tuple[list[int], np.ndarray]:
    """Kept tokens and log-probabilities after a prefix, from one plain forward pass."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1].double().numpy()
    kept = sorted(allowed, key=lambda i: -logits[i])[:top_k]
    return kept, logits[kept] - np.log(np.exp(logits[kept]).sum())


@pytest.mark.parametrize("rows", [1, 4, 1024])
@pytest.mark.parametrize(
    "settings", [{}, {"use_cache": False}, {"max_bytes": 1}], ids=["cache", "no-cache", "small"]
)
def test_tables_against_one_forward_per_prefix(
    model: Any, tokenizer: Any, settings: dict[str, Any], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnivo_edu.policies.from_model.MAX_ROWS", rows)
    mdp, tables = tree_from_model(model, tokenizer, "a b", 3, 3, lengths_of, **settings)
    assert (mdp.vocab_size, mdp.horizon, mdp.eos_token_id) == (3, 3, None)
    allowed = range(2, 260)
    for t in range(3):
        for number, prefix in enumerate(itertools.product(range(3), repeat=t)):
            ids = tokenizer("a b")["input_ids"] + mdp.model_tokens(prefix)
            kept, logps = brute_force(model, ids, list(allowed), 3)
            assert mdp.token_ids[t][number].tolist() == kept
            np.testing.assert_allclose(tables[t][number], logps, rtol=0, atol=1e-10)


def test_kept_masses_against_plain_softmax(model: Any, tokenizer: Any) -> None:
    """m(s) is what the kept tokens have of the whole softmax, special tokens included; the model's
    own law of a prefix is the product of its tokens' probabilities.
    """
    mdp, _ = tree_from_model(model, tokenizer, "a b", 3, 3, lengths_of)
    start, own = tokenizer("a b")["input_ids"], mdp.model_logps()
    assert [mass.shape for mass in mdp.kept_mass] == [(1,), (3,), (9,)]
    for number, prefix in enumerate(itertools.product(range(3), repeat=3)):
        ids = start + mdp.model_tokens(prefix)
        with torch.no_grad():
            law = model(input_ids=torch.tensor([ids])).logits[0].double().softmax(-1)
        steps = [float(law[len(start) - 1 + t, ids[len(start) + t]]) for t in range(3)]
        for t in range(4):
            place = number // 3 ** (3 - t)
            assert own[t][place] == pytest.approx(math.log(math.prod(steps[:t])), abs=1e-10)
            if t < 3:
                mass = float(law[len(start) - 1 + t, mdp.token_ids[t][place].tolist()].sum())
                assert mdp.kept_mass[t][place] == pytest.approx(mass, abs=1e-12)


def test_special_and_unknown_tokens_are_removed(model: Any, tokenizer: Any) -> None:
    everything = len(tokenizer) - 2
    mdp, tables = tree_from_model(model, tokenizer, "a", everything, 1, lengths_of)
    assert sorted(mdp.token_ids[0][0].tolist()) == list(range(2, len(tokenizer)))
    assert abs(np.exp(tables[0]).sum() - 1) < 1e-12
    with pytest.raises(
        ValueError, match=f"top_k is {everything + 1}, but {everything} tokens are left"
    ):
        tree_from_model(model, tokenizer, "a", everything + 1, 1, lengths_of)


def test_text_keeps_spaces_and_waits_for_whole_characters(model: Any, tokenizer: Any) -> None:
    vocabulary = tokenizer.get_vocab()
    spelled = ["Ġa", *"Ã©", "Ġ"]  # " a", two bytes of é, a space

    class Forced(torch.nn.Module):
        """A model that says one thing, whatever its prompt of one token."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            logits = torch.zeros(*input_ids.shape, 300)
            for t, token in enumerate(spelled):
                logits[:, t : t + 1, vocabulary[token]] = 9.0
            return type("Output", (), {"logits": logits})()

    mdp, _ = tree_from_model(Forced(), tokenizer, "b", 2, 4, lengths_of)
    best = (0, 0, 0, 0)
    assert [mdp.decode(best[:t]) for t in range(5)] == ["", " a", " a\ufffd", " aé", " aé "]
    assert mdp.pieces(best) == [" a", "", "é", " "]
    assert mdp.pieces(best[:2]) == [" a", "\ufffd"]
    assert mdp.reward([best, best], [4, 3]).tolist() == [0.4, 0.3]
    assert mdp.decode([0, mdp.pad_token_id]) == " a"


def test_requests_that_cannot_be_met(model: Any, tokenizer: Any) -> None:
    for top_k, horizon in ((0, 2), (2, 0)):
        with pytest.raises(ValueError, match="top_k and horizon must be at least 1"):
            tree_from_model(model, tokenizer, "a", top_k, horizon, lengths_of)
    with pytest.raises(ValueError, match="prompt is empty and the tokenizer has no BOS"):
        tree_from_model(model, tokenizer, "", 2, 2, lengths_of)
    with pytest.raises(ValueError, match="above the model's 32"):
        tree_from_model(model, tokenizer, "a" * 31, 2, 2, lengths_of)
    with pytest.raises(exact.TreeTooLargeError):
        tree_from_model(model, tokenizer, "a", 100, 9, lengths_of)


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return load_model(STORIES)


@pytest.mark.skipif(not STORIES.is_dir(), reason="GNIVO_SHARED holds no models/stories260k")
class TestRealModel:
    def test_a_tree_of_stories(self, loaded: tuple[Any, Any]) -> None:
        model, tokenizer = loaded
        mdp, tables = tree_from_model(model, tokenizer, PROMPT, 4, 4, get_reward("sentiment"))
        tree = exact.enumerate_tree(mdp)  # its reference is the model
        assert tree.num_sequences == 4**4
        assert abs(np.exp(tree.prefix_logps[-1]).sum() - 1) < 1e-12
        assert len(np.unique(tree.rewards)) >= 3
        special = set(tokenizer.all_special_ids)
        assert not special & set(np.concatenate([ids.ravel() for ids in mdp.token_ids]).tolist())
        assert all((np.diff(table) <= 0).all() for table in tables)  # rank 0 is the most probable
        greedy = model.generate(
            torch.tensor([tokenizer(PROMPT)["input_ids"]]),
            do_sample=False,
            max_new_tokens=4,
            pad_token_id=0,
        )
        assert mdp.model_tokens([0, 0, 0, 0]) == greedy[0, -4:].tolist()
        text = tokenizer.decode(greedy[0], skip_special_tokens=True)
        assert text == PROMPT + mdp.decode([0, 0, 0, 0])
        assert "".join(mdp.pieces([1, 0, 2, 1])) == mdp.decode([1, 0, 2, 1])

    def test_with_and_without_the_cache(self, loaded: tuple[Any, Any]) -> None:
        with_cache = tree_from_model(*loaded, PROMPT, 3, 4, lengths_of)
        without = tree_from_model(*loaded, PROMPT, 3, 4, lengths_of, use_cache=False)
        for t in range(4):
            np.testing.assert_array_equal(with_cache[0].token_ids[t], without[0].token_ids[t])
            np.testing.assert_allclose(with_cache[1][t], without[1][t], rtol=0, atol=1e-4)

    def test_an_empty_prompt_starts_from_bos(self, loaded: tuple[Any, Any]) -> None:
        mdp, _ = tree_from_model(*loaded, "", 2, 3, lengths_of)
        assert mdp.prompt_ids == [1]
        assert mdp.decode([0, 0]).startswith("Once")

    def test_both_theorems_hold_on_it(self, loaded: tuple[Any, Any]) -> None:
        mdp, tables = tree_from_model(*loaded, PROMPT, 4, 4, get_reward("sentiment"))
        tree = exact.enumerate_tree(mdp, tables)
        assert exact.verify_soft_value_theorem(tree, 0.2).passed
        assert exact.verify_constant_shift(tree, 0.2, 2).passed
