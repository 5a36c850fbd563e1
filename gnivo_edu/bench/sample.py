"""Tokens per second of sampling a group to a long prompt, against the model's own `generate`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gnivo_edu.bench.ratio import Progress, race, ratio_row
from toy_envs import TokenMDP

ACTIONS = 2048


def bench_sample(
    prompt_length: int = 512,
    group_size: int = 8,
    horizon: int = 64,
    repeats: int = 9,
    threads: int = 2,
    progress: Progress = None,
) -> list[dict[str, Any]]:
    """`sample_completions` against `generate(num_return_sequences=group_size)` on one model, in
    tokens per second.

    A Qwen2 of four layers with random weights, float32, on the CPU; both sides draw from all tokens
    at temperature 1, in turn. Three cases: one prompt whose
    completions all go to the horizon; the same for three prompts of different lengths, padded on
    the left; and one prompt with an end of sequence that comes early. Only tokens of completions
    count, so nothing after an end. `ratio` is the median of ours/peer over the `repeats`; the
    prompt's share of the work, and with it the ratio, falls as the horizon grows.

    >>> rows = bench_sample(prompt_length=4, group_size=2, horizon=3, repeats=1, threads=1)
    >>> [row["case"] for row in rows[:2]]
    ['one prompt of 4, K=2, 3 tokens', 'three prompts of 1 to 4, K=2, 3 tokens']
    >>> rows[2]["case"]
    'one prompt of 4, K=2, up to 3 tokens'
    """
    model = _model(prompt_length + horizon)
    shortest = max(prompt_length // 4, 1)
    mixed = [prompt_length, (prompt_length + shortest) // 2, shortest]
    one = f"one prompt of {prompt_length}, K={group_size}"
    three = f"three prompts of {shortest} to {prompt_length}, K={group_size}"
    cases = {
        f"{one}, {horizon} tokens": _Task([prompt_length], horizon, ends=False),
        f"{three}, {horizon} tokens": _Task(mixed, horizon, ends=False),
        f"{one}, up to {horizon} tokens": _Task([prompt_length], horizon, ends=True),
    }
    rows = []
    for name, task in cases.items():
        calls = {
            "ours": partial(_sample, model, task, group_size),
            "peer": partial(_generate, model, task, group_size),
        }
        runs = race(calls, repeats, progress=progress, label=f"{name}, ", threads=threads)
        speeds = {side: np.array(run.results) / np.array(run.seconds) for side, run in runs.items()}
        rows.append(ratio_row(name, ours=speeds["ours"], peer=speeds["peer"], unit="tokens/s"))
    return rows


def _sample(model: Any, task: _Task, group_size: int, seed: int) -> int:
    """Number of tokens of completions that `sample_completions` draws."""
    from gnivo_edu.policies.generation import sample_completions

    prompts = range(len(task.prompts()))
    drawn = sample_completions(model, task, group_size=group_size, prompt_index=prompts, step=seed)
    return int(drawn.lengths.sum())


def _generate(model: Any, task: _Task, group_size: int, seed: int) -> int:
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


class _Task(TokenMDP):
    """Random prompts of given lengths; ends come early (about one token in 32) where `ends`."""

    def __init__(self, lengths: list[int], horizon: int, ends: bool) -> None:
        super().__init__(ACTIONS, horizon)
        self.pad_token_id = ACTIONS
        self.eos_token_ids = tuple(range(64)) if ends else ()
        self._mask = np.arange(max(lengths)) >= max(lengths) - np.array(lengths)[:, None]
        drawn = np.random.default_rng(0).integers(64, ACTIONS, self._mask.shape)
        self._prompts = np.where(self._mask, drawn, self.pad_token_id)

    def prompt_mask(self) -> Any:
        """True at tokens of a prompt."""
        return self._mask


def _model(positions: int) -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=ACTIONS + 1,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=ACTIONS,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(config).eval()
