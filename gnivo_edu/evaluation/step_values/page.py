"""The page of step values: strips and value lines of every answer, one self-contained HTML file,
light and dark.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from gnivo_edu.evaluation.step_values.record import AnswerValues, StepValues
from gnivo_edu.figures.page import render
from gnivo_edu.figures.style import Numbers, conditions, nats, number, signed, visible
from gnivo_edu.figures.token_strip import TokenStrip, token_strip
from gnivo_edu.figures.values import ValueLines
from gnivo_edu.names import home

TEMPLATE = Path(__file__).with_name("page.html")


def lines_of(values: StepValues, answer: AnswerValues) -> ValueLines:
    """Implicit, Monte-Carlo and (of a whole task) exact values at the ends of an answer's steps;
    and what a critic says there.
    """
    ends = answer.boundaries
    pin, source = values.pin
    lines: dict[str, Numbers] = {
        "Monte-Carlo": [estimate.value for estimate in answer.monte_carlo],
        "implicit": answer.implicit_values[ends],
    }
    if answer.critic_value is not None:
        lines["critic"] = answer.critic_value[ends]
    if values.exact is not None and values.exact.kind == "full" and answer.exact_values is not None:
        lines = {"exact": answer.exact_values[ends], **lines}
    caption = (
        f"{conditions(values.reference, values.alpha, log_z=pin)} ({source}); "
        f"bars: {values.level:.0%} intervals"
    )
    if source == "estimate":
        low, high = (nats(end - pin) for end in (values.log_z.low, values.log_z.high))
        caption += (
            f"; the implicit line as a whole is known to {low} to +{high} nats, those of log Z"
        )
    return ValueLines(
        steps=answer.step_texts,
        lines=lines,
        caption=caption,
        alpha=values.alpha if values.binary_reward else None,
        intervals={"Monte-Carlo": [(e.low, e.high) for e in answer.monte_carlo]},
    )


def strips_of(values: StepValues, answer: AnswerValues) -> dict[str, TokenStrip]:
    """Strips of credits by heading: per token, per step, and of the exact V where the answer stays
    in the tree.
    """
    about = f"{values.reference}; policy: {values.policy}"
    strips = {}
    by_token = len(answer.step_texts) < len(answer.tokens)
    if by_token:
        strips["Credit of every step"] = token_strip(
            answer.step_texts, answer.step_credits, alpha=values.alpha, reference=about, unit="step"
        )
    unit = "token" if by_token else "step"
    strips[f"Credit of every {unit}"] = token_strip(
        answer.texts,
        answer.credits,
        alpha=values.alpha,
        reference=about,
        special=answer.special,
        unit=unit,
    )
    tree, exact_values = values.exact, answer.exact_values
    if tree is None or exact_values is None or len(exact_values) < 2:
        return strips
    heading = f"Exact credit of every {unit}"
    if tree.kind == "pruned":
        heading = "Exact credit inside the pruned tree"
    inside = len(exact_values) - 1
    strips[heading] = token_strip(
        answer.texts[:inside],
        np.diff(exact_values),
        alpha=values.alpha,
        reference=tree.reference,
        special=[t for t in answer.special if t < inside],
        unit=unit,
    )
    return strips


def render_page(values: StepValues) -> str:
    """The page as one HTML string: inline style, pictures in it, no script; it asks for nothing
    from any network.

    >>> from gnivo_edu.evaluation.step_values import step_values
    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> mdp = TokenMDP(2, 2, reward=lambda tokens, lengths: tokens[:, 0])
    >>> policy, reference = TabularLM.from_mdp(mdp, seed=0), TabularLM.from_mdp(mdp)
    >>> page = render_page(step_values(policy, reference, mdp, alpha=0.5))
    >>> page.count("<section"), "<script" in page
    (4, False)
    """
    pin, source = values.pin
    ends = f"{values.level:.0%} interval {nats(values.log_z.low)} to {nats(values.log_z.high)}"
    log_z = f"{nats(pin)} nats (estimate, {ends})"
    if source == "exact":
        log_z = f"{nats(pin)} nats (exact); the samples say {nats(values.log_z.value)}, {ends}"
    formats = {"conditions": conditions, "number": number, "signed": signed, "visible": visible}
    parts = {"strips_of": strips_of, "lines_of": lines_of}
    return render(TEMPLATE, values=values, log_z=log_z, **parts, **formats)


def write_page(values: StepValues, path: str | PathLike[str]) -> Path:
    """Write `render_page` to a file, whose folder is made if it is missing; its path."""
    target = home(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render_page(values), encoding="utf-8")
    return target
