"""ROC curves: their areas in words, and what they refuse."""

import io

import pytest
from matplotlib import image

from gnivo_edu.figures.roc import RocCurve, roc_plot

PERFECT, COIN = RocCurve([0, 0, 1], [0, 1, 1], area=1.0), RocCurve([0, 1], [0, 1], area=0.5)


def test_areas_are_told_by_panel():
    plot = roc_plot({"all": {"a": PERFECT, "b": COIN}, "alike": {"a": COIN, "b": COIN}}, "said")
    head, rows = plot.table()
    assert head == ["area under the curve", "all", "alike"]
    assert rows == [["a", "1.000", "0.500"], ["b", "0.500", "0.500"]]
    assert plot.alt() == (
        "ROC curves, areas under them. all: a 1.00, b 0.50. alike: a 0.50, b 0.50."
    )
    assert image.imread(io.BytesIO(plot.png())).shape[1] > 700


def test_panels_hold_the_same_names():
    with pytest.raises(ValueError, match="must hold the names of the first one"):
        roc_plot({"all": {"a": PERFECT}, "alike": {"b": PERFECT}}, "")
    with pytest.raises(ValueError, match="at least one panel"):
        roc_plot({}, "")
