"""Who wrote the answers of a step: mixed groups, whose log-probabilities are their writers'."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnivo_edu.policies import TabularLM
from gnivo_edu.policies.score_model import score_rows
from gnivo_edu.training.config import load_config
from gnivo_edu.training.rollout import Rollouts, frozen
from gnivo_edu.training.sampler import POLICY, REFERENCE, REPLAY, WRITERS
from tests.training.test_processes import LINUX, close
from tests.training.training_runs import SUMS, TINY, Stop, left, on_processes, run, tiny
from toy_envs import TokenMDP

MIXED = TINY | {
    "objective": "gvpo",
    "objective_options": {"alpha": 0.1},
    "reference": "initial",
    "sampler": {"policy": 2, "replay": 2},
    "replay_age": 3,
    "inner_steps": 2,
    "temperature": 0.8,
}


def copying() -> TokenMDP:
    """Four prompts; an answer, of one to five tokens, earns the share of its prompt's token."""

    def reward(tokens: Any, lengths: Any, prompt_index: Any) -> Any:
        return (tokens == prompt_index[:, None] % 2).sum(1) / 5

    prompts = [[3, 0], [3, 1], [3, 2], [3, 0]]
    return TokenMDP(3, 5, reward=reward, eos_token_id=2, prompts=prompts)


def mixed(out: Path, **changes: Any) -> list[dict[str, Any]]:
    """The metrics of a run on `copying`."""
    return tiny(out, things={"task": copying()}, **MIXED | changes)


class Watched:
    """A run with what stood in memory as each step was drawn and as it ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, out: Path, **changes: Any) -> None:
        self.policies: list[nn.Module] = []
        self.references: list[nn.Module] = []
        self.steps: list[dict[str, Tensor]] = []
        draw = Rollouts.draw

        def noted(rollouts: Rollouts, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
            drawn = draw(rollouts, *args, **kwargs)
            self.policies.append(frozen(rollouts.policy))
            self.references.append(copy.deepcopy(rollouts.reference))
            self.steps.append(drawn)
            return drawn

        with monkeypatch.context() as patched:
            patched.setattr(Rollouts, "draw", noted)
            self.done, self.rows = run(out, things={"task": copying()}, **MIXED | changes)

    def rescored(self, step: int) -> Tensor:
        """Each answer's log-probabilities under who wrote it, scored anew."""
        drawn = self.steps[step]
        N, K, T = drawn["tokens"].shape
        logps = torch.zeros(N * K, T, dtype=torch.float64)
        for r in range(N * K):
            writer = int(drawn["writer"].view(-1)[r])
            by = self.references[step]
            if writer != REFERENCE:
                by = self.policies[int(drawn["written"].view(-1)[r])]
            tokens, lengths = drawn["tokens"].view(-1, T)[r], drawn["lengths"].view(-1)[r]
            scored = score_rows(
                by,
                self.done.task,
                tokens[None],
                lengths[None],
                drawn["prompt_index"][r // K][None],
                fields=("policy_logps",),
                temperature=self.done.config.temperature,
            )
            logps[r] = scored["policy_logps"][0].detach()
        return logps.view(N, K, T)


@pytest.mark.parametrize(
    "sampler",
    [
        {"policy": 2, "replay": 2},
        {"reference": 1, "replay": 3},
        {"policy": 1, "reference": 2, "replay": 1},
        "replay",
    ],
    ids=str,
)
def test_log_probabilities_of_a_mixture_are_those_of_each_writer(
    sampler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"reference": "refreshed", "refresh_every": 2, "sampler": sampler}
    watched = Watched(monkeypatch, tmp_path, **changes)
    seen = set()
    for step, drawn in enumerate(watched.steps):
        mask = torch.arange(drawn["tokens"].shape[2]) < drawn["lengths"][..., None]
        gap = (drawn["behaviour_logps"] - watched.rescored(step)).masked_fill(~mask, 0.0)
        assert gap.abs().max() < 1e-10
        rewards = watched.done.task.reward(
            drawn["tokens"].flatten(0, 1).numpy(),
            drawn["lengths"].flatten().numpy(),
            drawn["prompt_index"].repeat_interleave(4).numpy(),
        )
        assert (drawn["rewards"].flatten().numpy() == rewards).all()
        old = drawn["writer"] == REPLAY
        ages = step - drawn["written"][old]
        assert bool(((ages >= 1) & (ages <= 3)).all())
        assert watched.rows[step]["sampler/replay_share"] == float(old.double().mean())
        seen |= set(drawn["writer"].flatten().tolist())
    named = {sampler} if isinstance(sampler, str) else set(sampler)
    assert {WRITERS[number] for number in seen} == named | {"policy"}
    # The policy has moved: the one that is trained now did not write what is replayed.
    replayed = [drawn for drawn in watched.steps if bool((drawn["writer"] == REPLAY).any())]
    last, old = replayed[-1], replayed[-1]["writer"] == REPLAY
    wrong = score_of(watched.policies[-1], watched, last) - last["behaviour_logps"]
    assert wrong[old].abs().max() > 1e-3


def score_of(policy: nn.Module, watched: Watched, drawn: dict[str, Tensor]) -> Tensor:
    scored = score_rows(
        policy,
        watched.done.task,
        drawn["tokens"].flatten(0, 1),
        drawn["lengths"].flatten(),
        drawn["prompt_index"].repeat_interleave(drawn["lengths"].shape[1]),
        fields=("policy_logps",),
        temperature=watched.done.config.temperature,
    )
    return scored["policy_logps"].detach().view(drawn["tokens"].shape)


def test_what_is_missing_in_a_replay_the_policy_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch, tmp_path, prompts_per_step=1, questions=2, steps=5)
    counts = [
        [int((drawn["writer"] == number).sum()) for number in (POLICY, REPLAY)]
        for drawn in watched.steps
    ]
    assert counts[0] == [4, 0]  # nothing was written before
    assert counts[-1] == [2, 2]
    asked = {int(drawn["prompt_index"][0]) for drawn in watched.steps}
    assert asked == {0, 2}  # two of four, spread evenly
    share = [row["sampler/replay_share"] for row in watched.rows]
    assert share == [old / 4 for _, old in counts]
    assert watched.rows[0]["sampler/replay_age"] == 0
    assert 1 <= watched.rows[-1]["sampler/replay_age"] <= 3


def rollouts(**changes: Any) -> Rollouts:
    config = load_config(**MIXED | changes)
    task = copying()
    policy = TabularLM.from_mdp(task, seed=0)
    return Rollouts(config, torch.device("cpu"), policy=policy, task=task, needs=set())


def test_fresh_answers_of_one_group_read_different_random_numbers() -> None:
    """Policy and reference are one law at the start: their answers are still not the same ones."""
    mixed = rollouts(sampler={"policy": 8, "reference": 8}, group_size=16)
    drawn = mixed.draw(0, np.array([0, 1]))
    policy, reference = drawn["tokens"][:, :8], drawn["tokens"][:, 8:]
    assert not torch.equal(policy, reference)
    alone = rollouts(sampler="policy", group_size=16, reference="initial")
    assert torch.equal(alone.draw(0, np.array([0, 1]))["tokens"], drawn["tokens"])


def test_a_share_is_drawn_as_it_would_be_among_all() -> None:
    prompts = np.array([2, 0, 2])
    whole, cut = (rollouts(sampler={"policy": 1, "reference": 1, "replay": 2}) for _ in range(2))
    for step in range(3):
        drawn = whole.draw(step, prompts)
        parts = [cut.draw(step, prompts, share=slice(a, b)) for a, b in ((0, 1), (1, 3))]
        for name, x in drawn.items():
            assert torch.equal(torch.cat([part[name] for part in parts]), x), (step, name)
        for each in (whole, cut):
            each.writers.remember(step, drawn)


def test_questions_are_as_many_as_asked_for_and_come_again_in_time(tmp_path: Path) -> None:
    for changes, says in (
        ({"questions": 5}, "questions=5, but the task has 4"),
        ({"prompts_per_step": 1, "replay_age": 3}, "set questions to 3 or fewer, or raise"),
    ):
        with pytest.raises(ValueError, match=says) as error:
            mixed(tmp_path, **changes)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_gvpo_learns_from_half_historical_answers(tmp_path: Path) -> None:
    """The setting of the paper's ablation, historical to current 4:4."""
    changes = MIXED | SUMS | {"precision": "float32", "learning_rate": 3e-4, "temperature": 1.0}
    changes |= {"sampler": {"policy": 4, "replay": 4}, "group_size": 8, "prompts_per_step": 8}
    rows = tiny(tmp_path, **changes | {"questions": 16, "steps": 40, "inner_steps": 1})
    early, late = (sum(row["reward"] for row in part) / 10 for part in (rows[:10], rows[-10:]))
    assert late > early + 0.1
    assert [row["sampler/replay_share"] for row in rows[-10:]] == [0.5] * 10


@pytest.mark.slow
def test_a_run_with_a_replay_that_stops_at_any_step_goes_on_bit_for_bit(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"save_every": 3, "reference": "refreshed", "refresh_every": 2}
    mixed(tmp_path / "whole", **changes)
    for at in (0, 2, 3, 4):
        out = tmp_path / str(at)
        with pytest.raises(Stop):
            mixed(out, stop_at=at, **changes)
        mixed(out, resume=True, **changes)
        assert left(out) == left(tmp_path / "whole"), at


@LINUX
@pytest.mark.slow
def test_two_processes_replay_what_one_replays(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"prompts_per_step": 3, "steps": 4}
    assert on_processes(2, lambda rank: mixed(tmp_path / "two", **changes)) == ["", ""]
    mixed(tmp_path / "one", **changes)
    close(tmp_path / "one", tmp_path / "two", 1e-11)


def test_a_whole_group_by_its_policy_is_the_run_that_it_was(tmp_path: Path) -> None:
    """However it is written."""
    for name, sampler in (("name", "policy"), ("counts", {"policy": 4})):
        mixed(tmp_path / name, sampler=sampler, steps=2)
    assert left(tmp_path / "name") == left(tmp_path / "counts")
