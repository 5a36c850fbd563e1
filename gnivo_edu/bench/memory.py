"""Peak memory: of an update, by vocabulary, length and group size; and of a run, by critic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.bench.models import RandomPrompts, qwen2
from gnivo_edu.bench.ratio import Progress, Row, curve, ratio_row
from gnivo_edu.bench.score import peak_bytes
from gnivo_edu.bench.step import Step, our_step
from gnivo_edu.policies import sample_completions, two_pass_scorers
from gnivo_edu.policies.critic import KINDS
from gnivo_edu.training.two_pass import two_pass_step

ROWS_AT_ONCE = 8  # of the two passes
SIZES = {
    "vocabulary": (2_048, 8_192, 32_768),
    "length": (32, 64, 128, 256),
    "K": (4, 8, 16, 32),
}


def bench_memory(
    vocabulary: int = 8_192,
    length: int = 48,
    group_size: int = 8,
    sizes: dict[str, Sequence[int]] | None = None,
    size: str = "0.8M",
    progress: Progress = None,
) -> list[Row]:
    """The most bytes that an update by GN-IVO holds beyond weights and gradients: two passes, eight
    answers at a time, without logits, against one pass through all logits, by vocabulary, length
    and K (two prompts; the other two sizes stay). Then the most that a whole run holds without a
    critic (RLOO) and with one (PPO), weights and moments included: the price of a critic that
    implicit values do not pay.

    Memory is that of tensors on the CPU, the same each time, so that one pair is enough.
    """
    rows = []
    given = {"vocabulary": vocabulary, "length": length, "K": group_size}
    for what, values in (sizes or SIZES).items():
        series: dict[str, list[int]] = {"two passes, no logits": [], "all logits": []}
        for value in values:
            if progress:
                progress(f"{what} {value}")
            bytes_held = update_bytes(**(given | {what: value}), size=size)
            for peaks, held in zip(series.values(), bytes_held, strict=True):
                peaks.append(held)
            ours, dense = bytes_held
            case = f"update, {what} {value:,} / all logits"
            rows.append(ratio_row(case, [ours], peer=[dense], unit="bytes"))
        # The last and largest one is held to something, and shows how both grow.
        rows[-1] = ratio_row(rows[-1]["case"], [ours], peer=[dense], unit="bytes", bound=2.0)
        slopes = {"all logits": 1}
        rows[-1]["curve"] = curve(values, series, what, y_label="bytes", slope=slopes)
    step = Step(prompts=2, horizon=16, size=size, steps=1)
    without = peak_bytes(partial(our_step, step, "rloo", 0, reference="sampler"))
    for kind in KINDS:
        if progress:
            progress(f"a run with critic={kind}")
        peak = peak_bytes(partial(our_step, step, "ppo", 0, reference="sampler", critic=kind))
        case = f"a run, no critic / critic={kind}"
        rows.append(ratio_row(case, [without], peer=[peak], unit="bytes"))
    return rows


def update_bytes(vocabulary: int, length: int, K: int, size: str) -> tuple[int, int]:
    """Bytes of one update by the two passes, and of one through all logits."""
    task = RandomPrompts([8, 8], length, actions=vocabulary - 1)
    model = qwen2(size, positions=8 + length, vocabulary=vocabulary)
    samples = sample_completions(model, task, group_size=K, prompt_index=[0, 1])
    for p in model.parameters():
        p.grad = torch.zeros_like(p)  # so that no pass is the one that makes them
    tokens, lengths, _ = samples.rows
    rewards = torch.from_numpy(task.reward(tokens.numpy(), lengths.numpy())).float()
    batch = GroupBatch(
        policy_logps=samples.logps,
        behaviour_logps=samples.logps,
        rewards=rewards.view(2, K),
        mask=samples.mask,
    )
    score, weighted_sum = two_pass_scorers(model, task, samples, fields=("policy_logps",))

    def two_passes() -> None:
        two_pass_step(
            objectives.gnivo,
            batch,
            score,
            micro_batch=ROWS_AT_ONCE,
            weighted_sum=weighted_sum,
            alpha=0.2,
        )

    def all_logits() -> None:
        logps = dense_logps(model, task, samples).view(batch.policy_logps.shape)
        objectives.gnivo(
            replace(batch, policy_logps=logps.to(batch.policy_logps)), alpha=0.2
        ).loss.backward()

    return peak_bytes(two_passes), peak_bytes(all_logits)


def dense_logps(model: Any, task: RandomPrompts, samples: Any) -> torch.Tensor:
    """Log-probabilities of the tokens of answers as one takes them first: every logit at once."""
    tokens, _, prompt_index = samples.rows
    prompts = torch.from_numpy(task.prompts())[prompt_index]
    logits = model(torch.cat([prompts, tokens], 1)).logits
    before = logits[:, prompts.shape[1] - 1 : -1, : task.vocab_size]
    return before.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
