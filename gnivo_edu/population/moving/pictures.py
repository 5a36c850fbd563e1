"""The three pictures of notebooks/moving_reference.md, by enumeration."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gnivo_edu.figures.lines import LINES, Line, log_axis
from gnivo_edu.figures.style import EDGE, INK, PAPER, blank, caption_below, drawing
from gnivo_edu.machine import one_thread
from gnivo_edu.names import home
from gnivo_edu.population import Answers, laws, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving import (
    Policy,
    along_answers,
    change_by_token,
    refreshed,
    value_at,
)
from gnivo_edu.population.moving.tables import ALPHA, PARTS, new_references

K = 4
STEP = 10.0  # of gradient descent on the logits
UPDATES = 61


def swap_picture() -> Any:
    """Every answer's change of implied value after a swap: a fan around zero."""
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
    law = answers.law(policy).numpy()
    references = new_references(answers, policy)
    figure = blank((9.0, 4.2))
    panels = figure.subplots(1, 2, sharey=True)
    t = np.arange(answers.tokens.shape[1] + 1)
    for axes, name in zip(panels, list(references)[:2], strict=True):
        by_token = change_by_token(answers, policy, reference=references[name], alpha=ALPHA)
        change = np.pad(along_answers(answers, by_token).numpy(), ((0, 0), (1, 0)))
        mean, deviation = law @ change, np.sqrt(law @ change**2)
        for line, share in zip(change, law, strict=True):
            axes.plot(t, line, color=EDGE, linewidth=0.5 + 14 * share, alpha=0.55)
        for edge in (-deviation, deviation):
            axes.plot(t, edge, color=LINES[1].colour, linestyle=LINES[1].dashes, linewidth=2)
        axes.plot(t, mean, color=INK, linewidth=2.6, marker="o", markeredgecolor="white")
        axes.set_xticks(t, ["start", *map(str, t[1:])])
        axes.set(xlabel="tokens written", xlim=(0, t[-1] + 0.55))
        axes.set_title(f"new reference: {name}", fontsize=10)
        axes.grid(axis="y", color="#ececec")
        axes.set_axisbelow(True)
        labels = {"mean": mean[-1], "+ sd": deviation[-1], "− sd": -deviation[-1]}
        for word, height in labels.items():
            axes.text(t[-1] + 0.1, height, word, va="center")
    panels[0].set_ylabel("change of the implied value, reward")
    return caption_below(
        figure,
        f"reference: random habits; alpha = {ALPHA:g}; grey: the 15 answers, wide where the policy "
        "(VIMPO at rest) writes them often; mean and standard deviation (sd) under the policy",
    )


def refresh_picture() -> Any:
    """Left: n refreshes against one objective at alpha/n. Right: n refreshes at n alpha."""
    tree, one_step = problem("tree"), problem("one step")
    figure = blank((10.4, 4.2))
    left, right = figure.subplots(1, 2)
    times = range(1, 13)

    def distances(answers: Answers) -> list[float]:
        laws_of = [answers.law(refreshed(answers, ALPHA, times=n)) for n in times]
        goals = (laws.vimpo_law(answers, ALPHA / n) for n in times)
        return [total_variation(law, goal) for law, goal in zip(laws_of, goals, strict=True)]

    # GVPO and GN-IVO compound exactly (the table of the page finds their rests): zero for every n.
    lines = [[0.0] * len(times), distances(one_step), distances(tree)]
    _lines(left, times, lines=lines)
    left.text(6.6, 0.044, "VIMPO")
    left.text(12, 0.0015, "VIMPO with answers of one token, GVPO, GN-IVO", ha="right")
    left.set_ylim(bottom=-0.003)
    left.set(xlabel="n, refreshes at alpha", ylabel="distance from the end at alpha/n")
    left.set_title("Is it alpha/n?", fontsize=10)
    ends = [tree.law(refreshed(tree, n * ALPHA, times=n)) for n in PARTS]
    goal = laws.tilt(tree, ALPHA)
    far = [total_variation(end, goal) for end in ends]
    log_axis(right.xaxis, PARTS)
    log_axis(right.yaxis, far)
    right.plot(PARTS, far, color=LINES[2].colour, linewidth=1.8, marker=LINES[2].marker)
    right.plot(PARTS, far[-1] * PARTS[-1] / np.array(PARTS), color=EDGE, linewidth=1, zorder=1)
    right.set_xticks(PARTS, list(map(str, PARTS)))
    right.set(xlabel="n, refreshes at n times alpha", ylabel="distance from π* at alpha")
    right.set_title("The path is π*'s: the error falls as 1/n (grey)", fontsize=10)
    return caption_below(
        figure,
        f"reference: random habits; alpha = {ALPHA:g}; distances are total variation",
    )


def descent(answers: Answers, policy: Policy, alpha: float) -> list[float]:
    """The value loss along plain gradient descent of the exact expected gradient."""
    logits, losses = policy.clone(), []
    for _ in range(UPDATES):
        at = value_at(answers, answers.policy(logits), group_size=K, alpha=alpha)
        losses.append(at.loss)
        logits = logits - STEP * at.gradient["logits"]
    return losses


def jump_picture() -> Any:
    """Left: the value loss before and after. Right: its factor over s, beside the refresh's."""
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
    at_rest = value_at(answers, policy, group_size=K, alpha=ALPHA).loss
    fresh = replace(answers, reference=policy)
    after = [descent(fresh, policy, alpha=ALPHA), descent(answers, policy, alpha=ALPHA / 2)]
    figure = blank((10.4, 4.2))
    left, right = figure.subplots(1, 2)
    before = range(-12, 0)
    whole = [[1.0] * len(before) + [x / at_rest for x in losses] for losses in after]
    updates = range(before[0], UPDATES)
    _lines(left, updates, lines=whole, looks=LINES[1:], markers=False)
    left.text(1.5, K - 0.05, "refresh")
    left.text(6, 1.3, "alpha to alpha/2")
    left.set_ylim(0, K + 0.3)
    left.set(xlabel="updates after the change", ylabel="value loss, over that at its rest")
    left.set_title(f"Groups of {K}: a refresh multiplies it by {K}", fontsize=10)
    s, shares = np.linspace(0, 1, 51), (0.1, 0.25, 0.5, 0.75, 0.9)
    for size, look in zip((2, K), LINES[2:], strict=False):
        at = partial(value_at, policy=policy, group_size=size)
        start = at(answers, alpha=ALPHA).loss
        counted = [at(answers, alpha=x * ALPHA).loss / start for x in shares]
        jump = at(fresh, alpha=ALPHA).loss / start
        right.plot(s, 1 + (size - 1) * (1 - s) ** 2, color=look.colour, linewidth=1.8)
        right.plot(shares, counted, look.marker, color=look.colour, markersize=6)
        right.axhline(jump, color=look.colour, linestyle=(0, (5, 1.6)), linewidth=1.5)
        right.text(0.99, jump + 0.05, f"refresh, K = {size}", ha="right")
        right.text(0.15, 0.97 + 0.55 * (size - 1), f"K = {size}", ha="right", va="top")
    right.set(xlabel="s", ylabel="factor of the value loss", xlim=(0, 1), ylim=(0.9, 4.5))
    right.set_title("Annealing: 1 + (K − 1)(1 − s)²; points are counted", fontsize=10)
    return caption_below(
        figure,
        f"reference: random habits; alpha = {ALPHA:g}; left: plain gradient descent on exact "
        "expected gradients, the same step size for both",
    )


def _lines(
    axes: Any,
    x: range,
    lines: list[list[float]],
    looks: Sequence[Line] = LINES,
    markers: bool = True,
) -> None:
    """Lines over `x`, each in its look."""
    for y, look in zip(lines, looks, strict=False):
        mark = look.marker if markers else None
        axes.plot(x, y, color=look.colour, linestyle=look.dashes, linewidth=1.8, marker=mark)
    axes.grid(axis="y", color="#ececec")
    axes.set_axisbelow(True)


PICTURES: dict[str, Callable[[], Any]] = {
    "moving_swap.png": swap_picture,
    "moving_refreshes.png": refresh_picture,
    "moving_jump.png": jump_picture,
}


@one_thread()
def draw_moving_pictures(folder: str | Path) -> list[Path]:
    """Write the three pictures into `folder`; the same bytes each time. Returns the paths."""
    folder = home(folder, what="the folder")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, picture in PICTURES.items():
        buffer = io.BytesIO()
        with drawing():
            picture().savefig(
                buffer,
                format="png",
                dpi=144,
                facecolor=PAPER,
                bbox_inches="tight",
                metadata={"Software": None},
            )
        (folder / name).write_bytes(buffer.getvalue())
        paths.append(folder / name)
    return paths
