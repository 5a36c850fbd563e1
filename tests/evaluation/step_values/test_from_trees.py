"""Values inside a pruned tree of a language model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gnivo_edu import exact
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.evaluation.step_values.page import render_page
from gnivo_edu.policies import load_model, tree_from_model
from gnivo_edu.tasks.stories import sentiment, stories


@pytest.fixture(scope="module")
def story(shared_model):
    """A policy, the model it was made from by noise, and an opening of three tokens."""
    reference, tokenizer = load_model(shared_model)
    policy = copy.deepcopy(reference)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.05 * weight.std() * torch.randn(weight.shape, generator=generator)
    return (
        policy,
        reference,
        stories(tokenizer, openings=["One day, Lily was"], horizon=3),
        tokenizer,
    )


def test_a_language_model_is_scored_continued_and_pruned(story):
    policy, reference, task, tokenizer = story
    prompt = torch.from_numpy(task.prompts())
    with torch.no_grad():
        first = reference(input_ids=prompt).logits[0, -1]
    first[list(task.tokenizer.all_special_ids)] = -torch.inf
    rows = [[int(first.argmax())], [int(first.argmin())]]
    for row in rows:  # the second likeliest token, then the likeliest
        for rank in (1, 0):
            with torch.no_grad():
                logits = reference(input_ids=torch.cat([prompt, torch.tensor([row])], 1)).logits[
                    0, -1
                ]
            logits[list(task.tokenizer.all_special_ids)] = -torch.inf
            row.append(int(logits.topk(2).indices[rank]))
    found = step_values(policy, reference, task, alpha=0.1, continuations=2, answers=rows, top_k=3)
    inside, outside = found.answers
    with torch.no_grad():
        ids = torch.cat([prompt, torch.tensor([rows[0]])], 1)
        laws = [
            model(input_ids=ids).logits[0, -4:-1].log_softmax(-1) for model in (policy, reference)
        ]
    gap = (laws[0] - laws[1])[range(3), rows[0]].double().numpy()
    assert inside.credits == pytest.approx(gap, abs=1e-4)
    assert np.abs(gap).max() > 0.01
    # The pruned tree: named as such, its own log Z, the whole answer that stays inside it, and none
    # that leaves it.
    assert (found.exact.kind, found.exact.horizon, found.pin[1]) == ("pruned", 3, "estimate")
    assert inside.implicit_values[0] == found.pin[0] == found.log_z.value
    assert "cut to its 3 most probable tokens" in found.exact.reference
    tree = exact.enumerate_tree(
        *tree_from_model(reference, tokenizer, "One day, Lily was", 3, 3, sentiment)
    )
    key = exact.solve(tree, 0.1)
    assert inside.exact_values == pytest.approx(
        [key.soft_value((0, 1, 0)[:t]) for t in range(4)], abs=1e-12
    )
    assert outside.exact_values == pytest.approx([key.log_z], abs=1e-12)
    assert found.exact.log_z == pytest.approx(key.log_z, abs=1e-12)
    assert inside.exact_values[-1] == pytest.approx(inside.reward / 0.1, abs=1e-9)
    assert "Exact credit inside the pruned tree" in render_page(found)
