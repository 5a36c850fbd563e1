"""Rungs of a ladder: the same run on several kinds of model, one row each; a rung that was not run
is a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gnivo_edu.figures.chips import (
    GAP,
    LINE,
    Chip,
    NumberChip,
    captioned,
    draw_row,
    sheet,
    text_width,
)
from gnivo_edu.figures.lines import styles
from gnivo_edu.figures.style import QUIET, Numbers, Shown, conditions, full_scale, signed
from gnivo_edu.figures.tokens import Token, in_picture, in_text

CURVE = 2.0  # width of a curve, inches
BETWEEN = 0.06  # space between chips, inches


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One run: `facts`, a few short lines about it; the mean reward after 0, 1, ... rounds; credits
    of an answer, nats.

    `exact_rewards` and `exact_credits` stand beside what was measured where every answer can be
    counted; where the second credits come another way, `second` says which. A rung with `missing`,
    one line that says why it was not run, has nothing else.
    """

    name: str
    facts: Sequence[str] = ()
    rewards: Numbers = ()
    exact_rewards: Numbers = ()
    tokens: Sequence[Token] = ()
    credits: Numbers = ()
    exact_credits: Numbers = ()
    second: str = "exact"
    missing: str = ""

    def __post_init__(self) -> None:
        if self.missing:
            return
        rounds, tokens = len(self.rewards), len(self.tokens)
        if not rounds or not tokens or len(self.credits) != tokens:
            raise ValueError(
                f"rung {self.name!r} needs rewards, and tokens with a credit each, "
                "or says what is missing"
            )
        if len(self.exact_rewards) not in (0, rounds) or len(self.exact_credits) not in (0, tokens):
            raise ValueError(
                f"rung {self.name!r} has exact numbers for a part of its rounds or tokens: "
                "all, or none"
            )

    def chips(self) -> list[Chip]:
        """One chip per token of the answer."""
        return [Chip(token, float(x)) for token, x in zip(self.tokens, self.credits, strict=True)]


@dataclass(frozen=True)
class Rungs(Shown):
    """Rungs from the top down, on one colour scale: facts, rewards round by round, and the credits
    of one answer.

    `first` is the number of the first rung. The caption names the reference and alpha; `scale` is
    the credit at which the colour is full.

    >>> done = Rung(name="a table", rewards=[0.5, 0.7], tokens=["right"], credits=[0.25])
    >>> empty = Rung(name="a large model", missing="not run here: needs a GPU")
    >>> print(Rungs([done, empty], "credit in nats", scale=1.0))
    rung             what                    numbers
    1 a table        reward, by round        0.500 0.700
                     credits of an answer    right ▲+0.25
    2 a large model  not run here: needs a GPU
    credit in nats
    """

    rungs: Sequence[Rung]
    caption: str
    scale: float
    first: int = 1

    def _draw(self) -> Any:
        words = (line for rung in self.rungs for line in (self._title(rung), *rung.facts))
        left = max(text_width(line, 10) for line in words) + 0.3
        widths = [[max(0.5, c.size(9)[0]) for c in rung.chips()] for rung in self.rungs]
        middle = left + 0.45 + CURVE + 0.65
        page = middle + max([3.0, *(sum(row) + BETWEEN * len(row) for row in widths)]) + 0.1
        heights = [
            LINE + 0.2 if rung.missing else max(1.3, LINE * (len(rung.facts) + 1) + 0.25)
            for rung in self.rungs
        ]
        axes = sheet(page, 0.3 + sum(heights) + 0.35, caption=self.caption)
        key = " (● drawn, - - exact)" if any(len(rung.exact_rewards) for rung in self.rungs) else ""
        end, head = left + 0.45 + CURVE, {"va": "center", "fontsize": 9.5}
        axes.text(end, 0.15, f"mean reward by rounds done{key}", ha="right", **head)
        axes.text(middle, 0.15, "credits of one answer, nats", ha="left", **head)
        top = 0.3
        for rung, row, height in zip(self.rungs, widths, heights, strict=True):
            axes.text(0, top + 0.1, self._title(rung), va="top", fontsize=10, fontweight="bold")
            for n, fact in enumerate(rung.facts, start=1):
                axes.text(0, top + 0.12 + n * LINE, fact, va="top", fontsize=9, color=QUIET)
            if rung.missing:
                axes.text(left, top + 0.1, rung.missing, va="top", fontsize=10, color=QUIET)
            else:
                self._curve(axes.figure, rung, x=left + 0.45, y=top + 0.12, height=height - 0.42)
                self._strip(axes, rung, widths=row, x=middle, top=top)
            top += height
        return captioned(axes, self.caption, x=0, y=top + 0.25, width=page)

    def _title(self, rung: Rung) -> str:
        place = [other is rung for other in self.rungs].index(True)
        return f"{self.first + place} {in_picture(rung.name, 40)}"

    def _curve(self, figure: Any, rung: Rung, x: float, y: float, height: float) -> None:
        """Rewards in a box with its upper left corner at (x, y) from the top, inches."""
        wide, high = figure.get_size_inches()
        axes = figure.add_axes((x / wide, 1 - (y + height) / high, CURVE / wide, height / high))
        measured, known = styles(2)
        rounds = range(len(rung.rewards))
        if len(rung.exact_rewards):
            axes.plot(rounds, rung.exact_rewards, color=known.colour, linestyle=known.dashes)
        axes.plot(rounds, rung.rewards, measured.marker, color=measured.colour, markersize=3.8)
        axes.set(
            ylim=(0, 1.05),
            yticks=(0, 0.5, 1),
            xticks=list(rounds),
            xlim=(-0.3, len(rounds) - 0.7),
        )
        axes.tick_params(labelsize=8.5)
        axes.grid(color="#ececec")

    def _strip(self, axes: Any, rung: Rung, widths: Sequence[float], x: float, top: float) -> None:
        chips = rung.chips()
        height = max(chip.size(9)[1] for chip in chips)
        below = top + 0.12 + height + BETWEEN
        row: Any = {"widths": widths, "scale": self.scale, "most": 9, "gap": BETWEEN}
        name = {"x": x - 0.08, "ha": "right", "va": "center", "fontsize": 9}
        axes.text(y=top + 0.12 + height / 2, s="learned", **name)
        draw_row(axes, chips, x=x, y=top + 0.12, height=height, **row)
        if len(rung.exact_credits):
            axes.text(y=below + (LINE + 2 * GAP) / 2, s=rung.second, **name)
            exact = list(map(NumberChip, rung.tokens, map(float, rung.exact_credits)))
            draw_row(axes, exact, x=x, y=below, height=LINE + 2 * GAP, **row)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """What each rung holds, one row a kind."""
        rows = []
        for number, rung in enumerate(self.rungs, start=self.first):
            numbers = [
                ("reward, by round", " ".join(f"{x:.3f}" for x in rung.rewards)),
                ("the same, exact", " ".join(f"{x:.3f}" for x in rung.exact_rewards)),
                ("credits of an answer", "  ".join(chip.text() for chip in rung.chips())),
                (
                    f"the same, {rung.second}",
                    "  ".join(signed(float(x)) for x in rung.exact_credits),
                ),
            ]
            lines = [["", "", fact] for fact in rung.facts]
            lines += [["", what, text] for what, text in numbers if text]
            lines = lines or [["", rung.missing, ""]]
            lines[0][0] = f"{number} {in_text(rung.name)}"
            rows += lines
        return ["rung", "what", "numbers"], rows

    def alt(self) -> str:
        """Which rungs were run, and how the reward moved."""
        told = [
            f"{rung.name}: {rung.missing}"
            if rung.missing
            else f"{rung.name}: mean reward {rung.rewards[0]:.2f} to {rung.rewards[-1]:.2f}"
            for rung in self.rungs
        ]
        return f"{len(self.rungs)} rungs of a ladder, one row each. {'; '.join(told)}."


def rungs(
    runs: Sequence[Rung],
    alpha: float,
    reference: str = "the initial model",
    first: int = 1,
    scale: float | None = None,
) -> Rungs:
    """A ladder of runs, its first rung numbered `first`; the colour is full at `scale`, by default
    the largest credit shown.
    """
    if not runs:
        raise ValueError("a ladder needs at least one rung")
    credits = (float(x) for run in runs for x in (*run.credits, *run.exact_credits))
    full = full_scale(credits, scale)
    caption = (
        f"credit log π/π_ref of each token in nats; {conditions(reference, alpha)}; "
        f"full colour at ±{full:.2f}"
    )
    return Rungs(runs, caption, scale=full, first=first)
