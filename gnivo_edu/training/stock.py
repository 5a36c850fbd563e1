"""Answers that lie ready, by prompt: those of earlier steps, of a file, and a task's own
demonstrations.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gnivo_edu.files import named, read_records
from gnivo_edu.names import shown
from gnivo_edu.values import convert

Rows = dict[str, Tensor]
STREAM = (2,)  # what keeps these random numbers apart from all others that are made from a seed
# Of an answer: `logps`, its tokens' under its writer, nats, or nan where the writer is not known;
# `written`, the step of the run that it was written in, or -1.
FIELDS = ("tokens", "lengths", "logps", "truncated", "rewards", "prompt_index", "written")
ROUNDING = 1e-3  # how far above 0 a log-probability may lie, nats
BEFORE = -1  # the step in which they were written


class Stock:
    """Answers sorted by prompt: `rows`, tensors [M] or [M, T] by the names of `FIELDS`.

    >>> stock = Stock({"prompt_index": torch.tensor([4, 1, 4]), "lengths": torch.tensor([1, 2, 3])})
    >>> stock.rows["lengths"], len(stock.of(4)), len(stock.of(2))
    (tensor([2, 1, 3]), 2, 0)
    """

    def __init__(self, rows: Rows) -> None:
        order = rows["prompt_index"].argsort(stable=True)
        self.rows = {name: x[order] for name, x in rows.items()}

    def of(self, prompt: int) -> range:
        """Which rows are answers to a prompt."""
        numbers = self.rows["prompt_index"].numpy()
        return range(*(int(np.searchsorted(numbers, prompt, side)) for side in ("left", "right")))

    def pick(
        self, prompts: Iterable[int], count: int, seed: int, step: int
    ) -> list[Int[Tensor, " rows"]]:
        """For each prompt of a step the numbers of at most `count` of its answers, each once.

        Drawn evenly, from a stream made from (seed, step, place of the prompt) and nothing else.
        """
        picked = []
        for place, prompt in enumerate(prompts):
            stream = np.random.SeedSequence([seed, step, place], spawn_key=STREAM)
            rows = np.random.default_rng(stream).permutation(np.asarray(self.of(int(prompt))))
            picked.append(torch.as_tensor(rows[:count], dtype=torch.int64))
        return picked


class Replay(Stock):
    """What the policy has written in the last `age` steps, with the log-probabilities that it gave
    to its own answers then.
    """

    def __init__(self, rows: Rows, age: int) -> None:
        super().__init__(rows)
        self.age = age

    def after(self, step: int, new: Rows) -> Replay:
        """The buffer after a step, at whose end the policy's answers of it, `new`, are added."""
        rows = {name: torch.cat([self.rows[name], new[name]]) for name in FIELDS}
        # The next step is step + 1; what is older than `age` then is forgotten.
        fresh = step + 1 - rows["written"] <= self.age
        return Replay({name: x[fresh] for name, x in rows.items()}, self.age)


def stocks_of(
    writers: Collection[str], task: Any, replay_age: int, data: str | None
) -> dict[str, Stock]:
    """What lies ready before the first step for the writers that do not write when they are asked,
    by name: a replay without an answer yet, the answers of the file `data`, demonstrations.
    """
    stocks: dict[str, Stock] = {}
    if "replay" in writers:
        stocks["replay"] = Replay(_nothing(task.horizon), replay_age)
    if data is not None:
        stocks["data"] = read_answers(data, task)
    if "demonstrations" in writers:
        stocks["demonstrations"] = demonstrations_of(task)
    return stocks


def read_answers(path: str, task: Any) -> Stock:
    """The answers of a file of JSON Lines, one a line, to prompts of a task.

    A row has a prompt, `prompt_index` (its number) or `prompt` (its number, or its text: the
    question alone, or all that the model reads; the first prompt that reads so); an answer,
    `tokens`, or `completion`, a text to which the end-of-sequence token is added; and it may have
    `reward` (else the task's) and `logps`, one for each token, nats, of whoever wrote it. Other
    keys are ignored. completions.jsonl of `gnivo-edu evaluate --out` is such a file (`problem` is
    the prompt's number there, `text` the answer's text), and so is that of a run.

    Raises ValueError, in one line that names the row, on a file that cannot be read, on a prompt
    that the task does not have, on tokens that are no actions, and on an answer that is not whole:
    it has to end with an end-of-sequence token, or at the horizon.
    """
    try:
        records = read_records(path)
    except OSError as error:
        raise unreadable(error) from error
    if not records:
        raise ValueError(f"data: {named(path)} holds no answers")
    reader = _Reader(task)
    rows = [reader.row(row, f"row {n} of {named(path)}") for n, row in enumerate(records, 1)]
    return _stock(rows, task)


def unreadable(error: OSError) -> ValueError:
    """What is said of a file of answers that the system does not open."""
    return ValueError(f"data: {named(error.filename)} cannot be read: {error.strerror}")


def demonstrations_of(task: Any) -> Stock:
    """A task's own right answer to each of its prompts, whose writer has no log-probabilities.

    Raises ValueError, in one line, where it writes none.

    >>> from toy_envs import ArithmeticChain
    >>> len(demonstrations_of(ArithmeticChain()).of(2))
    1
    """
    answers = [task.demonstration(i) for i in range(len(task.prompts()))]
    if any(answer is None for answer in answers):
        raise ValueError(f"{task.name} writes no demonstrations: take them out of sampler")
    return _stock([(i, answer, None, None) for i, answer in enumerate(answers)], task)


# Number of the prompt, tokens, and reward and log-probabilities where they are known.
Answer = tuple[int, Sequence[int], float | None, Sequence[float] | None]


class _Reader:
    """Reads rows into answers to prompts of a task."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.count = len(task.prompts())
        self.by_text: dict[str, int] | None = None  # made where a row names its prompt by a text

    def row(self, row: dict[str, Any], where: str) -> Answer:
        prompt, tokens = self._prompt(row, where), self._tokens(row, where)
        reward, logps = row.get("reward"), row.get("logps")
        if reward is not None:
            reward = convert(f"reward of {where}", reward, float)
            if not math.isfinite(reward):
                raise ValueError(f"reward of {where} must be finite, got {reward}")
        if logps is not None:
            logps = convert(f"logps of {where}", logps, list[float])
            if len(logps) != len(tokens):
                raise ValueError(
                    f"{where} has {len(logps)} logps for {len(tokens)} tokens (its end among them)"
                )
            if not all(-math.inf < x <= ROUNDING for x in logps):
                raise ValueError(f"logps of {where} must be finite and at most 0, in nats")
        return prompt, tokens, reward, logps

    def _prompt(self, row: dict[str, Any], where: str) -> int:
        given = next(
            (row[name] for name in ("prompt_index", "problem", "prompt") if name in row), None
        )
        if given is None:
            raise ValueError(f"{where} has no prompt: give prompt_index, or prompt, its text")
        if isinstance(given, str):
            number = self._texts().get(given)
            if number is None:
                raise ValueError(f"{where}: {self.task.name} has no prompt {shown(given, room=60)}")
            return number
        number = convert(f"prompt_index of {where}", given, int)
        if not 0 <= number < self.count:
            raise ValueError(f"{where}: prompt_index must be in 0..{self.count - 1}, got {number}")
        question = row.get("question")
        if question is not None and question != self.task.question_text(number):
            raise ValueError(
                f"{where}: prompt {number} asks {shown(self.task.question_text(number), room=40)}, "
                f"and its question is {shown(question, room=40)}: give the task_options that it "
                "was written with"
            )
        return int(number)

    def _texts(self) -> dict[str, int]:
        if self.by_text is None:
            self.by_text = {}
            for number in reversed(range(self.count)):
                for text in (self.task.question_text(number), self.task.prompt_text(number)):
                    self.by_text[text] = number
        return self.by_text

    def _tokens(self, row: dict[str, Any], where: str) -> list[int]:
        task = self.task
        text = row.get("completion", row.get("text"))
        if row.get("tokens") is not None:
            tokens = convert(f"tokens of {where}", row["tokens"], list[int])
        elif isinstance(text, str):
            tokens = self._encoded(text, where)
        else:
            raise ValueError(f"{where} has no answer: give completion, a text, or tokens")
        if strange := [token for token in tokens if not 0 <= token < task.vocab_size]:
            raise ValueError(
                f"{where}: token {strange[0]} is not an action 0..{task.vocab_size - 1}: tokens "
                "are those of the model that is trained"
            )
        if len(tokens) > task.horizon:
            raise ValueError(
                f"{where} has {len(tokens)} tokens, and an answer at most {task.horizon}: raise "
                "the task's horizon, or leave it out"
            )
        ends = [t for t, token in enumerate(tokens, 1) if token in task.eos_token_ids]
        if not tokens or min(ends, default=task.horizon) != len(tokens):
            raise ValueError(
                f"{where} is no whole answer: it has to end with an end-of-sequence token and hold "
                f"no other, or have {task.horizon} tokens"
            )
        return list(tokens)

    def _encoded(self, text: str, where: str) -> list[int]:
        """Tokens of a text, and of its end."""
        task = self.task
        if task.tokenizer is not None:
            tokens = list(task.tokenizer(text, add_special_tokens=False)["input_ids"])
        else:
            letters = all(len(piece) == 1 for piece in task.vocabulary)
            numbers = {piece: number for number, piece in enumerate(task.vocabulary)}
            pieces = list(text) if letters else text.split()
            if strange := [piece for piece in pieces if piece not in numbers]:
                raise ValueError(f"{where}: {task.name} has no token {shown(strange[0])}")
            tokens = [numbers[piece] for piece in pieces]
        if task.eos_token_ids and (not tokens or tokens[-1] not in task.eos_token_ids):
            tokens.append(task.eos_token_ids[0])
        return tokens


def _stock(answers: Sequence[Answer], task: Any) -> Stock:
    """Answers in rows of the task's horizon; the task rewards those that come without a reward."""
    count = len(answers)
    prompts, written, rewards, logps = zip(*answers, strict=True)
    tokens = torch.full((count, task.horizon), task.pad_token_id)
    noted = torch.zeros(count, task.horizon, dtype=torch.float64)
    for i, (answer, known) in enumerate(zip(written, logps, strict=True)):
        tokens[i, : len(answer)] = torch.as_tensor(np.asarray(answer))
        noted[i, : len(answer)] = math.nan if known is None else noted.new_tensor(known)
    lengths = torch.tensor([len(answer) for answer in written])
    index = torch.tensor(prompts)
    rows: Rows = {
        "tokens": tokens,
        "lengths": lengths,
        "logps": noted,
        "truncated": _cut_off(tokens, lengths, task.eos_token_ids),
        "rewards": noted.new_tensor([math.nan if x is None else x for x in rewards]),
        "prompt_index": index,
        "written": torch.full_like(index, BEFORE),
    }
    if bool((open_ := rows["rewards"].isnan()).any()):
        asked = (rows[name][open_].numpy() for name in ("tokens", "lengths", "prompt_index"))
        rows["rewards"][open_] = torch.from_numpy(np.asarray(task.reward(*asked), dtype=np.float64))
    return Stock(rows)


def _cut_off(tokens: Tensor, lengths: Tensor, ends: Iterable[int]) -> Tensor:
    """Which answers ran into the horizon without the end that the task has."""
    last = tokens.gather(1, lengths[:, None] - 1)[:, 0]
    ended = torch.isin(last, torch.tensor(list(ends), dtype=torch.int64))
    return ~ended if list(ends) else torch.zeros_like(ended)


def _nothing(horizon: int) -> Rows:
    """A stock without an answer."""
    whole = torch.zeros(0, dtype=torch.int64)
    return {
        "tokens": whole.new_zeros(0, horizon),
        "lengths": whole,
        "logps": torch.zeros(0, horizon),
        "truncated": whole.bool(),
        "rewards": whole.double(),
        "prompt_index": whole,
        "written": whole,
    }
