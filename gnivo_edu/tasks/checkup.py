"""What a model will read of one's own questions, how their gold answers are graded, and what is odd
about them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gnivo_edu.names import shown, visible
from gnivo_edu.tasks.data_sets import has_splits
from gnivo_edu.tasks.dataset import Questions, questions_of
from gnivo_edu.tasks.grading import Problem
from gnivo_edu.tasks.registry import convert_task_options, get
from gnivo_edu.tasks.row_rewards import RowRewards
from gnivo_edu.tasks.text_task import TextTask

SHOWN = 5  # prompts
TOLD = 3  # numbers of rows
# How the chat templates of common families begin a turn, or what is said in it.
TURNS = (
    *("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|assistant|>", "<|turn|>"),
    *("[INST]", "<|user|>", "<|begin_of_text|>", "<|endoftext|>", "</s>"),
)


def check_task(
    path_or_id: str, model: str | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The report of `gnivo-edu check-task`: the rows of a data set (see `dataset`), the grade of
    each gold answer as an answer to its own question, the first prompts as `model`'s tokenizer
    reads them, and what is odd.

    `passed`: every row is used, every gold answer is right, and nothing is odd. Without a model no
    prompt is made. Raises ValueError, in one line, where the task itself cannot be made.

    >>> import json, tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
    ...     print(json.dumps({"prompt": "2+2?", "answer": "four"}), file=file, flush=True)
    ...     report = check_task(file.name, options={"grade": "exact"})
    >>> report["passed"], report["problems"], report["gold"]
    (True, 1, {'right': 1})
    """
    asked = {"path_or_id": path_or_id, "skip_bad": True, **(options or {})}
    asked = convert_task_options("dataset", asked)
    questions = questions_of(asked)
    problems = questions.problems
    odd = [*_hidden(problems), *_duplicates(problems), *_shared_with_test(asked, problems)]
    report: dict[str, Any] = {
        "problems": len(problems),
        "left_out": {str(number): why for number, why in questions.left_out.items()},
        "columns": sorted({column for problem in problems for column in problem.row}),
    }
    gold, wrong = _golds(questions, asked.get("grade") or "math")
    report |= {"gold": gold, "wrong_gold": wrong}
    if model is not None:
        from gnivo_edu.policies.loading import load_tokenizer

        task = get("dataset", load_tokenizer(model), **asked)
        report["prompts"] = [task.prompt_text(i) for i in range(min(SHOWN, len(problems)))]
        lengths = task.prompt_mask().sum(1)
        report["prompt_tokens"] = [int(lengths.min()), int(lengths.max())]
        odd += _odd_prompts(task)
    passed = not odd and not wrong and not questions.left_out
    return {"passed": passed, **report, "odd": odd}


def _golds(questions: Questions, grade: str) -> tuple[dict[str, int], dict[str, str]]:
    """How often each status came out for gold answers as answers, and the golds that are not right,
    by row; nothing where no gold can be held against itself.
    """
    problems = questions.problems
    if isinstance(questions.grader, RowRewards) or grade == "regex":
        return {}, {}
    # Where an answer is read out of a box, the gold is written into one.
    texts = [rf"\boxed{{{p.gold}}}" if grade == "math" else p.gold for p in problems]
    grades = questions.grader(texts, problems)
    wrong = {p.id: g.gold for p, g in zip(problems, grades, strict=True) if g.status != "right"}
    return dict(Counter(grade.status for grade in grades)), wrong


def _hidden(problems: Sequence[Problem]) -> list[str]:
    """Questions with letters that nobody sees, or that turn others round; a tab is none."""
    odd = []
    for problem in problems:
        text = problem.question.replace("\t", " ")
        if hidden := [letter for letter in text if visible(letter, lines=True) != letter]:
            odd.append(f"{problem.id}: its question holds {shown(hidden[0])}, which nobody sees")
    return _some(odd)


def _duplicates(problems: Sequence[Problem]) -> list[str]:
    """Questions that stand more than once."""
    first: dict[Any, Problem] = {}
    again = []
    for problem in problems:
        same = first.setdefault((problem.turns, problem.question), problem)
        if same is not problem:
            again.append(f"{problem.id} asks what {same.id} asks")
    return _some(again)


def _shared_with_test(options: Mapping[str, Any], problems: Sequence[Problem]) -> list[str]:
    """Questions of the split that split "test" has too; nothing where there is no such split."""
    splits = options.get("held_out") or has_splits(options["path_or_id"])
    if options.get("split", "train") == "test" or not splits:
        return []
    try:
        test = questions_of({**options, "split": "test", "limit": None}).problems
    except ValueError:
        return []
    held = {problem.question for problem in test}
    return _some([f"{p.id} is in the test split too" for p in problems if p.question in held])


def _odd_prompts(task: TextTask) -> list[str]:
    """What is odd about the tokens of prompts."""
    odd = []
    tokenizer, prompts, mask = task.tokenizer, task.prompts(), task.prompt_mask()
    rows = [row[kept] for row, kept in zip(prompts, mask, strict=True)]
    bos = tokenizer.bos_token_id
    twice = [i for i, row in enumerate(rows) if bos is not None and [*row[:2]] == [bos, bos]]
    if twice:
        odd.append(
            f"{_numbers(task, twice)}: begins with two BOS tokens: leave one out of the text"
        )
    texts = [task.prompt_text(i) for i in range(len(rows))]
    for turn in TURNS:
        holding = [i for i, text in enumerate(texts) if turn in text]
        pieces = tokenizer(turn, add_special_tokens=False)["input_ids"]
        if holding and len(pieces) > 1:
            odd.append(
                f"{_numbers(task, holding)}: holds {turn}, which this tokenizer reads as "
                f"{len(pieces)} tokens: the template of another family"
            )
    longest = int(mask.sum(1).max()) + task.horizon
    if longest > (room := getattr(tokenizer, "model_max_length", np.inf)):
        odd.append(
            f"the longest prompt and an answer of {task.horizon} tokens make {longest}, more than "
            f"the model's {room}: shorten them, or set horizon"
        )
    return odd


def _numbers(task: TextTask, places: Sequence[int]) -> str:
    more = f" and {len(places) - TOLD} more" if len(places) > TOLD else ""
    return ", ".join(task.problems[i].id for i in places[:TOLD]) + more


def _some(lines: Sequence[str]) -> list[str]:
    """The first of some lines, and how many more there are."""
    more = [f"... and {len(lines) - TOLD} more"] if len(lines) > TOLD else []
    return [*lines[:TOLD], *more]


def text_of(report: Mapping[str, Any]) -> str:
    """The report to read."""
    lines = [f"{report['problems']} questions; columns: {visible(', '.join(report['columns']))}"]
    for number, why in list(report["left_out"].items())[:TOLD]:
        lines.append(f"left out: row {number}: {why}")
    if len(report["left_out"]) > TOLD:
        lines.append(f"... {len(report['left_out'])} rows are left out in all")
    if report["gold"]:
        said = ", ".join(f"{count} {status}" for status, count in report["gold"].items())
        lines.append(f"gold answers, graded as answers: {said}")
    for place, gold in list(report["wrong_gold"].items())[:TOLD]:
        lines.append(f"{place}: the gold answer {shown(gold)} is not right by its own grader")
    if "prompts" in report:
        low, high = report["prompt_tokens"]
        lines.append(f"prompts of {low} to {high} tokens; the first, as the model reads them:")
        lines += [f"  {text!r}" for text in report["prompts"]]
    else:
        lines.append("give --model to see the prompts as it reads them")
    told = report["left_out"] or report["wrong_gold"]
    fine = "nothing else is odd" if told else "nothing is odd"
    lines += [f"odd: {line}" for line in report["odd"]] or [fine]
    return "\n".join(lines)
