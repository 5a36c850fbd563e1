import json

import numpy as np
import pytest
import torch

from gnivo_edu import exact, tasks, verify
from gnivo_edu.policies import tabulate
from gnivo_edu.policies.small import small_transformer
from gnivo_edu.verify import environments, one_tree
from gnivo_edu.verify.fit import SEED, WEIGHTS


@pytest.fixture(scope="module")
def report():
    return verify.verify_transformer(
        ["Brackets", "PosterProblem"], alphas=[0.5], group_sizes=[2, 3]
    )


@pytest.mark.slow
def test_both_theorems_hold_with_a_transformer_as_the_reference(report):
    assert report["passed"]
    assert len(report["results"]) == 4
    for result in report["results"]:
        assert result["soft_value_theorem"]["max_abs_error"] <= 1e-10
        assert result["constant_shift"]["spread"] <= 1e-6
        assert result["controls"]["off_policy_samples"]["violation"] > 1e-4
    assert report["results"][0]["target"] == "toy_envs/Brackets-v0 (small transformer)"


@pytest.mark.slow
def test_the_reference_is_the_transformer_even_where_the_environment_states_its_own(
    report, monkeypatch
):
    trees = []
    monkeypatch.setattr(
        one_tree, "verify_tree", lambda tree, *_, **__: trees.append(tree) or {"passed": True}
    )
    monkeypatch.setattr(environments, "fit_transformer", lambda **_: {"passed": True})
    verify.verify_transformer(["PosterProblem"], alphas=[0.5], group_sizes=[2])
    mdp = tasks.environment("PosterProblem")
    model = small_transformer(mdp, "tiny", "qwen2", torch.float64, SEED, WEIGHTS)
    np.testing.assert_array_equal(trees[0].step_logps[-1], tabulate(model, mdp)[-1])
    assert (
        np.abs(
            trees[0].step_logps[-1] - exact.uniform_reference(mdp.vocab_size, mdp.horizon)[-1]
        ).max()
        > 0.1
    )


def test_a_transformer_minimises_the_exact_population_loss(report):
    fit = report["fit"]
    assert (fit["sequences"], fit["group_size"]) == (81, 2)
    assert fit["spread"] <= 1e-3 < fit["spread_at_start"]
    assert fit["kl"] <= 1e-6
    assert fit["value_error"] <= 1e-3
    assert fit["seconds"] < 90


def test_the_report_is_plain_json(report):
    assert json.loads(json.dumps(report)) == report


def test_wrong_requests_are_refused_in_one_line():
    with pytest.raises(ValueError, match="did you mean"):
        verify.verify_transformer(["Bracket"])
    with pytest.raises(ValueError, match="size must be one of"):
        verify.verify_transformer(["Brackets"], size="huge")


def test_what_is_not_decided_stands_beside_the_controls_that_cannot_bite():
    report = verify.verify_environments(["RandomTree"], alphas=[1e-6], group_sizes=[2])
    assert report["passed"]
    reasons = report["results"][0]["not_applicable"]
    assert set(reasons) == {"constant_shift", "softmax_weights", "off_policy_samples"}
    assert all("nats" in reason for reason in reasons.values())
