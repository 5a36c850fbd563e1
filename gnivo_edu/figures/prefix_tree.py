"""The prefix tree: where answers part, how likely each way is, and what it is worth."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from gnivo_edu.exact import Solution, Tables
from gnivo_edu.exact.theorems import prefix_log_law
from gnivo_edu.figures.chips import Chip
from gnivo_edu.figures.style import Shown, conditions, full_scale, mark, percent, signed
from gnivo_edu.figures.tokens import in_text
from gnivo_edu.figures.tree_picture import Branch, arrow, draw_tree


@dataclass(frozen=True)
class PrefixTree(Shown):
    """Prefixes as nodes: area = reach probability, colour = `colours`, probabilities on the edges.

    `scale`: nats at which the colour is full.
    """

    root: Branch
    caption: str
    scale: float
    colours: str

    def _draw(self) -> Any:
        return draw_tree(self.root, self.scale, self.caption)

    def _fold(self) -> tuple[str, str]:
        """In the place of the table: the same tree as lists that fold, usable without a script."""
        listed = (
            '<ul style="list-style:none;padding-left:1.6em;margin:0;white-space:nowrap">{}</ul>'
        )

        def item(branch: Branch) -> str:
            chip = Chip(branch.token, branch.value, special=branch.special)
            words = [chip.html(self.scale, tag="span", one_line=True), arrow(branch.chances)]
            line = f"{' '.join(filter(None, words))}, {branch.reached()}"
            rest = f"<li>{branch.left_out()}</li>" if branch.others else ""
            inner = "".join(map(item, branch.branches)) + rest
            if not inner:
                return f"<li>{line}</li>"
            fold = f"<summary>{line}</summary>{listed.format(inner)}"
            return f"<li><details open>{fold}</details></li>"

        return "The tree as a list", listed.format(item(self.root))

    def text(self) -> str:
        """One line per prefix, indented by its depth."""
        lines = []

        def write(branch: Branch, depth: int) -> None:
            token = f"[{in_text(branch.token)}]" if branch.special else in_text(branch.token)
            value = f"{mark(branch.value)}{signed(branch.value)}"
            words = filter(None, [token, arrow(branch.chances), value])
            lines.append(f"{'  ' * depth}{' '.join(words)}, {branch.reached()}")
            for child in branch.branches:
                write(child, depth + 1)
            if branch.others:
                lines.append(f"{'  ' * (depth + 1)}{branch.left_out()}")

        write(self.root, 0)
        return self._captioned(lines)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row per prefix."""
        return ["depth", "token", "chance", "reached", self.colours], [
            [str(d), in_text(b.token), arrow(b.chances), percent(b.reach), signed(b.value)]
            for d, b in self.root.walk()
        ]

    def alt(self) -> str:
        """How much is shown, and the likeliest complete answer in it."""
        branches = list(self.root.walk())
        hidden = sum(b.reach * b.rest[-1] for _, b in branches if b.others)
        ends = [b for _, b in branches if b.reward is not None]
        best = ""
        if ends:
            best = f"; the likeliest complete answer has {percent(max(b.reach for b in ends))}"
        return (
            f"Tree of {len(branches)} prefixes, {max(d for d, _ in branches)} tokens deep, "
            f"coloured by {self.colours}; "
            f"branches left out hold {percent(hidden)} of the probability{best}."
        )


def prefix_tree(
    solution: Solution,
    vocabulary: Sequence[str],
    policy: Tables | None = None,
    colours: Literal["value", "credit"] = "value",
    nodes: int = 30,
    keep: Collection[Sequence[int]] = (),
    reference: str = "the initial model",
    policy_name: str = "the policy",
    scale: float | None = None,
) -> PrefixTree:
    """The `nodes` likeliest prefixes of an exact tree, and those of the answers in `keep`, drawn
    thick.

    Likely under the reference or, if there is one, under a `policy` (tables [V**t, V] of
    log-probabilities, nats); then the node area is the policy's probability too, and edges read
    "reference → policy". `colours`: "value" is V - log Z of the prefix, the credit of all its
    tokens, "credit" that of its last token alone, nats. A finished answer is one node, whatever the
    horizon.

    >>> import toy_envs
    >>> from gnivo_edu import exact
    >>> key = exact.solve(exact.enumerate_tree(toy_envs.RandomTree(2, 2)), alpha=0.5)
    >>> print(prefix_tree(key, "ab", nodes=4).text())
    start ·0.00, reached 100%
      a 50% ▲+0.36, reached 50%
        a 50% ▲+0.66, reached 25%, R = 0.637
        +1 other 50%
      b 50% ▼−0.56, reached 50%
        +2 others
    area: chance to reach the prefix under the reference; colour and number: V − log Z, nats, ...
    ±0.66; reference: the initial model; alpha = 0.5; log Z = 0.62
    """
    tree = solution.tree
    laws = [tree.step_logps, *([policy] if policy is not None else [])]
    reach = [prefix_log_law(law) for law in laws]
    heap: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    shown: set[tuple[int, int]] = set()
    marked = {tree.index(tuple(answer)[:t]) for answer in keep for t in range(len(answer) + 1)}

    def children(t: int, row: int) -> list[tuple[int, int]]:
        if t == tree.horizon or tree.eos_token_id in tree.prefix(t, row):
            return []
        first = row * tree.vocab_size
        below = [(t + 1, first + a) for a in range(tree.vocab_size)]
        return [place for place in below if tree.prefix_logps[place[0]][place[1]] > -np.inf]

    while heap and len(shown) < nodes:
        _, t, row = heapq.heappop(heap)
        shown.add((t, row))
        for depth, child in children(t, row):
            heapq.heappush(heap, (-float(reach[-1][depth][child]), depth, child))
    shown |= marked

    def grow(t: int, row: int) -> Branch:
        below = children(t, row)
        parent, token = divmod(row, tree.vocab_size)
        here = float(solution.values[t][row])
        origin = solution.log_z
        if colours == "credit" and t > 0:
            origin = float(solution.values[t - 1][parent])
        left = [place for place in below if place not in shown]
        next_laws = [np.exp(law[t][row].reshape(-1)) for law in laws] if below else []
        return Branch(
            token=vocabulary[token],
            reach=float(np.exp(reach[-1][t][row])),
            chances=tuple(float(np.exp(law[t - 1][parent, token])) for law in laws),
            value=here - origin,
            branches=tuple(grow(*place) for place in below if place in shown),
            others=len(left),
            rest=tuple(
                float(sum(law[child % tree.vocab_size] for _, child in left)) for law in next_laws
            ),
            reward=None if below else float(here * solution.alpha),
            special=tree.eos_token_id in tree.prefix(t, row)[-1:],
            kept=(t, row) in marked,
        )

    # The empty prefix has no last token, hence no chance of it.
    root = replace(grow(0, 0), token="start", chances=())
    full = full_scale((branch.value for _, branch in root.walk()), scale)
    named = {"value": "V − log Z", "credit": "credit of the last token"}[colours]
    sized = "the reference" if policy is None else policy_name
    edges = "" if policy is None else f"; edges: reference → {policy_name}"
    return PrefixTree(
        root=root,
        caption=(
            f"area: chance to reach the prefix under {sized}{edges}; "
            f"colour and number: {named}, nats, full at ±{full:.2f}; "
            f"{conditions(reference, solution.alpha, solution.log_z)}"
        ),
        scale=full,
        colours=named,
    )
