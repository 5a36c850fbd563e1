r"""Grading: find the answer in a text, then let math-verify compare it with the gold answer, within
a time limit.

An answer is what stands in the last balanced box, or after the task's own marker; nothing else
counts, however right it looks. It is read whole or not at all: letters keep their case, and no
number is taken out of what cannot be read (`answers` says how). A gold answer that cannot be read
is reported and skipped: no answer to it is rewarded. How often the grader is right is measured by
`gnivo-edu bench grading`, and doubtful cases stand in tests/tasks/test_grading.py.
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gnivo_edu.tasks import math_worker
from gnivo_edu.tasks.answers.line import answer_line
from gnivo_edu.tasks.answers.patterns import NUMBER
from gnivo_edu.tasks.answers.text import stripped
from gnivo_edu.tasks.worker_pool import WorkerPool

Status = Literal["right", "wrong", "no answer", "unparsable gold", "timeout", "scored"]
Extract = Callable[[str], str | None]
TIMEOUT = 5.0  # seconds for one comparison

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_HEADING = re.compile(
    r"\A[\s*_]*(?:(?:the|my|final)\s+)*(?:answer|result)[ \t*_:]*\n", re.IGNORECASE
)
_NUMBER = re.compile(rf"(?P<sign>-?)[\s$]*(?P<number>{NUMBER})")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question and its gold answer; `unit` may follow an answer, `tolerance` (an absolute error)
    is allowed.

    `turns`, (role, text) each, come before the question in a conversation; `row` is the row of the
    data that it comes from, for rewards that look at it.
    """

    question: str
    gold: str = ""
    unit: str | None = None
    tolerance: float | None = None
    id: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def messages(self) -> list[dict[str, str]]:
        """The conversation up to the question, as chat templates read it."""
        turns = (*self.turns, ("user", self.question))
        return [{"role": role, "content": text} for role, text in turns]


@dataclass(frozen=True, kw_only=True)
class Grade:
    """What became of one answer: its text, what was taken for the answer, and the verdict.

    `status`: "right", "wrong", "no answer" (no box and no marker), "unparsable gold" (the fault of
    the data: the row does not count), "timeout" (the comparison was stopped), or "scored" (a task
    whose reward is not right or wrong). `reward` is 1 where it is right, the score where it is
    scored, else 0.
    """

    text: str
    answer: str | None
    gold: str
    status: Status
    reward: float

    @property
    def counts(self) -> bool:
        """Whether the row says anything about the policy."""
        return self.status != "unparsable gold"


def last_box(text: str) -> str | None:
    r"""Content of the last \boxed{...} or \fbox{...} that closes; the outer one of nested boxes;
    None if there is none.

    >>> last_box(r"First \boxed{1}, no: \boxed{\frac{1}{2}}. Or \boxed{3")
    '\\frac{1}{2}'
    >>> last_box(r"\boxed{\boxed{\pi}}")
    '\\pi'
    """
    span = _last_box_span(text)
    while span is not None:
        text = stripped(text[span[1] : span[2]])
        span = _last_box_span(text)
        if span is None or span[0] > 0 or span[2] + 1 < len(text):  # not a box around a box
            return text or None
    return None


def _last_box_span(text: str) -> tuple[int, int, int] | None:
    """Where the box that closes last starts, where its content does, and where its closing brace
    stands. One pass over the braces: a text may hold many thousands.
    """
    open_braces: list[tuple[int, int] | None] = []  # None for a brace that is no box
    span = None
    for match in _BRACES.finditer(text):
        if match[0] == "{":
            open_braces.append(None)
        elif match[0] == "}":
            box = open_braces.pop() if open_braces else None
            span = span if box is None else (*box, match.start())
        elif match[0][:2] in ("\\b", "\\f") and match[0].endswith("{"):
            open_braces.append((match.start(), match.end()))
    return span


def after_marker(text: str, marker: str = "####") -> str | None:
    r"""The answer on the last line after a `marker` that gives one: a number with its sign,
    fraction and magnitude, without currency, thousands separators and the words that follow it.

    A heading is no answer, but "Answer" is one of the line below. Where the line says more than one
    number, the whole line is the answer, for math-verify to read; so it is with 18!, a factorial.

    >>> after_marker("So 6*3=18.\n#### $1,018.50 per day"), after_marker("#### 36 / 2 = 18 eggs")
    ('1018.50', '18')
    >>> after_marker("#### 18\n\n#### Why: 6*3 is 18"), after_marker("#### Step 2") is None
    ('18', True)
    """
    below = False
    for part in reversed(text.split(marker)[1:]):
        line, _, rest = _HEADING.sub("", part.lstrip("#")).strip().partition("\n")
        if (answer := answer_line(line, below=below or bool(rest.strip()))) is not None:
            return answer
        below = below or bool(line)
    return None


def first_number(text: str) -> str | None:
    """The first number of a text, without thousands separators; None if there is none.

    >>> first_number("about -1,200 dollars"), first_number("$.50"), first_number("18, 20")
    ('-1200', '.50', '18')
    >>> first_number("a dozen") is None
    True
    """
    match = _NUMBER.search(text)
    return None if match is None else match["sign"] + match["number"].replace(",", "")


def marker_or_box(text: str) -> str | None:
    r"""The answer after the last `####` that gives one; without such a line, that in the last box.

    A box is read as such a line is: \boxed{18 dollars} is 18.
    """
    if (answer := after_marker(text)) is not None:
        return answer
    box = last_box(text)
    return box if box is None else answer_line(box) or box


def grade_answers(
    texts: Sequence[str],
    problems: Sequence[Problem],
    extract: Extract = last_box,
    timeout: float = TIMEOUT,
    workers: int | None = None,
) -> list[Grade]:
    """A grade for each text, the answer to the problem of the same number.

    Equal pairs of answer and gold are compared once. `timeout` in seconds, per comparison;
    `workers` processes, by default one per core and at most four. Raises ValueError if the lengths
    differ or math-verify is not installed."""
    if len(texts) != len(problems):
        raise ValueError(
            f"one problem for each text, got {len(problems)} problems and {len(texts)} texts"
        )
    answers = [extract(text) for text in texts]
    requests = [(p.gold, a, p.unit, p.tolerance) for p, a in zip(problems, answers, strict=True)]
    distinct = list(dict.fromkeys(requests))
    names = ("gold", "answer", "unit", "tolerance")
    pool = _pool(workers or min(4, os.cpu_count() or 1), timeout)
    try:
        replies = pool.map([dict(zip(names, request, strict=True)) for request in distinct])
    except ImportError as error:
        raise ValueError(
            f"grading mathematics needs math-verify ({error}): pip install 'gnivo-edu[llm]'"
        ) from error
    status: dict[Any, Status] = {
        request: reply or "timeout" for request, reply in zip(distinct, replies, strict=True)
    }
    return [
        Grade(
            text=text,
            answer=request[1],
            gold=request[0],
            status=status[request],
            reward=float(status[request] == "right"),
        )
        for text, request in zip(texts, requests, strict=True)
    ]


def unparsable_golds(
    problems: Sequence[Problem],
    grader: Callable[[Sequence[str], Sequence[Problem]], list[Grade]] = grade_answers,
) -> list[int]:
    """Numbers of the problems whose gold answer the grader cannot read: leave them out, and say so.

    A reading that is stopped by the time limit is not among them: it depends on how busy the
    machine is."""
    grades = grader([""] * len(problems), problems)
    return [number for number, grade in enumerate(grades) if not grade.counts]


def count(grades: Sequence[Grade]) -> dict[str, int]:
    """How many grades have each status, the most frequent first."""
    return dict(Counter(grade.status for grade in grades).most_common())


@functools.cache
def _pool(workers: int, timeout: float) -> WorkerPool:
    return WorkerPool(math_worker.reply, workers, timeout, initializer=math_worker.prepare)
