"""Update strips: one answer, one row per algorithm, a chip per step with what the algorithm does to
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gnivo_edu.figures.chips import (
    GAP,
    LINE,
    NumberChip,
    captioned,
    draw_columns,
    sheet,
    text_width,
)
from gnivo_edu.figures.style import (
    Numbers,
    Shown,
    conditions,
    escape,
    full_scale,
    signed,
)
from gnivo_edu.figures.tokens import Token, in_html, in_picture, in_text, wrapped

Blocks = Mapping[str, Mapping[str, Numbers]]


@dataclass(frozen=True)
class UpdateStrips(Shown):
    """What several algorithms do to the steps of one and the same answer, on one colour scale.

    `tokens`: what the answer wrote, one per step; `headings` name the steps.
    `blocks[title][label]`: the numbers of one algorithm, one per step, a block for each kind of
    number (one group, the mean over all groups, ...). `scale` is the number at which the colour is
    full. The caption names the unit, the reference and alpha.
    """

    tokens: Sequence[Token]
    headings: Sequence[str]
    blocks: Blocks
    caption: str
    scale: float

    def __post_init__(self) -> None:
        if not (
            len(self.tokens) == len(self.headings) > 0 and self.blocks and all(self.blocks.values())
        ):
            raise ValueError(
                "update strips need one heading per token and at least one row in each block"
            )
        for title, rows in self.blocks.items():
            for label, numbers in rows.items():
                if len(numbers) != len(self.tokens):
                    raise ValueError(
                        f"row {label!r} of {title!r} has {len(numbers)} numbers for "
                        f"{len(self.tokens)} steps: give each step one"
                    )

    def chips(self) -> dict[str, dict[str, list[NumberChip]]]:
        """One chip per step of every row, by block."""
        return {
            title: {
                label: list(map(NumberChip, self.tokens, map(float, numbers)))
                for label, numbers in rows.items()
            }
            for title, rows in self.blocks.items()
        }

    def _draw(self) -> Any:
        blocks = self.chips()
        # Over each column: number and name of the step, then what was written there.
        heads = [
            [f"{t}", *(wrapped(in_picture(name), 12) if name else []), f"“{in_picture(token, 14)}”"]
            for t, (name, token) in enumerate(zip(self.headings, self.tokens, strict=True), start=1)
        ]
        labels = {
            label: wrapped(in_picture(label), 24) for rows in blocks.values() for label in rows
        }
        every = (row for rows in blocks.values() for row in rows.values())
        widths = [
            max([0.7, *map(text_width, head), *(chip.size()[0] for chip in column)])
            for head, column in zip(heads, zip(*every, strict=True), strict=True)
        ]
        left = max(text_width(line, 10) for lines in labels.values() for line in lines) + 0.15
        page = left + sum(widths) + GAP * len(widths)
        row_height = LINE + 2 * GAP
        heights = {
            label: max(row_height, 0.19 * len(lines)) + GAP for label, lines in labels.items()
        }
        top = 0.19 * max(map(len, heads)) + 0.08
        title_height = 0.36
        below = top + sum(
            title_height + sum(heights[label] for label in rows) for rows in blocks.values()
        )
        axes = sheet(page, below + 0.12, caption=self.caption)
        y = top
        places = []
        for title, rows in blocks.items():
            axes.plot([0, page], [y + 0.06, y + 0.06], color="#cccccc", linewidth=0.8)
            axes.text(
                left,
                y + 0.22,
                in_picture(title),
                ha="left",
                va="center",
                fontsize=10,
                fontweight="bold",
            )
            y += title_height
            for label, chips in rows.items():
                middle = y + (heights[label] - GAP) / 2
                name = "\n".join(labels[label])
                axes.text(left - 0.12, middle, name, ha="right", va="center", fontsize=10)
                places.append((middle - row_height / 2, chips))
                y += heights[label]
        draw_columns(
            axes,
            heads,
            rows=places,
            x=left,
            y=top - 0.06,
            widths=widths,
            height=row_height,
            scale=self.scale,
        )
        return captioned(axes, self.caption, x=0, y=below + 0.06, width=page)

    def html(self) -> str:
        """A table whose chips carry black text on their own background: the same on light and dark
        pages.
        """
        head = "".join(
            f'<th scope="col">{t}<br>{escape(name)}<br>“{in_html(token)}”</th>'
            for t, (name, token) in enumerate(zip(self.headings, self.tokens, strict=True), start=1)
        )
        body = ""
        for title, rows in self.chips().items():
            span = f'colspan="{len(self.tokens)}" scope="rowgroup" style="text-align:left"'
            body += f"<tr><td></td><th {span}>{escape(title)}</th></tr>"
            for label, chips in rows.items():
                name = (
                    '<th scope="row" style="text-align:right;white-space:nowrap">'
                    f"{escape(label)}</th>"
                )
                cells = "".join(
                    chip.html(self.scale).replace(f"{in_html(chip.token)}<br>", "")
                    for chip in chips
                )
                body += f"<tr>{name}{cells}</tr>"
        return self._framed(
            '<table style="border-spacing:4px;border-collapse:separate">'
            f"<tr><td></td>{head}</tr>{body}</table>"
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row per algorithm, one column per step, a row for the title of each block."""
        rows = []
        for title, block in self.chips().items():
            rows.append([f"[{title}]", *[""] * len(self.tokens)])
            rows += [
                [label, *("".join(chip.lines()).replace(" ", "") for chip in row)]
                for label, row in block.items()
            ]
        steps = [f"{t} {in_text(token)}" for t, token in enumerate(self.tokens, start=1)]
        return ["", *steps], rows

    def alt(self) -> str:
        """Which step each row praises or blames the most."""
        said = []
        for title, block in self.chips().items():
            most = []
            for label, row in block.items():
                values = [chip.value for chip in row]
                t = max(range(len(values)), key=lambda t: abs(values[t]))
                alike = signed(min(values)) == signed(max(values))
                where = "every step alike" if alike else f"step {t + 1} the most"
                most.append(f"{in_text(label)} moves {where} ({signed(values[t])})")
            said.append(f"{title}: {', '.join(most)}")
        return f"What is done to the {len(self.tokens)} steps of one answer. {'; '.join(said)}."


def update_strips(
    tokens: Sequence[Token],
    headings: Sequence[str],
    blocks: Blocks,
    alpha: float,
    unit: str = "reward",
    reference: str = "the initial model",
    note: str = "",
    scale: float | None = None,
) -> UpdateStrips:
    """Strips of one answer under several algorithms; `blocks[title][label]` holds one number per
    step.

    `scale` defaults to the largest number shown; `note` goes into the caption, before the
    conditions.

    >>> blocks = {"one group": {"RLOO": [-0.5, -0.5]}}
    >>> shown = update_strips(["3", "4"], ["first", "last"], blocks, alpha=0.5)
    >>> print("\\n".join(shown.text().splitlines()[1:]))
    [one group]
    RLOO         ▼−0.50  ▼−0.50
    in units of reward; reference: the initial model; alpha = 0.5; full colour at ±0.50
    """
    numbers = [float(x) for rows in blocks.values() for row in rows.values() for x in row]
    full = full_scale(numbers or [0.0], scale)
    parts = [note, conditions(reference, alpha), f"full colour at ±{full:.2f}"]
    return UpdateStrips(
        tokens=tokens,
        headings=headings,
        blocks=blocks,
        caption="; ".join(filter(None, [f"in units of {unit}", *parts])),
        scale=full,
    )
