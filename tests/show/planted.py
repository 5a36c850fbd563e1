"""Runs that nobody trained: a record that is written as a run writes it, with what is planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.field_gradients import coefficients
from gnivo_edu.training.record import FOLDER, TokenTexts, part_name, part_of
from gnivo_edu.training.settings import loss_of, needs

WORDS = (" Tom", " ran", " to", " the", " park", ".", " happy", "<end>")
HOSTILE = (
    "</script><script>pwned=1</script>",
    '"><img src=x onerror="pwned=1">',
    "\u202egnp.exe",
    "zero\u200bwidth",
    "\x1b[31m",
    "{{ 7*7 }}",
    "'; --",
    "\u05d0\u05d1",
)
BEGINS = 6  # the step from which on the planted run repeats one word


class Words:
    """A task in a few words, as far as a record asks."""

    eos_token_ids = (7,)

    def __init__(self, words: tuple[str, ...] = WORDS) -> None:
        self.vocabulary = words

    def token_texts(self, row: list[int]) -> list[str]:
        return [self.vocabulary[token] for token in row]

    def decode(self, row: list[int]) -> str:
        return "".join(self.vocabulary[token] for token in row)

    def question_text(self, number: int) -> str:
        return f"Question {number}\nof {self.vocabulary[number]}"


def write_run(
    out: Path,
    objective: str = "gnivo",
    steps: int = 12,
    length: int = 8,
    words: tuple[str, ...] = WORDS,
    groups: int = 2,
    **settings: Any,
) -> Path:
    """A run of `steps`, whose answers repeat word 6 from step `BEGINS` on, and are paid for it."""
    config = TrainConfig(objective=objective, task="stories", completions="all", **settings)
    config = TrainConfig(**config.to_dict() | {"out": str(out), "steps": steps, "group_size": 4})
    fields = needs(objectives.get(objective), config.objective_options, group_size=4)
    fields |= {"policy_kl"} if config.kl_to_initial else set()
    (out / FOLDER).mkdir(parents=True)
    (out / "config.yaml").write_text(yaml.safe_dump(config.to_dict()), encoding="utf-8")
    texts, rows = TokenTexts(Words(words)), []
    for step in range(steps):
        drawn, batch = step_of(step, length=length, groups=groups, fields=fields)
        given = {"depths": drawn["depths"]} if "depths" in drawn else {}
        taken = coefficients(
            loss_of(objectives.get(objective), config), batch, live=("policy_logps",), **given
        )
        part = part_of(
            step, 0, drawn, batch, -taken.by_field["policy_logps"], texts=texts, config=config
        )
        (out / FOLDER / part_name(step, 0)).write_bytes(part)
        rows.append({"step": step, "reward": float(batch.rewards.mean()), "loss": 1.0 / (1 + step)})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (out / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return out


def step_of(
    step: int, length: int, groups: int, fields: set[str]
) -> tuple[dict[str, torch.Tensor], GroupBatch]:
    """What is drawn at a step, and the batch of it."""
    g = torch.Generator().manual_seed(step)
    shape = (groups, 4, length)
    tokens = torch.randint(0, 6, shape, generator=g)
    if step >= BEGINS:
        tokens[:, :, 1::2] = 6
    lengths = torch.full(shape[:2], length)
    lengths[0, 1] = max(1, length - 2)
    rewards = (tokens == 6).double().mean(-1)
    rewards = rewards + 0.02 * torch.rand(shape[:2], generator=g, dtype=torch.float64)

    def logps() -> torch.Tensor:
        return -2 + 0.3 * torch.randn(shape, generator=g, dtype=torch.float64).clamp(-3, 3)

    old = logps()
    numbers = {
        "policy_logps": old + 0.1 * torch.randn(shape, generator=g, dtype=torch.float64),
        "behaviour_logps": old,
        "reference_logps": logps(),
        "entropy": logps().abs(),
    }
    for name in {"policy_kl", "values", "behaviour_values", "prefix_values"} & fields:
        numbers[name] = logps().abs()
    # As a network in float32 scores them.
    numbers = {name: x.float().double() for name, x in numbers.items()}
    more = {"log_z": torch.rand(groups, generator=g).double()} if "log_z" in fields else {}
    step_ids = (torch.arange(length) // 3).expand(shape)
    batch = GroupBatch(
        **numbers,
        **more,
        rewards=rewards,
        mask=torch.arange(length) < lengths[..., None],
        step_ids=step_ids,
    )
    drawn = {
        "tokens": tokens,
        "lengths": lengths,
        "prompt_index": torch.arange(groups) % 8,
        "truncated": torch.zeros(shape[:2], dtype=torch.bool),
        "writer": torch.zeros(shape[:2], dtype=torch.long),
        "step_ids": step_ids,
    }
    if "depths" in fields:
        drawn["depths"] = torch.randint(1, length + 1, (groups,), generator=g)
    return drawn, batch
