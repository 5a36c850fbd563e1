"""What a row of metrics says: TRL's names with the numbers that belong to them, the same after a
resume.
"""

import math

import numpy as np
import pytest
import torch

from gnivo_edu import exact, objectives, policies
from gnivo_edu.batch import GroupBatch
from gnivo_edu.policies import TabularLM
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.field_gradients import coefficients
from gnivo_edu.training.metrics import (
    clip_metrics,
    exact_error,
    exact_keys,
    fit_metrics,
    objective_metrics,
    rollout_metrics,
    token_weight,
)
from tests.training.training_runs import TINY, Stop, left, run
from toy_envs import ArithmeticChain

FIVE = TINY | {"steps": 5}


def batch_of(ratios, rewards=((1.0, 0.0),)):
    """One prompt, two answers of three and two tokens, with these ratios to the sampler."""
    old = torch.full((1, 2, 3), 0.25, dtype=torch.float64).log()
    mask = torch.tensor([[[1, 1, 1], [1, 1, 0]]])
    new = old + torch.tensor([ratios], dtype=torch.float64).log()
    rewards = torch.tensor(rewards, dtype=torch.float64)
    return GroupBatch(policy_logps=new, behaviour_logps=old, rewards=rewards, mask=mask)


BATCH = batch_of([[1.5, 1.0, 0.5], [1.1, 0.6, 9.0]])  # the last one stands after the end


def test_lengths_rewards_and_tokens_of_a_step():
    drawn = {
        "rewards": torch.tensor([[1.0, 0.0, 1.0], [0.5, 0.5, 0.5]]),
        "truncated": torch.tensor([[False, True, False], [False, False, False]]),
        "lengths": torch.tensor([[2, 9, 4], [3, 5, 1]]),
    }
    found = rollout_metrics(drawn, "mine")
    for which, every, ended in (("min", 1, 1), ("mean", 4, 3), ("max", 9, 5)):
        assert found[f"completions/{which}_length"] == every
        assert found[f"completions/{which}_terminated_length"] == ended
    assert found["completions/clipped_ratio"] == pytest.approx(1 / 6)
    assert found["step_tokens"] == 24
    assert found["rewards/mine/mean"] == found["reward"] == pytest.approx(3.5 / 6)
    assert found["rewards/mine/std"] == pytest.approx(np.std([1, 0, 1, 0.5, 0.5, 0.5], ddof=1))
    drawn["truncated"][:] = True
    assert rollout_metrics(drawn, "mine")["completions/max_terminated_length"] == 0


def test_importance_ratios_are_those_of_the_tokens_inside():
    found = fit_metrics(BATCH, None)
    extent = [
        found[f"sampling/importance_sampling_ratio/{which}"] for which in ("min", "mean", "max")
    ]
    assert extent == pytest.approx([0.5, (1.5 + 1.0 + 0.5 + 1.1 + 0.6) / 5, 1.5])


def test_clip_ratios_of_tokens_and_of_answers():
    found = clip_metrics(BATCH, 0.2, 0.2)
    assert found == pytest.approx(
        {
            "clip_ratio/low_mean": 2 / 5,
            "clip_ratio/low_min": 1 / 3,
            "clip_ratio/high_mean": 1 / 5,
            "clip_ratio/high_max": 1 / 3,
            "clip_ratio/region_mean": 3 / 5,
        }
    )
    answers = clip_metrics(BATCH, 0.2, 0.2, ratio_of="answer")  # 0.75 and 0.66
    assert (answers["clip_ratio/low_mean"], answers["clip_ratio/high_mean"]) == (1.0, 0.0)
    # Their cube root and square root: 0.91 and 0.81.
    means = clip_metrics(BATCH, 0.15, 0.2, ratio_of="mean of an answer")
    assert (means["clip_ratio/low_mean"], means["clip_ratio/high_mean"]) == (0.5, 0.0)


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_is_known_by_known_names_and_says_nothing_twice(name):
    extra = {
        x: torch.full_like(BATCH.policy_logps, 0.1)
        for x in ("policy_kl", "values", "prefix_values", "entropy")
    }
    batch = GroupBatch(
        **{x: getattr(BATCH, x) for x in ("policy_logps", "behaviour_logps", "rewards", "mask")},
        **extra,
        log_z=torch.zeros(1, dtype=torch.float64),
    )
    options = {"alpha": 0.5}
    if name == "cispo":
        options["clip_high"] = 0.2  # none of the ratios is above 5
    objective, config = (
        objectives.get(name),
        TrainConfig(objective=name, objective_options=options),
    )
    out = (
        objective(batch, **config.objective_options) if name != "sft_winning" else objective(batch)
    )
    found = objective_metrics(out.metrics, batch, objective, config)
    assert not {
        f"objective/{x}"
        for x in ("reward", "logratio", "clipped", "tied_groups", "accuracy", "margin")
    } & {*found}
    if "clipped" in out.metrics:
        assert found["clip_ratio/region_mean"] == pytest.approx(float(out.metrics["clipped"])), name
        assert found["clip_ratio/region_mean"] > 0
    if name == "online_dpo":
        margin = math.log(1.5 * 1.0 * 0.5) - math.log(1.1 * 0.6)
        assert found["rewards/margins"] == pytest.approx(0.5 * margin)
        assert found["rewards/accuracies"] == 1


def test_the_weight_of_a_token_is_the_advantage_of_a_policy_gradient():
    """Dr. GRPO on its own answers: the advantage over the longest length."""
    mask = torch.tensor([[[1, 1], [1, 0], [1, 1]]]).bool()
    logps = torch.full((1, 3, 2), -0.7, dtype=torch.float64)
    rewards = torch.tensor([[1.0, 0.0, 0.5]], dtype=torch.float64)
    batch = GroupBatch(policy_logps=logps, behaviour_logps=logps, rewards=rewards, mask=mask)
    taken = coefficients(objectives.dr_grpo, batch, max_length=4)
    advantages = torch.tensor([0.5, 0.5, -0.5, 0.0, 0.0], dtype=torch.float64) / 4
    assert token_weight(taken) == pytest.approx(float(advantages.square().mean().sqrt()), rel=1e-12)


def test_num_tokens_is_a_running_total_of_prompts_and_answers_that_a_resume_takes_up(tmp_path):
    changes = FIVE | {"task": "toy_envs/ArithmeticChain-v0", "inner_steps": 2, "save_every": 3}
    done, rows = run(tmp_path / "whole", **changes)
    width = done.task.prompts().shape[1]
    steps = [row["step_tokens"] + 8 * width for row in rows]
    assert [row["num_tokens"] for row in rows] == np.cumsum(steps).tolist()
    with pytest.raises(Stop):
        run(
            tmp_path / "stopped", stop_at=2, **changes
        )  # the checkpoint lies between the two updates of step 1
    run(tmp_path / "stopped", resume=True, **changes)
    assert left(tmp_path / "stopped") == left(tmp_path / "whole")


@pytest.mark.parametrize(
    "changes", [{}, {"inner_steps": 3}, {"micro_batch": 3}, {"reference": "initial"}]
)
def test_the_kl_to_the_initial_model_is_measured_now_and_then_and_moves(changes, tmp_path):
    _, rows = run(tmp_path, **FIVE | changes)
    assert [row["step"] for row in rows if "kl_to_initial" in row] == [0, 2, 4]
    measured = [row["kl_to_initial"] for row in rows if "kl_to_initial" in row]
    assert changes.get("inner_steps", 1) > 1 or measured[0] == pytest.approx(0, abs=1e-12)
    assert measured[-1] > measured[0] + 0.005


@pytest.mark.parametrize(
    "changes", [{"kl_to_initial": 0.1}, {"objective": "vimpo", "reference": "initial"}]
)
def test_where_the_loss_has_that_kl_it_is_there_at_every_step(changes, tmp_path):
    _, rows = run(tmp_path, **FIVE | changes)
    assert [row["kl_to_initial"] for row in rows] == [row["kl"] for row in rows]
    assert rows[-1]["kl_to_initial"] > 0.01


def test_it_estimates_the_kl_of_the_two_laws_of_answers(tmp_path):
    """With many answers it is close to the exact one, of the policy before the last update."""
    changes = FIVE | {"group_size": 1000, "learning_rate": 0.3}
    _, rows = run(tmp_path / "three", **changes | {"steps": 3})
    done, _ = run(tmp_path / "two", **changes | {"steps": 2})
    tables = [policies.tabulate(model, done.task) for model in (done.policy, done.initial)]
    new, old = (exact.enumerate_tree(done.task, table).prefix_logps[-1] for table in tables)
    possible = np.isfinite(old)
    kl = float(np.exp(new[possible]) @ (new[possible] - old[possible]))
    assert rows[2]["kl_to_initial"] == pytest.approx(kl, rel=0.05)


def test_the_exact_error_is_zero_for_the_optimal_policy_alone():
    mdp = ArithmeticChain()
    reference = TabularLM.from_mdp(mdp, seed=0)
    keys = exact_keys(reference, mdp, 0.5)
    assert exact_error(reference, mdp, keys)["value/exact_error"] > 0.1
    optimal = TabularLM.from_mdp(mdp)
    with torch.no_grad():
        for i, key in enumerate(keys):
            optimal.logits[i] = TabularLM.from_tables(mdp, key.optimal_step_logps).logits[i]
    found = exact_error(optimal, mdp, keys)
    assert found["value/exact_error"] < 1e-12
    assert found["value/rank_correlation"] == pytest.approx(1, abs=1e-12)


def test_no_exact_error_where_it_cannot_be_counted():
    mdp = ArithmeticChain()
    assert exact_keys(TabularLM.from_mdp(mdp), mdp, None) == []
    assert exact_error(TabularLM.from_mdp(mdp), mdp, []) == {}
