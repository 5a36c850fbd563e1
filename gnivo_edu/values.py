"""Values that people give, made into the type of the parameter that they set."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, Union

from gnivo_edu.names import nearest, shown

# What can be written on a command line or in a file. Anything else comes from Python code, which
# knows what it passes, and is left alone.
PLAIN = (bool, int, float, str, list, tuple, dict, type(None))
LARGEST = 2**63 - 1  # of the whole numbers: what an int64 holds


class _UnfitError(ValueError):
    """What a value must be, without the name of the parameter; `inside`: an entry of it must be."""

    def __init__(self, wanted: str, value: Any, inside: bool = False) -> None:
        super().__init__(f"{wanted}, got {shown(value)}")
        self.wanted, self.value, self.inside = wanted, value, inside


def convert(name: str, value: Any, kind: Any) -> Any:
    """A value of the type `kind`, an annotation: 1 becomes 1.0, 2.0 becomes 2, and one text a list
    of one, where that is meant.

    True and false are no numbers, and no texts. Raises ValueError, in one line that begins with
    `name`, where no value of that type is meant.

    >>> convert("steps", 2.0, int), convert("stop", "###", tuple[str, ...])
    (2, ('###',))
    >>> convert("alpha", True, float | None)
    Traceback (most recent call last):
    ValueError: alpha must be a number, got True
    """
    try:
        return _converted(value, kind)
    except _UnfitError as error:
        raise ValueError(f"{'the entries of ' * error.inside}{name} {error}") from None


def convert_options(
    owner: str,
    options: Mapping[str, Any],
    makers: Iterable[Callable[..., Any]],
    hidden: Iterable[str] = (),
    synonyms: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The options of `owner`, such as "the task 'gsm8k'", each of the type that the functions
    `makers` say for it.

    An option is a parameter with a default, or that can only be passed by name; those of `hidden`
    are not to be set. Raises ValueError, in one line, on names that are no option (with the nearest
    that is one; `synonyms` says what others call it) and on values of another type.

    >>> def boil(eggs, minutes: float = 4): ...
    >>> convert_options("the egg", {"minutes": 5}, [boil])
    {'minutes': 5.0}
    >>> convert_options("the egg", {"minute": 5}, [boil])
    Traceback (most recent call last):
    ValueError: the egg has no option 'minute'; did you mean 'minutes'?
    """
    kinds: dict[str, Any] = {}
    makers = list(makers)
    for maker in makers:
        kinds |= option_kinds(maker)
    for name in hidden:
        kinds.pop(name, None)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in _parameters(makers[-1]))
    for name in options:
        if name not in kinds and not takes_any:
            meant = (synonyms or {}).get(name, name)
            hint = nearest(meant, kinds) if kinds else "it takes none"
            raise ValueError(f"{owner} has no option {shown(name)}; {hint}")
    return {name: convert(name, value, kinds.get(name, Any)) for name, value in options.items()}


def option_kinds(maker: Callable[..., Any]) -> dict[str, Any]:
    """The options of a function or class, and the type of each; Any where it does not say one.

    >>> def boil(eggs, minutes: float = 4, *, salt: bool): ...
    >>> option_kinds(boil)
    {'minutes': <class 'float'>, 'salt': <class 'bool'>}
    """
    inner: Any = maker
    while isinstance(inner, partial):
        inner = inner.func
    if isinstance(inner, type):
        inner = inspect.getattr_static(inner, "__init__")
    try:
        hints = typing.get_type_hints(inner)
    except Exception:  # an annotation of somebody's own may name what cannot be looked up
        hints = {}
    return {
        p.name: hints.get(p.name, Any)
        for p in _parameters(maker)
        if p.kind is p.KEYWORD_ONLY
        or (p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty)
    }


def _parameters(maker: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(maker).parameters.values())
    except (TypeError, ValueError):  # what is written in C need not say what it takes
        return [inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)]


def _converted(value: Any, kind: Any) -> Any:
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(value, members)
    if origin is Literal:
        if any(value == one and type(value) is type(one) for one in members):
            return value
        raise _UnfitError(f"must be one of {', '.join(map(str, members))}", value)
    if kind in _READERS:
        return _READERS[kind](value)
    collection = origin or kind
    if kind in (Any, object) or not isinstance(collection, type) or not isinstance(value, PLAIN):
        return value
    if issubclass(collection, Mapping):
        return _group(value, members)
    if issubclass(collection, Iterable):
        return _list(value, collection, members=members)
    # What is left are functions, arrays and other objects.
    raise _UnfitError("cannot be written: it is set in Python code", value)


def _one_of(value: Any, members: tuple[Any, ...]) -> Any:
    """A value of one of several types: the one that it has already, else the first that fits."""
    errors = []
    for member in sorted(members, key=lambda member: type(value) is not member):
        try:
            return _converted(value, member)
        except _UnfitError as error:
            errors.append(error)
    # What is said of None, or of functions, says least.
    said = [error for error in errors if error.wanted.startswith(("must be", "have"))]
    inside = [error for error in said if error.inside]
    if len(said) > 1 and not inside:
        wanted = " or ".join(dict.fromkeys(error.wanted.removeprefix("must be ") for error in said))
        raise _UnfitError(f"must be {wanted}", value)
    raise (inside or said or errors)[0]


def _nothing(value: Any) -> None:
    if value is not None:
        raise _UnfitError("cannot be anything but null", value)


def _flag(value: Any) -> bool:
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise _UnfitError("must be true or false", value)


def _whole(value: Any) -> Any:
    wanted = "must be a whole number"
    number = _number(value, wanted)
    if not isinstance(value, int | float | str):
        return value  # a number of numpy's, say
    if not number.is_integer():
        raise _UnfitError(wanted, value)
    try:
        exact = int(value)
    except ValueError:  # a text such as 1e3
        exact = int(number)
    if abs(exact) > LARGEST:
        raise _UnfitError("must be below 2^63", value)
    return exact


def _number(value: Any, wanted: str = "must be a number") -> Any:
    if not isinstance(value, PLAIN):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _UnfitError(wanted, value)
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise _UnfitError(wanted, value) from None


def _text(value: Any) -> Any:
    if isinstance(value, PLAIN) and not isinstance(value, str):
        raise _UnfitError("must be text", value)
    return value


_READERS: dict[Any, Callable[[Any], Any]] = {
    type(None): _nothing,
    bool: _flag,
    int: _whole,
    float: _number,
    str: _text,
}


def _group(value: Any, members: tuple[Any, ...]) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise _UnfitError("must be a group of entries", value)
    key_kind, kind = members or (Any, Any)
    for key in value:
        if key_kind is str and not isinstance(key, str):
            raise _UnfitError("have names", key, inside=True)
    return {key: _entry(entry, kind) for key, entry in value.items()}


def _list(value: Any, collection: type, members: tuple[Any, ...]) -> Any:
    kind = members[0] if members else Any
    if isinstance(value, str) and _takes_text(kind):
        value = [value]  # one text is a list of one, and not one of its letters
    if not isinstance(value, list | tuple):
        raise _UnfitError("must be a list", value)
    entries = [_entry(entry, kind) for entry in value]
    return tuple(entries) if collection is tuple or isinstance(value, tuple) else entries


def _takes_text(kind: Any) -> bool:
    return kind is str or str in typing.get_args(kind)


def _entry(value: Any, kind: Any) -> Any:
    try:
        return _converted(value, kind)
    except _UnfitError as error:
        raise _UnfitError(error.wanted, error.value, inside=True) from None
