"""The sample map sorts its rows, hatches what is padding, and marks ends."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from gnivo_edu import figures
from gnivo_edu.figures.style import signed


def test_the_sample_map_sorts_hatches_and_marks_the_end(brackets, bracket_key, words):
    answers = [(1, 1, 0, 2), (0, 1, 2), (0, 0, 0, 0, 0, 0, 0), (0, 0, 1, 1, 2)]
    shown = figures.sample_map(bracket_key, answers, brackets.vocabulary, reference="uniform")
    rows = shown.rows()
    assert [reward for reward, _, _ in rows] == [1, 1, 0, 0]
    assert [len(chips) for _, _, chips in rows] == [3, 5, 4, 7]
    assert [ended for _, ended, _ in rows] == [True, True, True, False]
    for chips, answer in zip(
        (r[2] for r in rows), [answers[1], answers[3], answers[0], answers[2]], strict=True
    ):
        assert [c.value for c in chips] == pytest.approx(bracket_key.step_credit(answer).tolist())
    axes = shown.figure().axes[0]
    pads = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_hatch()]
    assert [p.get_width() for p in pads] == [4, 2, 3, 0]
    assert [line.get_xdata()[0] for line in axes.lines] == [3, 5, 4]
    lines = shown.text().splitlines()
    assert [line.rstrip()[-1] for line in lines[1:5]] == ["|", "|", "|", "…"]
    assert shown.html().count('aria-label="padding"') == 9
    assert shown.html().count("border-right:5px") == 3
    credit = bracket_key.step_credit(answers[0])[0]
    assert f") {signed(credit)}" in words(shown.figure())
    grid = axes.collections[0].get_array().reshape(4, 7)
    assert np.ma.getmaskarray(grid).sum() == 9


@pytest.mark.slow
def test_a_wide_sample_map_keeps_signs_only(problem, words):
    shown = figures.SampleMap(
        [["a"] * 20], [[0.5, -0.5] * 10], [1.0], [True], "reference: r; alpha = 1", 1.0
    )
    drawn = words(shown.figure())
    assert drawn.count("▲") == drawn.count("▼") == 10
    with pytest.raises(ValueError, match="at least one answer"):
        figures.SampleMap([], [], [], [], "", 1.0)
