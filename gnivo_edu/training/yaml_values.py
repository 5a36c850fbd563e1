"""Values as people write them, in a file of settings or as `key=value` on a command line: YAML in
which `1e-3` is a number.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


def read_file(path: str | Path) -> dict[Any, Any]:
    """The settings of a YAML file; ValueError, in one line, where it is not YAML or holds none."""
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if values is not None and not isinstance(values, dict):
        raise ValueError(f"{path} must hold settings, one `key: value` a line")
    return values or {}


def read_change(change: str) -> tuple[str, Any]:
    """Key and value of `key=value`, the value read as YAML, in which `1e-3` is a number.

    A plain word is text, and so is what YAML would cut off as a comment, or take for a mapping or a
    list although it has no brackets. Raises ValueError, in one line, on brackets that do not close.

    >>> [read_change(change)[1] for change in ("x=1e-3", "x=false", "x=[1, a]", "x=###", "x=Q:")]
    [0.001, False, [1, 'a'], '###', 'Q:']
    """
    key, equals, text = change.partition("=")
    if not equals:
        raise ValueError(f"--set takes key=value, got {change!r}")
    try:
        node = yaml.compose(text, _Loader)
        value = text.strip(" ") if _is_text(node, text) else yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        if text.lstrip().startswith(("{", "[", '"', "'")):
            raise ValueError(
                f"--set {change}: the value is not YAML: {' '.join(str(error).split())}"
            ) from error
        value = text
    return key.strip(), value


def _is_text(node: yaml.Node | None, text: str) -> bool:
    """Whether a value on the command line is to be taken as it stands."""
    if node is None:  # nothing, or a comment
        return bool(text)
    if isinstance(node, yaml.CollectionNode):
        return not node.flow_style
    is_whole = node.end_mark.index == len(text.rstrip())
    is_word = node.tag in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp")
    return node.style is None and (is_word or not is_whole)


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number; YAML 1.1 asks for a point and a sign, 1.0e-3."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
