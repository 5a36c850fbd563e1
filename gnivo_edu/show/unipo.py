"""The record of a run as UNIPO reads it: a header, and an entry for each model update with about
three of its questions.

UNIPO (poloclub, arXiv 2605.11549) shows the signal that a method gave to each token. Its fields are
read as follows: `advantages` are those that the formula of the objective names, else those of the
answer; `returns` the reward of the answer at every token; `rewards` that reward at its last token;
`token_kl` the exact KL where it is on record, else k3; `token_objective` the signal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gnivo_edu.show.formula import sheet_of_run
from gnivo_edu.show.read import Part, Run

PROMPTS = 3  # of an update


def write_unipo(run: Run, target: Path) -> None:
    """Write a run's record as UNIPO's JSON; ValueError, in one line, where it has no tokens."""
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(unipo_of(run), allow_nan=False)
    target.write_text(text, encoding="utf-8")


def unipo_of(run: Run) -> dict[str, Any]:
    """The record as plain data: `header` and `entries`."""
    config = run.config
    metrics = {int(row["step"]): row for row in run.metrics}
    entries = [
        _entry(part, config, metrics.get(part.step, {}))
        for path in run.parts
        for part in run.updates(path)
    ]
    if not entries or not any(entry["prompts"] for entry in entries):
        raise ValueError("UNIPO shows tokens, and this record has none: train with completions=all")
    model = str(config.get("model", ""))
    header = {
        "task": str(config.get("task", run.name)),
        "dataset": str((config.get("task_options") or {}).get("data", config.get("task", ""))),
        "algorithm": str(config.get("objective", "")),
        "totalSteps": len(entries),
        "model_name": model,
        "reference_model_name": f"{model} ({config.get('reference', '')})",
        "hparams": {**(config.get("objective_options") or {}), **_plain(config)},
    }
    return {"header": header, "entries": entries}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        "learning_rate",
        "group_size",
        "prompts_per_step",
        "inner_steps",
        "temperature",
        "seed",
    )
    return {name: config[name] for name in names if name in config}


def _entry(part: Part, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {k: v for k, v in metrics.items() if isinstance(v, (int, float)) and k != "step"}
    rewards = part.rewards
    numbers |= {
        "policy_objective": -float(metrics.get("policy_loss", metrics.get("loss", 0.0))),
        "reward": float(metrics.get("reward", np.mean(rewards))),
    }
    batch = part.batch
    prompts = []
    if batch is not None and "token_ids" in part.columns:
        sheet = sheet_of_run(batch, config, part.depths)
        N, K, T = batch.mask.shape
        values = sheet.values((N, K, T)) if sheet is not None else {}
        for n, (question, places) in enumerate(part.groups[:PROMPTS]):
            responses = [
                _response(
                    part, place, number=k, advantages=values["A"][n, k] if "A" in values else None
                )
                for k, place in enumerate(places)
            ]
            text = part.columns["prompt"][places[0]]
            prompts.append({"id": question, "prompt_text": text, "responses": responses})
    return {
        "step": part.step,
        "is_first_step_after_rollout_phase": part.update == 0,
        "metrics": numbers,
        "prompts": prompts,
    }


def _response(part: Part, place: int, number: int, advantages: Any) -> dict[str, Any]:
    columns = part.columns
    length, reward = columns["length"][place], part.rewards[place]
    logp, ref = (np.array(columns[name][place]) for name in ("log_probs", "ref_log_probs"))
    advantage = columns["advantage"][place]
    flat = [advantage] * length
    kl = columns["kl"][place] if "kl" in columns else (np.expm1(ref - logp) + logp - ref).tolist()
    return {
        "id": number,
        "reward": reward,
        "advantage": advantage,
        "response_text": columns["completion"][place],
        "response_length": length,
        "tokens": {
            "ids": columns["token_ids"][place],
            "strings": columns["token_texts"][place],
            "log_probs": logp.tolist(),
            "ref_log_probs": ref.tolist(),
            "old_log_probs": columns["old_log_probs"][place],
            "advantages": flat if advantages is None else advantages[:length].tolist(),
            "values": columns["values"][place] if "values" in columns else [0.0] * length,
            "returns": [reward] * length,
            "token_kl": kl,
            "rewards": [0.0] * (length - 1) + [reward],
            "token_objective": columns["signal"][place],
        },
    }
