"""Sums in words, for a small real model: visible steps, whose first error is known exactly."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.tasks.graders import graded
from gnivo_edu.tasks.grading import Problem
from gnivo_edu.tasks.segment import check_rows, steps_after
from gnivo_edu.tasks.text_task import TextTask

TEST_QUESTIONS = 200  # of each tier; the first that its seed draws
TRAIN_QUESTIONS = 480
TIERS = ("3x2", "4x1")
LARGEST = 6  # terms of a sum, and digits of a term
_ANSWER = re.compile(r"Answer:[ \t]*(\d+)[ \t]*(?:\n|$)")


class Sums(TextTask):
    """Sums to be worked out step by step, by a model that reads text.

    The model reads `examples` worked examples and a question, `Question: 35 + 8 + 4 = ?`, up to
    `Steps:`, and writes ` 35 + 8 = 43; 43 + 4 = 47`, a line break, and `Answer: 47`: about 25
    tokens. An answer is right if the number after its first `Answer:` is; the steps are graded by
    `first_wrong_step` alone. A step ends with ";" or with the line.

    `tiers` are texts such as "3x2", three terms of two digits; `num_prompts` of each,
    or as many as there are. `split`
    "test" has the first `TEST_QUESTIONS` that the seed of a tier draws, "train" those after them;
    no question is in both. `options` are those of `TextTask`; `chat` is off unless asked for, since
    the worked examples are the instruction.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        tiers: Sequence[str] = TIERS,
        num_prompts: int | None = None,
        split: Literal["train", "test"] = "train",
        examples: int = 4,
        prompt_seed: int = 0,
        **options: Any,
    ) -> None:
        shapes = [_shape(tier) for tier in tiers]
        if split not in ("train", "test"):
            raise ValueError(f"the split is 'train' or 'test', got {split!r}")
        if examples < 0:
            raise ValueError(f"examples must not be negative, got {examples}")
        count = num_prompts or {"train": TRAIN_QUESTIONS, "test": TEST_QUESTIONS}[split]
        if split == "test" and count > TEST_QUESTIONS:
            raise ValueError(
                f"the test split has {TEST_QUESTIONS} questions a tier, got num_prompts={count}"
            )
        self.terms: list[list[int]] = []
        self.tier: list[str] = []
        for tier, shape in zip(tiers, shapes, strict=True):
            drawn = _drawn(*shape, seed=prompt_seed)
            held = min(TEST_QUESTIONS, len(drawn) // 2)  # two terms of one digit make 81 in all
            rows = drawn[:held] if split == "test" else drawn[held:]
            self.terms += rows[:count]
            self.tier += [tier] * len(rows[:count])
        problems = [
            Problem(question=f"{' + '.join(map(str, terms))} = ?", gold=str(sum(terms)))
            for terms in self.terms
        ]
        standard = {
            "horizon": 48,
            "base_text": _examples(examples) + "Question: {question}\nSteps:",
            "stop": ("\n\n", "\nQuestion"),
            "segmenter": steps_after(r";|\n"),
            "chat": False,
        }
        name = f"sums-{split}"
        grader = partial(graded, extract=said_answer, same=operator.eq)
        super().__init__(name, problems, tokenizer, grader, **{**standard, **options})

    def demonstration(self, prompt_index: int) -> NDArray[np.int64]:
        """The right answer to a prompt, int64: its steps, the answer and the end token. Raises
        ValueError where it is longer than an answer may be.
        """
        text = worked(self.terms[prompt_index])
        ids = [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.eos_token_id]
        if len(ids) > self.horizon:
            raise ValueError(
                f"the right answer to {self.question_text(prompt_index)!r} has {len(ids)} tokens, "
                f"more than horizon={self.horizon}: raise it"
            )
        return np.array(ids, dtype=np.int64)

    def first_wrong_step(
        self, tokens: ArrayLike, lengths: ArrayLike, prompt_index: ArrayLike = 0
    ) -> NDArray[np.int64]:
        """Number of the first step that is not as it should be, int64 [B]; -1 where all are right.

        A missing step is wrong, and so is one more than the sum has; the answer counts as the last
        step.
        """
        texts = self.texts(tokens, lengths)
        index = self.prompt_numbers(prompt_index, len(check_rows(tokens, lengths))).tolist()
        pairs = zip(texts, index, strict=True)
        first = [first_difference(self._until_stop(text), self.terms[i]) for text, i in pairs]
        return np.array(first, dtype=np.int64)


def worked(terms: Sequence[int]) -> str:
    r"""The right answer to a sum, as a model is to write it.

    >>> worked([35, 8, 4])
    ' 35 + 8 = 43; 43 + 4 = 47\nAnswer: 47'
    """
    totals = np.cumsum(terms).tolist()
    steps = [
        f"{before} + {term} = {after}"
        for before, term, after in zip(totals, terms[1:], totals[1:], strict=False)
    ]
    return f" {'; '.join(steps)}\nAnswer: {totals[-1]}"


def first_difference(text: str, terms: Sequence[int]) -> int:
    r"""Number of the first step of an answer that is not as it should be, -1 if there is none.

    >>> first_difference(" 35 + 8 = 43; 43 + 4 = 48\nAnswer: 48", [35, 8, 4])
    1
    >>> first_difference(worked([35, 8, 4]), [35, 8, 4])
    -1
    """
    said, right = (
        [" ".join(step.split()) for step in re.split(r";|\n", answer.strip())]
        for answer in (text, worked(terms))
    )
    pairs = enumerate(zip_longest(said, right))
    return next((number for number, (one, other) in pairs if one != other), -1)


def said_answer(text: str) -> str | None:
    r"""The number behind the first `Answer:` of a text, read whole.

    >>> said_answer(" 4 + 5 = 9\nAnswer: 09"), said_answer("Answer: 9 apples")
    ('9', None)
    """
    found = _ANSWER.search(text)
    return found[1].lstrip("0") or "0" if found else None


def _shape(tier: str) -> tuple[int, int]:
    """(terms, digits) of a tier."""
    match = re.fullmatch(r"([1-9])x([1-9])", tier)
    terms, digits = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (2 <= terms <= LARGEST and 1 <= digits <= LARGEST):
        raise ValueError(
            f"a tier is a text such as '3x2', 2 to {LARGEST} terms of 1 to {LARGEST} digits, got "
            f"{tier!r}"
        )
    return terms, digits


def _drawn(terms: int, digits: int, seed: int) -> list[list[int]]:
    """Different questions of a tier, in the order of its seed."""
    low = 10 ** (digits - 1) if digits > 1 else 1
    rng = np.random.default_rng([seed, terms, digits])
    rows = rng.integers(low, 10**digits, size=(20 * (TEST_QUESTIONS + TRAIN_QUESTIONS), terms))
    return [list(row) for row in dict.fromkeys(map(tuple, rows.tolist()))]


def _examples(count: int) -> str:
    """Worked examples, whose terms differ in length, as those of no tier do."""
    rows = np.random.default_rng(1).integers([2, 11, 2], [10, 20, 10], size=(count, 3)).tolist()
    return "".join(
        f"Question: {' + '.join(map(str, row))} = ?\nSteps:{worked(row)}\n\n" for row in rows
    )
