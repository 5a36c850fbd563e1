"""A first file of one's own, with its test: an objective, a task, an environment or an exercise."""

from __future__ import annotations

import importlib.util
import json
import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

from gnivo_edu.names import nearest, output_folder, shown

MODEL = "PATH_OR_HUB_ID"  # of a task, until somebody says which


@dataclass(frozen=True)
class Kind:
    """What is written, file by file, from the template of this package, and what to do with it."""

    files: dict[str, str]
    then: tuple[str, ...]


KINDS = {
    "objective": Kind(
        {"$name.py": "objective.py", "test_$name.py": "test_objective.py"},
        ("python -m pytest test_$name.py", "gnivo-edu judge $name:$name"),
    ),
    "task": Kind(
        {
            "$name.jsonl": "task.jsonl",
            "$name.py": "task.py",
            "$name.yaml": "task.yaml",
            "test_$name.py": "test_task.py",
        },
        ("python -m pytest test_$name.py", "gnivo-edu train --config $name.yaml"),
    ),
    "environment": Kind(
        {"$name.py": "environment.py", "test_$name.py": "test_environment.py"},
        ("python -m pytest test_$name.py", "gnivo-edu verify --env $name:$class_name-v0"),
    ),
    "exercise": Kind(
        {
            "notebooks/exercises/$name.py": "exercise.py",
            "notebooks/src/$name.py": "notebook.py",
            "test_$name.py": "test_exercise.py",
        },
        (
            "python -m pytest test_$name.py",
            "gnivo-edu build-course --only $name",
            "gnivo-edu check notebooks/$name.ipynb",
        ),
    ),
}


@dataclass(frozen=True)
class Written:
    """The files that were written, and the commands that come next, run in their folder."""

    files: tuple[Path, ...]
    then: tuple[str, ...]


def write_new(kind: str, name: str, folder: Path | str = ".", model: str | None = None) -> Written:
    """Write the files of a `kind` of `KINDS` into a folder, under a name of one's own.

    `name` is a Python name: `my_loss`, or `MyTask`, of which the files are called `my_task`. A task
    trains `model`, a folder or hub id. Nothing is overwritten. Raises ValueError, in one line, on a
    kind that is not there, on a name that cannot be one of a module, and where a file exists.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     written = write_new("environment", "Stairs", place)
    ...     sorted(path.name for path in written.files), written.then[1]
    (['stairs.py', 'test_stairs.py'], 'gnivo-edu verify --env stairs:Stairs-v0')
    """
    if kind not in KINDS:
        raise ValueError(f"there is nothing new of the kind {shown(kind)}; {nearest(kind, KINDS)}")
    if model is not None and kind != "task":
        raise ValueError(f"a model is of a task: leave it out for the kind {kind}")
    folder = output_folder(folder, what="the folder")
    module, class_name = _names(name)
    words = {"name": module, "class_name": class_name, "model": json.dumps(model or MODEL)}
    texts = {
        folder / Template(file).substitute(words): _template(template).substitute(words)
        for file, template in KINDS[kind].files.items()
    }
    there = [str(path.relative_to(folder)) for path in texts if path.exists() or path.is_symlink()]
    if there:
        raise ValueError(f"{there[0]} exists already: choose another name, or another folder")
    if kind != "exercise":  # which is no module of its folder
        _refuse_taken(module)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:  # x: never over another
            file.write(text)
    lines = KINDS[kind].then
    if importlib.util.find_spec("pytest") is None:  # it is not among what the package requires
        lines = ("python -m pip install pytest", *lines)
    then = tuple(Template(line).substitute(words) for line in lines)
    return Written(tuple(texts), then)


def _template(name: str) -> Template:
    return Template((Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8"))


def _names(name: str) -> tuple[str, str]:
    """The names of the module and of a class: my_task and MyTask, of either of the two."""
    if not (name.isascii() and name.isidentifier()) or name.startswith("_"):
        raise ValueError(
            f"{shown(name)} is no name for a module: begin with a letter and use only letters, "
            "digits and underscores, as in my_loss"
        )
    module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if keyword.iskeyword(module):
        raise ValueError(f"{shown(name)} is a word of Python: choose another name")
    return module, "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _refuse_taken(module: str) -> None:
    """ValueError where a module of this name could be meant by others: it would hide it."""
    if module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None:
        raise ValueError(
            f"there is a module {module!r} already, which a file would hide: choose another name"
        )
