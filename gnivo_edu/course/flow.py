"""Which statements of a notebook a function needs; nothing is run.

Only a part of a notebook is run, for the rest may take an hour. The *narrow* part are the
statements that bind a name which the function reads, and what these read in turn. Often that is
all. But an object may be changed without being bound: by `x.append(1)` in a loop, by a function
that is called, by a decorator that registers, through a second name. So the *wide* part has, of
every such object, all statements that mention it, and those of whatever they bind. What cannot be
changed (modules, functions, numbers and texts) spreads nothing. The files are one such object,
for a name of a file may be put together: what reads one needs all that may write one. Settings of
packages that it uses belong to both.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Sequence, Set

from gnivo_edu.course.statements import (
    FILES_READ,
    FILES_WRITTEN,
    Cell,
    Step,
    asking,
    has_doors,
    is_check,
    may_be_bound,
    step_of,
)

BUILTINS = frozenset(dir(builtins)) | {"get_ipython", "display"}
# What is called to show something, and changes nothing; what else a check has but the check itself.
SHOWING = {"print", "display", "help", "len", "range", "str", "repr", "round", "type"}
ADVICE = ("hint", "solution", "statement", "stub")
# Magics that do something where a part of a notebook is run: the stand-in passes over all others.
AT_WORK = {"writefile", "file", "env", "set_env", "cd", "run", "time", "prun"}


def plans(statements: Sequence[Cell], exercise: str) -> Iterator[frozenset[int]]:
    """Which statements to run, by their numbers, in the order in which to try them.

    First up to the last call of the exercise's check, whatever is bound to its names later, narrow
    and wide; then to the end of the notebook. What would run nothing new is left out, and so is
    what only shows something: without it most wrong answers have one way, and are run once.
    """
    steps = [step_of(node) for _, node in statements]
    showing = SHOWING.difference(*(step.binds for step in steps))
    steps = [Step(ast.Pass(), set(), set()) if _is_idle(step, showing) else step for step in steps]
    ways: list[frozenset[int]] = []
    for chosen in _candidates(steps, exercise):
        if not any(chosen <= other for other in ways):
            ways.append(chosen)
            yield chosen


def _is_idle(step: Step, showing: Set[str]) -> bool:
    """Whether a statement changes nothing: it prints, it asks for a hint, it is a magic without
    effect.
    """
    match step.node:
        case ast.Expr(ast.Call(ast.Attribute(ast.Attribute(module, _), word), [], [])):
            return word in ADVICE and is_check(module, {"check"})
        case ast.Expr(ast.Call(ast.Attribute(_, kind), [ast.Constant(magic), *_])) if kind in (
            "run_line_magic",
            "run_cell_magic",
        ):
            return magic not in AT_WORK
        case ast.Expr():
            return not step.binds and step.reads <= showing
    return False


def _candidates(steps: Sequence[Step], exercise: str) -> Iterator[frozenset[int]]:
    checks = asking(steps, exercise)
    if checks:
        before = steps[: checks[-1]]
        last = frozenset({checks[-1]})
        wishes = steps[checks[-1]].reads
        yield _narrow(before, wishes) | last
        yield _wide(before, wishes) | last
    if any(exercise in step.binds for step in steps):
        yield _narrow(steps, {exercise})
        yield _wide(steps, {exercise})


def _narrow(steps: Sequence[Step], wishes: Iterable[str]) -> frozenset[int]:
    chosen = _binders(steps, wishes)
    return chosen | _settings(steps, chosen)


def _binders(steps: Sequence[Step], wishes: Iterable[str]) -> frozenset[int]:
    chosen = {i for i, step in enumerate(steps) if _is_always_run(step.node)}
    wanted = list(wishes)
    for wish in wanted:  # the list grows while it is read: what is chosen has wishes of its own
        for i, step in enumerate(steps):
            if wish in step.binds and i not in chosen:
                chosen.add(i)
                wanted += step.reads
    return frozenset(chosen)


def _is_always_run(node: ast.stmt) -> bool:
    """Whether a statement gives what no name tells: all names of a module, a file, a setting."""
    match node:
        case ast.ImportFrom(_, [ast.alias("*")]) | ast.ImportFrom("__future__"):
            return True
        case ast.Expr(ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython"))), [first, *_])):
            magics = ("writefile", "file", "env", "set_env", "cd", "run")
            return isinstance(first, ast.Constant) and first.value in magics
    return False


def _wide(steps: Sequence[Step], wishes: Iterable[str]) -> frozenset[int]:
    fixed = _fixed(steps) | BUILTINS
    chosen = set(_narrow(steps, wishes))
    reads = set().union(*(steps[i].reads for i in chosen))
    names = reads.union(*(steps[i].binds for i in chosen))
    if not has_doors(steps):
        fixed |= {name for name in names - fixed if not may_be_bound(steps, name)}
    if names <= fixed and _binders(steps, reads) <= chosen and not _reads_files(steps, chosen):
        return frozenset(chosen)  # nothing here can be changed: the rest need not be looked at
    # Through the functions that a statement calls it mentions what they mention.
    mentions = [step.mentions() for step in steps]
    defined = {name: i for i, step in enumerate(steps) for name in step.binds}
    grown = True
    while grown:
        grown = False
        for step, mine in zip(steps, mentions, strict=True):
            before = len(mine)
            for name in step.reads & defined.keys():
                mine |= mentions[defined[name]]
            grown |= len(mine) > before
    todo = list(chosen)
    for i in todo:  # grows, too
        objects = (steps[i].reads | steps[i].binds) - fixed
        if FILES_READ in mentions[i]:
            objects.add(FILES_WRITTEN)
        more = {j for j, mine in enumerate(mentions) if mine & objects} - chosen
        more |= _binders(steps, steps[i].reads) - chosen
        chosen |= more
        todo += sorted(more)
    return frozenset(chosen)


def _reads_files(steps: Sequence[Step], chosen: Iterable[int]) -> bool:
    return any(FILES_READ in steps[i].mentions() for i in chosen)


def _settings(steps: Sequence[Step], chosen: Iterable[int]) -> frozenset[int]:
    """Bare calls such as `torch.set_default_dtype(torch.float64)`, which read nothing but what is
    imported from packages that the chosen statements use, and these imports.
    """
    imports = [step.node for step in steps if isinstance(step.node, ast.Import | ast.ImportFrom)]
    packages = {"sys"} | {package for i in chosen for _, package in _imported(steps[i].node)}
    bound = {name for node in imports for name, package in _imported(node) if package in packages}
    bare = {
        i
        for i, step in enumerate(steps)
        if isinstance(step.node, ast.Expr) and step.reads and step.reads <= bound | BUILTINS
    }
    if not bare:
        return frozenset()
    return _binders(steps, {name for i in bare for name in steps[i].reads}) | bare


def _imported(node: ast.AST) -> list[tuple[str, str]]:
    """Names that imports bind, inside functions too, and the packages that they come from."""
    pairs = []
    for part in ast.walk(node):
        if isinstance(part, ast.Import | ast.ImportFrom):
            for alias in part.names:
                module = (part.module or "") if isinstance(part, ast.ImportFrom) else alias.name
                package = module.split(".")[0]
                pairs.append((alias.asname or alias.name.split(".")[0], package))
    return pairs


def _fixed(steps: Iterable[Step]) -> set[str]:
    """Names that only ever stand for what cannot be changed."""
    kinds: dict[str, bool] = {}
    for step in steps:
        for name in step.binds:
            kinds[name] = kinds.get(name, True) and _is_fixed(step.node)
    return {name for name, is_fixed in kinds.items() if is_fixed}


def _is_fixed(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return not node.decorator_list and not any(
            isinstance(n, ast.Global) for n in ast.walk(node)
        )
    if isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) for t in node.targets):
        if isinstance(node.value, ast.Lambda):
            return True
        plain = ast.Constant | ast.UnaryOp | ast.unaryop | ast.BinOp | ast.operator
        return all(isinstance(part, plain) for part in ast.walk(node.value))
    return isinstance(node, ast.Import | ast.ImportFrom)
