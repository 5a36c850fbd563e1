"""Where the course lies: the notebooks with their sources and pages, recipes, results of studies.

In a clone they lie beside the library. An installed package carries a copy, which is read but never
changed: `lay_out` writes it to a folder in which people work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gnivo_edu.names import output_folder

_PACKAGE = Path(__file__).resolve().parents[1]
CLONE, SHIPPED = _PACKAGE.parent, _PACKAGE / "data"
PARTS = ("notebooks", "recipes", "results")
KINDS = (".ipynb", ".md", ".py", ".png", ".yaml", ".json", ".jsonl", ".csv", ".parquet")
FOLDER = "gnivo_course"  # where the notebooks of an installed package are opened


def has_course(folder: Path) -> bool:
    """Whether a folder is a clone, or one that `lay_out` wrote."""
    return (folder / "notebooks" / "src" / "00_which_step.py").is_file()


def course_root(to_write: bool = False) -> Path:
    """The folder that holds notebooks/, recipes/ and results/: the current one, else the clone that
    this library runs from, else the copy inside the installed package.

    Raises ValueError, in one line, where only that copy is there and the caller wants `to_write`,
    and where there is none.

    >>> (course_root() / "notebooks" / "src" / "00_which_step.py").is_file()
    True
    """
    for folder in (Path.cwd(), CLONE):
        if has_course(folder):
            return folder
    if not has_course(SHIPPED):
        raise ValueError("the course is not in this installation: pip install gnivo-edu once more")
    if to_write:
        raise ValueError(
            "the course lies inside the installed package, which nothing is written to: run "
            "`gnivo-edu start FOLDER`, and this command in that folder"
        )
    return SHIPPED


def working_root() -> Path:
    """Where people work on the course: the current folder or the clone, else ./gnivo_course, which
    `lay_out` makes.
    """
    here = course_root()
    return Path.cwd() / FOLDER if here == SHIPPED else here


def lay_out(folder: Path | str) -> tuple[Path, list[str], list[str]]:
    """Write the course into a folder; returns it, the files written, and those that are another
    text there already: they are kept as they are.

    Calling it again changes nothing. Raises OSError where the folder cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _, written, kept = lay_out(folder)
    ...     mine = Path(folder) / "recipes" / "arithmetic_cpu.yaml"
    ...     _ = mine.write_text("steps: 7")
    ...     _, again, kept = lay_out(folder)
    >>> len(written) > 40, again, kept
    (True, [], ['recipes/arithmetic_cpu.yaml'])
    """
    folder = output_folder(folder)
    root = CLONE if has_course(CLONE) else course_root()
    written, kept = [], []
    for source in _files(root):
        name = source.relative_to(root).as_posix()
        data, target = source.read_bytes(), folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = target.open("xb")  # never through a link, never over a file
        except FileExistsError:
            if not target.is_file() or target.read_bytes() != data:
                kept.append(name)
            continue
        try:
            with file:
                file.write(data)
        except BaseException:  # half a file would be taken for the reader's own
            target.unlink(missing_ok=True)
            raise
        written.append(name)
    return folder, written, kept


def _files(root: Path) -> Iterator[Path]:
    """The files of the course, without what an editor, Jupyter or Python left beside them."""
    for part in PARTS:
        for path in sorted((root / part).rglob("*")):
            inside = path.relative_to(root).parts
            hidden = any(name.startswith((".", "__")) for name in inside)
            if path.suffix in KINDS and not hidden and path.is_file():
                yield path
