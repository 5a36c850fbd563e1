"""What a run was told and what happened in it, in a few sentences."""

from __future__ import annotations

from typing import Any

import numpy as np

from gnivo_edu.figures.tokens import visible
from gnivo_edu.show.history import History, onset
from gnivo_edu.show.read import Run


def facts_of(run: Run) -> list[list[str]]:
    """What the run was told, in a few words each."""
    config = run.config
    if not config:
        return [["completions", visible(str(run.path.name))]]
    options = config.get("objective_options") or {}
    told = ", ".join(f"{k}={v}" for k, v in options.items())
    facts = [
        ["objective", f"{config.get('objective')}{f' ({told})' if told else ''}"],
        ["task", str(config.get("task"))],
        ["model", str(config.get("model"))],
        ["reference", str(config.get("reference"))],
        ["answers", f"{config.get('prompts_per_step')} x {config.get('group_size')} a step"],
        ["learning rate", f"{config.get('learning_rate'):g}"],
        ["seed", str(config.get("seed"))],
    ]
    return [[name, visible(text)] for name, text in facts]


def glance_of(run: Run, history: History, spread: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What happened, in a few sentences, with the step to look at where there is one."""
    lines: list[dict[str, Any]] = []
    steps = [int(row["step"]) for row in run.metrics] or history.steps
    rewards = [float(row["reward"]) for row in run.metrics]
    rewards = rewards or [float(np.mean(x)) for x in history.rewards]
    if not rewards:
        return [{"text": "This run has no metrics yet.", "step": None}]
    ends = max(1, min(10, len(rewards) // 2))
    first, last = float(np.mean(rewards[:ends])), float(np.mean(rewards[-ends:]))
    begun = onset(rewards)
    counted = f"{ends} steps" if ends > 1 else "step"
    text = f"The mean reward was {first:.3g} in the first {counted} and {last:.3g} in the last."
    if begun is None:
        text += " It did not leave its beginning by more than it scatters."
        lines.append({"text": text, "step": None})
    else:
        way = "rise" if last > first else "fall"
        text += f" It began to {way} for good at step {steps[begun]}."
        lines.append({"text": text, "step": steps[begun]})
    strong = [token for token in spread if token["after"] > max(0.5, 3 * token["before"])]
    if strong:
        named = ", ".join(f"“{t['token']}”" for t in strong[:4])
        found = [t["step"] for t in strong if t["step"] is not None]
        text = (
            f"Answers fill up with {named}: “{strong[0]['token']}” alone stands "
            f"{strong[0]['before']:.2g} times in an answer at first and "
            f"{strong[0]['after']:.2g} times at the end."
        )
        if found:
            text += f" The first of them spreads for good from step {min(found)} on."
        lines.append({"text": text, "step": min(found) if found else None, "tokens": True})
    alike = _alike(history)
    if alike:
        lines.append(alike)
    if strong and begun is not None and last > first:
        lines.append(
            {
                "text": "The reward rose while a few tokens took over: read the answers of these "
                "steps before you trust it. A reward that pays for words is easily fooled.",
                "step": None,
                "warning": True,
            }
        )
    if not history.steps:
        text = "No answers are on record: pip install 'gnivo-edu[llm]', and completions=all."
        lines.append({"text": text, "step": None})
    return lines


def _alike(history: History) -> dict[str, Any] | None:
    unlike = history.different
    if len(unlike) < 2 or unlike[-1] > 0.7 * unlike[0]:
        return None
    begun = onset(unlike)
    text = (
        f"The answers to a question have become alike: {unlike[0]:.0%} of them were different at "
        f"first, {unlike[-1]:.0%} at the end."
    )
    return {"text": text, "step": None if begun is None else history.steps[begun]}
