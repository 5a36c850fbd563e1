"""Tokens per second of sampling a group to a long prompt, against the model's own `generate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gnivo_edu.bench.ratio import ratio_row


def bench_sample(
    prompt_length: int = 512,
    group_size: int = 8,
    horizon: int = 64,
    repeats: int = 5,
    threads: int = 2,
    progress: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """`sample_completions` against `generate(num_return_sequences=group_size)` on one model, in
    tokens per second.

    A Qwen2 of four layers with random weights, float32, on the CPU; both sides draw from all tokens
    at temperature 1, in turn, after one unmeasured run each. Three cases: one prompt whose
    completions all go to the horizon; the same for three prompts of different lengths, padded on
    the left; and one prompt with an end of sequence that comes early. Only tokens of completions
    count, so nothing after an end. `ratio` is the median of ours/peer over the `repeats`; the
    prompt's share of the work, and with it the ratio, falls as the horizon grows.

    >>> [row["case"] for row in bench_sample(prompt_length=4, group_size=2, horizon=3, repeats=1)]
    ['one prompt of 4, K=2, 3 tokens', 'three prompts of 1 to 4, K=2, 3 tokens', 'one prompt of 4, K=2, up to 3 tokens']
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = _model(prompt_length + horizon)
        half = max(prompt_length // 4, 1)
        mixed = [prompt_length, (prompt_length + half) // 2, half]
        named = f"K={group_size}, {horizon} tokens"
        cases = [
            (f"one prompt of {prompt_length}, {named}", [prompt_length], False),
            (f"three prompts of {half} to {prompt_length}, {named}", mixed, False),
            (
                f"one prompt of {prompt_length}, K={group_size}, up to {horizon} tokens",
                [prompt_length],
                True,
            ),
        ]
        return [
            _case(name, model, lengths, ends, group_size, horizon, repeats, progress)
            for name, lengths, ends in cases
        ]
    finally:
        torch.set_num_threads(before)


def _case(
    name: str,
    model: Any,
    lengths: list[int],
    ends: bool,
    group_size: int,
    horizon: int,
    repeats: int,
    progress: Callable[[str], None] | None,
) -> dict[str, Any]:
    from gnivo_edu.policies.generation import sample_completions

    task = _Task(lengths, horizon, ends)
    ours, peer = [], []
    for repeat in range(repeats + 1):
        if progress:
            progress(f"{name}: " + (f"run {repeat} of {repeats}" if repeat else "warming up"))
        start = time.perf_counter()
        samples = sample_completions(model, task, group_size, range(len(lengths)), step=repeat)
        ours.append(int(samples.lengths.sum()) / (time.perf_counter() - start))
        start = time.perf_counter()
        tokens = _generate(model, task, group_size, seed=repeat)
        peer.append(tokens / (time.perf_counter() - start))
    return ratio_row(name, ours[1:], peer[1:], "tokens/s")


def _generate(model: Any, task: _Task, group_size: int, seed: int) -> int:
    """Number of tokens of completions that the model's own `generate` draws."""
    import torch

    torch.manual_seed(seed)
    prompts, mask = torch.from_numpy(task.prompts()), torch.from_numpy(task.prompt_mask())
    out = model.generate(
        input_ids=prompts,
        attention_mask=mask.long(),
        do_sample=True,
        top_k=0,
        max_new_tokens=task.horizon,
        num_return_sequences=group_size,
        eos_token_id=list(task.eos_token_ids) or None,
        pad_token_id=task.pad_token_id,
    )
    answers = out[:, prompts.shape[1] :]
    ended = torch.isin(answers, torch.tensor(task.eos_token_ids, dtype=torch.int64)).int()
    return int(((ended.cumsum(1) - ended) == 0).sum())


class _Task:
    """Random prompts of given lengths; ends come early (about one token in 32) where `ends`."""

    vocab_size, pad_token_id = 2048, 2048

    def __init__(self, lengths: list[int], horizon: int, ends: bool) -> None:
        self.horizon = horizon
        self.eos_token_ids = tuple(range(64)) if ends else ()
        self._mask = np.arange(max(lengths)) >= max(lengths) - np.array(lengths)[:, None]
        drawn = np.random.default_rng(0).integers(64, self.vocab_size, self._mask.shape)
        self._prompts = np.where(self._mask, drawn, self.pad_token_id)

    def prompts(self) -> Any:
        """Prompts, padded on the left."""
        return self._prompts

    def prompt_mask(self) -> Any:
        """True at tokens of a prompt."""
        return self._mask


def _model(positions: int) -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=_Task.vocab_size + 1,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=_Task.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(config).eval()
