"""The atlas on the reward-KL plane: where objectives come to rest, below the frontier of the
optimal policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gnivo_edu.exact import TokenTree
from gnivo_edu.figures.chips import text_width
from gnivo_edu.figures.labels import label_points
from gnivo_edu.figures.lines import LINES, Line
from gnivo_edu.figures.plane import (
    Point,
    RewardKLPlane,
    draw_frontier,
    reward_kl_plane,
)
from gnivo_edu.figures.style import (
    EDGE,
    INK,
    QUIET,
    Shown,
    blank,
    caption_below,
    conditions,
    number,
)
from gnivo_edu.figures.tokens import in_picture, in_text

LOOKS: dict[str, Line] = {
    "exact": LINES[3]._replace(marker="o"),
    "biased": LINES[2]._replace(marker="^"),
    "other optimum": LINES[1]._replace(marker="D"),
    "collapses": LINES[0]._replace(marker="X"),
}
SAME = 1e-7  # reward: what J may be off
ROW = 0.205  # inches: a row of the list
PANELS = (5.6, 4.3, 1.9)  # inches: width of both panels, heights of the upper and the lower one


class End(NamedTuple):
    """Where one objective ends: a short name, the atlas' verdict, and the point on the plane."""

    name: str
    verdict: str
    point: Point


@dataclass(frozen=True)
class AtlasMap(Shown):
    """`ends` of one problem and one alpha, in the order of `LOOKS`; `plane` has the frontier of
    this problem.

    Above: all ends but those that collapse. Below, if there are any: the whole frontier, on a
    square-root axis.
    """

    ends: Sequence[End]
    plane: RewardKLPlane
    alpha: float
    caption: str

    def __post_init__(self) -> None:
        if not self.ends:
            raise ValueError("an atlas map needs at least one end")
        optima = {a: p for a, p in self.plane.frontier.items() if np.isfinite(a)}
        for name, verdict, point in self.ends:
            if verdict not in LOOKS:
                raise ValueError(
                    f"{name!r}: the verdict must be one of {', '.join(LOOKS)}, got {verdict!r}"
                )
            heights = (p.reward - a * (p.kl - point.kl) for a, p in optima.items())
            # Written so that a number that is none lies above the frontier, too.
            if not all(point.reward < height + SAME for height in heights):
                raise ValueError(
                    f"{name!r} lies above the frontier: it belongs to another problem, on another "
                    "plane"
                )
            if verdict == "exact" and abs(self.shortfall(point)) > SAME:
                raise ValueError(
                    f"{name!r} is called exact and is not π* at alpha = {self.alpha:g}: give it "
                    "its own plane"
                )

    def shortfall(self, point: Point) -> float:
        """J(pi*) - J(pi) = alpha KL(pi || pi*), reward: what a policy gives up of E[R] - alpha
        KL(pi || pi_ref).
        """
        best = self.plane.frontier[self.alpha]
        return (best.reward - self.alpha * best.kl) - (point.reward - self.alpha * point.kl)

    def places(self) -> list[tuple[str, str, Point]]:
        """One label for every point: the numbers of the ends that lie there, their verdict, the
        point.
        """
        together: dict[tuple[str, int, int], list[int]] = {}
        for n, end in enumerate(self.ends, start=1):
            key = end.verdict, round(1e5 * end.point.kl), round(1e5 * end.point.reward)
            together.setdefault(key, []).append(n)
        return [
            (in_short(numbers), verdict, self.ends[numbers[0] - 1].point)
            for (verdict, *_), numbers in together.items()
        ]

    def _draw(self) -> Any:
        places, lines = self.places(), self._lines()
        gone = [place for place in places if place[1] == "collapses"]
        listed = 0.9 + max(text_width(text) for text, _, _ in lines)
        wide, above, below = PANELS
        width = wide + listed + 0.9
        height = max(above + 0.9 + bool(gone) * (below + 0.6), ROW * len(lines) + 0.7)
        figure = blank((width, height), layout=None)
        left, across = 0.65 / width, wide / width
        upper = figure.add_axes((left, 1 - (above + 0.1) / height, across, above / height))
        self._panel(upper, [place for place in places if place not in gone], whole=False)
        if gone:
            lower = figure.add_axes((left, 0.85 / height, across, below / height))
            self._panel(lower, gone, whole=True)
        side = figure.add_axes(((wide + 0.85) / width, 0, listed / width, 1))
        side.set(xlim=(0, listed), ylim=(height, 0))
        side.axis("off")
        side.text(listed, 0.2, "short of J(π*)", ha="right", va="center", color=QUIET)
        for n, (text, verdict, short) in enumerate(lines, start=1):
            y = 0.2 + ROW * n
            if verdict:
                side.plot(0.08, y, **_marker(verdict))
            side.text(0.22, y, text, va="center", fontweight="bold" if verdict else "normal")
            side.text(listed, y, short, ha="right", va="center")
        return caption_below(figure, self.caption)

    def _lines(self) -> list[tuple[str, str, str]]:
        """The list beside the panels: a heading for each verdict, and the numbered names with what
        they give up.
        """
        lines: list[tuple[str, str, str]] = []
        for verdict in LOOKS:
            rows = [
                (f"{n}  {in_picture(end.name)}", "", self._short(end))
                for n, end in enumerate(self.ends, start=1)
                if end.verdict == verdict
            ]
            if rows:
                lines += [(f"{verdict}: {len(rows)} of {len(self.ends)}", verdict, ""), *rows]
        return lines

    def _short(self, end: End) -> str:
        return "0" if abs(value := self.shortfall(end.point)) < SAME else number(value, 2)

    def _panel(self, axes: Any, places: Sequence[tuple[str, str, Point]], whole: bool) -> None:
        """One panel: the frontier, above which nothing lies, the reference, pi*, and the ends with
        their numbers.
        """
        curve, best = np.array(self.plane.curve()), self.plane.frontier[self.alpha]
        points = np.array([curve[0], best, *(point for *_, point in places)])
        if whole:
            points = np.vstack([points, curve])
        right = 1.15 * points[:, 0].max()
        low, high = points[:, 1].min(), points[:, 1].max()
        bottom = low - 0.1 * (high - low)
        top = high + (0.3 if whole else 0.16) * (high - low)
        sides = (0 if whole else -0.05 * right, right, bottom, top)
        beyond = (2 * curve[-1, 0] + right, curve[-1, 1])
        draw_frontier(axes, curve, sides=sides, beyond=beyond, root=whole)
        if whole:
            axes.set_xlabel(f"{axes.get_xlabel()}, square-root axis")
            for end in self.ends:
                axes.plot(*end.point, ".", color=EDGE, markersize=5, zorder=3, clip_on=False)
        else:
            axes.text(
                0.02,
                0.97,
                "no policy is here",
                color=QUIET,
                ha="left",
                va="top",
                transform=axes.transAxes,
            )
        # In reverse: where markers meet, the better verdict lies on top.
        for _, verdict, point in reversed(places):
            axes.plot(*point, **_marker(verdict), zorder=5, clip_on=False)
        words = [("reference", self.plane.curve()[0]), (f"π* at α = {number(self.alpha)}", best)]
        for _, point in words:
            axes.plot(
                *point,
                "o",
                color="white",
                markeredgecolor=INK,
                markersize=5,
                zorder=4,
                clip_on=False,
            )
        label_points(axes, [*words, *((label, point) for label, _, point in places)], curve=curve)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The list with its numbers."""
        plane = ["KL to the reference, nats", "expected reward"]
        return ["", "objective", "verdict", *plane, "short of J(π*)"], [
            [str(n), in_text(end.name), end.verdict, *map(number, end.point), self._short(end)]
            for n, end in enumerate(self.ends, start=1)
        ]

    def alt(self) -> str:
        """How many end where, and what they earn."""
        best = self.plane.frontier[self.alpha]
        parts = []
        for verdict in LOOKS:
            kls = [end.point.kl for end in self.ends if end.verdict == verdict]
            if kls:
                span = f"{number(min(kls))} to {number(max(kls))}"
                parts.append(f"{len(kls)} {verdict}, at a KL of {span}")
        return (
            f"Expected reward against KL to the reference, nats, for {len(self.ends)} objectives "
            f"where they end: {'; '.join(parts)}. "
            f"The optimum earns {number(best.reward)} at a KL of {number(best.kl)}."
        )


def _marker(verdict: str) -> dict[str, Any]:
    look = LOOKS[verdict]
    return {
        "color": look.colour,
        "marker": look.marker,
        "markersize": 8.0,
        "markeredgecolor": "white",
    }


def in_short(numbers: Sequence[int]) -> str:
    """Numbers in order, runs joined.

    >>> in_short([1, 2, 3, 7, 9, 10])
    '1–3, 7, 9, 10'
    """
    runs: list[list[int]] = []
    for n in numbers:
        if not runs or n > runs[-1][-1] + 1:
            runs.append([])
        runs[-1].append(n)
    return ", ".join(f"{r[0]}–{r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)


def atlas_map(
    tree: TokenTree,
    ends: Sequence[End],
    alpha: float,
    reference: str = "random habits",
    note: str = "",
) -> AtlasMap:
    """Ends of objectives on one plane; they are put in the order of the verdicts and numbered.

    A plane has one problem and one alpha. Raises ValueError if an end lies above the frontier of
    `tree`, or is called exact and is not pi*_alpha, which happens if it belongs to another problem
    or another alpha.

    >>> from gnivo_edu import exact
    >>> tree = exact.enumerate_tree_from_rewards([0.0, 1.0], 2)
    >>> star = exact.solve(tree, 0.5)
    >>> end = End("gvpo", "exact", Point(star.kl, star.expected_reward))
    >>> atlas = atlas_map(tree, [end], alpha=0.5)
    >>> atlas.table()[1][0][:3], abs(atlas.shortfall(end.point)) < 1e-12
    (['1', 'gvpo', 'exact'], True)
    """
    return AtlasMap(
        sorted(ends, key=lambda end: [*LOOKS, end.verdict].index(end.verdict)),
        plane=reward_kl_plane(tree, named=[alpha], reference=reference),
        alpha=alpha,
        caption=f"one problem; {conditions(reference, alpha, note=note)}",
    )
