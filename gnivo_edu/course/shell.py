"""What a notebook finds in Jupyter and a plain process lacks: `get_ipython()`, `display`, and the
checks of the course, which here only take note of what they are given.
"""

from __future__ import annotations

import os
import re
import string
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import gnivo_edu.course


class Lines(list[str]):
    """The lines that a command printed: `files = !ls`."""

    @property
    def n(self) -> str:
        """The lines, joined by line breaks."""
        return "\n".join(self)

    @property
    def s(self) -> str:
        """The lines, joined by spaces."""
        return " ".join(self)


class Filled(string.Formatter):
    """A command with `{an expression}`, `$name` and `$name.attribute` replaced by their values, as
    IPython does it: not inside single quotes for `$`, and `$$name` is `$name`.

    >>> Filled().vformat("echo {k + 1} $k $$k", (), {"k": 1})
    'echo 2 1 $k'
    """

    # What IPython has, so that a command means the same here.
    dollar = re.compile(r"(.*?)\$(\$?[\w.]+)(?=([^']*'[^']*')*[^']*$)", re.DOTALL)

    def parse(self, format_string: str) -> Iterator[Any]:
        """Pieces of text, each with the expression that follows it."""
        for text, expression, form, conversion in super().parse(format_string):
            begun, kept = 0, ""
            for match in self.dollar.finditer(text):
                kept += match[1]
                if match[2].startswith("$"):
                    kept += match[2]
                else:
                    yield kept, match[2], "", None
                    kept = ""
                begun = match.end()
            yield kept + text[begun:], expression, form, conversion

    def get_field(
        self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, str]:
        """The value of an expression in the notebook."""
        return eval(field_name, dict(kwargs)), field_name


class Shell:
    """Stands for IPython's shell: runs commands and the magics that matter to a function, and
    passes over all others.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.user_ns = namespace

    def getoutput(self, command: str, *_: Any, **__: Any) -> Lines:
        """The lines that a command prints."""
        import subprocess

        with suppress(Exception):  # no such name, as of $HOME: the command as it stands
            command = Filled().vformat(command, (), self.user_ns)
        done = subprocess.run(command, shell=True, capture_output=True, check=False)
        return Lines((done.stdout + done.stderr).decode(errors="replace").splitlines())

    def system(self, command: str) -> None:
        """Run a command."""
        self.getoutput(command)

    def run_line_magic(self, name: str, line: str = "", *_: Any, **__: Any) -> Any:
        """Run a line magic."""
        match name, line.split():
            case (("time" | "prun"), [_, *_]):
                try:
                    return eval(line, self.user_ns)
                except SyntaxError:
                    exec(line, self.user_ns)
            case (("env" | "set_env"), _) if len(line.replace("=", " ").split()) > 1:
                key, text = line.replace("=", " ", 1).split(maxsplit=1)
                os.environ[key] = text.strip()
            case "cd", [folder]:
                os.chdir(folder)
            case "run", [*_, file]:
                exec(compile(Path(file).read_bytes(), file, "exec"), self.user_ns)
        return None

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        """Run a cell magic: only those that write a file."""
        if name in ("writefile", "file"):
            words = line.split()
            with Path(words[-1].strip("'\"")).open("a" if "-a" in words else "w") as file:
                file.write(cell)

    def captured(self) -> Any:
        """What `%%capture out` binds to its name: here nothing is captured."""
        return type("Captured", (), {"stdout": "", "stderr": "", "outputs": [], "show": print})()

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing


def _nothing(*_: Any, **__: Any) -> None:
    return None


class CheckFailed(AssertionError):
    """Stands for the exception of that name: nothing fails here."""


class Noted:
    """Stands for the check of one exercise: keeps the function that it is given."""

    def __init__(self) -> None:
        self.functions: list[Any] = []

    def run(self, function: Any = None, *_: Any, **__: Any) -> None:
        """Keep the function."""
        self.functions.append(function)

    __call__ = run

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing


class Checks(ModuleType):
    """Stands for `gnivo_edu.course.check`."""

    CheckFailed = CheckFailed

    def __init__(self) -> None:
        super().__init__("gnivo_edu.course.check")
        self.noted: dict[str, Noted] = {}

    def __getattr__(self, name: str) -> Noted:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.noted.setdefault(name, Noted())

    def given(self, name: str) -> list[Any]:
        """What the check of an exercise was given, in order."""
        return self.noted[name].functions if name in self.noted else []


def fresh_module() -> tuple[ModuleType, Checks]:
    """An empty module `__main__` in which a notebook can run, and the checks that it finds."""
    main, checks = ModuleType("__main__"), Checks()
    sys.modules["__main__"] = main
    sys.modules["gnivo_edu.course.check"] = checks
    vars(gnivo_edu.course)["check"] = checks
    return main, checks


def notebook_module() -> tuple[ModuleType, Checks]:
    """The same with what stands for IPython."""
    main, checks = fresh_module()
    shell = Shell(main.__dict__)
    main.__dict__.update(get_ipython=lambda: shell, display=_nothing, In=[""], Out={}, _="")
    return main, checks
