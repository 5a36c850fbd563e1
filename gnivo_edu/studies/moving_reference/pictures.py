"""The figures of the study of a moving reference: trained points on exact lines."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from gnivo_edu.figures.forest import forest_plot
from gnivo_edu.figures.lines import LINES
from gnivo_edu.figures.style import EDGE, PAPER, blank, caption_below, drawing
from gnivo_edu.population import total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving.tables import ALPHA
from gnivo_edu.statistics import Interval
from gnivo_edu.studies.arithmetic import TESTED
from gnivo_edu.studies.moving_reference.tree import LAST, goal, lower_end
from gnivo_edu.studies.results import Results

CURVES = {
    "tree: GVPO": "GVPO",
    "tree: GN-IVO, raw": "GN-IVO, raw weights",
    "tree: GN-IVO, softmax": "GN-IVO, softmax weights",
    "tree: VIMPO": "VIMPO",
}
SAWTOOTH = "tree: VIMPO, K = 4"


def pictures(results: Results) -> dict[str, bytes]:
    """PNGs by name; of a small form those that it has runs for."""
    drawn: dict[str, bytes] = {}
    with drawing():
        if all(row in results.rows for row in CURVES):
            drawn["refreshes"] = _png(refresh_picture(results))
        if SAWTOOTH in results.rows:
            drawn["jump"] = _png(jump_picture(results))
            drawn["swap"] = _png(swap_picture(results))
    figure = forest(results)
    if figure is not None:
        drawn["transformer"] = figure.png()
    return drawn


def compared(results: Results) -> dict[str, str]:
    """The rows of the transformer that have a frozen reference to be compared with, and its row."""
    pairs = {row: f"{_model_of(row)}, initial" for row in results.rows}
    return {row: base for row, base in pairs.items() if base in results.rows and row != base}


def _model_of(row: str) -> str:
    return row.split(", ")[0]


def forest(results: Results) -> Any:
    """Pass@1 of each tier, paired with the frozen reference; None where seeds are too few."""
    pairs = compared(results)
    if not pairs or min(len(results.of(row)) for row in pairs) < 2:
        return None
    names = sorted(pairs, key=lambda row: "shuffled" in row)
    comparisons = len(pairs) * len(TESTED)
    panels = {
        f"tier {tier}" + ", not trained on" * (tier == max(TESTED)): {
            row: results.difference(row, pairs[row], f"pass@1.{tier}", comparisons=comparisons)
            for row in names
        }
        for tier in TESTED
    }
    seeds = len(results.of(names[0]))
    return forest_plot(
        panels,
        "Pass@1 less that of the frozen reference",
        f"mean over {seeds} seeds, paired; 95% intervals, corrected for {comparisons} comparisons; "
        "grey: holds 0; last, with rewards shuffled",
    )


def refresh_picture(results: Results) -> Any:
    """Left: distance from the end at alpha/n. Right: E[R]. Lines are exact, points trained."""
    figure = blank((10.4, 4.4))
    left, right = figure.subplots(1, 2)
    for look, (row, name) in zip(LINES, CURVES.items(), strict=False):
        times = [int(n) for n in results.of(row)[0]["after"]]
        method = results.of(row)[0]["settings"]["method"]
        ends = [goal(method, alpha=ALPHA, n=n) for n in times]
        lower = [lower_end(method, ALPHA / n) for n in times]
        exact = [total_variation(x, y) for x, y in zip(ends, lower, strict=True)]
        earned = [float(end @ problem("tree").rewards) for end in ends]
        for axes, line, measure in ((left, exact, "lower"), (right, earned, "reward")):
            axes.plot(times, line, color=look.colour, linestyle=look.dashes, linewidth=1.5)
            points = [results.mean(row, f"after.{n}.{measure}") for n in times]
            _points(axes, times, points, look, label=name)
    left.set(xlabel="n, refreshes", ylabel="distance from the end at alpha/n")
    left.set_ylim(bottom=-0.002)
    left.set_title("Are n refreshes alpha/n?", fontsize=10)
    right.set(xlabel="n, refreshes", ylabel="E[R]")
    right.set_title("What they earn", fontsize=10)
    right.legend(frameon=False)
    seeds = len(results.of("tree: VIMPO"))
    return caption_below(
        figure,
        f"reference: random habits; alpha = {ALPHA:g}; lines: exact; points: trained from samples, "
        f"mean over {seeds} seeds with 95% intervals; distances are total variation, of softmax "
        "weights from pi*",
    )


def swap_picture(results: Results) -> Any:
    """Standard deviation of the change of an implied value by depth, sampled on counted."""
    row, figure = "tree: VIMPO", blank((6.4, 4.0))
    axes = figure.subplots()
    depths = (1, 2, 3)
    for look, name in zip(LINES, ("a stranger", "the policy (a refresh)"), strict=False):
        counted = [results.mean(row, f"swap.{name}.exact_sd.{t}").mean for t in depths]
        axes.plot(depths, counted, color=look.colour, linestyle=look.dashes, linewidth=1.5)
        sampled = [results.mean(row, f"swap.{name}.sd.{t}") for t in depths]
        _points(axes, depths, sampled, look, label=name)
    means = [results.mean(row, f"swap.{name}.mean") for name in ("a stranger",)]
    axes.axhline(means[0].mean, color=EDGE, linewidth=1.0)
    axes.text(1.0, means[0].mean + 0.012, "largest mean, a stranger", color=EDGE)
    axes.set_xticks(depths)
    axes.set(xlabel="tokens written", ylabel="sd of the change, reward", ylim=(0, None))
    axes.legend(frameon=False, title="new reference")
    return caption_below(
        figure,
        f"reference: random habits; alpha = {ALPHA:g}; along answers of VIMPO's trained policy; "
        "lines: counted for that policy; points: sampled",
    )


def jump_picture(results: Results) -> Any:
    """Left: the logged value loss through two refreshes. Right: factors against what u asks for."""
    figure = blank((10.4, 4.4))
    left, right = figure.subplots(1, 2)
    rest, losses = sawtooth(results)
    steps = losses.shape[1]
    for k, part in enumerate(losses):
        left.plot(
            np.arange(k * steps, (k + 1) * steps), part / rest[max(k - 1, 0)], color=LINES[0].colour
        )
        if k:
            left.axvline(k * steps - 0.5, color=EDGE, linestyle=(0, (4, 3)), linewidth=0.8)
    left.axhline(4, color=LINES[1].colour, linestyle=LINES[1].dashes, linewidth=1.2)
    left.text(2, 4.08, "K = 4", color=LINES[1].colour)
    left.set(xlabel="update", ylabel="value loss, over that at the last rest")
    left.set_title("Two refreshes in the log", fontsize=10)
    for look, (row, x, y, name) in zip(LINES, factors(results), strict=False):
        right.plot(x, y, look.marker, color=look.colour, markersize=6, label=name)
        del row
    ends = [1.0, 8.4]
    right.plot(ends, ends, color=EDGE, linewidth=1.0, zorder=1)
    right.set(xlabel="K/(1 + (K - 1) u), u counted", ylabel="factor at a refresh, measured")
    right.set_title("How much had been learned?", fontsize=10)
    right.legend(frameon=False, fontsize=8.5)
    return caption_below(
        figure,
        f"reference: random habits; alpha = {ALPHA:g}; VIMPO trained from samples; left: mean over "
        "seeds, groups of 4; right: a point a seed",
    )


def sawtooth(results: Results) -> tuple[np.ndarray, np.ndarray]:
    """The rest before each refresh, and the value loss [refresh, update], means over seeds."""
    losses = np.mean([run["value_loss"] for run in results.of(SAWTOOTH)], axis=0)
    return losses[:, -LAST:].mean(axis=1), losses


def factors(results: Results) -> list[tuple[str, list[float], list[float], str]]:
    """Of each run of VIMPO its row, what u asks for and what was measured, and its name."""
    rows = {
        "tree: VIMPO, K = 2": "K = 2",
        "tree: VIMPO, K = 4": "K = 4",
        "tree: VIMPO": "K = 8",
        "tree: VIMPO, K = 8, 25 updates": "K = 8, 25 updates",
        "tree: VIMPO, K = 8, 10 updates": "K = 8, 10 updates",
        "tree: VIMPO, shuffled": "K = 8, shuffled",
    }
    return [
        (
            row,
            list(results.values(row, "jump.1.gauge").values()),
            list(results.values(row, "jump.1.refresh").values()),
            name,
        )
        for row, name in rows.items()
        if row in results.rows
    ]


def _points(axes: Any, x: Any, intervals: list[Interval], look: Any, label: str) -> None:
    y = np.array([one.mean for one in intervals])
    ends = np.array([[one.mean - one.low, one.high - one.mean] for one in intervals]).T
    ends = np.nan_to_num(ends)
    axes.errorbar(
        x, y, ends, fmt=look.marker, color=look.colour, markersize=5, capsize=2, label=label
    )


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=144, facecolor=PAPER, bbox_inches="tight",
        metadata={"Software": None},
    )  # fmt: skip
    return buffer.getvalue()
