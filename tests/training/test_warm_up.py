"""Warm-up on demonstrations in words: what is learned, kept and said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gnivo_edu import tasks
from gnivo_edu.policies import load_policy
from gnivo_edu.training.warm_up import warm_up

ASKED = {"examples": 0, "horizon": 100, "tiers": ["2x1"], "num_prompts": 40}


@pytest.mark.slow
def test_a_model_learns_to_write_as_the_demonstrations_do(
    shared_model: str, tmp_path: Path, one_thread: None
) -> None:
    lines: list[str] = []
    recipe = warm_up(
        shared_model, "sums", tmp_path / "base", ASKED, steps=12, progress=lines.append
    )
    first, last = recipe["nats_per_token"].values()
    assert last < first - 0.2
    assert len(lines) == 12
    assert json.loads((tmp_path / "base" / "recipe.json").read_text()) == recipe
    # A plain model, another than it was, with its tokenizer.
    (before, _), (after, tokenizer) = map(load_policy, (shared_model, str(tmp_path / "base")))
    same = [torch.equal(p, q) for p, q in zip(before.parameters(), after.parameters(), strict=True)]
    assert not all(same)
    assert len(tasks.get("sums", tokenizer, **ASKED).prompts()) == 40


def test_what_cannot_be_warmed_up_is_one_line(shared_model: str, tmp_path: Path) -> None:
    out = tmp_path / "base"
    for model, task, options, message in (
        ("shipped", "arithmetic", {}, "is not in words"),
        (shared_model, "stories", {}, "writes no demonstrations"),
        (shared_model, "sums", {"horizon": 4}, "more than horizon=4: raise it"),
    ):
        with pytest.raises(ValueError, match=message):
            warm_up(model, task, out, options, steps=1)
        assert not out.exists()
    with pytest.raises(ValueError, match="at least 1"):
        warm_up(shared_model, "sums", out, steps=0)
