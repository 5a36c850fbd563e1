"""Tasks by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from gnivo_edu.names import nearest

# The tasks load what they need where they are made: their names are known without it.
BENCHMARK_NAMES = ("math", "aime24", "aime25", "amc23", "math500", "minerva_math", "olympiadbench")
NAMES = ("arithmetic", "gsm8k", *BENCHMARK_NAMES, "stories")
_OTHER_NAMES = {
    "aime2024": "aime24",
    "aime2025": "aime25",
    "amc2023": "amc23",
    "amc": "amc23",
    "minerva": "minerva_math",
}


def names() -> tuple[str, ...]:
    """Names of all tasks."""
    return NAMES


def get(
    name: str,
    tokenizer: Any = None,
    path_or_id: str | None = None,
    split: str | None = None,
    **options: Any,
) -> Any:
    """The task of this name, a token MDP with prompts, rewards, grades and steps.

    `tokenizer` is that of the model that answers; `arithmetic` has its own vocabulary and takes
    none. `path_or_id` is a file, a folder or a hub id of the data; by default the published hub id.
    `split` "train" or "test" where a task has both. `options` go to the task: see `Arithmetic`,
    `gsm8k`, `benchmark`, `stories` and `TextTask`. Raises ValueError, in one line, on unknown names
    (with the nearest one), on unknown options, and on what the task does not take.

    >>> task = get("arithmetic", tiers=(2, 4), num_prompts=3, split="test")
    >>> task.decode(task.prompts()[0][1:]), task.horizon
    ('59+5-8=', 12)
    >>> get("gsm8")
    Traceback (most recent call last):
    ValueError: there is no task 'gsm8'; did you mean 'gsm8k'?
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    same = {known.replace("_", ""): known for known in NAMES} | _OTHER_NAMES
    if plain not in same:
        raise ValueError(f"there is no task {name!r}; {nearest(name, NAMES)}")
    name = same[plain]
    if split is not None:
        options["split"] = split
    if name == "arithmetic":
        if tokenizer is not None or path_or_id is not None:
            raise ValueError(
                "the task 'arithmetic' makes its own questions in its own vocabulary: pass no "
                "tokenizer"
            )
        from gnivo_edu.tasks.arithmetic import Arithmetic

        return _make(name, Arithmetic, options)
    if tokenizer is None:
        raise ValueError(f"the task {name!r} is answered in words: pass the tokenizer of the model")
    return _make(
        name, partial(_text_task(name), tokenizer=tokenizer, path_or_id=path_or_id), options
    )


def _text_task(name: str) -> Callable[..., Any]:
    if name == "gsm8k":
        from gnivo_edu.tasks.gsm8k import gsm8k

        return gsm8k
    if name == "stories":
        from gnivo_edu.tasks.stories import stories

        return stories
    from gnivo_edu.tasks.benchmarks import benchmark

    return partial(benchmark, name)


def _make(name: str, make: Callable[..., Any], options: dict[str, Any]) -> Any:
    from gnivo_edu.tasks.text_task import TextTask

    parameters = list(inspect.signature(make).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        parameters += inspect.signature(TextTask).parameters.values()
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.default is not p.empty]
    for option in options:
        if option not in keywords:
            hint = nearest(option, keywords)
            raise ValueError(f"the task {name!r} has no option {option!r}; {hint}")
    return make(**options)
