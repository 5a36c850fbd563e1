"""Values that people give, made into the type of the parameter that they set."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Union

from gnivo_edu.names import nearest, shown

# What can be written on a command line or in a file. Anything else comes from Python code, which
# knows what it passes, and is left alone.
PLAIN = (bool, int, float, str, list, tuple, dict, type(None))
LARGEST = 2**63 - 1  # of the whole numbers: what an int64 holds


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
    from pydantic import ValidationError

    if not isinstance(value, PLAIN):
        return value
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        wanted, given, inside = _first(error.errors())
    raise ValueError(f"{'the entries of ' * inside}{name} {wanted}, got {shown(given)}")


def convert_options(
    owner: str,
    options: Mapping[str, Any],
    makers: Iterable[Callable[..., Any]],
    synonyms: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The options of `owner`, such as "the task 'gsm8k'", each of the type that the functions
    `makers` say for it.

    An option is a parameter with a default, or that can only be passed by name. Raises ValueError,
    in one line, on names that are no option (with the nearest that is one; `synonyms` says what
    others call it) and on values of another type.

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


def _first(errors: Sequence[Any]) -> tuple[str, Any, bool]:
    """What a value must be, the value, and whether it is an entry of what was given."""
    inside = [
        e for e in errors if any(isinstance(place, int) or place == "[key]" for place in e["loc"])
    ]
    # What is said of an entry says most; what is said of null or of functions says least.
    said = inside or [e for e in errors if e["type"] not in ("none_required", "not_written")]
    first = (said or errors)[0]
    if len(said) < 2 or inside:
        return _wanted(first), first["input"], bool(inside)
    words = dict.fromkeys(_wanted(e).removeprefix("must be ") for e in said)
    return f"must be {' or '.join(words)}", first["input"], False


def _wanted(error: Mapping[str, Any]) -> str:
    """An error of pydantic's in our words."""
    kind = error["type"]
    if kind == "literal_error":
        return f"must be one of {error['ctx']['expected']}".replace("'", "").replace(" or ", ", ")
    if kind in _TOO_LARGE:
        return "must be below 2^63"
    if error["loc"][-1:] == ("[key]",):
        return "have names"
    return _WORDS.get(kind, str(error["msg"]))


_TOO_LARGE = ("less_than_equal", "greater_than_equal", "int_parsing_size")
# The first errors that pydantic finds in what can be written.
_WORDS = {
    "none_required": "cannot be anything but null",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "dict_type": "must be a group of entries",
    "tuple_type": "must be a list",
    "is_instance_of": "must be a list",
    "sequence_str": "must be a list",
}


@functools.cache
def _adapter(kind: Any) -> Any:
    """pydantic's reader of a type, stricter than its own where true is no number, laxer where one
    text is a list.
    """
    from pydantic import TypeAdapter

    return TypeAdapter(_readable(kind))


def _whole(value: Any, read: Callable[[Any], Any]) -> Any:
    """A whole number: also 2.0, "4" and "1e3"."""
    return _read(value, read, wanted="must be a whole number")


def _number(value: Any, read: Callable[[Any], Any]) -> Any:
    """A number: also one of numpy's as it is, and one that is written as text."""
    return _read(value, read, wanted="must be a number")


def _read(value: Any, read: Callable[[Any], Any], wanted: str) -> Any:
    from pydantic import ValidationError
    from pydantic_core import PydanticCustomError

    if not isinstance(value, PLAIN):
        return value
    for form in (value, value if not isinstance(value, str) else _as_float(value)):
        if isinstance(form, bool):  # pydantic takes true for 1
            break
        try:
            return read(form)
        except ValidationError as error:
            if error.errors()[0]["type"] in _TOO_LARGE:
                raise
        except OverflowError:
            break
    raise PydanticCustomError("unfit", wanted)


def _as_float(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return None


def _no_text(value: Any) -> Any:
    from pydantic_core import PydanticCustomError

    if isinstance(value, str):  # "no" is a text, and no way to say false
        raise PydanticCustomError("unfit", "must be true or false")
    return value


def _one_text(value: Any) -> Any:
    return [value] if isinstance(value, str) else value  # and not a list of its letters


def _not_written(value: Any) -> Any:
    from pydantic_core import PydanticCustomError

    if not isinstance(value, PLAIN):
        return value
    raise PydanticCustomError("not_written", "cannot be written: it is set in Python code")


def _readable(kind: Any) -> Any:
    from pydantic import BeforeValidator, Field, WrapValidator

    leaves = {
        bool: Annotated[bool, BeforeValidator(_no_text)],
        int: Annotated[int, Field(ge=-LARGEST, le=LARGEST), WrapValidator(_whole)],
        float: Annotated[float, WrapValidator(_number)],
    }
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    collection = origin or kind
    if origin in (Union, types.UnionType):
        return Union[tuple(_readable(member) for member in members)]  # noqa: UP007  # of a tuple
    if kind in leaves:
        return leaves[kind]
    if kind in (str, type(None)) or origin is Literal:
        return kind
    if kind in (Any, object) or not isinstance(collection, type):
        return Any
    if issubclass(collection, Mapping):
        keys, entries = members or (Any, Any)
        return dict[keys, _readable(entries)]  # type: ignore[valid-type,misc]
    if issubclass(collection, Iterable):
        entry = _readable(members[0]) if members else Any
        many: Any = tuple[entry, ...] if collection is tuple else Sequence[entry]  # type: ignore[valid-type]
        takes_text = members and (members[0] is str or str in typing.get_args(members[0]))
        return Annotated[many, BeforeValidator(_one_text)] if takes_text else many
    # What is left are functions, arrays and other objects.
    return Annotated[Any, BeforeValidator(_not_written)]
