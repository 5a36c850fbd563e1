"""Who draws the answers: for GN-IVO with raw weights that decides where a run ends."""

import pytest

from gnivo_edu.training import fine_tune, load_config

RUN = {
    "model": "table",
    "task": "toy_envs/RandomTree-v0",
    "task_options": {"vocab_size": 2, "horizon": 3},
    "objective_options": {"alpha": 0.3, "reward_max": 1.0},
    "reference": "initial",
    "precision": "float64",
    "steps": 400,
    "prompts_per_step": 16,
    "group_size": 8,
    "learning_rate": 0.05,
    "schedule": "cosine",
    "max_grad_norm": 1e9,
    "save_every": 1000,
}


def error(tmp_path, **changes):
    run = fine_tune(
        load_config(
            **{**RUN, **changes, "out": str(tmp_path / "-".join(map(str, changes.values())))}
        )
    )
    return run.metrics["value/exact_error"]


@pytest.mark.slow
def test_gnivo_ends_at_the_optimum_on_answers_of_its_reference_and_elsewhere_on_its_own(tmp_path):
    right, own = (error(tmp_path, sampler=name) for name in ("reference", "policy"))
    assert right < 0.05
    assert own > 2 * right


@pytest.mark.slow
def test_gvpo_forgives_either(tmp_path):
    options = {"objective": "gvpo", "objective_options": {"alpha": 0.3}}
    for sampler in ("reference", "policy"):
        assert error(tmp_path, sampler=sampler, **options) < 0.05


def test_the_reference_draws_what_it_would_draw_alone(tmp_path):
    rewards = {}
    for rate in (0.05, 1e-9):  # however far the policy has gone
        asked = {
            **RUN,
            "sampler": "reference",
            "steps": 3,
            "learning_rate": rate,
            "out": str(tmp_path / str(rate)),
        }
        rewards[rate] = []
        fine_tune(
            load_config(**asked), on_step=lambda row, own=rewards[rate]: own.append(row["reward"])
        )
    assert rewards[0.05] == rewards[1e-9]


def test_a_sampler_without_a_reference_is_refused():
    with pytest.raises(ValueError, match="sampler=reference needs a reference of its own"):
        load_config(sampler="reference")
