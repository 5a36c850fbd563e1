"""The check that panels side by side hold the same names."""

import pytest

from gnivo_edu.figures.bars import bar_panels
from gnivo_edu.figures.panels import check_names


def test_the_same_names_in_one_order_pass():
    check_names({"one": {"a": 1, "b": 2}, "two": {"a": 3, "b": 4}}, "bars")


@pytest.mark.parametrize("other", [{"b": 1, "a": 2}, {"a": 1}, {"a": 1, "b": 2, "c": 3}])
def test_other_names_and_another_order_are_refused(other):
    with pytest.raises(ValueError, match="bars: panel 'two' must hold the names of the first one"):
        bar_panels({"one": {"a": 1.0, "b": 2.0}, "two": other}, "share", "")


@pytest.mark.parametrize("panels", [{}, {"one": {}}])
def test_a_picture_of_nothing_is_refused(panels):
    with pytest.raises(ValueError, match="forest plot: there must be at least one panel"):
        check_names(panels, "forest plot")
