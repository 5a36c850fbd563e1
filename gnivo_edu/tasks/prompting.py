"""Prompts as tokens: the chat template of an instruct model, or a stated text for a base model."""

from __future__ import annotations

import operator
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.names import one_line, shown

# Today, in templates that print it: a prompt must be the same tomorrow. It is the date that the
# template of Llama 3.2 falls back on.
TODAY = datetime(2024, 7, 26)
_one_at_a_time = threading.RLock()
ASKED, SAID, ASKED_NEXT = "questiongnivo", "answergnivo", "furthergnivo"


def chat_prompt(
    tokenizer: Any,
    question: str,
    instruction: str,
    options: Mapping[str, Any] | None = None,
    turns: Sequence[tuple[str, str]] = (),
) -> list[int]:
    """Tokens of one user turn, the question and the instruction below it, up to where the model's
    turn begins.

    `turns`, (role, text) each, come before it: a system's, or those of a conversation. `options` go
    to the template, such as `{"enable_thinking": False}`. The template writes its own special
    tokens, so that none are added. A template that prints today's date prints 26 July 2024,
    whatever the day, unless `options` name another (many templates read `date_string`). Raises
    ValueError, in one line, where the template fails or leaves out the question.
    """
    content = f"{question}\n\n{instruction}" if instruction else question
    text = _rendered(tokenizer, [*turns, ("user", content)], options, add_generation_prompt=True)
    if content.strip() not in text:
        # A template may write a question in another way than it came, but not leave it out.
        example = _rendered(tokenizer, [("user", ASKED)], options)
        if ASKED not in example:
            raise ValueError(
                "the chat template leaves out the question: pass chat=False, or mend the template"
            )
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _rendered(
    tokenizer: Any, told: Sequence[tuple[str, str]], options: Any = None, **how: Any
) -> str:
    """What the chat template writes of (role, text) turns; ValueError, in one line, if it cannot.

    Some templates read a text, others a list of parts (those of models that see pictures, too):
    what shows the last turn is taken.
    """
    how |= options or {}
    texts = [{"role": role, "content": text} for role, text in told]
    parts = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in told]
    written, trouble = None, None
    for messages in (texts, parts):
        try:
            with _stopped_clock():
                text = str(tokenizer.apply_chat_template(messages, tokenize=False, **how))
        except Exception as error:  # a template may raise anything on any conversation
            trouble = trouble or error
            continue
        if told[-1][1].strip() in text:
            return text
        written = text if written is None else written
    if written is None:
        assert trouble is not None
        raise ValueError(f"the chat template fails: {one_line(trouble)}") from trouble
    return written


@contextmanager
def _stopped_clock() -> Iterator[None]:
    """Inside it is `TODAY` for templates, in every format: `strftime_now`, which transformers gives
    to them and which is no variable that could be passed, asks the `datetime` of its module.
    """
    from transformers.utils import chat_template_utils as library

    with _one_at_a_time:
        clock = vars(library)["datetime"]
        vars(library)["datetime"] = SimpleNamespace(now=lambda: TODAY)
        try:
            yield
        finally:
            vars(library)["datetime"] = clock


def base_prompt(tokenizer: Any, question: str, template: str) -> list[int]:
    """Tokens of the template, its `{question}` replaced; with the BOS token if the tokenizer adds
    one, no EOS.
    """
    if "{question}" not in template:
        raise ValueError(f"a base prompt holds {{question}}, got {template!r}")
    ids: list[int] = list(tokenizer(template.replace("{question}", question))["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()  # some tokenizers close what they encode; the answer starts before that
    if not ids:
        if tokenizer.bos_token_id is None:
            raise ValueError(
                "the prompt is empty and the tokenizer has no BOS token to start from: give a "
                "prompt"
            )
        ids = [tokenizer.bos_token_id]
    return ids


def left_pad(
    rows: Sequence[Sequence[int]], fill: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of unequal length as int64 [N, P], filled on the left, and which places hold a token,
    bool [N, P].

    >>> tokens, mask = left_pad([[5], [6, 7]], fill=0)
    >>> tokens.tolist(), mask.tolist()
    ([[0, 5], [6, 7]], [[False, True], [True, True]])
    """
    width = max((len(row) for row in rows), default=0)
    tokens = np.full((len(rows), width), fill, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.bool_)
    for number, row in enumerate(rows):
        if len(row):
            tokens[number, -len(row) :], mask[number, -len(row) :] = row, True
    return tokens, mask


def end_tokens(tokenizer: Any, generation_config: Any = None) -> tuple[int, ...]:
    """Every token that ends an answer: the tokenizer's, then those of a model's
    `generation_config`, then the one that ends a turn in the chat template, each once.

    Instruct models often have two, the end of a turn and the end of a text; some name but one of
    them. Raises ValueError if there is none."""
    of_model = getattr(generation_config, "eos_token_id", None)
    more = np.atleast_1d(np.asarray([] if of_model is None else of_model, dtype=object)).tolist()
    listed = [tokenizer.eos_token_id, *more, *turn_end(tokenizer)[0]]
    try:
        numbers = [operator.index(token) for token in listed if token is not None]
    except TypeError:
        raise ValueError(
            f"eos_token_id of the generation config must be whole numbers, got {shown(of_model)}"
        ) from None
    # Some say -1 for none.
    ends = tuple(dict.fromkeys(number for number in numbers if number >= 0))
    if not ends:
        raise ValueError("the tokenizer has no end-of-sequence token: pass eos_token_ids=(...)")
    return ends


def turn_end(tokenizer: Any, options: Mapping[str, Any] | None = None) -> tuple[list[int], str]:
    """(tokens, text) that end the model's turn in the chat template: at most one special token, or
    else the text that stands before the next question; ([], "") without a template.

    Read off a conversation: what follows the answer, at its end or, where that is nothing (GLM),
    before a further question.
    """
    if not getattr(tokenizer, "chat_template", None):
        return [], ""
    turns = [("user", ASKED), ("assistant", SAID), ("user", ASKED_NEXT)]
    between = ""
    for told in (turns[:2], turns):
        try:
            rendered = _rendered(tokenizer, told, options)
        except ValueError:  # a template may refuse any conversation
            continue
        if SAID not in rendered:
            continue
        after = rendered.rpartition(SAID)[2]
        between = after.partition(ASKED_NEXT)[0]
        special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        starts = [name for name in special if name.strip() and after.lstrip().startswith(name)]
        if starts:
            return [int(tokenizer.convert_tokens_to_ids(max(starts, key=len)))], ""
    line = re.match(r"\s*\S[^\n]*", between)
    return [], line[0].rstrip() if line else ""
