"""Any token becomes one readable line, and none changes the page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnivo_edu.figures.tokens import in_html, in_text, pad, visible, width_of, wrapped
from tests.figures.reader import Page


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


def test_width_counts_columns():
    assert [width_of(t) for t in ("abc", "日本", "e\u0301", in_text("שלום"))] == [3, 4, 1, 4]
    assert pad("日", 4) == "日  "
    assert wrapped("so log Z = 1.54", 13) == ["so", "log Z = 1.54"]
    assert wrapped("", 10) == [""]
