"""The waterfall of one answer: step by step from V(empty) = log Z to R/alpha, with the residual of
the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from gnivo_edu.exact import Solution, TokenTree
from gnivo_edu.figures.style import (
    EDGE,
    Shown,
    caption_below,
    colour,
    conditions,
    mark,
    one_panel,
    percent,
    signed,
)
from gnivo_edu.figures.tokens import in_picture, in_text, wrapped


@dataclass(frozen=True)
class Waterfall(Shown):
    """Credits of one answer, drawn from where each starts to where it ends.

    `start` is log Z, `credits` the steps', `end` is R/alpha, all in nats; `chances` (optional) are
    the chances of ending right before the first step and after every step. `residual` is start +
    sum(credits) - end; the caption states it, with the reference and alpha.
    """

    labels: Sequence[str]
    credits: Sequence[float]
    start: float
    end: float
    caption: str
    chances: Sequence[float] | None = None

    def __post_init__(self) -> None:
        count = len(self.credits)
        if len(self.labels) != count or len(self.chances or [0, *self.credits]) != count + 1:
            raise ValueError(f"{count} credits need as many labels, and one chance more or none")

    @property
    def residual(self) -> float:
        """start + sum of the credits - end, nats: zero up to rounding."""
        return self.start + sum(self.credits) - self.end

    @property
    def levels(self) -> list[float]:
        """The value before the first step and after every step, nats."""
        return list(accumulate(self.credits, initial=self.start))

    def _draw(self) -> Any:
        last = len(self.labels) + 1
        figure, axes = one_panel((max(5.0, 0.92 * (last + 1) + 0.6), 3.9))
        levels = self.levels
        low_end, high_end = min(*levels, self.end, 0), max(*levels, self.end, 0)
        height = high_end - low_end or 1.0
        for x, (credit, low) in enumerate(zip(self.credits, levels, strict=False), start=1):
            axes.bar(
                x,
                credit,
                bottom=low,
                width=0.62,
                color=colour(credit, scale=abs(credit)),  # always full: the size says how much
                edgecolor=EDGE,
            )
            axes.text(
                x,
                max(low, low + credit) + 0.03 * height,
                f"{mark(credit)} {signed(credit)}",
                ha="center",
                va="bottom",
            )
        for x, low in enumerate([*levels[:-1], self.end], start=1):
            axes.plot([x - 0.69, x + 0.31 * (x < last)], [low, low], color=EDGE, linewidth=0.8)
        for x, value in ((0, self.start), (last, self.end)):
            axes.bar(x, value, width=0.62, color="#dddddd", edgecolor=EDGE)
            axes.text(x, max(value, 0) + 0.03 * height, f"{value:.2f}", ha="center", va="bottom")
        labels = ["\n".join(wrapped(in_picture(label), 11)) for label in self.labels]
        names = ["log Z", *(f"{t}\n{label}" for t, label in enumerate(labels, 1)), "R/alpha"]
        if self.chances is not None:
            deep = max(name.count("\n") for name in names)
            names = [
                name + "\n" * (deep - name.count("\n") + 1) + percent(p)
                for name, p in zip(names, [*self.chances, self.chances[-1]], strict=True)
            ]
        axes.set_xticks(range(last + 1), names)
        axes.tick_params(axis="x", length=0)
        axes.axhline(0, color=EDGE, linewidth=0.8)
        axes.set(
            ylim=(low_end - 0.05 * height, high_end + 0.14 * height),
            ylabel="soft value V, nats",
        )
        axes.spines["bottom"].set_visible(False)
        return caption_below(figure, self.caption)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row per step: its credit, and the value and the chance of ending right after it."""
        columns = {
            "step": ["log Z", *(f"{t} {in_text(s)}" for t, s in enumerate(self.labels, start=1))],
            "credit": ["", *(f"{mark(credit)} {signed(credit)}" for credit in self.credits)],
            "value after": [f"{level:.2f}" for level in self.levels],
        }
        if self.chances is not None:
            columns["chance of ending right"] = [percent(p) for p in self.chances]
        return list(columns), [
            *map(list, zip(*columns.values(), strict=True)),
            ["R/alpha", "", f"{self.end:.2f}", *[""] * (len(columns) - 3)],
        ]

    def alt(self) -> str:
        """From where to where, and the largest loss on the way."""
        worst = min(range(len(self.credits)), key=lambda t: self.credits[t])
        return (
            f"Waterfall of {len(self.credits)} step credits from log Z = {self.start:.2f} to "
            f"R/alpha = {self.end:.2f} nats; the lowest credit is {signed(self.credits[worst])} at "
            f"step {worst + 1} ({in_text(self.labels[worst])})."
        )


def reward_of(tree: TokenTree, answer: Sequence[int]) -> float:
    """The reward of an answer; ValueError if it is neither of full length nor closed by the
    end-of-sequence token.
    """
    answer = tuple(answer)
    if len(answer) != tree.horizon and tree.eos_token_id not in answer[-1:]:
        raise ValueError(
            f"{answer} is not a complete answer: it needs {tree.horizon} tokens or its end"
        )
    padded = answer + answer[-1:] * (tree.horizon - len(answer))
    return float(tree.rewards[tree.index(padded)[1]])


def waterfall(
    solution: Solution,
    answer: Sequence[int],
    labels: Sequence[str],
    reference: str = "the initial model",
) -> Waterfall:
    """The waterfall of one complete answer; `labels` name its steps.

    An answer that its end-of-sequence token closes early may be given as it is, without padding.

    >>> import toy_envs
    >>> from gnivo_edu import exact
    >>> problem = toy_envs.PosterProblem()
    >>> key = exact.solve(exact.enumerate_tree(problem), alpha=0.5)
    >>> abs(waterfall(key, problem.examples["wrong at 3"], problem.step_names).residual) < 1e-12
    True
    """
    end = reward_of(solution.tree, answer) / solution.alpha
    credits = solution.step_credit(answer).tolist()
    residual = abs(solution.log_z + sum(credits) - end)
    printed = f"{residual:.0e}" if residual > 1e-12 else "below 1e-12"
    chances, second = None, ""
    if set(solution.tree.rewards.tolist()) <= {0.0, 1.0}:
        chances = [solution.success_probability(tuple(answer)[:t]) for t in range(len(answer) + 1)]
        second = "percent: chance of ending right after the step; "
    return Waterfall(
        labels=labels,
        credits=credits,
        start=solution.log_z,
        end=end,
        caption=(
            f"{second}{conditions(reference, solution.alpha)}; residual of the sum {printed} nats"
        ),
        chances=chances,
    )
