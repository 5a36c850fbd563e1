"""The forest plot and the curves with bands: what each says of its numbers, and what it refuses."""

import pytest

from gnivo_edu.figures.bands import Band, band_curves
from gnivo_edu.figures.forest import ABOVE, BELOW, forest_plot
from gnivo_edu.statistics import Interval

VALUES = {
    "better": Interval(0.1, 0.05, 0.15),
    "worse": Interval(-0.5, -0.6, -0.4),
    "level": Interval(0.1, -0.1, 0.3),
}


def test_only_intervals_apart_from_0_are_said_to_be():
    said = forest_plot({"tier 4": VALUES}, "difference", "").alt()
    assert "above 0: better; below 0: worse." in said


def test_points_stand_at_their_means_or_at_the_edge():
    plot = forest_plot({"tier 4": VALUES}, "difference", "", limits=(-0.3, 0.2))
    axes = plot.figure().axes[0]
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    places = [(line.get_marker(), float(line.get_xdata()[0]), line.get_color()) for line in points]
    assert places[0] == ("o", 0.1, ABOVE)
    assert places[1][0] == "<"
    assert places[1][1] == pytest.approx(-0.29)
    assert places[1][2] == BELOW
    assert places[2][:2] == ("o", 0.1)
    assert axes.get_xlim() == (-0.3, 0.2)


def test_panels_of_other_names_are_refused():
    with pytest.raises(ValueError, match="the names of the first one"):
        forest_plot({"a": VALUES, "b": {"better": VALUES["better"]}}, "difference", "")


def test_bands_are_drawn_from_the_low_to_the_high_end():
    band = Band([1.0, 2.0], [Interval(0.5, 0.25, 0.75), Interval(1.0, 0.5, 2.0)])
    curves = band_curves(
        {"a": {"r": band}}, [["a"]], {"r": "reward"}, x_label="answers", caption=""
    )
    axes = curves.figure().axes[0]
    assert axes.lines[0].get_ydata().tolist() == [0.5, 1.0]
    corners = axes.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in corners.tolist()} >= {
        *((1.0, 0.25), (1.0, 0.75), (2.0, 0.5), (2.0, 2.0))
    }
    assert curves.table()[1] == [["a", "1"]]
    with pytest.raises(ValueError, match="there are no curves of 'b'"):
        band_curves({"a": {"r": band}}, [["b"]], {"r": "reward"}, x_label="answers", caption="")
