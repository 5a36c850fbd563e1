"""The reward-KL plane: what policies earn and what they pay, below the frontier of the optimal
policies pi*_alpha.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gnivo_edu.exact import Array, Tables, TokenTree, solve
from gnivo_edu.exact.theorems import prefix_log_law
from gnivo_edu.figures.chips import text_width
from gnivo_edu.figures.lines import apart, styles
from gnivo_edu.figures.style import EDGE, INK, QUIET, Shown, caption_below, number, one_panel
from gnivo_edu.figures.tokens import in_picture, in_text


class Point(NamedTuple):
    """A policy: its KL to the reference over whole answers, nats, and its expected reward."""

    kl: float
    reward: float


@dataclass(frozen=True)
class RewardKLPlane(Shown):
    """`policies[name]` as points; `frontier[alpha]` the points of pi*_alpha, above which no policy
    lies.

    The frontier runs from alpha = inf, the reference, to alpha = 0, the reference restricted to the
    best answers; `named` are the alphas that carry a label.
    """

    policies: Mapping[str, Point]
    frontier: Mapping[float, Point]
    named: Sequence[float]
    caption: str

    def curve(self) -> list[Point]:
        """The frontier in the order of KL, from the reference on."""
        return [self.frontier[alpha] for alpha in sorted(self.frontier, reverse=True)]

    @property
    def far(self) -> bool:
        """Whether a policy lies so far from the reference that the KL axis is a square-root one."""
        return max(p.kl for p in self.policies.values()) > 2 * self.frontier[0.0].kl

    def _draw(self) -> Any:
        figure, axes = one_panel((8.2, 4.8))
        curve = np.array(self.curve())
        points = np.array([*curve, *self.policies.values()])
        right, high = points.max(axis=0)
        low = points[:, 1].min()
        bottom, top = low - 0.08 * (high - low), high + 0.13 * (high - low)
        end = (1.35 if self.far else 1.25) * right
        left = -0.012 * end if self.far else -0.11 * end
        sides = (left, end, bottom, top)
        draw_frontier(axes, curve, sides=sides, beyond=(end, high), root=self.far)
        axes.text(
            0.97,
            0.955,
            "no policy is here",
            color=QUIET,
            ha="right",
            va="center",
            transform=axes.transAxes,
        )
        gap = 0.055 * (top - bottom)
        named = [self.frontier[alpha] for alpha in self.named]
        words = [f"α = {number(alpha)}" if alpha else "α → 0" for alpha in self.named]
        # Above the curve: on a flat stretch it runs to the left, too.
        above = apart([p.reward + 0.8 * gap for p in named], gap)
        for point, word, height in zip(named, words, above, strict=True):
            axes.plot(*point, "o", color="white", markeredgecolor=INK, markersize=5, zorder=4)
            self._note(axes, word, point=point, height=height, aside=-0.03)
        looks = styles(len(self.policies))
        heights = apart([p.reward for p in self.policies.values()], gap)
        for (name, point), height, look in zip(self.policies.items(), heights, looks, strict=True):
            axes.plot(
                *point,
                look.marker,
                color=look.colour,
                markersize=9,
                markeredgecolor="white",
                zorder=5,
            )
            self._note(axes, in_picture(name), point=point, height=height, aside=0.03)
        if self.far:
            axes.set_xlabel(f"{axes.get_xlabel()} (square-root axis)")
        return caption_below(figure, self.caption)

    @staticmethod
    def _note(axes: Any, words: str, point: Point, height: float, aside: float) -> None:
        """Words beside a point, `aside` of the width to the right (or left, or where there is
        room), with a leader.
        """
        to_share = axes.transData + axes.transAxes.inverted()
        x, y = to_share.transform((point.kl, height))
        if x + aside + text_width(words) / 7.0 > 1:
            aside = -aside
        leader = {"arrowstyle": "-", "color": EDGE, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
        axes.annotate(
            words,
            point,
            xytext=(x + aside, y),
            textcoords="axes fraction",
            ha="left" if aside > 0 else "right",
            va="center",
            fontsize=9.5,
            color=INK,
            zorder=3,
            arrowprops=leader,
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The policies, then the labelled points of the frontier."""
        return ["policy", "KL to the reference, nats", "expected reward"], [
            *([in_text(name), *map(number, point)] for name, point in self.policies.items()),
            *([f"π* at alpha = {number(a)}", *map(number, self.frontier[a])] for a in self.named),
        ]

    def alt(self) -> str:
        """Where every policy lies."""
        parts = [
            f"{in_text(n)} earns {number(p.reward)} at a KL of {number(p.kl)}"
            for n, p in self.policies.items()
        ]
        end = self.frontier[0.0]
        return (
            "Expected reward against KL to the reference, nats: the frontier ends at "
            f"{number(end.reward)} for a KL of {number(end.kl)}; {'; '.join(parts)}."
        )


def draw_frontier(
    axes: Any,
    curve: Array,
    sides: tuple[float, float, float, float],
    beyond: tuple[float, float],
    root: bool,
) -> None:
    """The frontier, grey above it; `sides`: left, right, bottom, top; `beyond`: the point up to
    which it runs on level; `root`: whether the KL axis is a square-root one.
    """
    left, right, bottom, top = sides
    if root:
        axes.set_xscale("function", functions=(_root, _square))
        axes.set_xticks(*_root_ticks(right))
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set(xlabel="KL(π ‖ reference), nats", ylabel="expected reward")
    border = np.vstack([(left, bottom), (0.0, bottom), curve, beyond])
    axes.fill_between(border[:, 0], border[:, 1], top, color="#ececec", linewidth=0)
    axes.plot(*curve.T, color=INK, linewidth=2)


def policy_point(tree: TokenTree, policy: Tables) -> Point:
    """KL(policy || reference) over whole answers, nats, and E[R], exactly; `policy`: tables [V**t,
    V], nats.

    Raises ValueError if the policy writes an answer that the reference cannot write: its KL is
    infinite.
    """
    logps, reference = prefix_log_law(policy)[-1], tree.prefix_logps[-1]
    possible = logps > -np.inf
    if np.isneginf(reference[possible]).any():
        raise ValueError(
            "the policy writes answers that the reference never writes: its KL is infinite"
        )
    share = np.exp(logps[possible])
    kl = float(share @ (logps[possible] - reference[possible]))
    return Point(max(kl, 0.0), float(share @ tree.rewards[possible]))


def reward_kl_plane(
    tree: TokenTree,
    policies: Mapping[str, Tables] | None = None,
    named: Sequence[float] = (2.0, 1.0, 0.5, 0.2, 0.0),
    reference: str = "the initial model",
) -> RewardKLPlane:
    """The plane of one tree: `policies` (tables [V**t, V]) and the frontier, with labels at the
    alphas in `named`.

    The frontier is solved exactly at 80 alphas, from 100 times the range of the rewards to a
    hundredth of it, and at those named. Its end, alpha = 0, is the reference restricted to the
    answers of largest reward.

    >>> import toy_envs
    >>> from gnivo_edu import exact
    >>> tree = exact.enumerate_tree(toy_envs.RandomTree(2, 2))
    >>> plane = reward_kl_plane(tree, named=[0.5])
    >>> plane.frontier[0.5].kl == exact.solve(tree, 0.5).kl
    True
    """
    possible = tree.reachable(tree.horizon)
    rewards, logps = tree.rewards[possible], tree.prefix_logps[-1][possible]
    spread = float(np.ptp(rewards))
    if spread == 0:
        raise ValueError(
            "every answer earns the same reward: there is no frontier, all optimal policies are "
            "the same"
        )
    start = policy_point(tree, tree.step_logps)
    best = float(rewards.max())
    end = Point(-float(np.logaddexp.reduce(logps[rewards == best])), best)
    frontier = {np.inf: start, 0.0: end}
    grid = np.geomspace(100 * spread, spread / 100, 80).tolist()
    for alpha in [*grid, *(a for a in named if a > 0)]:
        key = solve(tree, alpha)
        frontier[alpha] = Point(key.kl, key.expected_reward)
    return RewardKLPlane(
        policies={
            "reference": start,
            **{name: policy_point(tree, tables) for name, tables in (policies or {}).items()},
        },
        frontier=frontier,
        named=named,
        caption=(
            f"reference: {reference}; curve: the optimal policies, "
            "from alpha = ∞ (the reference) to alpha → 0"
        ),
    )


def _root(kl: Any) -> Any:
    return np.sign(kl) * np.sqrt(np.abs(kl))


def _square(root: Any) -> Any:
    return np.sign(root) * np.square(root)


def _root_ticks(end: float) -> tuple[list[float], list[str]]:
    """Round numbers up to `end`, none closer than a tenth of a square-root axis."""
    chosen = [0.0]
    for tick in (m * 10.0**n for n in range(-6, 7) for m in (1, 2, 5)):
        if tick <= end and np.sqrt(tick / end) - np.sqrt(chosen[-1] / end) >= 0.1:
            chosen.append(tick)
    return chosen, [number(tick) for tick in chosen]
