"""Where code of the user's stands: in files and notebooks that have no version of their own."""

from __future__ import annotations

import dis
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import toy_envs
from gnivo_edu.names import current_folder
from gnivo_edu.training.plain_values import digest

# Code in these folders has a version: ours, and that of libraries.
_OURS = (Path(__file__).resolve().parents[1], Path(toy_envs.__file__).resolve().parent)
_LIBRARIES = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")
)


def file_of(thing: Any) -> Path | None:
    """The file that a function, class or module says it is from; None for what is built in."""
    try:
        return Path(inspect.getfile(inspect.unwrap(thing))).resolve()
    except (TypeError, OSError, ValueError):
        return None


def is_users(thing: Any) -> bool:
    """Whether a function, class or module is neither ours nor of a library."""
    # Of classes in a notebook Python says the file of whatever runs the notebook.
    if getattr(thing, "__module__", None) == "__main__":
        return True
    file = file_of(thing)
    return file is not None and not _lies_in(file, _OURS) and not is_library(file)


def is_library(file: Path) -> bool:
    """Whether a file is of an installed package, or of Python."""
    return _lies_in(file, _LIBRARIES) or not {"site-packages", "dist-packages"}.isdisjoint(
        file.parts
    )


def _lies_in(file: Path, folders: tuple[Path, ...]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)


def source_of(thing: Any) -> tuple[Path | str, str]:
    """(place, hash) of the source of one of the user's things. A whole file, with the helpers in
    it; of a script that is run, or a notebook, what it defines alone: there a run is told to go on
    for longer.
    """
    file = file_of(thing)
    if file is not None and getattr(thing, "__module__", "") != "__main__" and file.is_file():
        return file, digest(file.read_bytes())
    try:
        text = inspect.getsource(thing)
    except (OSError, TypeError):  # typed in, and not kept
        text = thing.__qualname__
        if isinstance(thing, FunctionType):
            text += "".join(_compiled(code) for code in codes_of(thing.__code__))
    return thing.__qualname__, digest(text.encode(errors="surrogatepass"))


def _compiled(code: CodeType) -> str:
    constants = [x for x in code.co_consts if not isinstance(x, CodeType)]
    return repr((code.co_code, code.co_names, constants))


def codes_of(code: CodeType) -> list[CodeType]:
    """The code of a function or module, and of the functions and classes inside it."""
    codes = [code]
    for outer in codes:  # those inside are added as they are met
        codes += [inner for inner in outer.co_consts if isinstance(inner, CodeType)]
    return codes


def imported_by(code: CodeType, package: str, seen: set[Path]) -> Iterator[Path]:
    """The user's files that code imports, at its top or inside a function, and those that these
    import; nothing is imported. Files in `seen` are passed over, and it grows.
    """
    for name in _imports(code, package):
        spec = _spec(name)
        file = Path(spec.origin).resolve() if spec and spec.has_location and spec.origin else None
        users = file is not None and not _lies_in(file, _OURS) and not is_library(file)
        if not users or file is None or spec is None or file in seen or not file.is_file():
            continue
        seen.add(file)
        yield file
        inside = name if spec.submodule_search_locations else name.rpartition(".")[0]
        try:
            inner = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
        except (SyntaxError, ValueError):  # compiled, or broken: its bytes are all that is known
            continue
        yield from imported_by(inner, inside, seen=seen)


def _imports(code: CodeType, package: str) -> list[str]:
    """Full names of the modules that code may import, packages before what lies in them."""
    names: dict[str, None] = {}
    for part in codes_of(code):
        steps = [x for x in dis.get_instructions(part) if x.opname != "EXTENDED_ARG"]
        for at, step in enumerate(steps):
            if step.opname != "IMPORT_NAME":
                continue
            level, members = (x.argval for x in steps[at - 2 : at])
            try:
                name = resolve_name("." * level + step.argval, package or None)
            except ImportError:  # beyond the package: it cannot be imported
                continue
            pieces = name.split(".")
            names |= dict.fromkeys(".".join(pieces[: n + 1]) for n in range(len(pieces)))
            names |= {f"{name}.{member}": None for member in members or ()}
    return list(names)


def _spec(name: str) -> ModuleSpec | None:
    """Where a module would be imported from."""
    loaded: ModuleSpec | None = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None:
        return loaded
    package = name.rpartition(".")[0]
    above = _spec(package) if package else None
    if package and above is None:
        return None
    with current_folder():
        try:
            return PathFinder.find_spec(name, above.submodule_search_locations if above else None)
        except (ImportError, ValueError):
            return None


def places(sources: list[tuple[Path | str, str]]) -> dict[str, str]:
    """Hashes by what the sources are called: files by their name, and by the folders above it as
    far as that tells them apart.
    """
    files = {place for place, _ in sources if isinstance(place, Path)}
    hashes: dict[str, list[str]] = {}
    for place, hashed in dict.fromkeys(sources):
        name = place if isinstance(place, str) else _short(place, files - {place})
        hashes.setdefault(name, []).append(hashed)
    return {
        name: each[0] if len(each) == 1 else digest("\n".join(each).encode())
        for name, each in sorted(hashes.items())
    }


def _short(file: Path, others: set[Path]) -> str:
    for length in range(1, len(file.parts)):
        tail = file.parts[-length:]
        if all(other.parts[-length:] != tail for other in others):
            return "/".join(tail)
    return str(file)
