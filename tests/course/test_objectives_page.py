"""The page of objectives is what the docstrings say, and holds every objective of the registry."""

from __future__ import annotations

from pathlib import Path

from gnivo_edu import objectives
from gnivo_edu.course.objectives_page import objectives_page, write_objectives_page

PAGE = Path(__file__).resolve().parents[2] / "notebooks" / "objectives.md"


def test_the_committed_page_is_the_one_that_the_docstrings_give():
    assert PAGE.read_text(encoding="utf-8") == objectives_page(), "run `gnivo-edu build-course`"


def test_every_objective_is_on_it_with_equation_minimiser_source_and_departures():
    sections = objectives_page().split("\n## ")[1:]
    assert [s.split("`")[1] for s in sections] == list(objectives.names())
    for section in sections:
        for part in ("```text", "Population minimiser", "Source:", "Departures:"):
            assert part in section, (part, section[:40])


def test_a_new_objective_is_on_it_by_itself(monkeypatch, tmp_path):
    def mine(batch, alpha=0.3):
        """Mine: a loss of my own.

        Source: nobody.
        """

    monkeypatch.setitem(objectives._REGISTRY, "mine", mine)
    write_objectives_page(tmp_path / "objectives.md")
    assert "## `mine`\n\nMine: a loss of my own.\n\n```python\nmine(batch, alpha=0.3)" in (
        tmp_path / "objectives.md"
    ).read_text(encoding="utf-8")


def test_its_sentences_end_in_one_full_stop():
    lines = objectives_page().splitlines()
    assert not [line for line in lines if line.endswith("..") and not line.endswith("...")]
