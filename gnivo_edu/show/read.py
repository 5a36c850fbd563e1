"""What a run has left: its configuration, its metrics, and its record, as `training.record` or TRL
writes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.files import named, read_line, read_settings, read_text
from gnivo_edu.training.record import FOLDER, TOKEN_COLUMNS, moment_of

NOT_REWARDS = {
    *("step", "prompt", "completion", "advantage", "update", "question", "answer", "length"),
    *("truncated", "sampler", "depth", "log_z", "token_ids", "token_texts", "signal"),
    *TOKEN_COLUMNS,
}


@dataclass
class Part:
    """The answers of an update, one after the other, each question's together.

    `columns` by name; `reward_names`, those of the columns that are rewards."""

    step: int
    update: int
    columns: dict[str, list[Any]]
    reward_names: list[str]

    @cached_property
    def groups(self) -> list[tuple[int, list[int]]]:
        """Each group: the number of its question, and the places of its answers, in order."""
        numbers = self.columns["question"]
        if "answer" in self.columns:  # a question may have been asked twice
            starts = [place for place, k in enumerate(self.columns["answer"]) if k == 0]
            ends = [*starts[1:], len(numbers)]
            return [(numbers[a], list(range(a, b))) for a, b in zip(starts, ends, strict=True)]
        places: dict[int, list[int]] = {}
        for place, number in enumerate(numbers):
            places.setdefault(number, []).append(place)
        return list(places.items())

    @property
    def rewards(self) -> list[float]:
        """The reward of each answer: the sum of what its reward functions gave."""
        rows = zip(*(self.columns[name] for name in self.reward_names), strict=True)
        return [float(sum(x for x in row if x is not None)) for row in rows]

    @cached_property
    def batch(self) -> GroupBatch | None:
        """What the loss saw, in float64; None where the record has no log-probabilities, or groups
        of several sizes.
        """
        columns = self.columns
        sizes = {len(places) for _, places in self.groups}
        if "log_probs" not in columns or len(sizes) != 1:
            return None
        order = [place for _, places in self.groups for place in places]
        shape = (len(self.groups), sizes.pop())
        lengths = torch.tensor([columns["length"][place] for place in order]).view(shape)
        mask = torch.arange(int(lengths.max())) < lengths[..., None]

        def padded(name: str, kind: torch.dtype = torch.float64) -> Tensor:
            x = torch.zeros(mask.shape, dtype=kind)
            flat = [number for place in order for number in columns[name][place]]
            x[mask] = torch.tensor(flat, dtype=kind)
            return x

        def of_answers(values: Sequence[Any]) -> Tensor:
            return torch.tensor([values[place] for place in order]).view(shape)

        fields: dict[str, Any] = {
            batch_field: padded(name)
            for name, batch_field in TOKEN_COLUMNS.items()
            if name in columns and name not in ("implicit_values", "step_ids")
        }
        if "step_ids" in columns:
            fields["step_ids"] = padded("step_ids", torch.int64)
        if "log_z" in columns:
            fields["log_z"] = of_answers(columns["log_z"]).double()[:, 0]
        rewards = of_answers(self.rewards).double()
        return GroupBatch(mask=mask, rewards=rewards, **fields)

    @property
    def depths(self) -> Tensor | None:
        """The depth that was drawn for each question, where one was."""
        if "depth" not in self.columns:
            return None
        first = [self.columns["depth"][places[0]] for _, places in self.groups]
        return torch.tensor(first, dtype=torch.int64)


@dataclass
class Run:
    """A run as it is on disk. `config` is {} and `metrics` empty where it is TRL's."""

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    parts: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the run is called: its folder."""
        return self.path.resolve().name

    def updates(self, path: Path, tokens: bool = True) -> list[Part]:
        """The updates that a part holds: one, or, of a file of many steps, each; without numbers of
        `tokens` in a fraction of the time.
        """
        return _parts(path, tokens)


def read_run(path: Path) -> Run:
    """The run of a folder, or of a parquet file of completions such as TRL's.

    Raises ValueError, in one line, where there is neither.
    """
    if path.is_file():
        return Run(path, parts=[path])
    if not path.is_dir():
        raise ValueError(f"{named(path)} is not there: give the folder of a run, or a parquet file")
    if not (path / "config.yaml").is_file():
        parts = sorted(path.glob("*.parquet")) or sorted((path / FOLDER).glob("*.parquet"))
        if not parts:
            raise ValueError(
                f"{named(path)} holds neither a run (config.yaml) nor completions in parquet"
            )
        return Run(path, parts=parts)
    metrics: list[dict[str, Any]] = []
    if (path / "metrics.jsonl").is_file():
        lines = read_text(path / "metrics.jsonl").splitlines()
        where = f"line {{}} of {named(path / 'metrics.jsonl')}"
        metrics = [read_line(line, where.format(n)) for n, line in enumerate(lines, 1) if line]
    moments = {moment_of(p.name): p for p in (path / FOLDER).glob("*.parquet")}
    moments.pop(None, None)
    parts = [moments[moment] for moment in sorted(m for m in moments if m is not None)]
    return Run(path, read_settings(path / "config.yaml"), metrics=metrics, parts=parts)


def _parts(path: Path, tokens: bool) -> list[Part]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError("reading parquet needs pyarrow: pip install 'gnivo-edu[llm]'") from error
    try:
        names = pq.read_schema(path).names
        numbers = {*TOKEN_COLUMNS, "token_ids", "signal"}
        table = pq.read_table(path, columns=[n for n in names if tokens or n not in numbers])
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{named(path)} is no parquet file: {' '.join(str(error).split())}"
        ) from error
    columns = table.to_pydict()
    if missing := {"step", "prompt", "completion"} - set(columns):
        raise ValueError(
            f"{named(path)} has no column {min(missing)}: it is no record of completions"
        )
    rewards = [
        name
        for name, kind in zip(table.schema.names, table.schema.types, strict=True)
        if name not in NOT_REWARDS and (pa.types.is_floating(kind) or pa.types.is_integer(kind))
    ]
    if not rewards:
        raise ValueError(f"{named(path)} has no column of rewards")
    columns["prompt"] = [_text(x) for x in columns["prompt"]]
    columns["completion"] = [_text(x) for x in columns["completion"]]
    count = len(columns["step"])
    columns.setdefault("update", [0] * count)
    if "question" not in columns:
        known: dict[str, int] = {}
        columns["question"] = [known.setdefault(x, len(known)) for x in columns["prompt"]]
    moments = sorted(set(zip(columns["step"], columns["update"], strict=True)))
    if len(moments) == 1:
        return [Part(*moments[0], columns=columns, reward_names=rewards)]
    found = []
    for moment in moments:
        pairs = zip(columns["step"], columns["update"], strict=True)
        rows = [n for n, pair in enumerate(pairs) if pair == moment]
        chosen = {name: [column[n] for n in rows] for name, column in columns.items()}
        found.append(Part(*moment, columns=chosen, reward_names=rewards))
    return found


def _text(x: Any) -> str:
    """A prompt or a completion, of a conversation its turns one after the other."""
    if isinstance(x, str):
        return x
    if isinstance(x, list):
        return "\n".join(str(turn.get("content", "")) for turn in x if isinstance(turn, dict))
    return json.dumps(x)
