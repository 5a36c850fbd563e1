"""Prompts as tokens: the chat template of an instruct model, or a stated text for a base model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def chat_prompt(
    tokenizer: Any, question: str, instruction: str, options: Mapping[str, Any] | None = None
) -> list[int]:
    """Tokens of one user turn, the question and the instruction below it, up to where the model's
    turn begins.

    `options` go to the template, such as `{"enable_thinking": False}`. The template writes its own
    special tokens, so that none are added.
    """
    content = f"{question}\n\n{instruction}" if instruction else question
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=False,
        add_generation_prompt=True,
        **(options or {}),
    )
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


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
    `generation_config`, each once.

    Instruct models often have two, the end of a turn and the end of a text. Raises ValueError if
    there is none."""
    of_model = getattr(generation_config, "eos_token_id", None)
    more = of_model if isinstance(of_model, list | tuple) else [of_model]
    listed = [tokenizer.eos_token_id, *more]
    ends = tuple(dict.fromkeys(int(token) for token in listed if token is not None))
    if not ends:
        raise ValueError("the tokenizer has no end-of-sequence token: pass eos_token_ids=(...)")
    return ends
