"""Names that people give: the nearest known one, functions as `module:function`, paths; and how
names and texts from outside are shown.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any


def nearest(
    name: object, known: Iterable[str], otherwise: str | None = None, cutoff: float = 0.5
) -> str:
    """What to say to a name that nobody knows: the nearest known one, or `otherwise` (all of them).

    `cutoff`: how much of a name must be right, 0..1.

    >>> nearest("Gropo", ["gnivo", "grpo"]), nearest("zzz", ["gnivo", "grpo"])
    ("did you mean 'grpo'?", 'known: gnivo, grpo')
    >>> nearest("zzz", ["gnivo", "grpo"], otherwise="see the list")
    'see the list'
    """
    spellings = {spelling.lower(): spelling for spelling in known}
    close = difflib.get_close_matches(str(name).lower(), spellings, n=1, cutoff=cutoff)
    if close:
        return f"did you mean {spellings[close[0]]!r}?"
    return f"known: {', '.join(spellings.values())}" if otherwise is None else otherwise


class UnknownName(TypeError, ValueError):
    """A keyword that a call does not take: Python's TypeError, and a value that is refused."""


def check_keywords(
    given: Iterable[str], known: Collection[str], of: str, synonyms: Mapping[str, str]
) -> None:
    """UnknownName, in one line with the nearest name, if a keyword given to `of` is not known.

    `synonyms`: what other libraries call the same thing.

    >>> check_keywords(["beta"], ["batch", "alpha"], of="gvpo", synonyms={"beta": "alpha"})
    Traceback (most recent call last):
    gnivo_edu.names.UnknownName: gvpo takes no 'beta'; did you mean 'alpha'?
    """
    for name in given:
        if name in known:
            continue
        meanings = {n: n for n in known} | {n: m for n, m in synonyms.items() if m in known}
        close = difflib.get_close_matches(name.lower(), meanings, n=1, cutoff=0.6)
        hint = f"known: {', '.join(known)}"
        if close:
            hint = f"did you mean {meanings[close[0]]!r}?"
        raise UnknownName(f"{of} takes no {name!r}; {hint}")


def load_function(target: str) -> Callable[..., Any]:
    """The function that `module:function` names; modules are also looked for in the current folder.

    Raises ValueError, in one line, on a module that cannot be imported and on what is no function.

    >>> load_function("math:sqrt")(4.0)
    2.0
    >>> load_function("math:squrt")
    Traceback (most recent call last):
    ValueError: module 'math' has no function 'squrt'; did you mean 'sqrt'?
    """
    module_name, _, attribute = target.partition(":")
    try:
        with current_folder():
            module = importlib.import_module(module_name.removesuffix(".py"))
    # A module of the user's may raise anything while it is read, and may even call exit().
    except (Exception, SystemExit) as error:
        raise ValueError(f"module {module_name!r} cannot be imported: {one_line(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        things = vars(module).items()
        names = [n for n, x in things if getattr(x, "__module__", "") == module.__name__]
        hint = nearest(attribute, names, otherwise=f"it has {', '.join(names[:8]) or 'none'}")
        raise ValueError(f"module {module_name!r} has no function {attribute!r}; {hint}")
    return function


@contextmanager
def current_folder() -> Iterator[None]:
    """Inside, modules of the current folder can be imported, whoever started the process."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def one_line(error: BaseException) -> str:
    """An error as one line: its kind, and its message without line breaks.

    >>> one_line(OSError("one\\ntwo"))
    'OSError: one two'
    """
    return f"{type(error).__name__}: {visible(' '.join(str(error).split()))}"


def home(path: str | PathLike[str], what: str = "the path") -> Path:
    """A path that somebody gives, `~` being their home folder; ValueError where it is empty, or
    names the home of nobody.

    >>> home("~/runs") == Path.home() / "runs"
    True
    >>> home("", what="out")
    Traceback (most recent call last):
    ValueError: out is empty: give a path, or . for the current folder
    """
    if not fspath(path).strip():
        raise ValueError(f"{what} is empty: give a path, or . for the current folder")
    if "\0" in fspath(path):
        raise ValueError(f"{what} holds a zero byte, which no path does: {shown(fspath(path))}")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{what}: there is no home folder for {shown(fspath(path))}") from None


def output_folder(path: str | PathLike[str], what: str = "out") -> Path:
    """A folder that somebody gives for results, as `home` reads it; ValueError also where it is the
    root of a file system, which no results should be scattered over.

    >>> output_folder("/")
    Traceback (most recent call last):
    ValueError: out is '/', all of the file system: give a folder inside it
    """
    folder = home(path, what=what)
    whole = os.path.realpath(folder)
    if whole == os.path.dirname(whole):
        raise ValueError(
            f"{what} is {shown(fspath(path))}, all of the file system: give a folder inside it"
        )
    return folder


# The letters that join or part others in some scripts and in emoji, and that nobody sees.
_JOINERS = "\u200c\u200d"


def visible(text: str, lines: bool = False) -> str:
    """A text from outside as it may be printed: what a terminal would obey, and what would turn or
    hide letters, is written out, as in a Python text. With `lines`, line breaks stay.

    >>> print(visible("one\\ntwo \\x1b[31mred \\u202eden"))
    one\\ntwo \\x1b[31mred \\u202eden
    """
    if text.isprintable():
        return text
    kept = "\n" if lines else ""
    return "".join(letter if _is_shown(letter, kept) else _escape(letter) for letter in text)


def _is_shown(letter: str, kept: str) -> bool:
    # Wide and narrow spaces are fine; the separators of lines and paragraphs are spaces, too.
    is_space = letter >= "\xa0" and letter.isspace() and letter not in "\u2028\u2029"
    return letter.isprintable() or is_space or letter in _JOINERS or letter in kept


def _escape(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # how Python carries a byte that is no UTF-8
        letter = chr(ord(letter) - 0xDC00)
    return letter.encode("unicode_escape").decode()


def shown(value: object, room: int = 80) -> str:
    """A value as Python writes it, in one line and cut to about `room` characters, for a message.

    >>> shown("a\\nb"), shown(list(range(99)), room=20)
    ("'a\\\\nb'", '[0, 1, 2, 3, 4 ...')
    """
    try:
        text = visible(repr(value))
    except ValueError:  # a number with more digits than Python writes
        text = f"a number of {len(hex(value)) if isinstance(value, int) else 'many'} hex digits"
    return text if len(text) <= room else f"{text[: room - 4].rstrip(' ,')} ..."
