"""Draw completions to every problem of a task, grade them, keep each of them, and report Pass@k
with intervals.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.evaluation.pass_at_k import check_k
from gnivo_edu.evaluation.report import Report, Row, report_of
from gnivo_edu.evaluation.store import CompletionStore

# torch is imported where completions are drawn: reports are read and compared without it.

ROWS_AT_ONCE = 256  # completions drawn between two writes, unless max_rows says otherwise
MOST_COMPLETIONS = 10_000_000
MOST_SAMPLES = 100_000
MANY_COMPLETIONS = 10_000  # before so many, a few are drawn to see how long it will take
VERDICT = ("text", "reward", "answer", "gold", "status", "counts")  # what a line says of a grade


def evaluate(
    policy: Any,
    task: Any,
    samples: int = 8,
    ks: Iterable[int] = (1, 3),
    seed: int = 0,
    temperature: float = 1.0,
    prompts: Sequence[int] | None = None,
    max_rows: int | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
    solved_at: float = 1.0,
    model: str | None = None,
    task_name: str | None = None,
) -> Report:
    """Draw `samples` completions to each problem, grade them, and report Pass@k for every k of
    `ks`, with intervals.

    For any causal LM and any token MDP: graded by `task.grade` where it has verdicts, else by
    `task.reward`; a `toy_envs.NoisyReward` without its noise. A completion is right where its
    reward is at least `solved_at`.
    `prompts` lists the problems, all by default. `model` and `task_name` are what the report calls
    them. At most `max_rows` completions are drawn at a time, 256 unless told.

    With `out`, a folder: completions.jsonl gets one line per completion (problem, sample, tokens,
    text, reward, grade), a problem at a time, all its samples or none; report.json the numbers. A
    run that was stopped goes on where it was: each completion reads a random stream of its own, so
    that the outcome is that of a run that was not. Raises ValueError, in one line, on k > samples,
    on unknown or repeated prompts, and on a folder that holds completions of another model, task or
    setting.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import ArithmeticChain
    >>> chain = ArithmeticChain()
    >>> numbers = evaluate(TabularLM.from_mdp(chain, seed=0), chain, samples=4).to_json()
    >>> numbers["problems"], numbers["samples"], numbers["pass@1"] <= numbers["pass@3"]
    (4, 4, True)
    """
    task = task.without_noise()
    ks = tuple(sorted(set(ks)))
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if samples > MOST_SAMPLES:
        raise ValueError(f"samples must be at most {MOST_SAMPLES:,} a problem, got {samples:,}")
    for k in ks:
        check_k(k, samples)
    index = _problems(task, prompts)
    if samples * len(index) > MOST_COMPLETIONS:
        raise ValueError(
            f"{samples:,} samples to each of {len(index):,} problems are above the limit of "
            f"{MOST_COMPLETIONS:,} completions: take fewer"
        )
    law = {"seed": seed, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    settings = {
        "task": task_name or task.name,
        "model": model or _name_of(policy),
        "samples": samples,
        **law,
        "questions": _questions(task, index),
        "prompts": _prompts(task, index),
        "weights": _weights(policy),
    }
    store = CompletionStore(out, settings)
    remaining = [i for i in index if i not in store.rows]
    if len(remaining) < len(index):
        say(f"{len(index) - len(remaining)} of {len(index)} problems were done before")
    rows = max_rows or ROWS_AT_ONCE
    at_once = max(1, rows // samples)
    total = samples * len(remaining)
    if total > MANY_COMPLETIONS:
        few, begun = min(samples, rows), time.perf_counter()
        list(_graded(policy, task, index=remaining[:1], samples=few, max_rows=rows, **law))
        minutes = (time.perf_counter() - begun) / few * total / 60
        say(f"{total:,} completions of up to {task.horizon} tokens: about {minutes:,.0f} minutes")
    for start in range(0, len(remaining), at_once):
        some = remaining[start : start + at_once]
        store.add(_graded(policy, task, index=some, samples=samples, max_rows=rows, **law))
        say(f"{len(store.rows)} of {len(index)} problems")
    graded = [store.rows[i] for i in index]
    report = report_of(graded, settings, ks=ks, solved_at=solved_at)
    if report.skipped:
        say(f"{len(report.skipped)} problems are left out: their gold answers cannot be read")
    store.finish(report)
    return report


def _graded(
    policy: Any, task: Any, index: list[int], samples: int, **law: Any
) -> Iterator[list[Row]]:
    """The graded completions to each of some problems."""
    from gnivo_edu.policies.generation import sample_completions

    drawn = sample_completions(policy, task, group_size=samples, prompt_index=index, **law)
    tokens, lengths, problems = (x.cpu().numpy() for x in drawn.rows)
    answers = [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]
    # A task has verdicts on answers, or rewards alone.
    grades = task.grade(tokens, lengths, prompt_index=problems)
    if grades is None:
        rewards = drawn.rewards(task).flatten().tolist()
        verdicts = [
            {"text": task.decode(answer), "reward": reward}
            for answer, reward in zip(answers, rewards, strict=True)
        ]
    else:
        verdicts = [
            {name: getattr(grade, name) for name in VERDICT} | {"reward": float(grade.reward)}
            for grade in grades
        ]
    rows: list[Row] = [
        {"problem": int(problems[r]), "sample": r % samples, "tokens": answer}
        | verdicts[r]
        | {"length": len(answer), "truncated": bool(drawn.truncated.flatten()[r])}
        for r, answer in enumerate(answers)
    ]
    return (rows[start : start + samples] for start in range(0, len(rows), samples))


def _problems(task: Any, prompts: Sequence[int] | None) -> list[int]:
    count = len(task.prompts())
    index = list(range(count)) if prompts is None else [int(i) for i in prompts]
    if not index or len(set(index)) < len(index) or not all(0 <= i < count for i in index):
        raise ValueError(
            f"prompts must list different problems in 0..{count - 1}, got {index[:20]}"
        )
    return index


def _name_of(policy: Any) -> str:
    config = getattr(policy, "config", None)
    return getattr(config, "_name_or_path", "") or type(policy).__name__


def _questions(task: Any, index: list[int]) -> str:
    """A fingerprint of what is asked, whatever the tokenizer: two reports can be paired if they
    share it.
    """
    return _short(f"{index}{task.asked(index)}".encode())


def _prompts(task: Any, index: list[int]) -> str:
    """A fingerprint of what the model reads, and of how much it may write."""
    rows: NDArray[np.int64] = task.prompts()[index]
    read = np.where(task.prompt_mask()[index], rows, -1)
    return _short(f"{rows.shape}{task.horizon}".encode() + read.tobytes())


def _weights(policy: Any) -> str:
    """A fingerprint of a model: names, shapes, and 64 values of every parameter. It is there to
    catch a mix-up.
    """
    read = []
    for name, parameter in policy.named_parameters():
        values = parameter.detach().flatten()
        some = values[:: max(1, len(values) // 64)].cpu().double().numpy()
        read.append(f"{name}{tuple(parameter.shape)}".encode() + some.tobytes())
    return _short(b"".join(read))


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
