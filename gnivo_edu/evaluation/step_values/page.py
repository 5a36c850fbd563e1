"""The page of step values: strips and value lines of every answer, one self-contained HTML file,
light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from gnivo_edu.evaluation.step_values.estimate import Estimate
from gnivo_edu.evaluation.step_values.notes import alike, verdict
from gnivo_edu.evaluation.step_values.record import AnswerValues, StepValues
from gnivo_edu.exact import Array
from gnivo_edu.figures.page import render
from gnivo_edu.figures.style import (
    Numbers,
    conditions,
    full_scale,
    nats,
    number,
    percent,
    signed,
    visible,
)
from gnivo_edu.figures.token_strip import TokenStrip, token_strip
from gnivo_edu.figures.tokens import Token
from gnivo_edu.figures.values import ValueLines
from gnivo_edu.names import home
from gnivo_edu.pages import render as render_in_shell

TEMPLATE = Path(__file__).with_name("page.html")


FLOOR = 0.1  # nats: what is smaller is coloured faintly, and rounding not at all


@dataclass(frozen=True)
class StepRow:
    """One step in the table of an answer, as texts: the value after it, the chance of ending right
    (empty unless rewards are 0 or 1), its Monte-Carlo credit and its implicit one.
    """

    text: str
    value: str
    chance: str
    credit: str
    implicit: str
    falls: bool


def rows_of(values: StepValues, answer: AnswerValues) -> list[StepRow]:
    """A row for the start, and one for every step."""
    rows = []
    for s, estimate in enumerate(answer.monte_carlo):
        credit = implicit = ""
        if s:
            change = answer.monte_carlo_credits[s - 1]
            credit = f"{signed(change.value)} ({signed(change.low)} to {signed(change.high)})"
            implicit = signed(float(answer.step_credits[s - 1]))
        rows.append(
            StepRow(
                text=answer.step_texts[s - 1] if s else "start",
                value=f"{nats(estimate.value)} ({nats(estimate.low)} to {nats(estimate.high)})",
                chance=_chance(values, estimate),
                credit=credit,
                implicit=implicit,
                falls=s > 0 and answer.monte_carlo_credits[s - 1].high < 0,
            )
        )
    return rows


def _chance(values: StepValues, estimate: Estimate) -> str:
    """The chance of ending right that a value stands for, with its interval."""
    if not values.binary_reward:
        return ""
    value, low, high = (
        percent(values.chance(end)) for end in (estimate.value, estimate.low, estimate.high)
    )
    return value if estimate.low == estimate.high else f"{value} ({low} to {high})"


def lines_of(values: StepValues, answer: AnswerValues) -> ValueLines:
    """Monte-Carlo, implicit and (of a whole task) exact values at the ends of an answer's steps;
    and what a critic says there. The implicit line of a policy that is its reference is left out.
    """
    ends = answer.boundaries
    pin, source = values.pin
    lines: dict[str, Numbers] = {
        "Monte-Carlo": [estimate.value for estimate in answer.monte_carlo],
    }
    if not values.one_model:
        lines["implicit"] = answer.implicit_values[ends]
    if answer.critic_value is not None:
        lines["critic"] = answer.critic_value[ends]
    if values.exact is not None and values.exact.kind == "full" and answer.exact_values is not None:
        lines = {"exact": answer.exact_values[ends], **lines}
    caption = (
        f"{conditions(values.reference, values.alpha, log_z=pin)} ({source}); "
        f"bars: {values.level:.0%} intervals"
    )
    if source == "estimate" and not values.one_model:
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
    """Strips of credits by heading, those that can be other than 0: per step by Monte-Carlo, per
    step and token by the policy, and of the exact V where the answer stays in the tree.
    """
    strips: dict[str, TokenStrip] = {}

    def add(heading: str, texts: Sequence[Token], credits: Numbers, of: str, **more: Any) -> None:
        # One scale from 0.1 nats on: no colour is made of rounding.
        full = full_scale(credits, floor=FLOOR)
        strips[heading] = token_strip(
            texts, credits, alpha=values.alpha, reference=of, scale=full, **more
        )

    about = f"{values.reference}; policy: {values.policy}"
    steps = answer.step_texts
    by_token = len(steps) < len(answer.tokens)
    if not values.one_model and by_token:
        add("Credit of every step", steps, answer.step_credits, of=about, unit="step")
    unit = "token" if by_token else "step"
    texts, credits, special = _characters(answer, answer.credits)
    if not values.one_model:
        heading = f"Credit of every {unit}"
        add(heading, texts, credits, of=about, unit=unit, special=special)
    if not values.all_alike:
        sampled = [credit.value for credit in answer.monte_carlo_credits]
        heading = f"Credit of every step under {values.reference}, by Monte-Carlo"
        add(heading, steps, sampled, of=values.reference, unit="step")
    tree, exact_values = values.exact, answer.exact_values
    if tree is None or exact_values is None or len(exact_values) < 2:
        return strips
    if np.abs(np.diff(exact_values)).max() < 0.005:  # nothing happens as far as the tree goes
        return strips
    heading = f"Exact credit of every {unit}"
    if tree.kind == "pruned":
        heading = "Exact credit inside the pruned tree"
    texts, credits, special = _characters(answer, np.diff(exact_values))
    add(heading, texts, credits, of=tree.reference, unit=unit, special=special)
    return strips


def _characters(answer: AnswerValues, credits: Array) -> tuple[list[str], list[float], list[int]]:
    """Texts, credits and special places of whole characters, as far as the credits of their tokens
    go: pieces of a character stand with the token that completes it.
    """
    runs = [(start, stop) for start, stop in answer.characters if stop <= len(credits)]
    texts = [_joined(answer, start, stop) for start, stop in runs]
    special = [i for i, (start, _) in enumerate(runs) if start in answer.special]
    return texts, [float(credits[start:stop].sum()) for start, stop in runs], special


def _joined(answer: AnswerValues, start: int, stop: int) -> str:
    """Text of a run of tokens; of several, all but the last are pieces of its character."""
    return answer.texts[stop - 1] if stop - start > 1 else answer.texts[start]


def render_page(values: StepValues) -> str:
    """The page as one HTML string: inline style, pictures in it, no script; it asks for nothing
    from any network.

    >>> from gnivo_edu.evaluation.step_values import step_values
    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> mdp = TokenMDP(2, 2, reward=lambda tokens, lengths: tokens[:, 0])
    >>> policy, reference = TabularLM.from_mdp(mdp, seed=0), TabularLM.from_mdp(mdp)
    >>> page = render_page(step_values(policy, reference, mdp, alpha=0.5, answers=[[0, 1], [1, 1]]))
    >>> page.count("<section"), "<script" in page
    (2, False)
    """
    values = _readable(values)
    pin, source = values.pin
    ends = f"{values.level:.0%} interval {nats(values.log_z.low)} to {nats(values.log_z.high)}"
    log_z = f"{nats(pin)} nats (estimate, {ends})"
    if source == "exact":
        log_z = f"{nats(pin)} nats (exact); the samples say {nats(values.log_z.value)}, {ends}"
    formats = {"conditions": conditions, "number": number, "signed": signed, "visible": visible}
    parts = {"strips_of": strips_of, "lines_of": lines_of, "rows_of": rows_of, "verdict": verdict}
    return render(TEMPLATE, values=values, log_z=log_z, alike=alike(values), **parts, **formats)


def write_pages(values: Sequence[StepValues], folder: Path) -> Path:
    """The page of one question as index.html; of several a page each, and an index.html that says
    of every answer where its value first falls. Its path.
    """
    if len(values) == 1:
        return write_page(values[0], folder / "index.html")
    names = [f"question-{place}.html" for place in range(1, len(values) + 1)]
    for one, name in zip(values, names, strict=True):
        write_page(one, folder / name)
    questions = [(name, _readable(one)) for name, one in zip(names, values, strict=True)]
    parts = {"number": number, "verdict": verdict, "alike": alike}
    index = folder / "index.html"
    page = render_in_shell(TEMPLATE.with_name("questions.html"), questions=questions, **parts)
    index.write_text(page, encoding="utf-8")
    return index


def _readable(values: StepValues) -> StepValues:
    """The same with names of models that hide nothing and move nothing beside them."""
    tree = values.exact
    return replace(
        values,
        policy=visible(values.policy),
        reference=visible(values.reference),
        exact=None if tree is None else replace(tree, reference=visible(tree.reference)),
    )


def write_page(values: StepValues, path: str | PathLike[str]) -> Path:
    """Write `render_page` to a file, whose folder is made if it is missing; its path."""
    target = home(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render_page(values), encoding="utf-8")
    return target
