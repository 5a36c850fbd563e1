"""What a run writes as it goes: metrics, at some steps a few answers as text and the error of its
values, and the trackers that accelerate knows.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from gnivo_edu import exact
from gnivo_edu.batch import GroupBatch
from gnivo_edu.training.checkpoint import RunFolder
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.metrics import exact_error, exact_keys
from gnivo_edu.training.record import TokenTexts, check_record, has_parquet, part_name, part_of
from gnivo_edu.training.rollout import Drawn
from gnivo_edu.training.state import RunState

PROJECT = "gnivo_edu"


class RunLog:
    """The logs of a run in its folder, and its trackers; only the first process has one that
    writes. `alpha`: that of the objective, None if it has none.
    """

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        folder: RunFolder,
        state: RunState,
        alpha: float | None,
    ) -> None:
        check_record(config)
        self.config, self.accelerator, self.folder = config, accelerator, folder
        self.state, self.alpha = state, alpha
        self.policy, self.task = state.rollouts.policy, state.rollouts.task
        self.texts = TokenTexts(self.task)

    def reports(self, step: int) -> bool:
        """Whether this is one of the steps at which more is measured and written."""
        return step % self.config.completions_every == 0 or step + 1 == self.config.steps

    def keeps(self, step: int) -> bool:
        """Whether the answers of this step are put on record."""
        return self.config.completions == "all" or (self.reports(step) and has_parquet())

    @cached_property
    def keys(self) -> list[exact.Solution]:
        """The answer key of every prompt under the initial model, where they can be enumerated."""
        return exact_keys(self.state.rollouts.initial, self.task, alpha=self.alpha)

    def begin(self, step: int, resumed: bool) -> None:
        """Start the trackers. TensorBoard forgets what it was told of `step` and later ones before
        a resume.
        """
        self.folder.drop_parts(step, self.state.inner)
        if self.config.trackers:
            purge = {"tensorboard": {"purge_step": step}} if resumed else {}
            settings = _plain(self.config.to_dict())
            self.accelerator.init_trackers(PROJECT, config=settings, init_kwargs=purge)

    def write(self, row: dict[str, Any]) -> None:
        """Log the metrics of a step and now and then some of its answers; counts the lines.

        What is measured now and then, of the policy as it has become, is put into the row.
        """
        step, lines = row["step"], self.state.lines
        reports = self.reports(step)
        if reports:
            row |= exact_error(self.policy, self.task, keys=self.keys)
        if self.config.trackers:
            self.accelerator.log({k: v for k, v in row.items() if k != "step"}, step=step)
        self.folder.append("metrics.jsonl", [row])
        lines["metrics.jsonl"] += 1
        if reports:
            assert self.state.drawn is not None
            rows = self._completions(step, self.state.drawn)
            self.folder.append("completions.jsonl", rows)
            lines["completions.jsonl"] += len(rows)

    def record(self, drawn: Drawn, batch: GroupBatch, slope: Tensor) -> None:
        """Put the answers of an update on record; `slope` [N, K, T], of the loss by the
        log-probability of each token.
        """
        step, inner = self.state.step, self.state.inner
        part = part_of(
            step, inner, drawn=drawn, batch=batch, signal=-slope, texts=self.texts,
            config=self.config,
        )  # fmt: skip
        self.folder.keep_part(part_name(step, inner), part)

    def end(self) -> None:
        """Let the trackers finish what they write."""
        for tracker in getattr(self.accelerator, "trackers", []):
            tracker.finish()

    def _completions(self, step: int, drawn: Drawn, count: int = 2) -> list[dict[str, Any]]:
        """A few answers as text: to which question, with which reward and, where there is a right
        answer, status.
        """
        sample = {
            name: x[:count, :count].flatten(0, 1).numpy()
            for name, x in drawn.items()
            if x.dim() > 1
        }
        index = drawn["prompt_index"][:count]
        prompts = index.repeat_interleave(len(sample["lengths"]) // len(index))
        rows = []
        grades = self.task.statuses(sample["tokens"], sample["lengths"], prompts.numpy())
        for i, (prompt, status) in enumerate(zip(prompts.tolist(), grades, strict=True)):
            tokens = sample["tokens"][i, : int(sample["lengths"][i])].tolist()
            row = {
                "step": step,
                "prompt": prompt,
                "question": self.task.question_text(prompt),
                "tokens": tokens,
                "text": self.task.decode(tokens),
                "reward": float(sample["rewards"][i]),
            }
            if "clean_rewards" in sample:
                row["reward_clean"] = float(sample["clean_rewards"][i])
            rows.append(row if status is None else {**row, "status": status})
        return rows


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Plain values only, as trackers take them."""
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in config.items()}
