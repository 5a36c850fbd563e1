"""The page of step values: strips and value lines of every answer, one self-contained HTML file,
light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from gnivo_edu.evaluation.step_values.record import AnswerValues, StepValues
from gnivo_edu.exact import success_probability
from gnivo_edu.figures.lines import label_lines, label_width, styles
from gnivo_edu.figures.style import (
    Numbers,
    Shown,
    caption_below,
    conditions,
    escape,
    number,
    percent,
    signed,
)
from gnivo_edu.figures.token_strip import TokenStrip, token_strip
from gnivo_edu.figures.tokens import in_html, in_picture, in_text, wrapped
from gnivo_edu.figures.values import chance_axis

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>What every step was worth</title>
<style>
:root { --paper: #fcfcfb; --ink: #17191c; --soft: #565b61; --line: #d8dad8; }
@media (prefers-color-scheme: dark) { :root { --paper: #121517; --ink: #ededeb; --soft: #aab1b6; --line: #373d41; } }
body { background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
  max-width: 62rem; margin: auto; padding: 1.5rem 1rem; }
section { border-top: 1px solid var(--line); margin-top: 1.5rem; }
h1, h2, h3 { font-weight: 600; line-height: 1.2; }
h3 { font-size: 1rem; margin-bottom: .2rem; }
blockquote { margin: 0; padding-left: 1rem; border-left: 3px solid var(--line); }
figcaption, footer, .soft { color: var(--soft); font-size: .9rem; }
</style>
</head>
<body>
"""


@dataclass(frozen=True)
class StepLines(Shown):
    """Values V(s_t), nats, at the ends of S steps: `lines[name]` has S + 1 entries,
    `intervals[name]` two such rows.

    The first line is the yardstick; bars show the intervals. `alpha` is given for rewards of 0 and
    1 only: then the right axis is the chance of ending right.
    """

    steps: Sequence[str]
    lines: Mapping[str, Numbers]
    caption: str
    alpha: float | None = None
    intervals: Mapping[str, tuple[Numbers, Numbers]] = field(default_factory=dict)

    def _draw(self) -> Any:
        from matplotlib.figure import Figure

        names, count = list(self.lines), len(self.steps)
        x = np.arange(count + 1)
        figure = Figure(figsize=(9.0, 4.3), layout="constrained")
        axes = figure.add_subplot()
        for rank, (name, look) in enumerate(zip(names, styles(len(names)), strict=True)):
            axes.plot(
                x, self.lines[name], color=look.colour, linestyle=look.dashes, marker=look.marker,
                linewidth=3.2 if rank == 0 else 1.8, markersize=8 if rank == 0 else 5.5,
                markeredgecolor="white", markeredgewidth=0.7, zorder=3 + rank,
            )  # fmt: skip
            if name in self.intervals:
                low, high = self.intervals[name]
                axes.vlines(x, low, high, color=look.colour, linewidth=1.2, zorder=2)
        if count > 10:
            axes.set_xticks(
                x,
                ["start", *(f"{t} {in_picture(s, 14)}" for t, s in enumerate(self.steps, start=1))],
            )
            axes.tick_params(axis="x", rotation=90, labelsize=9.5 if count <= 40 else 6)
        else:
            words = ["\n".join(wrapped(in_picture(step, 24), 11)) for step in self.steps]
            axes.set_xticks(x, ["start", *(f"{t}\n{own}" for t, own in enumerate(words, start=1))])
        room = label_width(names)
        axes.set_xlim(-0.3, count + (count + 0.3) * room / (7.4 - room))
        axes.margins(y=0.08)
        axes.set_ylabel("soft value V, nats")
        axes.grid(axis="y", color="#e4e4e4")
        axes.set_axisbelow(True)
        label_lines(axes, count, [line[-1] for line in self.lines.values()], names)
        if self.alpha is not None:
            chance_axis(axes, self.alpha)
        caption_below(figure, self.caption)
        return figure

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row per place: every line's value, nats, its interval, and the chance of ending right
        by the first.
        """
        columns = [
            ["start", *(f"{t} {in_text(step)}" for t, step in enumerate(self.steps, start=1))]
        ]
        for name, values in self.lines.items():
            column = [_nats(value) for value in values]
            if name in self.intervals:
                ends = zip(*self.intervals[name], strict=True)
                column = [
                    f"{v} ({_nats(a)} to {_nats(b)})"
                    for v, (a, b) in zip(column, ends, strict=True)
                ]
            columns.append(column)
        head = ["after step", *self.lines]
        if self.alpha is not None:
            head.append("chance of ending right")
            first = np.asarray(next(iter(self.lines.values())), dtype=np.float64)
            columns.append([percent(p) for p in success_probability(first, self.alpha).tolist()])
        return head, [list(row) for row in zip(*columns, strict=True)]

    def alt(self) -> str:
        """Where each line starts and ends."""
        ends = [
            f"“{name}” goes from {signed(v[0])} to {signed(v[-1])}"
            for name, v in self.lines.items()
        ]
        return f"Value along an answer of {len(self.steps)} steps, in nats: {'; '.join(ends)}."


def lines_of(values: StepValues, answer: AnswerValues) -> StepLines:
    """Implicit, Monte-Carlo and (of a whole task) exact values at the ends of an answer's steps."""
    ends = answer.boundaries
    pin, source = values.pin
    sampled, implicit = [e.value for e in answer.monte_carlo], answer.implicit_values[ends]
    shown: dict[str, Numbers] = {"Monte-Carlo": sampled, "implicit": implicit}
    if values.exact is not None and values.exact.kind == "full" and answer.exact_values is not None:
        shown = {"exact": answer.exact_values[ends], **shown}
    bars = {
        "Monte-Carlo": ([e.low for e in answer.monte_carlo], [e.high for e in answer.monte_carlo])
    }
    caption = (
        f"{conditions(values.reference, values.alpha, pin)} ({source}); bars: {values.level:.0%} "
        "intervals"
    )
    if source == "estimate":
        low, high = values.log_z.low - pin, values.log_z.high - pin
        caption += f"; the implicit line as a whole is known to {_nats(low)} to +{_nats(high)} nats, those of log Z"
    alpha = values.alpha if values.binary_reward else None
    return StepLines(answer.step_texts, shown, caption, alpha, bars)


def strips_of(values: StepValues, answer: AnswerValues) -> dict[str, TokenStrip]:
    """Strips of credits by heading: per token, per step, and of the exact V where the answer stays
    in the tree.
    """
    about = f"{values.reference}; policy: {values.policy}"
    strips, by_token = {}, len(answer.step_texts) < len(answer.tokens)
    if by_token:
        strips["Credit of every step"] = token_strip(
            answer.step_texts, answer.step_credits, values.alpha, about, unit="step"
        )
    unit = "token" if by_token else "step"
    strips[f"Credit of every {unit}"] = token_strip(
        answer.texts, answer.credits, values.alpha, about, answer.special, unit=unit
    )
    if (
        values.exact is not None
        and answer.exact_values is not None
        and len(answer.exact_values) > 1
    ):
        inside = len(answer.exact_values) - 1
        special = [t for t in answer.special if t < inside]
        pruned = values.exact.kind == "pruned"
        strips[
            "Exact credit inside the pruned tree" if pruned else f"Exact credit of every {unit}"
        ] = token_strip(
            answer.texts[:inside],
            np.diff(answer.exact_values),
            values.alpha,
            values.exact.reference,
            special,
            unit,
        )
    return strips


def render_page(values: StepValues) -> str:
    """The page as one HTML string: inline style, pictures in it, no script; it asks for nothing
    from any network.

    >>> from gnivo_edu.evaluation.step_values import step_values
    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> mdp = TokenMDP(2, 2, reward=lambda tokens, lengths: tokens[:, 0])
    >>> page = render_page(step_values(TabularLM.from_mdp(mdp, seed=0), TabularLM.from_mdp(mdp), mdp, alpha=0.5))
    >>> page.count("<section"), "<script" in page
    (4, False)
    """
    pin, source = values.pin
    ends = f"{values.level:.0%} interval {_nats(values.log_z.low)} to {_nats(values.log_z.high)}"
    about = f"{_nats(pin)} nats (exact); the samples say {_nats(values.log_z.value)}, {ends}"
    parts = [
        HEAD,
        "<h1>What every step was worth</h1>",
        f"<blockquote>{'<br>'.join(in_html(line) for line in values.prompt.splitlines() or [''])}</blockquote>",
        f"<p>Policy: {escape(values.policy)}; "
        f"{escape(conditions(values.reference, values.alpha))}. log Z = "
        f"{about if source == 'exact' else f'{_nats(pin)} nats (estimate, {ends})'}.</p>",
    ]
    for k, answer in enumerate(values.answers, start=1):
        total = float(answer.credits.sum())
        due = answer.reward / values.alpha - pin
        cut = "; cut off by the length limit" if answer.truncated else ""
        parts.append(
            f"<section><h2>Answer {k}: reward {number(answer.reward)}{cut}</h2>"
            f"<p>Its credits sum to {signed(total)} nats; those of the optimal policy would sum to "
            "R/α − log Z = "
            f"{signed(due)}.</p>"
        )
        parts += [
            f"<h3>{escape(name)}</h3>{strip.html()}"
            for name, strip in strips_of(values, answer).items()
        ]
        parts.append(f"<h3>Value after every step</h3>{lines_of(values, answer).html()}</section>")
    notes = "".join(f"<p>{escape(note)}</p>" for note in values.notes)
    return "".join(parts) + f"<footer>{notes}</footer>\n</body>\n</html>\n"


def write_page(values: StepValues, path: str | PathLike[str]) -> Path:
    """Write `render_page` to a file, whose folder is made if it is missing; its path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render_page(values), encoding="utf-8")
    return target


def _nats(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
