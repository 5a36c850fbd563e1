"""Arithmetic: ArithmeticChain at the sizes that are trained, in tiers, with demonstrations for a
base policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.tasks.grading import Grade, Status
from gnivo_edu.tasks.segment import check_rows, step_ids_of, steps_after
from toy_envs.arithmetic_chain import ArithmeticChain
from toy_envs.core import TokenMDP

TEST_QUESTIONS = 200  # of each tier; the first that its seed draws
TRAIN_QUESTIONS = 1000  # of each tier, unless told; those after them


class Arithmetic(TokenMDP):
    """`55+9+5+2-9=` is answered by its running totals, `64;69;71;62.`; only the last one is
    rewarded.

    Each tier, the number of operations, is an `ArithmeticChain` with the same vocabulary; the
    tiers' prompts stand one below the other, tier by tier. Shorter prompts begin with more than one
    `bos_token_id`; `prompt_mask()` keeps the last of them. `tier` int64 [N] is the tier of each
    prompt. The steps of an answer end with ";".

    Arguments: `tiers`; `num_prompts` of each; `split`, where "test" has the first `TEST_QUESTIONS`
    questions of a tier at most and "train" those after them, so that they never share one; `base`,
    `digits` and `prompt_seed` as in `ArithmeticChain`. Raises ValueError where a tier has not so
    many questions.

    >>> task = Arithmetic(tiers=(4,), num_prompts=2, split="test")
    >>> task.question(0), task.grade(*task.demonstrations(1, wrong_rate=0.0, seed=0))[0].status
    ('59+5-8-1+8=', 'right')
    """

    def __init__(
        self,
        tiers: Sequence[int] = (2, 3, 4),
        num_prompts: int | None = None,
        split: Literal["train", "test"] = "train",
        base: int = 10,
        digits: int = 2,
        prompt_seed: int = 0,
    ) -> None:
        _check_arguments(
            tiers, num_prompts, split=split, base=base, digits=digits, prompt_seed=prompt_seed
        )
        count = num_prompts or {"train": TRAIN_QUESTIONS, "test": TEST_QUESTIONS}[split]
        if split == "test" and count > TEST_QUESTIONS:
            raise ValueError(
                f"the test split has {TEST_QUESTIONS} questions a tier, got num_prompts={count}"
            )
        first = TEST_QUESTIONS if split == "train" else 0
        self._chains = [
            ArithmeticChain(
                n, base, digits=digits, num_prompts=first + count, prompt_seed=prompt_seed
            )
            for n in tiers
        ]
        self._chain = np.repeat(np.arange(len(tiers)), count)
        self._number = np.tile(np.arange(first, first + count), len(tiers))
        self.tier = np.asarray(tiers, dtype=np.int64)[self._chain]
        widest = max(self._chains, key=lambda chain: chain.horizon)
        width = widest.prompts().shape[1]
        rows = []
        for chain in self._chains:
            prompts = chain.prompts()[first:]
            # Shorter prompts repeat their BOS on the left.
            rows.append(np.pad(prompts, ((0, 0), (width - prompts.shape[1], 0)), mode="edge"))
        super().__init__(
            widest.vocab_size,
            widest.horizon,
            eos_token_id=widest.eos_token_id,
            vocabulary=widest.vocabulary,
            prompts=np.concatenate(rows),
        )
        for chain in self._chains:  # the chains reward answers of any tier's length
            chain.horizon = self.horizon
        self.name, self.split = f"arithmetic-{split}", split
        self.base, self.largest = base, base**digits - 1
        self._steps = steps_after(";")

    def prompt_mask(self) -> NDArray[np.bool_]:
        """Which places of `prompts()` count, bool [N, P]: the question and one `bos_token_id`
        before it.
        """
        mask = self._prompts != self.bos_token_id
        mask[:, :-1] |= mask[:, 1:]
        return mask

    def question(self, prompt_index: int) -> str:
        """The question as text, such as `55+9+5+2-9=`."""
        return self._chains[self._chain[prompt_index]].question(int(self._number[prompt_index]))

    def prompt_text(self, prompt_index: int) -> str:
        """The question."""
        return self.question(prompt_index)

    def totals(self, prompt_index: int) -> list[int]:
        """The start of a question and its right running totals."""
        start, operands = self._terms(prompt_index)
        return [start, *(start + int(total) for total in np.cumsum(operands))]

    def grade(
        self, tokens: ArrayLike, lengths: ArrayLike, prompt_index: ArrayLike = 0
    ) -> list[Grade]:
        """The verdict on each answer; its last field counts, and no answer is one that has no end
        token.
        """
        rows = [self.decode(row) for row in check_rows(tokens, lengths)]
        index = self.prompt_numbers(prompt_index, len(rows))
        rewards = self.reward(tokens, lengths, prompt_index=index)
        grades = []
        for text, number, reward in zip(rows, index.tolist(), rewards.tolist(), strict=True):
            answer = text[:-1].rpartition(";")[2] if text.endswith(".") else None
            status: Status = "no answer" if answer is None else "wrong"
            if reward:
                status = "right"
            gold = np.base_repr(self.totals(number)[-1], self.base)
            grades.append(Grade(text=text, answer=answer, gold=gold, status=status, reward=reward))
        return grades

    def step_ids(self, tokens: ArrayLike, lengths: ArrayLike) -> NDArray[np.int64]:
        """Step of each token, int64 [B, T]: 0, 1, 2, ...; the end token is of the last step."""
        pieces = [self.pieces(row) for row in check_rows(tokens, lengths)]
        return step_ids_of(pieces, self._steps, width=np.asarray(tokens).shape[1])

    def demonstration(self, prompt_index: int) -> NDArray[np.int64]:
        """The right answer to a prompt, int64: its running totals."""
        return self._written(self.totals(prompt_index)[1:])

    def demonstrations(
        self, count: int, wrong_rate: float = 0.5, seed: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Answers with a systematic mistake to learn: tokens [count, T], lengths [count],
        prompt_index [count].

        A step whose addition carries or whose subtraction borrows is done wrongly with chance
        `wrong_rate`: the carry is dropped (55+9=54), or the smaller of the two digits is subtracted
        from the larger (52-9=57); the next steps go on from there. Left out are mistakes that would
        bring a later total below 0 or above the largest, and those that cancel earlier ones: an
        answer with a wrong step ends wrong. Prompts are drawn evenly, with replacement."""
        return super().demonstrations(count, wrong_rate, seed=seed)

    def _demonstration_with_slips(
        self, prompt_index: int, wrong_rate: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        slips = rng.random(self.tier[prompt_index]) < wrong_rate
        return self._written(self._walk(prompt_index, slips))

    def first_wrong_step(
        self, tokens: ArrayLike, lengths: ArrayLike, prompt_index: ArrayLike = 0
    ) -> NDArray[np.int64]:
        """Number of the first step whose total is not the right one, int64 [B]; -1 where all are
        right.

        A missing step is wrong, and so is one more than the question has.
        """
        texts = [self.decode(row) for row in check_rows(tokens, lengths)]
        index = self.prompt_numbers(prompt_index, len(texts)).tolist()
        first = np.full(len(texts), -1, dtype=np.int64)
        for row, (text, number) in enumerate(zip(texts, index, strict=True)):
            written = text.removesuffix(".").split(";")
            right = [np.base_repr(total, self.base) for total in self.totals(number)[1:]]
            pairs = enumerate(zip_longest(written, right))
            first[row] = next((t for t, (total, true) in pairs if total != true), -1)
        return first

    def carries(self, prompt_index: int) -> list[bool]:
        """Which steps of the right answer carry or borrow: where the demonstrations err."""
        operands = self._terms(prompt_index)[1]
        totals = self.totals(prompt_index)
        return [self._wrong(a, b) is not None for a, b in zip(totals, operands, strict=False)]

    def _written(self, totals: Sequence[int]) -> NDArray[np.int64]:
        """Tokens of an answer with these running totals."""
        text = ";".join(np.base_repr(total, self.base) for total in totals) + "."
        return np.array([self.vocabulary.index(character) for character in text], dtype=np.int64)

    def _terms(self, prompt_index: int) -> tuple[int, list[int]]:
        """The start and the signed operands of a question."""
        text = self.question(prompt_index)[:-1].replace("-", "+-").split("+")
        start, *operands = (int(term, self.base) for term in text)
        return start, operands

    def _wrong(self, total: int, operand: int) -> int | None:
        """The total after a step done wrongly; None where it neither carries nor borrows."""
        unit, digit = total % self.base, abs(operand)
        if operand > 0:
            return total + digit - self.base if unit + digit >= self.base else None
        return total - unit + (digit - unit) if digit > unit else None

    def _walk(self, prompt_index: int, slips: NDArray[np.bool_]) -> list[int]:
        """Running totals, done wrongly at the steps that slip, where that is possible."""
        total, operands = self._terms(prompt_index)
        last = total + sum(operands)
        totals = []
        for t, (operand, slip) in enumerate(zip(operands, slips.tolist(), strict=True)):
            wrong = self._wrong(total, operand) if slip else None
            if wrong is not None:
                later = [wrong + int(more) for more in np.cumsum([0, *operands[t + 1 :]])]
                if min(later) < 0 or max(later) > self.largest or later[-1] == last:
                    wrong = None
            total = total + operand if wrong is None else wrong
            totals.append(total)
        return totals

    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        rewards = np.zeros(len(tokens))
        for number, chain in enumerate(self._chains):
            rows = self._chain[prompt_index] == number
            questions = self._number[prompt_index[rows]]
            rewards[rows] = chain.reward(tokens[rows], lengths[rows], prompt_index=questions)
        return rewards


def _check_arguments(tiers: Any, num_prompts: object, split: str, **numbers: object) -> None:
    whole = (int, np.integer)
    listed = isinstance(tiers, Sequence) and len(tiers) > 0
    if not listed or not all(isinstance(n, whole) and n >= 1 for n in tiers):
        raise ValueError(
            f"tiers lists numbers of operations, at least one tier such as [2, 3], got {tiers!r}"
        )
    if num_prompts is not None and not (isinstance(num_prompts, whole) and num_prompts >= 1):
        raise ValueError(
            "num_prompts, the questions of a tier, is a whole number from 1 on, got "
            f"{num_prompts!r}"
        )
    if split not in ("train", "test"):
        raise ValueError(f"the split is 'train' or 'test', got {split!r}")
    if not all(isinstance(number, whole) for number in numbers.values()):
        values = ", ".join(map(repr, numbers.values()))
        raise ValueError(f"base, digits and prompt_seed are whole numbers, got {values}")
