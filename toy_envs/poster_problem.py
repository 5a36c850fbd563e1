"""PosterProblem: the poster's own question, seven steps, 128 answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toy_envs.core import Prefix, Tables, TokenMDP


class PosterProblem(TokenMDP):
    """Seven steps of algebra, each done right (0) or wrong (1), and one reward for the final
    answer.

    ## Description
    Let T = 11; find x with √(20 + √(T + x)) = 5. Every mistake is carried through, so each of the
    128 answers reads consistently, and only the answer without a mistake in steps 1 to 6 arrives at
    x = 14 (no two mistakes cancel; tested). Step 7 substitutes into the question as asked: right
    keeps 14, or sees that another x fails and mends it; wrong slips from 14 to 15, or waves the
    wrong x through.

    Question: which of seven steps deserves the credit for one reward, and is the first mistake the
    costliest?

    Tags: sparse reward, delayed mistake, rescue, own reference.

    >>> problem = PosterProblem()
    >>> print(problem.decode(problem.examples["wrong at 3, rescued"]))
    Restate: find x with √(20 + √(T + x)) = 5, where T = 11.
    Substitute T = 11: √(20 + √(11 + x)) = 5.
    Square both sides: 20 + √(11 + x) = 10.
    Subtract 20: √(11 + x) = -10.
    Square again: 11 + x = 100.
    Subtract 11: x = 89.
    Verify: x = 89 gives 5.48, not 5. Work back and mend: x = 14.

    ## Action Space
    `Discrete(2)`: 0 the right continuation, 1 the wrong one.

    ## Observation Space
    `MultiDiscrete`, int64 of length 8: `bos_token_id`, the prefix, then `pad_token_id`.

    ## Starting State
    The empty prefix.

    ## Rewards
    1 if the final answer is 14, else 0.

    ## Episode End
    After seven steps.

    ## Information
    As for every TokenMDP: `action_mask`, `prefix`, `prompt_index`, `illegal_action`.

    ## Arguments
    `render_mode`. The reference is stated: chances of a wrong step 0.02, 0.05, 0.25, 0.10, 0.20,
    0.10, each 0.05 more once a mistake is made; chance of a sound check 0.97 after no mistake, 0.30
    after one, 0.15 after more.

    ## Exact Optimum
    Under that reference; log Z, KL and entropy in nats.

    >>> from toy_envs import optimum
    >>> for alpha in (0.1, 1.0):
    ...     print(optimum(problem, alpha))
    alpha 0.1: log Z = 9.4449, E[R] = 1.0000, KL = 0.5548, entropy = 1.0873
    alpha 1: log Z = 0.6863, E[R] = 0.7855, KL = 0.0993, entropy = 1.9622

    ## References
    The question is the one on the poster "Group-Normalized Implicit Value Optimization for Language
    Models" (KAIST). The wrong steps and all probabilities are ours.

    ## Version History
    v0: first version.
    """

    question = "Let T = 11. Compute the value of x that satisfies √(20 + √(T + x)) = 5."
    step_names = (
        "Restate",
        "Substitute",
        "Square",
        "Subtract",
        "Square again",
        "Solve for x",
        "Verify",
    )
    examples: ClassVar[dict[str, Prefix]] = {
        "right": (0, 0, 0, 0, 0, 0, 0),
        "wrong at 3": (0, 0, 1, 0, 0, 0, 1),
        "wrong at 3, rescued": (0, 0, 1, 0, 0, 0, 0),
        "wrong late": (0, 0, 0, 0, 0, 0, 1),
    }

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(
            vocab_size=2, horizon=7, vocabulary=("right", "wrong"), render_mode=render_mode
        )
        self._right = np.array(
            [self.final_answer(y) == 14 for y in product((0, 1), repeat=7)], dtype=np.float64
        )

    def _texts(self, tokens: ArrayLike) -> tuple[list[str], int]:
        """All seven texts and the final answer; missing steps count as right."""
        steps = np.asarray(tokens, dtype=np.int64).tolist()
        wrong = [step != 0 for step in (steps + [0] * 7)[:7]]
        # Of each pair, the first is what a right step writes and the second what a wrong one does.
        a = (20, 12)[wrong[0]]
        t = (11, 1)[wrong[1]]
        squared = (25, 10)[wrong[2]]
        root = (squared - a, squared + a)[wrong[3]]
        total = (root * root, 2 * root)[wrong[4]]
        x = (total - t, total + t)[wrong[5]]
        texts = [
            f"Restate: find x with √({a} + √(T + x)) = 5, where T = 11.",
            f"Substitute T = {t}: √({a} + √({t} + x)) = 5.",
            f"Square both sides: {a} + √({t} + x) = {squared}.",
            f"Subtract {a}: √({t} + x) = {root}.",
            f"Square again: {t} + x = {total}.",
            f"Subtract {t}: x = {x}.",
        ]
        if x == 14:
            checks = ("√(20 + √25) = 5 holds: x = 14.", "11 + 14 = 24, not 25, so rather x = 15.")
            answers = (14, 15)
        else:
            value = "has no real root"
            if x >= -11:
                value = f"gives {math.sqrt(20 + math.sqrt(11 + x)):.2f}, not 5"
            checks = (f"x = {x} {value}. Work back and mend: x = 14.", f"x = {x} looks right.")
            answers = (14, x)
        return [*texts, f"Verify: {checks[wrong[6]]}"], answers[wrong[6]]

    def prompt_text(self, prompt_index: int) -> str:
        """The question."""
        return self.question

    def token_texts(self, answer: Sequence[int]) -> list[str]:
        """Text of each step of an answer."""
        return self._texts(answer)[0][: len(answer)]

    def step_text(self, prefix: ArrayLike) -> str:
        """Text of the last step of a prefix of one to seven steps."""
        length = len(np.asarray(prefix))
        if not 1 <= length <= 7:
            raise ValueError(f"step_text needs a prefix of 1 to 7 steps, got {length}")
        return self._texts(prefix)[0][length - 1]

    def final_answer(self, tokens: ArrayLike) -> int:
        """The x that an answer of seven steps ends with."""
        if len(np.asarray(tokens)) != 7:
            raise ValueError(f"final_answer needs all 7 steps, got {len(np.asarray(tokens))}")
        return self._texts(tokens)[1]

    def decode(self, tokens: ArrayLike) -> str:
        """The steps of an answer, one a line."""
        steps = [t for t in np.asarray(tokens, dtype=np.int64).tolist() if t < 2]
        return "\n".join(self._texts(steps)[0][: len(steps)])

    def _score(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], *_: Any) -> ArrayLike:
        complete = lengths == 7
        # The number of an answer, its tokens read as binary digits; 0 for an unfinished one.
        numbers = np.where(complete[:, None], tokens, 0) @ (1 << np.arange(6, -1, -1))
        return np.where(complete, self._right[numbers], 0.0)

    def reference(self, prompt_index: int = 0) -> Tables:
        """The stated chances as log-probability tables [2**t, 2], natural logarithms."""
        tables = []
        for t, chance in enumerate((0.02, 0.05, 0.25, 0.10, 0.20, 0.10, 0.03)):
            mistakes = np.array([row.bit_count() for row in range(2**t)])  # in every prefix
            wrong = chance + 0.05 * (mistakes > 0)
            if t == 6:  # the check is the worse, the more mistakes there are
                wrong = np.array([0.03, 0.70, 0.85])[mistakes.clip(0, 2)]
            tables.append(np.log(np.stack([1 - wrong, wrong], axis=1)))
        return tables
