"""What decides the numbers of a run, noted in each of its checkpoints and compared on a resume:
settings, data, the model that it began from, code of the user's, versions of libraries.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

import toy_envs
from gnivo_edu.training.config import TrainConfig

LIBRARIES = ("gnivo-edu", "torch", "transformers", "numpy")
# Code in these folders has a version: ours, and that of libraries.
_OURS = (Path(__file__).resolve().parents[1], Path(toy_envs.__file__).resolve().parent)
_LIBRARIES = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")
)


def origin_of(
    config: TrainConfig,
    model: nn.Module,
    task: Any,
    questions: np.ndarray,
    objective: Callable[..., Any],
) -> dict[str, Any]:
    """What a run begins with, as plain values: `settings`; hashes of its `data` (prompts, masks,
    gold answers, which of them count), of the initial `model`, and of the files of the user's
    `code` by name; `versions`.
    """
    return {
        "settings": _plain(config.to_dict()),
        "data": _data(task, questions),
        "model": _weights(model),
        "code": dict(sorted(_code((objective, task, type(model))))),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def check_origin(
    config: TrainConfig,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    progress: Callable[[str], None],
) -> None:
    """ValueError, in one line that names what changed, where a run would not go on as it began;
    another version of a library is said, and no more.
    """
    was = before["settings"]
    changed = [
        f"{name}, which was {was[name]!r}"
        for name in config.changed(was)
        if now["settings"][name] != was[name]
    ]
    if before["data"] != now["data"]:
        changed.append(f"the data of {config.task!r} (prompts, masks, gold answers)")
    if before["model"] != now["model"]:
        changed.append(f"the weights of the model {config.model!r} that it began from")
    sources = before["code"].items() ^ now["code"].items()
    changed += [f"the source of {name}" for name in sorted({name for name, _ in sources})]
    if changed:
        raise ValueError(
            f"since this run began, what decides its numbers has changed: {'; '.join(changed)}. "
            "Put it back as it was, or start anew in another folder, --set out=..."
        )
    others = [
        f"{name} {was} (now {now['versions'].get(name)})"
        for name, was in before["versions"].items()
        if was != now["versions"].get(name)
    ]
    if others:
        progress(f"this run began with {', '.join(others)}: from here on its numbers may differ")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As a file of JSON gives them back: a tuple is a list there."""
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return plain


def _data(task: Any, questions: np.ndarray) -> str:
    """Hash of what is asked and of what a right answer is; of a toy also of its arrays, rewards
    among them.
    """
    total = hashlib.sha256(repr(vars(task).get("problems")).encode())
    arrays = {
        "prompts": task.prompts(),
        "mask": task.prompt_mask(),
        "questions": questions,
        **{name: x for name, x in vars(task).items() if isinstance(x, np.ndarray)},
    }
    for name, x in sorted(arrays.items()):
        x = np.ascontiguousarray(x)
        total.update(f"{name} {x.dtype} {x.shape}".encode() + x.tobytes())
    kinds = (int, float, str, tuple)
    named = {k: v for k, v in vars(task).items() if k[0] != "_" and isinstance(v, kinds)}
    total.update(repr(sorted(named.items())).encode())
    return total.hexdigest()


def _weights(model: nn.Module) -> str:
    """Hash of all parameters, those under adapters included: a second a gigabyte and core."""

    def digest(named: tuple[str, nn.Parameter]) -> bytes:
        name, p = named
        flat = p.detach().cpu().contiguous().reshape(-1)
        total = hashlib.sha256(f"{name} {p.dtype} {list(p.shape)}".encode())
        total.update(flat.view(torch.uint8).numpy().data)
        return total.digest()

    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        return hashlib.sha256(b"".join(pool.map(digest, model.named_parameters()))).hexdigest()


def _code(things: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """(name, hash of the source) of the user's functions and classes among things, and of those
    that these hold.
    """
    for thing in _within(things, set(), depth=6):
        file = _file(thing)
        if file is not None and not _lies_in(file, _OURS + _LIBRARIES):
            yield _source(thing, file)


def _source(thing: Any, file: Path) -> tuple[str, str]:
    """A whole file, with the helpers in it; of a script that is run, or a notebook, what it defines
    alone: there a run is told to go on for longer.
    """
    if thing.__module__ != "__main__" and file.is_file():
        return file.name, hashlib.sha256(file.read_bytes()).hexdigest()
    try:
        text = inspect.getsource(thing)
    except (OSError, TypeError):  # typed in, and not kept
        text = thing.__qualname__
    return thing.__qualname__, hashlib.sha256(text.encode()).hexdigest()


def _file(thing: Any) -> Path | None:
    try:
        return Path(inspect.getfile(inspect.unwrap(thing))).resolve()
    except (TypeError, OSError):  # built in
        return None


def _lies_in(file: Path, folders: tuple[Path, ...]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)


def _within(things: Any, seen: set[int], depth: int) -> Iterator[Any]:
    """Functions and classes among things, and in what they are made of: the function of a partial
    or of a method, what a closure holds, the class and the attributes of an object.
    """
    for thing in things:
        if depth == 0 or id(thing) in seen or isinstance(thing, (str, np.ndarray, torch.Tensor)):
            continue
        seen.add(id(thing))
        parts: tuple[Any, ...] = ()
        if isinstance(thing, partial):
            parts = (thing.func, *thing.args, *thing.keywords.values())
        elif isinstance(thing, MethodType):
            parts = (thing.__func__, thing.__self__)
        elif isinstance(thing, FunctionType):
            yield thing
            cells = (cell.cell_contents for cell in thing.__closure__ or () if _filled(cell))
            parts = (*cells, *([thing.__wrapped__] if hasattr(thing, "__wrapped__") else []))
        elif isinstance(thing, type):
            yield from (kind for kind in thing.__mro__ if kind is not object)
        elif hasattr(thing, "__dict__") and not isinstance(thing, ModuleType | nn.Module):
            file = _file(type(thing))
            if file is not None and not _lies_in(file, _LIBRARIES):
                parts = (type(thing), *vars(thing).values())
        yield from _within(parts, seen, depth - 1)


def _filled(cell: Any) -> bool:
    """A cell is empty until its variable is set."""
    try:
        cell.cell_contents  # noqa: B018  # reading it is the question
    except ValueError:
        return False
    return True
