"""Code of the user's in a run, and the plain values that it holds or reads: what has no version of
its own, found however it is wrapped.
"""

from __future__ import annotations

import ast
import dis
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache, cached_property, partial, partialmethod
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from gnivo_edu.training.plain_values import digest, in_words
from gnivo_edu.training.user_files import (
    codes_of,
    file_of,
    imported_by,
    is_library,
    is_users,
    places,
    source_of,
)

MOST_PARTS = 100  # of a list in which functions are looked for
# Methods that change a list, set or dictionary in its place.
_CHANGES = (
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem"),
    *("popleft", "remove", "setdefault", "sort", "update"),
)


def code_of(things: tuple[Any, ...]) -> dict[str, str]:
    """Hashes of the sources of the user's functions, classes and modules among things, of those
    that these hold or name, and of the files that they import; by what they are called.
    """
    sources: list[tuple[Path | str, str]] = []
    files: set[Path] = set()
    for thing, _ in _within(things, set(), depth=12):
        if not is_users(thing):
            continue
        if isinstance(thing, (FunctionType, type, ModuleType)):
            sources.append(source_of(thing))
        if isinstance(thing, FunctionType):
            package = thing.__globals__.get("__package__") or ""
            for file in imported_by(thing.__code__, package, seen=files):
                sources.append((file, digest(file.read_bytes())))
    return places(sources)


def values_of(things: tuple[Any, ...]) -> dict[str, str]:
    """Hashes of the plain values that the user's things hold, and that their code reads where it
    stands, by what they are called.
    """
    texts: dict[str, list[str]] = {}
    for thing, held in _within(things, set(), depth=12):
        named = thing.func if isinstance(thing, partial) else thing
        of = getattr(named, "__qualname__", type(named).__qualname__)
        for name, x in held.items():
            if (text := in_words(x)) is not None:
                texts.setdefault(f"{name} of {of}", []).append(text)
    return {
        name: digest("\n".join(each).encode(errors="surrogatepass")) for name, each in texts.items()
    }


def _within(
    things: Any, seen: set[int], depth: int, ours: bool = False
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Functions, classes and what holds values among things, and in what they are made of: the
    function of a partial or of a method, what a closure holds, the class and the attributes of an
    object, what the code of a user's function names. With each, the values that are the user's.
    """
    for thing in things:
        if depth == 0 or id(thing) in seen or isinstance(thing, (str, np.ndarray, torch.Tensor)):
            continue
        seen.add(id(thing))
        parts: tuple[Any, ...] = ()
        inside = ours
        if isinstance(thing, partial):
            parts = (thing.func, *thing.args, *thing.keywords.values())
            if not ours or is_users(thing.func):
                yield thing, {"arguments": thing.args, **thing.keywords}
        elif isinstance(thing, MethodType):
            parts = (thing.__func__, thing.__self__)
        elif isinstance(thing, FunctionType):
            inside = not is_users(thing)
            cells = _cells(thing)
            named, read = ([], {}) if inside else _named(thing)
            changed = _changed(thing.__code__)
            held = {name: x for name, x in (cells | read).items() if name not in changed}
            held["defaults"] = (thing.__defaults__, thing.__kwdefaults__)
            yield thing, {} if inside else held
            wrapped = vars(thing).get("__wrapped__")
            parts = (*cells.values(), *named, *([] if wrapped is None else [wrapped]))
        elif isinstance(thing, ModuleType):
            yield thing, {}
        elif isinstance(thing, type):
            for kind in thing.__mro__[:-1]:
                users = is_users(kind)
                yield kind, _settings(kind, vars(kind)) if users else {}
                if users:
                    parts += tuple(_functions(kind))
        elif isinstance(thing, (list, tuple, dict)):
            listed = tuple(thing.values() if isinstance(thing, dict) else thing)
            # Of the project's own lists, those of functions: such as the rewards of a task.
            if len(listed) <= MOST_PARTS and (not ours or all(map(callable, listed))):
                parts = listed
        elif isinstance(thing, nn.Module):
            if is_users(type(thing)):
                yield thing, {"weights": thing}
                parts = (type(thing),)
        elif hasattr(thing, "__dict__"):
            kind = type(thing)
            file = file_of(kind)
            users = is_users(kind)
            if users:
                yield thing, _settings(kind, vars(thing))
            if users or (file is not None and not is_library(file)):
                inside, parts = not users, (kind, *vars(thing).values())
            elif "__wrapped__" in vars(thing):  # by functools.lru_cache
                parts = (thing.__wrapped__,)
        yield from _within(parts, seen, depth=depth - 1, ours=inside)


def _functions(kind: type) -> Iterator[Any]:
    """What a class is made of: its methods however they are decorated, and classes inside it."""
    for x in vars(kind).values():
        if isinstance(x, property):
            yield from (f for f in (x.fget, x.fset, x.fdel) if f is not None)
        elif isinstance(x, (staticmethod, classmethod)):
            yield x.__func__
        elif isinstance(x, (cached_property, partialmethod)):
            yield x.func
        elif isinstance(x, (FunctionType, type)) or "__wrapped__" in getattr(x, "__dict__", {}):
            yield x


def _settings(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a class or of an object of it, but for Python's own and for what methods fill
    in or count on after an object is made.
    """
    names = set()
    for base in kind.__mro__:
        names |= {name for name, x in vars(base).items() if isinstance(x, cached_property)}
        functions = [f for f in _functions(base) if isinstance(f, FunctionType)]
        for function in functions:
            if function.__name__ not in ("__init__", "__post_init__"):
                changed = _changed(function.__code__)
                names |= {name[1:] for name in changed if name.startswith(".")}
    return {
        name: x for name, x in values.items() if name not in names and not name.startswith("__")
    }


def _cells(function: FunctionType) -> dict[str, Any]:
    """What a closure holds, by name; a cell is empty until its variable is set."""
    cells = {}
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:
            continue
    return cells


@cache
def _changed(function: CodeType) -> frozenset[str]:
    """Names of variables outside a function, and of attributes as `.name`, that it sets or changes
    in their place.
    """
    stored, outside = set(), set(function.co_freevars)
    for code in codes_of(function):
        for step in dis.get_instructions(code):
            if step.opname == "STORE_ATTR":
                stored.add(f".{step.argval}")
            elif step.opname == "STORE_GLOBAL" or (
                step.opname == "STORE_DEREF" and step.argval in function.co_freevars
            ):
                stored.add(step.argval)
            elif step.opname == "LOAD_GLOBAL":
                outside.add(step.argval)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # not kept, or a part of a line
        return frozenset(stored)
    for node in ast.walk(tree):
        is_stored = isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
        is_changed = isinstance(node, ast.Attribute) and node.attr in _CHANGES
        target: Any = getattr(node, "value", None) if is_stored or is_changed else None
        while isinstance(target, ast.Subscript):
            target = target.value
        if isinstance(target, ast.Attribute):
            stored.add(f".{target.attr}")
        elif isinstance(target, ast.Name) and target.id in outside:
            stored.add(target.id)
    return frozenset(stored)


def _named(function: FunctionType) -> tuple[list[Any], dict[str, Any]]:
    """(things, values) that the code of a user's function names: functions, classes, modules and
    objects of the user's; and the plain values among the variables of its module.
    """
    names: set[str] = set()
    read: set[str] = set()
    for code in codes_of(function.__code__):
        names.update(code.co_names)
        read.update(s.argval for s in dis.get_instructions(code) if s.opname == "LOAD_GLOBAL")
    named: list[Any] = []
    values: dict[str, Any] = {}
    # Of its own module a function names variables; of another, what follows a point.
    spaces = [(function.__globals__, read)]
    seen: set[int] = set()
    for space, wanted in spaces:
        changed = _changed_in(space)
        for name in sorted(wanted & space.keys()):
            thing = space[name]
            if isinstance(thing, ModuleType):
                if id(thing) not in seen and is_users(thing):
                    seen.add(id(thing))
                    named.append(thing)
                    spaces.append((vars(thing), names))
            elif (
                isinstance(thing, (list, tuple, dict, partial, MethodType))
                or "__wrapped__" in getattr(thing, "__dict__", {})
                or is_users(thing if isinstance(thing, (FunctionType, type)) else type(thing))
            ):
                named.append(thing)
            if name not in changed:
                values[name] = thing
    return named, values


def _changed_in(space: dict[str, Any]) -> set[str]:
    """Names of a module's variables that its functions set, or change in their place."""
    functions = [x for x in space.values() if isinstance(x, FunctionType)]
    here = [f for f in functions if f.__globals__ is space]
    return {name for f in here for name in _changed(f.__code__)}
