"""What is committed under results/ is what the runs on file give: tables, outcomes, seeds; and
every decimal number in the prose of the notebooks that tell of it was printed or is in their code.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from gnivo_edu import studies
from gnivo_edu.studies.predictions import FILE, page
from gnivo_edu.studies.results import RUNS, Results
from tests.notebooks.notebook import NAMES, Notebook

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "results"
RAN = [name for name in studies.NAMES if (FOLDER / name / RUNS).exists()]
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
TOLD = [name for name in NAMES if name[:2] in ("11", "12", "E3", "E4")]
FEWEST = defaultdict(lambda: 5, {"text": 3, "table1/search": 3, "ladder": 1})


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RAN])
def test_tables_are_those_of_the_runs(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "results" / name
    shutil.copytree(FOLDER / name, folder, ignore=shutil.ignore_patterns("*.md", "*.csv", "*.png"))
    studies.study_of(name).report(Results.read(folder))
    for committed in sorted((FOLDER / name).glob("*.md")):
        if committed.name == FILE:
            continue
        fresh = (folder / committed.name).read_text(encoding="utf-8")
        said = committed.read_text(encoding="utf-8")
        assert NUMBER.sub("#", said) == NUMBER.sub("#", fresh), committed
        # A mean that lies between two roundings may go either way on another machine.
        assert numbers(said) == pytest.approx(numbers(fresh), rel=2e-3, abs=1.1e-3), committed


@pytest.mark.parametrize(
    "name", [name for name in studies.NAMES if (FOLDER / name / FILE).exists()]
)
def test_predictions_are_those_of_the_study_with_their_outcomes(name: str) -> None:
    results = Results.read(FOLDER / name)
    study = studies.study_of(name)
    if study.runs_of:
        results = Results(FOLDER / name, Results.read(FOLDER / study.runs_of).runs)
    said = (FOLDER / name / FILE).read_text(encoding="utf-8")
    fresh = page(study, results if results.runs else None)
    assert NUMBER.sub("#", said) == NUMBER.sub("#", fresh)
    assert numbers(said) == pytest.approx(numbers(fresh), abs=1.1e-3)


@pytest.mark.parametrize("name", RAN)
def test_every_row_has_its_seeds(name: str) -> None:
    seeds = defaultdict(set)
    for run in Results.read(FOLDER / name).runs:
        seeds[run["row"]].add(run["seed"])
    paired = [row for row in seeds if len(seeds[row]) > 1]
    assert all(len(seeds[row]) >= FEWEST[name] for row in paired)
    if FEWEST[name] > 1:
        assert paired


DECIMAL = re.compile(r"(?<![\w./])\d+\.\d+(?![\w./]*\w)")


@pytest.mark.parametrize("name", TOLD)
def test_numbers_in_prose_were_printed(name: str) -> None:
    book = Notebook(name)
    known = book.printed + "\n".join(book.code)
    links = re.sub(r"arXiv[:\s]+\d{4}\.\d{4,5}|\\tag\{.*?\}|\(\d+\.\d\)", "", book.prose)
    said = [number for number in DECIMAL.findall(links) if number not in known]
    assert said == []


def test_a_number_that_nobody_printed_would_be_seen() -> None:
    assert DECIMAL.findall("a gain of 0.123, at alpha 0.2.") == ["0.123", "0.2"]
    assert not DECIMAL.findall("(11.2) is equation `x.1.2` of v1.2")[1:]
