"""Update strips: every number, row and condition in all outputs, nothing overlapping, one clear
line on bad input.
"""

import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from gnivo_edu.figures.style import INK, colour, drawing, mark, signed
from gnivo_edu.figures.updates import UpdateStrips, update_strips
from tests.figures.reader import Page

TOKENS = ["right", "wrong", "<b>&"]
BLOCKS = {
    "one group": {
        "RLOO": [-0.5, -0.5, -0.5],
        "PPO, a critic with a long name, λ = 0.5": [0.0, -0.25, 1.0],
    },
    "all <groups>": {"RLOO": np.array([0.125, -0.75, 0.0]), "exact": [0.125, -0.75, 0.001]},
}
EXPECTED = [x for block in BLOCKS.values() for row in block.values() for x in row]


@pytest.fixture(scope="module")
def strips():
    return update_strips(
        TOKENS, ["first", "a longer second one", ""], BLOCKS, alpha=0.5, note="K = 2"
    )


def numbers(text):
    return [m + n for m, n in re.findall(r"([▲▼·])[ \xa0]?([+−]?\d+\.\d\d)", text)]


def test_all_outputs_show_every_number_with_its_sign_twice(strips, words):
    shown = [mark(x) + signed(x) for x in EXPECTED]
    assert numbers(strips.text()) == shown
    assert numbers(strips.html().replace("&nbsp;", " ")) == shown
    drawn = [number for word in words(strips.figure()) for number in numbers(word)]
    assert sorted(drawn) == sorted(shown)


def test_rows_stand_under_their_block_and_tokens_over_their_column(strips):
    head, rows = strips.table()
    assert head == ["", "1 right", "2 wrong", "3 <b>&"]
    assert [row[0] for row in rows] == [
        "[one group]",
        *BLOCKS["one group"],
        "[all <groups>]",
        *BLOCKS["all <groups>"],
    ]
    assert rows[2][1:] == ["·0.00", "▼−0.25", "▲+1.00"]


def test_colours_are_on_one_scale(strips):
    assert strips.scale == 1.0
    backgrounds = re.findall(r"background:(#[0-9a-f]{6})", strips.html())
    assert backgrounds == [colour(x, 1.0) for x in EXPECTED]
    patches = [p for p in strips.figure().findobj(FancyBboxPatch) if p.get_facecolor()[3]]
    assert len(patches) == len(EXPECTED)


def test_the_scale_can_be_fixed_and_zeros_do_no_harm():
    flat = update_strips(["a"], ["one"], {"x": {"none": [0.0]}}, alpha=1.0)
    assert flat.scale == 1.0
    assert "every step alike" in flat.alt()
    assert len(flat.png()) > 1000
    assert update_strips(["a"], ["one"], {"x": {"much": [3.0]}}, alpha=1.0, scale=0.5).scale == 0.5


def test_the_caption_names_unit_reference_alpha_and_scale(strips):
    expected = (
        "in units of reward; K = 2; reference: the initial model; alpha = 0.5; full colour at ±1.00"
    )
    assert strips.caption == expected
    assert strips.caption in strips.html()
    assert expected in " ".join(strips.text().split("\n"))


def test_html_is_whole_escaped_and_readable_on_any_page(strips):
    source = strips.html()
    page = Page(source)
    assert page.open == []
    assert not page.tags & {"script", "link", "iframe", "style"}
    assert "<b>" not in source
    assert "<groups>" not in source
    assert source.count("<bdi>") == len(TOKENS), "a token stands over its column, not in its chips"
    for _, style in re.findall(r"<(\w+)[^>]* style=\"([^\"]*)\"", source):
        rules = dict(rule.split(":", 1) for rule in style.split(";") if rule)
        assert ("color" in rules) == ("background" in rules)
        assert rules.get("color", INK) == INK


def test_alt_is_one_sentence_that_says_who_is_moved_most(strips):
    alt = strips.alt()
    assert alt.endswith(".")
    assert "\n" not in alt
    assert "one group: RLOO moves every step alike (−0.50)" in alt
    assert "exact moves step 2 the most (−0.75)" in alt


def test_no_two_texts_overlap_and_none_leaves_the_page(strips):
    with drawing():
        figure = strips.figure()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        boxes = [
            t.get_window_extent(canvas.get_renderer())
            for t in figure.findobj(Text)
            if t.get_visible() and t.get_text().strip()
        ]
    for i, box in enumerate(boxes):
        assert box.x0 >= -1, "no text leaves the page on the left"
        assert box.y0 >= -1
        assert box.y1 <= figure.bbox.height + 1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_the_picture_is_the_same_each_time(strips):
    assert strips.png() == strips.png()
    assert strips.svg() == strips.svg()


@pytest.mark.parametrize(
    ("tokens", "headings", "blocks", "said"),
    [
        (["a", "b"], ["one"], {"x": {"r": [0.0, 0.0]}}, "one heading per token"),
        ([], [], {"x": {"r": []}}, "one heading per token"),
        (["a"], ["one"], {}, "at least one row"),
        (["a"], ["one"], {"x": {}}, "at least one row"),
        (
            ["a", "b"],
            ["one", "two"],
            {"x": {"r": [0.0]}},
            "row 'r' of 'x' has 1 numbers for 2 steps",
        ),
    ],
)
def test_it_refuses_what_does_not_fit(tokens, headings, blocks, said):
    with pytest.raises(ValueError, match=said):
        update_strips(tokens, headings, blocks, alpha=0.5)


def test_a_number_that_is_none_is_refused():
    with pytest.raises(ValueError, match="leave out"):
        UpdateStrips(["a"], ["one"], {"x": {"r": [float("nan")]}}, "", 1.0).text()
