"""Pages from templates: text is escaped, figures are shown, and what is missing is said."""

import json

import pytest
from jinja2 import UndefinedError

from gnivo_edu import figures
from gnivo_edu.figures.page import render

HOSTILE = """</p><script>pwned = 1</script><!-- & "q" 'a' {{ text }} {% if %}"""


@pytest.fixture
def template(tmp_path):
    def write(text):
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_text_is_escaped_and_a_figure_is_shown(template):
    strip = figures.token_strip([HOSTILE], [1.0], alpha=0.5)
    page = render(
        template("<p title='{{ text }}'>{{ text }}</p>{{ strip }}"), text=HOSTILE, strip=strip
    )
    assert strip.html() in page
    assert "<script" not in page
    assert "<!--" not in page
    assert page.count("'") == 2, "no quote of the text ends the attribute"
    assert page.count("&lt;script&gt;") == 2 + strip.html().count("&lt;script&gt;")


def test_data_stay_inside_their_script(template):
    data = {"b": HOSTILE, "a": ["\u2028", "\ud800", 0.1]}
    page = render(template("<script>{{ data|tojson }}</script>"), data=data)
    inside = page.removeprefix("<script>").removesuffix("</script>")
    assert "<" not in inside
    assert json.loads(inside) == data
    assert list(json.loads(inside)) == ["b", "a"], "in the order given"


def test_a_part_that_is_missing_is_no_empty_page(template):
    with pytest.raises(UndefinedError, match="'text' is undefined"):
        render(template("{{ text }}"))
