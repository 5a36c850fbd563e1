"""GVPO's claim, and what the other methods make of it: old answers in each group, historical to
current 0:8, 2:6 and 4:4, and answers of another model.

Every run learns from as many answers, to the same questions, each asked several times; its
reference is the model at the start. An old answer is one that the policy wrote to the same question
one or two visits ago, so that a run of 4:4 writes fewer answers than it learns from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from gnivo_edu.policies import evaluating, sample_completions
from gnivo_edu.policies.loading import load_transformer
from gnivo_edu.studies.arithmetic import TRAINED, train_and_test
from gnivo_edu.studies.off_policy.predictions import PREDICTIONS
from gnivo_edu.studies.off_policy.report import report
from gnivo_edu.studies.off_policy.rows import K, cells
from gnivo_edu.studies.study import Cell, Study
from gnivo_edu.studies.table1.search import SEARCH_SEED, chosen
from gnivo_edu.tasks.arithmetic import Arithmetic

WRITER = "GRPO"  # the method that the other model is trained by


def run(cell: Cell, folder: Path) -> dict[str, Any]:
    """Ask the laboratory; or test the other model; or train on the cell's mixture, and test."""
    settings = dict(cell.settings)
    if "laboratory" in settings:
        from gnivo_edu.studies.off_policy.exact import laboratory

        return laboratory(settings["laboratory"], settings["asked"])
    if "pull" in settings:
        from gnivo_edu.studies.off_policy.exact import pulls

        return {"pull": pulls(settings["pull"])}
    other = settings.pop("other", None)
    if other is None:
        return train_and_test(cell, folder)
    written = other_answers(folder.parent, other["answers"], questions=other["questions"])
    if "train" not in settings:
        measured: dict[str, Any] = json.loads(written["scores"].read_text(encoding="utf-8"))
        return measured
    data = written["logps" if other["logps"] else "answers"]
    settings["train"] = settings["train"] | {"data": str(data)}
    return train_and_test(Cell(cell.row, cell.seed, settings), folder)


def other_answers(folder: Path, answers: int, questions: int) -> dict[str, Path]:
    """Files of what another model wrote to the questions of the study, eight answers to each,
    without (`answers`) and with (`logps`) its log-probabilities, and of its `scores`; made once.

    It is a model of another seed, trained by GRPO on `answers` answers to all questions.
    """
    stem = folder / f"other-{answers}-{questions}"
    names = {"answers": "jsonl", "logps": "logps.jsonl", "scores": "json"}
    files = {name: stem.with_suffix(f".{ending}") for name, ending in names.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(stem.with_suffix(".lock")):
        if files["scores"].exists():
            return files
        rate, prompts = chosen(WRITER)
        train = {
            "setting": "grpo",
            "learning_rate": rate,
            "prompts_per_step": prompts,
            "group_size": K,
            "steps": max(1, answers // (prompts * K)),
        }
        scores = train_and_test(
            Cell("the other model", SEARCH_SEED, {"train": train, "questions": 100}), stem
        )
        policy, task = load_transformer(stem / "model"), Arithmetic(TRAINED)
        count = len(task.tier)
        # Spread evenly, as a run spreads the questions that it asks.
        asked = np.arange(questions) * count // questions
        with evaluating(policy), torch.no_grad():
            drawn = sample_completions(policy, task, K, asked, seed=SEARCH_SEED)
        rows = [
            {
                "prompt_index": int(prompt),
                "tokens": tokens[:n].tolist(),
                "logps": logps[:n].tolist(),
            }
            for tokens, n, prompt, logps in zip(*drawn.rows, drawn.logps.flatten(0, 1), strict=True)
        ]
        for name, kept in (("logps", {"logps"}), ("answers", set())):
            told = ("prompt_index", "tokens", *kept)
            lines = [json.dumps({key: row[key] for key in told}) + "\n" for row in rows]
            files[name].write_text("".join(lines), encoding="utf-8")
        files["scores"].write_text(json.dumps(scores), encoding="utf-8")
    return files


STUDY = Study(
    name="off-policy",
    about="Old answers and another model's in each group: GVPO's claim, and every other method.",
    cells=cells,
    run=run,
    report=report,
    predictions=PREDICTIONS,
)
