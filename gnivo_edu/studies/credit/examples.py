"""Answers to read, right ones and wrong ones, with the credit of every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gnivo_edu.studies.credit.report import COUNT, frozen, mean_credits
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.table1.rows import OURS, RIVAL
from gnivo_edu.studies.tables import markdown


def kinds(results: Results) -> dict[str, int | None]:
    """Number of the first answer of each kind, by GN-IVO's credits, means over seeds."""
    answers = frozen(results)
    judged, rows, ours = set(answers.judged), answers.rows, mean_credits(results, OURS)
    lowest = [int(np.argmin(row)) for row in ours]
    first = [int(row["first_wrong"]) for row in rows]
    several = [sum(row["alike"]) > 1 for row in rows]

    def where(holds: Callable[[int], bool]) -> int | None:
        return next(filter(holds, range(len(rows))), None)

    return {
        "Right": where(lambda i: several[i] and rows[i]["right"] and first[i] < 0),
        "Wrong, and found": where(lambda i: several[i] and i in judged and lowest[i] == first[i]),
        "Wrong twice, and the second mistake is blamed more": where(
            lambda i: i in judged and lowest[i] > first[i] and rows[i]["wrong"][lowest[i]]
        ),
        "Wrong, and a step that was done right is blamed most": where(
            lambda i: i in judged and not rows[i]["wrong"][lowest[i]]
        ),
        "Wrong by a step that training made likelier": where(
            lambda i: i in judged and ours[i][first[i]] > 0
        ),
        "Right in the end, with a wrong step": where(lambda i: rows[i]["right"] and first[i] >= 0),
    }


def examples(results: Results) -> str:
    """Answers to read, with the numbers of every step: the first of each kind."""
    answers = frozen(results)
    ours, theirs = (mean_credits(results, row) for row in (OURS, RIVAL))
    rows = answers.rows
    text = (
        "# Answers, step by step\n\nThe first of each kind. Credits: log pi/pi_base of the step, "
        "nats, mean over seeds; surprise: least log-probability of a token under the base; chance: "
        "of ending right, by 16 rollouts from after the step. * the first wrong step; + another "
        "that is wrong by itself.\n"
    )
    for kind, i in kinds(results).items():
        if i is None:
            text += f"\n## {kind}\n\nNone.\n"
            continue
        row, chance = rows[i], answers.chances(COUNT)[i]
        fields = row["text"].split(";")
        steps = [
            {
                "step": field + _mark(row, t),
                "chance": f"{chance[t + 1]:.2f}",
                f"credit, {OURS}": f"{ours[i][t]:+.2f}",
                f"credit, {RIVAL}": f"{theirs[i][t]:+.2f}",
                "surprise": f"{row['least_log_p'][t]:+.2f}",
            }
            for t, field in enumerate(fields)
        ]
        text += (
            f"\n## {kind}\n\n`{row['question']}` answered `{row['text']}`; chance at the start "
            f"{chance[0]:.2f}.\n\n{markdown(steps)}"
        )
    return text


def _mark(row: Any, t: int) -> str:
    if t == row["first_wrong"]:
        return " *"
    return " +" if row["wrong"][t] else ""
