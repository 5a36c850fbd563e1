"""The pictures of notebooks/moving_reference.md are those that the code draws."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gnivo_edu.population.moving.pictures import PICTURES, draw_moving_pictures

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"


def test_the_page_shows_each_with_a_sentence_for_who_cannot_see_it() -> None:
    page = (NOTEBOOKS / "moving_reference.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]{40,}\]\((\S+)\)", page)
    assert shown == [f"images/{name}" for name in PICTURES]


@pytest.mark.slow
def test_the_committed_ones_are_drawn_by_the_code(tmp_path: Path) -> None:
    for path in draw_moving_pictures(tmp_path):
        committed = NOTEBOOKS / "images" / path.name
        assert committed.stat().st_size == pytest.approx(path.stat().st_size, rel=0.2)
