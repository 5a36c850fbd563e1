"""The table of model families: a handful here, all of them at night."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from gnivo_edu.bench.families import Examined, examine, page
from gnivo_edu.bench.tiny import FAMILIES

PAGE = Path(__file__).resolve().parents[2] / "MODELS.md"
ROWS = dict(re.findall(r"^\| (\S+) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
ROWS = {family: row for family, row in ROWS.items() if family in FAMILIES}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2", "gemma2", "bamba", "zamba2", "bart", "mixtral"])
def test_a_family_is_sampled_scored_trained_and_read_again(family: str) -> None:
    examined = examine(family)
    assert examined.exact, examined.row
    assert same(ROWS[family]) == same(examined.row)


@pytest.mark.slow
def test_a_family_that_is_refused_is_named() -> None:
    examined = examine("xlm")
    assert "XLMWithLMHeadModel" in examined.refused
    assert not examined.exact
    assert "refused" in ROWS["xlm"]


@pytest.mark.nightly
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_what_the_page_says(family: str) -> None:
    examined = examine(family)
    assert examined.exact or examined.name in examined.refused, examined.row
    assert same(ROWS[family]) == same(examined.row)


def same(row: str) -> str:
    """What of a row no processor's rounding moves: whether it is refused, and how it is run."""
    found = re.search(r"refused \||cache, [a-z ]*|whole rows, [a-z ]*", row)
    assert found
    return found[0].strip()


def test_the_page_names_every_family_and_at_least_sixty_are_exact() -> None:
    assert set(ROWS) == set(FAMILIES) <= set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    exact = [family for family, row in ROWS.items() if row.endswith("| yes")]
    assert len(exact) >= 60
    refused = [family for family, row in ROWS.items() if "| refused |" in row]
    assert len(exact) + len(refused) == len(ROWS)
    counts = re.search(r"models of (\d+) families .*?(\d+) are sampled.*?, (\d+) are ref", text())
    assert counts
    assert tuple(map(int, counts.groups())) == (len(ROWS), len(exact), len(refused))


def text() -> str:
    return " ".join(PAGE.read_text(encoding="utf-8").split())


def test_a_row_says_what_is_not_exact() -> None:
    shown = {"family": "f", "name": "N", "way": "cache, padded", "moved": True}
    fine = Examined(**shown, gaps=(1e-6, 1e-12))
    loose = Examined(**shown, gaps=(1e-6, 1e-7))
    named = Examined(**shown, gaps=(1e-6, 1e-7), casts=("Mixer",))
    wrong = Examined(**shown, gaps=(1e-4, 1e-12))
    still = Examined(**shown | {"moved": False}, gaps=(1e-6, 1e-12))
    lost = Examined(**shown, gaps=(1e-6, 1e-12), reread=1e-3)
    refused = Examined(family="f", name="N", refused="N cannot")
    assert [e.exact for e in (fine, loose, named, wrong)] == [True, False, True, False]
    assert [e.exact for e in (still, lost, refused)] == [False, False, False]
    assert "float32 inside Mixer" in named.row
    assert lost.row.endswith("| NO |")
    assert "3 families" in page([fine, named, refused])
