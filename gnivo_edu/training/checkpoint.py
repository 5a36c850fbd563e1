"""Checkpoints that a kill cannot spoil: written aside, made whole by one rename, and checked before
they are used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.manifest import (
    FORMAT,
    LOGS,
    STATE,
    TENSORS,
    manifest_text,
    moment,
    read_checkpoint,
    sha,
)
from gnivo_edu.training.record import FOLDER, moment_of


class RunStoppedError(ValueError):
    """A run that cannot go on; `told`: whether every process knows it."""

    def __init__(self, message: str, told: bool) -> None:
        super().__init__(message)
        self.told = told


class RunFolder:
    """The folder of a run: config.yaml, metrics.jsonl, completions.jsonl, completions/ (the
    record), checkpoints/ and, at the end, model/ and, where one was trained, critic/.

    Random numbers are made from (seed, step, prompt, response) alone, so a checkpoint holds no
    generator: weights, optimiser, reference and the answers that are being learned from are the
    whole state.
    """

    def __init__(self, out: str | Path) -> None:
        self.path = Path(out)
        self.checkpoints = self.path / "checkpoints"
        # Checkpoints that were passed over: none of the `keep` that stay.
        self.damaged: set[str] = set()
        # The system's own, which goes with the process that holds it, however that ends.
        self._lock = FileLock(self.path / ".lock", timeout=0)

    def claim(self, config: TrainConfig, resume: bool) -> None:
        """Make the folder this run's own, until `release`; all else in it stays as it is.

        Raises ValueError if another run has it, if it holds a run and `resume` is false, if it
        holds none, or one with other settings, and `resume` is true, and if what lies in it is a
        file where a run writes a folder, or a folder where it writes a file.
        """
        self._check_shape()
        if not (self.path / "config.yaml").exists():
            if self._holds_something() or self._parts():
                raise ValueError(
                    f"{self.path} holds a run whose config.yaml is lost: put that back and use "
                    "--resume, or choose another folder, --set out=..."
                )
            if resume:
                raise ValueError(
                    f"{self.path} holds no run to resume: leave out --resume to start one"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ValueError(
                f"another run is at work in {self.path}: wait until it has ended, or choose "
                "another folder, --set out=..."
            ) from error
        self._check(config, resume)

    def release(self) -> None:
        """Leave the folder to other runs."""
        self._lock.release()

    def _check_shape(self) -> None:
        """ValueError, in one line, on a name in the folder that a run could not write."""
        folders = [self.path, self.checkpoints]
        folders += [self.path / name for name in ("model", "adapter", "critic", FOLDER)]
        if self.checkpoints.is_dir():
            folders += self.checkpoints.glob(".writing-*")
            folders += (p for p in self.checkpoints.iterdir() if _is_moment(p.name))
        files = [self.path / name for name in ("config.yaml", ".config.yaml.writing", ".lock")]
        files += [self.path / name for log in LOGS for name in (log, f".{log}.writing")]
        for path in folders:
            if os.path.lexists(path) and not path.is_dir():
                raise ValueError(f"{path} is no folder, as a run needs it: move it away")
        for path in files:
            if path.is_dir():
                raise ValueError(f"{path} is a folder, and a run writes a file there: move it away")
            # A pipe would be waited for, and a lock is no link.
            if os.path.lexists(path) and (
                not path.is_file() or (path.name == ".lock" and path.is_symlink())
            ):
                raise ValueError(f"{path} is no plain file, as a run needs it: move it away")

    def _check(self, config: TrainConfig, resume: bool) -> None:
        import yaml

        saved = self.path / "config.yaml"
        if saved.exists() and not resume and self._holds_something():
            raise ValueError(
                f"{self.path} holds a run: --resume continues it; or choose another folder, --set "
                "out=..."
            )
        if resume:
            try:
                before = yaml.safe_load(saved.read_text(encoding="utf-8"))
            except (yaml.YAMLError, ValueError, OSError, RecursionError):
                before = None
            if not isinstance(before, dict) or "objective" not in before:
                raise ValueError(
                    f"{saved} is not the configuration of a run: start another one in another "
                    "folder"
                )
            # As it would be read back: a tuple of options is a list there.
            now = yaml.safe_load(yaml.safe_dump(config.to_dict()))
            changed = [name for name in config.changed(before) if now[name] != before[name]]
            if changed:
                was = ", ".join(f"{name} was {before[name]!r}" for name in changed)
                raise ValueError(
                    f"this run was started with other settings ({was}): resume with those, or "
                    "start anew"
                )

    def begin(self, config: TrainConfig, lines: dict[str, int]) -> None:
        """Write the configuration, and cut the logs to these `lines`: those after them will be
        written again.
        """
        import yaml

        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for left in self.checkpoints.glob(".writing-*"):
            shutil.rmtree(left)
        _write(
            self.path / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False).encode()
        )
        for name in LOGS:
            if (self.path / name).exists():
                _write(self.path / name, self._logged(name, lines[name]))

    def save(self, state: dict[str, Any], tensors: dict[str, Any], keep: int) -> None:
        """Write the state: `COUNTS`, the `lines` of the logs, and tensors. Of whole checkpoints the
        last `keep` stay.

        On a full disk: ValueError, in one line, and the older checkpoints stay.
        """
        name = moment(state["step"], state["inner"])
        aside, final = self.checkpoints / f".writing-{name}", self.checkpoints / name
        try:
            aside.mkdir()
            torch.save(tensors, aside / TENSORS)
            logs = {log: sha(self.path / log) for log in LOGS}
            files = {TENSORS: sha(aside / TENSORS)}
            record = {"format": FORMAT, **state, "logs": logs, "files": files}
            _write(aside / STATE, manifest_text(record).encode())
            _sync(aside / TENSORS)
            if final.exists():  # the same moment, saved again after a resume
                shutil.rmtree(final)
            os.replace(aside, final)
            _sync(self.checkpoints)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            last = next((p.name for p in reversed(self._whole())), "none yet")
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
                return read_checkpoint(folder)
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

    def check_logs(self, state: dict[str, Any]) -> None:
        """ValueError, in one line, unless the logs begin with what was written by this state."""
        for name in LOGS:
            logged = self._logged(name, state["lines"][name])
            if hashlib.sha256(logged).hexdigest() != state["logs"][name]:
                raise ValueError(
                    f"{self.path / name} is not what this run had logged by step {state['step']}: "
                    "put it back as it was, or start another run in another folder"
                )

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

    def keep_part(self, name: str, content: bytes) -> None:
        """Write a part of the record whole; ValueError, in one line, where it cannot be written."""
        path = self.path / FOLDER / name
        try:
            path.parent.mkdir(exist_ok=True)
            _write(path, content)
        except OSError as error:
            raise ValueError(
                f"{path} could not be written ({_why_not_written(error)}): make room and run again "
                "with --resume"
            ) from error

    def drop_parts(self, step: int, inner: int) -> None:
        """Remove the parts of this update and of later ones: they will be written again."""
        for place, path in self._parts().items():
            if place >= (step, inner):
                path.unlink()

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

    def _parts(self) -> dict[tuple[int, int], Path]:
        """The parts of the record by step and update."""
        paths = (self.path / FOLDER).glob("*.parquet")
        return {place: path for path in paths if (place := moment_of(path.name)) is not None}

    def _logged(self, name: str, lines: int) -> bytes:
        """The first lines of a log."""
        path = self.path / name
        kept = path.read_bytes().split(b"\n")[:lines] if path.exists() else []
        return b"".join(line + b"\n" for line in kept)

    def _all(self) -> list[Path]:
        """All checkpoints, the newest last."""
        named = self.checkpoints.glob("[0-9]*-[0-9]*")
        whole = (p for p in named if p.is_dir() and _is_moment(p.name))
        return sorted(whole, key=lambda p: [int(number) for number in p.name.split("-")])

    def _whole(self) -> list[Path]:
        return [p for p in self._all() if p.name not in self.damaged]


def _is_moment(name: str) -> bool:
    """Whether a checkpoint is called so."""
    return re.fullmatch(r"\d+-\d+", name, re.ASCII) is not None


def _why_not_written(error: Exception) -> str:
    """The system's reason; torch keeps it to itself, and names a line of its own source instead."""
    return getattr(error, "strerror", None) or "not all of it could be written: is the disk full?"


def _write(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all; an OSError names it."""
    aside = path.with_name(f".{path.name}.writing")
    try:
        aside.write_bytes(content)
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
