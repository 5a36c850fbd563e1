"""The card of a trained model, README.md beside its weights: what it was trained for and from, what
the run has measured of it, and how to run it again.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gnivo_edu.files import read_line
from gnivo_edu.names import visible
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.origin import LIBRARIES

_OF_A_MACHINE = ("out", "trackers")  # settings that say where a run wrote, and nothing of a model


def model_card(config: TrainConfig, change: Mapping[str, Any] | None = None) -> str:
    """The card, in Markdown with the head that the hub reads.

    It says the KL to the initial model as `config.out`/metrics.jsonl last has it, in nats, and with
    `change`, which `before_and_after` returns, the rewards before and after with their interval.
    What was not measured is named as such.

    >>> print(model_card(TrainConfig(out="/no/run/here")).splitlines()[8])
    # shipped, trained on arithmetic with gnivo
    """
    objective, task = visible(config.objective), visible(config.task)
    head = {
        "library_name": "transformers",
        **_base(config.model),
        "tags": ["gnivo-edu", "reinforcement-learning", objective],
    }
    recipe = {k: v for k, v in config.to_dict().items() if k not in _OF_A_MACHINE}
    answers = f"{config.group_size} answers to each of {config.prompts_per_step} prompts"
    return "\n".join(
        (
            "---",
            yaml.safe_dump(head, sort_keys=False).rstrip(),
            "---",
            "",
            f"# {visible(Path(config.model).name)}, trained on {task} with {objective}",
            "",
            f"{config.steps} steps of {answers}, by gnivo_edu"
            ": each answer is rewarded once, at its end.",
            "",
            "## What the run has measured",
            "",
            _kl_line(Path(config.out) / "metrics.jsonl"),
            _reward_line(change),
            "",
            "## Recipe",
            "",
            "Saved as recipe.yaml, it is run again by `gnivo-edu train --config recipe.yaml`.",
            "",
            "```yaml",
            yaml.safe_dump(recipe, sort_keys=False).rstrip(),
            "```",
            "",
            "## Versions",
            "",
            ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
            + f", Python {platform.python_version()}",
            "",
        )
    )


def _base(model: str) -> dict[str, str]:
    """The hub's name of the model that the run began from, where it has one: owner/name."""
    on_the_hub = model.count("/") == 1 and not Path(model).exists()
    return {"base_model": model} if on_the_hub and model[0] not in "./~" else {}


def _kl_line(metrics: Path) -> str:
    """The last KL to the initial model that the log of a run has."""
    rows = [] if not metrics.exists() else metrics.read_text(encoding="utf-8").splitlines()
    for row in (read_line(line, where=str(metrics)) for line in reversed(rows)):
        if "kl_to_initial" in row:
            return (
                f"- KL(policy || model it began from): {row['kl_to_initial']:.4g} nats an answer, "
                f"on its answers of step {row['step']}, before that step's last update."
            )
    return "- KL(policy || model it began from): not measured."


def _reward_line(change: Mapping[str, Any] | None) -> str:
    """Rewards before and after, with the interval of their difference if there is one."""
    if change is None:
        return "- Reward before and after: not measured."
    interval = change["interval"]
    within = "of one question, so without an interval"
    if interval is not None:
        low, high = interval
        within = f"95% interval {low:+.3f} to {high:+.3f}, paired over questions"
    return (
        f"- Mean reward: {change['before']:.3f} before, {change['after']:.3f} after; difference "
        f"{change['difference']:+.3f}, {within}. {change['answers']} answers of each model to "
        f"{change['questions']} questions that the run has learned from: `gnivo-edu evaluate` on a "
        "test split says what carries over."
    )
