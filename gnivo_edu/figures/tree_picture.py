"""The picture of a prefix tree: depth to the right, branches one below the other, labels on level
edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnivo_edu.figures.chips import captioned, sheet, text_width
from gnivo_edu.figures.style import EDGE, INK, PAPER, QUIET, colour, mark, number, percent, signed
from gnivo_edu.figures.tokens import in_picture

SLOT, DOT, BEND = 0.44, 0.42, 0.36  # inches: branch to branch, node of probability 1, curve
SIZE = 9.0  # of letters, points


@dataclass(frozen=True)
class Branch:
    """A prefix in the picture, and what grows from it.

    `reach`: probability of the prefix under the law that sizes the nodes; `chances`: probability of
    its last token given its parent, under the reference and, if there is one, the policy; `value`:
    nats, what the colour shows; `reward`: of a complete answer. `others` next tokens are left out,
    with `rest` (one number per law) of the probability. `kept`: the prefix lies on an answer that
    was asked for.
    """

    token: str
    reach: float
    chances: tuple[float, ...]
    value: float
    branches: tuple[Branch, ...] = ()
    others: int = 0
    rest: tuple[float, ...] = ()
    reward: float | None = None
    special: bool = False
    kept: bool = False

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Branch]]:
        """(depth, branch) of this branch and all that grow from it, parents first."""
        yield depth, self
        for branch in self.branches:
            yield from branch.walk(depth + 1)

    def reached(self) -> str:
        """How likely the prefix is and, of a complete answer, its reward."""
        end = "" if self.reward is None else f", R = {number(self.reward)}"
        return f"reached {percent(self.reach)}{end}"

    def left_out(self, laws: int = 2) -> str:
        """How many next tokens are left out and, if some are not, how likely they are, under the
        last `laws` laws.
        """
        count = f"+{self.others} other{'s' if self.others > 1 else ''}"
        return f"{count} {arrow(self.rest[-laws:])}" if self.branches else count


def draw_tree(root: Branch, scale: float, caption: str) -> Any:
    """A matplotlib Figure of the tree; nodes have an area of `reach` times that of the root."""
    branches = list(root.walk())
    level = BEND + DOT / 2 + 0.15 + max(sum(_widths(b)) for _, b in branches)
    heights, bottom = _heights(root)
    texts: list[tuple[float, float, str]] = []  # what stands right of the nodes
    for d, b in branches:
        x, y = 0.3 + level * d, heights[id(b)]
        right = x + DOT / 2 * np.sqrt(b.reach) + 0.06
        if not b.branches:
            words = b.left_out() if b.reward is None else f"R = {number(b.reward)}"
            texts.append((right, y, words))
    ends = (x + text_width(text, SIZE) for x, _, text in texts)
    width = max(*ends, level * (branches[-1][0] + 0.5), 5.0)
    axes = sheet(width, bottom + 0.2, caption=caption, margin=0.05)
    axes.text(
        0.3,
        heights[id(root)],
        in_picture(root.token),
        ha="center",
        va="center",
        fontsize=SIZE,
        zorder=5,
    )
    for d, b in branches:
        x, y = 0.3 + level * d, heights[id(b)]
        for child in b.branches:
            _edge(axes, x, y=y, to=x + level, end=heights[id(child)], child=child)
        area = b.reach * (72 * DOT) ** 2
        axes.scatter([x], [y], s=area, color=colour(b.value, scale), linewidths=0, zorder=3)
        axes.scatter(
            [x],
            [y],
            s=max(area, 9),
            zorder=4,
            facecolors="none",
            edgecolors=INK if b.kept else EDGE,
            linewidths=1.0 + b.kept,
        )
        if b.others and b.branches:  # under the node, to the left: no edge passes there
            where = {"x": 0.0, "ha": "left"} if d == 0 else {"x": x + 0.06, "ha": "right"}
            axes.text(
                **where,
                y=_foot(b, y) - 0.09,
                s=b.left_out(laws=1),
                va="center",
                fontsize=SIZE,
                color=QUIET,
            )
    for x, y, text in texts:
        axes.text(x, y, text, va="center", fontsize=SIZE, color=QUIET)
    return captioned(axes, caption, x=0.02, y=bottom + 0.12, width=width)


def _edge(axes: Any, x: float, y: float, to: float, end: float, child: Branch) -> None:
    """A curve that ends level: token and probabilities above the level part, the value below it."""
    bend = np.linspace(0, 1, 20)
    xs = np.append(x + BEND * bend, to)
    ys = np.append(y + (end - y) * (3 * bend**2 - 2 * bend**3), end)
    ink, width = (INK, 2.0) if child.kept else (EDGE, 0.9)
    axes.plot(xs, ys, color=ink, linewidth=width, zorder=1)
    token, chances = _widths(child)
    room = to - DOT / 2 * np.sqrt(child.reach) - x - BEND
    start = x + BEND + (room - token - chances) / 2
    box = {"boxstyle": "square,pad=0.12", "facecolor": PAPER, "edgecolor": INK, "linewidth": 0.8}
    looks = {"fontsize": SIZE, "color": INK, "zorder": 5}
    axes.text(
        start,
        end - 0.04,
        _token(child),
        va="bottom",
        bbox=box if child.special else None,
        **looks,
    )
    axes.text(start + token, end - 0.04, arrow(child.chances), va="bottom", **looks)
    axes.text(
        x + BEND + room / 2,
        end + 0.03,
        f"{mark(child.value)} {signed(child.value)}",
        ha="center",
        va="top",
        **looks,
    )


def _heights(root: Branch) -> tuple[dict[int, float], float]:
    """Height of every branch, inches: ends a slot apart, a parent half-way between its first and
    last child.
    """
    heights: dict[int, float] = {}
    bottom = 0.0

    def place(branch: Branch) -> float:
        nonlocal bottom
        rows = [place(child) for child in branch.branches]
        if not rows:
            bottom += SLOT
            rows = [bottom - SLOT / 2]
        heights[id(branch)] = (rows[0] + rows[-1]) / 2
        if branch.others and branch.branches:
            bottom = max(bottom, _foot(branch, heights[id(branch)]))
        return heights[id(branch)]

    place(root)
    return heights, bottom


def _foot(branch: Branch, y: float) -> float:
    """Where the line under a node, about what is left out, ends."""
    return float(y + max(DOT / 2 * np.sqrt(branch.reach), 0.16) + 0.18)


def _token(branch: Branch) -> str:
    return in_picture(branch.token, most=12)


def _widths(branch: Branch) -> tuple[float, float]:
    """Widths of a branch's token, with the space after it, and of its chances, inches."""
    return text_width(_token(branch), SIZE) + 0.1, text_width(arrow(branch.chances), SIZE)


def arrow(chances: tuple[float, ...]) -> str:
    """Probabilities under the reference and, if given, the policy: "25%→9%"."""
    return "→".join(map(percent, chances))
