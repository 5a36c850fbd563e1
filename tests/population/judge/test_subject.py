"""An objective as the judge calls it: reweighted over prompts, and loaded by name."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from gnivo_edu.population import Population, expect, point_at
from gnivo_edu.population.judge.pushes import small_tree
from gnivo_edu.population.judge.subject import load_objective
from tests.population.judge.subjects import reinforce, subject_of, token_mean


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
