"""The pieces of the GPU rung: a school for a model of our own, methods on what it has learned, the
speed of other sizes, and a model of the hub on GSM8K.

Each is a run of the study: what has ended is kept, and a study that was stopped goes on with the
next piece. The model that the school makes is shared by all that need it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from gnivo_edu import tasks
from gnivo_edu.bench.phases import peak_flops, phases_apart
from gnivo_edu.bench.step import Step
from gnivo_edu.evaluation import evaluate
from gnivo_edu.policies import load_transformer, pick_device, sample_completions, score_rows
from gnivo_edu.studies.arithmetic import TEST_SEED, TESTED, TRAINED, trained
from gnivo_edu.studies.ladder.word_problems import WordProblems
from gnivo_edu.studies.study import Cell
from gnivo_edu.training import fine_tune, load_config, pretrain

NOT_RUN = "not run: no CUDA device"
LESSONS = 20_000  # questions of each tier that the school asks
ROWS_AT_ONCE = 16  # of a model of the hub: answers of a micro-batch


def run_piece(cell: Cell, folder: Path) -> dict[str, Any]:
    """One piece; where it needs a CUDA device and none is there, the line that says so.

    Settings of the cell: `device` "cuda", "cpu" or "none"; `piece` "school", "method", "speed" or
    "hub"; and what each of these reads below.
    """
    if cell.settings["device"] == "none":
        return {"not_run": NOT_RUN}
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    pieces = {"school": _school, "method": _method, "speed": _speed, "hub": _hub}
    measured: dict[str, Any] = pieces[cell.settings["piece"]](cell, folder)
    if torch.cuda.is_available():
        measured["gpu_mib"] = torch.cuda.max_memory_allocated() // 2**20
    return measured


def _school(cell: Cell, folder: Path) -> dict[str, Any]:
    """What a model of our own can do after school. Settings: `school`, of `training.pretrain`."""
    home = schooled(cell, folder)
    recipe = json.loads((home / "recipe.json").read_text(encoding="utf-8"))
    model: Any = load_transformer(home)
    model.to(pick_device())
    told = {name: recipe[name] for name in ("parameters", "nats_per_token")}
    return told | {"training_seconds": recipe["seconds"]} | _examined(model, cell)


def schooled(cell: Cell, folder: Path) -> Path:
    """The folder of the model that learned from demonstrations, slips included; made where it is
    not there, by whoever asks first.
    """
    settings = cell.settings["school"]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    home = folder.parent / f"school-{digest}-{cell.seed}"
    device = pick_device()
    with FileLock(f"{home}.lock"):
        if not home.exists():
            fresh = home.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            bf16 = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
            with torch.device(device), bf16:
                lessons = WordProblems(tiers=TESTED, num_prompts=LESSONS)
                pretrain(lessons, fresh, seed=cell.seed, **settings)
            fresh.rename(home)
    return home


def _method(cell: Cell, folder: Path) -> dict[str, Any]:
    """What a method makes of that model. Settings: `school`; `train`, of `training.load_config`;
    `questions` of each tier of the test.
    """
    config = _config(cell, folder)
    task = WordProblems(tiers=TRAINED)
    rows: list[dict[str, Any]] = []
    home = schooled(cell, folder)
    run = fine_tune(config, on_step=rows.append, policy=load_transformer(home), task=task)
    shutil.rmtree(folder / "run")
    measured = trained(rows, config.prompts_per_step * config.group_size)
    told = pace(rows, config, run.policy) | wrong_answer(run.policy, run.initial)
    return measured | told | _examined(run.policy, cell)


@torch.no_grad()
def wrong_answer(policy: Any, initial: Any) -> dict[str, Any]:
    """The first wrong answer of the initial model to a question of the test, and log pi/pi_initial
    of each of its tokens, nats.
    """
    task = WordProblems(tiers=TESTED[:1], split="test", num_prompts=32)
    drawn = sample_completions(initial, task, 1, range(32), seed=TEST_SEED)
    tokens, lengths, index = drawn.rows
    wrong = int(drawn.rewards(task)[:, 0].argmin())
    one = tokens[wrong : wrong + 1], lengths[wrong : wrong + 1], index[wrong : wrong + 1]
    after, before = (score_rows(model, task, *one)["policy_logps"] for model in (policy, initial))
    answer = one[0][0, : int(one[1])].tolist()
    credits = (after - before)[0, : len(answer)].double().tolist()
    return {
        "question": task.prompt_text(int(one[2])),
        "answer": task.pieces(answer),
        "credits": credits,
    }


def _config(cell: Cell, folder: Path) -> Any:
    return load_config(
        **cell.settings["train"],
        seed=cell.seed,
        report_questions=0,
        completions_every=1_000_000,
        save_every=1_000_000,
        out=str(folder / "run"),
    )


def pace(rows: list[dict[str, Any]], config: Any, policy: Any) -> dict[str, Any]:
    """Tokens of answers a second, drawn and trained on, after the first step; and MFU: two
    operations for each weight and token forward, four backward, in a pass that scores and one that
    differentiates, in shares of the most that the GPU can do.
    """
    later = rows[1:] or rows
    seconds = sum(row["step_time"] for row in later)
    count = sum(p.numel() for p in policy.parameters())
    read = rows[-1]["num_tokens"] * len(later) / len(rows)
    most = peak_flops("cuda" if torch.cuda.is_available() else "cpu")
    measured = {
        "parameters": count,
        "tokens_per_second": sum(row["step_tokens"] for row in later) / seconds,
    }
    if most is not None:
        measured["mfu"] = 8 * count * read * config.inner_steps / seconds / most
    return measured


def _examined(model: Any, cell: Cell) -> dict[str, Any]:
    """Pass@1 of each tier of word problems, and the mean over tiers."""
    task = WordProblems(tiers=TESTED, split="test", num_prompts=cell.settings["questions"])
    report = evaluate(model, task, samples=4, ks=(1,), seed=TEST_SEED)
    tier = task.tier[report.problems]
    scores = {str(one): float(report.pass_at(1)[tier == one].mean()) for one in TESTED}
    return {"pass@1": scores | {"mean": float(np.mean(list(scores.values())))}}


def _speed(cell: Cell, folder: Path) -> dict[str, Any]:
    """Sampling, scoring and update apart, of random weights. Settings: `step`, of `bench.Step`."""
    step = Step(**cell.settings["step"])
    device = pick_device()
    rows = phases_apart(step, device.type, repeats=cell.settings["repeats"])
    names = {"MFU of scoring and update": "mfu"}
    speeds: dict[str, Any] = {}
    for row in rows:
        case = str(row["case"])
        speeds[names.get(case, case)] = row["ours"]
    # A token is drawn, scored and trained on.
    parts = [1 / speeds[name] for name in ("sampling", "scoring", "update")]
    count = sum(p.numel() for p in step.model().parameters())
    return speeds | {"tokens_per_second": 1 / sum(parts), "parameters": count}


def _hub(cell: Cell, folder: Path) -> dict[str, Any]:
    """A model of the hub on GSM8K. Settings: `train`; `questions` of the test; `horizon`, tokens of
    an answer.
    """
    config = _config(cell, folder)
    rows: list[dict[str, Any]] = []
    run = fine_tune(config, on_step=rows.append)
    shutil.rmtree(folder / "run")
    options = config.task_options | {"split": "test", "limit": cell.settings["questions"]}
    _, test = tasks.load(config.model, config.task, options=options)
    scores = {
        name: evaluate(model, test, samples=4, ks=(1,), seed=TEST_SEED, max_rows=64)
        for name, model in (("before", run.initial), ("mean", run.policy))
    }
    passed = {name: float(report.pass_at(1).mean()) for name, report in scores.items()}
    measured = trained(rows, config.prompts_per_step * config.group_size)
    return measured | pace(rows, config, run.policy) | {"pass@1": passed}


def gsm8k_options(horizon: int) -> dict[str, Any]:
    """Where GSM8K lies: in data/gsm8k of the folder that GNIVO_SHARED names, else on the hub."""
    local = Path(os.environ.get("GNIVO_SHARED", Path("..") / "shared")) / "data" / "gsm8k"
    there = {"path_or_id": str(local)} if local.is_dir() else {}
    return {"horizon": horizon, **there}
