"""Hostile tokens: escaped, visible, and harmless, in all three outputs."""

import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from gnivo_edu import figures
from gnivo_edu.demo.gallery import HOSTILE
from gnivo_edu.figures.tokens import in_html, in_picture, in_text, pad, visible, width_of, wrapped


class Page(HTMLParser):
    """Collects what a browser would show, and checks that tags are closed in order."""

    VOID = ("img", "br", "meta", "input")

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.shown, self.tags, self.attributes, self.open = "", set(), [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.shown += data


@pytest.fixture(scope="module")
def strip():
    return figures.token_strip(
        HOSTILE, [0.1 * i - 1 for i in range(len(HOSTILE))], alpha=0.5, special=[3]
    )


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", "␣the"),
        ("a  b ", "a␣␣b␣"),
        ("a b", "a b"),
        ("x\r\n\t", "x\\x0d⏎⇥"),
        (b"\xe2\x80", "\\xe2\\x80"),
        ("é".encode(), "é"),
        ("\u202e", "\\u202e"),
        ("\U000e0001", "\\U000e0001"),
        ("\ud800", "\\ud800"),
        ("\u0301", "◌\u0301"),
        ("", "∅"),
    ],
)
def test_what_cannot_be_seen_is_shown(token, shown):
    assert visible(token) == shown


@given(st.one_of(st.text(st.characters(), max_size=8), st.binary(max_size=6)))
def test_any_token_becomes_one_printable_line(token):
    shown = visible(token)
    assert shown
    assert shown.isprintable()
    page = Page(f"<p>{in_html(token)}</p>")
    assert page.shown == shown
    assert page.tags == {"p", "bdi"}
    assert page.open == []


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


def test_width_counts_columns():
    assert [width_of(t) for t in ("abc", "日本", "e\u0301", in_text("שלום"))] == [3, 4, 1, 4]
    assert pad("日", 4) == "日  "
    assert wrapped("so log Z = 1.54", 13) == ["so", "log Z = 1.54"]
    assert wrapped("", 10) == [""]
