"""What one statement of a notebook reads, binds and mentions, and whether it asks for a check."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gnivo_edu.course.names import names_of

Cell = tuple[int, ast.stmt]  # number of the cell, and one of its statements
# What a function or method is called that reads, or changes, files; and how statements that call
# one mention the files, which is no name of Python's.
READING = r"open|read\w*|load\w*|genfromtxt|fromfile|exists|is_file|isfile|listdir|i?glob|getoutput"
WRITING = (
    r"write\w*|save\w*|dump|to_\w+|tofile|mkdir|makedirs|touch|rename|copy\w*|move|system|getoutput|"
    r"run|call|check_call|check_output|Popen|unlink|extractall|urlretrieve"
)
FILES_READ, FILES_WRITTEN = "files that are read", "files that are written"
# What changes names, functions and modules in ways that no name tells.
DOORS = re.compile(
    r"\b(exec|eval|compile|globals|locals|vars|setattr|delattr|asyncio|await|builtins|ctypes"
    r"|importlib|runpy|modules|user_ns|register_\w*magic|__(?!name__|init__|main__)\w+__|_i?\d+)\b"
    r"|\bget_ipython\(\)(?!\.(run_line_magic|run_cell_magic|getoutput|system)\b)"
    r"|= get_ipython\(\)\.run_line_magic"  # such as `r = %timeit -o f()`
    r"|\brun_(line|cell)_magic\('(run|store|rerun|recall|macro|reset|bash|sh|script|system|sx|python3?"
    r"|pwd|alias\w*)\b"
)
# Magics that bind names, for all that is known of them: all but these.
FOREIGN = re.compile(
    r"\brun_(line|cell)_magic\('(?!(matplotlib|timeit|time|prun|capture|writefile|file|env|set_env"
    r"|cd|pip|conda|config|html|HTML|latex|markdown|bash|sh|script)')"
)
RESULTS = {"_", "__", "___", "Out", "In", "_ih", "_oh"}  # what IPython keeps of the cells before


@dataclass(frozen=True)
class Step:
    """A statement, the names that it reads and binds, and its text."""

    node: ast.stmt
    reads: set[str]
    binds: set[str]
    text: str = ""

    def mentions(self) -> set[str]:
        """All that it names, in texts and keywords too: `globals()["one"] = 1`, `exec("one = 1")`,
        `globals().update(one=1)`.
        """
        words = self.reads | self.binds
        for part in ast.walk(self.node):
            match part:
                case ast.Constant(str(text)) if len(text) < 1000:
                    words |= set(re.findall(r"\w+", text))
                case ast.keyword(str(name)):
                    words.add(name)
                case ast.Call(ast.Name(called) | ast.Attribute(_, called)):
                    if re.fullmatch(READING, called):
                        words.add(FILES_READ)
                    if re.fullmatch(WRITING, called) or (called == "open" and _may_write(part)):
                        words.add(FILES_WRITTEN)
        if isinstance(self.node, ast.With | ast.AsyncWith) and any(
            isinstance(part, ast.Call) for inner in self.node.body for part in ast.walk(inner)
        ):
            words.add(FILES_WRITTEN)
        return words


def _may_write(call: ast.Call) -> bool:
    """Whether a call of `open` is not plainly for reading: its mode is a text with w, a, x or +, or
    is no text.
    """
    given = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    modes = [part.value for part in given if isinstance(part, ast.Constant)]
    if len(modes) < len(given) - 1:
        return True
    short = [mode for mode in modes if isinstance(mode, str) and re.fullmatch("[rwaxbt+]+", mode)]
    return any(set(mode) & set("wax+") for mode in short)


def has_doors(steps: Iterable[Step]) -> bool:
    """Whether some statement may change what a function needs in a way that no name tells, so that
    only the whole notebook is sure to do it.
    """
    return any(step.reads & RESULTS or DOORS.search(step.text) is not None for step in steps)


def may_be_bound(steps: Iterable[Step], name: str) -> bool:
    """Whether some statement binds a name, or may do so: as an attribute of a module, by a magic.

    >>> steps = [step_of(node) for node in ast.parse("values = 1\\ndef f(x): return valeus").body]
    >>> may_be_bound(steps, "values"), may_be_bound(steps, "valeus")
    (True, False)
    """
    return any(
        name in step.binds or f".{name}" in step.text or FOREIGN.search(step.text) for step in steps
    )


@functools.cache  # of every node once: a notebook is asked about several times
def step_of(node: ast.stmt) -> Step:
    """What a statement reads and binds."""
    text = ""
    try:
        text = ast.unparse(node)
        reads, binds = names_of(node, text)
        return Step(node, reads | _put_into_commands(node), binds, text)
    except (SyntaxError, RecursionError):  # an expression of thousands of brackets
        return Step(node, set(), set(), text)


def _put_into_commands(node: ast.stmt) -> set[str]:
    """The names whose values IPython puts into a command: `!echo {k} $k`."""
    if not isinstance(node, ast.Expr | ast.Assign):
        return set()
    match node.value:
        case ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython"))), [ast.Constant(str(text))]):
            inside = re.findall(r"\{([^{}]*)\}|\$([\w.]+)", text)
            return {name for pair in inside for name in re.findall(r"[^\W\d]\w*", " ".join(pair))}
    return set()


def asking(steps: Sequence[Step], exercise: str) -> list[int]:
    """The numbers of the statements that call the check of an exercise, under whatever name.

    >>> code = "from gnivo_edu.course import check as c\\nf = max\\nc.log_z(f)\\ng = c.log_z\\ng(f)"
    >>> asking([step_of(node) for node in ast.parse(code).body], "log_z")
    [2, 4]
    """
    modules, hits = {"check"}, []
    callers: set[str] = set()
    for i, step in enumerate(steps):
        node = step.node
        simple = isinstance(node, ast.Expr | ast.Assign)
        if simple and not step.reads & (modules | callers | {"gnivo_edu"}):
            continue
        called, named = False, False
        for part in ast.walk(node):
            match part:
                case ast.alias("check", str(name)) | ast.alias("gnivo_edu.course.check", str(name)):
                    modules.add(name)
                case ast.ImportFrom("gnivo_edu.course.check", aliases):
                    callers |= {a.asname or a.name for a in aliases if a.name == exercise}
                case ast.Assign([ast.Name(name)], value) if is_check(value, modules):
                    modules.add(name)
                case ast.Attribute(value, attribute) if attribute == exercise:
                    named |= is_check(value, modules)
                case ast.Call(ast.Name("getattr"), [value, ast.Constant(text)]) if text == exercise:
                    named |= is_check(value, modules)
                case ast.Name(name, ast.Load()) if name in callers:
                    called = True
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) if named or called:
                callers.add(name)
            case ast.Assign([ast.Name(name)], ast.Attribute() | ast.Lambda()) if named:
                callers.add(name)
            case _ if named or called:
                hits.append(i)
    return hits


def is_check(node: ast.expr, modules: set[str]) -> bool:
    """Whether an expression is the module of checks, under one of the names that it has."""
    if isinstance(node, ast.Attribute):
        return node.attr == "check"
    return isinstance(node, ast.Name) and node.id in modules
