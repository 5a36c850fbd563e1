"""Who wrote the answers of a step: mixed groups, whose log-probabilities are their writers'."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnivo_edu.policies import TabularLM, sample_completions
from gnivo_edu.policies.score_model import score_rows
from gnivo_edu.training.config import load_config
from gnivo_edu.training.rollout import Rollouts, frozen
from gnivo_edu.training.sampler import POLICY, REFERENCE, REPLAY, WRITERS
from tests.training.test_processes import LINUX, close
from tests.training.training_runs import TINY, Stop, left, on_processes, run, tiny
from toy_envs import ArithmeticChain, TokenMDP

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
        {"policy": 1, "reference": 2, "replay": 1},
        pytest.param({"policy": 2, "replay": 2}, marks=pytest.mark.slow),
        pytest.param({"reference": 1, "replay": 3}, marks=pytest.mark.slow),
        pytest.param("replay", marks=pytest.mark.slow),
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
    changes = {"sampler": {"policy": 4, "replay": 4}, "group_size": 8, "inner_steps": 1}
    rows = mixed(tmp_path, **changes | {"steps": 40, "temperature": 1.0})
    early, late = (sum(row["reward"] for row in part) / 10 for part in (rows[:10], rows[-10:]))
    assert late > early + 0.1
    assert [row["sampler/replay_share"] for row in rows[-10:]] == [0.5] * 10


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": "refreshed", "refresh_every": 2},
        {"objective": "gnivo", "objective_options": {"alpha": 0.5, "prefixes": "given"}},
        {"objective": "ppo", "critic": "network", "objective_options": {"alpha": 0.1}},
    ],
    ids=("gvpo", "drawn depths", "a critic"),
)
@pytest.mark.slow
def test_a_run_with_a_replay_that_stops_at_any_step_goes_on_bit_for_bit(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    """Two checkpoints of three stand between two updates of a step."""
    changes = changes | {"save_every": 3, "reward_noise": 0.3}
    mixed(tmp_path / "whole", **changes)
    for at in (0, 2, 3):
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


# --- answers that were written before -------------------------------------------------------------


def answers(path: Path, count: int = 6, noted: bool = False, prompts: int = 4) -> str:
    """A file of answers that a stranger wrote, with or without the log-probabilities."""
    task, stranger = copying(), TabularLM.from_mdp(copying(), seed=7)
    groups = sample_completions(stranger, task, group_size=count, prompt_index=range(prompts))
    lines = []
    for place in range(prompts):
        for k in range(count):
            length = int(groups.lengths[place, k])
            row = {"prompt_index": place, "tokens": groups.tokens[place, k, :length].tolist()}
            lines.append(
                row | ({"logps": groups.logps[place, k, :length].tolist()} if noted else {})
            )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_answers_of_a_file_keep_the_log_probabilities_of_their_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = answers(tmp_path / "answers.jsonl", noted=True)
    changes = {"sampler": {"policy": 1, "data": 3}, "data": data, "temperature": 1.0}
    watched = Watched(monkeypatch, tmp_path / "run", objective="grpo", **changes)
    stranger = TabularLM.from_mdp(copying(), seed=7)
    for drawn in watched.steps:
        by_data = drawn["writer"] == WRITERS.index("data")
        assert by_data.sum(1).tolist() == [3, 3]
        mask = torch.arange(5) < drawn["lengths"][..., None]
        gap = score_of(stranger, watched, drawn) - drawn["behaviour_logps"]
        assert gap.masked_fill(~mask, 0.0)[by_data].abs().max() < 1e-10
    assert watched.rows[-1]["loss"] != 0


def test_a_writer_that_nobody_knows_is_refused_where_a_ratio_to_it_counts(tmp_path: Path) -> None:
    changes = {"sampler": "data", "data": answers(tmp_path / "answers.jsonl"), "steps": 2}
    with pytest.raises(ValueError, match="file, or set data_writer=reference") as error:
        mixed(tmp_path / "refused", objective="grpo", **changes)
    assert "\n" not in str(error.value)
    # A task's demonstrations are in no file.
    chain = {"task": "toy_envs/ArithmeticChain-v0", "sampler": {"policy": 3, "demonstrations": 1}}
    with pytest.raises(ValueError, match="demonstrations do not have: set data_writer=reference"):
        tiny(tmp_path / "refused", objective="grpo", reference="initial", **chain)
    rows = mixed(tmp_path / "taken", objective="grpo", data_writer="reference", **changes)
    # Its ratios are to the reference, which at first is the policy.
    assert rows[0]["sampling/importance_sampling_ratio/max"] != 1
    mixed(tmp_path / "unread", objective="gvpo", **changes)


def test_an_unknown_writer_is_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = answers(tmp_path / "answers.jsonl")
    watched = Watched(monkeypatch, tmp_path / "run", sampler="data", data=data)
    for drawn in watched.steps:
        assert torch.equal(drawn["behaviour_logps"], drawn["reference_logps"])
        assert drawn["written"].unique().tolist() == [-1]


@pytest.mark.parametrize("objective", ["dro", "oreo"])
@pytest.mark.slow
def test_offline_methods_learn_from_a_file_alone(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is drawn from the policy."""
    monkeypatch.setattr(Rollouts, "_sample", lambda *a, **k: pytest.fail("it draws"))
    data = answers(tmp_path / "answers.jsonl", count=40)
    changes = {"objective": objective, "sampler": "data", "data": data, "prompts_per_step": 4}
    done, _ = run(
        tmp_path / "run",
        things={"task": copying()},
        **MIXED | changes | {"steps": 60, "group_size": 8, "temperature": 1.0},
    )
    earned = [
        sample_completions(policy, copying(), group_size=100, prompt_index=range(4), seed=1)
        .rewards(copying())
        .mean()
        for policy in (done.initial, done.policy)
    ]
    assert earned[1] > earned[0] + 0.05


def test_demonstrations_stand_beside_the_policys_own_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(**MIXED | {"sampler": {"policy": 3, "demonstrations": 1}})
    task = ArithmeticChain()
    policy = TabularLM.from_mdp(task, seed=0)
    held = Rollouts(config, torch.device("cpu"), policy=policy, task=task, needs=set())
    drawn = held.draw(0, np.array([3, 1]))
    for place, prompt in enumerate((3, 1)):
        right = task.demonstration(prompt)
        assert drawn["tokens"][place, 3, : len(right)].tolist() == right.tolist()
        assert drawn["rewards"][place, 3] == 1


def test_questions_to_which_a_file_has_too_few_answers_are_left_out_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = answers(tmp_path / "answers.jsonl", count=3, prompts=2)
    said: list[str] = []
    sampler = {"policy": 1, "data": 3}
    mixed(tmp_path / "run", data=data, sampler=sampler, steps=1, progress=said.append)
    assert any("2 of 4 questions are left out" in line for line in said)
    with pytest.raises(ValueError, match="which has at most 3 to a question"):
        mixed(tmp_path / "other", data=data, sampler="data")


def test_a_resume_refuses_another_file_of_answers(tmp_path: Path) -> None:
    data = answers(tmp_path / "answers.jsonl")
    changes = {"sampler": "data", "data": data, "save_every": 1}
    with pytest.raises(Stop):
        mixed(tmp_path / "run", stop_at=1, **changes)
    Path(data).write_text(Path(data).read_text().replace("}", ', "reward": 0.5}', 1))
    with pytest.raises(ValueError, match=r"the answers of .*answers\.jsonl"):
        mixed(tmp_path / "run", resume=True, **changes)
