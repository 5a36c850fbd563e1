"""Answers that somebody's model has written already, read from a file: one's own log, or TRL's
table of completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

from gnivo_edu.names import shown
from toy_envs import TokenMDP

TEXTS = ("completion", "answer", "response", "output", "text")
TOKENS = ("tokens", "token_ids", "completion_ids")


@dataclass(frozen=True)
class Logged:
    """The rows of a file of answers, in its order; `source` is its name."""

    source: str
    rows: Sequence[dict[str, Any]]

    @property
    def prompts(self) -> list[str]:
        """The different prompts, in the order of the file; none if it names none."""
        texts = [as_text(row["prompt"]) for row in self.rows if row.get("prompt") is not None]
        return list(dict.fromkeys(texts))

    def questions(self, task: TokenMDP, number: int | None) -> list[int]:
        """Numbers of the task's questions that the rows answer, in their order; or the one that is
        given, and where no row has a prompt, the first.

        Raises ValueError, in one line, on a number that no question has, and on a row whose prompt
        is none of the task's questions.
        """
        count = len(task.prompts())
        if number is not None and not 0 <= number < count:
            raise ValueError(f"prompt_index must be in 0..{count - 1}, got {number}")
        if number is not None or not self.prompts:
            return [number or 0]
        asked: dict[str, int] = {}
        for i in range(count):
            asked.setdefault(task.question_text(i), i)
            asked.setdefault(task.prompt_text(i), i)
        numbers = []
        for i, row in enumerate(self.rows, start=1):
            text = as_text(row.get("prompt"))
            if text not in asked:
                raise ValueError(
                    f"the prompt of row {i} of {self.source}, {shown(text)}, is no question of the "
                    "task: leave the row out, or set the task's options to those of the answers, "
                    "such as --set split=test"
                )
            numbers.append(asked[text])
        return list(dict.fromkeys(numbers))

    def tokens(self, task: TokenMDP, prompt_index: int) -> list[list[int]]:
        """Token ids of the answers to a question of a task, each up to an end token.

        A row is one of them if its `prompt` is the question or what the model reads of it; where no
        row has a prompt, all are. Texts are encoded anew, behind the prompt where that leaves the
        prompt's own tokens alone. Raises ValueError, in one line, where there is none, on a row
        without an answer, on a text without a tokenizer, and on answers above the horizon.
        """
        question = {task.question_text(prompt_index), task.prompt_text(prompt_index)}
        if not self.prompts:
            chosen = list(enumerate(self.rows, start=1))
        else:
            chosen = [
                (i, row)
                for i, row in enumerate(self.rows, start=1)
                if as_text(row.get("prompt")) in question
            ]
        if not chosen:
            raise ValueError(
                f"{self.source} has no answer to {shown(task.question_text(prompt_index))}: its "
                f"first prompt is {shown(self.prompts[0])}; leave --prompt-index out for all"
            )
        return [self._answer(i, row, task=task, prompt_index=prompt_index) for i, row in chosen]

    def _answer(
        self, number: int, row: dict[str, Any], task: TokenMDP, prompt_index: int
    ) -> list[int]:
        numbers = next((row[name] for name in TOKENS if row.get(name)), None)
        if numbers is not None:
            ids = _token_ids(numbers, f"row {number} of {self.source}")
        else:
            text = next((as_text(row[name]) for name in TEXTS if row.get(name) is not None), None)
            if text is None:
                raise ValueError(
                    f"row {number} of {self.source} has no answer: name its column one of "
                    f"{', '.join((*TEXTS, *TOKENS))}"
                )
            ids = _encoded(text, task, prompt_index)
        ended = next((t + 1 for t, token in enumerate(ids) if token in task.eos_token_ids), None)
        if ended is not None:
            ids = ids[:ended]
        elif task.eos_token_ids and len(ids) < task.horizon and not row.get("truncated"):
            ids = [*ids, task.eos_token_ids[0]]
        if len(ids) > task.horizon:
            raise ValueError(
                f"the answer in row {number} of {self.source} has {len(ids)} tokens, above the "
                f"horizon of {task.horizon}: give --horizon {len(ids)}"
            )
        return ids


def read_logged(path: str | PathLike[str]) -> Logged:
    """The answers in a file: JSON lines, a JSON list, CSV or parquet, as `load_rows` reads them.

    Columns: the answer, a text or a list of messages (`completion`, `answer`, `response`, `output`
    or `text`) or its token ids (`tokens`, `token_ids` or
    `completion_ids`); the `prompt`, a text or messages,
    which may be missing; and `truncated`, true where the length limit cut it off. What TRL writes
    into its `completions` folder is such a file. Other columns are left alone.
    """
    from gnivo_edu.tasks.data_sets import load_rows

    rows = load_rows(path, "train")
    if not rows:
        raise ValueError(f"{fspath(path)} holds no answers")
    return Logged(fspath(path), rows)


def as_text(field: Any) -> str:
    """A prompt or an answer as text: of messages the last one's content.

    >>> as_text([{"role": "user", "content": "2 + 2?"}]), as_text("Once"), as_text(None)
    ('2 + 2?', 'Once', '')
    """
    if isinstance(field, Sequence) and not isinstance(field, str) and field:
        last = field[-1]
        return str(last.get("content", "")) if isinstance(last, dict) else str(last)
    return "" if field is None else str(field)


def _token_ids(numbers: Any, where: str) -> list[int]:
    """Token ids as they are in a file; ValueError, which names the row, on what is none."""
    if isinstance(numbers, list) and all(type(number) is int for number in numbers):
        return list(numbers)
    raise ValueError(f"the tokens in {where} must be a list of whole numbers, got {shown(numbers)}")


def _encoded(text: str, task: TokenMDP, prompt_index: int) -> list[int]:
    """Tokens of an answer: those that stand behind the prompt's where both are encoded together,
    if the prompt's are then the same; else those of the text alone.
    """
    if task.tokenizer is None:
        raise ValueError(
            "this task has no tokenizer: give answers as token ids, in a column tokens"
        )
    prompt = task.prompts()[prompt_index][task.prompt_mask()[prompt_index]].tolist()
    before = task.tokenizer.decode(prompt, clean_up_tokenization_spaces=False)
    for start in (prompt, prompt[1:]):  # the tokenizer may write a beginning token by itself
        both = task.tokenizer(before + text, add_special_tokens=len(start) < len(prompt))
        ids = list(both["input_ids"])
        if ids[: len(start)] == start and len(ids) > len(start):
            return ids[len(start) :]
    return list(task.tokenizer(text, add_special_tokens=False)["input_ids"])
