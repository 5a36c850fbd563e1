"""The process in which a submission's function runs: `python -m gnivo_edu.course.submission`,
started by the grader.

It is told the notebook's code cells and the name of a function. It runs that function's definition
and, of all other statements, only those that bind a name it needs (imports, helpers, constants).
Then it answers calls until it is stopped. It holds no check and no expected value; what the
submission prints goes nowhere.
"""

from __future__ import annotations

import ast
import linecache
import os
import re
import sys
import traceback
from typing import Any, BinaryIO

from gnivo_edu.course.names import names
from gnivo_edu.course.wire import decode, encode, receive, send

MEMORY, FILES = 4 * 2**30, 64 * 2**20  # bytes a submission may take, and write to one file
HIDDEN = ("gnivo_edu.course.check", "gnivo_edu.course.exercises")  # the answer key is not at hand


def statements(cells: list[str], name: str) -> tuple[list[tuple[int, ast.stmt]], str]:
    """What must run for the function `name`, as (cell, statement); and, if its cell is not Python,
    what is wrong.

    >>> cells = ["import numpy as np\\nimport torch", "%matplotlib inline\\nk = 2\\nplot(k)"]
    >>> cells.append("def f(x):\\n    return k * np.exp(x)")
    >>> [(cell, ast.unparse(node).splitlines()[0]) for cell, node in statements(cells, "f")[0]]
    [(1, 'import numpy as np'), (2, 'k = 2'), (3, 'def f(x):')]
    """
    written: list[tuple[int, ast.stmt]] = []
    problem = ""
    for number, source in enumerate(cells, 1):
        try:
            written += [(number, node) for node in _parse(source).body]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if re.search(rf"\b(def\s+{name}\b|{name}\s*=)", source):
                problem = f"its cell is not Python: {error}"
    flow = [names(ast.unparse(node)) for _, node in written]
    chosen = {
        i
        for i, (_, node) in enumerate(written)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    }
    wanted = [name]
    for wish in wanted:  # the list grows while it is read: what is chosen has wishes of its own
        for i, (reads, binds) in enumerate(flow):
            if wish in binds and i not in chosen:
                chosen.add(i)
                wanted += reads
    return [written[i] for i in sorted(chosen)], problem


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:
        # Notebook magics are no Python: each becomes an empty statement.
        return ast.parse(re.sub(r"(?m)^(\s*)(?:%|!).*$", r"\1pass", source))


def load(cells: list[str], name: str) -> Any:
    """The function `name` of a notebook; LookupError where it defines none, SyntaxError where its
    cell is no Python.
    """
    chosen, problem = statements(cells, name)
    namespace: dict[str, Any] = {"__name__": "submission"}
    for number, node in chosen:
        filename = f"<cell {number}>"
        linecache.cache[filename] = (1, None, cells[number - 1].splitlines(keepends=True), filename)
        try:
            exec(compile(ast.Module([node], []), filename, "exec"), namespace)
        except BaseException as error:
            problem = problem or _said(error)
    if name not in namespace:
        raise SyntaxError(problem) if problem else LookupError(f"there is no function {name}")
    return namespace[name]


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer: first whether the function was found, then calls of it."""

    def remote(number: int) -> Any:
        def call(*arguments: Any) -> Any:
            send(target, {"call": number, "arguments": [encode(value, []) for value in arguments]})
            reply = receive(source) or {}
            if "error" in reply:
                raise RuntimeError(reply["error"])
            return decode(reply["value"])

        return call

    request = receive(source) or {}
    try:
        function = load(request["cells"], request["name"])
        if not callable(function):
            raise SyntaxError(f"{request['name']} is not a function")
    except LookupError as error:
        return send(target, {"missing": str(error)})
    except SyntaxError as error:
        return send(target, {"broken": str(error)[:500]})
    send(target, {"ready": True})
    while (request := receive(source) or {}) and "arguments" in request:
        try:
            value = function(*(decode(item, remote) for item in request["arguments"]))
            send(target, {"value": encode(value, [])})
        except BaseException as error:
            send(target, {"error": [type(error).__name__, _said(error, bare=True), _line(error)]})


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


def main() -> None:
    """Keep the two pipes to the grader, point the standard streams at nothing, and serve."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    _limit(int(sys.argv[1]))
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(HIDDEN))  # None: importing it fails
    serve(source, target)


if __name__ == "__main__":
    main()
