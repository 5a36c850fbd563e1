"""Panels of bars: what is drawn is what is given, rounding is 0, and odd input is refused in one
line.
"""

from itertools import pairwise

import pytest

from gnivo_edu.figures.bars import bar_panels

PANELS = {
    "start": {"one": 0.0, "a much longer name": 0.5},
    "end": {"one": 1e-17, "a much longer name": 1.25},
}


def test_bars_and_labels_are_the_values():
    figure = bar_panels(PANELS, "share", "alpha = 0.5").figure()
    figure.draw_without_rendering()
    for axes, values in zip(figure.axes, PANELS.values(), strict=True):
        assert [bar.get_width() for bar in axes.patches] == list(values.values())
        assert axes.get_xlim() == figure.axes[0].get_xlim()
    assert [text.get_text() for text in figure.axes[1].texts] == ["0", "1.25"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(PANELS["start"])


def test_nothing_leaves_the_picture_or_overlaps():
    figure = bar_panels(
        PANELS | {"a third": PANELS["end"], "a fourth": PANELS["start"]}, "share", "a caption"
    ).figure()
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    labels = [axes.xaxis.label.get_window_extent() for axes in figure.axes if axes.get_xlabel()]
    assert len(labels) == 1
    assert abs((labels[0].x0 + labels[0].x1) / 2 - (titles[0].x0 + titles[-1].x1) / 2) < 0.1 * width
    for box in [
        *titles,
        *labels,
        *(t.get_window_extent() for axes in figure.axes for t in axes.texts),
    ]:
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    assert all(left.x1 < right.x0 for left, right in pairwise(titles))


def test_text_and_alt_say_the_same():
    bars = bar_panels(PANELS, "share", "alpha = 0.5")
    lines = bars.text().splitlines()
    assert lines[1].split() == ["one", "0", "0"]
    assert lines[2].split()[-2:] == ["0.50", "1.25"]
    assert "start: 1 of 2 are 0, a much longer name is the longest" in bars.alt()
    assert bars.png()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "panels",
    [
        {},
        {"start": {}},
        {"start": {"a": 1.0}, "end": {"b": 1.0}},
        {"start": {"a": -1.0}},
        {"start": {"a": float("nan")}},
    ],
)
def test_odd_input_is_refused(panels):
    with pytest.raises(ValueError, match="panel"):
        bar_panels(panels, "share", "")
