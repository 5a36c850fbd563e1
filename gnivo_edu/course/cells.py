"""A notebook's code cells as Python statements; what IPython adds is read as IPython reads it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)  # what parsing may raise
RUN_HERE = ("time", "capture", "prun")  # magics whose Python runs in the notebook
PYLAB = """
import numpy, matplotlib
from matplotlib import pyplot
from numpy import *
from matplotlib.pyplot import *
np, plt = numpy, pyplot
"""


def python(source: str) -> tuple[str, list[ast.stmt]]:
    """A cell as Python text, and its statements. Raises what `ast.parse` raises where Jupyter would
    not run it either.

    >>> text, (files, _, area) = python("files = !ls\\n%matplotlib inline\\narea = lambda r: r * r")
    >>> ast.unparse(files), ast.unparse(area)
    ("files = get_ipython().getoutput('ls')", 'area = lambda r: r * r')
    >>> [ast.unparse(node) for node in python("%%time\\nk = 2")[1]]
    ['k = 2']
    """
    try:
        return source, ast.parse(source).body
    except (SyntaxError, ValueError):
        text = _plain_magics(source) or _as_python()(source)
        return (source if source.startswith("%%") else text), [*_unfolded(ast.parse(text).body)]


def _plain_magics(source: str) -> str | None:
    """The cell as Python if all that is not are lines such as `%matplotlib inline`, each after
    whole statements: then IPython need not be asked, which takes its time.
    """
    lines, begun = source.split("\n"), 0
    try:
        for i, line in enumerate(lines):
            magic = re.fullmatch(r"%([A-Za-z_]\w*)\s*(.*[^\\?\s])?\s*", line)
            if magic:
                ast.parse("\n".join(lines[begun:i]))
                begun = i + 1
                name, rest = magic[1], magic[2] or ""
                lines[i] = f"get_ipython().run_line_magic({name!r}, {rest!r})"
        text = "\n".join(lines)
        ast.parse(text)
    except ERRORS:
        return None
    return text


def _unfolded(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements, with those that a magic would run in the place of its call."""
    for node in body:
        match node:
            case ast.Expr(ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython")), kind), values)):
                texts = [value.value for value in values if isinstance(value, ast.Constant)]
                yield from _magic(node, kind, [str(text) for text in texts])
            case _:
                yield node


def _magic(node: ast.stmt, kind: str, texts: list[str]) -> Iterator[ast.stmt]:
    match kind, texts:
        case "run_cell_magic", [name, line, body] if name in RUN_HERE:
            for inner in python(body)[1]:
                yield ast.increment_lineno(inner, 1)
            if name == "capture" and (captured := re.findall(r"(?<!\S)[^\W\d]\w*", line)):
                yield from ast.parse(f"{captured[0]} = get_ipython().captured()").body
        case "run_line_magic", [("time" | "prun"), line]:
            yield from python(line)[1]
        case "run_line_magic", ["pylab", _]:
            yield from ast.parse(PYLAB).body
        case _:
            yield node


@cache
def _as_python() -> Callable[[str], str]:
    """IPython's transformation of a cell. Its module is read alone where that works: the whole of
    IPython takes as long as all the rest of a process.
    """
    spec = importlib.util.find_spec("IPython")
    loaded = "IPython" in sys.modules
    if spec is None or spec.submodule_search_locations is None:
        raise SyntaxError("IPython is not installed: magics cannot be read")
    if not loaded:
        for name in ("IPython", "IPython.core", "IPython.utils"):
            folder = Path(spec.submodule_search_locations[0], *name.split(".")[1:])
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = [str(folder)]
    try:
        transformer = importlib.import_module("IPython.core.inputtransformer2")
    finally:
        if not loaded:  # the notebook may import the whole
            for name in [name for name in sys.modules if name.split(".")[0] == "IPython"]:
                del sys.modules[name]
    convert: Callable[[str], str] = transformer.TransformerManager().transform_cell
    return convert
