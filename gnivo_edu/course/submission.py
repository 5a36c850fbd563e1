"""The process in which a submission's function runs, started by the grader through
`gnivo_edu.course.supervisor`.

It is told the notebook's code cells and the name of an exercise. It runs the part of the notebook
that the function needs (`gnivo_edu.course.flow`), in a module `__main__`, as Jupyter would: magics
are read as IPython reads them, and `check.NAME(...)` takes note of the function that it is given.
Then it answers calls until it is stopped. It holds no check and no expected value; what the
submission prints goes nowhere.
"""

from __future__ import annotations
import __future__

import ast
import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterable
from itertools import islice
from types import CoroutineType
from typing import Any, BinaryIO

import numpy as np

from gnivo_edu.course.cells import ERRORS, python
from gnivo_edu.course.flow import plans
from gnivo_edu.course.shell import Checks, notebook_module
from gnivo_edu.course.statements import Cell, Step, asking, has_doors, may_be_bound, step_of
from gnivo_edu.course.wire import decode, encode, receive, send

MEMORY, FILES = 4 * 2**30, 64 * 2**20  # bytes a submission may take, and write to one file
# What a function raises where something that it needs is not there.
ABSENT = (NameError, AttributeError, ImportError, OSError)
OF_PYTHON = 1 << 9  # the flag of a class that is no part of C code, and so may be changed
HIDDEN = ("gnivo_edu.course.check", "gnivo_edu.course.exercises")  # the answer key is not at hand


def statements(cells: list[str], name: str) -> tuple[list[Cell], str]:
    """All statements of a notebook, with their cells; and, if the cell that asks for the exercise
    is not Python, what is wrong with it.

    >>> cells = ["%matplotlib inline\\nk = 2", "def f(x):\\n    return k * x"]
    >>> [(cell, ast.unparse(node).splitlines()[0]) for cell, node in statements(cells, "f")[0]]
    [(1, "get_ipython().run_line_magic('matplotlib', 'inline')"), (1, 'k = 2'), (2, 'def f(x):')]
    """
    written: list[Cell] = []
    problem = ""
    for number, source in enumerate(cells, 1):
        text = source
        try:
            text, body = python(source)
            written += [(number, node) for node in body]
        except ERRORS as error:
            if re.search(rf"\b(def\s+{name}\b|{name}\s*=|check\.{name}\b)", source):
                problem = f"its cell is not Python: {error}"
        lines = text.splitlines(keepends=True)
        linecache.cache[f"<cell {number}>"] = (1, None, lines, f"<cell {number}>")
    return written, problem


def load(written: list[Cell], chosen: Iterable[int], name: str) -> tuple[Any, str]:
    """Run the chosen statements; the function that is checked last by them, or has the name of the
    exercise, and the first error of a statement. LookupError where there is no function,
    SyntaxError where such an error came before it.
    """
    main, checks = notebook_module()
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    problem = ""
    for i in sorted(chosen):
        number, node = written[i]
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for feature in node.names:
                flags |= getattr(__future__, feature.name).compiler_flag
        try:
            _run(node, f"<cell {number}>", flags, vars(main))
        except BaseException as error:
            problem = problem or _placed(error, number, ast.unparse(node).split("\n")[0])
    return _function(vars(main), checks, name, problem), problem


def load_whole(cells: list[str], written: list[Cell], name: str) -> tuple[Any, str]:
    """The same by running the cells as Jupyter does, up to the last that is seen to call the check,
    else all.
    """
    from gnivo_edu.course.jupyter import run_cells

    checked = asking([step_of(node) for _, node in written], name)
    last = written[checked[-1]][0] if checked else len(cells)
    space, checks, error, number = run_cells(cells[:last])
    problem = "" if error is None else _placed(error, number, _line(error))
    return _function(space, checks, name, problem), problem


def _function(space: dict[str, Any], checks: Checks, name: str, problem: str) -> Any:
    given = [function for function in checks.given(name) if callable(function)]
    if given:
        return given[-1]
    if name not in space:
        raise SyntaxError(problem) if problem else LookupError(f"there is no function {name}")
    return space[name]


def _run(node: ast.stmt, filename: str, flags: int, namespace: dict[str, Any]) -> None:
    code = compile(ast.Module([node], []), filename, "exec", flags, dont_inherit=True)
    result = eval(code, namespace)
    if isinstance(result, CoroutineType):  # Jupyter allows `await` at the top level
        import asyncio

        asyncio.run(result)


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer: first whether the function was found, then calls of it."""

    def remote(number: int) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            given = [encode(value, []) for value in arguments]
            named = {key: encode(value, []) for key, value in keywords.items()}
            send(target, {"call": number, "arguments": given, "keywords": named})
            reply = receive(source) or {}
            if "error" in reply:
                raise RuntimeError(reply["error"])
            value = decode(reply["value"])
            return value.copy() if isinstance(value, np.ndarray) else value  # theirs to change

        return call

    request = receive(source) or {}
    name, attempt = request["name"], request["attempt"]
    written, problem = statements(request["cells"], name)
    steps = [step_of(node) for _, node in written]
    earlier = ""
    try:
        ways = plans(written, name)
        so_far = list(islice(ways, attempt + 1))
        if len(so_far) > attempt:
            function, earlier = load(written, so_far[attempt], name)
        elif attempt or has_doors(steps):
            function, earlier = load_whole(request["cells"], written, name)
        else:
            raise SyntaxError(problem) if problem else LookupError(f"there is no function {name}")
        if not callable(function):
            raise SyntaxError(f"{name} is not a function")
        send(target, {"ready": True})
    except LookupError as error:
        send(target, {"missing": str(error)})
    except (SyntaxError, ImportError) as error:
        earlier = earlier or str(error)
        send(target, {"broken": (problem or str(error))[:500]})
    stub = earlier.startswith("NotImplementedError")
    absent = bool(earlier) and not stub and not _nowhere(earlier, steps)
    while request := receive(source) or {}:
        if "arguments" not in request:  # it asks whether there are other ways
            so_far += ways
            whole = absent or has_doors(steps)
            send(target, {"ways": len(so_far) + whole, "earlier": earlier})
            continue
        try:
            value = function(*(decode(item, remote) for item in request["arguments"]))
            send(target, {"value": encode(value, [])})
        except BaseException as error:
            absent |= _is_absent(error, steps)
            send(target, {"error": [type(error).__name__, _said(error, bare=True), _line(error)]})


def _is_absent(error: BaseException, steps: list[Step]) -> bool:
    """Whether a function lacks something that another part of its notebook may give."""
    kind = type(getattr(error, "obj", None))
    if type(error) is AttributeError and kind is not type(None):
        # No statement gives an attribute to an array, a number or a list.
        return bool(kind.__flags__ & OF_PYTHON or kind.__dictoffset__)
    if isinstance(error, UnboundLocalError):
        return False
    return isinstance(error, ABSENT) and not _nowhere(_said(error), steps)


def _nowhere(said: str, steps: list[Step]) -> bool:
    """Whether an error is of a name that no statement binds: a slip of the pen."""
    name = re.match(r"NameError: name '(\w+)' is not defined", said)
    return name is not None and not may_be_bound(steps, name[1])


def _placed(error: BaseException, number: int, line: str) -> str:
    """An error with the cell and the line where it came up."""
    return f"{_said(error)}, in cell {number}: {line[:100]}"


def _said(error: BaseException, bare: bool = False) -> str:
    try:
        text = " ".join(str(error).split())[:500]
    except BaseException:
        text = "(no message)"
    return text if bare else f"{type(error).__name__}: {text}"


def _line(error: BaseException) -> str:
    """The last line of the submission that was running."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith("<cell ")
    ]
    return (frames[-1].line or "")[:200] if frames else ""


def _limit(seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has none
        return
    limits = {"RLIMIT_AS": MEMORY, "RLIMIT_FSIZE": FILES, "RLIMIT_CPU": seconds, "RLIMIT_CORE": 0}
    for name, limit in limits.items():
        kind = getattr(resource, name)
        most = resource.getrlimit(kind)[1]
        resource.setrlimit(
            kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most)
        )


def main(seconds: int) -> None:
    """Keep the two pipes to the grader, point the standard streams at nothing, and serve; with
    `seconds` of processor time.
    """
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    _limit(seconds)
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(HIDDEN))  # None: importing it fails
    serve(source, target)


if __name__ == "__main__":
    main(int(sys.argv[1]))
