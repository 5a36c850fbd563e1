"""Checkpoints that a kill cannot spoil: written aside, made whole by one rename, and checked before
they are used.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gnivo_edu.training.config import TrainConfig

FORMAT = 2
TENSORS, STATE = "tensors.pt", "state.json"
COUNTS = ("step", "inner", "tokens")  # of state.json, beside the lines of the logs


class RunStoppedError(ValueError):
    """A run that cannot go on; `told`: whether every process knows it."""

    def __init__(self, message: str, told: bool) -> None:
        super().__init__(message)
        self.told = told


class RunFolder:
    """The folder of a run: config.yaml, metrics.jsonl, completions.jsonl, checkpoints/ and, at the
    end, model/.

    Random numbers are made from (seed, step, prompt, response) alone, so a checkpoint holds no
    generator: weights, optimiser, reference and the answers that are being learned from are the
    whole state.
    """

    def __init__(self, out: str | Path) -> None:
        self.path = Path(out)
        self.checkpoints = self.path / "checkpoints"
        # Checkpoints that were passed over: none of the `keep` that stay.
        self.damaged: set[str] = set()

    def begin(self, config: TrainConfig, resume: bool) -> None:
        """Make the folder. Raises ValueError if it holds a run and `resume` is false, or none and
        it is true.
        """
        import yaml

        saved = self.path / "config.yaml"
        if saved.exists() and not resume and self._holds_something():
            raise ValueError(
                f"{self.path} holds a run: --resume continues it; or choose another folder, --set "
                "out=..."
            )
        if resume and not saved.exists():
            raise ValueError(f"{self.path} holds no run to resume: leave out --resume to start one")
        if resume:
            try:
                before = yaml.safe_load(saved.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError):
                before = None
            if not isinstance(before, dict) or "objective" not in before:
                raise ValueError(
                    f"{saved} is not the configuration of a run: start another one in another "
                    "folder"
                )
            # As it would be read back: a tuple of options is a list there.
            now = yaml.safe_load(yaml.safe_dump(config.to_dict()))
            if changed := [name for name in config.changed(before) if now[name] != before[name]]:
                was = ", ".join(f"{name} was {before[name]!r}" for name in changed)
                raise ValueError(
                    f"this run was started with other settings ({was}): resume with those, or "
                    "start anew"
                )
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for left in self.checkpoints.glob(".writing-*"):
            shutil.rmtree(left)
        _write(saved, yaml.safe_dump(config.to_dict(), sort_keys=False))

    def save(self, state: dict[str, Any], tensors: dict[str, Any], keep: int) -> None:
        """Write the state: `COUNTS`, the `lines` of the logs, and tensors. Of whole checkpoints the
        last `keep` stay.

        On a full disk: ValueError, in one line, and the older checkpoints stay.
        """
        name = f"{state['step']:06d}-{state['inner']:03d}"
        aside, final = self.checkpoints / f".writing-{name}", self.checkpoints / name
        try:
            aside.mkdir()
            torch.save(tensors, aside / TENSORS)
            record = {"format": FORMAT, **state, "sha256": _sha(aside / TENSORS)}
            _write(aside / STATE, json.dumps(record))
            _sync(aside / TENSORS)
            if final.exists():  # the same moment, saved again after a resume
                shutil.rmtree(final)
            os.replace(aside, final)
            _sync(self.checkpoints)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            last = max((p.name for p in self._whole()), default="none yet")
            raise ValueError(
                f"the checkpoint of step {state['step']} could not be written to "
                f"{self.checkpoints} ({_why_not_written(error)}): make room and run again with "
                f"--resume; the last good checkpoint is {last}"
            ) from error
        self.damaged.discard(name)
        for old in self._whole()[:-keep]:
            shutil.rmtree(old)

    def load(self, progress: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """(state, tensors) of the newest checkpoint that is whole, or None if there is none at all.

        A damaged one is named through `progress` and passed over; ValueError if all of them are
        damaged.
        """
        for folder in reversed(self._all()):
            try:
                state = _checked(json.loads((folder / STATE).read_text(encoding="utf-8")))
                if state["sha256"] != _sha(folder / TENSORS):
                    raise ValueError("its contents are not what was written")
                return state, _tensors(folder / TENSORS)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                self.damaged.add(folder.name)
                progress(
                    f"checkpoint {folder.name} is damaged and passed over: "
                    f"{' '.join(str(error).split())[:120]}"
                )
        if self._all():
            raise ValueError(
                f"no checkpoint in {self.checkpoints} is whole: start another run in another folder"
            )
        return None

    def cut(self, lines: dict[str, int]) -> None:
        """Drop what was logged after the checkpoint: the same lines will be written again."""
        for name in ("metrics.jsonl", "completions.jsonl"):
            path = self.path / name
            if path.exists():
                logged = path.read_text(encoding="utf-8").splitlines(keepends=True)
                _write(path, "".join(logged[: lines.get(name, 0)]))

    def append(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Add lines of JSON to a log; ValueError, in one line, where they cannot be written."""
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        except OSError as error:
            raise ValueError(
                f"{self.path / name} could not be written ({_why_not_written(error)}): make room "
                "and run again with --resume"
            ) from error

    def stop(self, error: ValueError, step: int, drawn: Any, write: bool) -> RunStoppedError:
        """The error of a run that cannot go on at this step, the answers that it learned from saved
        for inspection (by the process that is to `write`).
        """
        path = self.path / f"stopped-at-step-{step}.pt"
        saved = f"its answers are in {path}"
        if write:
            try:
                torch.save(drawn, path)
            except (OSError, RuntimeError) as full:
                path.unlink(missing_ok=True)
                saved = f"its answers could not be written to {path} ({_why_not_written(full)})"
        # All processes see the same numbers, so all know of this error.
        return RunStoppedError(
            f"stopped at step {step}: {error}; {saved}. A smaller learning_rate, a larger alpha "
            "or, for raw weights, reward_max may help",
            told=getattr(error, "told", True),
        )

    def _holds_something(self) -> bool:
        """Whether a run came as far as a first step: what stopped before that may be started
        again.
        """
        metrics = self.path / "metrics.jsonl"
        return bool(self._all()) or (metrics.exists() and metrics.stat().st_size > 0)

    def _all(self) -> list[Path]:
        return sorted(p for p in self.checkpoints.glob("[0-9]*-[0-9]*") if p.is_dir())

    def _whole(self) -> list[Path]:
        return [p for p in self._all() if p.name not in self.damaged]


def _why_not_written(error: Exception) -> str:
    """The system's reason; torch keeps it to itself, and names a line of its own source instead."""
    return getattr(error, "strerror", None) or "not all of it could be written: is the disk full?"


def _checked(state: Any) -> dict[str, Any]:
    """What state.json holds, if it is that of a run; else ValueError."""
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"its {STATE} is not that of a run, or of another version of the package")
    counted = all(isinstance(state.get(name), int) for name in COUNTS)
    if not counted or not isinstance(state.get("lines"), dict):
        raise ValueError(f"its {STATE} lacks one of lines, {', '.join(COUNTS)}")
    return state


def _tensors(path: Path) -> dict[str, Any]:
    """What tensors.pt holds, if it is that of a run; else ValueError."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError):  # of another program, or no such file at all
        tensors = None
    if not isinstance(tensors, dict):
        raise ValueError(f"its {TENSORS} is not that of a run")
    return tensors


def _write(path: Path, text: str) -> None:
    """Write a small file whole or not at all; an OSError names it."""
    aside = path.with_name(f".{path.name}.writing")
    try:
        aside.write_text(text, encoding="utf-8")
        _sync(aside)
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


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
