"""What a critic costs: time and memory of a training step with each kind, against one without."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gnivo_edu.bench.ratio import Progress, race, ratio_row
from gnivo_edu.policies.critic import KINDS, CriticKind
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.loop import fine_tune


@dataclass(frozen=True)
class Price:
    """Seconds of a step, and bytes of all that is trained and of the optimiser's moments."""

    seconds: float
    bytes: int


def bench_critics(
    steps: int = 3,
    prompts: int = 8,
    group_size: int = 8,
    repeats: int = 9,
    progress: Progress = None,
) -> list[dict[str, Any]]:
    """PPO with each kind of critic against RLOO, which has none: short runs of the shipped
    checkpoint on arithmetic, in turn, one update a step.

    Time is that of a whole step, its answers drawn; memory is weights and the moments of AdamW, as
    the checkpoint of the run holds them. The difference of the two losses themselves is nothing
    beside a pass through the network.

    >>> rows = bench_critics(steps=1, prompts=1, group_size=2, repeats=1)
    >>> [row["case"] for row in rows[:2]]
    ['critic=network / no critic: a step', 'critic=network / no critic: weights and moments']
    """
    config = TrainConfig(
        steps=steps,
        prompts_per_step=prompts,
        group_size=group_size,
        report_questions=0,
        completions_every=steps + 1,
    )
    calls: dict[str, Callable[[int], Price]] = {"no critic": partial(_price, config, None)}
    calls |= {kind: partial(_price, config, kind) for kind in KINDS}
    runs = race(calls, repeats, progress=progress)
    without = runs.pop("no critic").results
    rows = []
    for kind, run in runs.items():
        for name, unit in (("a step", "s"), ("weights and moments", "bytes")):
            ours, peer = (
                [price.seconds if unit == "s" else price.bytes for price in prices]
                for prices in (run.results, without)
            )
            case = f"critic={kind} / no critic: {name}"
            rows.append(ratio_row(case, ours=ours, peer=peer, unit=unit))
    return rows


def _price(config: TrainConfig, kind: CriticKind | None, repeat: int) -> Price:
    """That of a run in a folder which is then thrown away; the first step, which looks at the
    model, counts as one of several.
    """
    with tempfile.TemporaryDirectory() as folder:
        objective = "rloo" if kind is None else "ppo"
        config = replace(
            config, objective=objective, critic=kind or "probe", out=f"{folder}/run", seed=repeat
        )
        rows: list[dict[str, Any]] = []
        run = fine_tune(config, on_step=rows.append)
        newest = max((Path(run.folder.path) / "checkpoints").iterdir())
        saved = torch.load(newest / "tensors.pt", weights_only=True)
    held = [saved["policy"], saved["critic"], saved["optimizer"]["state"]]
    return Price(
        seconds=median(row["step_time"] for row in rows),
        bytes=sum(x.nbytes for x in _tensors(held)),
    )


def _tensors(nested: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested lists and mappings."""
    if isinstance(nested, torch.Tensor):
        yield nested
    elif isinstance(nested, dict):
        yield from _tensors(list(nested.values()))
    elif isinstance(nested, list):
        for part in nested:
            yield from _tensors(part)
