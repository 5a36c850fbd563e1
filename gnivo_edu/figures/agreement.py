"""Implicit against exact values: a panel of points for each policy or control, the diagonal, and
two numbers each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.figures.style import EDGE, Numbers, Shown, blank, caption_below, conditions
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped
from gnivo_edu.statistics import rank_correlation

Depths = Sequence[int] | NDArray[np.int64]
SHALLOW, DEEP = "#7cc4f0", "#0b1a66"  # light to dark with depth: told apart in grey, too
SIDE = 3.6  # inches of a panel
LIMIT = 3  # panels side by side


class Agreement(NamedTuple):
    """How two lists of values agree: Spearman's rank correlation, and the root mean square of the
    difference, nats.
    """

    rank_correlation: float
    rms: float


@dataclass(frozen=True)
class AgreementPlot(Shown):
    """`implicit[name]`: one value per prefix, beside its `exact` value and its `depth`, the number
    of its tokens.
    """

    exact: Numbers
    depth: Depths
    implicit: Mapping[str, Numbers]
    caption: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.implicit) <= LIMIT:
            raise ValueError(
                f"one to {LIMIT} panels stand side by side, got {len(self.implicit)}: make two "
                "figures"
            )
        count = len(self.exact)
        if not count or len(self.depth) != count or not np.isfinite(self.exact).all():
            raise ValueError(
                "give one finite exact value and one depth for each prefix, and at least one prefix"
            )
        for name, values in self.implicit.items():
            if len(values) != count or not np.isfinite(values).all():
                raise ValueError(
                    f"the values of {name!r} must be {count} finite numbers, one for each prefix"
                )

    def agreement(self, name: str) -> Agreement:
        """The two numbers of a panel."""
        implicit = np.asarray(self.implicit[name], dtype=np.float64)
        exact = np.asarray(self.exact, dtype=np.float64)
        rms = float(np.sqrt(((implicit - exact) ** 2).mean()))
        return Agreement(rank_correlation(implicit, exact), rms)

    def _draw(self) -> Any:
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        size = (SIDE * len(self.implicit) + 1.3, SIDE + 0.9)
        figure = blank(size, layout=ConstrainedLayoutEngine(h_pad=0.1))  # above the caption
        grid = figure.subplots(1, len(self.implicit), squeeze=False, sharex=True, sharey=True)[0]
        every = [self.exact, *self.implicit.values()]
        low, high = min(map(min, every)), max(map(max, every))
        margin = 0.05 * (high - low) or 1.0
        ends = [low - margin, high + margin]
        depth = np.asarray(self.depth)
        # The deepest prefixes are the most: drawn first, they do not bury the others.
        order = np.argsort(-depth, kind="stable")
        colours, norm = self._scale(depth)
        points: Any = None
        for axes, (name, values) in zip(grid, self.implicit.items(), strict=True):
            axes.plot(ends, ends, color=EDGE, linewidth=1, zorder=1)
            look = {
                "cmap": colours,
                "norm": norm,
                "s": 15,
                "linewidths": 0.3,
                "edgecolors": "white",
                "zorder": 2,
            }
            x, y = np.asarray(self.exact)[order], np.asarray(values)[order]
            points = axes.scatter(x, y, c=depth[order], **look)
            axes.set_title(
                "\n".join([*wrapped(in_picture(name), 40), self._numbers(name)]),
                fontsize=9.5,
                loc="left",
            )
            axes.set(xlabel="exact value, nats", xlim=ends, ylim=ends, box_aspect=1)
        grid[0].set_ylabel("implicit value, nats")
        bar = figure.colorbar(
            points,
            ax=list(grid),
            ticks=sorted(set(depth.tolist())),
            shrink=0.6,
            aspect=16,
            pad=0.02,
        )
        bar.set_label("tokens in the prefix")
        bar.outline.set_visible(False)
        return caption_below(figure, self.caption)

    @staticmethod
    def _scale(depth: NDArray[Any]) -> tuple[Any, Any]:
        """One colour per depth, from light to dark."""
        from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

        low, high = int(depth.min()), int(depth.max())
        steps = max(high - low + 1, 2)
        colours = LinearSegmentedColormap.from_list("depth", [SHALLOW, DEEP], N=steps)
        return colours, BoundaryNorm(np.arange(low, low + steps + 1) - 0.5, steps)

    def _numbers(self, name: str) -> str:
        rank, rms = self.agreement(name)
        return f"rank correlation {_rank(rank)}, RMS {rms:.2f} nats"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The two numbers of every panel."""
        pairs = ((in_text(name), self.agreement(name)) for name in self.implicit)
        return ["against the exact value", "rank correlation", "RMS, nats", "prefixes"], [
            [name, _rank(rank), f"{rms:.2f}", str(len(self.exact))] for name, (rank, rms) in pairs
        ]

    def alt(self) -> str:
        """The two numbers of every panel, as a sentence."""
        parts = [f"{in_text(name)}: {self._numbers(name)}" for name in self.implicit]
        return f"Implicit against exact values of {len(self.exact)} prefixes. {'; '.join(parts)}."


def agreement_plot(
    exact: Numbers,
    depth: Depths,
    implicit: Mapping[str, Numbers],
    alpha: float,
    reference: str = "the initial model",
    note: str = "",
) -> AgreementPlot:
    """Scatter of implicit against exact values (nats), one panel per entry of `implicit`, coloured
    by depth.

    All panels have the same axes; a perfect estimate lies on the diagonal. `exact`, `depth` and
    each entry of `implicit` hold one number per prefix, as in `evaluation.ValueAgreement`. Raises
    ValueError on other lengths, on values that are not finite, and on more than three panels.

    >>> values = {"learned": [0.1, 1, 2.1], "turned round": [2, 1, 0]}
    >>> print(agreement_plot([0, 1, 2], [1, 2, 2], values, alpha=0.5).text())
    against the exact value  rank correlation  RMS, nats  prefixes
    learned                  1.000             0.08       3
    turned round             −1.000            1.63       3
    reference: the initial model; alpha = 0.5
    """
    caption = conditions(reference, alpha, note=note)
    return AgreementPlot(exact, depth, implicit=implicit, caption=caption)


def _rank(value: float) -> str:
    """Three decimals, a real minus, and no minus on what rounds to zero; undefined where all values
    are equal.
    """
    text = f"{value:.3f}".replace("-", "−")
    return {"−0.000": "0.000", "nan": "undefined"}.get(text, text)
