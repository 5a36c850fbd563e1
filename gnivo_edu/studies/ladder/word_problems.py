"""Generated word problems for a model of our own: arithmetic in words, a token a word and a token a
digit.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.tasks.arithmetic import Arithmetic
from toy_envs.core import TokenMDP

NAMES = ("Ann", "Ben", "Mia", "Sam", "Tom", "Zoe")
THINGS = ("beads", "books", "coins", "nuts", "pens", "shells")
MORE = (("finds", "more"), ("buys", "more"), ("gets", "from", "her"), ("gets", "from", "him"))
LESS = (("loses", "again"), ("sells", "again"), ("gives", "to", "her"), ("gives", "to", "him"))
FRAME = ("has", "then", "how", "many", "?")
WORDS = tuple(dict.fromkeys(chain(NAMES, THINGS, *MORE, *LESS, FRAME)))


class WordProblems(Arithmetic):
    """`Arithmetic` whose questions are told: the answers are the same running totals, and so are
    the rewards and the slips of demonstrations.

    `told[i]` is question i in words. Takes what `Arithmetic` takes.

    >>> task = WordProblems(tiers=(2,), num_prompts=1, split="test")
    >>> task.prompt_text(0), task.question(0)
    ('Sam has 5 9 shells then gets 5 from him then sells 8 again how many ?', '59+5-8=')
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._marks = len(self.vocabulary)  # digits and signs, before the words
        vocabulary = [*self.vocabulary, *WORDS]
        self.told = [self._tell(number) for number in range(len(self.tier))]
        code = {word: token for token, word in enumerate(vocabulary)}
        bos = len(vocabulary)
        rows = [[code[word] for word in told] for told in self.told]
        width = max(map(len, rows)) + 1
        TokenMDP.__init__(
            self,
            len(vocabulary),
            self.horizon,
            eos_token_id=self.eos_token_id,
            vocabulary=vocabulary,
            # Shorter prompts repeat their BOS on the left, as those of `Arithmetic` do.
            prompts=[[bos] * (width - len(row)) + row for row in rows],
        )
        self.name = f"word-problems-{self.split}"

    def prompt_text(self, prompt_index: int) -> str:
        """The question in words."""
        return " ".join(self.told[prompt_index])

    def decode(self, tokens: ArrayLike) -> str:
        """Text of an answer, its digits side by side."""
        return super().decode(tokens).replace(" ", "")

    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        # The chains know no words: to them a word is a mark that no right answer holds.
        known = np.where(tokens < self._marks, tokens, self.vocabulary.index("="))
        return super()._score(known, lengths, prompt_index)

    def _tell(self, prompt_index: int) -> list[str]:
        """The words of a question; which ones, its number decides."""
        start, operands = self._terms(prompt_index)
        terms = [abs(x) for x in (start, *operands)]
        rng = np.random.default_rng([*terms, *(x > 0 for x in operands)])
        told = [str(rng.choice(NAMES)), "has", *str(start), str(rng.choice(THINGS))]
        for operand in operands:
            ways = MORE if operand > 0 else LESS
            verb, *rest = ways[rng.integers(len(ways))]
            told += ["then", verb, str(abs(operand)), *rest]
        return [*told, "how", "many", "?"]
