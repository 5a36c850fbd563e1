"""What was handed in: the notebooks of each student, and what is wrong with those that cannot be
read. Opens regular files only, and follows no link: neither waits for a pipe nor reads a device or
another student's file.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gnivo_edu.course.isolation import Place
from gnivo_edu.course.remote import one_line
from gnivo_edu.files import once

LARGEST = 100 * 2**20  # bytes of a notebook
SKIPPED = ("__MACOSX",)  # what zip adds on a Mac; names that begin with a dot are skipped, too
OF_THE_COURSE = ("exercises", "images", "src")  # beside its notebooks; without one, nobody's


@dataclass(frozen=True)
class Notebook:
    """The code cells of a notebook, or what is wrong with it, and where it lies."""

    cells: tuple[str, ...] = ()
    problem: str = ""
    place: Place = field(default_factory=Place)


def handed_in(path: Path) -> dict[str, list[Notebook]]:
    """The notebooks of each student: of one file, or of a folder with NAME.ipynb and NAME/*.ipynb.

    Raises ValueError if there is no such file, folder or notebook.
    """
    if not path.exists():
        raise ValueError(f"there is no {path}: give a notebook, or a folder of submissions")
    if not path.is_dir():
        return {path.stem: [read(path.resolve(), Place(hidden=(path.resolve().parent,)))]}
    students: dict[str, list[Notebook]] = {}
    side_by_side = True  # all notebooks, with no student's folder that holds files
    flat = False
    empty: list[str] = []
    for entry in _entries(path):
        if entry.is_dir(follow_symlinks=False):
            name = _student(entry.name)
            notebooks = list(_of_folder(Path(entry.path), path))
            if name in OF_THE_COURSE and not notebooks:
                continue
            side_by_side &= not (notebooks or _entries(Path(entry.path)))
            if notebooks:
                students.setdefault(name, []).extend(notebooks)
            else:
                empty.append(name)
        elif entry.is_symlink() and (problem := _wrong_link(entry)):
            students.setdefault(_student(entry.name), []).append(Notebook(problem=problem))
        elif _is_notebook(entry.name):
            flat = True
            place = Place(hidden=(path.resolve(),))
            students.setdefault(_student(entry.name), []).append(read(Path(entry.path), place))
    if not students:
        raise ValueError(
            f"no notebook in {path}: give it a notebook, or a folder of NAME.ipynb or NAME/*.ipynb"
        )
    if not (flat and side_by_side):  # a class of folders: one without a notebook is a student's
        for name in empty:
            students.setdefault(name, [])
    return dict(sorted(students.items()))


def read(file: Path, place: Place | None = None) -> Notebook:
    """A notebook's code cells, of format 3 or 4; or, where it is none, what is wrong with it."""
    place = place or Place()
    try:
        cells = _code_cells(json.loads(_content(file), object_pairs_hook=once))
        return Notebook(tuple(map(_source, cells)), place=place)
    except _Unreadable as error:
        problem = f"{file.name} {error}"
    except OSError as error:
        problem = f"{file.name} cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        problem = f"{file.name} is not a notebook: it is no JSON: {error}"
    except (KeyError, TypeError, AttributeError):
        problem = f"{file.name} is not a notebook: it has no list of cells"
    return Notebook(problem=one_line(problem), place=place)


class _Unreadable(Exception):
    """What is wrong with a file, to follow its name."""


def _content(file: Path) -> bytes:
    """The bytes of a regular file that is not too large."""
    kind = os.lstat(file).st_mode
    if stat.S_ISLNK(kind):
        raise _Unreadable("is a link: hand in the file itself")
    if stat.S_ISDIR(kind):
        raise _Unreadable("is a folder without a notebook")
    if not stat.S_ISREG(kind):
        raise _Unreadable("is no regular file")
    # Should it have become something else meanwhile, opening it does not wait, nor follow.
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(file, os.O_RDONLY | careful | getattr(os, "O_BINARY", 0)), "rb") as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise _Unreadable(f"is larger than {LARGEST >> 20} MB")
    return content


def _code_cells(notebook: Any) -> list[Any]:
    if "cells" not in notebook and "worksheets" in notebook:  # format 3
        cells = [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    else:
        cells = notebook["cells"]
    return [cell for cell in cells if cell.get("cell_type") == "code"]


def _source(cell: Any) -> str:
    source = cell.get("source", cell.get("input", ""))
    return source if isinstance(source, str) else "".join(source)


def _of_folder(folder: Path, of_class: Path) -> Iterator[Notebook]:
    """The notebooks of one student, wherever in their folder."""
    own = folder.resolve()
    hidden = (of_class.resolve(),)
    todo = [folder]
    while todo:
        where = todo.pop()
        try:
            entries = _entries(where)
        except OSError as error:
            problem = f"{where.name} cannot be opened: {error.strerror}"
            yield Notebook(problem=one_line(problem))
            continue
        folders = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
        todo += reversed(folders)
        for entry in entries:
            if _is_notebook(entry.name) and Path(entry.path) not in folders:
                inside = Path(where).relative_to(folder)
                yield read(Path(entry.path), Place(own, inside, hidden))
        if not entries and _is_notebook(where.name):
            yield read(where)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        shown = [e for e in entries if not e.name.startswith(".") and e.name not in SKIPPED]
    return sorted(shown, key=lambda entry: entry.name)


def _wrong_link(entry: os.DirEntry[str]) -> str:
    """What is wrong with a link to a folder or to nothing; empty for one to a file."""
    try:
        kind = entry.stat().st_mode
    except OSError as error:  # to nothing, to itself, through a file, to a name that is too long
        return one_line(f"{entry.name} is a link that leads nowhere: {error.strerror}")
    if stat.S_ISDIR(kind):
        return one_line(f"{entry.name} is a link to a folder: hand in the folder itself")
    return ""


def _student(name: str) -> str:
    return name[: -len(".ipynb")] if _is_notebook(name) else name


def _is_notebook(name: str) -> bool:
    return name.lower().endswith(".ipynb")
