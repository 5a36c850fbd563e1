"""What mutation testing found untested: settings, bounds, metrics, weights, precision, places,
gradients cut.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from tests.objectives.objective_checks import full_record, rows

# The documented setting of each argument, and another that must change the loss.
GROUP = {
    "alpha": (0.2, 0.3),
    "weights": ("raw", "softmax"),
    "prefixes": ("all", "last"),
    "reward_max": (0.0, 1.0),
    "lengths": ("sum_max", "sum_min"),
}
CLIPS = {"clip_low": (0.2, 0.3), "clip_high": (0.2, 0.3)}
SETTINGS: dict[str, dict[str, tuple[Any, Any]]] = {
    "gnivo": GROUP,
    "group_value": GROUP,
    "value_mse": {"alpha": (0.2, 0.3), "prefixes": ("all", "last")},
    "gvpo": {"alpha": (0.1, 0.2)},
    "dro": {"alpha": (1.0, 1.1)},
    "grpo": {
        "alpha": (0.04, 0.05),
        "kl": ("k3", "exact"),
        "scale": ("group", "batch"),
        "normaliser": ("seq-mean-token-mean", "token-mean"),
        **CLIPS,
    },
    "gspo": {"scale": ("group", "none"), "clip_low": (3e-4, 0.1), "clip_high": (4e-4, 0.1)},
    "cispo": {"scale": ("group", "none"), "clip_high": (4.0, 0.1)},
    "dapo": {"clip_low": (0.2, 0.3), "clip_high": (0.28, 0.1)},
    "dr_grpo": {"kl": ("none", "k3"), "max_length": (None, 2), **CLIPS},
    "rloo": {"alpha": (0.05, 0.06), "normalise": (False, True), **CLIPS},
    "vimpo": {
        "alpha": (5e-4, 6e-4),
        "actor": (5e-3, 6e-3),
        "lam": (1.0, 0.9),
        "baseline": ("mean", "leave_one_out"),
        "kl": ("exact", "k3"),
        "whitened": (True, False),
        "clip_low": (0.2, 0.3),
        "clip_high": (0.28, 0.3),
        "dual_clip": (10.0, 11.0),
        "huber": (None, 0.3),
        "cap": (None, 0.4),
        "normalised": (False, True),
        "value_weight": (1.0, 2.0),
        "advantages": ("implicit", "group"),
        "actor_ratio": (None, 0.1),
    },
    "online_dpo": {
        "alpha": (0.1, 0.2),
        "labels": ("hard", "soft"),
        "pairs": ("all", "first"),
        "ties": ("half", "first"),
        "form": ("sigmoid", "ipo"),
    },
    "oreo": {"alpha": (0.03, 0.04), "level": ("token", "step"), "kl_weight": (0.0, 0.1)},
    "ppo": {
        "alpha": (0.05, 0.06),
        "lam": (0.95, 1.0),
        "gamma": (1.0, 0.9),
        "kl": ("k1", "k3"),
        "whitened": (True, False),
        "value_weight": (0.1, 0.2),
        **CLIPS,
        "value_clip": (0.2, 0.3),
        "dual_clip": (None, 1.5),
    },
    "sft_winning": {},
}
# Every branch of every objective that is a sum over groups (whitening and batch statistics are
# not).
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *[
        ("gnivo", {"lengths": lengths, "horizon": 7})
        for lengths in ("sum_max", "horizon", "mean_max", "mean_min", "own")
    ],
    ("gnivo", {"prefixes": "given", "depths": torch.tensor([1, 4, 2])}),
    ("group_value", {"weights": "softmax", "prefixes": "last"}),
    ("value_mse", {}),
    ("value_mse", {"prefixes": "last"}),
    ("gvpo", {}),
    ("dro", {"alpha": 0.5}),
    *[
        ("grpo", {"kl": kl, "normaliser": "token-mean"})
        for kl in ("k3", "exact", "sequence", "none")
    ],
    ("dr_grpo", {"max_length": 6}),
    ("gspo", {"scale": "none"}),
    ("gspo", {"clip_low": 0.2, "clip_high": 0.2}),
    ("cispo", {"clip_high": 0.1}),
    ("dapo", {"max_length": 5, "buffer": 3}),
    ("rloo", {}),
    ("rloo", {"clip_low": None}),
    ("vimpo", {"whitened": False, "actor": 0.3}),
    ("vimpo", {"whitened": False, "detached": False, "huber": 0.3, "actor_ratio": 0.2}),
    ("vimpo", {"value": "soft", "actor": 0.0, "cap": 0.5, "normalised": True}),
    ("vimpo", {"advantages": "group", "actor": 0.3}),
    ("online_dpo", {"labels": "soft", "form": "ipo"}),
    *[("online_dpo", {"ties": ties}) for ties in ("half", "first", "skip")],
    ("oreo", {"kl_weight": 0.5}),
    ("oreo", {"level": "response", "kl_weight": 0.5, "kl": "k3"}),
    ("ppo", {"whitened": False}),
    ("sft_winning", {}),
    ("sft_winning", {"rule": "threshold", "threshold": 0.5}),
]


@pytest.mark.parametrize("name", objectives.names())
def test_a_bare_call_uses_the_documented_settings_and_each_matters(name: str) -> None:
    batch, objective = GroupBatch(**full_record()), objectives.get(name)
    bare = objective(batch).loss
    documented = {setting: value for setting, (value, _) in SETTINGS[name].items()}
    assert torch.equal(bare, objective(batch, **documented).loss)
    assert {
        key: inspect.signature(objective).parameters[key].default for key in documented
    } == documented
    for setting, (_, other) in SETTINGS[name].items():
        assert not torch.equal(bare, objective(batch, **{setting: other}).loss), setting


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=str)
def test_weights_of_groups_count_groups_in_loss_and_metrics(
    name: str, settings: dict[str, Any]
) -> None:
    record, times = full_record(), torch.tensor([0, 0, 0, 1, 2, 2])
    weight = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64) / 6
    once = objectives.get(name)(GroupBatch(**record, group_weight=weight), **settings)
    if "depths" in settings:
        settings = settings | {"depths": settings["depths"][times]}
    repeated = objectives.get(name)(
        GroupBatch(**{key: x[times] for key, x in record.items()}), **settings
    )
    assert once.loss.item() == pytest.approx(repeated.loss.item(), rel=1e-12)
    ours, theirs = ({key: x.item() for key, x in out.metrics.items()} for out in (once, repeated))
    if name == "rloo":  # Bessel's factor: a weighted batch is a population
        ours["advantage"] *= math.sqrt(24 / 23)
    assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=str)
def test_metrics_that_all_share(name: str, settings: dict[str, Any]) -> None:
    record = full_record()
    responses = [row for group in rows(record) for row in group]
    expected = {
        "reward": sum(row.R for row in responses) / 12,
        "logratio": sum(sum(row.p) - sum(row.r) for row in responses) / 12,
        "tied_groups": 1 / 3,
        "log_z": (0.1 - 0.4 + 1.3) / 3,
    }
    metrics = objectives.get(name)(GroupBatch(**record), **settings).metrics
    assert "reward" in metrics
    for key in metrics.keys() & expected.keys():
        assert metrics[key].item() == pytest.approx(expected[key], rel=1e-12), key


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """torch makes what it is not told about on another device, and in float64."""
    torch.set_default_dtype(torch.float64)
    with torch.device("meta"):
        yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=str)
def test_device_and_precision_are_those_of_the_batch(name: str, settings: dict[str, Any]) -> None:
    with torch.device("cpu"):
        record = full_record()
    single = {key: x.float() if x.is_floating_point() else x for key, x in record.items()}
    out = objectives.get(name)(GroupBatch(**single), **settings)
    for x in (out.loss, *out.metrics.values()):
        assert (x.device.type, x.dtype) == ("cpu", torch.float32)
    mask = record["mask"].clone()
    mask[0] = False
    empty = objectives.get(name)(GroupBatch(**single | {"mask": mask}), **settings)
    assert all(x.isfinite() for x in (empty.loss, *empty.metrics.values()))
    double = objectives.get(name)(GroupBatch(**record), **settings)
    assert out.loss.item() == pytest.approx(double.loss.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        ("gnivo", {"alpha": (1e-3, 9.0)},
         {"alpha": (0.0, -1.0, math.inf, math.nan), "horizon": (4,)}),
        ("value_mse", {}, {"alpha": (0.0,)}),
        ("gvpo", {}, {"alpha": (0.0,)}),
        ("dro", {}, {"alpha": (0.0,)}),
        ("grpo", {"clip_low": (0.0, 0.99), "clip_high": (0.0,), "max_length": (1,)},
         {"alpha": (0.0,), "clip_low": (-0.1, 1.0), "clip_high": (-0.1,), "max_length": (0,),
          "kl": ("k1",)}),
        ("gspo", {"clip_low": (0.0, 0.99), "clip_high": (0.0,)},
         {"alpha": (0.0,), "clip_low": (1.0,), "clip_high": (-0.1,), "scale": ("k1",)}),
        ("cispo", {"clip_high": (0.0,)},
         {"alpha": (0.0,), "clip_high": (-0.1, math.inf, math.nan), "scale": ("k1",)}),
        ("dapo", {"clip_low": (0.0, 0.99), "clip_high": (0.0,)},
         {"alpha": (0.0,), "clip_low": (1.0,), "clip_high": (-0.1,), "buffer": (-1, 2)}),
        ("dr_grpo", {"clip_low": (0.0, 0.99)},
         {"alpha": (0.0,), "clip_low": (1.0,), "max_length": (0, -1)}),
        ("rloo", {"clip_low": (None, 0.0, 0.99)},
         {"alpha": (0.0,), "clip_low": (1.0,), "clip_high": (-0.1,)}),
        ("vimpo", {"actor": (0.0,), "lam": (0.0, 1.0), "dual_clip": (None, 1.1),
                   "huber": (None, 1e-3), "cap": (None, -2.0, 0.0), "value_weight": (0.0,),
                   "actor_ratio": (None, 0.0)},
         {"alpha": (0.0,), "actor": (-1.0, math.inf, math.nan), "lam": (-0.1, 1.1),
          "dual_clip": (1.0, 0.5), "clip_low": (1.0,), "clip_high": (-0.1,), "baseline": ("none",),
          "kl": ("k1", "k4"), "value": ("soft",), "huber": (0.0, -1.0), "cap": (math.inf,),
          "value_weight": (-1.0, math.nan), "actor_ratio": (-0.1, math.inf),
          "advantages": ("mean",)}),
        ("online_dpo", {"label_temperature": (0.1,)},
         {"alpha": (0.0,), "label_temperature": (0.0, -1.0, math.nan)}),
        ("oreo", {"kl_weight": (0.0,)},
         {"alpha": (0.0,), "kl_weight": (-1.0, math.inf, math.nan), "level": ("word",)}),
        ("ppo",
         {"lam": (0.0, 1.0), "gamma": (0.0, 1.0), "value_weight": (0.0,),
          "value_clip": (None, 0.0)},
         {"alpha": (0.0,), "lam": (-0.1, 1.1), "gamma": (-0.1, 1.1),
          "value_weight": (-1.0, math.inf), "value_clip": (-1.0,), "dual_clip": (1.0,),
          "clip_low": (1.0,), "kl": ("k2",)}),
        ("sft_winning", {}, {"alpha": (0.0,), "rule": ("threshold",), "threshold": (0.5,)}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_bounds_of_settings(name: str, accepted: dict[str, Any], refused: dict[str, Any]) -> None:
    batch, objective = GroupBatch(**full_record()), objectives.get(name)
    limit = {"reward_max": 1.0} if name == "gnivo" else {}
    for setting, values in accepted.items():
        for value in values:
            assert objective(batch, **limit | {setting: value}).loss.isfinite()
    for setting, values in refused.items():
        for value in values:
            with pytest.raises(ValueError, match=setting):
                objective(batch, **{setting: value})


def test_padding_makes_no_steps() -> None:
    record = full_record() | {"step_ids": torch.zeros(3, 4, 5, dtype=torch.long)}
    assert GroupBatch(**record).by_step().mask.shape == (3, 4, 1)


def test_the_entropy_of_a_step_is_the_sum_over_its_tokens() -> None:
    record = full_record()
    batch = GroupBatch(**record, entropy=record["policy_kl"]).by_step()
    assert batch.entropy is not None
    assert batch.policy_kl is not None
    assert batch.entropy.shape == (3, 4, 3)
    assert torch.equal(batch.entropy, batch.policy_kl)


def test_a_group_may_weigh_nothing() -> None:
    record = full_record()
    weight = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    alone = GroupBatch(**{name: x[1:2] for name, x in record.items()})
    loss = objectives.gvpo(GroupBatch(**record, group_weight=weight)).loss
    assert loss.item() == pytest.approx(objectives.gvpo(alone).loss.item(), rel=1e-14)


def test_errors_of_a_batch_say_what_they_got() -> None:
    record = full_record()
    for got, said in (
        (torch.zeros(3, 4), r"got \[3, 4\]"),
        ([0.5], "got list"),
        (None, "got NoneType"),
    ):
        with pytest.raises(ValueError, match=said):
            GroupBatch(**record | {"policy_logps": got})
        if got is not None:
            with pytest.raises(ValueError, match=said):
                GroupBatch(**record | {"values": got})
