"""Credit strips: answers as rows, steps as columns, one chip per step with its credit under the token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gnivo_edu.exact import Solution
from gnivo_edu.figures.style import INK, Shown, colour, escape, mark, signed, visible


@dataclass(frozen=True)
class CreditStrips(Shown):
    """Credits V(s_t) - V(s_{t-1}) of the steps of several answers, nats.

    `tokens[label]` and `credits[label]` have one entry per step; `headings` name the steps; `scale` is the credit at
    which the colour is full, fixed across panels that are compared. The caption names the reference and alpha.
    """

    tokens: Mapping[str, Sequence[str]]
    credits: Mapping[str, Sequence[float]]
    headings: Sequence[str]
    caption: str
    scale: float

    def figure(self) -> Any:
        """A matplotlib Figure: one row of chips per answer, the sum at its end."""
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch

        rows, columns = list(self.tokens), len(self.headings)
        figure = Figure(figsize=(1.18 * (columns + 2.6), 0.72 * len(rows) + 1.0), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlim(-1.9, columns + 0.75)
        axes.set_ylim(len(rows) - 0.4, -1.0)
        axes.axis("off")
        for t, heading in enumerate(self.headings):
            axes.text(t + 0.5, -0.62, f"{t + 1}\n{heading}", ha="center", va="center", fontsize=9.5, color=INK)
        axes.text(columns + 0.38, -0.62, "sum", ha="center", va="center", fontsize=9.5, color=INK)
        for row, label in enumerate(rows):
            axes.text(-0.08, row, label, ha="right", va="center", fontsize=10.5, color=INK)
            for t, (token, credit) in enumerate(zip(self.tokens[label], self.credits[label], strict=True)):
                axes.add_patch(
                    FancyBboxPatch(
                        (t + 0.06, row - 0.38),
                        0.88,
                        0.76,
                        boxstyle="round,pad=0,rounding_size=0.08",
                        facecolor=colour(credit, self.scale),
                        edgecolor="#777777",
                        linewidth=0.8,
                    )
                )
                axes.text(t + 0.5, row - 0.15, visible(token), ha="center", va="center", fontsize=9.5, color=INK)
                label_text = f"{mark(credit)} {signed(credit)}"
                axes.text(t + 0.5, row + 0.18, label_text, ha="center", va="center", fontsize=10, color=INK)
            total = signed(sum(self.credits[label]))
            axes.text(columns + 0.38, row, total, ha="center", va="center", fontsize=10.5, color=INK)
        axes.text(-1.85, len(rows) - 0.5, self.caption, ha="left", va="top", fontsize=9.5, color="#444444")
        return figure

    def html(self) -> str:
        """A table whose chips carry black text on their own background: the same on light and dark pages."""
        head = "".join(f"<th>{t + 1}<br>{escape(name)}</th>" for t, name in enumerate(self.headings))
        body = ""
        for label in self.tokens:
            chips = "".join(
                f'<td style="background:{colour(credit, self.scale)};color:{INK};border:1px solid #777;'
                f'border-radius:6px;text-align:center;padding:4px 8px">{escape(visible(token))}<br>'
                f"{mark(credit)}&nbsp;{signed(credit)}</td>"
                for token, credit in zip(self.tokens[label], self.credits[label], strict=True)
            )
            total = signed(sum(self.credits[label]))
            body += f'<tr><th style="text-align:right">{escape(label)}</th>{chips}<td>{total}</td></tr>'
        return (
            f'<table style="border-spacing:4px;border-collapse:separate"><caption style="caption-side:bottom">'
            f"{escape(self.caption)}</caption><tr><th></th>{head}<th>sum</th></tr>{body}</table>"
        )

    def text(self) -> str:
        """One line per answer."""
        width = max(map(len, self.tokens))
        lines = [
            f"{label:<{width}}  "
            + "  ".join(
                f"{visible(token)} {mark(credit)}{signed(credit)}"
                for token, credit in zip(self.tokens[label], self.credits[label], strict=True)
            )
            + f"  = {signed(sum(self.credits[label]))}"
            for label in self.tokens
        ]
        return "\n".join([*lines, self.caption])


def credit_strips(
    solution: Solution,
    answers: Mapping[str, Sequence[int]],
    vocabulary: Sequence[str],
    headings: Sequence[str] | None = None,
    reference: str = "the initial model",
    scale: float | None = None,
) -> CreditStrips:
    """Exact credit strips of `answers` (label -> tokens, all of one length) under a solution.

    `scale` defaults to the largest credit shown. The caption names the reference, alpha and log Z.

    >>> import toy_envs
    >>> from gnivo_edu import exact
    >>> problem = toy_envs.PosterProblem()
    >>> key = exact.solve(exact.enumerate_tree(problem), alpha=0.5)
    >>> strips = credit_strips(key, {"right": problem.examples["right"]}, problem.vocabulary)
    >>> print(strips.text().splitlines()[1])
    credit in nats; reference: the initial model; alpha = 0.5; log Z = 1.54; full colour at ±0.15
    """
    credits = {label: solution.step_credit(answer).tolist() for label, answer in answers.items()}
    full = max(abs(c) for row in credits.values() for c in row) if scale is None else scale
    return CreditStrips(
        tokens={label: [vocabulary[token] for token in answer] for label, answer in answers.items()},
        credits=credits,
        headings=headings or [""] * max(map(len, answers.values())),
        caption=(
            f"credit in nats; reference: {reference}; alpha = {solution.alpha:g}; log Z = {solution.log_z:.2f}; "
            f"full colour at ±{full:.2f}"
        ),
        scale=full,
    )
