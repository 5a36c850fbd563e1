"""GroupBatch: everything an objective may look at, and the vocabulary on it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gnivo_edu.names import check_keywords

# What is a sum over the tokens of a step, in `by_step`.
SUMMED = ("policy_logps", "behaviour_logps", "reference_logps", "policy_kl", "entropy")
# These are read inside the mask only, and may hold anything outside it.
PER_TOKEN = (*SUMMED, "values", "behaviour_values", "prefix_values")
# No gradient flows to these, and the batch keeps copies of them.
CONSTANTS = ("behaviour_logps", "reference_logps", "rewards", "behaviour_values", "group_weight")
COPIED = (*CONSTANTS, "step_ids", "truncated")
LOGPS = ("policy_logps", "behaviour_logps", "reference_logps")
NEVER_NEGATIVE = ("policy_kl", "entropy")
PRECISIONS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# What a field is called elsewhere.
SYNONYMS = {
    **dict.fromkeys(
        ("logps", "logp", "log_probs", "log_prob", "new_logps", "per_token_logps"), "policy_logps"
    ),
    **dict.fromkeys(
        ("old_logps", "old_logp", "old_log_probs", "old_log_prob", "old_per_token_logps",
         "sampler_logps", "sampling_logps", "sampling_per_token_logps", "rollout_logps",
         "rollout_log_probs", "behavior_logps", "behavior_log_probs"),
        "behaviour_logps",
    ),
    **dict.fromkeys(
        ("ref_logps", "ref_logp", "ref_log_probs", "ref_log_prob", "ref_per_token_logps"),
        "reference_logps",
    ),
    **dict.fromkeys(
        ("masks", "response_mask", "completion_mask", "attention_mask", "loss_mask"), "mask"
    ),
    **dict.fromkeys(("reward", "scores", "returns", "token_level_rewards"), "rewards"),
    **dict.fromkeys(("old_values", "behavior_values"), "behaviour_values"),
    "value": "values", "kl": "policy_kl", "weights": "group_weight", "steps": "step_ids",
}  # fmt: skip
FILLED_IN: Any = None  # by __post_init__


def group_log_softmax(x: Float[Tensor, "N K *T"], dim: int = 1) -> Float[Tensor, "N K *T"]:
    """Log-softmax over the K responses of a group, never over tokens: x_i - log sum_j e^{x_j}.

    >>> group_log_softmax(torch.zeros(1, 4)).exp()
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return x.log_softmax(dim)


class MissingField(ValueError):
    """An optional field of GroupBatch is asked for and absent; `field` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.field = field

    def __str__(self) -> str:
        return str(self.args[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupBatch:
    """N prompts, K responses each, padded to T tokens, none of them 0. Floating point tensors, all
    of one precision and on one device.

    `policy_logps`, `behaviour_logps`, `reference_logps` [N, K, T], nats: log-probability of each
    token under the policy that is trained, the behaviour policy that sampled the responses (the
    sampler, in short), and the reference (by default the behaviour policy: the published GN-IVO).
    `rewards` [N, K], reward units. `mask` [N, K, T], bool or 0/1: ones, then zeros; made from
    lengths, never from token ids, and the end-of-sequence token is a token. What stands outside the
    mask is ignored.

    Optional: `step_ids` [N, K, T] int, the step each token belongs to (0, 1, 2, ...: see
    `by_step`); `truncated` [N, K] bool, cut off by the length limit; `policy_kl` [N, K, T], exact
    KL(policy || reference) of the next-token laws, and `entropy` [N, K, T], of the policy, both
    before token t, nats; `values`, `behaviour_values` [N, K, T], a critic at the state *before*
    token t; `prefix_values` [N, K, T], an explicit V_theta *after* t tokens, nats; `log_z` [N],
    nats; `group_weight` [N], non-negative with sum 1 (default 1/N): with every possible group and
    its probability, `group_mean` is the exact expectation.

    No gradient flows to behaviour, reference, rewards or weights. Of these, of the mask, the steps
    and `truncated` the batch keeps copies: what becomes of the caller's tensors does not move it.
    Raises ValueError, in one line, on shapes that do not fit or are empty, sparse or nested
    tensors, other dtypes, mixed precisions or devices, a mask with holes or without a token,
    rewards that are not finite, log-probabilities that are not finite or above 0 by more than
    rounding, a KL or an entropy as far below it (a warning where there is a gradient), and on a
    name that is no field (which is a TypeError too).

    >>> half = torch.full((1, 2, 3), 0.5).log()
    >>> mask = torch.tensor([[[1, 1, 1], [1, 0, 0]]])
    >>> batch = GroupBatch(
    ...     policy_logps=half / 2, behaviour_logps=half, rewards=torch.ones(1, 2), mask=mask
    ... )
    >>> batch.prefix_logratio / half[0, 0, 0].abs()
    tensor([[[0.5000, 1.0000, 1.5000],
             [0.5000, 0.5000, 0.5000]]])
    """

    policy_logps: Float[Tensor, "N K T"]
    behaviour_logps: Float[Tensor, "N K T"]
    rewards: Float[Tensor, "N K"]
    mask: Bool[Tensor, "N K T"]
    reference_logps: Float[Tensor, "N K T"] = FILLED_IN
    step_ids: Int[Tensor, "N K T"] | None = None
    truncated: Bool[Tensor, "N K"] | None = None
    policy_kl: Float[Tensor, "N K T"] | None = None
    entropy: Float[Tensor, "N K T"] | None = None
    values: Float[Tensor, "N K T"] | None = None
    behaviour_values: Float[Tensor, "N K T"] | None = None
    prefix_values: Float[Tensor, "N K T"] | None = None
    log_z: Float[Tensor, " N"] | None = None
    group_weight: Float[Tensor, " N"] | None = None

    def __new__(cls, **fields: Any) -> GroupBatch:
        """Only to say which field is meant by another name."""
        check_keywords(fields, cls.__dataclass_fields__, of=cls.__name__, synonyms=SYNONYMS)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        stated = self.reference_logps is not None
        if not stated:
            object.__setattr__(self, "reference_logps", self.behaviour_logps)
        self._check_shapes()
        object.__setattr__(self, "mask", _checked_mask(self.mask))
        for name in COPIED:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, getattr(self, name).detach().clone())
        if self.step_ids is not None:  # arithmetic on short or unsigned integers would wrap
            object.__setattr__(self, "step_ids", self.step_ids.long())
        if not stated:
            object.__setattr__(self, "reference_logps", self.behaviour_logps)
        self._check_numbers()
        self._check_precision()

    # --- vocabulary -------------------------------------------------------------------------------

    @cached_property
    def lengths(self) -> Int[Tensor, "N K"]:
        """Number of tokens of each response."""
        return self.mask.sum(-1)

    @cached_property
    def outside(self) -> Bool[Tensor, "N K T"]:
        """Where no token is: the opposite of the mask."""
        return ~self.mask

    @property
    def logratio(self) -> Float[Tensor, "N K T"]:
        """log pi_theta/pi_ref of each token, nats; 0 outside the mask."""
        return (self.policy_logps - self.reference_logps).masked_fill(self.outside, 0.0)

    @property
    def prefix_logratio(self) -> Float[Tensor, "N K T"]:
        """rho_t = log pi_theta(s_t) - log pi_ref(s_t), nats; index t - 1 holds the prefix of t
        tokens, t = 1..T.

        A finished response is absorbing: its later prefixes are the whole response.
        """
        return self.logratio.cumsum(-1)

    @property
    def sequence_logratio(self) -> Float[Tensor, "N K"]:
        """rho of the whole response, nats."""
        return self.logratio.sum(-1)

    @property
    def implicit_value(self) -> Float[Tensor, "N K T"]:
        """V_theta(s_t) = log Z + rho_t, nats, after t = 1..T tokens. Needs `log_z`."""
        if self.log_z is None:
            raise MissingField(
                "log_z",
                "implicit_value needs log_z; without it, prefix_logratio is V_theta - log Z",
            )
        return self.log_z[:, None, None] + self.prefix_logratio

    def absorb(self, x: Float[Tensor, "N K T"]) -> Float[Tensor, "N K T"]:
        """Repeat the last entry of each response after its end: values of absorbing prefixes."""
        last = (self.lengths - 1).clamp(min=0)[..., None]
        columns = torch.arange(x.shape[-1], device=x.device)
        # A response without tokens has no last entry.
        empty = (self.lengths == 0)[..., None]
        return x.gather(-1, torch.minimum(columns, last)).masked_fill(empty, 0.0)

    def group_mean(self, per_group: Float[Tensor, " N"]) -> Float[Tensor, ""]:
        """Mean over prompts, or the expectation under `group_weight`."""
        weight = self.group_weight
        return per_group.mean() if weight is None else (weight * per_group).sum()

    def by_step(self) -> GroupBatch:
        """The same batch with steps for tokens: [N, K, S], S the largest number of steps. Needs
        `step_ids`.

        Log-probabilities, KL and entropy are summed over a step (log pi of a step is the sum over
        its tokens; the sum of per-token KLs is a sample of the step's); `values` are taken at its
        first token, `prefix_values` at its last.
        """
        if self.step_ids is None:
            raise MissingField(
                "step_ids",
                "by_step needs step_ids: pass the number of the step of each token, 0, 1, 2, ...",
            )
        ids = self.step_ids.long().masked_fill(self.outside, 0)
        count = int(ids.max()) + 1
        tokens = torch.zeros(*ids.shape[:2], count, dtype=torch.long, device=ids.device)
        tokens.scatter_add_(2, ids, self.mask.long())
        # A step ends where the tokens of all steps up to it are counted.
        last = (tokens.cumsum(2) - 1).clamp(min=0)
        # A step that a response does not have is masked out; its place only has to exist.
        first = (last - tokens + 1).clamp(min=0, max=self.mask.shape[-1] - 1)

        def total(x: Tensor) -> Tensor:
            x = x.masked_fill(self.outside, 0.0)
            return torch.zeros(tokens.shape, dtype=x.dtype, device=x.device).scatter_add(2, ids, x)

        # A value belongs to a state: before the first token of a step, or after its last one.
        places = {"values": first, "behaviour_values": first, "prefix_values": last}
        fields = {
            name: total(x) if name in SUMMED else x.gather(2, places[name])
            for name in PER_TOKEN
            if (x := getattr(self, name)) is not None
        }
        return replace(self, mask=tokens > 0, step_ids=None, **fields)

    # --- validation -------------------------------------------------------------------------------

    def _check_shapes(self) -> None:
        _check_kind(self.policy_logps, "policy_logps")
        if not isinstance(self.policy_logps, Tensor) or self.policy_logps.dim() != 3:
            raise ValueError(
                f"policy_logps must be a tensor [N, K, T], got {_describe(self.policy_logps)}"
            )
        if self.policy_logps.is_meta:
            raise ValueError("policy_logps is on meta, where a tensor holds no numbers: move it")
        if 0 in self.policy_logps.shape:
            raise ValueError(
                f"policy_logps is empty, {_describe(self.policy_logps)}: a batch has at least one "
                "prompt, one response and one token"
            )
        N, K, T = self.policy_logps.shape
        shapes: dict[str, tuple[int, ...]] = {
            name: (N, K, T) for name in (*PER_TOKEN, "mask", "step_ids")
        }
        shapes |= {"rewards": (N, K), "truncated": (N, K), "log_z": (N,), "group_weight": (N,)}
        for name, shape in shapes.items():
            x = getattr(self, name)
            if x is None and name not in ("behaviour_logps", "rewards", "mask"):
                continue
            _check_kind(x, name)
            if not isinstance(x, Tensor) or x.shape != shape:
                raise ValueError(
                    f"{name} must be a tensor {list(shape)} (policy_logps: [N, K, T]), "
                    f"got {_describe(x)}"
                )
            if x.device != self.policy_logps.device:
                raise ValueError(
                    f"{name} is on {x.device}, policy_logps on {self.policy_logps.device}: "
                    "move all fields to one device"
                )

    def _check_numbers(self) -> None:
        for name in PER_TOKEN:
            x = getattr(self, name)
            if x is None or (name == "reference_logps" and x is self.behaviour_logps):
                continue
            # The smallest and the largest number inside the mask; nan if there is one.
            ends = x.detach().masked_fill(self.outside, 0.0).aminmax()
            low, high = float(ends.min), float(ends.max)
            if not (math.isfinite(low) and math.isfinite(high)):
                raise ValueError(
                    f"{name} holds inf or nan inside the mask, "
                    f"at {_first(~x.isfinite() & self.mask)}"
                )
            if name in LOGPS and high > _rounding(x.dtype):
                self._refuse(
                    name,
                    high,
                    why="a log-probability is at most 0 (are these probabilities, or logits?)",
                )
            if name in NEVER_NEGATIVE and low < -_rounding(x.dtype):
                why = "an exact KL is never negative (is this the estimate log pi/pi_ref?)"
                if name == "entropy":
                    why = "the entropy of a law of tokens is never negative"
                self._refuse(name, low, why=why)
        for name in ("rewards", "log_z"):
            x = getattr(self, name)
            if x is not None and not bool(x.isfinite().all()):
                raise ValueError(
                    f"{name} holds inf or nan, at {_first(~x.isfinite())}; it must be finite"
                )
        if self.group_weight is not None:
            total = float(self.group_weight.double().sum())
            rounding = max(1e-5, torch.finfo(self.group_weight.dtype).eps)
            if not (abs(total - 1) < rounding and bool((self.group_weight >= 0).all())):
                raise ValueError(
                    f"group_weight must be non-negative with sum 1, got sum {total:.6g}"
                )
        if self.step_ids is not None:
            # As if a step -1 stood before the first token: a response begins with step 0.
            start = -torch.ones_like(self.step_ids[..., :1])
            jump = self.step_ids.diff(prepend=start)
            first_token = torch.arange(jump.shape[-1], device=jump.device) == 0
            bad = self.mask & torch.where(first_token, jump != 1, (jump != 0) & (jump != 1))
            if bool(bad.any()):
                raise ValueError(
                    "step_ids must start at 0 and grow by 0 or 1 from token to token, not at "
                    f"{_first(bad)}"
                )

    def _refuse(self, name: str, value: float, why: str) -> None:
        """Raise ValueError on an impossible value of a field, or warn: what is differentiated may
        be a coordinate that a search moves anywhere.
        """
        x = getattr(self, name)
        message = f"{name} holds {value:.3g}, at {_first((x == value) & self.mask)}: {why}"
        if not x.requires_grad:
            raise ValueError(message)
        warnings.warn(message, stacklevel=5)

    def _check_precision(self) -> None:
        for name in (*PER_TOKEN, "rewards", "log_z", "group_weight"):
            x = getattr(self, name)
            if x is not None and x.dtype != self.policy_logps.dtype:
                raise ValueError(
                    f"{name} is {x.dtype}, policy_logps {self.policy_logps.dtype}: "
                    "give all fields one precision, by .to(dtype)"
                )


def _check_kind(x: object, name: str) -> None:
    """Raise ValueError on a tensor that is not laid out in rows and columns, that holds no numbers,
    or whose dtype does not suit the field; what is no tensor is left to the check of shapes.
    """
    if not isinstance(x, Tensor):
        return
    if x.layout != torch.strided or x.is_nested:
        kind = "nested" if x.is_nested else str(x.layout).removeprefix("torch.")
        raise ValueError(f"{name} must be a dense tensor, got a {kind} one: pad it, or .to_dense()")
    if name == "step_ids":
        if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            raise ValueError(f"step_ids must be integers, got {x.dtype}")
    elif name == "truncated":
        if x.dtype != torch.bool:
            raise ValueError(f"truncated must be bool, got {x.dtype}: call .bool()")
    elif name == "mask":
        if x.is_complex() or x.is_quantized:
            raise ValueError(f"mask must be bool or 0 and 1, got {x.dtype}")
    elif x.dtype not in PRECISIONS:
        raise ValueError(
            f"{name} must be floating point, of 16 bits or more, got {x.dtype}: call .double() or "
            ".float()"
        )


def _rounding(dtype: torch.dtype) -> float:
    """How far rounding may lift a log-probability above 0, or move a KL below it, nats: logits
    reach some tens.
    """
    return max(1e-3, 32 * torch.finfo(dtype).eps)


def _checked_mask(mask: Tensor) -> Bool[Tensor, "N K T"]:
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("mask must hold 0 and 1 only")
    mask = mask.to(torch.bool, copy=True)
    hole = mask[..., 1:] & ~mask[..., :-1]
    if bool(hole.any()):
        raise ValueError(
            f"mask must be ones, then zeros, in each response; it is not at {_first(hole)}"
        )
    if not bool(mask.any()):
        raise ValueError("mask is 0 throughout: no response has a token")
    return mask


def _first(where: Tensor) -> str:
    """Place of the first true entry: [prompt, response] and perhaps token."""
    return str(where.nonzero()[0].tolist())


def _describe(x: object) -> str:
    return str(list(x.shape)) if isinstance(x, Tensor) else type(x).__name__
