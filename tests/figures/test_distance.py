"""Distance curves: every number in all outputs, lines that lie on one another all seen, one clear
line on bad input.
"""

import io

import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text

from gnivo_edu.figures.distance import distance_curves
from gnivo_edu.figures.lines import LINES
from gnivo_edu.figures.style import drawing

SHARES = [0.0, 0.25, 0.5, 0.75, 1.0]
SIX = {
    "floor": [0.0] * 5,
    "floor again": [1e-17] * 5,
    "rising": [0.0, 0.0139, 0.0288, 0.046, 0.0679],
    "above": [0.0795, 0.0923, 0.108, 0.124, 0.141],
    "higher": [0.144, 0.145, 0.149, 0.156, 0.167],
    "dipping": [0.0844, 0.0731, 0.0436, 0.0516, 0.108],
}


@pytest.fixture(scope="module")
def six():
    return distance_curves(SHARES, SIX, alpha=0.3, note="groups of 2")


def test_every_number_stands_in_the_text_and_rounding_is_not_shown_as_distance(six):
    lines = six.text().splitlines()
    assert lines[0].split() == [
        "share",
        "of",
        "off-policy",
        "data",
        "0%",
        "25%",
        "50%",
        "75%",
        "100%",
    ]
    assert lines[2].split() == ["floor", "again", "0", "0", "0", "0", "0"]
    assert lines[6].split() == ["dipping", "0.0844", "0.0731", "0.0436", "0.0516", "0.108"]
    assert lines[-1] == "reference: the initial model; alpha = 0.3; groups of 2"


def test_the_sentence_says_where_each_line_starts_and_ends(six):
    alt = six.alt()
    assert alt.endswith(".")
    assert "\n" not in alt
    assert "rising from 0 to 0.0679" in alt
    assert "dipping from 0.0844 to 0.108" in alt


def test_a_line_under_another_is_drawn_wider(six):
    assert [six.covered(name) for name in SIX] == [1, 0, 0, 0, 0, 0]
    with drawing():
        axes = six.figure().axes[0]
    lines = {line.get_color(): line for line in axes.lines if len(line.get_xdata()) == 5}
    floor, again = (lines[LINES[i].colour] for i in (0, 1))
    assert floor.get_linewidth() > 2 * again.get_linewidth()
    assert floor.get_markersize() > again.get_markersize()
    assert floor.get_zorder() < again.get_zorder()


def test_each_line_is_drawn_at_its_numbers(six):
    with drawing():
        axes = six.figure().axes[0]
    drawn = [line for line in axes.lines if len(line.get_xdata()) == 5]
    for line, values, look in zip(drawn, SIX.values(), LINES, strict=True):
        assert list(line.get_xdata()) == SHARES
        assert list(line.get_ydata()) == values
        assert line.get_color() == look.colour
    assert axes.get_ylim()[0] <= 0 < 0.167 < axes.get_ylim()[1]


def test_each_label_points_to_the_end_of_its_line_and_leaves_room_for_the_plot(six):
    with drawing():
        figure = six.figure()
        FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    tips = [text.xy for text in axes.texts if isinstance(text, Annotation)]
    for values in SIX.values():
        assert any(tip == pytest.approx((1.0, values[-1])) for tip in tips)
    assert axes.bbox.width / figure.dpi > 5


@pytest.mark.parametrize("shares", [SHARES, [0.0, 1.0], [i / 10 for i in range(11)]])
def test_no_two_texts_overlap_and_none_leaves_the_page(shares):
    series = {name: np.linspace(v[0], v[-1], len(shares)) for name, v in SIX.items()}
    with drawing():
        figure = distance_curves(
            shares, series, alpha=0.3, note="a note that is long enough to be wrapped " * 3
        ).figure()
        FigureCanvasAgg(figure).draw()
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
        boxes = [Text.get_window_extent(t) for t in texts]
    words = [t.get_text() for t in texts]
    assert set(SIX) <= set(words)
    for i, (word, box) in enumerate(zip(words, boxes, strict=True)):
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1 + 1, word
        for other, second in zip(words[i + 1 :], boxes[i + 1 :], strict=True):
            width = min(box.x1, second.x1) - max(box.x0, second.x0)
            height = min(box.y1, second.y1) - max(box.y0, second.y0)
            assert min(width, height) < 0.04 * figure.dpi, f"{word!r} and {other!r} overlap"


@pytest.mark.slow
def test_the_same_bytes_each_time_and_no_wider_than_a_page(six):
    first = six.png()
    assert six.png() == first
    assert image.imread(io.BytesIO(first)).shape[1] <= 1950
    assert six.html().count("<details>") == 1


def test_all_zero_still_has_an_axis():
    assert distance_curves([0, 1], {"a": [0, 0]}, alpha=1).top == 1.0


@pytest.mark.parametrize(
    ("shares", "series", "words"),
    [
        ([0.0], {"a": [0.0]}, "two or more growing"),
        ([0.5, 0.5], {"a": [0.0, 0.0]}, "growing"),
        ([0.0, 1.5], {"a": [0.0, 0.0]}, "0..1"),
        ([0.0, 1.0], {}, "no distances"),
        ([0.0, 1.0], {"a": [0.0]}, "2 finite numbers"),
        ([0.0, 1.0], {"a": [0.0, -0.1]}, "'a'"),
        ([0.0, 1.0], {"a": [0.0, float("nan")]}, "finite"),
    ],
)
def test_bad_input_is_one_clear_line(shares, series, words):
    with pytest.raises(ValueError, match=words) as caught:
        distance_curves(shares, series, alpha=0.3)
    assert "\n" not in str(caught.value)
