"""grpo, gspo, cispo, dapo, dr_grpo, rloo and online_dpo against TRL itself, installed with the
extra `trl`.

TRL's losses on a batch are those of ours without a factor: its means are over the responses, or
over the tokens, of the batch. Nothing is said of the loss types sapo, luspo and vespo: there is no
objective of ours for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

trl = pytest.importorskip("trl", reason="needs TRL: pip install 'gnivo-edu[trl]'")
if not trl.__version__.startswith("1.16."):
    pytest.skip(f"compares with TRL 1.16, this is {trl.__version__}", allow_module_level=True)
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer  # noqa: E402
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer  # noqa: E402

from gnivo_edu.batch import GroupBatch  # noqa: E402
from gnivo_edu.objectives.cispo import cispo  # noqa: E402
from gnivo_edu.objectives.dapo import dapo  # noqa: E402
from gnivo_edu.objectives.dr_grpo import dr_grpo  # noqa: E402
from gnivo_edu.objectives.grpo import group_advantages, grpo  # noqa: E402
from gnivo_edu.objectives.gspo import gspo  # noqa: E402
from gnivo_edu.objectives.online_dpo import online_dpo  # noqa: E402
from gnivo_edu.objectives.rloo import rloo  # noqa: E402
from gnivo_edu.objectives.surrogate import average  # noqa: E402
from tests.objectives.trl_direct import (  # noqa: E402
    NORMALISERS,
    Given,
    Record,
    preferred,
    ragged_records,
    sampled_and_scored,
)

TOLERANCE = 1e-12
RECORDS = list(ragged_records())


def difference(
    objective: Callable[..., Any],
    record: Record,
    theirs: Given,
    factor: float = 1.0,
    **settings: Any,
) -> float:
    """Largest difference in the loss and in the gradient, `factor` times theirs; padding must have
    gradient 0.
    """
    leaf = record["policy_logps"].clone().requires_grad_()
    loss = objective(GroupBatch(**record | {"policy_logps": leaf}), **settings).loss
    loss.backward()
    assert leaf.grad is not None
    assert not theirs.gradient[~record["mask"]].any()
    gaps = (
        (leaf.grad - factor * theirs.gradient).abs().max(),
        (loss - factor * sum(theirs.losses)).abs(),
    )
    return max(x.item() for x in gaps)


def by_grpo(record: Record, **settings: Any) -> Given:
    """TRL's GRPO with the plain k3 of the papers; its own default is the subject of a test
    below.
    """
    return sampled_and_scored(
        GRPOTrainer, GRPOConfig, record, **{"use_bias_correction_kl": False} | settings
    )


def by_rloo(record: Record, **settings: Any) -> Given:
    return sampled_and_scored(RLOOTrainer, RLOOConfig, record, **settings)


def ours(loss_type: str, beta: float, **settings: Any) -> dict[str, Any]:
    """Settings of grpo for those of TRL."""
    return {
        "alpha": beta or 1.0,
        "kl": "k3" if beta else "none",
        "normaliser": NORMALISERS[loss_type],
        **settings,
    }


def test_the_batches_are_clipped_on_both_sides_and_hold_ties() -> None:
    tokens, responses, tied = torch.zeros(2), torch.zeros(2), 0
    for record in RECORDS:
        advantages = group_advantages(GroupBatch(**record), "none")[..., None]
        x = (record["policy_logps"] - record["behaviour_logps"]).masked_fill(~record["mask"], 0.0)
        for count, ratio in ((tokens, x.exp()), (responses, x.sum(-1, keepdim=True).exp())):
            count += torch.stack(
                [((ratio > 1.2) & (advantages > 0)).sum(), ((ratio < 0.8) & (advantages < 0)).sum()]
            )
        tied += int((record["rewards"][:, 0] == record["rewards"][:, 1]).sum())
    assert min(tokens) >= 10
    assert min(responses) >= 3
    assert tied >= 2


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("beta", [0.0, 0.04, 0.7])
@pytest.mark.parametrize("loss_type", NORMALISERS)
def test_grpo_and_its_variants(loss_type: str, beta: float, scale: str) -> None:
    for record in RECORDS:
        for low, high in ((0.2, 0.2), (0.1, 0.28)):
            settings = {
                "epsilon": low,
                "epsilon_high": high,
                "scale_rewards": scale,
                "max_completion_length": 11,
            }
            theirs = by_grpo(record, loss_type=loss_type, beta=beta, **settings)
            options = ours(
                loss_type, beta, scale=scale, clip_low=low, clip_high=high, max_length=11
            )
            assert difference(grpo, record, theirs, **options) < TOLERANCE
            batch = GroupBatch(**record)
            assert (group_advantages(batch, scale) - theirs.advantages).abs().max() < TOLERANCE  # type: ignore[arg-type]
            metrics = grpo(batch, **options).metrics
            assert theirs.metrics["reward"] == pytest.approx(
                [metrics["reward"].item()], abs=TOLERANCE
            )
            if beta:
                assert theirs.metrics["kl"] == pytest.approx([metrics["kl"].item()], abs=TOLERANCE)
            if scale == "none" and loss_type == "dr_grpo":
                options = {
                    name: options[name]
                    for name in ("alpha", "kl", "clip_low", "clip_high", "max_length")
                }
                assert difference(dr_grpo, record, theirs, **options) < TOLERANCE


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize(("low", "high"), [(3e-4, 4e-4), (0.2, 0.28)])
def test_gspo_is_the_ratio_of_whole_sequences(low: float, high: float, scale: str) -> None:
    for record in RECORDS:
        theirs = by_grpo(
            record,
            loss_type="grpo",
            importance_sampling_level="sequence",
            beta=0.0,
            epsilon=low,
            epsilon_high=high,
            scale_rewards=scale,
        )
        settings = {"scale": scale, "clip_low": low, "clip_high": high}
        assert difference(gspo, record, theirs, **settings) < TOLERANCE


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("largest", [5.0, 1.1])
def test_the_epsilon_high_of_cispo_is_the_largest_weight(largest: float, scale: str) -> None:
    for record in RECORDS:
        theirs = by_grpo(
            record, loss_type="cispo", beta=0.0, epsilon_high=largest, scale_rewards=scale
        )
        settings = {"scale": scale, "clip_high": largest - 1}
        assert difference(cispo, record, theirs, **settings) < TOLERANCE


def test_dapo_differs_in_the_tokens_of_tied_groups() -> None:
    """TRL keeps groups of equal rewards: they add nothing but their tokens to the divisor."""
    with_ties = 0
    for record in RECORDS:
        theirs = by_grpo(record, loss_type="dapo", beta=0.0, epsilon=0.2, epsilon_high=0.28)
        mixed = (record["rewards"] != record["rewards"][:, :1]).any(1)
        with_ties += int(not mixed.all())
        if mixed.any():
            share = int(record["mask"].sum()) / int(record["mask"][mixed].sum())
            assert difference(dapo, record, theirs, factor=share) < TOLERANCE
        else:
            assert dapo(GroupBatch(**record)).loss == 0
    assert 0 < with_ties < len(RECORDS)


@pytest.mark.parametrize("loss_type", NORMALISERS)
def test_grpo_without_stored_log_probabilities_is_on_policy(loss_type: str) -> None:
    for record in RECORDS:
        theirs = by_grpo(
            record, stored=False, loss_type=loss_type, beta=0.04, max_completion_length=11
        )
        fields = record | {"behaviour_logps": record["policy_logps"]}
        assert difference(grpo, fields, theirs, **ours(loss_type, 0.04, max_length=11)) < TOLERANCE


def test_the_defaults_of_trl_are_dapo_without_kl_term() -> None:
    for record in RECORDS:
        theirs = sampled_and_scored(GRPOTrainer, GRPOConfig, record)
        assert difference(grpo, record, theirs, kl="none", normaliser="token-mean") < TOLERANCE


@pytest.mark.parametrize("loss_type", NORMALISERS)
def test_micro_batches_of_trl_add_up_to_the_batch_except_for_bnpo(loss_type: str) -> None:
    gaps = []
    for record in RECORDS[1:]:
        for steps in (2, 3):
            if record["rewards"].numel() % steps:
                continue
            theirs = by_grpo(
                record, steps=steps, loss_type=loss_type, beta=0.04, max_completion_length=11
            )
            assert len(theirs.losses) == steps
            gaps.append(difference(grpo, record, theirs, **ours(loss_type, 0.04, max_length=11)))
            theirs = by_rloo(record, steps=steps)
            assert (
                difference(rloo, record, theirs, factor=1 / steps) < TOLERANCE
            )  # the Trainer divides these
    assert len(gaps) >= 6
    assert max(gaps) > 1e-3 if loss_type == "bnpo" else max(gaps) < TOLERANCE


def test_the_kl_term_that_trl_takes_by_default_is_another_one() -> None:
    """u k3 in place of k3: on-policy its gradient is that of k2 = x^2/2, which is the reverse
    KL's.
    """
    for record in RECORDS:
        fields = record | {"behaviour_logps": record["policy_logps"]}
        theirs = sampled_and_scored(
            GRPOTrainer, GRPOConfig, record, stored=False, loss_type="grpo", beta=0.7
        )
        settings = ours("grpo", 0.7)
        assert difference(grpo, fields, theirs, **settings) > 1e-3
        leaf = record["policy_logps"].clone().requires_grad_()
        batch = GroupBatch(**fields | {"policy_logps": leaf})
        k2 = average(batch, batch.logratio.square() / 2, "seq-mean-token-mean")
        (grpo(batch, **settings | {"kl": "none"}).loss + 0.7 * k2).backward()
        assert leaf.grad is not None
        assert (leaf.grad - theirs.gradient).abs().max() < TOLERANCE


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.05, 0.6])
def test_rloo(beta: float, normalise: bool) -> None:
    settings: dict[str, Any] = {"alpha": beta or 1.0, "normalise": normalise}
    for off_policy in RECORDS:
        for record in (off_policy, off_policy | {"behaviour_logps": off_policy["policy_logps"]}):
            # without a KL: the reference is the sampler, so that k1 is 0
            fields = record | ({} if beta else {"reference_logps": record["behaviour_logps"]})
            for low, high in ((0.2, 0.2), (0.1, 0.5)):
                clips = {"epsilon": low, "epsilon_high": high}
                theirs = by_rloo(record, beta=beta, normalize_advantages=normalise, **clips)
                assert (
                    difference(rloo, fields, theirs, **settings, clip_low=low, clip_high=high)
                    < TOLERANCE
                )
        leaf = fields["policy_logps"].clone().requires_grad_()
        rloo(
            GroupBatch(**fields | {"policy_logps": leaf}), **settings, clip_low=None
        ).loss.backward()
        assert leaf.grad is not None
        assert (
            leaf.grad - theirs.gradient
        ).abs().max() < TOLERANCE  # on-policy REINFORCE has the same gradient


@pytest.mark.parametrize("form", ["sigmoid", "ipo"])
@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_online_dpo(beta: float, form: str) -> None:
    for record in RECORDS:
        theirs = preferred(
            OnlineDPOTrainer,
            OnlineDPOConfig,
            record,
            beta,
            loss_type=form,
            missing_eos_penalty=None,
        )
        settings = {"alpha": beta, "form": form, "pairs": "first", "ties": "first"}
        assert difference(online_dpo, record, theirs, **settings) < TOLERANCE
    h = GroupBatch(**record).sequence_logratio[:, :2]
    first = record["rewards"][:, 0] >= record["rewards"][:, 1]
    margins = beta * torch.where(first, h[:, 0] - h[:, 1], h[:, 1] - h[:, 0])
    assert theirs.metrics["rewards/margins"] == pytest.approx(
        [margins.mean().item()], abs=TOLERANCE
    )
