"""The lines of every objective: what the last one gives is what autograd says of the loss."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.formulas import FUNCTIONS, SIGNAL, evaluate
from gnivo_edu.objectives.terms import sheet_of
from tests.objectives.fuzz import CHOICES
from tests.objectives.objective_checks import random_record

# What fuzzing leaves out, since its loops do not know it.
MORE = {
    "gnivo": {"weights": ("completion", "completion_softmax")},
    "dro": {"alpha": (0.5,)},
    "rloo": {"normalise": (True,), "clip_low": (None,)},
    "vimpo": {
        "value": ("soft",), "actor": (0.0,), "detached": (False,), "normalised": (True,),
        "huber": (0.1,), "cap": (0.4,), "advantages": ("group",), "actor_ratio": (0.5,),
        "whitened": (False,), "kl": ("k2", "k3"), "baseline": ("leave_one_out",),
    },
    "oreo": {"level": ("step", "response"), "kl_weight": (0.1,), "kl": ("k3",)},
    "online_dpo": {"pairs": ("first",), "ties": ("skip", "first"), "form": ("ipo",)},
    "dapo": {"buffer": (2,)},
    "sft_winning": {"rule": ("threshold",)},
}  # fmt: skip
NEEDED = {"dapo": {"max_length": 5}, "sft_winning": {}, "gnivo": {"horizon": 9}}


def settings_of(name):
    """The defaults, and every option changed alone."""
    yield {}
    for changes in (CHOICES.get(name, {}), MORE.get(name, {})):
        for option, values in changes.items():
            for value in values:
                if option != "horizon" or value is None:
                    yield NEEDED.get(name, {}) | {option: value}
    if name in ("gnivo", "group_value"):
        for lengths in ("own", "horizon", "mean_min"):
            yield {"lengths": lengths, "horizon": 9}
        yield {"prefixes": "given", "depths": torch.tensor([1, 2, 5])}
    if name == "vimpo":
        yield {"detached": False, "kl": "k3"}
        yield {"value": "soft", "actor": 0.0, "kl": "k1"}
    if name == "oreo":
        for level in ("token", "step", "response"):
            yield {"level": level, "kl_weight": 0.1, "kl": "k3"}
    if name == "grpo":
        yield {"kl": "sequence", "normaliser": "token-mean"}


def batch_of(seed):
    record = random_record(seed)
    for name in ("policy_logps", "reference_logps"):  # near the sampler, for clips either way
        record[name] = record["behaviour_logps"] + 0.3 * (record[name] - record["behaviour_logps"])
    record["rewards"][1] = record["rewards"][1].round()
    record["entropy"] = record["policy_kl"]
    g = torch.Generator().manual_seed(seed)
    more = {"log_z": torch.rand(3, generator=g, dtype=torch.float64)}
    values = torch.randn(3, 4, 5, generator=g, dtype=torch.float64)
    return GroupBatch(**record, **more, prefix_values=values)


def signal(batch, name, options, scored):
    leaf = getattr(batch, scored).detach().clone().requires_grad_()
    from dataclasses import replace

    loss = objectives.get(name)(replace(batch, **{scored: leaf}), **options).loss
    (gradient,) = torch.autograd.grad(loss, [leaf], allow_unused=True)
    return -gradient.masked_fill(batch.outside, 0.0)


@pytest.mark.parametrize("name", objectives.names())
def test_the_last_line_is_what_autograd_says(name):
    seen = 0
    for options, seed in itertools.product(settings_of(name), (1, 2)):
        batch = batch_of(seed)
        if options.get("rule") == "threshold":
            options = options | {"threshold": 0.5}
        try:
            objectives.get(name)(batch, **options)
        except ValueError:
            continue  # an option that goes with others only
        sheet = sheet_of(name, batch, **options)
        lines = sheet.values(tuple(batch.mask.shape))
        assert sheet.lines[-1].symbol == SIGNAL
        ours = lines[SIGNAL].masked_fill(batch.outside, 0.0)
        theirs = signal(batch, name, options, sheet.scored)
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12, msg=f"{name} {options}")
        assert float(theirs.abs().max()) > 1e-4 or options
        seen += 1
    assert seen >= 2


@pytest.mark.parametrize("name", objectives.names())
def test_numbers_are_named_once_used_and_explained(name):
    for options in ({}, *settings_of(name)):
        batch = batch_of(1)
        try:
            objectives.get(name)(batch, **options)
        except ValueError:
            continue
        sheet = sheet_of(name, batch, **options)
        text = " ".join(line.expression for line in sheet.lines)
        words = set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())
        defined = {line.symbol for line in sheet.lines}
        assert not defined & set(sheet.numbers)
        known = set(sheet.numbers) | defined | set(FUNCTIONS)
        assert all(word in known for word in words if not word[0].isdigit()), (name, words - known)
        assert all(sheet.words.values())
        assert all(line.words for line in sheet.lines)


def test_a_formula_is_arithmetic_and_nothing_else():
    x = {"x": torch.tensor(2.0)}
    assert float(evaluate("-x*(1 + 0.5)/max(x, 3) - -1", x)) == pytest.approx(0.0)
    for text in ("__import__('os')", "x.real", "x[0]", "x if x else x", "(lambda: 1)()", "'a'"):
        with pytest.raises((ValueError, KeyError)):
            evaluate(text, x)


def test_without_a_clip_nothing_is_held():
    batch = batch_of(1)
    sheet = sheet_of("grpo", batch, clip_high=math.inf, clip_low=0.9)
    assert float(sheet.numbers["high"]) == 1e300
