"""GN-IVO one factor at a time, each level beside what the exact laboratory says of it.

Group size (GRPO's too), alpha, depths, token or step, raw or softmax weights; and alpha once more
with a reference that stays, where it has an end. All draw the same number of answers, as many a
step, at the learning rate that `table1/search` chose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gnivo_edu.studies.ablations.predictions import PREDICTIONS
from gnivo_edu.studies.ablations.report import report
from gnivo_edu.studies.ablations.rows import cells
from gnivo_edu.studies.arithmetic import train_and_test
from gnivo_edu.studies.study import Cell, Study


def run(cell: Cell, folder: Path) -> dict[str, Any]:
    """Train and test, or ask the laboratory."""
    if "laboratory" not in cell.settings:
        return train_and_test(cell, folder)
    from gnivo_edu.studies.ablations.exact import laboratory

    return laboratory(cell.settings["laboratory"])


STUDY = Study(
    name="ablations",
    about="GN-IVO one factor at a time, each level beside the exact laboratory.",
    cells=cells,
    run=run,
    report=report,
    predictions=PREDICTIONS,
)
