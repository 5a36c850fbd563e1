"""What `explore` will take, from the configuration of its models: no weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnivo_edu import tasks
from gnivo_edu.evaluation.explore import PROMPT, task_of
from gnivo_edu.policies.budget import (
    DRAWN_BYTES,
    RUNTIME,
    WORD_BYTES,
    Budget,
    Phase,
    chunk_bytes,
    drawing_work,
    head_work,
    measured_speed,
)
from gnivo_edu.policies.cached_rows import prompts_of
from gnivo_edu.policies.decoder import decoder_of
from gnivo_edu.policies.footprint import Shapes
from gnivo_edu.policies.from_model import MAX_BYTES, MAX_ROWS
from gnivo_edu.policies.loading import load_config, load_words

ROWS = 64  # that `step_values` draws and scores at a time
STEP = 8  # tokens of a step, for a rough time: it is known once answers are there
ITEM = 4  # bytes of a number of float32


def estimate_explore(
    model: str,
    reference: str | None = None,
    prompt: str | None = None,
    task: str | None = None,
    reward: str | None = None,
    group_size: int = 4,
    continuations: int = 16,
    horizon: int | None = None,
    top_k: int = 4,
    tree_horizon: int = 6,
    prompt_index: int | None = None,
    *,
    task_options: Mapping[str, Any] | None = None,
) -> Budget:
    """Memory beyond the imports, by part and phase, and a rough time of `explore` with the same
    arguments, for steps of about eight tokens.

    Weights of the model and of another reference, keys and values of 64 rows at a time, chunks of
    logits, the pruned tree. Raises ValueError, in one line, on what does not fit and on "table".
    """
    if "table" in (model, reference):
        raise ValueError("a table is as large as its task: there is nothing to estimate")
    config, words = load_config(model), load_words(model)
    options = dict(task_options or {}) | ({} if horizon is None else {"horizon": horizon})
    options = tasks.check_options(task or "stories", options, texts=True)
    prompts = [PROMPT if prompt is None else prompt]
    asked = task_of(None, words, prompts=prompts, task=task, reward=reward, options=options)
    length = int(prompts_of(asked)[1][prompt_index or 0].sum())
    T, V = int(asked.horizon), int(asked.vocab_size)
    shapes = Shapes(config)
    other = reference is not None and reference != model
    weights = {"weights": shapes.weights}
    file = _file_bytes(config, shapes)
    if other:
        beside = load_config(str(reference))
        weights["reference"] = Shapes(beside).weights
    libraries = {"libraries": RUNTIME + WORD_BYTES * (0 if words is None else len(words))}

    answers = group_size * (1 + (T // STEP) * continuations)
    at_once = max(ROWS // continuations, 1)
    begun, of_prompts, _ = shapes.prompts(at_once, length + T)
    of_token = of_prompts / (at_once * (length + T))
    written = T if decoder_of(shapes.model) is not None else length + T
    cache = of_prompts + int(ROWS * written * of_token)
    logits = ROWS * V * DRAWN_BYTES
    drawing = {"keys and values": max(cache, begun.peak - logits), "logits": logits}
    width = shapes.head.weight.shape[1]
    token, law = shapes.token(ROWS, length + T // 2), drawing_work(ROWS, V, width=width)
    times = answers / ROWS
    draws = [begun.times(times), *(x.times(times * T) for x in (token, law))]

    scored = min(group_size + continuations, ROWS)
    forward = shapes.forward(scored, length + T - 1)
    chunk = chunk_bytes(scored * T, V, arrays=1, itemsize=ITEM)
    scoring = {"activations": max(forward.peak - chunk, forward.kept), "logits": chunk}
    scores = [forward, head_work(scored * T, V, width=width, products=1)]
    works = [x.times(2) for x in scores]
    phases = [
        Phase("loading", {**weights, "copies": file, **libraries}),
        Phase("drawing", {**weights, **drawing, **libraries}, tuple(draws)),
        Phase("scoring", {**weights, **scoring, **libraries}, tuple(works)),
    ]
    if words is not None:
        depth = min(tree_horizon, T)
        rows = min(top_k ** (depth - 1), MAX_ROWS)
        of_row = of_token * (length + depth) * depth + 3 * ITEM * V
        tree = {"keys and values": int(min(rows * of_row, MAX_BYTES))}
        step = shapes.token(rows, length + depth // 2).times(top_k ** (depth - 1) / rows)
        phases.append(Phase("growing the tree", {**weights, **tree, **libraries}, (step,)))
    about = (
        f"{model}: {group_size} answers of {T} tokens to a prompt of {length}, {continuations} "
        "continuations a step"
    )
    return Budget(about, tuple(phases), measured_speed(width, rows=ROWS))


def _file_bytes(config: Any, shapes: Shapes) -> int:
    """What the files of weights take while they become float32; the same memory where they are."""
    own = getattr(config, "dtype", None)
    if own is None or own.itemsize == ITEM:
        return 0
    return int(shapes.weights * own.itemsize // ITEM)
