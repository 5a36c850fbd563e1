"""grpo: loops and differences, TRL's numbers, the laws at which its gradient vanishes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.dr_grpo import dr_grpo
from gnivo_edu.objectives.grpo import grpo
from gnivo_edu.policies import TabularLM
from tests.objectives.objective_checks import (
    check_equal_rewards,
    check_errors,
    check_errors_of_groups,
    check_invariances,
    check_loops,
    check_oracle,
    from_record,
    make_tree,
    needs_oracles,
    oracle_batches,
    random_record,
)
from tests.objectives.plain_loops import grpo_loops

NORMALISERS = ("seq-mean-token-mean", "token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm")


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("kl", ["k3", "exact", "sequence", "none"])
def test_grpo_against_loops_and_finite_differences(kl: str, normaliser: str) -> None:
    settings: dict[str, Any] = {"alpha": 0.3, "kl": kl, "normaliser": normaliser}
    if normaliser.endswith("norm"):
        settings["max_length"] = 7
    fields = ("policy_logps", "policy_kl") if kl == "exact" else ("policy_logps",)
    check_loops(grpo, grpo_loops, fields, **settings)
    check_invariances(grpo, **settings)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_scales_clips_and_gradcheck(scale: Any) -> None:
    check_loops(grpo, grpo_loops, alpha=0.3, scale=scale, clip_low=0.1, clip_high=0.5)
    check_invariances(grpo, weighted=scale != "batch", scale=scale)
    record = random_record()
    record["policy_logps"].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: grpo(GroupBatch(**record | {"policy_logps": x}), 0.3, scale=scale).loss,
        record["policy_logps"],
    )


@needs_oracles
def test_all_normalisers_give_what_trl_gave() -> None:
    names = {"grpo": "seq-mean-token-mean", "bnpo": "token-mean", "dapo": "token-mean"}
    names["dr_grpo"] = "seq-mean-token-sum-norm"
    seen = 0
    for record, outputs in oracle_batches():
        for key, expected in outputs.items():
            if (
                not key.startswith("trl_")
                or "scale-" not in key
                or key.startswith("trl_accum2_bnpo")
            ):
                continue
            config = expected["config"]
            scale = config.get(
                "scale_rewards", "none" if config["loss_type"] == "dr_grpo" else "group"
            )
            low = config.get("epsilon_low", config.get("epsilon"))
            settings = {
                "alpha": config["beta"] or 1.0,
                "kl": "k3" if config["beta"] else "none",
                "clip_low": low,
                "clip_high": config.get("epsilon_high", low),
                "max_length": config["max_completion_length"],
            }
            fields = record
            if key.endswith("_onpolicy"):
                fields = record | {"behaviour_logps": record["policy_logps"]}
            normaliser = names[config["loss_type"]]
            check_oracle(grpo, fields, expected, normaliser=normaliser, scale=scale, **settings)
            if config["loss_type"] == "dr_grpo":
                check_oracle(dr_grpo, fields, expected, **settings)
            seen += 1
    assert seen >= 30


def conditional_advantage(
    tree: Any, tables: list[np.ndarray], group_size: int, scale: str
) -> np.ndarray:
    """E[A_i | y_i = y], [V**T], by a loop over all companions."""
    law = np.ones(1)
    for table in tables:
        law = (law[:, None] * np.exp(table)).ravel()
    out = np.zeros(len(law))
    for y in range(len(law)):
        for others in itertools.product(range(len(law)), repeat=group_size - 1):
            rewards = tree.rewards[[y, *others]]
            a = rewards[0] - rewards.mean()
            out[y] += law[list(others)].prod() * (
                a / (rewards.std(ddof=1) + 1e-4) if scale == "group" else a
            )
    return out


@pytest.mark.parametrize("scale", ["none", "group"])
def test_bandit_laws_of_k3_and_of_the_reverse_kl(scale: str) -> None:
    tree = make_tree(4, 1)
    for kl, alpha in (("k3", 2.5), ("sequence", 0.8), ("exact", 0.8)):
        tables = tree.reference
        for _ in range(2000):
            a = conditional_advantage(tree, tables, 3, scale)
            law = alpha / (alpha - a) if kl == "k3" else np.exp(a / alpha)
            weight = np.exp(tree.reference[0][0]) * law
            new = [np.log(weight / weight.sum())[None]]
            done = np.abs(new[0] - tables[0]).max() < 1e-13
            tables = new
            if done:
                break
        assert np.abs(tables[0] - tree.reference[0]).max() > 0.1
        if kl == "k3":
            assert weight.sum() == pytest.approx(
                1, abs=1e-12
            )  # alpha pi_ref/(alpha - A) needs no normaliser
        if kl == "exact":
            gradient = exact_bandit_gradient(tree, tables, alpha, scale)
        else:
            gradient = tree.gradient(grpo, tables, tables, 3, alpha=alpha, kl=kl, scale=scale)
        assert gradient.abs().max() < 1e-14
        assert (
            tree.gradient(grpo, tree.tilt(alpha)[0], tree.tilt(alpha)[0], 3, alpha=alpha, kl="k3")
            .abs()
            .max()
            > 1e-4
        )
        if kl == "sequence" and scale == "none":
            assert np.abs(tables[0] - tree.tilt(alpha * 3 / 2)[0][0]).max() < 1e-12


def exact_bandit_gradient(
    tree: Any, tables: list[np.ndarray], alpha: float, scale: str
) -> torch.Tensor:
    """kl="exact" with the KL differentiated through the logits."""
    policy = TabularLM.from_tables(tree.mdp, tables)
    logp = policy.logits[0].log_softmax(-1)
    kl = (logp.exp() * (logp - torch.from_numpy(tree.reference[0]))).sum()
    batch = tree.batch(policy, tables, tables, 3)
    batch = from_record(
        {name: getattr(batch, name) for name in batch.__dataclass_fields__},
        policy_kl=kl.expand_as(batch.mask),
    )
    grpo(batch, alpha=alpha, kl="exact", scale=scale).loss.backward()  # type: ignore[arg-type]
    assert policy.logits.grad is not None
    return policy.logits.grad


def test_k3_on_a_tree_is_a_law_per_state() -> None:
    tree, alpha, size = make_tree(2, 2), 2.0, 2
    tables = tree.reference
    for _ in range(500):
        a = conditional_advantage(tree, tables, size, "none")
        new = []
        value = a
        for t in (1, 0):
            q = value.reshape(-1, 2)
            p = np.exp(tree.reference[t])
            shift = (np.exp(tables[t]) * q).sum(1, keepdims=True)
            new.append(np.log(p * alpha / (alpha - (q - shift))))
            value = shift[:, 0]
        new = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in new[::-1]]
        tables = new
    settings = {"alpha": alpha, "normaliser": "seq-mean-token-sum", "scale": "none"}
    assert tree_gradient(tree, tables, size, settings).abs().max() < 1e-13
    assert tree_gradient(tree, tree.tilt(alpha)[0], size, settings).abs().max() > 1e-5


def tree_gradient(
    tree: Any, tables: list[np.ndarray], size: int, settings: dict[str, Any]
) -> torch.Tensor:
    return tree.gradient(grpo, tables, tables, size, **settings)


def test_errors() -> None:
    check_errors_of_groups(grpo)
    check_errors(
        grpo,
        ({"kl": "k1"}, "kl must be one of k3, exact"),
        ({"max_length": 0}, "max_length must be"),
        ({"scale": "std"}, "scale must be one of"),
        ({"normaliser": "mean"}, "normaliser must be one of"),
    )
    with pytest.raises(ValueError, match="needs policy_kl"):
        grpo(from_record(random_record(), policy_kl=None), kl="exact")


def test_equal_rewards_give_nothing() -> None:
    check_equal_rewards(grpo, on_policy=False, kl="none")
