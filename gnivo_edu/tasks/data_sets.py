"""Rows of a data set, from a file, a folder, or the Hugging Face hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from gnivo_edu.files import read_records
from gnivo_edu.machine import hub_answers
from gnivo_edu.names import home, shown, visible
from gnivo_edu.tasks.csv_rows import read_csv

Row = dict[str, Any]
# How `datasets` calls what a file holds.
_FORMATS = {"json": "json", "jsonl": "json", "parquet": "parquet", "csv": "csv", "arrow": "arrow"}


def load_rows(path_or_id: str | PathLike[str], split: str, config: str | None = None) -> list[Row]:
    """Rows of a data set, as dictionaries.

    `path_or_id` is a file (.jsonl, .json, .parquet, .csv, .arrow); a folder that holds `split` as
    such a file, or that `save_to_disk` wrote; or a hub id, `config` the name of its configuration.
    A .json is one list, or a record a line. Parquet, arrow and the hub need `datasets`. Raises
    ValueError, in one line, where there is nothing to read, and on a row that is no record.
    """
    name = fspath(path_or_id)
    path = home(name, what="path_or_id")
    # What `save_to_disk` wrote is read as a folder, by `datasets`.
    saved = any((path / f"dataset_{kind}.json").is_file() for kind in ("info", "dict"))
    if path.is_dir() and not saved:
        files = [path / f"{split}.{ending}" for ending in ("jsonl", *_FORMATS)]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise ValueError(
                f"the folder {name!r} holds no {split}.jsonl (or .json, .parquet, .csv, .arrow)"
            )
        path = file
    if path.is_file() and path.suffix in (".jsonl", ".json"):
        return read_records(path)
    if path.is_file() and path.suffix == ".csv":
        return read_csv(path)
    if not path.exists() and (
        name.startswith(("/", ".", "~")) or name.count("/") != 1 or path.suffix[1:] in _FORMATS
    ):
        raise ValueError(
            f"there is no file or folder {name!r}: give one, or a hub id such as owner/name"
        )
    return _read_with_datasets(path, name, split=split, config=config)


def has_splits(path_or_id: str | PathLike[str]) -> bool:
    """Whether the data have splits of their own, as a folder and a hub id may, and a file has not.

    >>> has_splits("owner/name")
    True
    """
    path = home(path_or_id, what="path_or_id")
    return not (path.is_file() or (path / "dataset_info.json").is_file())


def _read_with_datasets(path: Path, name: str, split: str, config: str | None) -> list[Row]:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"reading {name!r} needs datasets ({error}): pip install 'gnivo-edu[llm]'"
        ) from error
    try:
        if path.exists():
            datasets.disable_progress_bars()  # they are for what comes from the hub
            datasets.logging.set_verbosity(logging.CRITICAL)  # the error below says it
        if path.is_file():
            kind = _FORMATS.get(path.suffix[1:])
            if kind is None:
                raise ValueError(f"unknown kind of file; known: {', '.join(_FORMATS)}")
            data: Any = datasets.load_dataset(kind, data_files=str(path), split="train")
        elif path.is_dir():
            data = datasets.load_from_disk(str(path))
            data = data[split] if isinstance(data, datasets.DatasetDict) else data
        else:
            with _offline(not hub_answers(name, "dataset")):
                data = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # whatever a loader raises on what it cannot read or reach
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        hint = "" if path.exists() else " (a hub id needs a connection, or the files in the cache)"
        raise ValueError(
            f"the data set {name!r}, split {split!r}, could not be read{hint}: {reason}"
        ) from error
    return [dict(row) for row in data]


@contextmanager
def _offline(unreachable: bool) -> Iterator[None]:
    """Look into the cache alone: a loader that finds no hub tries again and again."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = unreachable or before[0]
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def first_rows(rows: Sequence[Any], limit: int | None) -> Sequence[Any]:
    """The first `limit` rows, or all of them where it is None; ValueError where it is no whole
    number from 1 on.

    >>> first_rows("abc", 2), first_rows("abc", None)
    ('ab', 'abc')
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(
            f"limit is how many problems to keep, a whole number from 1 on, got {limit!r}"
        )
    return rows[:limit]


def text_field(row: Row, names: Sequence[str], number: int, source: str) -> str:
    """The text of the first of `names` that the row has; ValueError, in one line with the row's
    number, where there is none, and where it is no text.

    >>> text_field({"prompt": "Once"}, ("prompt", "text"), number=0, source="some.jsonl")
    'Once'
    >>> text_field({"prompt": ["Once"]}, ("prompt", "text"), number=0, source="some.jsonl")
    Traceback (most recent call last):
    ValueError: row 0 of 'some.jsonl': its prompt must be a text, got ['Once']
    """
    text = field(row, names)
    if text is None or text == "":
        listed = ", ".join(names[:-1]) + " or " * (len(names) > 1) + names[-1]
        columns = visible(", ".join(row))
        raise ValueError(f"row {number} of {source!r} has no {listed}; its columns: {columns}")
    name = next(name for name in names if field(row, (name,)) is not None)
    if not isinstance(text, str):
        raise ValueError(
            f"row {number} of {source!r}: its {name} must be a text, got {shown(text)}"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"row {number} of {source!r}: its {name} holds half a letter, "
            f"{shown(text[error.start])}, and is no text"
        ) from error
    return text


def field(row: Row, names: Sequence[str]) -> Any:
    """The first of `names` that the row has with something in it, in any case; None if there is
    none.

    >>> row = {"Problem": "2+2?", "answer": None}
    >>> field(row, ["question", "problem"]), field(row, ["answer"])
    ('2+2?', None)
    """
    lower = {key.lower(): value for key, value in row.items()}
    return next((value for name in names if (value := lower.get(name)) is not None), None)
