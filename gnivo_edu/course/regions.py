"""A cell with a solution region, taken apart: the answer, its check, its hints, and what nbgrader
wants to know.
"""

from __future__ import annotations

import ast
import hashlib
import html
import re
import textwrap
from collections.abc import Iterable
from typing import Any, Literal

from gnivo_edu.course import exercises
from gnivo_edu.course.tidy import BuildError

Kind = Literal["student", "solution", "nbgrader"]
# The markers of nbgrader, anywhere in a line, as nbgrader looks for them.
BEGIN = "BEGIN SOLUTION"
END = "END SOLUTION"
STUB = 'raise NotImplementedError("your code here")'


def solution_lines(sources: Iterable[str]) -> list[str]:
    """The lines that stand in solution regions and nowhere else: none may reach a student.

    Comments count; short lines that say nothing (`else:`, `return x`) do not.

    >>> solution_lines(["### BEGIN SOLUTION\\n    return 2 * x + 1\\n    ### END SOLUTION"])
    ['return 2 * x + 1']
    """
    inside: list[str] = []
    outside: list[str] = []
    for source in sources:
        within = False
        for line in map(str.strip, source.splitlines()):
            if BEGIN in line or END in line:
                within = BEGIN in line
            else:
                (inside if within else outside).append(line)
    rest = "\n".join(outside)
    return [line for line in dict.fromkeys(inside) if len(line) > 10 and line not in rest]


def split(cell: Any, place: str) -> tuple[str, str, exercises.Exercise]:
    """The answer, the statements from its check on, and the exercise that is checked."""
    try:
        body = ast.parse(cell.source).body
    except SyntaxError as error:
        raise BuildError(f"{place}: is not Python: {error.msg}, line {error.lineno}") from None
    for statement in body:
        match statement:
            case ast.Expr(ast.Call(ast.Attribute(ast.Name("check"), name))):
                lines = cell.source.split("\n")
                above, below = lines[: statement.lineno - 1], lines[statement.lineno - 1 :]
                if BEGIN not in "\n".join(below):
                    return "\n".join(above).rstrip(), "\n".join(below), _exercise(name, place)
    raise BuildError(
        f"{place}: has a solution region and no check.NAME(NAME) after it in the same cell"
    )


def _exercise(name: str, place: str) -> exercises.Exercise:
    try:
        return exercises.get(name)
    except ValueError as error:
        raise BuildError(f"{place}: {error}") from error


def documented(source: str, exercise: exercises.Exercise) -> str:
    """The answer with a docstring, which says what the function returns, where it has none.

    >>> from gnivo_edu.course import check
    >>> print(documented("def log_z(ref_probs, rewards, alpha):\\n    return 0", check.log_z))
    def log_z(ref_probs, rewards, alpha):
        \"""log E_ref[e^{R/alpha}], nats.\"""
        return 0
    """
    lines = source.split("\n")
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.FunctionDef)
            and node.name == exercise.name
            and not ast.get_docstring(node)
        ):
            first = node.lineno - 1  # of the signature, which may take several lines
            while not lines[first].rstrip().endswith(":"):
                first += 1
            indent = " " * node.body[0].col_offset
            text = f'{indent}"""{exercise.gives}"""'
            # One wide line would be folded by no editor.
            folded = textwrap.wrap(text, 88, subsequent_indent=indent, break_on_hyphens=False)
            lines[first + 1 : first + 1] = folded
    return "\n".join(lines)


def answer(source: str, kind: Kind, place: str) -> str:
    """The answer cell: regions replaced by the stub (student), filled (solution), or as they are
    (nbgrader).
    """
    lines: list[str] = []
    within = False
    for line in source.split("\n"):
        if BEGIN in line or END in line:
            if within == (BEGIN in line):
                raise BuildError(f"{place}: the markers of its solution regions do not pair")
            within = BEGIN in line
            if kind == "nbgrader":
                lines.append(line)
            elif kind == "student" and within:
                lines.append(line[: len(line) - len(line.lstrip())] + STUB)
        elif kind != "student" or not within:
            lines.append(line)
    if within:
        raise BuildError(f"{place}: a solution region does not end")
    return "\n".join(lines)


def graded(grade_id: str, source: str, solution: bool) -> dict[str, Any]:
    """Metadata of nbgrader, schema 3: an answer, or a locked check worth one point."""
    parts = [source, "code", str(not solution), str(solution), str(not solution), grade_id]
    block: dict[str, Any] = {
        "schema_version": 3,
        "cell_type": "code",
        "grade_id": grade_id,
        "solution": solution,
        "grade": not solution,
        "locked": not solution,
        "task": False,
    }
    if not solution:
        block["points"] = 1
        parts.append("1.0")
    digest = hashlib.md5("".join(parts).encode(), usedforsecurity=False)
    return {"nbgrader": block | {"checksum": digest.hexdigest()}}


def ladder(exercise: exercises.Exercise) -> str:
    """Hints, each folded, then how to see a solution; in HTML, so that Markdown sees no stars and
    underscores.
    """
    last = f"Tried everything? Run `check.{exercise.name}.solution()` in a cell of your own."
    rungs = [(f"Hint {n}", hint) for n, hint in enumerate(exercise.hints, 1)] + [("Solution", last)]
    lines = ["**Stuck?** Unfold one at a time."]
    for title, text in rungs:
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
        lines.append(f"<details><summary>{title}</summary><p>{text}</p></details>")
    return "\n\n".join(lines)
