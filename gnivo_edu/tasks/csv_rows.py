"""Rows of a table in text, as a spreadsheet writes it: a head, then a row a line, cells between
commas, semicolons or tabs.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from gnivo_edu.files import named, read_text
from gnivo_edu.names import shown

_WHOLE = re.compile(r"[-+]?(?:0|[1-9]\d{0,17})")  # 007 is a name
_DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,2})?")


def read_csv(path: str | Path) -> list[dict[str, Any]]:
    """The rows, by the names in the head; a column of numbers alone as numbers, an empty cell as
    None. What stands between cells is read off the head: the most frequent of comma, semicolon and
    tab.

    Raises ValueError, in one line that names file and line, on another encoding than UTF-8, a head
    with a name twice or without one, and a row of more cells than the head.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     print("question;result\\n2+2?;4\\n2+3?;", file=file, flush=True)
    ...     read_csv(file.name)
    [{'question': '2+2?', 'result': 4}, {'question': '2+3?', 'result': None}]
    """
    text = read_text(path)
    first = text.lstrip("\r\n").partition("\n")[0]
    between = max(",;\t", key=first.count)  # of equals the first
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    head: list[str] | None = None
    table: list[list[str | None]] = []
    try:
        for cells in reader:
            if not cells:  # an empty line
                continue
            if head is None:
                head = _head(cells, where=f"line {reader.line_num} of {named(path)}")
                continue
            if len(cells) > len(head):
                raise ValueError(
                    f"line {reader.line_num} of {named(path)} has {len(cells)} cells, the head "
                    f"{len(head)}: put a cell that holds {between!r} into double quotes"
                )
            table.append([cell or None for cell in cells] + [None] * (len(head) - len(cells)))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} of {named(path)} is no CSV: {error}") from error
    columns = [_numbers([row[place] for row in table]) for place in range(len(head or ()))]
    return [dict(zip(head or (), row, strict=True)) for row in zip(*columns, strict=True)]


def _head(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if "" in names:
        raise ValueError(f"{where}, the head, has a column without a name")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{where}, the head, has the column {shown(twice[0])} twice")
    return names


def _numbers(cells: list[str | None]) -> list[Any]:
    """A column as numbers, where every cell that is not empty holds one."""
    filled = [cell.strip() for cell in cells if cell is not None]
    for form, kind in ((_WHOLE, int), (_DECIMAL, float)):
        if filled and all(form.fullmatch(cell) for cell in filled):
            return [None if cell is None else kind(cell) for cell in cells]
    return list(cells)
