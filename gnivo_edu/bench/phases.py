"""The phases of a training step apart, and the whole against TRL: what is run on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from gnivo_edu.bench.ratio import Progress, Row, missing_row, plain_row, race, ratio_row
from gnivo_edu.bench.score import peak_bytes
from gnivo_edu.bench.step import TINY, Step, our_step
from gnivo_edu.bench.trl_step import trl_step
from gnivo_edu.policies import sample_completions, score_rows, weighted_rows

ROWS_AT_ONCE = 16  # answers scored and differentiated at a time
STEPS = {
    "0.5B": Step(
        prompts=16, prompt_length=64, horizon=512, size="0.5B", vocabulary=151_936, steps=1
    ),
    "tiny": TINY,
}
# Multiplications and additions a second in bf16, as the makers state them, without sparsity.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


def bench_phases(
    device: str = "cuda", size: str = "0.5B", repeats: int = 2, progress: Progress = None
) -> list[Row]:
    """Tokens of answers per second of sampling, of scoring and of the update apart, and of whole
    steps with the most memory they hold, against TRL with `generate` where that is installed: GRPO
    without a KL, a Qwen2 of random weights, forward passes in bf16. MFU: the multiplications and
    additions of scoring and update (2 for each parameter and token forward, 4 backward, prompts
    counted with every answer) in shares of what the GPU can do at most.
    """
    step = STEPS[size]
    if device == "cuda" and not torch.cuda.is_available():
        return [missing_row(f"whole step: {step}", "not run: no CUDA device was at hand")]
    rows = phases_apart(step, device, repeats, progress)
    options: dict[str, Any] = {"kl": "none", "reference": "sampler", "precision": "bf16"}
    ours = partial(our_step, step, "grpo", micro_batch=ROWS_AT_ONCE, **options)
    calls: dict[str, Callable[[int], tuple[float, int]]] = {"ours": partial(_held, ours, device)}
    case, note = f"whole step: {step}", ""
    try:
        calls["TRL"] = partial(_held, trl_step(step, device, ROWS_AT_ONCE), device)
    except ImportError as error:
        note = f'without TRL ({error}); for it: pip install "gnivo-edu[trl]"'
    runs = race(calls, repeats, progress=progress, label="whole step, ")
    speeds, peaks = (
        {name: [convert(result) for result in run.results] for name, run in runs.items()}
        for convert in (lambda result: step.tokens / result[0], lambda result: result[1])
    )
    for what, values, unit in ((case, speeds, "tokens/s"), ("peak memory", peaks, "bytes")):
        if "TRL" in values:
            rows.append(ratio_row(what, values["ours"], peer=values["TRL"], unit=unit))
        else:
            rows.append(plain_row(what, values["ours"], unit=unit, note=note))
    return rows


def phases_apart(step: Step, device: str, repeats: int = 2, progress: Progress = None) -> list[Row]:
    """The phases of a step, one after the other: rows of tokens of answers per second, and of MFU
    where the most that the device can do is known.
    """
    model, task = step.model().to(device), step.task()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    seconds: dict[str, list[float]] = {"sampling": [], "scoring": [], "update": []}
    for repeat in range(repeats + 1):
        if progress:
            progress(f"phases, run {repeat} of {repeats}")
        with torch.autocast(device, torch.bfloat16):
            prompts = range(step.prompts)
            took, samples = _timed(
                partial(sample_completions, model, task, step.group_size, prompts, step=repeat)
            )
            parts = list(zip(*(x.split(ROWS_AT_ONCE) for x in samples.rows), strict=True))
            scored, _ = _timed(partial(_score, model, task, parts))
            updated, _ = _timed(partial(_update, model, task, parts, optimizer))
        if repeat:  # the first is a rehearsal
            for name, value in zip(seconds, (took, scored, updated), strict=True):
                seconds[name].append(value)
    rows = [
        plain_row(name, step.tokens / np.array(values), unit="tokens/s")
        for name, values in seconds.items()
    ]
    most = peak_flops(device)
    if most is None:
        return rows
    read = step.prompts * step.group_size * (step.prompt_length + step.horizon)
    work = 8 * sum(p.numel() for p in model.parameters()) * read
    spent = np.array(seconds["scoring"]) + np.array(seconds["update"])
    return [*rows, plain_row("MFU of scoring and update", work / spent / most, "share")]


def _score(model: Any, task: Any, parts: Any) -> None:
    with torch.no_grad():
        for tokens, lengths, index in parts:
            score_rows(model, task, tokens, lengths, index, fields=("policy_logps",))


def _update(model: Any, task: Any, parts: Any, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    for tokens, lengths, index in parts:
        ones = {"policy_logps": torch.ones(tokens.shape)}
        weighted_rows(model, task, tokens, lengths, index, coefficients=ones).backward()
    optimizer.step()


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, the accelerator waited for."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    begun = time.perf_counter()
    result = call()
    wait()
    return time.perf_counter() - begun, result


def _held(call: Callable[[int], float], device: str, repeat: int) -> tuple[float, int]:
    """What a call returns, and the most bytes of tensors there were meanwhile."""
    if device != "cuda":
        seconds: list[float] = []
        peak = peak_bytes(lambda: seconds.append(call(repeat)))
        return seconds[0], peak
    torch.cuda.reset_peak_memory_stats()
    took = call(repeat)
    return took, torch.cuda.max_memory_allocated()


def peak_flops(device: str) -> float | None:
    """Operations a second of the GPU that is there, as `PEAK_FLOPS` has them; None where it is not
    known, and on a CPU.
    """
    if device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((most for part, most in PEAK_FLOPS.items() if part in name), None)
