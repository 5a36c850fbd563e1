"""The answers that the credit study asks about: one of the base model to each test question, its
steps judged, and what tells something of a step without any training.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gnivo_edu.policies import evaluating, sample_completions
from gnivo_edu.policies.score_model import score_rows
from gnivo_edu.studies.arithmetic import TESTED
from gnivo_edu.tasks.arithmetic import Arithmetic
from gnivo_edu.tasks.prompting import left_pad
from toy_envs import TokenMDP

SEED = 2**31 + 1  # of the answers and their continuations: streams that nothing else reads
ROLLOUTS = 16  # continuations of each state between two steps
Answer = dict[str, Any]


def frozen_answers(
    base: nn.Module, questions: int
) -> tuple[Arithmetic, Tensor, Tensor, NDArray[np.int64]]:
    """One answer of the base to each of the first test questions of every tier: the task, tokens
    [B, T], lengths [B], numbers of the questions [B].
    """
    task = Arithmetic(TESTED, split="test")
    each = len(task.tier) // len(TESTED)
    numbers = [each * tier + n for tier in range(len(TESTED)) for n in range(questions)]
    drawn = sample_completions(base, task, 1, numbers, seed=SEED)
    tokens, lengths, index = drawn.rows
    return task, tokens, lengths, index.numpy()


@torch.no_grad()
def token_logps(
    model: nn.Module, task: Arithmetic, tokens: Tensor, lengths: Tensor, numbers: NDArray[np.int64]
) -> NDArray[np.float64]:
    """log pi of every token of some answers, nats, [B, T], 0 after their ends."""
    index = torch.from_numpy(numbers)
    with evaluating(model):
        scores = score_rows(
            model,
            task,
            tokens=tokens,
            lengths=lengths,
            prompt_index=index,
            fields=("policy_logps",),
        )
    return scores["policy_logps"].double().numpy()


def step_ends(task: Arithmetic, tokens: Tensor, lengths: Tensor) -> list[list[int]]:
    """Numbers of tokens before each step and after the last, of each answer."""
    ids = task.step_ids(tokens.numpy(), lengths.numpy())
    return [
        [0, *(np.flatnonzero(np.diff(row[:length])) + 1).tolist(), length]
        for row, length in zip(ids, lengths.tolist(), strict=True)
    ]


def per_step(
    rows: NDArray[np.float64], ends: Sequence[Sequence[int]], lowest: bool = False
) -> list[list[float]]:
    """Sums over the tokens of each step, or the lowest token of each."""
    reduce = np.minimum if lowest else np.add
    return [
        reduce.reduceat(row, list(bounds[:-1])).tolist()
        for row, bounds in zip(np.array([*rows]), ends, strict=True)
    ]


def judged_steps(task: Arithmetic, number: int, text: str) -> tuple[list[bool], list[bool]]:
    """Of each step written: whether it is wrong taken by itself, gone on from the total written
    before it; and whether it carries or borrows from there.

    The base was taught to err where a step carries or borrows, and nowhere else: such steps look
    alike before one knows which of them are wrong. A field that is no number, and one more than the
    question has, are wrong and look like nothing.

    >>> task = Arithmetic(tiers=(2,), num_prompts=1, split="test")
    >>> task.question(0), judged_steps(task, 0, "54;46.")  # 59 + 5 without its carry; 54 - 8
    ('59+5-8=', ([True, False], [True, True]))
    """
    totals = task.totals(number)
    operands = [after - before for before, after in pairwise(totals)]
    wrong, alike = [], []
    before: int | None = totals[0]
    for t, field in enumerate(text.removesuffix(".").split(";")):
        after = int(field) if field.isdecimal() else None
        if before is None or t >= len(operands):
            wrong.append(True)
            alike.append(False)
        else:
            wrong.append(after != before + operands[t])
            alike.append(_carries(before, operands[t], base=task.base))
        before = after
    return wrong, alike


def _carries(total: int, operand: int, base: int) -> bool:
    unit = total % base
    return unit + operand >= base if operand > 0 else unit + operand < 0


def described(base: nn.Module, questions: int) -> list[Answer]:
    """The frozen answers in plain values: the question, the text, whether it is right, its first
    wrong step (-1 for none), its steps judged, and the controls of each step.

    `log_p` of a step and `least_log_p` of its least likely token under the base, nats; `tokens`,
    its length; `right_after`, how many of `ROLLOUTS` continuations of the base from before each
    step ended right, and `right_after_half`, of the first half of them.
    """
    task, tokens, lengths, numbers = frozen_answers(base, questions)
    ends = step_ends(task, tokens, lengths)
    logps = token_logps(base, task, tokens, lengths, numbers)
    sums, least = _rounded(per_step(logps, ends)), _rounded(per_step(logps, ends, lowest=True))
    rewards = task.reward(tokens.numpy(), lengths.numpy(), prompt_index=numbers)
    first = task.first_wrong_step(tokens.numpy(), lengths.numpy(), numbers)
    after = rollouts(base, task, tokens, ends=ends, numbers=numbers)
    answers = []
    for i, number in enumerate(numbers.tolist()):
        text = task.decode(tokens[i, : lengths[i]].tolist())
        wrong, alike = judged_steps(task, number, text)
        answers.append(
            {
                "question": task.question(number),
                "tier": int(task.tier[number]),
                "text": text,
                "right": int(rewards[i]),
                "first_wrong": int(first[i]),
                "wrong": list(map(int, wrong)),
                "alike": list(map(int, alike)),
                "log_p": sums[i],
                "least_log_p": least[i],
                "tokens": np.diff(ends[i]).tolist(),
                "right_after": [int(row.sum()) for row in after[i]],
                "right_after_half": [int(row[: ROLLOUTS // 2].sum()) for row in after[i]],
            }
        )
    return answers


def _rounded(rows: list[list[float]]) -> list[list[float]]:
    return [[round(number, 4) for number in row] for row in rows]


def rollouts(
    base: nn.Module,
    task: Arithmetic,
    tokens: Tensor,
    *,
    ends: Sequence[Sequence[int]],
    numbers: NDArray[np.int64],
) -> list[list[NDArray[np.int64]]]:
    """Rewards of `ROLLOUTS` continuations of the base from before each step of each answer."""
    states = [
        (int(number), row[:end].tolist())
        for row, bounds, number in zip(tokens, ends, numbers, strict=True)
        for end in bounds[:-1]
    ]
    drawn = sample_completions(base, _After(task, states), ROLLOUTS, range(len(states)), seed=SEED)
    width = tokens.shape[1]
    rewards = []
    for (number, beginning), group, lengths in zip(
        states, drawn.tokens.tolist(), drawn.lengths.tolist(), strict=True
    ):
        # One that goes on after the horizon of the task is cut off there, and has no end.
        rows = [
            [*beginning, *row[:length]][:width] for row, length in zip(group, lengths, strict=True)
        ]
        whole = np.array([[*row, *[task.pad_token_id] * (width - len(row))] for row in rows])
        paid = task.reward(whole, [len(row) for row in rows], prompt_index=number)
        rewards.append(paid.astype(np.int64))
    places = np.cumsum([0, *(len(bounds) - 1 for bounds in ends)]).tolist()
    return [rewards[a:b] for a, b in pairwise(places)]


class _After(TokenMDP):
    """The task once something is written: every prompt is a question and the beginning of an
    answer.
    """

    def __init__(self, task: Arithmetic, states: Sequence[tuple[int, Sequence[int]]]) -> None:
        super().__init__(task.vocab_size, task.horizon, eos_token_id=task.eos_token_id)
        prompts, mask = task.prompts(), task.prompt_mask()
        self._prompts, self._mask = left_pad(
            [[*prompts[number][mask[number]].tolist(), *some] for number, some in states],
            self.pad_token_id,
        )

    def prompt_mask(self) -> NDArray[np.bool_]:
        """Which places hold a token."""
        return self._mask
