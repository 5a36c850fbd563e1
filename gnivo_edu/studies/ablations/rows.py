"""The rows of `ablations`: what each is told, and the runs that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gnivo_edu.studies.study import Cell, Size
from gnivo_edu.studies.table1.search import chosen

OURS, RIVAL, BASE = "GN-IVO", "GRPO", "base"
MEASURE = "pass@1.mean"
ANSWERS = {"full": 2_560, "quick": 768, "smoke": 64}
K, SIZES, ALPHAS = 8, (2, 4, 8, 16), (0.1, 0.2, 0.5, 1.0)
DEPTHS = 9  # of the longest answer that is trained on: twenty would be all of them
FEW = "gnivo_edu.studies.ablations.exact:few_depths"
SHUFFLED = f"{OURS}, shuffled rewards"
PLACEBOS = {SHUFFLED: "shuffled"}
EXACT = "exact: "  # before the name of a row: the laboratory's numbers for it
# What was published of each factor, second-hand: papers, not these runs.
PUBLISHED = {
    "group size": "more is better, with a margin over GRPO that is clearer at small K",
    "alpha": "0.1 and 0.2 are good, 0.5 and 1 slower and lower",
    "depths": "more of 1, 20 and all is better",
    "level": "a reasoning step in mathematics, a token in text",
    "weights": "softmax is used, for stability",
}


def size_row(method: str, size: int) -> str:
    """The row of a method at a group size; that of GN-IVO at 8 is the one all others differ from.

    >>> size_row("GN-IVO", 8), size_row("GRPO", 2)
    ('GN-IVO', 'GRPO, K = 2')
    """
    return method if (method, size) == (OURS, K) else f"{method}, K = {size}"


def alpha_row(alpha: float, stays: bool = False) -> str:
    """The row of an alpha, with a reference that moves or stays."""
    if stays:
        return f"reference stays, alpha = {alpha:g}"
    return OURS if alpha == 0.2 else f"alpha = {alpha:g}"


# The rows of each factor, GN-IVO among them.
FACTORS: dict[str, list[str]] = {
    "group size": [size_row(OURS, size) for size in SIZES],
    "group size of GRPO": [size_row(RIVAL, size) for size in SIZES],
    "alpha": list(map(alpha_row, ALPHAS)),
    "depths": ["1 depth", "3 depths", OURS, "last depth"],
    "level": [OURS, "steps"],
    "weights": [OURS, "raw weights"],
}
STAYED = (0.1, 0.2, 1.0)  # alphas of a reference that stays
STAYING = [alpha_row(alpha, stays=True) for alpha in STAYED]


def settings() -> dict[str, dict[str, Any]]:
    """What each row is told beside rate, batch and answers."""
    ours: dict[str, Any] = {"setting": "gnivo"}
    few = {"alpha": 0.2, "weights": "softmax", "prefixes": "given", "count": 3, "horizon": DEPTHS}
    rows = {size_row(OURS, size): {**ours, "group_size": size} for size in SIZES}
    rows |= {size_row(RIVAL, size): {"setting": "grpo", "group_size": size} for size in SIZES}
    rows |= {
        alpha_row(alpha): {**ours, "objective_options": {"alpha": alpha}}
        for alpha in ALPHAS
        if alpha_row(alpha) != OURS
    }
    rows["1 depth"] = {"setting": "gnivo/letter"}
    rows["3 depths"] = {"objective": FEW, "objective_options": few}
    rows["last depth"] = {**ours, "objective_options": {"prefixes": "last"}}
    rows["steps"] = {**ours, "level": "step"}
    rows["raw weights"] = {**ours, "objective_options": {"weights": "raw", "reward_max": 1.0}}
    rows |= {
        alpha_row(alpha, stays=True): {
            **ours,
            "reference": "initial",
            "objective_options": {"alpha": alpha},
        }
        for alpha in STAYED
    }
    return {row: {"group_size": K} | told for row, told in rows.items()}


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """The laboratory's cells, one each; the base once; every row and placebo at every seed."""
    rows = settings()
    if size != "full":
        few = (OURS, size_row(OURS, 2), size_row(RIVAL, K), "1 depth", STAYING[-1])
        rows = {row: rows[row] for row in (few if size == "quick" else (OURS, *few[-2:]))}
    answers = ANSWERS[size]
    test = {"questions": {"full": 100, "quick": 50, "smoke": 5}[size]}

    def train(told: dict[str, Any]) -> dict[str, Any]:
        method = RIVAL if told.get("setting") == "grpo" else OURS
        rate, prompts = chosen(method)
        each = min(prompts * K, answers // 4)  # answers of a step
        group = told["group_size"]
        budget = {"prompts_per_step": each // group, "steps": answers // each}
        return {"learning_rate": rate, **budget, **told}

    listed = [Cell(EXACT + row, seeds[0], {"laboratory": told}) for row, told in rows.items()]
    listed.append(Cell(BASE, seeds[0], {"train": None, **test}))
    listed += [
        Cell(row, seed, {"train": train(told), **test})
        for seed in seeds
        for row, told in rows.items()
    ]
    listed += [
        Cell(row, seed, {"train": train(rows[OURS]), "reward": reward, **test})
        for seed in seeds
        for row, reward in PLACEBOS.items()
    ]
    return listed
