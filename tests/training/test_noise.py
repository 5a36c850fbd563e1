"""Noise in the rewards of a run: its chance, who shares it, what is kept clean, and its streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnivo_edu.evaluation import evaluate
from gnivo_edu.policies import TabularLM
from gnivo_edu.training.before_after import before_and_after
from gnivo_edu.training.config import TrainConfig, load_config
from gnivo_edu.training.noise import noisy_rewards
from tests.training.training_runs import SUMS, TINY, Stop, left, on_processes, run, tiny
from toy_envs import NoisyReward, TokenMDP

NOISY = {"reward_noise": 0.25, "prompts_per_step": 4}


@pytest.mark.parametrize("of", ["group", "answer"])
def test_flips_have_their_chance_and_are_shared_or_not(of):
    config = TrainConfig(reward_noise=0.25, reward_noise_of=of)
    clean = torch.tensor([1.0, 0.0, 0.75, 1.0]).repeat(50, 1)
    struck = torch.cat([noisy_rewards(clean, config, step) != clean for step in range(40)])
    for column in struck.double().mean(0):
        # Five standard deviations of a share of 2,000.
        assert abs(float(column) - 0.25) < 5 * (0.1875 / 2000) ** 0.5
    shared = (struck == struck[:, :1]).all(1)
    assert bool(shared.all()) == (of == "group")
    noisy = noisy_rewards(clean, config, 0)
    assert (noisy[noisy != clean] == 1 - clean[noisy != clean]).all()


@pytest.mark.parametrize("of", ["group", "answer"])
def test_a_share_of_a_step_gets_the_noise_of_the_whole(of):
    config = TrainConfig(reward_noise=0.5, reward_noise_of=of, seed=7)
    clean = torch.rand(9, 3, dtype=torch.float64)
    whole = noisy_rewards(clean, config, step=5)
    for cut in (1, 4):
        parts = clean[:cut], clean[cut:]
        shares = [
            noisy_rewards(x, config, step=5, first=at)
            for x, at in zip(parts, (0, cut), strict=True)
        ]
        assert torch.equal(torch.cat(shares), whole)
    for other in (TrainConfig(reward_noise=0.5, reward_noise_of=of, seed=8), config):
        assert not torch.equal(noisy_rewards(clean, other, step=6), whole)


def test_the_mean_reward_is_scaled_by_1_minus_2p():
    config = TrainConfig(reward_noise=0.25, reward_noise_of="answer")
    clean = torch.full((2000, 4), 0.9, dtype=torch.float64)
    assert float(noisy_rewards(clean, config, 0).mean()) == pytest.approx(0.7, abs=0.02)


def test_a_run_learns_from_the_noise_and_reports_both(tmp_path):
    rows = tiny(tmp_path / "noisy", **NOISY)
    assert any(row["reward"] != row["reward_clean"] for row in rows)
    assert "reward_clean" not in tiny(tmp_path / "clean")[0]
    always = tiny(tmp_path / "always", **NOISY | {"reward_noise": 1.0})
    assert all(row["reward"] == pytest.approx(1 - row["reward_clean"]) for row in always)
    # The answers of the first step are drawn before any noise.
    assert always[0]["reward_clean"] == rows[0]["reward_clean"]
    texts = (tmp_path / "always" / "completions.jsonl").read_text()
    assert '"reward_clean": ' in texts


def test_answers_are_replayed_with_their_clean_reward_and_other_noise(tmp_path):
    mixed = {"sampler": {"policy": 2, "replay": 2}, "reference": "initial", "questions": 1}
    right = TokenMDP(2, 2, reward=lambda tokens, lengths: np.ones(len(tokens)))
    always = {"reward_noise": 1.0, "prompts_per_step": 1, "steps": 5}
    rows = tiny(tmp_path, things={"task": right}, **mixed, **always)
    assert rows[-1]["sampler/replay_share"] > 0
    assert all((row["reward"], row["reward_clean"]) == (0, 1) for row in rows)


@pytest.mark.slow
def test_where_every_reward_is_turned_round_a_run_unlearns(tmp_path):
    ones = TokenMDP(2, 3, reward=lambda tokens, lengths: (tokens == 1).mean(1))
    settings = {"objective": "rloo", "objective_options": {"alpha": 0.05}, "learning_rate": 0.3}
    rows = tiny(tmp_path, things={"task": ones}, steps=30, reward_noise=1.0, **settings)
    early, late = (
        sum(row["reward_clean"] for row in part) / 10 for part in (rows[:10], rows[-10:])
    )
    assert late < early - 0.1, (early, late)


@pytest.mark.parametrize("of", ["group", "answer"])
def test_a_run_with_noise_that_stops_goes_on_bit_for_bit(of, tmp_path):
    changes = NOISY | {"reward_noise_of": of, "inner_steps": 2, "save_every": 3}
    tiny(tmp_path / "whole", **changes)
    out = tmp_path / "stopped"
    for at, resume in ((1, False), (3, True)):
        with pytest.raises(Stop):
            tiny(out, resume=resume, stop_at=at, **changes)
    tiny(out, resume=True, **changes)
    assert left(out) == left(tmp_path / "whole")
    with pytest.raises(ValueError, match="reward_noise"):
        tiny(out, resume=True, **changes | {"reward_noise": 0.5})


def test_micro_batches_do_not_change_it(tmp_path):
    one, two = (tiny(tmp_path / str(size), micro_batch=size, **NOISY) for size in (None, 3))
    for a, b in zip(one, two, strict=True):
        assert (a["reward"], a["reward_clean"]) == (b["reward"], b["reward_clean"])


@pytest.mark.slow
def test_nor_do_processes(tmp_path):
    settings = TINY | NOISY | {"steps": 3}
    _, rows = run(tmp_path / "one", **settings)

    def act(rank):
        _, seen = run(tmp_path / "two", **settings)
        if rank == 0:
            for a, b in zip(seen, rows, strict=True):
                assert (a["reward"], a["reward_clean"]) == (b["reward"], b["reward_clean"])

    assert on_processes(2, act) == ["", ""]


@pytest.mark.slow
def test_it_is_for_every_task_by_configuration(tmp_path, shared_model):
    few = {"steps": 2, "prompts_per_step": 8, "group_size": 2, "reward_noise": 0.5}
    stories = {"model": str(shared_model), "task": "stories", "task_options": {"horizon": 8}}
    for name, settings in (("sums", SUMS), ("stories", stories)):
        _, rows = run(tmp_path / name, **few | settings)
        assert any(row["reward"] != row["reward_clean"] for row in rows), name


def test_the_report_and_an_evaluation_are_of_the_clean_reward():
    mdp = TokenMDP(2, 1, reward=lambda tokens, lengths: tokens[:, 0])
    policy = TabularLM.from_tables(mdp, [np.log([[0.01, 0.99]])])
    noisy = NoisyReward(mdp, 1.0)
    assert before_and_after(policy, policy, noisy)["before"] > 0.9
    assert evaluate(policy, noisy, samples=50).rewards.mean() > 0.9


def test_settings_are_refused_in_a_line(tmp_path):
    for change in ("reward_noise=-0.1", "reward_noise=1.5", "reward_noise=.nan"):
        with pytest.raises(ValueError, match="reward_noise must be a chance from 0 to 1"):
            load_config(changes=[change])
    with pytest.raises(ValueError, match="reward_noise_of"):
        load_config(changes=["reward_noise_of=token"])
    far = TokenMDP(2, 2, reward=lambda tokens, lengths: 7.0 * tokens[:, 0])
    with pytest.raises(ValueError, match=r"from 0 to 1 round, this task pays from 0 to 7"):
        run(tmp_path, things={"task": far}, **TINY | NOISY | {"task": "toy_envs/Brackets-v0"})
