"""The study of text with SmolLM2, for who has fetched it: GN-IVO and GRPO, adapters, the same
openings. It takes about five minutes of one core a run and was not run for the course.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gnivo_edu.studies import text
from gnivo_edu.studies.study import Cell, Size
from gnivo_edu.studies.text_rows import BASE, MIDDLE, OURS, RIVAL, row

ROWS = (BASE, row(OURS, MIDDLE), row(RIVAL, MIDDLE))


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """The model at its start and both methods at the middle rate."""
    listed = text.cells(size, seeds, model="smollm2", lora_rank=16, micro_batch=16)
    return [cell for cell in listed if cell.row in ROWS]


STUDY = replace(
    text.STUDY,
    name="text/smollm2",
    about="The same with SmolLM2, where it was fetched: GN-IVO and GRPO.",
    cells=cells,
    predictions=(),
)
