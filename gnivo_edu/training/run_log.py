"""What a run writes as it goes: metrics, a few answers as text, and the trackers that accelerate
knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from gnivo_edu.names import nearest
from gnivo_edu.training.checkpoint import RunFolder
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.rollout import Drawn

PROJECT = "gnivo_edu"


class RunLog:
    """The logs of a run in its folder, and its trackers; only the first process has one that
    writes.
    """

    def __init__(
        self, config: TrainConfig, accelerator: Accelerator, folder: RunFolder, task: Any
    ) -> None:
        self.config, self.accelerator, self.folder, self.task = config, accelerator, folder, task

    def begin(self, step: int, resumed: bool) -> None:
        """Start the trackers. TensorBoard forgets what it was told of `step` and later ones before
        a resume.
        """
        if self.config.trackers:
            purge = {"tensorboard": {"purge_step": step}} if resumed else {}
            settings = _plain(self.config.to_dict())
            self.accelerator.init_trackers(PROJECT, config=settings, init_kwargs=purge)

    def write(self, row: dict[str, Any], drawn: Drawn, lines: dict[str, int]) -> None:
        """Log the metrics of a step and now and then some of its answers; counts the lines."""
        step = row["step"]
        if self.config.trackers:
            self.accelerator.log({k: v for k, v in row.items() if k != "step"}, step=step)
        self.folder.append("metrics.jsonl", [row])
        lines["metrics.jsonl"] += 1
        if step % self.config.completions_every == 0 or step + 1 == self.config.steps:
            rows = self._completions(step, drawn)
            self.folder.append("completions.jsonl", rows)
            lines["completions.jsonl"] += len(rows)

    def end(self) -> None:
        """Let the trackers finish what they write."""
        for tracker in getattr(self.accelerator, "trackers", []):
            tracker.finish()

    def _completions(self, step: int, drawn: Drawn, count: int = 2) -> list[dict[str, Any]]:
        """A few answers as text: to which question, with which reward and, where there is a right
        answer, status.
        """
        few = {
            name: x[:count, :count].flatten(0, 1).numpy()
            for name, x in drawn.items()
            if x.dim() > 1
        }
        index = drawn["prompt_index"][:count]
        prompts = index.repeat_interleave(len(few["lengths"]) // len(index))
        rows = []
        grades = self.task.statuses(few["tokens"], few["lengths"], prompts.numpy())
        for i, (prompt, status) in enumerate(zip(prompts.tolist(), grades, strict=True)):
            tokens = few["tokens"][i, : int(few["lengths"][i])].tolist()
            row = {
                "step": step,
                "prompt": prompt,
                "question": self.task.question_text(prompt),
                "tokens": tokens,
                "text": self.task.decode(tokens),
                "reward": float(few["rewards"][i]),
            }
            rows.append(row if status is None else {**row, "status": status})
        return rows


def check_trackers(names: Sequence[str]) -> None:
    """ValueError, in one line, on a tracker that accelerate does not know or that is not installed.

    >>> check_trackers(["tensorbord"])
    Traceback (most recent call last):
    ValueError: there is no tracker 'tensorbord'; did you mean 'tensorboard'?
    """
    known = sorted(map(str, LOGGER_TYPE_TO_CLASS))
    for name in names:
        if name not in known:
            raise ValueError(f"there is no tracker {name!r}; {nearest(name, known)}")
        if name not in map(str, get_available_trackers()):
            raise ValueError(
                f"the tracker {name!r} is not installed: pip install {name.replace('_', '-')}"
            )


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Plain values only, as trackers take them."""
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in config.items()}
