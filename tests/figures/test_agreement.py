"""The scatter of implicit against exact values: every point at its place, its numbers right, one
line on bad input.
"""

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import colors, image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from gnivo_edu.figures import agreement_plot
from gnivo_edu.figures.style import drawing

EXACT, DEPTH = np.array([0.0, 1.0, 2.0, 2.0, 3.5]), np.array([1, 2, 2, 3, 3])
PANELS = {
    "learned": EXACT + 0.3 * np.array([1, -1, 1, -1, 1]),
    "turned round": -EXACT,
    "shuffled": EXACT[[2, 0, 4, 1, 3]],
}


@pytest.fixture(scope="module")
def three():
    return agreement_plot(
        EXACT, DEPTH, PANELS, alpha=0.2, reference="a random transformer", note="a note"
    )


def drawn(plot):
    with drawing():
        figure = plot.figure()
        FigureCanvasAgg(figure).draw()
    return figure


def test_its_two_numbers_are_those_of_the_definition(three):
    assert three.agreement("learned").rms == pytest.approx(0.3, abs=1e-12)
    assert three.agreement("turned round").rank_correlation == pytest.approx(-1, abs=1e-12)
    # Ranks of the shuffled list 3.5 1 5 2 3.5 against 1 2 3.5 3.5 5, both with mean 3.
    a, b = np.array([0.5, -2, 2, -1, 0.5]), np.array([-2, -1, 0.5, 0.5, 2])
    assert three.agreement("shuffled").rank_correlation == pytest.approx(
        a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-12
    )


@pytest.mark.slow
def test_text_and_sentence_hold_the_same_numbers(three):
    lines = three.text().splitlines()
    assert lines[1].split() == [
        "learned",
        f"{three.agreement('learned').rank_correlation:.3f}",
        "0.30",
        "5",
    ]
    assert lines[2].split() == [
        "turned",
        "round",
        "−1.000",
        f"{three.agreement('turned round').rms:.2f}",
        "5",
    ]
    assert lines[-1] == "reference: a random transformer; alpha = 0.2; a note"
    alt = three.alt()
    assert "\n" not in alt
    assert "turned round: rank correlation −1.000" in alt
    assert three.html().count("<details>") == 1


def test_every_point_is_drawn_at_its_numbers_in_the_colour_of_its_depth(three):
    panels = drawn(three).axes[:3]
    for axes, values in zip(panels, PANELS.values(), strict=True):
        cloud = axes.collections[0]
        points = {
            (x, y, int(d))
            for (x, y), d in zip(cloud.get_offsets().tolist(), cloud.get_array(), strict=True)
        }
        assert points == set(zip(EXACT.tolist(), values.tolist(), DEPTH.tolist(), strict=True))
        assert (np.diff(cloud.get_array()) <= 0).all(), (
            "the deepest are drawn first, and bury no others"
        )
        (line,) = axes.lines
        assert list(line.get_xdata()) == list(line.get_ydata()), "the diagonal"
        assert axes.get_xlim() == axes.get_ylim() == panels[0].get_xlim(), (
            "the same axes in all panels"
        )


def test_colours_grow_darker_with_depth():
    plot = agreement_plot(range(5), range(1, 6), {"a": range(5)}, alpha=1)
    cloud = drawn(plot).axes[0].collections[0]
    faces = cloud.get_facecolors()[:, :3]
    grey = np.array([0.299, 0.587, 0.114])
    shade = {
        depth: colors.to_rgb(face) @ grey
        for depth, face in zip(cloud.get_array(), faces, strict=True)
    }
    steps = np.diff([shade[d] for d in sorted(shade)])
    assert (steps < -0.06).all(), "told apart in grey, too"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_two_texts_overlap_and_none_leaves_the_page(count):
    names = [
        "a name that is long enough to need a second line",
        "control: shuffled within a depth",
        "c",
    ][:count]
    figure = drawn(
        agreement_plot(
            EXACT, DEPTH, dict.fromkeys(names, EXACT), alpha=0.5, note="a long note " * 12
        )
    )
    beyond = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=False)
        if not min(axis.get_view_interval()) <= place <= max(axis.get_view_interval())
    }
    texts = [
        t
        for t in figure.findobj(Text)
        if t.get_visible() and t.get_text().strip() and t not in beyond
    ]
    boxes = [t.get_window_extent() for t in texts]
    for i, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1 + 1, text.get_text()
        for other, second in zip(texts[i + 1 :], boxes[i + 1 :], strict=True):
            width, height = (
                min(box.x1, second.x1) - max(box.x0, second.x0),
                min(box.y1, second.y1) - max(box.y0, second.y0),
            )
            assert min(width, height) < 0.03 * figure.dpi, (
                f"{text.get_text()!r} and {other.get_text()!r} overlap"
            )


@pytest.mark.slow
def test_the_same_bytes_each_time_and_no_wider_than_a_page(three):
    assert three.png() == three.png()
    assert image.imread(io.BytesIO(three.png())).shape[1] <= 1950


def test_all_values_alike_still_have_axes():
    plot = agreement_plot([1.0, 1.0], [1, 1], {"a": [1.0, 1.0]}, alpha=1)
    assert np.isnan(plot.agreement("a").rank_correlation)
    assert "undefined" in plot.text()
    low, high = drawn(plot).axes[0].get_xlim()
    assert low < 1 < high


def test_making_one_needs_no_torch():
    code = (
        "import sys; from gnivo_edu.figures import agreement_plot; agreement_plot([0, 1], [1, 1], "
        "{'a': [0, 1]}, 1)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("exact", "depth", "implicit", "words"),
    [
        ([], [], {"a": []}, "at least one prefix"),
        ([0.0, 1.0], [1], {"a": [0.0, 1.0]}, "one depth for each prefix"),
        ([0.0, np.inf], [1, 1], {"a": [0.0, 1.0]}, "finite"),
        ([0.0, 1.0], [1, 1], {"a": [0.0]}, "'a' must be 2 finite numbers"),
        ([0.0, 1.0], [1, 1], {"a": [0.0, np.nan]}, "'a' must be 2 finite numbers"),
        ([0.0, 1.0], [1, 1], {}, "one to 3 panels"),
        ([0.0, 1.0], [1, 1], {name: [0.0, 1.0] for name in "abcd"}, "got 4"),
    ],
)
def test_bad_input_is_one_clear_line(exact, depth, implicit, words):
    with pytest.raises(ValueError, match=words) as caught:
        agreement_plot(exact, depth, implicit, alpha=1)
    assert "\n" not in str(caught.value)
