"""The waterfall of one answer: step by step from V(empty) = log Z to R/alpha, with the residual of the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gnivo_edu.exact import Solution
from gnivo_edu.figures.style import INK, Shown, colour, escape, mark, signed


@dataclass(frozen=True)
class Waterfall(Shown):
    """Credits of one answer, drawn from where each starts to where it ends.

    `start` is log Z, `credits` the steps', `end` is R/alpha, all in nats; `chances` (optional) are the chances of
    ending right before the first step and after every step. `residual` is start + sum(credits) - end.
    """

    labels: Sequence[str]
    credits: Sequence[float]
    start: float
    end: float
    caption: str
    chances: Sequence[float] | None = None

    @property
    def residual(self) -> float:
        """start + sum of the credits - end, nats: zero up to rounding."""
        return self.start + sum(self.credits) - self.end

    def figure(self) -> Any:
        """A matplotlib Figure; the chance of ending right stands above each level."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.05 * len(self.labels) + 2.2, 3.9), layout="constrained")
        axes = figure.add_subplot()
        levels = [self.start]
        for credit in self.credits:
            levels.append(levels[-1] + credit)
        height = max(*levels, 0) - min(*levels, 0) or 1.0
        scale = max(abs(c) for c in self.credits)
        for x, (credit, low) in enumerate(zip(self.credits, levels, strict=False), start=1):
            axes.bar(x, credit, bottom=low, width=0.62, color=colour(credit, scale), edgecolor="#555555")
            axes.plot([x - 0.69, x + 0.31], [low, low], color="#555555", linewidth=0.8)
            top = max(low, low + credit) + 0.03 * height
            text = f"{mark(credit)} {signed(credit)}"
            axes.text(x, top, text, ha="center", va="bottom", fontsize=9.5, color=INK)
        axes.bar(0, self.start, width=0.62, color="#dddddd", edgecolor="#555555")
        axes.bar(len(self.labels) + 1, self.end, width=0.62, color="#dddddd", edgecolor="#555555")
        for x, value in ((0, self.start), (len(self.labels) + 1, self.end)):
            axes.text(x, max(value, 0) + 0.03 * height, f"{value:.2f}", ha="center", fontsize=9.5, color=INK)
        names = ["log Z", *self.labels, "R/alpha"]
        if self.chances is not None:
            names = [f"{n}\n{p:.0%}" for n, p in zip(names, [*self.chances, self.chances[-1]], strict=True)]
        axes.set_xticks(range(len(names)), names, fontsize=9)
        axes.set_ylim(min(*levels, 0) - 0.08 * height, max(*levels, 0) + 0.16 * height)
        axes.set_ylabel("soft value, nats")
        axes.set_xlabel(self._footer(), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        return figure

    def html(self) -> str:
        """A table with one row per step."""
        rows = "".join(
            f"<tr><td>{escape(label)}</td><td>{mark(credit)} {signed(credit)}</td></tr>"
            for label, credit in zip(self.labels, self.credits, strict=True)
        )
        return f"<table><caption>{escape(self._footer())}</caption>{rows}</table>"

    def text(self) -> str:
        """The sum, written out."""
        steps = "\n".join(
            f"  {mark(credit)} {signed(credit)}  {label}"
            for label, credit in zip(self.labels, self.credits, strict=True)
        )
        return f"log Z {self.start:.2f}\n{steps}\nR/alpha {self.end:.2f}\n{self._footer()}"

    def _footer(self) -> str:
        second = "percent: chance of ending right after the step; " if self.chances is not None else ""
        return f"{second}{self.caption}; residual of the sum {abs(self.residual):.0e} nats"


def waterfall(
    solution: Solution, answer: Sequence[int], labels: Sequence[str], reference: str = "the initial model"
) -> Waterfall:
    """The waterfall of one complete answer; `labels` name its steps.

    >>> import toy_envs
    >>> from gnivo_edu import exact
    >>> problem = toy_envs.PosterProblem()
    >>> key = exact.solve(exact.enumerate_tree(problem), alpha=0.5)
    >>> abs(waterfall(key, problem.examples["wrong at 3"], problem.step_names).residual) < 1e-12
    True
    """
    t, number = solution.tree.index(answer)
    if t != solution.tree.horizon:
        raise ValueError(f"a waterfall needs a complete answer of {solution.tree.horizon} tokens, got {t}")
    binary = set(solution.tree.rewards.tolist()) <= {0.0, 1.0}
    prefixes = [tuple(answer)[:t] for t in range(len(answer) + 1)]
    return Waterfall(
        labels=labels,
        credits=solution.step_credit(answer).tolist(),
        start=solution.log_z,
        end=float(solution.tree.rewards[number] / solution.alpha),
        caption=f"reference: {reference}; alpha = {solution.alpha:g}",
        chances=[solution.success_probability(p) for p in prefixes] if binary else None,
    )
