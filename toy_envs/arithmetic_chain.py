"""ArithmeticChain: a sum worked out step by step, rewarded for its last number only."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toy_envs.arguments import whole
from toy_envs.core import TokenMDP

LONGEST = 10_000  # tokens of an answer


class ArithmeticChain(TokenMDP):
    """Carry a running total through a chain of additions and subtractions.

    ## Description
    A prompt such as `55+9+5+2-9=` is answered by its running totals, `64;69;71;62.`, where "." is
    the end-of-sequence token. Numbers are written in `base`, without leading zeros. Every prompt
    keeps its totals in 0..base**digits - 1. Only the last number is rewarded: a right answer may
    hold a wrong step. The small default size is enumerable; `operations=4, base=10, digits=2,
    num_prompts=1000` is the size that is trained.

    Question: with visible steps and one reward at the end, is the first wrong step found?

    Tags: sparse reward, prompts, visible steps, verifiable answer.

    >>> chain = ArithmeticChain(operations=4, base=10, digits=2, num_prompts=1000)
    >>> chain.question(0), chain.decode(chain.demonstration(0))
    ('59+5-8-1+8=', '64;56;55;63.')

    ## Action Space
    `Discrete(base + 5)`: the digits, then ";", "+", "-", "=" and "." (`eos_token_id`). All are
    actions.

    ## Observation Space
    `MultiDiscrete`, int64: `bos_token_id`, the question (start, operations, "="), the prefix,
    `pad_token_id`.

    ## Starting State
    The empty prefix of a question drawn at random.

    ## Rewards
    1 if the answer ends with the end-of-sequence token and its last field is the final total, else
    0.

    ## Episode End
    With the end-of-sequence token, or after `operations * (digits + 1)` tokens, the longest right
    answer.

    ## Information
    As for every TokenMDP: `action_mask`, `prefix`, `prompt_index`, `illegal_action`.

    ## Arguments
    `operations` >= 1 (2), `base` in 2..10 (3), `digits` >= 1 of the start and of the largest total
    (1), `num_prompts` distinct questions (4), `prompt_seed` >= 0 (0), `render_mode`. The start has
    exactly `digits` digits; operands are 1..base-1. ValueError if fewer than `num_prompts`
    questions exist.

    ## Exact Optimum
    For prompt 0, under the uniform reference; log Z, KL and entropy in nats.

    >>> from toy_envs import optimum
    >>> for alpha in (0.1, 1.0):
    ...     print(optimum(ArithmeticChain(), alpha))
    alpha 0.1: log Z = 6.0540, E[R] = 0.9977, KL = 3.9230, entropy = 0.8200
    alpha 1: log Z = 0.0326, E[R] = 0.0507, KL = 0.0181, entropy = 6.7971

    ## References
    Ours; running totals are a scratchpad (Nye et al. 2021, arXiv:2112.00114).

    ## Version History
    v0: first version.
    """

    def __init__(
        self,
        operations: int = 2,
        base: int = 3,
        digits: int = 1,
        num_prompts: int = 4,
        prompt_seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        operations, base, digits, num_prompts, prompt_seed = whole(
            operations=operations,
            base=base,
            digits=digits,
            num_prompts=num_prompts,
            prompt_seed=prompt_seed,
        )
        if min(operations, digits, num_prompts) < 1 or prompt_seed < 0 or not 2 <= base <= 10:
            raise ValueError(
                "operations, digits and num_prompts must be at least 1, prompt_seed at least 0 and "
                f"base in 2..10, got {operations}, {digits}, {num_prompts}, {prompt_seed} and "
                f"{base}"
            )
        if operations * (digits + 1) > LONGEST:
            raise ValueError(
                f"{operations} operations on numbers of {digits} digits make answers of more than "
                f"{LONGEST:,} tokens: take fewer"
            )
        self.operations = operations
        self.base = base
        self.digits = digits
        self._totals = self._draw(num_prompts, random.Random(prompt_seed))
        vocabulary = "0123456789"[:base] + ";+-=."
        self._token = {character: token for token, character in enumerate(vocabulary)}
        bos_token_id = len(vocabulary)
        super().__init__(
            len(vocabulary),
            operations * (digits + 1),
            eos_token_id=self._token["."],
            vocabulary=vocabulary,
            prompts=[
                [bos_token_id, *self._encode(self._question(totals))] for totals in self._totals
            ],
            render_mode=render_mode,
        )
        # The end that earns the reward, right-aligned: ";", the final total, EOS.
        self._ends = np.full((num_prompts, digits + 2), -1)
        for row, totals in zip(self._ends, self._totals, strict=True):
            end = self._encode(f";{self._numeral(totals[-1])}.")
            row[-len(end) :] = end

    def _draw(self, num_prompts: int, rng: random.Random) -> list[tuple[int, ...]]:
        """Distinct chains of totals, the start first."""
        largest = self.base**self.digits - 1
        smallest_start = self.base ** (self.digits - 1)
        operands = [d for d in range(1 - self.base, self.base) if d]

        def after(total: int) -> list[int]:
            return [total + d for d in operands if 0 <= total + d <= largest]

        if num_prompts > largest - smallest_start:  # there are at least as many chains as starts
            chains_from = [1] * (largest + 1)
            for _ in range(self.operations):
                chains_from = [
                    sum(chains_from[total] for total in after(start))
                    for start in range(largest + 1)
                ]
            count = sum(chains_from[smallest_start:])
            if num_prompts > count:
                raise ValueError(
                    f"only {count} such questions exist, got num_prompts={num_prompts}"
                )
        chains: dict[tuple[int, ...], None] = {}  # its keys keep the order and drop the doubles
        while len(chains) < num_prompts:
            totals = [rng.randint(smallest_start, largest)]
            for _ in range(self.operations):
                totals.append(rng.choice(after(totals[-1])))
            chains[tuple(totals)] = None
        return list(chains)

    def _numeral(self, number: int) -> str:
        return np.base_repr(number, self.base)

    def _encode(self, text: str) -> list[int]:
        return [self._token[character] for character in text]

    def _question(self, totals: tuple[int, ...]) -> str:
        return self._numeral(totals[0]) + "".join(f"{b - a:+d}" for a, b in pairwise(totals)) + "="

    def question(self, prompt_index: int) -> str:
        """The question as text, such as `55+9+5+2-9=`."""
        return self._question(self._totals[prompt_index])

    def prompt_text(self, prompt_index: int) -> str:
        """The question."""
        return self.question(prompt_index)

    def demonstration(self, prompt_index: int) -> NDArray[np.int64]:
        """The right answer, every running total and the end-of-sequence token: int64 [L]."""
        answer = ";".join(self._numeral(total) for total in self._totals[prompt_index][1:]) + "."
        return np.array(self._encode(answer), dtype=np.int64)

    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        ends = self._ends[prompt_index]
        width = ends.shape[1]
        # A margin of `width` in front, so that the last `width` tokens exist in every answer; it
        # ends with ";", so that a total at the very start of an answer counts as a field.
        margin = np.full((len(tokens), width), self.pad_token_id)
        margin[:, -1] = self._token[";"]
        last = lengths[:, None] + np.arange(width)
        written = np.take_along_axis(np.concatenate([margin, tokens], axis=1), last, axis=1)
        return ((ends == -1) | (written == ends)).all(axis=1)
