"""The rows of `off-policy`: methods, whose answers they learn from, and the runs that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gnivo_edu.studies.study import Cell, Size
from gnivo_edu.studies.table1.search import chosen

BASE, EXACT, PULL = "base", "exact: ", "exact pull: "
MEASURE = "pass@1.mean"
ANSWERS = {"full": 2_048, "quick": 1_024, "smoke": 128}  # that a run learns from
K, VISITS = 8, 4  # how often a question is asked

# Each by its published setting, and what is changed beside the reference, which stays for all.
OURS, COMPLETION, LAST = "GN-IVO", "GN-IVO, completion weights", "GN-IVO, last depth"
METHODS: dict[str, dict[str, Any]] = {
    "GVPO": {"setting": "gvpo/initial"},
    OURS: {"setting": "gnivo"},
    COMPLETION: {
        "setting": "gnivo",
        "objective_options": {"weights": "completion", "reward_max": 1.0},
    },
    LAST: {"setting": "gnivo", "objective_options": {"prefixes": "last"}},
    "GRPO": {"setting": "grpo"},
    "RLOO": {"setting": "rloo"},
    "Dr. GRPO": {"setting": "dr_grpo"},
    "VIMPO": {"setting": "vimpo/short"},
    "Online DPO": {"setting": "online_dpo"},
    "SFT-winning": {"setting": "sft_winning"},
    "DRO": {"setting": "dro"},
    "OREO": {"setting": "oreo"},
    "PPO": {"setting": "ppo"},
}
# Only asked what it takes and where it ends: a sibling.
NOT_RUN: dict[str, dict[str, Any]] = {
    "GN-IVO, raw weights": {
        "setting": "gnivo",
        "objective_options": {"weights": "raw", "reward_max": 1.0},
    },
}
# Answers of a group by their writers, historical to current.
FRESH, QUARTER, HALF, OTHER = "0:8", "2:6", "4:4", "4 of another model"
SAMPLERS: dict[str, dict[str, int]] = {
    FRESH: {"policy": 8},
    QUARTER: {"policy": 6, "replay": 2},
    HALF: {"policy": 4, "replay": 4},
    OTHER: {"policy": 4, "data": 4},
}
# What weighs answers by a ratio to their writer; `exact` cells ask each loss, and tests hold these
# to what they say. They are given the other model's log-probabilities.
REFUSING = (COMPLETION, "GRPO", "RLOO", "Dr. GRPO", "PPO")
SHUFFLED = "GVPO, 4:4, shuffled rewards"


def row_of(method: str, sampler: str) -> str:
    """The row of a method that learns from some mixture.

    >>> row_of("GVPO", "4:4")
    'GVPO, 4:4'
    """
    return f"{method}, {sampler}"


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """The laboratory's cells, two a method; the base and the other model once; and every method
    with every mixture at every seed.
    """
    few = {"full": tuple(METHODS), "quick": ("GVPO", OURS, "GRPO"), "smoke": ("GVPO", COMPLETION)}
    samplers = [sampler for sampler in SAMPLERS if size == "full" or sampler != QUARTER]
    asked = [(method, sampler) for method in few[size] for sampler in samplers]
    test = {"questions": {"full": 100, "quick": 50, "smoke": 5}[size]}
    answers = ANSWERS[size]
    questions = answers // (K * VISITS)
    other = {"answers": 2 * answers, "questions": questions}

    def settings(method: str, sampler: str) -> dict[str, Any]:
        rate, prompts = chosen(method.partition(",")[0])
        prompts = min(prompts, questions)
        told = {
            "learning_rate": rate,
            "prompts_per_step": prompts,
            "steps": answers // (prompts * K),
            "group_size": K,
            "questions": questions,
            # At most two visits old.
            "replay_age": 2 * -(-questions // prompts),
            "reference": "initial",
            "sampler": SAMPLERS[sampler],
        }
        theirs = {"other": other | {"logps": method in REFUSING}} if sampler == OTHER else {}
        return {"train": told | METHODS[method], **theirs, **test}

    methods = {method: METHODS[method] for method in few[size]}
    if size == "full":
        methods |= NOT_RUN
    listed = [
        Cell(EXACT + method, seeds[0], {"laboratory": method, "asked": told})
        for method, told in methods.items()
    ]
    listed += [Cell(PULL + method, seeds[0], {"pull": told}) for method, told in methods.items()]
    listed.append(Cell(BASE, seeds[0], {"train": None, **test}))
    listed.append(Cell("the other model", seeds[0], {"other": other, **test}))
    listed += [
        Cell(row_of(method, sampler), seed, settings(method, sampler))
        for seed in seeds
        for method, sampler in asked
    ]
    listed += [
        Cell(SHUFFLED, seed, settings("GVPO", HALF) | {"reward": "shuffled"}) for seed in seeds
    ]
    return listed
