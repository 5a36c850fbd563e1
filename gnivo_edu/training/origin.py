"""What decides the numbers of a run, noted in each of its checkpoints and compared on a resume:
settings, data, the model that it began from, code of the user's, versions of libraries.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.manifest import sha
from gnivo_edu.training.user_code import code_of, values_of

LIBRARIES = ("gnivo-edu", "torch", "transformers", "numpy")
# Of a model's configuration: what decides none of its numbers.
_ELSEWHERE = ("name_or_path", "transformers_version", "dtype", "torch_dtype")
# By folder: the values of the user's things as its last run in this process began, and as it left.
_LEFT: dict[str, tuple[dict[str, str], dict[str, str]]] = {}


def origin_of(
    config: TrainConfig,
    model: nn.Module,
    task: Any,
    questions: np.ndarray,
    objective: Callable[..., Any],
) -> dict[str, Any]:
    """What a run begins with, as plain values: `settings`; hashes of its `data` (prompts, masks,
    gold answers, which of them count), of the file of `answers` that it learns from, of the initial
    `model` and its `shape`, its configuration, of the files of the user's `code` by name, and of
    the plain `values` that this code holds; `versions`.
    """
    things = (objective, task, type(model))
    values = values_of(things)
    begun, left = _LEFT.get(_place(config), ({}, {}))
    return {
        "settings": _plain(config.to_dict()),
        "data": _data(task, questions),
        "answers": "" if config.data is None else sha(Path(config.data)),
        "model": hash_of_weights(model),
        "shape": _shape(model),
        "code": code_of(things),
        # What a run itself has counted and kept in these is no change.
        "values": {
            name: begun[name] if name in begun and left.get(name) == x else x
            for name, x in values.items()
        },
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def note_end(
    config: TrainConfig, origin: Mapping[str, Any], task: Any, objective: Callable[..., Any]
) -> None:
    """Remember the values that a run leaves behind: a resume in the same process, with the same
    things, finds them as they are now, and not as they were at its start.
    """
    _LEFT[_place(config)] = (dict(origin["values"]), values_of((objective, task)))


def _place(config: TrainConfig) -> str:
    return os.path.realpath(config.out)


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
    if before.get("answers", now["answers"]) != now["answers"]:
        changed.append(f"the answers of {config.data!r}")
    if before["model"] != now["model"]:
        changed.append(f"the weights of the model {config.model!r} that it began from")
    if before.get("shape", now["shape"]) != now["shape"]:
        changed.append(f"the configuration of the model {config.model!r} that it began from")
    values = before.get("values", now["values"]).items() ^ now["values"].items()
    changed += [f"the value {name}" for name in sorted({name for name, _ in values})]
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


def hash_of_weights(model: nn.Module) -> str:
    """Hash of all parameters, those under adapters included: a second a gigabyte and core."""

    def digest(named: tuple[str, nn.Parameter]) -> bytes:
        name, p = named
        flat = p.detach().cpu().contiguous().reshape(-1)
        total = hashlib.sha256(f"{name} {p.dtype} {list(p.shape)}".encode())
        total.update(flat.view(torch.uint8).numpy().data)
        return total.digest()

    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        return hashlib.sha256(b"".join(pool.map(digest, model.named_parameters()))).hexdigest()


def _shape(model: Any) -> str:
    """Hash of a model's configuration, but for where it came from and how it is held."""

    def kept(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: kept(x) if isinstance(x, Mapping) else x
            for name, x in settings.items()
            if not str(name).startswith("_") and name not in _ELSEWHERE
        }

    settings = model.config.to_dict()
    text = json.dumps(kept(settings), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
