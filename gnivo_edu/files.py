"""What people write for us to read: text, settings in YAML, `key=value`, and records in JSON. Each
is read whole, or refused in one line that says where it is wrong.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from gnivo_edu.names import shown, visible

DEEPEST = 40  # brackets within brackets
_COLUMN = re.compile(r"\{\w+\}")  # in a text to be filled in; to YAML a mapping to nothing
MOST_ENTRIES = 100_000  # of a settings file, once its aliases are written out
LARGEST_SETTINGS = 4 * 2**20  # bytes
# Plain values, as JSON has them too; 2026-01-02 is a text.
_TAGS = ("null", "bool", "int", "float", "str", "seq", "map", "merge", "value")


def named(path: str | Path) -> str:
    """A path as a message has it: whole, in quotes, in one line."""
    return shown(str(path), room=1000)


def read_text(path: str | Path, largest: int | None = None) -> str:
    """The text of a file in UTF-8, with or without its mark at the beginning.

    Raises ValueError, in one line that names the file and the line, on another encoding, and on a
    file of more than `largest` bytes or that is a device; OSError where it cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        if stat.S_ISCHR(path.stat().st_mode):
            raise ValueError(f"{named(path)} is a device, and no file")
        data = file.read(-1 if largest is None else largest + 1)
    if largest is not None and len(data) > largest:
        raise ValueError(f"{named(path)} is larger than {largest >> 20} MiB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:200]:
        raise ValueError(f"{named(path)} is not text in UTF-8 (UTF-16?): save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} of {named(path)} is not UTF-8 ({error.reason}): save it as UTF-8"
        ) from error


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file of JSON Lines, an object a line, or of one list of objects.

    Raises ValueError, in one line that names file and line, on what is no JSON, on a line that is
    no object, and on an object that has a key twice.
    """
    text = read_text(path)
    if Path(path).suffix == ".json" and text.lstrip().startswith("["):
        rows = _read_json(text, where=named(path))
        places = (f"record {number} of {named(path)}" for number in range(1, len(rows) + 1))
        return [_record(row, where) for row, where in zip(rows, places, strict=True)]
    lines = enumerate(text.split("\n"), 1)
    places_and_lines = ((f"line {n} of {named(path)}", line) for n, line in lines)
    return [
        _record(_read_json(line, where), where) for where, line in places_and_lines if line.strip()
    ]


def read_object(path: str | Path) -> dict[str, Any]:
    """The JSON object of a file; ValueError, in one line, where it holds none."""
    return _record(_read_json(read_text(path), where=named(path)), where=named(path))


def read_line(line: str, where: str) -> dict[str, Any]:
    """The record of a line of JSON Lines; ValueError, in one line, where it is none."""
    return _record(_read_json(line, where), where)


def _record(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f'{where} is no record, {{"name": ...}}, but {shown(row, room=40)}')
    return row


def _read_json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{where} is not JSON: {error.msg}, {at}") from error
    except RecursionError as error:
        raise ValueError(f"{where} is not read: it is nested too deep") from error
    except ValueError as error:  # a key twice, or a number of thousands of digits
        raise ValueError(f"{where}: {visible(str(error))}") from error


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The entries of a JSON object; ValueError where a key stands twice."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} stands there twice")
    return entries


def read_settings(path: str | Path) -> dict[Any, Any]:
    """The settings of a YAML file, in which `1e-3` is a number; {} where there are none.

    Raises ValueError, in one line that names the file and the line, on what is not YAML or no
    settings, on keys that stand twice, on aliases that grow too large, and on values that are
    neither texts nor numbers, lists or groups of them.
    """
    where = named(path)
    text = read_text(path, largest=LARGEST_SETTINGS)
    try:
        values = _load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not YAML that can be read: {_reason(error)}") from error
    if values is not None and not isinstance(values, dict):
        raise ValueError(f"{where} must hold settings, one `key: value` a line")
    return values or {}


def read_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Keys and values of some `key=value`, as `read_change` reads each; ValueError, in one line,
    where a key stands twice.

    >>> read_changes(["seed=1", "options.alpha=1e-3"])
    {'seed': 1, 'options.alpha': 0.001}
    """
    values: dict[str, Any] = {}
    for key, value in map(read_change, changes):
        within = [other for other in values if f"{key}.".startswith(f"{other}.")]
        within += [other for other in values if other.startswith(f"{key}.")]
        if within:
            both = " and ".join(dict.fromkeys((within[0], key)))
            raise ValueError(f"--set has {both} twice: give each setting once")
        values[key] = value
    return values


def read_change(change: str) -> tuple[str, Any]:
    """Key and value of `key=value`, the value read as YAML, in which `1e-3` is a number.

    A plain word is text, and so is what YAML would cut off as a comment, or take for a mapping or a
    list although it has no brackets, or a text with `{column}`s. Raises ValueError, in one line, on
    brackets that do not close.

    >>> [read_change(change)[1] for change in ("x=1e-3", "x=false", "x=[1, a]", "x=###", "x=Q:")]
    [0.001, False, [1, 'a'], '###', 'Q:']
    >>> [read_change(change)[1] for change in ("x={word}", "x={a} and {b}: [c", "x=[c] {a}")]
    ['{word}', '{a} and {b}: [c', '[c] {a}']
    """
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"--set takes key=value, got {shown(change)}")
    try:
        value = text.strip(" ") if _is_text(text) else _load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        marked = text.lstrip().startswith(("{", "[", '"', "'", "&", "!"))
        if marked and not _COLUMN.search(text):
            raise ValueError(
                f"--set {visible(change)[:60]}: the value is not YAML: {_reason(error)}"
            ) from error
        value = text
    return key.strip(), value


def _is_text(text: str) -> bool:
    """Whether a value on the command line is to be taken as it stands."""
    if _COLUMN.match(text.lstrip()):
        return True
    node = yaml.compose(text, _Loader)
    if node is None:  # nothing, or a comment
        return bool(text)
    if isinstance(node, yaml.CollectionNode):
        return not node.flow_style
    if node.style is not None:  # in quotes; after | or > nothing can follow on a command line
        return node.style in ("|", ">")
    # Of "7 # a comment", "---" or "&a" YAML would read a part.
    return bool(node.tag == _tag("str") or node.value != text.strip())


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number; YAML 1.1 asks for a point and a sign, 1.0e-3. A date is a
    text.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  # as yaml has it: a table of its own for each class
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


_Loader.add_implicit_resolver(
    _tag("float"),
    re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _load(text: str) -> Any:
    """The value of a YAML document. Raises yaml.YAMLError, ValueError or RecursionError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _entries(node, {}, above=())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _entries(node: yaml.Node, counted: dict[int, int], above: tuple[int, ...]) -> int:
    """How many values a node holds, itself among them and its aliases written out.

    Raises ValueError on more than `MOST_ENTRIES` or `DEEPEST`, keys twice and values not plain.
    """
    line = node.start_mark.line + 1
    if node.tag.removeprefix(_tag("")) not in _TAGS:
        raise ValueError(f"line {line} holds {visible(node.tag)}, which is no plain value")
    if id(node) in above:
        raise ValueError(f"line {line} holds itself, by its own alias")
    if len(above) > DEEPEST:
        raise ValueError(f"line {line} is nested more than {DEEPEST} deep")
    if id(node) not in counted:
        inside = (*above, id(node))
        counted[id(node)] = 1 + sum(_entries(child, counted, inside) for child in _children(node))
        if counted[id(node)] > MOST_ENTRIES:
            raise ValueError(f"line {line} holds more than {MOST_ENTRIES:,} values")
    return counted[id(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
            if name in keys:
                line = key.start_mark.line + 1
                raise ValueError(f"line {line} has the key {shown(key.value)} a second time")
            keys.add(name)
            yield from (key, value)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return visible(" ".join(str(error).split()))
