"""The sample map: many answers at once, rows sorted by reward, columns the positions, colour the
credit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnivo_edu.exact import Solution
from gnivo_edu.figures.chips import Chip
from gnivo_edu.figures.style import (
    EDGE,
    INK,
    Shown,
    caption_below,
    colour,
    conditions,
    full_scale,
    mark,
    number,
    one_panel,
    signed,
)
from gnivo_edu.figures.tokens import Token, in_picture
from gnivo_edu.figures.waterfall import reward_of

HATCH = "repeating-linear-gradient(45deg,transparent 0 5px,#888888 5px 6px)"
MOST_NUMBERS = 12  # columns; with more, cells hold the sign alone


@dataclass(frozen=True)
class SampleMap(Shown):
    """Credits of every token of many answers, nats; rows are shown from the largest reward down.

    `tokens[i]` and `credits[i]` have one entry per token of answer i; what follows in its row is
    padding, hatched and never coloured. `ended[i]`: the answer closed itself, and a bar follows it;
    else the length limit cut it off. `scale`: the credit at which the colour is full.
    """

    tokens: Sequence[Sequence[Token]]
    credits: Sequence[Sequence[float]]
    rewards: Sequence[float]
    ended: Sequence[bool]
    caption: str
    scale: float

    def __post_init__(self) -> None:
        if not len(self.tokens) == len(self.credits) == len(self.rewards) == len(self.ended) > 0:
            raise ValueError(
                "a sample map needs tokens, credits, a reward and an end for each of at least one "
                "answer"
            )

    def rows(self) -> list[tuple[float, bool, list[Chip]]]:
        """(reward, ended, chips) of every answer, the largest reward first; equal ones keep their
        order.
        """
        chips = [
            [Chip(*c) for c in zip(*row, strict=True)]
            for row in zip(self.tokens, self.credits, strict=True)
        ]
        return sorted(zip(self.rewards, self.ended, chips, strict=True), key=lambda row: -row[0])

    @property
    def positions(self) -> int:
        """Columns: tokens of the longest answer."""
        return max(map(len, self.tokens))

    def _draw(self) -> Any:
        import seaborn
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.patches import Rectangle

        rows = self.rows()
        few = self.positions <= MOST_NUMBERS
        values = np.full((len(rows), self.positions), np.nan)
        words = np.full(values.shape, "", dtype=object)
        for i, (_, _, chips) in enumerate(rows):
            values[i, : len(chips)] = [chip.value for chip in chips]
            words[i, : len(chips)] = [self._word(chip) for chip in chips]
        width = 1.9 + (0.68 if few else 0.27) * self.positions
        figure, axes = one_panel((max(width, 5.0), 0.27 * len(rows) + 1.2))
        ends = [colour(value, 1.0) for value in (-1, 0, 1)]
        seaborn.heatmap(
            values,
            vmin=-self.scale,
            vmax=self.scale,
            cmap=LinearSegmentedColormap.from_list("credit", ends),
            annot=words,
            fmt="",
            linewidths=0.8,
            annot_kws={"color": INK, "fontsize": 9},
            cbar_kws={"label": "credit, nats"},
            ax=axes,
        )
        for i, (_, ended, chips) in enumerate(rows):
            end = len(chips)
            padding = Rectangle((end, i), self.positions - end, 1, facecolor="none", linewidth=0)
            axes.add_patch(padding).set(edgecolor="#b0b0b0", hatch="////")
            if ended:
                axes.plot([end, end], [i + 0.08, i + 0.92], color=INK, linewidth=3.5, clip_on=False)
        axes.set_yticks(
            np.arange(len(rows)) + 0.5,
            [f"R = {number(reward)}" for reward, _, _ in rows],
            rotation=0,
        )
        step = 1 if few else 5
        places = range(0 if few else step - 1, self.positions, step)
        axes.set_xticks([t + 0.5 for t in places], [str(t + 1) for t in places], rotation=0)
        axes.tick_params(length=0)
        axes.set_xlabel("position")
        return caption_below(figure, self.caption)

    def _word(self, chip: Chip) -> str:
        """What a cell says: sign and number, after the token if it is short, or the sign alone."""
        token = in_picture(chip.token)
        if self.positions > MOST_NUMBERS:
            return mark(chip.value)
        return f"{token} {signed(chip.value)}" if len(token) <= 2 else signed(chip.value)

    def html(self) -> str:
        """A table of chips; padding is hatched, and a thick edge closes an answer that ended by
        itself.
        """
        head = "".join(f'<th scope="col">{t + 1}</th>' for t in range(self.positions))
        body = ""
        for reward, ended, chips in self.rows():
            cells = "".join(chip.html(self.scale) for chip in chips[:-1])
            edge = f"border-right:5px solid {EDGE}" if ended else ""
            cells += "".join(chip.html(self.scale, style=edge) for chip in chips[-1:])
            padding = f'<td aria-label="padding" style="background:{HATCH}"></td>'
            cells += padding * (self.positions - len(chips))
            name = f'<th scope="row" style="white-space:nowrap">R = {number(reward)}</th>'
            body += f"<tr>{name}{cells}</tr>"
        return self._framed(
            '<table style="border-spacing:3px;border-collapse:separate">'
            f"<tr><td></td>{head}</tr>{body}</table>"
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row per answer; "|" follows the end of one that closed itself, "…" of one that was
        cut off.
        """
        body = []
        for reward, ended, chips in self.rows():
            cells = [chip.text() for chip in chips]
            if any(self.ended):  # where answers can end by themselves
                cells[-1:] = [f"{cell} {'|' if ended else '…'}" for cell in cells[-1:]]
            body.append([f"R = {number(reward)}", *cells, *[""] * (self.positions - len(chips))])
        return ["reward", *(str(t + 1) for t in range(self.positions))], body

    def alt(self) -> str:
        """How many answers earned the most, and where credits differ most."""
        best = max(self.rewards)
        count = list(self.rewards).count(best)
        spread, where = max(
            (float(np.ptp([row[t] for row in self.credits if t < len(row)])), -t)
            for t in range(self.positions)
        )
        return (
            f"Map of {len(self.rewards)} sampled answers, {count} with the highest reward "
            f"{number(best)} on top: credits differ most at position {1 - where}, "
            f"by {spread:.2f} nats."
        )


def sample_map(
    solution: Solution,
    answers: Sequence[Sequence[int]],
    vocabulary: Sequence[str],
    reference: str = "the initial model",
    scale: float | None = None,
) -> SampleMap:
    """The map of complete answers under a solution; each may end early with the end-of-sequence
    token.

    >>> import toy_envs
    >>> from gnivo_edu import exact
    >>> brackets = toy_envs.Brackets(horizon=3)
    >>> key = exact.solve(exact.enumerate_tree(brackets), alpha=0.5)
    >>> two = sample_map(key, [(2,), (0, 1, 2)], brackets.vocabulary)
    >>> print("\\n".join(two.text().splitlines()[:3]))
    reward  1           2         3
    R = 1   ( ▲+0.32    ) ▲+0.60  . ▲+0.86 |
    R = 0   . ▼−0.21 |
    """
    tree, eos = solution.tree, solution.tree.eos_token_id
    ended = [len(answer) > 0 and answer[-1] == eos for answer in answers]
    rewards = [reward_of(tree, answer) for answer in answers]
    credits = [solution.step_credit(answer).tolist() for answer in answers]
    full = full_scale((c for row in credits for c in row), scale)
    bar = "bar: the answer ended; hatched: padding; " if any(ended) else ""
    return SampleMap(
        tokens=[[vocabulary[token] for token in answer] for answer in answers],
        credits=credits,
        rewards=rewards,
        ended=ended,
        caption=(
            f"credit in nats; {bar}{conditions(reference, solution.alpha, solution.log_z)}; "
            f"full colour at ±{full:.2f}"
        ),
        scale=full,
    )
