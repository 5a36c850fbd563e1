"""Random batches and settings through every objective, one numbered trial after the other.

`python -m tests.objectives.fuzz 600` goes on for ten minutes and prints its figures. A trial that
fails raises an AssertionError with its number: `trial(number, Counter())` repeats it.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import LOGPS, PER_TOKEN, GroupBatch
from tests.objectives.objective_checks import rows
from tests.objectives.test_cispo import cispo_loops
from tests.objectives.test_dro import dro_loops
from tests.objectives.test_oreo import oreo_loops
from tests.objectives.test_ppo import loops as ppo_loops
from tests.objectives.vimpo_loops import loops as vimpo_loops

Record = dict[str, Any]
LIVE = ("policy_logps", "values", "policy_kl", "prefix_values", "log_z")
STEP = 1e-6
# What may be drawn for each setting. Those of an objective with loops are what the loops know.
CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "gnivo": {
        "weights": ("raw", "softmax"),
        "prefixes": ("all", "last"),
        "lengths": ("sum_max", "sum_min", "mean_max", "mean_min", "own", "horizon"),
        "horizon": (9,),
        "reward_max": (0.0, 1.0, 3.0),
    },
    "value_mse": {"prefixes": ("all", "last")},
    "gvpo": {},
    "dro": {"scaled": (True, False)},
    "grpo": {
        "kl": ("k3", "exact", "sequence", "none"),
        "scale": ("group", "batch", "none"),
        "normaliser": (
            "seq-mean-token-mean",
            "token-mean",
            "seq-mean-token-sum",
            "seq-mean-token-sum-norm",
        ),
        "clip_low": (0.0, 0.2, 0.9),
        "clip_high": (0.0, 0.2, 10.0, math.inf),
        "max_length": (None, 7),
    },
    "gspo": {
        "scale": ("group", "batch", "none"),
        "clip_low": (3e-4, 0.2),
        "clip_high": (4e-4, 0.2, math.inf),
    },
    "cispo": {"scale": ("group", "batch", "none"), "clip_high": (0.1, 4.0)},
    "dapo": {"clip_low": (0.0, 0.2), "clip_high": (0.28, 10.0)},
    "dr_grpo": {"kl": ("none", "k3", "exact"), "clip_high": (0.2, 3.0), "max_length": (None, 7)},
    "rloo": {"clip_low": (None, 0.0, 0.2), "clip_high": (0.2, 3.0), "normalise": (True, False)},
    "vimpo": {
        "actor": (0.0, 5e-3, 0.4),
        "lam": (0.0, 0.9, 1.0),
        "baseline": ("mean", "leave_one_out"),
        "kl": ("exact", "k2", "k3"),
        "whitened": (True, False),
        "dual_clip": (None, 1.05, 10.0),
        "detached": (True, False),
        "huber": (None, 0.3),
        "cap": (None, 0.4),
        "normalised": (True, False),
        "value_weight": (0.5, 1.0),
        "advantages": ("implicit", "group"),
        "actor_ratio": (None, 0.15),
    },
    "online_dpo": {
        "labels": ("hard", "soft"),
        "label_temperature": (0.1, 1.0),
        "pairs": ("all", "first"),
        "ties": ("half", "first", "skip"),
        "form": ("sigmoid", "ipo"),
    },
    "oreo": {"level": ("token", "response"), "kl_weight": (0.0, 0.2), "kl": ("exact", "k3")},
    "ppo": {
        "lam": (0.0, 0.7, 1.0),
        "gamma": (0.9, 1.0),
        "kl": ("k1", "k3"),
        "whitened": (True, False),
        "value_weight": (0.0, 0.7),
        "value_clip": (None, 0.05, 0.2),
        "dual_clip": (None, 1.05, 3.0),
    },
    "sft_winning": {},
}
CHOICES["group_value"] = CHOICES["gnivo"]
# Where something is detached, the gradient is not the slope of the loss: these say what is held.
LOOPS: dict[str, Callable[..., float]] = {
    "cispo": cispo_loops,
    "dro": dro_loops,
    "oreo": oreo_loops,
    "ppo": ppo_loops,
    "vimpo": vimpo_loops,
}
# Nats by which a token's policy may be off its sampler: from a step too wide to nonsense.
SPIKES = (20.0, 60.0, 88.5, 90.0, 300.0, 709.0, 710.0, 800.0, 1e4, 1e30)


def draw_record(rng: np.random.Generator, dtype: torch.dtype, empty: bool = True) -> Record:
    """A batch of any shape, with every field, and junk outside the mask."""
    N, K, T = (int(rng.integers(low, 5)) for low in (1, 2, 1))
    lengths = rng.integers(0 if empty else 1, T + 1, size=(N, K))
    lengths[0, :2] = T
    mask = torch.from_numpy(np.arange(T) < lengths[..., None])

    def normal(scale: float, *shape: int) -> Tensor:
        return torch.from_numpy(scale * rng.standard_normal(shape or (N, K, T))).to(dtype)

    level = normal(2.0).clamp(-6, 0) - 8
    scale = float(rng.choice([0.01, 0.3, 1.0]))
    record: Record = {
        "mask": mask if rng.random() < 0.5 else mask.to(torch.int64),
        "behaviour_logps": level,
        "policy_logps": level + normal(scale).clamp(-7, 7),
        "reference_logps": level + normal(scale).clamp(-7, 7),
        "values": normal(0.5),
        "behaviour_values": normal(0.5),
        "policy_kl": normal(0.3).abs(),
        "prefix_values": normal(0.5),
        "log_z": normal(0.5, N),
        "rewards": _rewards(rng, (N, K)).to(dtype),
    }
    for name in PER_TOKEN:
        if name in record:
            junk = float(rng.choice([0.0, math.nan, math.inf, -1e30, 7.0]))
            record[name] = record[name].masked_fill(~mask, junk)
    return record


def _rewards(rng: np.random.Generator, shape: tuple[int, int]) -> Tensor:
    kind = rng.choice(["uniform", "right or wrong", "equal", "large", "signed"])
    numbers = {
        "uniform": rng.random(shape),
        "right or wrong": rng.integers(0, 2, size=shape),
        "equal": np.full(shape, rng.random()),
        "large": 100 * rng.random(shape),
        "signed": rng.standard_normal(shape),
    }
    return torch.from_numpy(np.asarray(numbers[str(kind)], dtype=np.float64))


def draw_settings(rng: np.random.Generator, name: str) -> dict[str, Any]:
    """An objective's settings: some as they are by default, some drawn."""
    settings: dict[str, Any] = {"alpha": float(np.exp(rng.uniform(math.log(0.03), math.log(10))))}
    for setting, choices in CHOICES[name].items():
        if rng.random() < 0.6:
            settings[setting] = choices[int(rng.integers(len(choices)))]
    if settings.get("lengths") == "horizon":
        settings["horizon"] = 9
    return settings


def spike(rng: np.random.Generator, record: Record) -> float:
    """Move one token's policy off its sampler, up or down; by how many nats."""
    places = record["mask"].bool().nonzero()
    place = tuple(places[int(rng.integers(len(places)))].tolist())
    size = float(rng.choice(SPIKES))
    up = bool(rng.random() < 0.5)
    record["policy_logps"][place] = -1.0 if up else -1.0 - size
    record["behaviour_logps"][place] = -1.0 - size if up else -1.0
    if rng.random() < 0.7:
        record["reference_logps"][place] = record["behaviour_logps"][place]
    return size if up else -size


def gradients(name: str, record: Record, settings: dict[str, Any]) -> tuple[float, Record]:
    """Loss and its gradients by field, and that nothing that was passed has been changed."""
    leaves = {field: record[field].clone().requires_grad_() for field in LIVE if field in record}
    before = {field: _bytes(x) for field, x in (record | leaves).items()}
    batch = GroupBatch(**record | leaves)
    out = objectives.get(name)(batch, **settings)
    grads: Record = {}
    if out.loss.requires_grad:
        values = torch.autograd.grad(out.loss, list(leaves.values()), materialize_grads=True)
        grads = dict(zip(leaves, values, strict=True))
    after = {field: _bytes(x) for field, x in (record | leaves).items()}
    assert before == after, "the inputs were changed"
    for field, slope in grads.items():
        assert slope.isfinite().all(), (
            f"gradient of {field} not finite, loss {float(out.loss.detach()):g}"
        )
        if slope.dim() == 3:
            assert not slope[~batch.mask].any(), f"a gradient of {field} outside the mask"
    return float(out.loss.detach()), grads


def _bytes(x: Tensor) -> bytes:
    return x.detach().contiguous().view(torch.uint8).numpy().tobytes()


def trial(number: int, counts: Counter[str]) -> None:
    """One random batch, objective and setting; AssertionError, with the number, if a promise of
    theirs does not hold. `counts` takes note of what was tried.
    """
    rng = np.random.default_rng([20261129, number])
    names = objectives.names()
    name = names[int(rng.integers(len(names)))]
    settings = draw_settings(rng, name)
    try:
        if rng.random() < 0.5:
            _against_differences(rng, name, settings=settings, counts=counts)
        else:
            _at_extremes(rng, name, settings=settings, counts=counts)
        _damaged(rng, counts)
    except Exception as error:
        raise AssertionError(f"trial {number}, {name}, {settings}: {error}") from error
    counts["trials"] += 1


def _against_differences(
    rng: np.random.Generator, name: str, settings: dict[str, Any], counts: Counter[str]
) -> None:
    """The gradient along a random direction of each field, against differences in float64."""
    loops = LOOPS.get(name)
    record = draw_record(rng, torch.float64, empty=loops is None)
    if loops is None and rng.random() < 0.3:
        weight = torch.from_numpy(rng.random(len(record["rewards"])))
        record["group_weight"] = weight / weight.sum()
    try:
        loss, grads = gradients(name, record, settings)
    except ValueError as error:
        message = _one_line(error)
        assert "reward_max" in message, f"refused: {message}"
        counts["raw weights refused"] += 1
        return
    assert math.isfinite(loss)
    inside = record["mask"].bool()

    def at(field: str, direction: Tensor, size: float) -> float:
        moved = record | {field: record[field] + size * direction}
        if loops is None:
            return float(objectives.get(name)(GroupBatch(**moved), **settings).loss)
        return loops(rows(moved), rows(record), **settings)

    if loops is not None:
        plain = loops(rows(record), rows(record), **settings)
        assert math.isclose(loss, plain, rel_tol=1e-9, abs_tol=1e-9), f"{loss} by loops: {plain}"
    for field, slopes in grads.items():
        direction = torch.from_numpy(rng.standard_normal(tuple(record[field].shape)))
        if direction.dim() == 3:
            direction = direction.masked_fill(~inside, 0.0)
        here = at(field, direction, 0.0)
        ahead, behind = (at(field, direction, size) for size in (STEP, -STEP))
        right, left = (ahead - here) / STEP, (here - behind) / STEP
        # Where the two sides differ, a clip begins or ends between them.
        noise = 1e-9 + 1e-15 * abs(loss) / STEP
        if abs(right - left) > 1e-3 * (abs(right) + abs(left)) + 100 * noise:
            counts["kinks"] += 1
            continue
        slope = float((slopes * direction).sum())
        size = float((slopes * direction).abs().sum())
        assert abs(slope - (right + left) / 2) <= 1e-4 * max(size, abs(right)) + 100 * noise, (
            f"gradient of {field} {slope:.9g}, differences {(right + left) / 2:.9g}"
        )
        counts["directions"] += 1


def _at_extremes(
    rng: np.random.Generator, name: str, settings: dict[str, Any], counts: Counter[str]
) -> None:
    """A finite loss has finite gradients; one that is not is refused, and only then."""
    kinds = (torch.float32, torch.float32, torch.float64, torch.bfloat16)
    dtype = kinds[int(rng.integers(len(kinds)))]
    record = draw_record(rng, dtype)
    spike(rng, record)
    if rng.random() < 0.2:
        record["step_ids"] = torch.arange(record["mask"].shape[-1]).expand(record["mask"].shape)
    try:
        gradients(name, record, settings)
        counts[f"extreme, finite, {dtype}"] += 1
    except ValueError as error:
        message = _one_line(error)
        assert "the loss of" in message or "reward_max" in message, message
        counts[f"extreme, refused, {dtype}"] += 1
        # Whitening makes plain numbers in float64 of costs whose square float32 cannot hold.
        whitened = name == "ppo" or "normalise" in settings
        if dtype is not torch.float64 and "the loss of" in message and not whitened:
            wide = {
                field: x.double() if x.is_floating_point() else x for field, x in record.items()
            }
            try:
                loss = float(objectives.get(name)(GroupBatch(**wide), **settings).loss)
            except ValueError:
                return
            # Squares and ratios of a loss may be out of range a little before it is.
            assert abs(loss) > 1e25, f"refused in {dtype}, {loss:g} in float64: {message}"


def _damaged(rng: np.random.Generator, counts: Counter[str]) -> None:
    """A batch with one thing wrong is refused, in one line that names the field."""
    record = draw_record(rng, torch.float64)
    mask = record["mask"].bool()
    fields = [field for field in record if field != "mask"]
    field = fields[int(rng.integers(len(fields)))]
    logps = LOGPS[int(rng.integers(len(LOGPS)))]
    x = record[field]
    place = tuple(mask.nonzero()[int(rng.integers(int(mask.sum())))].tolist())[: x.dim()]
    bad = x.clone()
    bad[place] = float(rng.choice([math.nan, math.inf, -math.inf]))
    above = record[logps].clone()
    above[(0, 0, 0)] = float(rng.choice([0.01, 0.5, 30.0, 1e30]))
    damages: dict[str, tuple[str, Record]] = {
        "not finite": (field, {field: bad}),
        "above 0": (logps, {logps: above}),
        "precision": (field, {field: x.to(torch.float32 if rng.random() < 0.5 else torch.half)}),
        "integers": (field, {field: torch.zeros_like(x, dtype=torch.int64)}),
        "device": (field, {field: x.to("meta")}),
        "shape": (field, {field: x[None]}),
        "no tensor": (field, {field: x.tolist()}),
        "no token": ("mask", {"mask": torch.zeros_like(mask)}),
        "hole": ("mask", {"mask": torch.cat([~mask[..., :1], mask[..., 1:] | True], -1)}),
        "not 0 or 1": ("mask", {"mask": 2.0 * mask}),
        "no prompt": ("policy_logps", {name: y[:0] for name, y in record.items()}),
        "no response": (
            "policy_logps",
            {name: y[:, :0] if y.dim() > 1 else y for name, y in record.items()},
        ),
        "another name": (field, {field + "s": x}),
    }
    if mask.shape[-1] == 1:
        damages.pop("hole")
    kind = list(damages)[int(rng.integers(len(damages)))]
    named, changes = damages[kind]
    if kind in ("not finite", "precision") and field == "reference_logps":
        named = ""  # it is the policy's precision that may be called different
    counts[f"damaged: {kind}"] += 1
    try:
        GroupBatch(**record | changes)
    except ValueError as error:
        message = _one_line(error)
        assert named in message, f"{kind} of {named}: {message}"
    else:
        raise AssertionError(f"{kind} of {field} was taken")


def _one_line(error: ValueError) -> str:
    message = str(error)
    assert "\n" not in message, message
    assert len(message) < 300, message
    return message


def fuzz(seconds: float, start: int = 0) -> Counter[str]:
    """Trials for so long; what was tried, by kind."""
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    number = start
    while time.monotonic() < end:
        trial(number, counts)
        number += 1
    return counts


if __name__ == "__main__":
    for kind, count in sorted(fuzz(float(sys.argv[1])).items()):
        print(f"{count:10,}  {kind}")
