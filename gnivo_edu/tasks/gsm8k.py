"""GSM8K: word problems solved in lines, with the answer after `####` (Cobbe et al. 2021,
arXiv:2110.14168).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from gnivo_edu.tasks.data_sets import first_rows, load_rows, text_field
from gnivo_edu.tasks.grading import TIMEOUT, Problem, after_marker, grade_answers, marker_or_box
from gnivo_edu.tasks.text_task import TextTask

HUB_ID, CONFIG = "openai/gsm8k", "main"
ROWS = {"train": 7473, "test": 1319}

# The wording is ours; the form, steps in lines and `#### number`, is that of the data's own
# solutions.
INSTRUCTION = (
    "Work it out step by step, one step per line. End with a line that has #### and then only the "
    "number."
)
BASE_TEXT = "Question: {question}\nAnswer:\n"
STOP = ("\nQuestion:",)


def gsm8k(
    tokenizer: Any,
    path_or_id: str | None = None,
    split: str = "train",
    check_rows: bool = True,
    limit: int | None = None,
    grader_timeout: float = TIMEOUT,
    **options: Any,
) -> TextTask:
    """GSM8K, from a folder with train.jsonl and test.jsonl, a file of either, or a hub id (the
    published one).

    The answer is that after the last `####` with one (a heading has none), else that in the last
    box. `limit` keeps the first problems of the split, once its number of rows is checked;
    `check_rows=False` takes any number. `options` are those of `TextTask`. Raises ValueError on
    another split, another number of rows, and rows without an answer."""
    if split not in ROWS:
        raise ValueError(f"GSM8K has the splits {' and '.join(ROWS)}, got {split!r}")
    source = path_or_id or HUB_ID
    rows = load_rows(source, split, config=CONFIG)
    if check_rows and len(rows) != ROWS[split]:
        raise ValueError(
            f"the {split} split of GSM8K has {ROWS[split]:,} problems, {source!r} has "
            f"{len(rows):,}: pass check_rows=False if that is meant"
        )
    problems = []
    for number, row in enumerate(first_rows(rows, limit)):
        where = f"row {number + 1} of {source!r}"
        question, solution = (
            text_field(row, (name,), number=number + 1, source=source)
            for name in ("question", "answer")
        )
        if not question.strip():
            raise ValueError(f"{where}: its question is nothing but white space")
        gold = after_marker(solution)
        if gold is None:
            raise ValueError(f"{where} has no answer after ####")
        problems.append(Problem(question=question, gold=gold, id=f"{split}/{number}"))
    options = {
        "base_text": BASE_TEXT,
        "instruction": INSTRUCTION,
        "stop": STOP,
        "segmenter": "line",
    } | options
    grader = partial(grade_answers, extract=marker_or_box, timeout=grader_timeout)
    return TextTask(f"gsm8k-{split}", problems, tokenizer, grader, **options)
