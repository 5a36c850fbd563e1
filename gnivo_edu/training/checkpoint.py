"""Checkpoints that a kill cannot spoil: written aside, made whole by one rename, and checked before they are used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gnivo_edu.training.config import TrainConfig

FORMAT = 1
TENSORS, STATE = "tensors.pt", "state.json"


class RunFolder:
    """The folder of a run: config.yaml, metrics.jsonl, completions.jsonl, checkpoints/ and, at the end, model/.

    Random numbers are made from (seed, step, prompt, response) alone, so a checkpoint holds no generator: weights,
    optimiser, reference and the answers that are being learned from are the whole state.
    """

    def __init__(self, out: str | Path) -> None:
        self.path = Path(out)
        self.checkpoints = self.path / "checkpoints"

    def begin(self, config: TrainConfig, resume: bool) -> None:
        """Make the folder. Raises ValueError if it holds a run and `resume` is false, or none and it is true."""
        import yaml

        saved = self.path / "config.yaml"
        if saved.exists() and not resume and self._holds_something():
            raise ValueError(f"{self.path} holds a run: --resume continues it; or choose another folder, --set out=...")
        if resume and not saved.exists():
            raise ValueError(f"{self.path} holds no run to resume: leave out --resume to start one")
        if resume:
            before = yaml.safe_load(saved.read_text(encoding="utf-8"))
            if not isinstance(before, dict) or "objective" not in before:
                raise ValueError(f"{saved} is not the configuration of a run: start another one in another folder")
            own = yaml.safe_load(yaml.safe_dump(config.to_dict()))  # a tuple of options is a list there
            if changed := [name for name in config.changed(before) if own[name] != before[name]]:
                was = ", ".join(f"{name} was {before[name]!r}" for name in changed)
                raise ValueError(f"this run was started with other settings ({was}): resume with those, or start anew")
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for left in self.checkpoints.glob(".writing-*"):
            shutil.rmtree(left)
        _write(saved, yaml.safe_dump(config.to_dict(), sort_keys=False))

    def save(self, step: int, inner: int, tensors: dict[str, Any], lines: dict[str, int], keep: int) -> Path:
        """Write the state after `inner` updates of a step. On a full disk: ValueError, and older checkpoints stay."""
        name = f"{step:06d}-{inner:03d}"
        aside, final = self.checkpoints / f".writing-{name}", self.checkpoints / name
        try:
            aside.mkdir()
            torch.save(tensors, aside / TENSORS)
            state = {"format": FORMAT, "step": step, "inner": inner, "lines": lines, "sha256": _sha(aside / TENSORS)}
            _write(aside / STATE, json.dumps(state))
            _sync(aside / TENSORS)
            if final.exists():  # the same moment, saved again after a resume
                shutil.rmtree(final)
            os.replace(aside, final)
            _sync(self.checkpoints)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            last = max((p.name for p in self._all()), default="none yet")
            why = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise ValueError(
                f"the checkpoint of step {step} could not be written to {self.checkpoints} ({why}): make room and run "
                f"again with --resume; the last good checkpoint is {last}"
            ) from error
        for old in self._all()[:-keep]:
            shutil.rmtree(old)
        return final

    def load(self, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """(state, tensors) of the newest checkpoint that is whole, or None if there is none at all.

        A damaged one is named through `say` and passed over; ValueError if all of them are damaged.
        """
        found = self._all()
        for folder in reversed(found):
            try:
                state = json.loads((folder / STATE).read_text(encoding="utf-8"))
                if state["format"] != FORMAT or state["sha256"] != _sha(folder / TENSORS):
                    raise ValueError("its contents are not what was written")
                return state, torch.load(folder / TENSORS, map_location="cpu", weights_only=True)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                say(f"checkpoint {folder.name} is damaged and passed over: {' '.join(str(error).split())[:120]}")
        if found:
            raise ValueError(f"no checkpoint in {self.checkpoints} is whole: start another run in another folder")
        return None

    def cut(self, lines: dict[str, int]) -> None:
        """Drop what was logged after the checkpoint: those lines will be written again, the same."""
        for name in ("metrics.jsonl", "completions.jsonl"):
            path = self.path / name
            if path.exists():
                kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[: lines.get(name, 0)]
                _write(path, "".join(kept))

    def append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Add lines of JSON to a log."""
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def _holds_something(self) -> bool:
        """Whether a run came as far as a first step: what stopped before that may be started again."""
        metrics = self.path / "metrics.jsonl"
        return bool(self._all()) or (metrics.exists() and metrics.stat().st_size > 0)

    def _all(self) -> list[Path]:
        return sorted(p for p in self.checkpoints.glob("[0-9]*-[0-9]*") if p.is_dir())


def _write(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    aside = path.with_name(f".{path.name}.writing")
    aside.write_text(text, encoding="utf-8")
    _sync(aside)
    os.replace(aside, path)


def _sync(path: Path) -> None:
    """Wait until it is on the disk; folders cannot be opened everywhere."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
