"""The value along an answer: exact, implicit, Monte-Carlo, learned; beside nats the chance of
ending right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gnivo_edu.exact import Array, Solution, Tables, success_probability, value_of_chance
from gnivo_edu.figures.lines import label_lines, label_width, styles
from gnivo_edu.figures.style import (
    Numbers,
    Shown,
    caption_below,
    conditions,
    nats,
    one_panel,
    percent,
    signed,
)
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped

# Chances that may label the right axis, those that are wanted first in front.
CHANCES = (
    *(0, 1, 0.5, 0.1, 0.9, 0.01, 0.25, 0.75, 0.001, 0.99),
    *(1e-4, 1e-5, 1e-6, 0.05, 0.6, 0.4, 0.3, 0.2, 0.7, 0.8),
)


@dataclass(frozen=True)
class ValueLines(Shown):
    """Values V(s_t), t = 0..T, along one answer, nats: `lines[name]` has T + 1 entries, `steps`
    names the T steps.

    The first line is the yardstick; the gap between it and the line `shade` is shaded, the value
    error. `alpha` is given for rewards of 0 and 1 only: then the right axis is the chance of ending
    right. `errors[name]`, standard errors, nats, become error bars, and so do `intervals[name]`,
    (low, high) of every value, nats.
    """

    steps: Sequence[str]
    lines: Mapping[str, Numbers]
    caption: str
    alpha: float | None = None
    shade: str | None = None
    errors: Mapping[str, Numbers] = field(default_factory=dict)
    intervals: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in [*self.lines.items(), *self.errors.items(), *self.intervals.items()]:
            if len(values) != len(self.steps) + 1 or not np.isfinite(values).all():
                raise ValueError(
                    f"line {name!r} needs {len(self.steps) + 1} finite values, from the empty "
                    "prefix on"
                )
        if self.shade is not None and self.shade not in self.lines:
            raise ValueError(
                f"there is no line {self.shade!r} to shade; there are {', '.join(self.lines)}"
            )

    def value_error(self, name: str) -> Array:
        """A line minus the first one, float64 [T + 1], nats."""
        return np.subtract(self.lines[name], next(iter(self.lines.values())))

    def _draw(self) -> Any:
        names = list(self.lines)
        count = len(self.steps)
        x = np.arange(count + 1)
        figure, axes = one_panel((9.0, 4.3))
        for rank, (name, look) in enumerate(zip(names, styles(len(names)), strict=True)):
            # The yardstick is wide and lies behind the others: it stays visible where they meet.
            width, size = (3.2, 8.0) if rank == 0 else (1.8, 5.5)
            axes.errorbar(
                x,
                self.lines[name],
                yerr=self.errors.get(name),
                capsize=3,
                color=look.colour,
                linestyle=look.dashes,
                marker=look.marker,
                markeredgecolor="white",
                markeredgewidth=0.7,
                zorder=3 + rank,
                linewidth=width,
                markersize=size,
            )
            if name in self.intervals:
                low, high = zip(*self.intervals[name], strict=True)
                axes.vlines(x, low, high, color=look.colour, linewidth=1.2, zorder=2)
        if self.shade is not None:
            axes.fill_between(
                x,
                self.lines[names[0]],
                self.lines[self.shade],
                color="#b9b9b9",
                alpha=0.6,
                linewidth=0,
            )
        self._name_steps(axes)
        axes.margins(y=0.08)
        room = label_width(names)
        right = count + (count + 0.3) * room / (7.4 - room)
        axes.set(xlim=(-0.3, right), ylabel="soft value V, nats")
        axes.grid(axis="y", color="#e4e4e4")
        axes.set_axisbelow(True)
        label_lines(axes, count, ends=[line[-1] for line in self.lines.values()], names=names)
        if self.alpha is not None:
            chance_axis(axes, self.alpha)
        return caption_below(figure, self.caption)

    def _name_steps(self, axes: Any) -> None:
        """Names below the places; upright where there are many, and small where there are very
        many.
        """
        count = len(self.steps)
        if count <= 10:
            names = ["\n".join(wrapped(in_picture(step, 24), 11)) for step in self.steps]
            labels = [f"{t}\n{name}" for t, name in enumerate(names, start=1)]
        else:
            labels = [f"{t} {in_picture(step, 14)}" for t, step in enumerate(self.steps, start=1)]
            axes.tick_params(axis="x", rotation=90, labelsize=9.5 if count <= 40 else 6)
        axes.set_xticks(range(count + 1), ["start", *labels])

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row per prefix: every line's value, nats, with its error or its interval, and the
        chance of ending right by the first.
        """
        head = ["after step", *map(in_text, self.lines)]
        steps = [f"{t} {in_text(name)}" for t, name in enumerate(self.steps, start=1)]
        columns = [["start", *steps]]
        for name, values in self.lines.items():
            spread = [""] * len(values)
            if name in self.errors:
                spread = [f" ±{error:.2f}" for error in self.errors[name]]
            if name in self.intervals:
                spread = [f" ({nats(low)} to {nats(high)})" for low, high in self.intervals[name]]
            columns.append([nats(v) + more for v, more in zip(values, spread, strict=True)])
        if self.alpha is not None:
            head.append("chance of ending right")
            first = np.asarray(next(iter(self.lines.values())), dtype=np.float64)
            columns.append([percent(p) for p in success_probability(first, self.alpha).tolist()])
        return head, [list(row) for row in zip(*columns, strict=True)]

    def alt(self) -> str:
        """How the first line runs, and how far the others stray from it."""
        name, *others = self.lines
        first, last = (signed(self.lines[name][t]) for t in (0, -1))
        strays = "".join(
            f"; “{other}” strays by up to {np.abs(self.value_error(other)).max():.2f}"
            for other in others
        )
        return (
            f"Value along an answer of {len(self.steps)} steps, in nats: “{name}” goes from "
            f"{first} to {last}{strays}."
        )


def chance_axis(axes: Any, alpha: float, gap: float = 0.07) -> Any:
    """A right axis for nats on the left: ticks at V = log(1 - p + p e^{1/alpha}), labelled p.
    Rewards of 0 and 1 only.

    Of round chances those are shown that lie in view and at least `gap` of the height apart.
    Returns the new axes.
    """
    low, high = axes.get_ylim()
    chosen: dict[float, float] = {}
    for chance in CHANCES:
        place = value_of_chance(chance, alpha)
        free = all(abs(place - other) >= gap * (high - low) for other in chosen.values())
        if low <= place <= high and free:
            chosen[chance] = place
    right = axes.twinx()
    right.set(ylim=(low, high), ylabel="chance of ending right")
    right.set_yticks(list(chosen.values()), [f"{100 * chance:g}%" for chance in chosen])
    right.spines["right"].set_visible(True)
    return right


def implicit_values(solution: Solution, policy: Tables, answer: Sequence[int]) -> Array:
    """log pi/pi_ref of every prefix of an answer, plus log Z: float64 [len + 1], nats. Equals V if
    the policy is pi*.

    `policy`: tables [V**t, V] of log-probabilities, nats.
    """
    tree, values = solution.tree, [solution.log_z]
    for t, token in enumerate(answer):
        row = tree.index(tuple(answer)[:t])[1]
        values.append(values[-1] + float(policy[t][row, token] - tree.step_logps[t][row, token]))
    return np.array(values)


def sampled_values(
    solution: Solution, answer: Sequence[int], samples: int, seed: int
) -> tuple[Array, Array]:
    """Monte-Carlo values log mean e^{R/alpha} over reference completions of every prefix, and their
    standard errors.

    `samples` completions each; float64 [len + 1], nats (errors by the delta method).
    """
    tree, rng = solution.tree, np.random.default_rng(seed)
    values, errors = [], []
    for t in range(len(answer) + 1):
        depth, row = tree.index(tuple(answer)[:t])
        rows = np.full(samples, row)
        for table in tree.step_logps[depth:]:
            shares = np.cumsum(np.exp(table[rows]), axis=1)
            drawn = (rng.random((samples, 1)) * shares[:, -1:] >= shares).sum(axis=1)
            rows = rows * tree.vocab_size + drawn
        exponents = tree.rewards[rows] / solution.alpha
        weights = np.exp(exponents - exponents.max())
        values.append(float(np.log(weights.mean()) + exponents.max()))
        errors.append(float(weights.std(ddof=1) / weights.mean() / np.sqrt(samples)))
    return np.array(values), np.array(errors)


def value_lines(
    solution: Solution,
    answer: Sequence[int],
    steps: Sequence[str],
    others: Mapping[str, Numbers] | None = None,
    shade: str | None = None,
    errors: Mapping[str, Numbers] | None = None,
    reference: str = "the initial model",
) -> ValueLines:
    """The exact value along an answer, and `others` beside it (name -> T + 1 values, nats).

    The value error of `shade` is shaded and stated in the caption; by default that of the first of
    the others.

    >>> import toy_envs
    >>> from gnivo_edu import exact
    >>> problem = toy_envs.PosterProblem()
    >>> key = exact.solve(exact.enumerate_tree(problem), alpha=0.5)
    >>> lines = value_lines(key, problem.examples["right"], problem.step_names)
    >>> print(lines.text().splitlines()[-2])
    7 Verify        2.00   100%
    """
    values = [solution.soft_value(tuple(answer)[:t]) for t in range(len(answer) + 1)]
    others = {name: list(map(float, line)) for name, line in (others or {}).items()}
    shade = shade or next(iter(others), None)
    caption = conditions(reference, solution.alpha, solution.log_z)
    lines = ValueLines(
        steps=steps,
        lines={"exact": values, **others},
        caption=caption,
        alpha=solution.alpha if set(solution.tree.rewards.tolist()) <= {0.0, 1.0} else None,
        shade=shade,
        errors=errors or {},
    )
    if shade is None:
        return lines
    gap = np.abs(lines.value_error(shade))
    # Of errors that are rounding, rounding would choose the largest.
    where = f" after step {int(gap.argmax())}" if gap.max() >= 0.005 else ""
    caption += f"; shaded: value error of “{shade}”, largest {gap.max():.2f} nats{where}"
    return replace(lines, caption=caption)
