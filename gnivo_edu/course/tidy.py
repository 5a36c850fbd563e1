"""What of an executed cell can be committed; what cannot is left out or refused."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

VOLATILE = ("execution", "lines_to_next_cell")  # cell metadata that tools write, not the author
KEPT = ("image/png", "text/html", "text/latex", "text/markdown", "text/plain")
ADDRESS = re.compile(r"0x[0-9a-fA-F]{8,}")


class BuildError(RuntimeError):
    """A notebook that cannot be built, in one line: notebook, cell, what is wrong."""


def place_of(name: str, index: int, cell: Any) -> str:
    """How a message names a cell: notebook, position from 1, first line."""
    return f"{name}, cell {index + 1} ({_first_line(cell.source, otherwise='empty')[:60]})"


def tolerance_of(cell: Any, place: str) -> float | None:
    """By what part a cell's numbers may move: its tag `tolerance=0.3`, or None without one.

    BuildError where the tag cannot be read, or there are two."""
    tags = [tag for tag in cell.metadata.get("tags", []) if tag.lower().startswith("tolerance")]
    if not tags:
        return None
    match = re.fullmatch(r"tolerance=(0?\.\d+)", tags[0])
    if match is None or len(tags) > 1 or not float(match[1]):
        raise BuildError(
            f"{place}: the tag {', '.join(tags)} is not one tolerance between 0 and 1, such as "
            "tolerance=0.3"
        )
    return float(match[1])


def machine_paths(*folders: Path) -> re.Pattern[str]:
    """A pattern that finds absolute paths of this machine, or of most others, in a text.

    >>> len(machine_paths().findall("saved to /home/me/run.csv, a/b and runs/tmp/x"))
    1
    """
    here = {Path.home(), Path.cwd(), Path(sys.prefix), Path(tempfile.gettempdir()), *folders}
    names = sorted(re.escape(str(path)) + r"\b" for path in here if len(path.parts) > 1)
    usual = [r"/(?:home|Users|tmp|usr|var|opt|mnt)/", r"[A-Z]:\\Users\\"]
    return re.compile(r"(?<![\w.~-])(?:" + "|".join(names + usual) + ")")


def parts(output: Any) -> list[tuple[str, str]]:
    """An output's contents as (kind, text) pairs: a stream's name, "error", or a mime type."""
    if output.output_type == "stream":
        return [(output.name, output.text)]
    if output.output_type == "error":
        return [("error", f"{output.ename}: {output.evalue}")]
    return sorted(output.data.items())


def tidy(cell: Any, place: str, paths: re.Pattern[str]) -> None:
    """Tidy a cell in place: tags stay, timings go, streams merge, a picture stands without HTML.

    A traceback keeps its last line: its frames name files of this machine. Raises BuildError on
    anything written to standard error, on a widget or script, on a memory address or an absolute
    path, and where a cell tagged `raises-exception` did not raise.
    """
    for key in VOLATILE:
        cell.metadata.pop(key, None)
    tolerance_of(cell, place)  # refuses a tag that cannot be read
    if match := paths.search(cell.source):
        raise BuildError(f"{place}: the source holds an absolute path, {match.group()}")
    if cell.cell_type != "code":
        return
    outputs: list[Any] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                raise BuildError(f"{place}: wrote to standard error: {_first_line(output.text)}")
            if outputs and outputs[-1].output_type == "stream":
                outputs[-1].text += output.text
                continue
        elif output.output_type == "error":
            output.traceback = [f"{output.ename}: {output.evalue}"]
        else:
            _keep_static(output, place)
        outputs.append(output)
    cell.outputs = outputs
    expected = "raises-exception" in cell.metadata.get("tags", []) and cell.execution_count
    if expected and all(output.output_type != "error" for output in outputs):
        raise BuildError(f"{place}: is tagged raises-exception and raised nothing")
    texts = [part for output in outputs for part in parts(output) if part[0] != "image/png"]
    for kind, text in texts:
        if match := ADDRESS.search(text):
            raise BuildError(
                f"{place}: its output shows a memory address ({kind}: {match.group()}); "
                "a final ; hides it"
            )
        if match := paths.search(text):
            raise BuildError(
                f"{place}: its output shows an absolute path ({kind}: {match.group()})"
            )


def _keep_static(output: Any, place: str) -> None:
    """With a PNG, keep it and its text; without one, only what a page without scripts shows."""
    picture = "image/png" in output.data
    if not picture and (alien := sorted(set(output.data) - set(KEPT))):
        raise BuildError(
            f"{place}: shows {', '.join(alien)}; with gnivo_edu.course.is_static() show a PNG or "
            "text instead"
        )
    if picture:
        output.data = {
            kind: shown
            for kind, shown in output.data.items()
            if kind in ("image/png", "text/plain")
        }
    output.metadata = {kind: said for kind, said in output.metadata.items() if kind in output.data}
    output.pop("transient", None)


def _first_line(text: str, otherwise: str = "(a blank line)") -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), otherwise)
