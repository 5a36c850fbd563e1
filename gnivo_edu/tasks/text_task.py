"""TextTask: questions in words, answered by a language model in its own tokens, as a token MDP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnivo_edu.tasks.grading import Grade, Problem, unparsable_golds
from gnivo_edu.tasks.prompting import base_prompt, chat_prompt, end_tokens, left_pad, turn_end
from gnivo_edu.tasks.segment import Segmenter, check_rows, get_segmenter, step_ids_of, token_pieces
from gnivo_edu.values import convert
from toy_envs.core import TokenMDP

# From texts and their problems; one with `takes_ids` is passed the tokens of the texts as well.
Grader = Callable[..., list[Grade]]


class TextTask(TokenMDP):
    """Problems bound to a tokenizer: the token MDP whose actions are the tokenizer's own tokens.

    What a TokenMDP has, a TextTask has: `vocab_size`, `horizon` (the most tokens of an answer),
    `reward`, `step`, `reset`. Three things differ from the toy environments, since the tokens are a
    real model's:

    - prompts are of unequal length: `prompts()` int64 [N, P] is padded on the left, and
      `prompt_mask()` bool [N, P] says which places hold a token;
    - several tokens may end an answer, `eos_token_ids`; `eos_token_id` is the first of them;
    - `pad_token_id` is the tokenizer's (else the first end token) and may be an action: only
      `lengths` tell padding.

    `grade` gives the verdict on each answer in detail, `reward` its number, float64 [B]; an answer
    whose gold cannot be read is rewarded 0, and its grade says that it does not count: `gradable`
    names the others. `step_ids` cuts answers into steps.

    Arguments: `grader` takes texts and their problems to grades. `chat` None uses the tokenizer's
    chat template if it has one; True demands it; False uses `base_text`, a text with `{question}`.
    `instruction` stands below the question in a chat. A date that the template prints is fixed
    (`prompting.chat_prompt`). A base model's answer is cut, for grading, at the first of the `stop`
    texts, since it may go on to ask itself a next question; in a chat, where the template ends a
    turn by a text and no special token, at that text. `eos_token_ids`: `prompting.end_tokens`
    unless given. `segmenter`: see `segment.get_segmenter`. Raises ValueError in one line on bad
    values."""

    variant = ""  # which version of the data it is, where several go round
    own_vocabulary = False

    def __init__(
        self,
        name: str,
        problems: Sequence[Problem],
        tokenizer: Any,
        grader: Grader,
        *,
        horizon: int = 512,
        base_text: str = "{question}",
        instruction: str = "",
        chat: bool | None = None,
        chat_options: Mapping[str, Any] | None = None,
        stop: Sequence[str] = (),
        segmenter: str | Segmenter = "line",
        eos_token_ids: Sequence[int] | None = None,
    ) -> None:
        if not problems:
            raise ValueError(f"the task {name!r} has no problems: check the path and the split")
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if chat and not has_template:
            raise ValueError("the tokenizer has no chat template: pass chat=False for a base model")
        self.chat = has_template if chat is None else chat
        vocabulary = tokenizer.get_vocab()
        size = max(len(tokenizer), *(number + 1 for number in vocabulary.values()))
        pieces = [""] * size
        for piece, number in vocabulary.items():
            pieces[number] = piece
        super().__init__(size, horizon, vocabulary=pieces)
        self.name, self.problems, self.tokenizer = name, tuple(problems), tokenizer
        self.eos_token_ids = tuple(eos_token_ids) if eos_token_ids else end_tokens(tokenizer)
        if beyond := [token for token in self.eos_token_ids if not 0 <= token < size]:
            raise ValueError(
                f"eos_token_ids must lie in 0..{size - 1}, the tokenizer's tokens, got {beyond[0]}"
            )
        self.eos_token_id = self.eos_token_ids[0]
        self.bos_token_id = tokenizer.bos_token_id
        pad = tokenizer.pad_token_id
        self.pad_token_id = self.eos_token_id if pad is None else pad
        self.stop = convert("stop", stop, tuple[str, ...])
        if "" in self.stop:
            raise ValueError("a stop text is empty: every answer would end before it begins")
        if self.chat:  # a turn ends with a token, or where the template has none, with a text
            _, text = turn_end(tokenizer, chat_options)
            self.stop = (text,) if text else ()
        self._grader, self._segmenter = grader, get_segmenter(segmenter)
        self._gradable: NDArray[np.int64] | None = None
        rows = [
            chat_prompt(tokenizer, p.question, instruction, chat_options, turns=p.turns)
            if self.chat
            else base_prompt(tokenizer, _spoken(p), base_text)
            for p in self.problems
        ]
        self._prompts, self._prompt_mask = left_pad(rows, self.pad_token_id)

    def prompt_mask(self) -> NDArray[np.bool_]:
        """Which places of `prompts()` hold a token, bool [N, P]; padding stands on the left."""
        return self._prompt_mask.copy()

    def prompt_text(self, prompt_index: int) -> str:
        """What the model reads, special tokens and all."""
        tokens = self._prompts[prompt_index][self._prompt_mask[prompt_index]]
        return str(self.tokenizer.decode(tokens.tolist()))

    def question_text(self, prompt_index: int) -> str:
        """The question as the data have it."""
        return self.problems[prompt_index].question

    def asked(self, prompts: Sequence[int]) -> list[Any]:
        """Question and gold answer of some prompts, and what else of their rows is asked for."""
        problems = [self.problems[i] for i in prompts]
        return [(p.question, p.gold, *p.turns, *map(str, p.row.items())) for p in problems]

    def texts(self, tokens: ArrayLike, lengths: ArrayLike) -> list[str]:
        """Texts of answers, tokens int [B, T] and lengths int [B], up to their end token and
        without special tokens.
        """
        rows = [self._until_end(row) for row in check_rows(tokens, lengths)]
        if not rows:
            return []
        return [str(text) for text in self.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def decode(self, tokens: ArrayLike) -> str:
        """Text of one answer, int [T], up to its end token; padding behind it is left out."""
        row = np.asarray(tokens, dtype=np.int64)
        inside = np.flatnonzero(row != self.pad_token_id)
        return self.texts(row[None], [int(inside[-1]) + 1 if len(inside) else 0])[0]

    def grade(
        self, tokens: ArrayLike, lengths: ArrayLike, prompt_index: ArrayLike = 0
    ) -> list[Grade]:
        """The verdict on each answer: tokens int [B, T], lengths int [B], `prompt_index` an int
        or [B].
        """
        rows = [self._until_end(row) for row in check_rows(tokens, lengths)]
        return self.grade_texts(self.texts(tokens, lengths), prompt_index, rows=rows)

    def grade_texts(
        self,
        texts: Sequence[str],
        prompt_index: ArrayLike = 0,
        rows: Sequence[Sequence[int]] | None = None,
    ) -> list[Grade]:
        """The verdict on answers that are texts already, to the prompts of `prompt_index`, an int
        or [B]; `rows` holds their tokens, for rewards that ask for them.
        """
        index = self.prompt_numbers(prompt_index, len(texts)).tolist()
        cut = [self._until_stop(text) for text in texts]
        problems = [self.problems[i] for i in index]
        if not getattr(self._grader, "takes_ids", False):
            return self._grader(cut, problems)
        if rows is None:
            rows = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        return self._grader(cut, problems, rows)

    def statuses(
        self, tokens: ArrayLike, lengths: ArrayLike, prompt_index: ArrayLike = 0
    ) -> list[str | None]:
        """What became of answers, by the grader; None where no problem has a gold answer.

        A reward without one is not asked a second time: it may be slow, and says no more than its
        number.
        """
        if self._has_gold():
            return super().statuses(tokens, lengths, prompt_index)
        return [None] * np.size(lengths)

    def gradable(self) -> NDArray[np.int64]:
        """Numbers of the problems whose gold answer can be read; all, if none has a gold answer.

        An answer to another problem would never be rewarded. Asks the grader the first time, a few
        milliseconds a problem.
        """
        if self._gradable is None:
            self._gradable = super().gradable()
            if self._has_gold():
                unreadable = list(unparsable_golds(self.problems, self._grader))
                self._gradable = np.delete(self._gradable, unreadable)
        return self._gradable

    def _has_gold(self) -> bool:
        """Whether gold answers decide; to rewards of one's own they are a column like others."""
        rewards = getattr(self._grader, "takes_ids", False)
        return not rewards and any(problem.gold for problem in self.problems)

    def pieces(self, answer: Sequence[int]) -> list[str]:
        """Text that each token adds to an answer."""
        return list(token_pieces(self.tokenizer, answer))

    def step_ids(self, tokens: ArrayLike, lengths: ArrayLike) -> NDArray[np.int64]:
        """Step of each token, int64 [B, T]: 0, 1, 2, ...; the end token is of the last step."""
        pieces = [self.pieces(row) for row in check_rows(tokens, lengths)]
        return step_ids_of(pieces, self._segmenter, np.asarray(tokens).shape[1])

    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        return [grade.reward for grade in self.grade(tokens, lengths, prompt_index)]

    def _until_end(self, row: list[int]) -> list[int]:
        ends = [t for t, token in enumerate(row) if token in self.eos_token_ids]
        return row[: min(ends, default=len(row))]

    def _until_stop(self, text: str) -> str:
        stops = [at for stop in self.stop if (at := text.find(stop)) >= 0]
        return text[: min(stops, default=len(text))]


def _spoken(problem: Problem) -> str:
    """What a base model reads of a problem; ValueError where it is a conversation."""
    roles = {role for role, _ in problem.turns}
    if roles - {"system"}:
        raise ValueError(
            f"the prompt of {problem.id} is a conversation, and this model reads none (it has no "
            "chat template, or chat is false): give its prompts as texts"
        )
    return "\n\n".join([*(text for _, text in problem.turns), problem.question])
