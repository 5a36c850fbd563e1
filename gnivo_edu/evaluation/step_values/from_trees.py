"""Exact values along given answers: the whole task enumerated, or a pruned tree inside a language
model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from gnivo_edu import exact
from gnivo_edu.evaluation.step_values.record import ExactValues
from gnivo_edu.exact import Array, Tables
from gnivo_edu.policies.from_model import TextTree, tree_from_model
from gnivo_edu.policies.sampling_law import SamplingLaw
from gnivo_edu.policies.scoring import tabulate
from gnivo_edu.tasks.prompting import base_prompt


def exact_values(
    reference: nn.Module,
    task: Any,
    prompt_index: int,
    answers: Sequence[Sequence[int]],
    alpha: float,
    top_k: int | None,
    tree_horizon: int,
    max_sequences: int,
    reference_name: str,
    temperature: float = 1.0,
) -> tuple[ExactValues | None, list[Array | None], str]:
    """V of the prefixes of each answer, nats, where from, and a sentence that says so (or says why
    there are none).

    A task of at most `max_sequences` sequences is enumerated with the reference written out as
    tables; else, where the task has a tokenizer and `top_k` is not None, the tree of
    `tree_from_model` is. Of an answer that leaves that tree, the values before it leaves are given.
    """
    mask = task.prompt_mask()[prompt_index]
    values: list[Array | None]
    # V**T in logarithms: of a language model it has thousands of digits.
    small = task.horizon * math.log(task.vocab_size) <= math.log(max(max_sequences, 1)) + 1e-9
    if small and len(task.eos_token_ids) < 2 and bool(mask.all()):
        tables = _at(temperature, tabulate(reference, task, prompt_index=prompt_index))
        tree = exact.enumerate_tree(task, tables, prompt_index=prompt_index)
        solution = exact.solve(tree, alpha)
        values = [_values(solution, answer) for answer in answers]
        sizes = {"top_k": task.vocab_size, "horizon": task.horizon}
        info = ExactValues("full", reference_name, log_z=solution.log_z, **sizes)
        note = "The exact V is that of the whole task, enumerated under the reference."
        return info, values, note
    values = [None] * len(answers)
    if top_k is None or task.tokenizer is None:
        return None, values, "There is no exact V: the task is too large to enumerate."
    text = _as_text(task.tokenizer, task.prompts()[prompt_index][mask].tolist())
    if text is None:
        why = (
            "There is no exact V: the prompt's tokens are not those of any text, and the pruned "
            "tree starts from one."
        )
        return None, values, why
    horizon = min(tree_horizon, task.horizon)

    def reward(texts: list[str]) -> ArrayLike:
        return [grade.reward for grade in task.grade_texts(texts, prompt_index)]

    mdp, tables = tree_from_model(
        reference, task.tokenizer, prompt=text, top_k=top_k, horizon=horizon, reward=reward
    )
    solution = exact.solve(exact.enumerate_tree(mdp, _at(temperature, tables)), alpha)
    values = [_values(solution, ranks_of(mdp, answer)) for answer in answers]
    cut = (
        f"{reference_name}, cut to its {top_k} most probable tokens and to answers of {horizon} "
        "tokens"
    )
    info = ExactValues("pruned", cut, log_z=solution.log_z, top_k=top_k, horizon=horizon)
    note = f"The exact V is that of another, smaller problem: the reference there is {cut}."
    return info, values, note


def _at(temperature: float, tables: Tables) -> Tables:
    """The tables of a policy that is read at a temperature: log-probabilities over it, nats,
    renormalised.
    """
    law = SamplingLaw(temperature=temperature)
    if temperature == 1:
        return tables
    return [law.log_probabilities(torch.from_numpy(table)).numpy() for table in tables]


def ranks_of(mdp: TextTree, answer: Sequence[int]) -> list[int]:
    """The ranks of the first tokens of an answer in a pruned tree, as many as stay inside it."""
    ranks: list[int] = []
    number = 0
    for token_ids, token in zip(mdp.token_ids, answer, strict=False):
        rank = np.flatnonzero(token_ids[number] == token)
        if not len(rank):
            break
        ranks.append(int(rank[0]))
        number = number * mdp.vocab_size + ranks[-1]
    return ranks


def _values(solution: exact.Solution, answer: Sequence[int]) -> Array:
    return np.array([solution.soft_value(tuple(answer)[:t]) for t in range(len(answer) + 1)])


def _as_text(tokenizer: Any, ids: list[int]) -> str | None:
    """A text that is encoded to these tokens: with or without the special tokens that the tokenizer
    adds by itself.
    """
    for some, skip in ((ids, True), (ids, False), (ids[1:], False)):
        text = str(
            tokenizer.decode(some, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        )
        if base_prompt(tokenizer, text, template="{question}") == ids:
            return text
    return None
