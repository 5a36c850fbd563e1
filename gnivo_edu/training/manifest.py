"""The manifest of a checkpoint, state.json: how far the run had come, what it began with, and a
hash of every file, its own included. What a single flipped bit has changed is not accepted.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import torch

FORMAT = 4
TENSORS, STATE = "tensors.pt", "state.json"
COUNTS = ("step", "inner", "tokens")  # of state.json, beside the lines and hashes of the logs
LOGS = ("metrics.jsonl", "completions.jsonl")
PARTS = ("policy", "reference", "critic", "optimizer", "drawn", "replay")  # of tensors.pt
SHAPED = ("tokens", "logps", "behaviour_logps")  # of the answers that are learned from


def sha(path: Path) -> str:
    """SHA-256 of a file, of nothing where there is none."""
    if not path.exists():
        return hashlib.sha256().hexdigest()
    # Piece by piece: a checkpoint may be larger than what memory is left.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_text(record: dict[str, Any]) -> str:
    """A manifest as it is written: JSON in one form alone, its own hash at the end.

    >>> manifest_text({"step": 1})[:32]
    '{"step": 1, "sha256": "66acd07fc'
    """
    digest = hashlib.sha256(json.dumps(record).encode()).hexdigest()
    return json.dumps({**record, "sha256": digest})


def moment(step: int, inner: int) -> str:
    """The name of a checkpoint: `inner` updates of `step` are done."""
    return f"{step:06d}-{inner:03d}"


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, tensors) of a checkpoint that is whole; else ValueError, or an OSError. Files that no
    run writes, such as a file manager leaves, count for nothing.
    """
    if missing := [name for name in (STATE, TENSORS) if not (folder / name).is_file()]:
        raise ValueError(f"it has not the files of a checkpoint: {', '.join(missing)}")
    state = _state(folder)
    if state["files"] != {TENSORS: sha(folder / TENSORS)}:
        raise ValueError("its contents are not what was written")
    tensors = _tensors(folder / TENSORS)
    _check_drawn(tensors["drawn"], state["inner"])
    return state, tensors


def _state(folder: Path) -> dict[str, Any]:
    """What state.json holds, if it is that of a run and as it was written."""
    written = (folder / STATE).read_bytes()
    state = json.loads(written)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"its {STATE} is not that of a run, or of another version of the package")
    record = {name: value for name, value in state.items() if name != "sha256"}
    # Byte by byte: white space, too, can only be what was written.
    if manifest_text(record).encode() != written:
        raise ValueError(f"its {STATE} is not what was written")
    counts = [state.get(name) for name in COUNTS]
    logs = (state.get("lines"), state.get("logs"))
    if not all(type(count) is int and count >= 0 for count in counts) or not all(
        isinstance(log, dict) and set(log) == set(LOGS) for log in logs
    ):
        raise ValueError(f"its {STATE} lacks one of lines, logs, {', '.join(COUNTS)}")
    if not isinstance(state.get("origin"), dict):
        raise ValueError(f"its {STATE} does not say what the run began with")
    if not all(type(count) is int and count >= 0 for count in state["lines"].values()):
        raise ValueError(f"its {STATE} counts lines that cannot be")
    if folder.name != moment(state["step"], state["inner"]):
        raise ValueError(f"it is that of {moment(state['step'], state['inner'])}")
    return state


def _tensors(path: Path) -> dict[str, Any]:
    """What tensors.pt holds, if it is that of a run; else ValueError."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError):  # of another program, or no such file at all
        tensors = None
    if not isinstance(tensors, dict) or set(tensors) != set(PARTS):
        raise ValueError(f"its {TENSORS} is not that of a run")
    return tensors


def _check_drawn(drawn: Any, inner: int) -> None:
    """Between two updates of a step its answers are there, and at no other time."""
    if not inner:
        whole = drawn is None
    else:
        whole = (
            isinstance(drawn, dict)
            and all(isinstance(x, torch.Tensor) for x in drawn.values())
            and {*SHAPED, "rewards", "lengths", "prompt_index"} <= set(drawn)
            and drawn["tokens"].dim() == 3
            and all(drawn[name].shape == drawn["tokens"].shape for name in SHAPED)
            and drawn["rewards"].shape == drawn["lengths"].shape == drawn["tokens"].shape[:2]
        )
    if not whole:
        raise ValueError(f"its answers do not fit update {inner} of a step")
