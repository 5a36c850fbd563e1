"""Tokens per second of sampling groups, against the model's own `generate`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gnivo_edu.bench.models import RandomPrompts, qwen2
from gnivo_edu.bench.ratio import Progress, Row, race, ratio_row

BOUND = 2.0  # with long prompts, whose work is shared by the answers


def bench_sample(
    prompt_length: int = 512,
    group_size: int = 8,
    horizon: int = 64,
    short: int = 8,
    repeats: int = 9,
    threads: int | None = None,
    size: str = "4M",
    progress: Progress = None,
) -> list[Row]:
    """`sample_completions` against `generate(num_return_sequences=group_size)` on one model, in
    tokens per second.

    A Qwen2 of four layers with random weights, float32, on the CPU; both sides draw from all tokens
    at temperature 1, in turn. Four cases: one prompt whose completions all go to the horizon; the
    same for three prompts of different lengths, padded on the left; one prompt with an end of
    sequence that comes early; and `short` prompts of as many tokens, where there is little to
    share. Only tokens of completions count, so nothing after an end. The prompt's share of the
    work, and with it the ratio, falls as the horizon grows.

    >>> rows = bench_sample(4, group_size=2, horizon=3, short=2, repeats=1, size="tiny")
    >>> [row["case"] for row in rows[:2]]
    ['one prompt of 4, K=2, 3 tokens', 'three prompts of 1 to 4, K=2, 3 tokens']
    >>> [row["case"] for row in rows[2:]]
    ['one prompt of 4, K=2, up to 3 tokens', '2 prompts of 2, K=2, 3 tokens']
    """
    model = qwen2(size, positions=max(prompt_length, short) + horizon)
    shortest = max(prompt_length // 4, 1)
    mixed = [prompt_length, (prompt_length + shortest) // 2, shortest]
    one = f"one prompt of {prompt_length}, K={group_size}"
    three = f"three prompts of {shortest} to {prompt_length}, K={group_size}"
    many = f"{short} prompts of {short}, K={group_size}"
    cases = [
        (f"{one}, {horizon} tokens", RandomPrompts([prompt_length], horizon), BOUND),
        (f"{three}, {horizon} tokens", RandomPrompts(mixed, horizon), BOUND),
        (f"{one}, up to {horizon} tokens", RandomPrompts([prompt_length], horizon, True), BOUND),
        (f"{many}, {horizon} tokens", RandomPrompts([short] * short, horizon), None),
    ]
    rows = []
    for name, task, bound in cases:
        calls = {
            "ours": partial(_sample, model, task, group_size),
            "peer": partial(_generate, model, task, group_size),
        }
        runs = race(calls, repeats, progress=progress, label=f"{name}, ", threads=threads)
        speeds = {side: np.array(run.results) / np.array(run.seconds) for side, run in runs.items()}
        row = ratio_row(name, speeds["ours"], peer=speeds["peer"], unit="tokens/s", bound=bound)
        rows.append(row)
    return rows


def _sample(model: Any, task: RandomPrompts, group_size: int, seed: int) -> int:
    """Number of tokens of completions that `sample_completions` draws."""
    from gnivo_edu.policies.generation import sample_completions

    prompts = range(len(task.prompts()))
    drawn = sample_completions(model, task, group_size=group_size, prompt_index=prompts, step=seed)
    return int(drawn.lengths.sum())


def _generate(model: Any, task: RandomPrompts, group_size: int, seed: int) -> int:
    """Number of tokens of completions that the model's own `generate` draws."""
    import torch

    torch.manual_seed(seed)
    prompts = torch.from_numpy(task.prompts())
    out = model.generate(
        input_ids=prompts,
        attention_mask=torch.from_numpy(task.prompt_mask()).long(),
        do_sample=True,
        top_k=0,
        max_new_tokens=task.horizon,
        num_return_sequences=group_size,
        eos_token_id=list(task.eos_token_ids) or None,
        pad_token_id=task.pad_token_id,
    )
    answers = out[:, prompts.shape[1] :]
    ends = torch.isin(answers, torch.tensor(task.eos_token_ids, dtype=torch.int64)).int()
    ends_before = ends.cumsum(1) - ends  # an end token is still one of the completion
    return int((ends_before == 0).sum())
