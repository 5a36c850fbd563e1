"""What every objective does to a token, as lines that can be read and computed: from the rewards of
the group to the signal, - dL/d log pi of that token.

Each function writes a `Sheet` for a batch and the options of its objective; a test holds the last
line of each to what autograd says of the loss.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch, group_log_softmax
from gnivo_edu.objectives.formulas import SIGNAL, Sheet
from gnivo_edu.objectives.groups import prefix_coefficients, reward_weights
from gnivo_edu.objectives.ppo import generalised_advantages
from gnivo_edu.objectives.surrogate import (
    behaviour_divergence,
    centred,
    kl_estimate,
    moments,
    needed,
    suffix_sums,
    token_kl,
)
from gnivo_edu.objectives.vimpo import SMALLEST_SCALE
from gnivo_edu.objectives.vimpo_options import sampler_kl

ENDLESS = 1e300  # no clipping, as a number that can be written


def sheet_of(name: str, batch: GroupBatch, **options: Any) -> Sheet:
    """The sheet of an objective of the registry on a batch, with the options that it was given.

    >>> half = torch.full((1, 2, 1), 0.5, dtype=torch.float64).log()
    >>> batch = GroupBatch(
    ...     policy_logps=half, behaviour_logps=half, mask=half < 0,
    ...     rewards=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
    ... )
    >>> sheet = sheet_of("gvpo", batch, alpha=1.0)
    >>> [line.expression for line in sheet.lines]
    ['R - mean_R - alpha*(h - mean_h)', 'alpha*e/((K - 1)*N)']
    >>> sheet.values((1, 2, 1))["signal"].flatten().tolist()
    [0.5, -0.5]
    """
    known = inspect.signature(objectives.get(name)).parameters.values()
    settings = {p.name: p.default for p in known if p.default is not p.empty}
    sheet = Sheet()
    weight = batch.group_weight
    N, K, _ = batch.mask.shape
    sheet.number("N", N if weight is None else 1 / weight, "questions of the step")
    sheet.number("K", K, "answers to each question")
    _WRITERS[name](sheet, batch, settings | options)
    return sheet


# --- what several objectives share ----------------------------------------------------------------


def _alpha(sheet: Sheet, o: dict[str, Any]) -> None:
    sheet.number("alpha", o["alpha"], "reward per nat")


def _reward(sheet: Sheet, batch: GroupBatch) -> None:
    sheet.number("R", batch.rewards, "reward of this answer")


def _group_mean(sheet: Sheet, batch: GroupBatch) -> None:
    _reward(sheet, batch)
    # Equal rewards leave 0, where their mean may be off by rounding.
    sheet.number("mean_R", batch.rewards - centred(batch.rewards), "mean reward of the group")


def _share(sheet: Sheet, batch: GroupBatch, normaliser: str, max_length: int | None = None) -> str:
    """How much a token counts in the average, as an expression."""
    if normaliser == "token-mean":
        K = batch.mask.shape[1]
        mean_length = batch.group_mean(batch.lengths.double().mean(1))
        sheet.number("M", sheet.numbers["N"] * K * mean_length, "tokens of the step")
        return "1/M"
    if normaliser == "seq-mean-token-mean":
        sheet.number("T", batch.lengths, "tokens of this answer")
        return "1/(N*K*T)"
    if normaliser == "seq-mean-token-sum-norm":
        sheet.number("L", max_length or 1, "max_length")
        return "1/(N*K*L)"
    return "1/(N*K)"


def _group_advantage(sheet: Sheet, batch: GroupBatch, scale: str, tiny: float = 1e-4) -> None:
    _group_mean(sheet, batch)
    if scale == "none":
        sheet.line("A", "R - mean_R", "advantage of this answer")
        return
    if scale == "group":
        deviation = batch.rewards.std(1)
    else:
        deviation = moments(batch, batch.rewards)[1].sqrt()
    sheet.number("std_R", deviation, f"standard deviation of the rewards of the {scale}")
    sheet.line("A", f"(R - mean_R)/(std_R + {tiny:g})", "advantage of this answer")


def _ratio(sheet: Sheet, batch: GroupBatch) -> None:
    sheet.number("logp", batch.policy_logps, "log-probability of this token")
    sheet.number("old", batch.behaviour_logps, "the same under who wrote it")
    sheet.line("u", "exp(logp - old)", "how much likelier it has become")


def _clip(sheet: Sheet, o: dict[str, Any]) -> None:
    dual = o.get("dual_clip") or math.inf
    sheet.number("low", 1 - o["clip_low"], "1 - clip_low")
    sheet.number("high", min(1 + o["clip_high"], ENDLESS), "1 + clip_high")
    sheet.number("dual", min(dual, ENDLESS), "dual_clip")
    sheet.line("open", "kept(A, u, low, high, dual)", "1 where the clip lets it through, else 0")


def _token_kl(sheet: Sheet, batch: GroupBatch, o: dict[str, Any], share: str) -> str:
    """What the KL term of GRPO takes from the signal, as an expression to subtract."""
    if o["kl"] in ("none", "exact"):
        return ""  # the exact KL of the law has a gradient of its own, and none by this token
    _alpha(sheet, o)
    if o["kl"] == "k3":
        if "logp" not in sheet.numbers:
            sheet.number("logp", batch.policy_logps, "log-probability of this token")
        sheet.number("ref", batch.reference_logps, "the same under the reference")
        sheet.line("pull", "alpha*(1 - exp(ref - logp))", "slope of the KL's estimate, back to it")
    else:
        # h^2/(2 T) at each of T tokens: what a token adds to h counts at all of them.
        _sequence_logratio(sheet, batch)
        if o["normaliser"] == "token-mean" or "T" not in sheet.numbers:
            sheet.number("T", batch.lengths, "tokens of this answer")
        sheet.line("pull", "alpha*h", "slope of alpha h^2/2, back to the reference")
    return f" - {share}*pull"


def _sequence_logratio(sheet: Sheet, batch: GroupBatch) -> None:
    sheet.number("h", batch.sequence_logratio, "log-ratio of the whole answer to the reference")


def _implicit_reward(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _alpha(sheet, o)
    _sequence_logratio(sheet, batch)


def _from_here(x: Tensor) -> Tensor:
    """sum over depths d >= t, [N, K, T]."""
    return suffix_sums(x, 1.0)


def _softmax_of_group(
    sheet: Sheet, batch: GroupBatch, o: dict[str, Any], scores: Tensor, over: Callable[..., Tensor]
) -> None:
    """GN-IVO's lines; `over` adds what each depth has, for the depths that a token moves."""
    w = reward_weights(batch, o["alpha"], weights=o["weights"], reward_max=o["reward_max"])
    c = prefix_coefficients(
        batch, o["prefixes"], lengths=o["lengths"], depths=o["depths"], horizon=o["horizon"]
    )
    q = group_log_softmax(scores).exp()
    each = (c * w).sum(1, keepdim=True)  # what the softmax of a depth shares out
    same = w.shape[-1] == 1 and bool((c == c[:, :1]).all())
    if not same:
        sheet.number(
            "wanted", over(c * w), "weights of this answer, over depths from this token on"
        )
        sheet.number("given", over(q * each), "what the group's softmax gives it there already")
        sheet.line(SIGNAL, "(wanted - given)/N", "wanted minus given, a mean over questions")
        return
    _alpha(sheet, o)
    if o["weights"] == "raw":
        _reward(sheet, batch)
        sheet.number("R_max", o["reward_max"], "reward_max")
        sheet.line("w", "exp((R - R_max)/alpha)", "weight of this answer")
    else:
        sheet.number("w", w[..., 0], "weight of this answer, a softmax of R/alpha in the group")
    sheet.number("W", w.sum(1)[..., 0], "sum of the weights of the group")
    sheet.number("D", over(c), "depths from this token on: in so many beginnings it stands")
    sheet.number("Q", over(c * q), "softmax of rho in the group, summed over these depths")
    sheet.line(SIGNAL, "(D*w - W*Q)/N", "what the rewards want minus what the policy gives")


# --- the objectives -------------------------------------------------------------------------------


def _gnivo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _softmax_of_group(sheet, batch, o, scores=batch.prefix_logratio, over=_from_here)


def _group_value(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    assert batch.prefix_values is not None
    sheet.scored = "prefix_values"
    last = torch.arange(batch.mask.shape[-1]) == batch.lengths[..., None] - 1

    def over(x: Tensor) -> Tensor:  # a finished answer has one value at all later depths
        return torch.where(last, _from_here(x), x)

    _softmax_of_group(sheet, batch, o, scores=batch.absorb(batch.prefix_values), over=over)


def _gvpo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _group_mean(sheet, batch)
    _implicit_reward(sheet, batch, o)
    h = batch.sequence_logratio
    sheet.number("mean_h", h - centred(h), "its mean in the group")
    sheet.line("e", "R - mean_R - alpha*(h - mean_h)", "reward that the log-ratio does not explain")
    sheet.line(SIGNAL, "alpha*e/((K - 1)*N)", "the same for every token of the answer")


def _grpo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _group_advantage(sheet, batch, o["scale"])
    _ratio(sheet, batch)
    _clip(sheet, o)
    share = _share(sheet, batch, o["normaliser"], max_length=o["max_length"])
    pull = _token_kl(sheet, batch, o, share)
    sheet.line(SIGNAL, f"{share}*open*u*A{pull}", "advantage times ratio, less the KL's pull")


def _dr_grpo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _grpo(sheet, batch, {**o, "scale": "none", "normaliser": "seq-mean-token-sum-norm"})


def _dapo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    shaped = batch.rewards
    if o["buffer"]:
        beyond = batch.lengths - (o["max_length"] - o["buffer"])
        shaped = shaped - (beyond.to(shaped.dtype) / o["buffer"]).clamp(0, 1)
    sheet.number("S", shaped, "reward of this answer, its length paid")
    sheet.number("mean_S", shaped - centred(shaped), "its mean in the group")
    sheet.number("std_S", shaped.std(1), "its standard deviation there")
    sheet.line("A", "(S - mean_S)/(std_S + 0.0001)", "advantage of this answer")
    _ratio(sheet, batch)
    _clip(sheet, o)
    mixed = (batch.rewards.amax(1) > batch.rewards.amin(1)).double()
    tokens = batch.group_mean((batch.lengths * mixed[:, None]).double().mean(1))
    K = batch.mask.shape[1]
    M = sheet.numbers["N"] * K * tokens.clamp(min=torch.finfo(torch.float64).tiny)
    sheet.number("mixed", mixed, "1 where the rewards of the group are not all equal, else 0")
    sheet.number("M", M, "tokens of such groups")
    sheet.line(SIGNAL, "mixed*open*u*A/M", "advantage times ratio, a mean over tokens")


def _gspo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _group_advantage(sheet, batch, o["scale"])
    logratio = (batch.policy_logps - batch.behaviour_logps).masked_fill(batch.outside, 0.0)
    sheet.number("s", logratio.sum(-1), "log-ratio of the whole answer to who wrote it")
    sheet.number("T", batch.lengths, "tokens of this answer")
    sheet.line("u", "exp(s/T)", "geometric mean of its tokens' ratios")
    _clip(sheet, o)
    sheet.line(SIGNAL, "open*u*A/(N*K*T)", "the same for every token of the answer")


def _cispo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _group_advantage(sheet, batch, o["scale"])
    _ratio(sheet, batch)
    sheet.number("high", 1 + o["clip_high"], "1 + clip_high")
    share = _share(sheet, batch, "token-mean")
    sheet.line(SIGNAL, f"{share}*min(u, high)*A", "advantage times a bounded weight")


def _rloo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _alpha(sheet, o)
    _reward(sheet, batch)
    paid = behaviour_divergence(batch).sum(-1)
    rewards = batch.rewards - o["alpha"] * paid
    others = rewards - centred(rewards, leave_one_out=True)
    sheet.number("k", paid, "log-ratio of the answer, writer to reference: the KL it pays")
    sheet.number("others", others, "mean of R - alpha k of the other answers")
    raw = "R - alpha*k - others"
    sheet.line("A", raw, "advantage over the other answers")
    if o["normalise"]:
        mean, variance = moments(batch, centred(rewards, leave_one_out=True))
        sheet.number("mean_A", mean, "mean of R - alpha k - others in the step")
        sheet.number("std_A", variance.sqrt(), "its standard deviation there")
        sheet.lines[-1] = type(sheet.lines[-1])(
            "A", f"({raw} - mean_A)/(std_A + 0.0001)", "advantage over the other answers"
        )
    if o["clip_low"] is None:
        sheet.line(SIGNAL, "A/(N*K)", "the same for every token of the answer")
        return
    logratio = (batch.policy_logps - batch.behaviour_logps).masked_fill(batch.outside, 0.0)
    sheet.number("s", logratio.sum(-1), "log-ratio of the whole answer to who wrote it")
    sheet.line("u", "exp(s)", "how much likelier the answer has become")
    _clip(sheet, o)
    sheet.line(SIGNAL, "open*u*A/(N*K)", "the same for every token of the answer")


def _whitened(sheet: Sheet, batch: GroupBatch, raw: Float[Tensor, "N K T"]) -> None:
    mean, variance = moments(batch, raw, mask=batch.mask)
    sheet.number("mean_A", mean, "mean of B over the tokens of the step")
    sheet.number("var_A", variance, "its variance there")
    sheet.line("A", "(B - mean_A)/sqrt(var_A + 1e-8)", "whitened over the tokens of the step")


def _after(x: Float[Tensor, "N K T"]) -> Float[Tensor, "N K T"]:
    """x at the next token, 0 after the last."""
    return torch.cat([x[..., 1:], torch.zeros_like(x[..., :1])], -1)


def _ppo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    assert batch.values is not None
    old = batch.values if batch.behaviour_values is None else batch.behaviour_values
    believed = (old if o["advantages"] == "rollout" else batch.values).detach()
    believed = believed.masked_fill(batch.outside, 0.0)
    cost = o["alpha"] * kl_estimate(behaviour_divergence(batch), o["kl"])
    raw = generalised_advantages(batch, believed, cost=cost, lam=o["lam"], gamma=o["gamma"])
    last = torch.arange(batch.mask.shape[-1]) == batch.lengths[..., None] - 1
    _alpha(sheet, o)
    paid = torch.where(last, batch.rewards[..., None], 0.0)
    sheet.number("R", paid, "reward paid at this token: that of the answer, at its last")
    sheet.number("k", kl_estimate(behaviour_divergence(batch), o["kl"]), "KL that it pays, nats")
    sheet.number("V", believed, "critic before this token")
    sheet.number("V_next", _after(believed), "critic after it, 0 after the last")
    sheet.number("B_next", _after(raw), "advantage of the next token")
    sheet.number("gamma", o["gamma"], "discount")
    sheet.number("lam", o["lam"], "lambda")
    sheet.line("d", "R - alpha*k + gamma*V_next - V", "by how much the critic is surprised")
    sheet.line("B", "d + gamma*lam*B_next", "generalised advantage")
    if o["whitened"]:
        _whitened(sheet, batch, raw)
    else:
        sheet.line("A", "B", "not whitened")
    _ratio(sheet, batch)
    _clip(sheet, o)
    share = _share(sheet, batch, "token-mean")
    sheet.line(SIGNAL, f"{share}*open*u*A", "advantage times ratio")


def _vimpo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _alpha(sheet, o)
    _reward(sheet, batch)
    alpha, leave_one_out = o["alpha"], o["baseline"] == "leave_one_out"
    soft = o["value"] == "soft"
    if soft:
        tokens = sampler_kl(batch, o["kl"])
        charge = alpha * tokens.sum(-1)
        b = batch.rewards - centred(batch.rewards - charge, leave_one_out) - charge
        delta = alpha * batch.logratio
    else:
        tokens = token_kl(batch, o["kl"]).detach()
        b = batch.rewards - centred(batch.rewards, leave_one_out)
        delta = alpha * (batch.logratio - tokens)
    sheet.number("b", b if o["cap"] is None else b.clamp(max=o["cap"]), "baseline of the group")
    target = batch.rewards - sheet.numbers["b"].to(batch.rewards)
    said = "alpha times its log-ratio" + ("" if soft else " less its KL")
    sheet.number("S", delta.sum(-1), f"what the answer's tokens add up to: {said}")
    sheet.line("e", "S - (R - b)", "by how much that misses the reward")
    if o["huber"] is not None:
        sheet.number("bound", o["huber"], "huber")
        sheet.line("e", "max(-bound, min(bound, e))", "held within Huber's bound")
    scale = torch.ones(())
    if o["normalised"]:
        scale = batch.group_mean(target.square().mean(1)).clamp(min=SMALLEST_SCALE)
    sheet.number("v", o["value_weight"] / scale, "weight of the value loss")
    own = "alpha"
    if not soft and not o["detached"] and o["kl"] != "exact":
        slope = batch.logratio if o["kl"] == "k2" else 1 - (-batch.logratio).exp()
        sheet.number("slope", slope, "slope of the KL's estimate")
        own = "alpha*(1 - slope)"
    sheet.line("value_part", f"-v*e*{own}/(N*K)", "from the value loss")
    if soft or not (o["actor"] or o["actor_ratio"]):
        sheet.line(SIGNAL, "value_part", "from the value loss alone")
        return
    raw = suffix_sums(delta.detach(), o["lam"])
    if o["advantages"] == "group":
        sheet.number("mean_R", batch.rewards - centred(batch.rewards), "mean reward of the group")
        sheet.number("std_R", batch.rewards.std(1), "its standard deviation")
        sheet.line("A", "(R - mean_R)/(std_R + 1e-6)", "GRPO's advantage")
    else:
        sheet.number("delta", delta, "alpha times (log-ratio less KL) of this token")
        sheet.number("B_next", _after(raw), "advantage of the next token")
        sheet.number("lam", o["lam"], "lambda")
        sheet.line("B", "delta + lam*B_next", "implicit advantage")
        if o["whitened"]:
            _whitened(sheet, batch, raw)
        else:
            sheet.line("A", "B", "not whitened")
    _ratio(sheet, batch)
    _clip(sheet, o)
    weight = o["actor"]
    if o["actor_ratio"] is not None:
        weight = objectives.get("vimpo")(batch, **o).metrics["actor_weight"]
    sheet.number("c", weight, "weight of the actor's loss")
    share = _share(sheet, batch, "token-mean")
    sheet.line("actor_part", f"c*{share}*open*u*A", "from the actor's loss")
    sheet.line(SIGNAL, "value_part + actor_part", "both losses together")


def _oreo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    assert batch.values is not None
    steps = batch.by_step() if o["level"] == "step" else batch

    def spread(x: Tensor) -> Tensor:  # of its step, at every token
        if steps is batch or batch.step_ids is None:
            return x
        return x.gather(2, batch.step_ids.masked_fill(batch.outside, 0))

    values = needed(steps, "values", name="oreo")
    later = suffix_sums(steps.logratio, 1.0)
    _alpha(sheet, o)
    _reward(sheet, batch)
    if o["level"] == "response":
        sheet.number("V", values[..., 0], "critic before the first token")
        sheet.number("h", later[..., 0], "log-ratio of the whole answer")
        sheet.number("T", 1, "the answer is one action")
    else:
        sheet.number("V", spread(values), f"critic before this {o['level']}")
        sheet.number("h", spread(later), f"log-ratio of this {o['level']} and all later ones")
        sheet.number("T", steps.lengths, f"{o['level']}s of this answer")
    sheet.line("e", "V - R + alpha*h", "by how much the soft Bellman equation misses")
    pull = ""
    if o["kl_weight"] and o["kl"] == "k3":
        unit = "step" if o["level"] == "step" else "token"
        sheet.number("logp", spread(steps.policy_logps), f"log-probability of this {unit}")
        sheet.number("ref", spread(steps.reference_logps), "the same under the reference")
        sheet.number("weight", o["kl_weight"], "kl_weight")
        sheet.number("L", steps.lengths, f"{unit}s of this answer")
        sheet.line("pull", "weight*(1 - exp(ref - logp))/(N*K*L)", "back to the reference")
        pull = " - pull"
    sheet.line(SIGNAL, f"-2*alpha*e/(N*K*T){pull}", "slope of e^2 by this token")


def _dro(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    assert batch.values is not None
    _reward(sheet, batch)
    _implicit_reward(sheet, batch, o)
    sheet.number("V", batch.values[..., 0], "learnt value of the question")
    sheet.line("e", "R - V - alpha*h", "reward that value and log-ratio do not explain")
    own = "e" if o["scaled"] else "alpha*e"
    sheet.line(SIGNAL, f"{own}/(N*K)", "the same for every token of the answer")


def _online_dpo(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _implicit_reward(sheet, batch, o)
    K = batch.mask.shape[1]
    size = K if o["pairs"] == "all" else 2
    sheet.number("P", size * (size - 1) // 2, "pairs of a group")
    parts = []
    for shift in range(1, size):
        # Each answer against the one `shift` places on, around the pairs' answers.
        other = torch.cat([(torch.arange(size) + shift) % size, torch.arange(size, K)])
        gap = batch.rewards - batch.rewards[:, other]
        counted = torch.ones_like(gap)
        counted[:, size:] = 0.0
        if o["labels"] == "soft":
            p = (gap / o["label_temperature"]).sigmoid()
        else:
            p = (1 + gap.sign()) / 2
            if o["ties"] == "first":
                p = torch.where(gap == 0, (torch.arange(K) < other).to(p.dtype), p)
            if o["ties"] == "skip":
                counted = counted.masked_fill(gap == 0, 0.0)
        sheet.number(f"h_{shift}", batch.sequence_logratio[:, other], f"h of rival {shift}")
        sheet.number(f"p_{shift}", p, f"chance that this answer is preferred to rival {shift}")
        sheet.number(f"c_{shift}", counted, f"1 where rival {shift} counts, else 0")
        difference = f"h - h_{shift}"
        if o["form"] == "sigmoid":
            parts.append(f"c_{shift}*(p_{shift} - sigma(alpha*({difference})))")
        else:
            parts.append(f"c_{shift}*((2*p_{shift} - 1)/(2*alpha) - ({difference}))")
    sheet.line("wins", " + ".join(parts), "wanted minus given, over all rivals")
    factor = "alpha" if o["form"] == "sigmoid" else "2"
    sheet.line(SIGNAL, f"{factor}*wins/(P*N)", "the same for every token of the answer")


def _sft_winning(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _reward(sheet, batch)
    if o["rule"] == "best":
        won = batch.rewards == batch.rewards.amax(1, keepdim=True)
        sheet.number("m", won.sum(1), "answers that share the largest reward")
    else:
        won = batch.rewards >= o["threshold"]
        sheet.number("m", batch.rewards.shape[1], "answers to each question")
    sheet.number("won", won, "1 for a winner, else 0")
    sheet.line(SIGNAL, "won/(m*N)", "the same for every token of the answer")


def _value_mse(sheet: Sheet, batch: GroupBatch, o: dict[str, Any]) -> None:
    _reward(sheet, batch)
    _alpha(sheet, o)
    assert batch.log_z is not None
    terms = batch.mask
    if o["prefixes"] == "last":
        terms = torch.arange(batch.mask.shape[-1]) == batch.lengths[..., None] - 1
    inside = terms.to(batch.rewards.dtype)
    sheet.number("log_Z", batch.log_z, "log Z of the question")
    sheet.number("D", _from_here(inside), "depths from this token on")
    rho = _from_here(batch.prefix_logratio.masked_fill(~terms, 0.0))
    sheet.number("S", rho, "log-ratios of these beginnings, added")
    if o["targets"] is None:
        sheet.line("e", "D*(log_Z - R/alpha) + S", "value less target, over these depths")
    else:
        wanted = _from_here(o["targets"].masked_fill(~terms, 0.0))
        sheet.number("G", wanted, "targets of these depths, added")
        sheet.line("e", "D*log_Z + S - G", "value less target, over these depths")
    sheet.line(SIGNAL, "-2*e/(N*K)", "slope of the squares by this token")


_WRITERS: dict[str, Callable[[Sheet, GroupBatch, dict[str, Any]], None]] = {
    name.removeprefix("_"): function
    for name, function in list(globals().items())
    if name.startswith("_") and name.removeprefix("_") in objectives.names()
}
