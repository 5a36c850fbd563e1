"""The prefix tree of a language model: the same picture, with the text of the model's own tokens on
the edges.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Protocol

from gnivo_edu.exact import Solution
from gnivo_edu.figures.prefix_tree import PrefixTree, prefix_tree
from gnivo_edu.figures.tree_picture import Branch

Ranks = Sequence[int]


class Spelled(Protocol):
    """What the picture reads of a `policies.TextTree`."""

    vocab_size: int

    def pieces(self, prefix: Ranks) -> list[str]:
        """The text of each token of a prefix of ranks."""
        ...


def text_tree(
    solution: Solution,
    mdp: Spelled,
    keep: Collection[Ranks] = (),
    show: Collection[Ranks] = (),
    **options: Any,
) -> PrefixTree:
    """`prefix_tree` of a tree of ranks, as `policies.tree_from_model` grows it.

    The same rank is another token after every prefix, so that each edge asks `mdp` for its text.
    `keep` are answers drawn thick, `show` further prefixes that have to be in the picture, drawn
    thin; `options` are those of `prefix_tree`.
    """
    shown = prefix_tree(
        solution, list(map(str, range(mdp.vocab_size))), keep=[*keep, *show], **options
    )
    thick = {tuple(answer)[:t] for answer in keep for t in range(len(answer) + 1)}

    def spelled(branch: Branch, prefix: tuple[int, ...]) -> Branch:
        return replace(
            branch,
            token=mdp.pieces(prefix)[-1] if prefix else branch.token,
            branches=tuple(
                spelled(child, (*prefix, int(child.token))) for child in branch.branches
            ),
            kept=prefix in thick,
        )

    return replace(shown, root=spelled(shown.root, ()))
