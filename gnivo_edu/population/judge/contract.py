"""The contract: what the judge asks of an objective on random records, before it measures."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.batch import PER_TOKEN, GroupBatch
from gnivo_edu.population.judge.subject import LIVE, Prompts, Subject, each, one_prompt


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, whether it holds, and what that means in words."""

    name: str
    holds: bool
    text: str


def examine(
    function: Callable[..., Any], name: str, alpha: float, settings: Mapping[str, Any]
) -> tuple[Subject, list[Finding]]:
    """Call an objective on random records and find out how it has to be called.

    Raises ValueError, in one line, where nothing exact can be said about it: it cannot be called,
    returns no finite differentiable scalar, trains nothing, or draws random numbers of its own.
    """
    takes_alpha = _takes_alpha(function, name, settings=settings)
    subject = Subject(function, name, settings=settings, takes_alpha=takes_alpha)
    subject = replace(subject, sizes=_group_sizes(subject, alpha))
    batch = random_record(subject.sizes[-1])
    loss, slopes = subject.slopes(batch, alpha)
    if not all(bool(x.isfinite().all()) for x in (loss, *(x[batch.mask] for x in slopes.values()))):
        raise ValueError(
            f"{name} gives nan or inf, in its loss ({float(loss):g}) or its gradient, on a finite "
            "record"
        )
    trains = tuple(k for k in LIVE if bool((slopes[k] != 0).any()))
    trains_policy = bool({"policy_logps", "policy_kl", "entropy"} & set(trains))
    if not trains_policy and "prefix_values" not in trains:
        raise ValueError(
            f"the loss of {name} does not depend on policy_logps: nothing is learned (is it "
            "detached?)"
        )
    if not _same((loss, slopes), subject.slopes(batch, alpha)):
        raise ValueError(
            f"two calls of {name} on the same record differ: draw random numbers outside and pass "
            "them as a setting"
        )
    trained = {"logits": trains_policy} | {k: k in trains for k in ("values", "prefix_values")}
    free = tuple(name for name, is_trained in trained.items() if is_trained)
    findings = _invariances(subject, batch, alpha=alpha)
    holds = {finding.name: finding.holds for finding in findings}
    prompts = _prompts(subject, batch, alpha=alpha)
    says = {
        "weighted": "averages over prompts with batch.group_weight",
        "mean": "ignores batch.group_weight and takes a plain mean over prompts; reweighted here "
        "(batch.group_mean does it for you)",
        "one": "mixes prompts and ignores batch.group_weight: judged with one prompt per batch",
    }
    findings.append(Finding("prompts", True, text=says[prompts]))
    subject = replace(subject, free=free, symmetric=holds["order"], prompts=prompts)
    return replace(subject, anchored=_anchored(subject, batch, alpha=alpha)), findings


def _anchored(subject: Subject, batch: GroupBatch, alpha: float) -> bool:
    """Whether the reference counts: through its log-probabilities, or the exact KL to it. So does
    an entropy, which is a KL to the uniform policy.
    """
    assert batch.reference_logps is not None
    loss, slopes = subject.slopes(batch, alpha)
    if any(bool((slopes[name] != 0).any()) for name in ("policy_kl", "entropy")):
        return True
    elsewhere = replace(batch, reference_logps=1.5 * batch.reference_logps)
    return not _same((loss, slopes), subject.slopes(elsewhere, alpha))


def random_record(group_size: int, dtype: torch.dtype = torch.float64) -> GroupBatch:
    """Three prompts, up to five tokens, unequal lengths, every field that an objective may read."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, group_size, 5)

    def normal(scale: float = 1.0, size: tuple[int, ...] = shape) -> Tensor:
        return (scale * torch.randn(size, generator=generator, dtype=torch.float64)).to(dtype)

    lengths = torch.randint(1, 6, shape[:2], generator=generator)
    lengths[0, 0] = 5
    reference = -normal().abs() - 0.1
    weight = torch.tensor([0.5, 0.3, 0.2], dtype=dtype)
    return GroupBatch(
        policy_logps=reference + normal(0.05),
        behaviour_logps=reference + normal(0.05),
        reference_logps=reference,
        rewards=torch.rand(shape[:2], generator=generator, dtype=torch.float64).to(dtype),
        mask=torch.arange(5) < lengths[..., None],
        truncated=torch.zeros(shape[:2], dtype=torch.bool),
        policy_kl=normal(0.1).abs(),
        entropy=normal().abs(),
        values=normal(0.3),
        prefix_values=normal(0.3),
        log_z=normal(0.1, (3,)),
        group_weight=weight,
    )


def _takes_alpha(function: Callable[..., Any], name: str, settings: Mapping[str, Any]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    kinds = signature.parameters.values()
    anything = any(p.kind is p.VAR_KEYWORD for p in kinds)
    named = [p.name for p in kinds if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for key in settings:
        if key not in named and not anything:
            raise ValueError(
                f"{name} has no setting {key!r}; it takes {', '.join(named[1:]) or 'none'}"
            )
    takes = anything or "alpha" in named
    try:
        signature.bind(None, **({"alpha": 1.0} if takes else {}), **settings)
    except TypeError as error:
        raise ValueError(
            f"{name} cannot be called with a batch and alpha: {error}; "
            f"write def f(batch, alpha), and give other arguments defaults"
        ) from error
    return takes


def _group_sizes(subject: Subject, alpha: float) -> tuple[int, ...]:
    """Those of K = 2 and 4 that it accepts (an objective of pairs takes 2 only)."""
    refused: dict[int, ValueError] = {}
    for K in (2, 4):
        try:
            subject.loss(random_record(K), alpha)
        except ValueError as error:
            refused[K] = error
    if len(refused) == 2:
        raise refused[2]
    return tuple(K for K in (2, 4) if K not in refused)


def _invariances(subject: Subject, batch: GroupBatch, alpha: float) -> list[Finding]:
    """Numbers outside the mask, empty columns, the order of a group, float32."""
    stated = subject.slopes(batch, alpha)
    T = batch.policy_logps.shape[-1]
    loud = {
        k: torch.where(batch.mask, x, 7.0 + x.abs())
        for k in PER_TOKEN
        if (x := getattr(batch, k)) is not None
    }
    outside = subject.slopes(replace(batch, **loud), alpha)
    silent = all(bool((x[~batch.mask] == 0).all()) for x in outside[1].values())
    wide = each(batch, lambda x: torch.nn.functional.pad(x, (0, 2)) if x.dim() == 3 else x)
    wider = subject.slopes(wide, alpha)
    turned = subject.slopes(each(batch, lambda x: x.flip(1) if x.dim() > 1 else x), alpha)
    single = random_record(batch.rewards.shape[1], torch.float32)
    try:
        loss32 = float(subject.loss(single, alpha))
        loss64 = float(stated[0])
        close = math.isclose(loss32, loss64, rel_tol=1e-3, abs_tol=1e-4 * (1 + abs(loss64)))
    except ValueError:
        close = False
    checks = [
        (
            "mask",
            silent and _same(stated, outside),
            "ignores what stands outside the mask",
            "reads numbers outside the mask",
        ),
        (
            "padding",
            _same(stated, (wider[0], {k: x[..., :T] for k, x in wider[1].items()})),
            "empty columns change nothing",
            "two empty columns change the loss: it divides by the padded length",
        ),
        (
            "order",
            _same(stated, (turned[0], {k: x.flip(1) for k, x in turned[1].items()})),
            "the order of a group does not matter",
            "the order of a group matters",
        ),
        (
            "float32",
            close,
            "runs in float32 as well",
            "does not run in float32, or gives another number there",
        ),
    ]
    return [Finding(name, ok, text=yes if ok else no) for name, ok, yes, no in checks]


def _prompts(subject: Subject, batch: GroupBatch, alpha: float) -> Prompts:
    """How it averages. By weight: a prompt listed twice is one with twice the weight."""
    bare = replace(batch, group_weight=None)
    thirds = torch.tensor([2, 1], dtype=torch.float64) / 3
    weighted = replace(each(bare, lambda x: x[[0, 1]]), group_weight=thirds)
    loss, slopes = subject.slopes(each(bare, lambda x: x[[0, 0, 1]]), alpha)
    merged = {k: torch.stack([x[0] + x[1], x[2]]) for k, x in slopes.items()}
    uneven = subject.slopes(batch, alpha)
    together = subject.slopes(bare, alpha)
    if _same((loss, merged), subject.slopes(weighted, alpha)) or not _same(uneven, together):
        return "weighted"
    # A plain mean has the mean of the prompts' own losses and slopes; what has not mixes prompts.
    apart = [subject.slopes(one_prompt(bare, i), alpha) for i in range(3)]
    mean = {k: torch.cat([x[1][k] for x in apart]) / 3 for k in together[1]}
    return "mean" if _same(together, (torch.stack([x[0] for x in apart]).mean(), mean)) else "one"


def _same(a: tuple[Tensor, dict[str, Tensor]], b: tuple[Tensor, dict[str, Tensor]]) -> bool:
    """Loss and gradients agree, relative to the largest."""
    size = max(float(x.abs().max()) for x in a[1].values())
    slopes = all(float((x - b[1][k]).abs().max()) < 1e-9 * size for k, x in a[1].items())
    return slopes and math.isclose(float(a[0]), float(b[0]), rel_tol=1e-8, abs_tol=1e-9 * size)
