"""Value lines are exact, and so are their second axis and the values that stand beside them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.figures.style import percent
from gnivo_edu.figures.values import chance_axis


@settings(deadline=None, max_examples=40)
@given(st.floats(0.02, 5.0), st.floats(-0.5, 0.8), st.floats(0.1, 1.2))
@pytest.mark.slow
def test_the_second_axis_is_the_chance_of_ending_right(alpha, start, length):
    axes = Figure().add_subplot()
    axes.set_ylim(start / alpha, (start + length) / alpha)
    right = chance_axis(axes, alpha)
    assert right.get_ylim() == axes.get_ylim()
    places, labels = right.get_yticks(), [label.get_text() for label in right.get_yticklabels()]
    shown = np.array([float(label.removesuffix("%")) / 100 for label in labels])
    assert exact.success_probability(np.array(places), alpha) == pytest.approx(
        shown, rel=1e-6, abs=1e-9
    )
    assert np.diff(np.sort(places)).min(initial=np.inf) >= 0.07 * length / alpha - 1e-9
    assert all(start / alpha - 1e-9 <= place <= (start + length) / alpha + 1e-9 for place in places)


def test_value_lines_draw_and_write_exact_values(problem, key, words):
    answer = problem.examples["wrong at 3"]
    values = np.array([key.soft_value(answer[:t]) for t in range(8)])
    other = values + np.array([0, 0, 0, 0.3, 0, -0.4, 0, 0])
    shown = figures.value_lines(key, answer, problem.step_names, {"learned": other})
    axes, right = shown.figure().axes
    assert right.get_ylabel() == "chance of ending right"
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 8]
    assert np.allclose(drawn, [values, other])
    area = axes.collections[-1].get_paths()[0].vertices[:, 1]
    assert area.min() == min(values.min(), other.min())
    assert "largest 0.40 nats after step 5" in shown.caption
    _, rows = shown.table()
    assert [row[1] for row in rows] == [f"{v:.2f}" for v in values]
    assert [row[3] for row in rows] == [
        percent(key.success_probability(answer[:t])) for t in range(8)
    ]
    assert {"exact", "learned"} <= set(words(shown.figure()))
    assert [label.get_text() for label in axes.get_xticklabels()][3] == "3\nSquare"


def test_graded_rewards_have_no_second_axis():
    key = exact.solve(exact.enumerate_tree(toy_envs.RandomTree(2, 3)), 0.5)
    shown = figures.value_lines(key, (0, 1, 0), "abc")
    assert shown.alpha is None
    assert len(shown.figure().axes) == 1
    assert "chance" not in shown.text()


def test_long_answers_fit_and_refusals_help(key, problem):
    long = figures.ValueLines(
        ["token"] * 24, {"exact": np.linspace(0, 1, 25)}, "reference: r; alpha = 1"
    )
    assert long.figure().axes[0].get_xticklabels()[5].get_rotation() == 90
    with pytest.raises(ValueError, match="needs 8 finite values"):
        figures.value_lines(
            key, problem.examples["right"], problem.step_names, {"learned": [0.0] * 7}
        )
    with pytest.raises(ValueError, match="no line 'x'"):
        figures.value_lines(key, problem.examples["right"], problem.step_names, shade="x")


def test_intervals_are_drawn_from_end_to_end_and_written(words):
    values, ends = [0.0, 1.0, 0.5], [(-0.004, 0.2), (0.8, 1.5), (0.5, 0.5)]
    lines = figures.ValueLines(
        ["a", "b"],
        {"exact": [0.1, 0.9, 0.5], "sampled": values},
        "reference: r; alpha = 1",
        intervals={"sampled": ends},
    )
    (bars,) = lines.figure().axes[0].collections
    assert [tuple(bar[:, 1]) for bar in bars.get_segments()] == ends
    assert [row[2] for row in lines.table()[1]] == [
        "0.00 (0.00 to 0.20)",
        "1.00 (0.80 to 1.50)",
        "0.50 (0.50 to 0.50)",
    ]
    with pytest.raises(ValueError, match="line 'sampled' needs 3 finite values"):
        figures.ValueLines(
            ["a", "b"], {"sampled": values}, "", intervals={"sampled": [(0.0, np.inf)] * 3}
        )


def test_implicit_values_of_pi_star_are_v_and_of_the_reference_log_z(problem, key):
    for answer in problem.examples.values():
        values = [key.soft_value(answer[:t]) for t in range(8)]
        assert figures.implicit_values(key, key.optimal_step_logps, answer) == pytest.approx(
            values, abs=1e-12
        )
        assert figures.implicit_values(key, key.tree.step_logps, answer) == pytest.approx(
            [key.log_z] * 8
        )


def test_sampled_values_are_near_and_their_errors_honest(problem, key):
    answer = problem.examples["wrong at 3"]
    values = np.array([key.soft_value(answer[:t]) for t in range(8)])
    runs = [figures.sampled_values(key, answer, samples=400, seed=seed) for seed in range(30)]
    spread = np.std([v for v, _ in runs], axis=0)
    assert np.abs(np.mean([v for v, _ in runs], axis=0) - values).max() < 0.03
    assert np.mean([e for _, e in runs], axis=0)[:7] == pytest.approx(spread[:7], rel=0.5)
    assert runs[0][0][7] == values[7]
    assert np.array_equal(
        figures.sampled_values(key, answer, 50, 3)[0], figures.sampled_values(key, answer, 50, 3)[0]
    )
