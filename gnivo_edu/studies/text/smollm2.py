"""The study of text with SmolLM2, for who has fetched it: GN-IVO and GRPO at one alpha and one
learning rate, as adapters, on the same openings. A run takes about six minutes of one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Cell, Prediction, Size
from gnivo_edu.studies.tables import write_table
from gnivo_edu.studies.text import study
from gnivo_edu.studies.text.rows import BASE, MIDDLE, OURS, RIVAL, gain, row, share

SHUFFLED = "shuffled"
ROWS = (
    BASE,
    row(OURS, MIDDLE),
    row(RIVAL, MIDDLE),
    row(OURS, MIDDLE, SHUFFLED),
    row(RIVAL, MIDDLE, SHUFFLED),
)
# Half the steps of the story model, and fewer answers of the test: this one is 500 times as large.
STEPS = {"full": 10, "quick": 2, "smoke": 1}
SAMPLES = {"full": 12, "quick": 4, "smoke": 2}
FRONTIER = {"full": 128, "quick": 64, "smoke": 32}  # a frontier rests on `run.LEAST` at least


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """The model at its start once; both methods, then their placebos, at every seed."""
    adapters = {"lora_rank": 16, "micro_batch": 16, "steps": STEPS[size]}

    def smaller(cell: Cell) -> Cell:
        count = (FRONTIER if cell.row == BASE else SAMPLES)[size]
        less: dict[str, Any] = {"samples": count, "compared": SAMPLES[size]}
        return replace(cell, settings={**cell.settings, **less})

    listed = study.cells(size, seeds, model="smollm2", **adapters)
    return sorted(
        (smaller(cell) for cell in listed if cell.row in ROWS),
        key=lambda cell: ROWS.index(cell.row),
    )


def report(results: Results) -> None:
    """The table of the study of text, and two answers of every row."""
    seeds = len(results.of(row(OURS, MIDDLE)))
    intro = (
        f"# A graded reward: SmolLM2, happier stories\n\nMeans over {seeds} seeds with 95% "
        "intervals (Student), on openings that no run was trained on; columns as in the table of "
        "`text`. GN-IVO at alpha 0.2, GRPO as published, adapters of rank 16."
    )
    names = [name for name in ROWS if name in results.rows]
    write_table(results.folder, [study.line(results, name, names[1:2]) for name in names], intro)
    (results.folder / "texts.md").write_text(study.texts(results), encoding="utf-8")


STUDY = replace(
    study.STUDY,
    name="text/smollm2",
    about="The same with SmolLM2, where it was fetched: GN-IVO and GRPO.",
    cells=cells,
    report=report,
    predictions=(
        Prediction(
            name="GN-IVO earns reward with a model of 135 million weights",
            says=(
                "Ten steps of 32 answers are half of what raised the story model's reward by 0.3. "
                "The push on happy words is the same, adapters at this rate move as fast, and "
                "SmolLM2 writes happier stories from the start: its reward rises by 0.03 to 0.25."
            ),
            low=0.03,
            high=0.25,
            command="gnivo-edu claims --only gnivo-letter",
            falsified="a mean gain outside the interval.",
            placebo_misses="rewards dealt out anew in each group push no word on average.",
            number=lambda results: gain(results, row(OURS, MIDDLE)),
            placebo=lambda results: mean(
                gain(results, row(method, MIDDLE, SHUFFLED)) for method in (OURS, RIVAL)
            ),
        ),
        Prediction(
            name="GN-IVO and GRPO lie on one curve here too",
            says=(
                "To the letter both are policy gradients whose weights rank a group alike, so that "
                "both buy the same reward for the same KL: their shares of the most differ by less "
                "than 0.15."
            ),
            low=-0.15,
            high=0.15,
            command="gnivo-edu claims --only gnivo-letter",
            falsified="a difference of mean shares of 0.15 or more, either way.",
            placebo_misses="a group whose rewards were dealt out anew is ranked at random.",
            number=lambda results: (
                share(results, row(OURS, MIDDLE)).mean - share(results, row(RIVAL, MIDDLE)).mean
            ),
            placebo=lambda results: (
                share(results, row(OURS, MIDDLE, SHUFFLED)).mean
                - share(results, row(RIVAL, MIDDLE)).mean
            ),
        ),
    ),
)
