"""Panels below a frontier."""

import pytest

from gnivo_edu.figures.frontier_panels import frontier_panels
from gnivo_edu.figures.plane import Point

RUNS = {
    "GRPO": {"0.0001": Point(1.0, 0.6), "0.001": Point(50.0, 0.9)},
    "GRPO, placebos": {"random": Point(2.0, 0.5)},
}
MOST = [Point(0.1, 0.55), Point(1.0, 0.8), Point(100.0, 1.0)]


@pytest.fixture
def panels():
    return frontier_panels(RUNS, MOST, start=0.5, caption="one run", loose=["GRPO, placebos"])


def test_every_run_is_in_picture_and_table(panels):
    figure = panels._draw()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["GRPO", "GRPO, placebos"]
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels == ["0.0001", "0.001"]
    assert panels.table()[1][2] == ["GRPO, placebos", "random", "2", "0.5"]
    assert "GRPO to 0.9 at 50 nats" in panels.alt()


def test_placebos_are_not_joined(panels):
    drawn = panels._draw().axes
    lines = [axes.lines[-1] for axes in drawn]
    assert [line.get_linewidth() > 0 for line in lines] == [True, False]
    assert drawn[0].get_xscale() == "log"


def test_a_kl_of_nothing_is_refused():
    with pytest.raises(ValueError, match="KL above 0"):
        frontier_panels({"a": {"b": Point(0.0, 0.5)}}, MOST, start=0.5, caption="")
