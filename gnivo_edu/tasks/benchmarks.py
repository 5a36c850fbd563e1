r"""Competition mathematics: MATH to train on, and six benchmark sets; answers in \boxed{...}.

Sources of the sets: AIME 2024 and 2025 and AMC 2023 (American Mathematics Competitions), MATH-500
(500 test problems of Hendrycks et al. 2021, arXiv:2103.03874, chosen by Lightman et al. 2023,
arXiv:2305.20050), Minerva Math (272 problems of Lewkowycz et al. 2022, arXiv:2206.14858) and
OlympiadBench (He et al. 2024, arXiv:2402.14008; the English, open-ended, text-only mathematics
problems). The sets go round in versions of different length: `variants` names them, and loading a
number of rows that is not among them is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gnivo_edu.names import visible
from gnivo_edu.tasks.data_sets import Row, field, first_rows, load_rows, text_field
from gnivo_edu.tasks.grading import TIMEOUT, Problem, grade_answers, last_box
from gnivo_edu.tasks.text_task import TextTask
from gnivo_edu.values import convert


@dataclass(frozen=True)
class Benchmark:
    """Where a set is found, and its known versions: a number of rows, and what has that many."""

    hub_id: str
    split: str
    variants: Mapping[int, str]
    config: str | None = None


BENCHMARKS = {
    "math": Benchmark(
        "rasbt/math_full_minus_math500",
        split="train",
        variants={12_000: "all of MATH but the problems of MATH-500: for training"},
    ),
    "aime24": Benchmark(
        "HuggingFaceH4/aime_2024", split="train", variants={30: "AIME I and II of 2024"}
    ),
    "aime25": Benchmark(
        "yentinglin/aime_2025", split="train", variants={30: "AIME I and II of 2025"}
    ),
    "amc23": Benchmark(
        "math-ai/amc23",
        split="test",
        variants={
            40: "AMC 12A and 12B of 2023, 40 of their 50 problems",
            83: "AMC 12 of 2022 and 2023, some reworded so that the answer is a whole number",
        },
    ),
    "math500": Benchmark("HuggingFaceH4/MATH-500", split="test", variants={500: "MATH-500"}),
    "minerva_math": Benchmark(
        "math-ai/minervamath", split="test", variants={272: "the problems of OCWCourses"}
    ),
    "olympiadbench": Benchmark(
        "math-ai/olympiadbench",
        split="test",
        variants={
            675: "English, open-ended, text-only mathematics, as in the Qwen2.5-Math files",
            674: "the same, as on the hub under Hothan/OlympiadBench, configuration "
            "OE_TO_maths_en_COMP, split train",
        },
    ),
}

# The wording is ours.
INSTRUCTION = "Reason step by step, and put the final answer inside \\boxed{}."
BASE_TEXT = (
    "Problem: {question}\nReason step by step, and put the final answer inside "
    "\\boxed{}.\nSolution:\n"
)
STOP = ("\nProblem:",)


def benchmark(
    name: str,
    tokenizer: Any,
    path_or_id: str | None = None,
    split: str | None = None,
    config: str | None = None,
    check_rows: bool = True,
    limit: int | None = None,
    grader_timeout: float = TIMEOUT,
    **options: Any,
) -> TextTask:
    """A set of `BENCHMARKS` as a task: from a file, a folder, or a hub id (by default the one that
    is listed).

    `task.variant` says which version it is. `limit` keeps the first problems, once the number of
    rows is checked; `check_rows=False` takes any number. `options` are those of `TextTask`. Raises
    ValueError on a number of rows that no known version has, and on a row without question or
    answer.
    """
    published = BENCHMARKS[name]
    source = path_or_id or published.hub_id
    rows = load_rows(source, split or published.split, config=config or published.config)
    if check_rows and len(rows) not in published.variants:
        versions = "; ".join(f"{count:,} ({what})" for count, what in published.variants.items())
        raise ValueError(
            f"{name} is known with these numbers of problems: {versions}; {source!r} has "
            f"{len(rows):,}: pass check_rows=False if that is meant"
        )
    problems = [
        problem_of(row, number, source=source) for number, row in enumerate(first_rows(rows, limit))
    ]
    merged: dict[str, Any] = {
        "base_text": BASE_TEXT,
        "instruction": INSTRUCTION,
        "stop": STOP,
        "horizon": 2048,
    } | options
    grader = partial(grade_answers, extract=last_box, timeout=grader_timeout)
    task = TextTask(f"{name}-{len(rows)}", problems, tokenizer=tokenizer, grader=grader, **merged)
    task.variant = published.variants.get(len(rows), f"{len(rows):,} problems of {source}")
    return task


def problem_of(row: Row, number: int, source: str) -> Problem:
    r"""The problem in a row of any of the sets, whose columns and answer types differ.

    The answer may be an int, a float (27.0 stands for 27), a text, or a list of one of these.
    Minerva Math has no answer column: its answer is the last box of its solution. OlympiadBench may
    name a unit and an allowed error.

    >>> row = {"question": "?", "final_answer": ["$4.2$\n"], "unit": "%", "error": "1e-1"}
    >>> problem_of(row, 0, source="").gold
    '$4.2$'
    >>> problem_of({"problem": "?", "solution": r"So \boxed{\pi}"}, 0, source="").gold
    '\\pi'
    >>> problem_of({"problem": "?", "answer": 7.0}, 0, source="").gold
    '7'
    """
    where = f"row {number + 1} of {source!r}"
    question = field(row, ("problem", "question"))
    if question is not None:
        question = text_field(row, ("problem", "question"), number=number + 1, source=source)
    answer = field(row, ("answer", "final_answer"))
    if answer is None:
        solution = field(row, ("solution",)) or ""
        lines = solution if isinstance(solution, list) else [solution]
        answer = last_box("\n".join(map(str, lines)))
    if isinstance(answer, list | tuple):
        if len(answer) != 1:
            raise ValueError(f"{where} lists {len(answer)} answers: give one text that holds all")
        answer = answer[0]
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    answer = convert(f"the answer of {where}", answer, str | int | float | None)
    gold = "" if answer is None else str(answer).strip()
    if not question or not gold:
        raise ValueError(
            f"{where} has no question or no answer; its columns: {visible(', '.join(row))}"
        )
    if context := field(row, ("context",)):
        question = f"{context}\n{question}"
    error = field(row, ("error",))
    return Problem(
        question=str(question),
        gold=gold,
        unit=convert(f"the unit of {where}", field(row, ("unit",)), str | None),
        tolerance=convert(f"the error of {where}", None if error == "" else error, float | None),
        id=str(field(row, ("unique_id", "id", "idx", "problem_idx")) or number),
    )
