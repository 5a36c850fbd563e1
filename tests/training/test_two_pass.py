"""The gradient of a batch is the same for every split into micro-batches, for every objective."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from gnivo_edu import exact, objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.policies import (
    TabularLM,
    divergences,
    make_group_batch,
    sample_groups,
    score_tokens,
    tabulate,
    token_logps,
    two_pass_scorers,
)
from gnivo_edu.training import backward, coefficients, two_pass_step
from gnivo_edu.training.field_gradients import LIVE
from gnivo_edu.training.two_pass import Passes, split_rows
from tests.training.two_pass_world import MDP, ROWS, K, N, T, V, World, distance, world
from toy_envs import TokenMDP

DEPTHS = torch.tensor([1, 3, 4])
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)

SPLITS: dict[str, Any] = {
    "one by one": 1,
    "groups cut": 5,
    "two groups at a time": 8,
    "uneven": [1, 6, 2, 3],
    "all at once": None,
    "in another order": [[7, 0], [11, 3, 5, 1, 2], [10, 9, 4, 8, 6]],
}


def of_steps(batch: GroupBatch, objective: str = "", **settings: Any) -> LossOutput:
    return objectives.get(objective)(batch.by_step(), **settings)


def of_population(batch: GroupBatch, objective: str = "", **settings: Any) -> LossOutput:
    return objectives.get(objective)(replace(batch, group_weight=WEIGHTS), **settings)


# Every objective with its defaults, by itself once it is in the registry; then what the defaults do
# not reach.
CASES: dict[str, Callable[[GroupBatch], LossOutput]] = {
    name: objectives.get(name) for name in objectives.names()
} | {
    f"{name} {own}": functools.partial(objectives.get(name), **own)
    for name, own in (
        ("gnivo", {"weights": "softmax", "lengths": "own"}),
        ("gnivo", {"prefixes": "given", "depths": DEPTHS}),
        ("gnivo", {"lengths": "horizon", "horizon": 6}),
        ("group_value", {"prefixes": "last"}),
        ("value_mse", {"prefixes": "last"}),
        ("vimpo", {"actor": 1.0, "alpha": 0.1, "lam": 0.7}),
        ("vimpo", {"kl": "k3", "baseline": "leave_one_out"}),
        ("grpo", {"kl": "exact", "normaliser": "token-mean", "scale": "batch"}),
        ("grpo", {"kl": "sequence", "scale": "none"}),
        ("dr_grpo", {"kl": "k3", "max_length": 4}),
        ("rloo", {"normalise": True}),
        ("rloo", {"clip_low": None}),
        ("ppo", {"whitened": False, "value_clip": None, "kl": "k3"}),
        ("dro", {"scaled": False}),
        ("oreo", {"level": "step", "kl_weight": 0.1}),
        ("oreo", {"level": "response", "kl_weight": 0.3, "kl": "k3"}),
        ("online_dpo", {"labels": "soft", "form": "ipo"}),
        ("online_dpo", {"pairs": "first", "ties": "skip"}),
        ("sft_winning", {"rule": "threshold", "threshold": 0.5}),
    )
}
CASES |= {
    f"{name} by steps": functools.partial(of_steps, objective=name)
    for name in ("gvpo", "vimpo", "ppo", "grpo")
}
CASES |= {
    f"{name} of a population": functools.partial(of_population, objective=name)
    for name in ("gnivo", "vimpo")
}


def entropy_bonus(batch: GroupBatch) -> LossOutput:
    """A loss with what no objective of the registry uses: entropy, and the variance of it over the
    whole batch.
    """
    entropy = (batch.entropy * batch.mask).sum(-1)
    return LossOutput(entropy.var() - 0.1 * objectives.gvpo(batch).loss * entropy.mean())


CASES["entropy_bonus"] = entropy_bonus


@pytest.mark.parametrize("kind", ["table", "qwen2", "llama"])
def test_the_batch_is_a_hard_one(kind: str) -> None:
    own = world(kind).batch()
    assert (own.lengths.amin(), own.lengths.amax()) == (1, T)
    assert (own.lengths.amin(1) < own.lengths.amax(1)).any()
    assert not torch.allclose(own.policy_logps[own.mask], own.behaviour_logps[own.mask], atol=0.1)
    assert {name for name in LIVE if getattr(own, name).requires_grad} == set(LIVE)


@pytest.mark.parametrize(
    ("case", "kind"),
    [*itertools.product(CASES, ["table", "qwen2"]), ("gnivo", "llama"), ("ppo", "llama")],
)
@pytest.mark.slow
def test_the_gradient_is_that_of_the_whole_batch_for_every_split(case: str, kind: str) -> None:
    here, objective = world(kind), CASES[case]
    expected, out = here.direct(objective)
    assert expected.norm() > 0
    for name, split in SPLITS.items():
        if (
            kind != "table"
            and case not in ("gnivo", "ppo")
            and name not in ("groups cut", "in another order")
        ):
            continue  # a few splits will do where scoring takes time
        got = two_pass_step(objective, here.record, here.score, split)
        assert distance(here.gradient(), expected) < 1e-12, name
        assert got.loss.item() == pytest.approx(out.loss.item(), rel=1e-12)
        assert not got.loss.requires_grad
        assert got.metrics.keys() == out.metrics.keys()
        for metric, x in got.metrics.items():
            assert x.item() == pytest.approx(out.metrics[metric].item(), rel=1e-9, abs=1e-12)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    st.permutations(range(ROWS)), st.sets(st.integers(1, ROWS - 1)), st.sampled_from(sorted(CASES))
)
@pytest.mark.slow
def test_the_gradient_is_that_of_the_whole_batch_for_random_splits(
    order: list[int], cuts: set[int], case: str
) -> None:
    here = world("table")
    expected, _ = here.direct(CASES[case])
    edges = [0, *sorted(cuts), ROWS]
    split = [order[a:b] for a, b in itertools.pairwise(edges)]
    two_pass_step(CASES[case], here.record, here.score, split)
    assert distance(here.gradient(), expected) < 1e-12


def naive(here: World, objective: Callable[..., LossOutput], parts: Sequence[Tensor]) -> Tensor:
    """The usual accumulation: the objective on each micro-batch by itself, losses added by their
    share of rows.
    """
    whole = here.batch()
    for rows in parts:
        (prompt,) = set((rows // K).tolist())
        cut = {
            name: getattr(whole, name)[prompt : prompt + 1, rows % K]
            for name in ("policy_logps", "behaviour_logps", "reference_logps", "rewards", "mask")
        }
        share = len(rows) / ROWS
        (share * objective(GroupBatch(**cut)).loss).backward(retain_graph=True)
    return here.gradient()


@pytest.mark.parametrize("kind", ["table", "qwen2"])
def test_adding_up_losses_of_micro_batches_is_wrong_where_a_group_is_cut(kind: str) -> None:
    here = world(kind)
    groups, halves = split_rows(ROWS, K), split_rows(ROWS, K // 2)
    for objective in (objectives.gvpo, objectives.gnivo, objectives.grpo):
        expected, _ = here.direct(objective)
        assert distance(naive(here, objective, groups), expected) < 1e-12, "whole groups add up"
        assert distance(naive(here, objective, halves), expected) > 0.05, "cut groups do not"
        two_pass_step(objective, here.record, here.score, halves)
        assert distance(here.gradient(), expected) < 1e-12


def test_whole_groups_are_not_enough_where_a_loss_couples_the_batch() -> None:
    """VIMPO whitens its advantages over all tokens; a mean over tokens divides by all of them."""
    here, groups = world("table"), split_rows(ROWS, K)
    for objective in (
        functools.partial(objectives.vimpo, kl="k3", actor=1.0),
        functools.partial(objectives.grpo, normaliser="token-mean"),
    ):
        expected, _ = here.direct(objective)
        assert distance(naive(here, objective, groups), expected) > 0.05
        two_pass_step(objective, here.record, here.score, K)
        assert distance(here.gradient(), expected) < 1e-12


def test_a_loss_without_parameters_has_coefficients_zero() -> None:
    def constant(batch: GroupBatch) -> LossOutput:
        return LossOutput(batch.rewards.sum(), {"reward": batch.rewards.mean()})

    here = world("table")
    for split in (None, 5):
        out = two_pass_step(constant, here.record, here.score, split)
        assert out.loss == here.record.rewards.sum()
        assert not here.gradient().any()
    assert not any(
        c.any()
        for c in coefficients(constant, here.record, live=["policy_logps"]).by_field.values()
    )


def test_what_stands_outside_the_mask_is_ignored() -> None:
    """In what is scored, where it may be nan, and in the coefficients of an objective that forgets
    the mask.
    """
    here, inside = world("table"), world("table").record.mask.view(ROWS, T)

    def junk(rows: Tensor) -> dict[str, Tensor]:
        fields = here.policy_scores(rows)
        return fields | {
            "policy_logps": torch.where(inside[rows], fields["policy_logps"], torch.nan)
        }

    expected, _ = here.direct(objectives.gvpo)
    for split in (None, 5):
        two_pass_step(objectives.gvpo, here.record, junk, split)
        assert distance(here.gradient(), expected) < 1e-12
    taken = coefficients(lambda batch: LossOutput(batch.values.sum()), here.batch())
    assert torch.equal(taken.by_field["values"], here.record.mask.double())
    assert coefficients(objectives.gvpo, here.batch(), live=[]).by_field == {}


def test_fields_that_score_does_not_return_are_constants() -> None:
    """A known log Z, and a frozen critic."""
    here = world("table")
    fixed = {
        "log_z": torch.zeros(N, dtype=torch.float64),
        "values": torch.ones(N, K, T, dtype=torch.float64),
    }
    record = replace(here.record, **fixed)
    for objective in (objectives.value_mse, objectives.dro):
        objective(replace(here.batch(), **fixed)).loss.backward()
        expected = here.gradient()
        for split in SPLITS.values():
            two_pass_step(objective, record, here.policy_scores, split)
            assert distance(here.gradient(), expected) < 1e-12


class Watch:
    """Counts calls of score, and how many graphs of earlier calls are alive in each."""

    def __init__(self, score: Callable[[Tensor], dict[str, Tensor]]) -> None:
        self.score, self.calls, self.alive, self.seen = score, 0, 0, []

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        self.alive = max(self.alive, sum(x() is not None for x in self.seen))
        fields = self.score(rows)
        self.seen += [weakref.ref(x) for x in fields.values() if x.requires_grad]
        return fields


def test_memory_holds_the_graph_of_one_micro_batch_and_each_is_scored_twice() -> None:
    here = world("table")
    watch = Watch(here.score)
    two_pass_step(objectives.gvpo, here.record, watch, 2)
    assert (watch.calls, watch.alive) == (2 * ROWS // 2, 0)
    assert len(watch.seen) == len(LIVE) * ROWS // 2, "the first pass is without gradient"
    whole = Watch(here.score)
    two_pass_step(objectives.gvpo, here.record, whole)
    assert whole.calls == 1
    here.gradient()


def test_a_weighted_sum_replaces_scoring_in_the_second_pass() -> None:
    """What a network with a large vocabulary does better by itself: it is handed the
    coefficients.
    """
    here = world("qwen2")
    watch, seen = Watch(here.score), []

    def weighted_sum(rows: Tensor, c: Any) -> Tensor:
        seen.append(len(rows))
        fields = here.score(rows)
        return sum((c[name] * fields[name]).sum() for name in fields)

    scaled: Callable[[Tensor], object] = lambda x: (2 * x).backward()  # noqa: E731  (what a gradient scaler does)
    expected, _ = here.direct(objectives.oreo)
    two_pass_step(
        objectives.oreo, here.record, watch, 5, weighted_sum=weighted_sum, run_backward=scaled
    )
    assert distance(here.gradient(), 2 * expected) < 1e-12
    assert (seen, watch.calls) == ([5, 5, 2], 3)
    two_pass_step(objectives.oreo, here.record, watch, run_backward=scaled)
    assert distance(here.gradient(), 2 * expected) < 1e-12


def test_processes_that_share_the_prompts_add_up_to_the_whole() -> None:
    """Coefficients are taken over all prompts; each process pushes its own ones through its copy of
    the network.
    """
    here = world("table")
    expected, _ = here.direct(objectives.vimpo)
    taken = coefficients(objectives.vimpo, here.batch())
    total = torch.zeros_like(expected)
    for rows in (torch.arange(K), torch.arange(K, ROWS)):
        Passes(here.score, rows.split(3)).second(taken)
        total += here.gradient()
    assert distance(total, expected) < 1e-12


@pytest.mark.parametrize("split", [None, 5])
def test_gradients_add_to_those_that_are_there_and_none_goes_to_the_reference(
    split: int | None,
) -> None:
    here, objective = world("table"), functools.partial(objectives.grpo, kl="exact")
    expected, _ = here.direct(objective)
    here.reference.zero_grad()
    for _ in range(2):
        with torch.no_grad():  # the caller's mode does not matter
            two_pass_step(objective, here.record, here.score, split)
    assert distance(here.gradient(), 2 * expected) < 1e-12
    assert here.reference.logits.grad is None


# --- scores of rows -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["table", "qwen2"])
def test_entropy_and_kl_of_rows_are_those_of_the_tables(kind: str) -> None:
    here = world(kind)
    fields = divergences(here.policy, MDP, here.samples, here.reference)
    for n in range(N):
        prompt = int(here.samples.prompt_index[n])
        law, other = (tabulate(model, MDP, prompt) for model in (here.policy, here.reference))
        for k in range(K):
            number = 0
            for t, token in enumerate(
                here.samples.tokens[n, k, : here.samples.lengths[n, k]].tolist()
            ):
                p, q = law[t][number], other[t][number]
                assert fields["policy_kl"][n, k, t].item() == pytest.approx(
                    np.exp(p) @ (p - q), abs=1e-13
                )
                assert fields["entropy"][n, k, t].item() == pytest.approx(-np.exp(p) @ p, abs=1e-13)
                number = number * V + token
    assert not any(x[~here.samples.mask].any() for x in fields.values())
    tokens, lengths = here.samples.tokens.view(ROWS, T), here.samples.lengths.view(ROWS)
    rows = here.samples.prompt_index.repeat_interleave(K)
    own = score_tokens(here.policy, MDP, tokens, lengths, rows)
    logps = token_logps(here.policy, MDP, tokens, lengths, rows)
    torch.testing.assert_close(own["policy_logps"], logps, rtol=0, atol=1e-12)
    assert "policy_kl" not in own


def test_actions_of_probability_zero_leave_kl_and_entropy_finite_with_their_gradients() -> None:
    mdp = TokenMDP(3, 2)
    tables = exact.random_reference(3, 2, 0)
    for table in tables:
        table[:, 2] = -np.inf
        table -= np.log(np.exp(table).sum(1, keepdims=True))
    policy, reference = TabularLM.from_tables(mdp, tables), TabularLM.from_mdp(mdp)
    samples = sample_groups(policy, mdp, 4, generator=torch.Generator().manual_seed(0))
    fields = divergences(policy, mdp, samples, reference)
    assert torch.allclose(fields["policy_kl"] + fields["entropy"], torch.tensor(3.0).double().log())
    (fields["policy_kl"] - fields["entropy"]).sum().backward()
    assert policy.logits.grad.isfinite().all()
    assert policy.logits.grad.any()
    backwards = divergences(reference, mdp, sample_groups(policy, mdp, 2), policy)["policy_kl"]
    assert (backwards == torch.inf).all()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (0, "at least 1 row, got 0"),
        ([5, 5], r"sum to the 12 rows, got \[5, 5\]"),
        ([12, 0], "sizes >= 1"),
        ([], "sum to the 12 rows"),
        ([[*range(6)], [*range(5, 12)]], r"each of the rows 0..11 once"),
        ([[*range(12)], []], "no list without rows"),
    ],
)
def test_a_split_that_does_not_cover_the_rows_is_one_clear_line(split: Any, message: str) -> None:
    here = world("table")
    with pytest.raises(ValueError, match=message) as error:
        two_pass_step(objectives.gvpo, here.record, here.score, split)
    assert "\n" not in str(error.value)


def test_what_score_must_return_is_said() -> None:
    here = world("table")
    short = functools.partial(two_pass_step, objectives.grpo, here.record, micro_batch=5)

    def without(*names: str) -> Callable[[Tensor], dict[str, Tensor]]:
        return lambda rows: {
            name: x for name, x in here.policy_scores(rows).items() if name not in names
        }

    with pytest.raises(ValueError, match="behaviour_logps is a constant"):
        short(lambda rows: {"behaviour_logps": here.policy_scores(rows)["policy_logps"]})
    with pytest.raises(ValueError, match=r"policy_logps \[5, 5\] for 5 rows, got \[5, 3\]"):
        short(lambda rows: {"policy_logps": here.policy_scores(rows)["policy_logps"][:, :3]})
    with pytest.raises(ValueError, match=r"log_z \[5\] for 5 rows, got \[3\]"):
        short(lambda rows: here.policy_scores(rows) | {"log_z": here.heads.log_z.new_zeros(3)})
    with pytest.raises(ValueError, match="nothing with a gradient"):
        short(lambda rows: {name: x.detach() for name, x in here.policy_scores(rows).items()})
    taken = coefficients(objectives.grpo, here.batch(), kl="exact")
    with pytest.raises(
        ValueError, match="the loss depends on policy_kl, which score does not return"
    ):
        backward(without("policy_kl"), taken, 5)
    here.gradient()
    backward(without("entropy"), taken, 5)
    here.gradient()
    with pytest.raises(ValueError, match="rewards is a constant, or no field"):
        coefficients(objectives.grpo, here.batch(), live=["rewards"])


def test_a_second_pass_unlike_the_first_is_refused() -> None:
    """Dropout that is left on, a step in between, rows in another order."""
    here = World("qwen2", dropout=0.3)
    here.policy.train()
    two_pass_step(objectives.gvpo, here.record, here.policy_scores, 5)
    assert here.policy.training, "two_pass_scorers turns dropout off and puts the mode back"

    def with_dropout(rows: Tensor) -> dict[str, Tensor]:
        index = here.samples.prompt_index[rows // K]
        tokens, lengths = (
            here.samples.tokens.view(ROWS, T)[rows],
            here.samples.lengths.view(ROWS)[rows],
        )
        return score_tokens(here.policy, MDP, tokens, lengths, index)

    with pytest.raises(ValueError, match="turn dropout off"):
        two_pass_step(objectives.gvpo, here.record, with_dropout, 5)
    taken = coefficients(objectives.gvpo, here.record, live=["policy_logps"])
    with pytest.raises(ValueError, match="another policy_logps than in the first pass"):
        backward(here.policy_scores, taken)


def test_sampled_groups_of_float32_and_of_one_prompt_work_too() -> None:
    policy = TabularLM.from_mdp(MDP, seed=1, dtype=torch.float32)
    samples = sample_groups(policy, MDP, 6, [1], torch.Generator().manual_seed(1))
    objective = functools.partial(objectives.gvpo, alpha=0.5)
    objective(make_group_batch(policy, MDP, samples)).loss.backward()
    expected, policy.logits.grad = policy.logits.grad, None
    with torch.no_grad():
        record = make_group_batch(policy, MDP, samples)
    two_pass_step(objective, record, two_pass_scorers(policy, MDP, samples)[0], 4)
    assert policy.logits.grad.dtype == torch.float32
    assert distance(policy.logits.grad, expected) < 1e-6
