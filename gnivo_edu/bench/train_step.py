"""A whole training step: ours against TRL's, and each objective against our own GRPO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gnivo_edu import objectives
from gnivo_edu.bench.ratio import Progress, Row, missing_row, race, ratio_row
from gnivo_edu.bench.step import LONG, SHORT, Step, our_step
from gnivo_edu.bench.trl_step import trl_step
from gnivo_edu.training.settings import needs

# What an objective may ask for beside log-probabilities, and what its price is called. Their rows
# have no bound: the price is stated.
PRICES = {"policy_kl": "exact KL", "values": "critic", "log_z": "critic", "prefix_values": "critic"}
WITHIN = 1 / 1.1  # of the speed of our GRPO, for every other objective


def bench_train_step(
    short: Step = SHORT,
    long: Step = LONG,
    repeats: int = 9,
    progress: Progress = None,
) -> list[Row]:
    """Tokens of answers per second of whole steps: draw, reward, score, update.

    GRPO without a KL, float32: ours against `GRPOTrainer` of TRL (extra `trl`), on the same
    weights, prompts and numbers of tokens, one update a draw, AdamW, TRL without gradient
    checkpointing. Then every objective of the registry against our GRPO, all with the initial model
    as reference, so that GRPO has its KL (k3). A row with a price needs the exact KL of each
    next-token law or a critic; all others are to be within 10% of GRPO.
    """
    rows = [
        against_trl(step, bound=bound, repeats=repeats, progress=progress)
        for step, bound in ((short, 1.5), (long, 2.5))
    ]
    return rows + each_objective(short, repeats=repeats, progress=progress)


def against_trl(step: Step, bound: float, repeats: int, progress: Progress) -> Row:
    """Our GRPO and TRL's, in turn."""
    case = f"GRPO / TRL: {step}"
    try:
        peer = trl_step(step)
    except ImportError as error:
        why = f'not run: TRL is not there ({error}); for it: pip install "gnivo-edu[trl]"'
        return missing_row(case, why)
    ours = partial(our_step, step, "grpo", kl="none", reference="sampler")
    calls: dict[str, Callable[[int], float]] = {"ours": ours, "TRL": peer}
    seconds = _seconds(calls, repeats, progress, label=f"{case}: ")
    speeds = {name: step.tokens / np.array(runs) for name, runs in seconds.items()}
    return ratio_row(case, ours=speeds["ours"], peer=speeds["TRL"], unit="tokens/s", bound=bound)


def each_objective(step: Step, repeats: int, progress: Progress) -> list[Row]:
    """Every objective that can be trained, and GRPO."""
    variants: dict[str, dict[str, Any]] = {name: {} for name in objectives.names()}
    calls: dict[str, Callable[[int], float]] = {}
    prices = {}
    for name, options in variants.items():
        asked = needs(objectives.get(name), options, group_size=step.group_size)
        if "prefix_values" in asked:  # an explicit V_theta, which only Algorithm 1 learns
            continue
        price = " and ".join(sorted({PRICES[x] for x in asked if x in PRICES}))
        case = f"{name} / GRPO" + (f", with its {price}" if price else "")
        calls[case], prices[case] = partial(our_step, step, name, **options), price
    seconds = _seconds(calls, repeats, progress)
    peer = seconds.pop("grpo / GRPO")
    rows = []
    for case, ours in seconds.items():
        bound = None if prices[case] else WITHIN
        rows.append(ratio_row(case, ours=ours, peer=peer, unit="s", bound=bound))
    return rows


def _seconds(
    calls: dict[str, Callable[[int], float]], repeats: int, progress: Progress, label: str = ""
) -> dict[str, list[float]]:
    """What each call says that a step took, run by run."""
    runs = race(calls, repeats, progress=progress, label=label)
    return {name: run.results for name, run in runs.items()}
