"""Hostile tokens: escaped, visible, and harmless, in all three outputs."""

import unicodedata

import pytest
from matplotlib.text import Text

from gnivo_edu import figures
from gnivo_edu.demo.gallery import HOSTILE
from gnivo_edu.figures.tokens import in_picture, visible, width_of
from tests.figures.reader import Page


@pytest.fixture(scope="module")
def strip():
    return figures.token_strip(
        HOSTILE, [0.1 * i - 1 for i in range(len(HOSTILE))], alpha=0.5, special=[3]
    )


def test_html_shows_every_token_and_runs_none(strip):
    page = Page(strip.html())
    assert page.open == []
    assert all(visible(token) in page.shown for token in HOSTILE)
    assert page.tags <= {"figure", "div", "span", "bdi", "br", "figcaption"}
    assert not any(
        name.startswith("on") or name in ("src", "href", "id") for name, _ in page.attributes
    )


def test_text_shows_every_token_on_lines_of_its_own_making(strip):
    text = strip.text()
    assert all(visible(token) in text for token in HOSTILE)
    assert text.count("\u2068") == text.count("\u2069") == 2  # Hebrew and Arabic stand apart
    assert not any(unicodedata.category(c) == "Cc" for c in text.replace("\n", ""))
    assert f"[{visible(HOSTILE[3])}] " in text


def test_the_picture_shows_every_token_with_its_own_fonts(strip, recwarn):
    strip.png()
    assert not [w for w in recwarn if "Glyph" in str(w.message) or "font" in str(w.message)]
    texts = strip.figure().findobj(Text)
    assert all(any(in_picture(token) == text.get_text() for text in texts) for token in HOSTILE)
    assert not any(text.get_parse_math() for text in texts if text.get_text())
    assert in_picture("日") == "\\u65e5"
    assert in_picture("abcdef", most=4) == "abc…"


def test_a_long_token_is_wrapped_and_a_long_answer_too():
    step = "so we add " * 30
    strip = figures.token_strip([step, "x"] + ["word"] * 40, [0.5] * 42, alpha=1.0)
    assert len(strip.chips()[0].lines()) > 4
    rows = strip.lines()
    assert len(rows) > 3
    assert all(sum(width for _, width, _ in row) <= 9 for row in rows)
    assert sum(map(len, rows)) == 42
    assert max(map(width_of, strip.text().splitlines()[1:])) <= 100


def test_special_tokens_are_boxed_in_all_outputs(strip):
    plain = figures.token_strip(HOSTILE, strip.values, alpha=0.5)
    assert "3px double" in strip.html()
    assert "3px double" not in plain.html()
    assert len(strip.figure().axes[0].patches) == len(plain.figure().axes[0].patches) + 1
    unboxed = strip.text().replace(f"[{visible(HOSTILE[3])}]", visible(HOSTILE[3]))
    assert unboxed.split() == plain.text().split()
