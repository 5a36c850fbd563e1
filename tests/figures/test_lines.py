"""Lines of one picture are told apart, and so are their labels."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnivo_edu.figures.lines import LINES, apart, styles
from gnivo_edu.figures.style import PAPER, QUIET
from tests.figures.colour_vision import DEFICIENCIES, contrast, distance


@pytest.mark.parametrize("vision", DEFICIENCIES)
def test_lines_of_one_picture_look_different(vision):
    least = min(distance(a.colour, b.colour, vision) for a, b in combinations(LINES, 2))
    assert least >= 25


def test_lines_differ_without_colour_too_and_stand_out_from_the_paper():
    assert (
        len({line.marker for line in LINES})
        == len({str(line.dashes) for line in LINES})
        == len(LINES)
    )
    assert min(contrast(line.colour, PAPER) for line in LINES) >= 3
    assert contrast(QUIET, PAPER) >= 7
    with pytest.raises(ValueError, match="two pictures"):
        styles(7)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0.1, 2))
def test_labels_are_moved_apart_and_keep_their_order(ends, gap):
    placed = np.array(apart(ends, gap))
    order = np.argsort(ends, kind="stable")
    assert np.diff(np.sort(placed)).min(initial=np.inf) >= gap - 1e-9
    rising = [i for i in range(1, len(ends)) if ends[order[i]] > ends[order[i - 1]]]
    assert all(placed[order[i]] > placed[order[i - 1]] for i in rising)
    assert placed.mean() == pytest.approx(np.mean(ends), abs=1e-9)
