"""What a run was told and what happened in it, in a few sentences."""

from __future__ import annotations

from typing import Any

import numpy as np

from gnivo_edu.figures.tokens import visible
from gnivo_edu.show.history import History, onset
from gnivo_edu.show.read import Run


def number(x: float, form: str = ".3g") -> str:
    """A number as the page writes it, with a real minus.

    >>> number(-0.0000333)
    '−3.33e−05'
    """
    return format(x, form).replace("-", "−")


def facts_of(run: Run) -> list[list[str]]:
    """What the run was told, in a few words each."""
    config = run.config
    if not config:
        return [["completions", visible(str(run.path.name))]]
    options = config.get("objective_options") or {}
    told = ", ".join(
        f"{k}={number(v, 'g') if isinstance(v, float) else v}" for k, v in options.items()
    )
    facts = [
        ["objective", f"{config.get('objective')}{f' ({told})' if told else ''}"],
        ["task", str(config.get("task"))],
        ["model", str(config.get("model"))],
        ["reference", str(config.get("reference"))],
        ["answers", f"{config.get('prompts_per_step')} x {config.get('group_size')} a step"],
        ["learning rate", number(config.get("learning_rate", 0.0), "g")],
        ["seed", str(config.get("seed"))],
    ]
    return [[name, visible(text)] for name, text in facts]


def glance_of(run: Run, history: History, spread: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What happened, in a few sentences, with the step to look at where there is one; those that
    say that something went wrong from there on are marked as `trouble`.
    """
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
    text = f"The mean reward was {number(first)} in the first {counted} and "
    text += f"{number(last)} in the last."
    if begun is None:
        text += " It did not leave its beginning by more than it scatters."
        lines.append({"text": text, "step": None})
    else:
        way = "rise" if last > first else "fall"
        text += f" It began to {way} for good at step {steps[begun]}."
        lines.append({"text": text, "step": steps[begun], "trouble": last < first})
    # A token that comes and goes is not named.
    strong = [
        token
        for token in spread
        if token["step"] is not None and token["after"] > max(0.5, 3 * token["before"])
    ]
    lines += _taken_over(strong)
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


def _taken_over(strong: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Which tokens answers fill up with, from which step on the most striking of them, and which
    was the first.
    """
    if not strong:
        return []
    most, first = strong[0], min(strong, key=lambda token: int(token["step"]))
    named = ", ".join(f"“{token['token']}”" for token in strong[:4])
    text = (
        f"Answers fill up with {named}: “{most['token']}” alone stands "
        f"{number(most['before'], '.2g')} times in an answer at first and "
        f"{number(most['after'], '.2g')} times at the end; it spreads for good from step "
        f"{most['step']} on."
    )
    lines = [{"text": text, "step": most["step"], "trouble": True}]
    if first["step"] != most["step"]:
        text = f"The first token to spread is “{first['token']}”, for good from step "
        lines.append({"text": f"{text}{first['step']} on.", "step": first["step"], "trouble": True})
    return lines


def trouble_of(glance: list[dict[str, Any]]) -> int | None:
    """The first step from which on something went wrong; None where nothing did."""
    return min((line["step"] for line in glance if line.get("trouble")), default=None)


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
