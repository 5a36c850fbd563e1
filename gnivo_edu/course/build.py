"""Build the course: notebooks/src/NAME.py (percent format) -> notebooks/NAME.ipynb with outputs,
always the same bytes.

A notebook runs from top to bottom in a fresh kernel of this interpreter, in the folder of the
finished notebook (where a reader's kernel starts too). Whatever would differ from run to run or
from machine to machine is left out or refused; a cell that raises, or writes to standard error
(warnings do), stops the build, in one line that names it."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import zmq
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import ValidationError

from gnivo_edu.course.compare import differences
from gnivo_edu.course.layout import course_root
from gnivo_edu.course.tidy import BuildError, machine_paths, place_of, tidy
from gnivo_edu.names import home

ENVIRONMENT = {
    "GNIVO_STATIC": "1",  # figures as PNG, no widgets: gnivo_edu.course.is_static()
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def build(
    source: Path | str,
    out: Path | str,
    execute: bool = True,
    timeout: int = 600,
    cwd: Path | str | None = None,
) -> Path:
    """Build one notebook from its text; returns `out`, written only if everything went well.

    `timeout` is in seconds, per cell; `cwd`, where the kernel runs, is the folder of `out` unless
    given. Raises BuildError if a cell raises without the tag `raises-exception` (or has it and does
    not raise), exceeds the timeout, writes to standard error, shows a widget or a script, or shows
    an address or a path of this machine."""
    source, out = home(source), home(out)
    folder = home(cwd or out.parent).resolve()
    notebook = read_source(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    if execute:
        run_cells(notebook, source.stem, timeout=timeout, cwd=folder)
    out.write_text(finished(notebook, source, folder), encoding="utf-8", newline="\n")
    return out


def read_source(source: Path) -> Any:
    """The notebook that a text in percent format says, its cells named by their place."""
    try:
        notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    except ValidationError as error:
        raise BuildError(
            f"{source.stem}: is not a notebook in percent format: {' '.join(str(error).split())}"
        ) from error
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    name_cells(notebook, source.stem)
    return notebook


def name_cells(notebook: Any, prefix: str) -> None:
    """Give each cell an id by its place; jupytext and nbformat draw new ones every time."""
    for index, cell in enumerate(notebook.cells):
        cell.id = hashlib.sha256(f"{prefix}/{index}".encode()).hexdigest()[:12]


def finished(notebook: Any, source: Path, cwd: Path) -> str:
    """The text of a notebook's file, with nothing in it that a run or a machine left behind."""
    notebook.metadata = nbformat.from_dict(METADATA)
    paths = machine_paths(cwd, source.resolve().parent)
    for index, cell in enumerate(notebook.cells):
        tidy(cell, place_of(source.stem, index, cell), paths)
    nbformat.validate(notebook)
    # Indent 1, keys sorted: nbformat's own habit, so that saving in Jupyter changes nothing else.
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def build_course(
    root: Path | str | None = None, only: str | Iterable[str] | None = None, check: bool = False
) -> list[Path | str]:
    """Build every notebook of `root`/notebooks/src, or those named in `only`; returns their paths.

    With `check=True` nothing is written: each is built in a temporary folder and compared with the
    committed one; returns one line per difference (none: the committed notebooks are what the
    sources say). Progress goes to standard error. All notebooks are tried; then BuildError carries
    one line for each that failed.
    """
    root = course_root(to_write=not check) if root is None else root
    folder, sources = course_sources(root, only)
    results: list[Path | str] = []
    if check and only is None:
        orphans = sorted(path.name for path in folder.glob("*.ipynb") if path.stem not in sources)
        results += [f"{name}: no source in notebooks/src builds it" for name in orphans]
    with tempfile.TemporaryDirectory() as scratch:

        def build_one(name: str) -> str:
            committed = folder / f"{name}.ipynb"
            if not check:
                results.append(build(sources[name], committed, cwd=folder))
                return "built"
            built = build(sources[name], Path(scratch) / committed.name, cwd=folder)
            changes = differences(committed, built)
            results.extend(changes)
            return f"{len(changes)} differences"

        with_each(sources, build_one)
    return results


def course_sources(
    root: Path | str | None, only: str | Iterable[str] | None
) -> tuple[Path, dict[str, Path]]:
    """The folder of the notebooks, and the sources of all of them or of those named in `only`."""
    folder = (course_root() if root is None else home(root)) / "notebooks"
    sources = {path.stem: path for path in sorted((folder / "src").glob("*.py"))}
    if not sources:
        raise ValueError(
            f"no sources in {folder / 'src'}: pass root=, the folder that holds notebooks/src"
        )
    if only is None:
        return folder, sources
    names = [only] if isinstance(only, str) else list(only)
    if unknown := [name for name in names if name not in sources]:
        raise ValueError(f"no notebook named {', '.join(unknown)}; there are {', '.join(sources)}")
    return folder, {name: sources[name] for name in names}


def with_each(names: Collection[str], make: Callable[[str], str]) -> None:
    """Call `make`, which says in a word what became of a notebook, with each of the names.

    Progress goes to standard error. All are tried; then BuildError, one line for each that failed.
    """
    failures: list[str] = []
    for number, name in enumerate(names, 1):
        start = time.perf_counter()
        try:
            outcome = make(name)
        except BuildError as error:
            failures.append(str(error))
            outcome = "failed"
        print(
            f"{number}/{len(names)} {name}: {outcome}, {time.perf_counter() - start:.1f} s",
            file=sys.stderr,
            flush=True,
        )
    if failures:
        raise BuildError("\n".join(failures))


class _ThisPython(KernelSpecManager):
    """Offers one kernel, that of the running interpreter, whatever is registered on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
            metadata={"supported_encryption": ["curve"]},
        )


def run_cells(notebook: Any, name: str, timeout: int, cwd: Path) -> None:
    """Execute a notebook in place, in a fresh kernel of this Python; BuildError where it fails."""
    # Makes the cache of fonts here, where saying so on standard error does not fail a notebook.
    import matplotlib.font_manager

    defaults = str(Path(matplotlib.get_data_path()) / "matplotlibrc")
    started = [0]  # the cells, by number; the last is the one that a failure is told of
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython())
    if manager.has_trait("transport_encryption") and zmq.has("curve"):
        # Newer kernels complain, on the builder's terminal, of plain text.
        manager.transport_encryption = "auto"
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=timeout,
        iopub_timeout=60,
        raise_on_iopub_timeout=True,  # or late outputs would be lost in silence
        record_timing=False,
        store_widget_state=False,
        on_cell_start=lambda cell, cell_index: started.append(cell_index),
    )
    with tempfile.TemporaryDirectory() as profile:
        # An empty profile and matplotlib's own defaults: the builder's personal settings stay out
        # of the notebooks.
        personal = ("PYTHONWARNINGS", "PYTHONSTARTUP", "FORCE_COLOR")
        environment = {key: value for key, value in os.environ.items() if key not in personal}
        environment |= {**ENVIRONMENT, "IPYTHONDIR": profile, "MATPLOTLIBRC": defaults}
        try:
            client.execute(cleanup_kc=True, cwd=str(cwd), env=environment)
        except CellExecutionError as error:
            problem = f"{error.ename}: {error.evalue}"
        except CellTimeoutError:
            problem = f"took longer than {timeout} s"
        except DeadKernelError:
            problem = "the kernel died"
        else:
            return
    place = place_of(name, started[-1], notebook.cells[started[-1]])
    raise BuildError(f"{place}: {' '.join(problem.split())}") from None
