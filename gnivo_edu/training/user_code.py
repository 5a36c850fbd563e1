"""Code of the user's in a run, and the plain values that it holds: what has no version of its own,
found however it is wrapped.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import os
import sysconfig
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

import toy_envs

# Code in these folders has a version: ours, and that of libraries.
_OURS = (Path(__file__).resolve().parents[1], Path(toy_envs.__file__).resolve().parent)
_LIBRARIES = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")
)
MOST_PARTS = 100  # of a list in which functions are looked for


def code_of(things: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """(name, hash of the source) of the user's functions, classes and modules among things, and of
    those that these hold or name.
    """
    for thing, _ in _within(things, set(), depth=12):
        file = _file(thing)
        if file is not None and _is_users(thing):
            yield _source(thing, file)


def values_of(things: tuple[Any, ...]) -> dict[str, str]:
    """Hashes of the plain values that the user's things hold, by what they are called."""
    texts: dict[str, list[str]] = {}
    for thing, held in _within(things, set(), depth=12):
        named = thing.func if isinstance(thing, partial) else thing
        of = getattr(named, "__qualname__", type(named).__qualname__)
        for name, x in held.items():
            if (text := _text(x)) is not None:
                texts.setdefault(f"{name} of {of}", []).append(text)
    return {name: _hash("\n".join(each)) for name, each in texts.items()}


def _text(x: Any, depth: int = 8) -> str | None:
    """A plain value in words; None for what is none, and for the name of a place."""
    if depth == 0 or (isinstance(x, str) and os.path.isabs(x)):
        return None
    kind = type(x).__name__
    if x is None or isinstance(x, (bool, int, float, complex, str, bytes, np.generic)):
        return f"{kind} {x!r}"
    if isinstance(x, torch.Tensor):
        if x.is_meta or x.requires_grad or x.layout != torch.strided:
            return None
        flat = x.detach().cpu().contiguous().reshape(-1)
        return f"{x.dtype} {list(x.shape)} {_digest(flat.view(torch.uint8).numpy())}"
    if isinstance(x, np.ndarray):
        return None if x.dtype.hasobject else f"{x.dtype} {x.shape} {_digest(x)}"
    if isinstance(x, dict):
        pairs = ((repr(name), _text(part, depth - 1)) for name, part in x.items())
        return f"{kind} {sorted(pair for pair in pairs if pair[1] is not None)}"
    if isinstance(x, (list, tuple, set, frozenset)):
        parts = [text for part in x if (text := _text(part, depth - 1)) is not None]
        return f"{kind} {sorted(parts) if isinstance(x, (set, frozenset)) else parts}"
    return None


def _digest(x: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


def _source(thing: Any, file: Path) -> tuple[str, str]:
    """A whole file, with the helpers in it; of a script that is run, or a notebook, what it defines
    alone: there a run is told to go on for longer.
    """
    if getattr(thing, "__module__", "") != "__main__" and file.is_file():
        return file.name, hashlib.sha256(file.read_bytes()).hexdigest()
    try:
        text = inspect.getsource(thing)
    except (OSError, TypeError):  # typed in, and not kept
        text = thing.__qualname__
    return thing.__qualname__, hashlib.sha256(text.encode()).hexdigest()


def _file(thing: Any) -> Path | None:
    try:
        return Path(inspect.getfile(inspect.unwrap(thing))).resolve()
    except (TypeError, OSError):  # built in
        return None


def _is_users(thing: Any) -> bool:
    """Whether a function, class or module is neither ours nor of a library."""
    file = _file(thing)
    if file is None:
        return getattr(thing, "__module__", None) == "__main__"
    return not _lies_in(file, _OURS) and not _is_library(file)


def _is_library(file: Path) -> bool:
    return _lies_in(file, _LIBRARIES) or not {"site-packages", "dist-packages"}.isdisjoint(
        file.parts
    )


def _lies_in(file: Path, folders: tuple[Path, ...]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)


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
            if not ours or _is_users(thing.func):
                yield thing, {"arguments": thing.args, **thing.keywords}
        elif isinstance(thing, MethodType):
            parts = (thing.__func__, thing.__self__)
        elif isinstance(thing, FunctionType):
            inside = not _is_users(thing)
            names = thing.__code__.co_freevars
            cells = {
                name: cell.cell_contents
                for name, cell in zip(names, thing.__closure__ or (), strict=True)
                if _filled(cell)
            }
            held = {**cells, "defaults": (thing.__defaults__, thing.__kwdefaults__)}
            yield thing, {} if inside else held
            parts = (*cells.values(), *_named(thing))
        elif isinstance(thing, ModuleType):
            yield thing, {}
        elif isinstance(thing, type):
            for kind in thing.__mro__[:-1]:
                yield kind, {}
                if _is_users(kind):
                    parts += tuple(x for x in vars(kind).values() if isinstance(x, FunctionType))
        elif isinstance(thing, (list, tuple, dict)):
            if not ours and len(thing) <= MOST_PARTS:
                parts = tuple(thing.values() if isinstance(thing, dict) else thing)
        elif hasattr(thing, "__dict__") and not isinstance(thing, nn.Module):
            kind = type(thing)
            file = _file(kind)
            users = _is_users(kind)
            if users:
                later = _set_later(kind)
                yield thing, {name: x for name, x in vars(thing).items() if name not in later}
            if users or (file is not None and not _is_library(file)):
                inside, parts = not users, (kind, *vars(thing).values())
            elif "__wrapped__" in vars(thing):  # by functools.lru_cache
                parts = (thing.__wrapped__,)
        yield from _within(parts, seen, depth=depth - 1, ours=inside)


def _set_later(kind: type) -> set[str]:
    """Attributes that methods fill in or count on after an object is made: no settings of its."""
    names = set()
    for name, x in (pair for base in kind.__mro__ for pair in vars(base).items()):
        if isinstance(x, cached_property):
            names.add(name)
        elif isinstance(x, FunctionType) and name not in ("__init__", "__post_init__"):
            stored = (i.argval for i in dis.get_instructions(x) if i.opname == "STORE_ATTR")
            names.update(stored)
    return names


def _named(function: FunctionType) -> list[Any]:
    """What a function wraps; and, of a user's, the user's functions, classes and modules that its
    code names.
    """
    named = [vars(function)["__wrapped__"]] if "__wrapped__" in vars(function) else []
    if not _is_users(function):
        return named
    names: set[str] = set()
    codes = [function.__code__]
    for code in codes:  # those of inner functions are added as they are met
        names.update(code.co_names)
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    places, seen = [function.__globals__], set()
    for place in places:
        for name in sorted(names & place.keys()):
            thing = place[name]
            wrapped = "__wrapped__" in getattr(thing, "__dict__", {})
            if not (wrapped or isinstance(thing, (FunctionType, type, ModuleType))):
                continue
            if id(thing) not in seen and (wrapped or _is_users(thing)):
                seen.add(id(thing))
                named.append(thing)
                if isinstance(thing, ModuleType):
                    places.append(vars(thing))
    return named


def _filled(cell: Any) -> bool:
    """A cell is empty until its variable is set."""
    try:
        cell.cell_contents  # noqa: B018  # reading it is the question
    except ValueError:
        return False
    return True


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
