"""What the recorded numbers hold beside losses and gradients by token log-probabilities, and that
none is forgotten.

Gradients with respect to logits, advantages, micro-batches, estimators, metrics.
`test_every_recorded_array_...` lists each recorded array with the test that compares it, or the
reason why none does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import pytest
import torch
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.gnivo import gnivo
from gnivo_edu.objectives.grpo import group_advantages, surrogate_with_kl
from gnivo_edu.objectives.online_dpo import online_dpo
from gnivo_edu.objectives.oreo import oreo
from gnivo_edu.objectives.ppo import generalised_advantages
from gnivo_edu.objectives.rloo import rloo
from gnivo_edu.objectives.surrogate import (
    average,
    behaviour_divergence,
    behaviour_logratio,
    centred,
    kl_estimate,
    moments,
)
from gnivo_edu.objectives.vimpo import detached_kl, implicit_advantages, vimpo
from tests.objectives.objective_checks import ORACLES, needs_oracles, oracle_batches

pytestmark = needs_oracles
NORMALISERS = {"grpo": "seq-mean-token-mean", "bnpo": "token-mean", "dapo": "token-mean"}
NORMALISERS["dr_grpo"] = "seq-mean-token-sum-norm"
ROW_BY_ROW = ("mask", "policy_logps", "behaviour_logps", "reference_logps", "rewards")

# fmt: off
# Patterns of recorded arrays, "name/part". First: what the tests of the objectives compare, by
# check_oracle.
ELSEWHERE = [
    "gvpo*/*_anchor/*", "vimpo*/value_loss/loss", "vimpo*/value_loss/grad",
    "vimpo*/value_loss_kl_k?_detached/*", "vimpo*/total_loss/*", "vimpo*/actor_loss_*/*",
    "vimpo*/value_loss_huber_*", "vimpo*/value_loss_cap_v0_*/loss",
    "vimpo*/value_loss_cap_v0_*/grad", "vimpo*/soft_value_loss/loss",
    "vimpo*/soft_value_loss/grad", "vimpo*/adv_lam*", "trl_*/loss", "trl_*/grad",
    "oreo_*/critic_loss/*", "oreo_*/actor_loss/*",
    "verl_ppo*/returns", "verl_ppo*/advantages_whitened", "verl_ppo*/*_loss/loss",
    "verl_ppo*/*_loss/grad", "gnivo_*/sum_t/*", "gnivo_*/mean_t_*/*", "gnivo_*/last/*",
]
HERE = [
    "gvpo*/advantages",
    "vimpo*/reward_baseline",
    "vimpo*/token_kl_exact",
    "vimpo*/old_token_kl_exact",
    "vimpo*/value_loss/kl_token_mean",
    "vimpo*/value_loss_kl_*_grad_logits/*",
    "vimpo*/implicit_values_suffix",
    "vimpo*/token_term_abs_max_with_k1",
    "trl_*/advantages",
    "trl_accum2_*/*",
    "trl_rloo_*/onpolicy_ratio1/*",
    "trl_online_dpo_*/margin",
    "trl_online_dpo_*/accuracy",
    "oreo_*/actor_loss_grad_logits",
    "oreo_step/state_mask",
    "verl_ppo*/token_rewards",
    "verl_ppo*/policy_loss/approx_kl_old",
    "verl_misc/*",
    "gnivo_*/per_group_per_t",
]
# fmt: on
NOT_OURS = {
    "vimpo*/value_loss_cap_v0_*/reward_baseline": "inside the loss: its gradient holds it",
    "vimpo*/soft_value_loss/soft_value_baseline": "inside the loss: its gradient holds it",
    "verl_ppo*/*_loss/clipfrac": "share where the clip changes the loss; ours is of ratios",
    "gnivo_*/finite_difference_max_rel_error": "how well the recorder checked its own gradients",
}


def recorded() -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]]:
    """(record, outputs, logits) of each batch; logits [N, K, T, V] by name, and the tokens [N, K,
    T].
    """
    for (record, outputs), batch in zip(
        oracle_batches(), json.loads(ORACLES.read_text())["batches"], strict=True
    ):
        x = batch["inputs"]
        shape = (x["N"], x["K"], x["T"], x["V"])
        logits = {
            name: torch.tensor(x[f"{name}_logits"], dtype=torch.float64).view(shape)
            for name in ("policy", "old", "ref")
        }
        yield record, outputs, logits | {"tokens": torch.tensor(x["tokens"]).view(shape[:3])}


def close(ours: Tensor, theirs: Any, tolerance: float = 1e-9) -> bool:
    expected = torch.tensor(theirs, dtype=torch.float64).view(ours.shape)
    return bool((ours - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max())))


def from_logits(
    record: dict[str, Any], logits: dict[str, Tensor], leaf: Tensor, **fields: Any
) -> GroupBatch:
    """The batch with policy log-probabilities and exact KL computed from `leaf`, the policy's
    logits.
    """
    logp = leaf.log_softmax(-1)
    picked = logp.gather(-1, logits["tokens"][..., None])[..., 0]
    assert torch.allclose(
        picked[record["mask"].bool()], record["policy_logps"][record["mask"].bool()], atol=1e-12
    )
    kl = exact_kl(leaf, logits["ref"])
    return GroupBatch(**record | {"policy_logps": picked, "policy_kl": kl} | fields)


def exact_kl(logits: Tensor, reference: Tensor) -> Tensor:
    return torch.nn.functional.kl_div(
        reference.log_softmax(-1), logits.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)


def test_oreo_by_logits_with_the_exact_kl_in_the_gradient() -> None:
    for record, outputs, logits in recorded():
        state_mask = torch.tensor(outputs["oreo_step"]["state_mask"]).view(record["mask"].shape)
        steps = {"step_ids": (state_mask.cumsum(-1) - 1).clamp(min=0)}
        for key, level, fields, settings in (
            ("oreo_token", "token", {}, {}),
            ("oreo_token_klk3", "token", {}, {"kl": "k3"}),
            ("oreo_token_klexact", "token", {}, {"kl": "exact"}),
            ("oreo_step", "step", steps, {}),
            ("oreo_response", "response", {}, {}),
        ):
            expected, leaf = outputs[key], logits["policy"].clone().requires_grad_()
            config = expected["config"]
            batch = from_logits(record, logits, leaf, **fields)
            oreo(
                batch, config["beta"], level=level, kl_weight=config["kl_reg"] or 0.0, **settings
            ).loss.backward()
            assert close(leaf.grad, expected["actor_loss_grad_logits"])


def test_vimpo_by_logits_detaches_the_kl_unless_told_not_to() -> None:
    for record, outputs, logits in recorded():
        for key in ("vimpo", "vimpo_defaults"):
            expected, alpha = outputs[key], outputs[key]["config"]["beta"]
            leaf = logits["policy"].clone().requires_grad_()
            batch = from_logits(record, logits, leaf)
            out = vimpo(batch, alpha=alpha, actor=0.0)
            (detached,) = torch.autograd.grad(out.loss, leaf, retain_graph=True)
            assert close(detached, expected["value_loss_kl_detached_grad_logits"]["grad"])
            assert close(out.loss.detach(), expected["value_loss_kl_detached_grad_logits"]["loss"])
            assert close(out.metrics["kl"], expected["value_loss"]["kl_token_mean"])
            attached = expected["value_loss_kl_attached_grad_logits"]
            assert not close(detached, attached["grad"], 1e-6)
            out = vimpo(from_logits(record, logits, leaf), alpha=alpha, actor=0.0, detached=False)
            (through,) = torch.autograd.grad(out.loss, leaf)
            assert close(through, attached["grad"], 1e-10)
            assert close(out.loss.detach(), attached["loss"], 1e-10)
            for name, logit in (("token_kl_exact", "policy"), ("old_token_kl_exact", "old")):
                assert close(exact_kl(logits[logit], logits["ref"]) * batch.mask, expected[name])
            constant = GroupBatch(**record)
            raw = implicit_advantages(
                alpha * (constant.logratio - detached_kl(constant, "exact")), 1.0
            )
            assert close(-raw, expected["implicit_values_suffix"])
            assert close(batch.rewards - centred(batch.rewards), expected["reward_baseline"])
            assert not (constant.logratio - kl_estimate(constant.logratio, "k1")).abs().max() > 0
            assert expected["token_term_abs_max_with_k1"] == 0


def test_advantages_of_groups() -> None:
    for record, outputs, _ in recorded():
        batch = GroupBatch(**record)
        plain, tokens = group_advantages(batch, "none"), batch.mask.double()
        std = batch.rewards.std(1, keepdim=True)
        misc = outputs["verl_misc"]
        assert close(plain[..., None] * tokens, outputs["gvpo"]["advantages"])
        assert close(plain[..., None] * tokens, outputs["gvpo_beta0.5"]["advantages"])
        assert close(plain[..., None] * tokens, misc["grpo_adv_nostd"])
        assert close(
            centred(batch.rewards, leave_one_out=True)[..., None] * tokens, misc["rloo_adv"]
        )
        # verl, and vimpo's actor with it, add 1e-6 to the standard deviation, TRL and grpo 1e-4
        theirs = torch.tensor(misc["grpo_adv_std"], dtype=torch.float64).view(tokens.shape)
        ours = group_advantages(batch, "group") * (std + 1e-4) / (std + misc["config"]["std_eps"])
        assert close(ours[..., None] * tokens, theirs.tolist())
        # On-policy, the slope of a token mean by log u is minus the advantage over the tokens.
        leaf = record["policy_logps"].clone().requires_grad_()
        at = GroupBatch(**record | {"policy_logps": leaf, "behaviour_logps": leaf.detach()})
        gradients = [
            torch.autograd.grad(vimpo(at, actor=c, advantages="group").loss, leaf)[0]
            for c in (1.0, 0.0)
        ]
        advantages = -(gradients[0] - gradients[1]) * tokens.sum()
        assert close(advantages, misc["grpo_adv_std"])
        for key, expected in outputs.items():
            config = expected.get("config", {})
            if key.startswith("trl_rloo"):
                shaped = batch.rewards - config["beta"] * behaviour_divergence(batch).sum(-1)
                advantages = centred(shaped, leave_one_out=True)
                mean, variance = moments(
                    batch, advantages, torch.ones_like(advantages, dtype=torch.bool)
                )
                if config["normalize_advantages"]:
                    advantages = (advantages - mean) / (variance.sqrt() + 1e-4)
                assert close(advantages, expected["advantages"])
            elif key.startswith("trl_") and "advantages" in expected:
                assert close(
                    group_advantages(batch, config["scale_rewards"]), expected["advantages"]
                )


def test_micro_batches_of_trl_one_by_one() -> None:
    """Halves by rows cut through groups: the advantages come from the whole batch. Of bnpo the sum
    is not the whole.
    """
    seen = 0
    for record, outputs, _ in recorded():
        whole = GroupBatch(**record)
        half, tokens = whole.rewards.numel() // 2, whole.mask.sum().item()
        for key in (key for key in outputs if key.startswith("trl_accum2")):
            expected, c = outputs[key], outputs[key]["config"]
            advantages = group_advantages(
                whole, c.get("scale_rewards", "none" if "none" in key else "group")
            ).flatten()
            leaf, losses = record["policy_logps"].clone().requires_grad_(), []
            for rows in (slice(0, half), slice(half, None)):
                fields = {
                    name: record[name].flatten(0, 1)[None, rows]
                    for name in ROW_BY_ROW
                    if name != "rewards"
                }
                fields |= {
                    "policy_logps": leaf.flatten(0, 1)[None, rows],
                    "rewards": whole.rewards.flatten()[None, rows],
                }
                batch = GroupBatch(**fields)
                share = (
                    batch.mask.sum().item() / tokens
                    if c["loss_type"] == "dapo"
                    else 1 / c["micro_batches"]
                )
                clips = (
                    NORMALISERS[c["loss_type"]],
                    c["epsilon"],
                    c["epsilon"],
                    c["max_completion_length"],
                )
                out = surrogate_with_kl(batch, advantages[None, rows], c["beta"], "k3", *clips)  # type: ignore[arg-type]
                losses.append(share * out.loss)
            total = torch.stack(losses).sum()
            total.backward()
            assert close(torch.stack(losses).detach(), expected["micro_losses"])
            assert close(total.detach(), expected["loss"])
            assert close(leaf.grad, expected["grad"])
            seen += 1
    assert seen >= 4


def test_rloo_at_ratio_one_is_reinforce() -> None:
    for record, outputs, _ in recorded():
        for key in (key for key in outputs if key.startswith("trl_rloo")):
            config, expected = outputs[key]["config"], outputs[key]["onpolicy_ratio1"]
            # the KL in the reward stays that of the sampler; only the ratio is 1: that is the
            # REINFORCE form
            fields = record | (
                {} if config["beta"] else {"reference_logps": record["behaviour_logps"]}
            )
            settings = {
                "alpha": config["beta"] or 1.0,
                "normalise": config["normalize_advantages"],
                "clip_low": None,
            }
            leaf = fields["policy_logps"].clone().requires_grad_()
            rloo(GroupBatch(**fields | {"policy_logps": leaf}), **settings).loss.backward()
            assert close(leaf.grad, expected["grad"])
            assert (
                abs(expected["loss"]) < 1e-13
            )  # minus the mean of A, where REINFORCE has that of A log pi


def test_margins_of_pairs_estimators_and_rewards_by_token() -> None:
    for record, outputs, _ in recorded():
        batch = GroupBatch(**record)
        for key in (key for key in outputs if key.startswith("trl_online_dpo")):
            beta = outputs[key]["config"]["beta"]
            h, first = batch.sequence_logratio[:, :2], batch.rewards[:, 0] >= batch.rewards[:, 1]
            margins = beta * torch.where(first, h[:, 0] - h[:, 1], h[:, 1] - h[:, 0])
            assert close(margins.mean(), outputs[key]["margin"])
            assert close(
                (margins > 0).double().mean(), outputs[key]["accuracy"], 1e-7
            )  # recorded in float32
            metrics = online_dpo(batch, beta, pairs="first", ties="first").metrics
            if metrics["tied_pairs"] == 0:
                assert close(beta * metrics["margin"], outputs[key]["margin"])
                assert close(metrics["accuracy"], outputs[key]["accuracy"], 1e-7)
        for name in ("k1", "k2", "k3"):
            expected = outputs["verl_misc"][f"kl_{name}"]
            leaf = record["policy_logps"].clone().requires_grad_()
            k = kl_estimate(GroupBatch(**record | {"policy_logps": leaf}).logratio, name)  # type: ignore[arg-type]
            k.sum().backward()
            theirs = (
                torch.tensor(expected["per_token"], dtype=torch.float64).view(k.shape) * batch.mask
            )
            assert close(k.detach(), theirs.tolist())
            assert close(k.sum().detach(), expected["sum"])
            assert close(leaf.grad, expected["grad_of_sum"])
        for key in ("verl_ppo", "verl_ppo_lam1"):
            cost = outputs[key]["config"]["kl_coef"] * behaviour_divergence(batch)
            by_token = generalised_advantages(batch, torch.zeros_like(cost), cost, lam=0.0)
            assert close(by_token * batch.mask, outputs[key]["token_rewards"])
            drift = average(batch, -behaviour_logratio(batch), "token-mean")
            assert close(
                drift, outputs[key]["policy_loss"]["approx_kl_old"], 1e-7
            )  # 1e-8 in verl's divisor


def test_gnivo_depth_by_depth() -> None:
    for record, outputs, _ in recorded():
        T = record["mask"].shape[-1]
        for key in (key for key in outputs if key.startswith("gnivo_")):
            config = outputs[key]["config"]
            for g, depths in enumerate(outputs[key]["per_group_per_t"]):
                fields = {
                    name: x[g : g + 1] for name, x in record.items() if name != "reference_logps"
                }  # the sampler's
                for t, expected in enumerate(depths, 1):
                    settings = {"prefixes": "given", "depths": torch.tensor([t]), "horizon": T}
                    loss = gnivo(
                        GroupBatch(**fields), config["alpha"], weights=config["weights"], **settings
                    ).loss
                    assert loss.item() == pytest.approx(expected, rel=1e-9)


def arrays(x: Any, name: str = "") -> Iterator[str]:
    if isinstance(x, dict):
        for key, value in x.items():
            if key not in ("config", "beta", "grad_note"):
                yield from arrays(value, f"{name}/{key}".strip("/"))
    else:
        yield name


def test_every_recorded_array_is_compared_or_has_a_reason() -> None:
    patterns = [*ELSEWHERE, *HERE, *NOT_OURS]
    names = {name for _, outputs, _ in recorded() for name in arrays(outputs)}
    assert len(names) > 200
    assert sorted(name for name in names if not any(fnmatch(name, p) for p in patterns)) == []
    assert [p for p in patterns if not any(fnmatch(name, p) for name in names)] == []
