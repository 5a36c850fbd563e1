"""The tables and numbers of notebooks/moving_reference.md are what the code gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gnivo_edu.population.moving import tables as page

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"
PAGE = (NOTEBOOKS / "moving_reference.md").read_text(encoding="utf-8")
# Numbers that are chosen, not found: alpha, s, and sizes of the proofs' own examples.
SETTINGS = {"0.5", "0.9"}
NUMBER = re.compile(r"-?\d+\.\d+")


def tables_of(text: str) -> list[list[list[str]]]:
    """Every table of a page: rows of cells, the line under the head left out."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    lines = ([row.strip("| ") for row in block.splitlines()] for block in blocks)
    return [[row.split(" | ") for row in rows if not row.startswith("---")] for rows in lines]


def agree(cell: str, value: str | float) -> bool:
    """Whether a cell shows a value: words to the letter, a number to its last digit."""
    if isinstance(value, str | int):
        return cell == str(value)
    return abs(float(cell) - value) < (0.51e-4 if "." in cell else page.ZERO)


@pytest.fixture(scope="module")
def tables() -> dict[str, page.Table]:
    return page.tables()


@pytest.mark.slow
def test_the_tables_of_the_page_are_those_of_the_code(tables: dict[str, page.Table]) -> None:
    printed = tables_of(PAGE)
    assert len(printed) == len(tables)
    for (name, table), (head, *rows) in zip(tables.items(), printed, strict=True):
        assert head == table.head, name
        for cells, row in zip(rows, table.rows, strict=True):
            assert all(map(agree, cells, row)), (name, cells, row)
            assert len(cells) == len(row)


def test_a_wrong_number_of_the_page_would_be_seen() -> None:
    assert agree("0.0317", 0.03174)
    assert not agree("0.0318", 0.03174)
    assert agree("0", 1e-12)
    assert not agree("0", 1e-5)
    assert not agree("GVPO", "VIMPO")


def test_numbers_in_its_prose_stand_in_its_tables() -> None:
    prose = "".join(line for line in PAGE.splitlines(keepends=True) if not line.startswith("|"))
    prose = re.sub(r"arXiv [\d.]+|https?://\S+", "", prose)
    printed = {cell for table in tables_of(PAGE) for row in table for cell in row}
    assert set(NUMBER.findall(prose)) <= printed | SETTINGS
    assert len(set(NUMBER.findall(prose)) - SETTINGS) > 5


def test_its_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", PAGE) if not link.startswith("http")]
    assert len(links) > 5
    assert [link for link in links if not (NOTEBOOKS / link).exists()] == []
