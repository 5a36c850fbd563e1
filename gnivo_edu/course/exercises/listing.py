"""A solution as text that can be pasted into a notebook: its imports, and no annotations."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any

from gnivo_edu.course.names import names


def listing(function: Callable[..., Any]) -> str:
    """The function's source with the imports it needs and without its annotations, which name types
    of ours.

    Whatever else it reads from its own module, functions and constants, is not followed: a solution
    stands alone.

    >>> from gnivo_edu.course import check
    >>> print(listing(check.step_credit.reference))
    import numpy as np
    <BLANKLINE>
    <BLANKLINE>
    def step_credit(values, reward, alpha):
    ...
        return np.diff(np.append(values, reward / alpha))
    """
    source = without_annotations(textwrap.dedent(inspect.getsource(function))).rstrip()
    space = getattr(function, "__globals__", {})
    modules = {
        name: space[name] for name in names(source)[0] if isinstance(space.get(name), ModuleType)
    }
    imports = [
        f"import {module.__name__}" + (f" as {name}" if name != module.__name__ else "")
        for name, module in sorted(modules.items(), key=lambda pair: pair[1].__name__)
    ]
    return "\n".join([*imports, "", "", source] if imports else [source])


def without_annotations(source: str) -> str:
    """Python source without annotations, otherwise as it was written.

    >>> print(without_annotations("def f(x: int, *rest: str) -> int:\\n    y: int = x  # kept"))
    def f(x, *rest):
        y = x  # kept
    """
    text = source.encode()  # the positions in a syntax tree count bytes
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def end_of(node: ast.expr | ast.arg) -> int:
        return starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)

    cuts = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg) and node.annotation:
            cuts.append(
                (
                    starts[node.lineno - 1] + node.col_offset + len(node.arg.encode()),
                    end_of(node.annotation),
                )
            )
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
            arrow = text.rindex(b"->", 0, starts[node.returns.lineno - 1] + node.returns.col_offset)
            cuts.append((len(text[:arrow].rstrip()), end_of(node.returns)))
        elif isinstance(node, ast.AnnAssign) and node.value:
            cuts.append((end_of(node.target), end_of(node.annotation)))
    for start, stop in sorted(cuts, reverse=True):
        text = text[:start] + text[stop:]
    return text.decode()
