"""The waterfall adds up, and draws and writes exact values."""

import pytest

from gnivo_edu import exact, figures
from gnivo_edu.figures.style import mark, percent, signed


@pytest.mark.parametrize("alpha", [0.05, 0.5, 3.0])
def test_the_waterfall_adds_up_on_every_answer(problem, alpha):
    key = exact.solve(exact.enumerate_tree(problem), alpha)
    for number, answer in enumerate(key.tree.answers()):
        fall = figures.waterfall(key, answer, problem.step_names)
        assert abs(fall.residual) < 1e-11
        assert fall.end == key.tree.rewards[number] / alpha
        assert fall.levels[-1] == pytest.approx(fall.end, abs=1e-11)
        assert fall.chances == [key.success_probability(answer[:t]) for t in range(8)]


def test_the_waterfall_draws_and_writes_the_exact_values(problem, key, words):
    answer = problem.examples["wrong at 3"]
    fall, credits = figures.waterfall(key, answer, problem.step_names), key.step_credit(answer)
    values = [key.soft_value(answer[:t]) for t in range(8)]
    axes = fall.figure().axes[0]
    bars = {round(bar.get_x() + bar.get_width() / 2): bar for bar in axes.patches}
    assert len(bars) == 9
    for t in range(1, 8):
        ends = sorted([bars[t].get_y(), bars[t].get_y() + bars[t].get_height()])
        assert ends == pytest.approx(sorted([values[t - 1], values[t]]))
    assert bars[0].get_height() == pytest.approx(key.log_z)
    _, rows = fall.table()
    assert [row[1] for row in rows[1:-1]] == [f"{mark(c)} {signed(c)}" for c in credits]
    assert [row[2] for row in rows[:-1]] == [f"{v:.2f}" for v in values]
    assert [row[3] for row in rows[:-1]] == [
        percent(key.success_probability(answer[:t])) for t in range(8)
    ]
    assert all(any(signed(c) in word for word in words(fall.figure())) for c in credits)


def test_the_waterfall_of_a_short_answer_and_its_refusals(brackets, bracket_key):
    fall = figures.waterfall(bracket_key, (0, 1, 2), ["(", ")", "."], reference="uniform")
    assert abs(fall.residual) < 1e-12
    assert fall.end == 1 / bracket_key.alpha
    with pytest.raises(ValueError, match="complete answer"):
        figures.waterfall(bracket_key, (0, 1), ["(", ")"])
    with pytest.raises(ValueError, match="as many labels"):
        figures.waterfall(bracket_key, (0, 1, 2), ["("])
