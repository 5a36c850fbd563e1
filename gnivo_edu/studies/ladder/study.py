"""The GPU rung of the ladder: a model of 30 million parameters of our own, taught word problems and
then trained by three methods in bf16; other sizes for their speed; any model of the hub on GSM8K.

Without a CUDA device every piece of the rung says that it was not run, and the same pieces are
tried with a small model on the CPU. `GNIVO_MODEL=PATH_OR_HUB_ID` (or smollm2) adds that model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from gnivo_edu.bench.models import ACTIONS
from gnivo_edu.bench.phases import PEAK_FLOPS
from gnivo_edu.statistics import Interval
from gnivo_edu.studies.ladder.pieces import NOT_RUN, ROWS_AT_ONCE, gsm8k_options, run_piece
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Cell, Size, Study
from gnivo_edu.studies.table1.search import METHODS as SETTINGS
from gnivo_edu.studies.tables import write_table

METHODS = ("GN-IVO", "GRPO", "GVPO")
LARGE, TINY = "30M", "small, on a CPU"
# What a school and a method take, by the size of the form.
SCHOOL: dict[str, dict[str, Any]] = {
    LARGE: {"size": "large", "steps": 1500, "batch_size": 256, "learning_rate": 5e-4},
    "full": {"size": "small", "steps": 500, "batch_size": 64, "learning_rate": 3e-3},
    "quick": {"size": "small", "steps": 150, "batch_size": 32, "learning_rate": 3e-3},
    "smoke": {"size": "tiny", "steps": 10, "batch_size": 8, "learning_rate": 3e-3},
}
TRAIN: dict[str, dict[str, Any]] = {
    LARGE: {"steps": 60, "prompts_per_step": 128, "learning_rate": 5e-5},
    "full": {"steps": 20, "prompts_per_step": 16, "learning_rate": 3e-4},
    "quick": {"steps": 10, "prompts_per_step": 8, "learning_rate": 3e-4},
    "smoke": {"steps": 2, "prompts_per_step": 4, "learning_rate": 3e-4},
}
QUESTIONS = {LARGE: 200, "full": 100, "quick": 20, "smoke": 5}
_LONG = {"prompts": 16, "prompt_length": 64, "horizon": 256, "steps": 1}
SPEED: dict[str, dict[str, Any]] = {
    "30M": {**_LONG, "size": "30M", "vocabulary": ACTIONS + 1},
    "0.5B": {**_LONG, "size": "0.5B", "vocabulary": 151_936},
    "1.5B": {**_LONG, "size": "1.5B", "vocabulary": 151_936},
}
TINY_SPEED = {"prompts": 2, "prompt_length": 4, "group_size": 2, "horizon": 3, "size": "tiny"}
HUB = {"steps": 20, "prompts_per_step": 16, "learning_rate": 1e-6}
TINY_HUB = {"steps": 1, "prompts_per_step": 2, "learning_rate": 1e-6}
# For the estimate: weights and layers; a GPU's share of its peak; seconds of a layer's kernels, of
# a demonstration, and of the start of a piece. Guesses on the careful side, none of them measured.
WEIGHTS = {"large": (30.7e6, 9), "30M": (29.4e6, 9), "0.5B": (494e6, 24), "1.5B": (1.54e9, 28)}
SHARE, LAYER, DEMONSTRATION, START = 0.2, 1e-3, 1e-4, 15.0
READ = 29 + 12  # tokens of a question and of its answer, at most


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """The rung on its GPU, or as not run; the same pieces with a small model, where there is no GPU
    or a smaller form is asked for.
    """
    device = "cuda" if torch.cuda.is_available() else "none"
    listed: list[Cell] = []
    if size == "full":
        listed += _rung(LARGE, LARGE, device, seeds)
        listed += [
            Cell(f"speed, {name}", seeds[0], _piece("speed", device, step=step, repeats=2))
            for name, step in SPEED.items()
        ]
    name = os.environ.get("GNIVO_MODEL")
    if name:
        listed += _hub(name, device if size == "full" else "cpu", size, seeds)
    if size != "full" or device == "none":
        listed += _rung(TINY, size, "cpu", seeds)
        speed = _piece("speed", "cpu", step=TINY_SPEED, repeats=1)
        listed.append(Cell(f"speed, {TINY}", seeds[0], speed))
    return listed


def _piece(piece: str, device: str, **settings: Any) -> dict[str, Any]:
    return {"piece": piece, "device": device, **settings}


def _rung(name: str, form: str, device: str, seeds: Sequence[int]) -> list[Cell]:
    """A school and the methods after it."""
    shared = {"school": SCHOOL[form], "questions": QUESTIONS[form]}
    listed = [Cell(f"{name}, base", seed, _piece("school", device, **shared)) for seed in seeds]
    for method in METHODS:
        train = {"setting": SETTINGS[method], "group_size": 8, "precision": "bf16", **TRAIN[form]}
        settings = _piece("method", device, train=train, **shared)
        listed += [Cell(f"{name}, {method}", seed, settings) for seed in seeds]
    return listed


def _hub(model: str, device: str, size: Size, seeds: Sequence[int]) -> list[Cell]:
    """A model of the hub by every method of the ladder."""
    asked, tested, answers, steps = (256, 100, 8, HUB) if size == "full" else (8, 1, 2, TINY_HUB)
    listed = []
    for method in METHODS:
        train = {
            "setting": SETTINGS[method],
            "model": model,
            "task": "gsm8k",
            "task_options": gsm8k_options(asked),
            "group_size": answers,
            "precision": "bf16",
            "micro_batch": ROWS_AT_ONCE,
            **steps,
        }
        settings = _piece("hub", device, train=train, questions=tested)
        label = f"{model.rstrip('/').rpartition('/')[2]}, {method}"
        listed += [Cell(label, seed, settings) for seed in seeds]
    return listed


def estimate(settings: Any) -> float:
    """Seconds that a piece is thought to take on an H200, of the pieces of 30 million parameters
    and of speed: operations at a share of its peak, and kernels one after the other.

    >>> 15 < estimate({"piece": "speed", "step": SPEED["30M"], "repeats": 2}) < 60
    True
    """
    most = SHARE * PEAK_FLOPS["H200"]
    if settings["piece"] == "speed":
        step = settings["step"]
        weights, layers = WEIGHTS[step["size"]]
        answers = step["prompts"] * 8
        tokens = answers * (step["prompt_length"] + step["horizon"])
        passes = step["horizon"] + 4 * answers / ROWS_AT_ONCE
        each = 10 * weights * tokens / most + LAYER * layers * passes
        return START + (settings["repeats"] + 1) * each
    school = settings["school"]
    weights, layers = WEIGHTS[school["size"]]
    if settings["piece"] == "school":
        rows = school["batch_size"]
        each = 6 * weights * rows * READ / most + 3 * LAYER * layers + rows * DEMONSTRATION
        return START + school["steps"] * each
    train = settings["train"]
    updates = 4 if train["setting"] == "gvpo" else 1
    answers = train["prompts_per_step"] * train["group_size"]
    work = (2 + 8 * updates) * weights * answers * READ / most
    return START + train["steps"] * (work + LAYER * layers * (12 + 4 * updates))


def _size(settings: Any) -> str:
    """What model a piece is about, by the names of `WEIGHTS`; "" for one of the hub."""
    return str((settings.get("step") or settings.get("school") or {}).get("size", ""))


def report(results: Results) -> None:
    """The table: what ran, and what did not."""
    rows = [_line(results, name) for name in results.rows]
    missing = [run["row"] for run in results.runs if "not_run" in run]
    planned = {run["row"]: run["settings"] for run in results.runs}
    seconds = [estimate(one) for one in planned.values() if _size(one) in WEIGHTS]
    told = f"Of {len(results.runs)} pieces {len(missing)} were not run"
    text = (
        "# The GPU rung of the ladder\n\n"
        f"{told}{': no CUDA device was at hand' * bool(missing)}. Pass@1: mean over tiers of two, "
        "three and four operations (word problems; of a model of the hub: GSM8K), sampled at "
        "temperature 1. Tokens a second: of answers, drawn, scored and trained on. MFU: "
        f"operations of scoring and update in shares of the GPU's peak. Rows of `{TINY}` try the "
        "same pieces with a small model; their times say nothing of a GPU.\n\n"
        f"Estimate: seconds on one H200, all pieces together {sum(seconds) / 60:.1f} minutes for "
        f"one seed; reckoned from operations at {SHARE:.0%} of the peak, {1000 * LAYER:.0f} ms a "
        f"layer's pass and {START:.0f} s to start a piece, **not measured**."
    )
    write_table(results.folder, rows, text)


def _line(results: Results, name: str) -> dict[str, Any]:
    """A row of the table; an empty cell is what was not measured."""
    runs = results.of(name)
    settings = runs[0]["settings"]

    def mean(measure: str) -> float | Interval | str:
        group = measure.partition(".")[0]
        there = all(run.get(group) is not None for run in runs)
        return results.mean(name, measure) if there else ""

    missing = NOT_RUN if "not_run" in runs[0] else ""
    seconds = "" if missing else mean("seconds")
    estimated = estimate(settings) if _size(settings) in WEIGHTS else ""
    return {
        "piece": name,
        "device": missing or settings["device"],
        "seeds": float(len(runs)),
        "parameters": mean("parameters"),
        "Pass@1": mean("pass@1.mean"),
        "KL": mean("kl_to_initial"),
        "tokens a second": mean("tokens_per_second"),
        "MFU": mean("mfu"),
        "GPU MiB": mean("gpu_mib"),
        "seconds": seconds,
        "estimate": estimated,
    }


STUDY = Study(
    name="ladder",
    about="The GPU rung: 30M parameters on word problems by three methods, and speed by size.",
    cells=cells,
    run=run_piece,
    report=report,
    seeds=1,
)
