"""The groups of an update as the page shows them: texts, what is known of each token, the numbers
of the objective's formula, and the signals of other methods by step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnivo_edu.figures.tokens import visible
from gnivo_edu.objectives.formulas import Sheet
from gnivo_edu.pages import finite
from gnivo_edu.show.formula import sheet_of_run, signals_of
from gnivo_edu.show.read import Part
from gnivo_edu.tasks.segment import get_segmenter, steps_after

# What a formula calls the numbers that each token has anyway.
SHORT = {
    "logp": "log_probs",
    "old": "old_log_probs",
    "ref": "ref_log_probs",
    "rho": "implicit_values",
    "signal": "signal",
    "entropy": "entropy",
    "kl": "kl",
    "V": "values",
}


def groups_of(
    part: Part,
    config: Mapping[str, Any],
    chosen: Sequence[int],
    formulas: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Some groups of an update, by their places, as plain data; its formula is added to `formulas`
    unless it is there.
    """
    batch = part.batch
    sheet = sheet_of_run(batch, config, part.depths) if batch is not None else None
    signals = signals_of(batch, config) if batch is not None else {}
    formula = None if sheet is None else _index(formulas, _formula(sheet))
    values = None
    if sheet is not None and batch is not None and any(line.symbol == "A" for line in sheet.lines):
        N, K, T = batch.mask.shape
        values = sheet.values((N, K, T))["A"]
    groups = []
    for n in chosen:
        question, places = part.groups[n]
        rewards = part.rewards
        answers = []
        for k, place in enumerate(places):
            answer = _answer(part, place, config)
            answer["reward"] = rewards[place]
            if values is not None:
                answer["tokens"]["A"] = _row(values[n, k], answer)
            if sheet is not None:
                answer["numbers"] = _scoped(sheet, 2, (n, k))
                taken = {"logp", "old", "ref"}
                extra = {s: x[n, k] for s, x in sheet.numbers.items() if x.dim() == 3}
                answer["tokens"] |= {s: _row(x, answer) for s, x in extra.items() if s not in taken}
            ids = torch.tensor(answer["steps"])
            answer["signals"] = {
                name: _by_step(signal[n, k, : len(ids)], ids) for name, signal in signals.items()
            }
            answers.append(answer)
        groups.append(
            {
                "step": part.step,
                "update": part.update,
                "question": question,
                "prompt": [visible(x) for x in part.columns["prompt"][places[0]].split("\n")],
                "formula": formula,
                "numbers": _scoped(sheet, 0, ()) | _scoped(sheet, 1, (n,)) if sheet else {},
                "answers": answers,
            }
        )
    return groups


def _answer(part: Part, place: int, config: Mapping[str, Any]) -> dict[str, Any]:
    columns = part.columns
    texts = columns["token_texts"][place] if "token_texts" in columns else None
    if texts is None:
        texts = words_of(columns["completion"][place])
    if "step_ids" in columns:
        steps = list(columns["step_ids"][place])
    else:
        steps = step_ids_of_texts(texts, config)
    tokens = {short: columns[n][place] for short, n in SHORT.items() if n in columns}
    if "logp" in tokens and tokens.get("old") == tokens["logp"]:
        del tokens["old"]  # the page takes one for the other
    tokens.pop("rho", None)  # the page adds up the log-ratios
    return {
        "answer": (columns["answer"][place] if "answer" in columns else None),
        "texts": [visible(text) for text in texts],
        "steps": steps,
        "advantage": columns["advantage"][place] if "advantage" in columns else None,
        "truncated": bool(columns["truncated"][place]) if "truncated" in columns else False,
        "sampler": columns["sampler"][place] if "sampler" in columns else "policy",
        "parts": {name: columns[name][place] for name in part.reward_names},
        "tokens": {name: [finite(float(x)) for x in row] for name, row in tokens.items()},
    }


def words_of(text: str) -> list[str]:
    """A text in pieces that are read as tokens, where no tokens are known: words with the white
    space before them.

    >>> words_of("One two\\nthree")
    ['One', ' two', '\\nthree']
    """
    return re.findall(r"\s*\S+|\s+$", text) or [text]


def step_ids_of_texts(texts: Sequence[str], config: Mapping[str, Any]) -> list[int]:
    """The step of each token, where the record does not say: by the task's segmenter, if it has one
    by name, else by `;`, lines or sentences, whichever there is.

    >>> step_ids_of_texts(["1", ";", "2", "."], {})
    [0, 0, 1, 1]
    """
    name = (config.get("task_options") or {}).get("segmenter")
    if isinstance(name, str):
        return [int(i) for i in get_segmenter(name)(texts)]
    text = "".join(texts)
    by_chain = ";" in text and " " not in text
    segmenter = steps_after(";") if by_chain else get_segmenter("sentence")
    return [int(i) for i in segmenter(texts)]


def _formula(sheet: Sheet) -> dict[str, Any]:
    lines = [vars(line) for line in sheet.lines]
    return {"scored": sheet.scored, "lines": lines, "words": dict(sheet.words)}


def _index(formulas: list[dict[str, Any]], formula: dict[str, Any]) -> int:
    if formula not in formulas:
        formulas.append(formula)
    return formulas.index(formula)


def _scoped(sheet: Sheet, dimensions: int, place: tuple[int, ...]) -> dict[str, float]:
    """Numbers of the batch, of a question or of an answer."""
    return {s: float(x[place]) for s, x in sheet.numbers.items() if x.dim() == dimensions}


def _row(x: Tensor, answer: Mapping[str, Any]) -> list[float]:
    row: list[float] = x[: len(answer["texts"])].tolist()
    return row


def _by_step(x: Tensor, ids: Tensor) -> list[float]:
    """What a step's tokens get, added up."""
    return np.bincount(ids.numpy(), weights=x.double().numpy()).tolist()
