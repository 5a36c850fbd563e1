"""Credit strips: answers as rows, steps as columns, one chip per step with its credit under the
token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gnivo_edu.exact import Solution
from gnivo_edu.figures.chips import Chip, captioned, draw_columns, sheet, text_width
from gnivo_edu.figures.style import Numbers, Shown, conditions, escape, full_scale, signed
from gnivo_edu.figures.tokens import Token, in_html, in_picture, in_text, wrapped


@dataclass(frozen=True)
class CreditStrips(Shown):
    """Credits V(s_t) - V(s_{t-1}) of the steps of several answers, nats.

    `tokens[label]` and `credits[label]` have one entry per step, answers may differ in length;
    `headings` name the steps; `scale` is the credit at which the colour is full, fixed across
    panels that are compared. The caption names the reference and alpha. Tokens in `special` are
    boxed.
    """

    tokens: Mapping[str, Sequence[Token]]
    credits: Mapping[str, Numbers]
    headings: Sequence[str]
    caption: str
    scale: float
    special: Collection[Token] = ()

    def __post_init__(self) -> None:
        for label, tokens in self.tokens.items():
            if not 0 < len(tokens) == len(self.credits[label]) <= len(self.headings):
                raise ValueError(
                    f"answer {label!r} has {len(tokens)} steps, {len(self.credits[label])} credits "
                    f"and {len(self.headings)} headings: give each step a credit and a heading"
                )

    def chips(self) -> dict[str, list[Chip]]:
        """One chip per step of every answer."""
        return {
            label: [
                Chip(token, float(credit), special=token in self.special)
                for token, credit in zip(self.tokens[label], self.credits[label], strict=True)
            ]
            for label in self.tokens
        }

    def _draw(self) -> Any:
        rows = self.chips()
        headings = [wrapped(in_picture(name), 12) if name else [] for name in self.headings]
        labels = {label: wrapped(in_picture(label), 14) for label in rows}
        sizes = [
            [row[t].size(most=16) for row in rows.values() if t < len(row)]
            for t in range(len(headings))
        ]
        widths = [
            max(0.78, *(width for width, _ in column), *map(text_width, heading))
            for column, heading in zip(sizes, headings, strict=True)
        ]
        height = max(high for column in sizes for _, high in column)
        left = max(text_width(line, 10) for lines in labels.values() for line in lines) + 0.15
        top = 0.22 * (max(map(len, headings)) + 1) + 0.06
        total_at = left + sum(widths) + 0.1 * len(widths) + 0.3
        page = total_at + 0.35
        below = top + (height + 0.16) * len(rows)
        axes = sheet(page, below + 0.06, caption=self.caption)
        draw_columns(
            axes,
            heads=[[str(t), *heading] for t, heading in enumerate(headings, start=1)],
            rows=[(top + n * (height + 0.16), chips) for n, chips in enumerate(rows.values())],
            x=left,
            y=top - 0.1,
            widths=widths,
            height=height,
            scale=self.scale,
            most=16,
            gap=0.1,
        )
        axes.text(total_at, top - 0.1, "sum", ha="center", va="bottom", fontsize=9.5)
        for row, (label, chips) in enumerate(rows.items()):
            middle = top + row * (height + 0.16) + height / 2
            name, total = "\n".join(labels[label]), signed(sum(chip.value for chip in chips))
            axes.text(left - 0.12, middle, name, ha="right", va="center", fontsize=10)
            axes.text(total_at, middle, total, ha="center", va="center", fontsize=10)
        return captioned(axes, self.caption, x=0, y=below, width=page)

    def html(self) -> str:
        """A table whose chips carry black text on their own background: the same on light and dark
        pages.
        """
        head = "".join(
            f'<th scope="col">{t + 1}<br>{escape(name)}</th>'
            for t, name in enumerate(self.headings)
        )
        body = ""
        for label, chips in self.chips().items():
            cells = "".join(chip.html(self.scale) for chip in chips)
            padding = "<td></td>" * (len(self.headings) - len(chips))
            name = (
                f'<th scope="row" style="text-align:right;white-space:nowrap">{in_html(label)}</th>'
            )
            body += (
                f"<tr>{name}{cells}{padding}"
                f"<td>{signed(sum(chip.value for chip in chips))}</td></tr>"
            )
        return self._framed(
            f'<table style="border-spacing:4px;border-collapse:separate">'
            f'<tr><td></td>{head}<th scope="col">sum</th></tr>{body}</table>'
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row per step, one column per answer."""
        chips = self.chips()
        sums = [signed(sum(chip.value for chip in row)) for row in chips.values()]
        rows = [
            [
                f"{t + 1} {name}".strip(),
                *(row[t].text() if t < len(row) else "" for row in chips.values()),
            ]
            for t, name in enumerate(self.headings)
        ]
        return ["step", *map(in_text, chips)], [*rows, ["sum", *sums]]

    def alt(self) -> str:
        """Where the largest gain and the largest loss are."""
        places = [
            (chip.value, f"{signed(chip.value)} at step {t + 1} of “{in_text(label)}”")
            for label, chips in self.chips().items()
            for t, chip in enumerate(chips)
        ]
        count = "one answer" if len(self.tokens) == 1 else f"{len(self.tokens)} answers"
        return (
            f"Credit of every step of {count}, in nats: the largest gain is {max(places)[1]}, "
            f"the largest loss {min(places)[1]}."
        )


def credit_strips(
    solution: Solution,
    answers: Mapping[str, Sequence[int]],
    vocabulary: Sequence[str],
    headings: Sequence[str] | None = None,
    reference: str = "the initial model",
    scale: float | None = None,
) -> CreditStrips:
    """Exact credit strips of `answers` (label -> tokens) under a solution.

    `headings` name the steps; an end-of-sequence token is boxed. `scale` defaults to the largest
    credit shown. The caption names the reference, alpha and log Z.

    >>> import toy_envs
    >>> from gnivo_edu import exact
    >>> problem = toy_envs.PosterProblem()
    >>> key = exact.solve(exact.enumerate_tree(problem), alpha=0.5)
    >>> answers = {"right": problem.examples["right"]}
    >>> strips = credit_strips(key, answers, problem.vocabulary, problem.step_names)
    >>> print("\\n".join(strips.text().splitlines()[-2:]))
    sum             +0.46
    credit in nats; reference: the initial model; alpha = 0.5; log Z = 1.54; full colour at ±0.15
    """
    credits = {label: solution.step_credit(answer).tolist() for label, answer in answers.items()}
    full = full_scale((c for row in credits.values() for c in row), scale)
    eos = solution.tree.eos_token_id
    return CreditStrips(
        tokens={label: [vocabulary[t] for t in answer] for label, answer in answers.items()},
        credits=credits,
        headings=headings or [""] * max(map(len, answers.values())),
        caption=(
            f"credit in nats; {conditions(reference, solution.alpha, solution.log_z)}; "
            f"full colour at ±{full:.2f}"
        ),
        scale=full,
        special=() if eos is None else (vocabulary[eos],),
    )
