"""Strips, waterfalls and sample maps: the numbers that are shown are the exact ones."""

import re

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from gnivo_edu import exact, figures
from gnivo_edu.figures.style import colour, mark, percent, signed


def numbers(text):
    return [float(n.replace("−", "-")) for n in re.findall(r"[▲▼·][ \xa0]?([+−]?\d+\.\d\d)", text)]


def test_credit_strips_show_exact_credits_and_sums_in_all_outputs(problem, key, words):
    strips = figures.credit_strips(key, problem.examples, problem.vocabulary, problem.step_names)
    exact_credits = np.array([key.step_credit(answer) for answer in problem.examples.values()])
    drawn = [number for word in words(strips.figure()) for number in numbers(word)]
    assert np.abs(np.sort(drawn) - np.sort(exact_credits.round(2).ravel())).max() < 1e-9
    assert np.allclose(numbers(strips.text()), exact_credits.round(2).T.ravel())
    html = strips.html().replace("&nbsp;", " ")
    assert np.allclose(numbers(html), exact_credits.round(2).ravel())
    sums = [signed(r / key.alpha - key.log_z) for r in (1, 0, 1, 0)]
    assert strips.text().splitlines()[-2].split()[1:] == sums
    assert re.findall(r"<td>([^<]+)</td>", strips.html()) == sums
    for chips in strips.chips().values():
        assert all(f"background:{colour(c.value, strips.scale)}" in html for c in chips)


def test_every_sign_is_shown_twice(problem, key):
    strips = figures.credit_strips(key, problem.examples, problem.vocabulary)
    for shown in (strips.text(), strips.html().replace("&nbsp;", "")):
        pairs = re.findall(r"([▲▼·])\s?([+−]?)\d", shown)
        assert len(pairs) == 28
        assert {("▲", "+"), ("▼", "−")} == set(pairs)
    assert [mark(v) + signed(v) for v in (0.004, -0.004, 0.006, -0.006)] == [
        "·0.00",
        "·0.00",
        "▲+0.01",
        "▼−0.01",
    ]


def test_credit_strips_of_unequal_length(brackets, bracket_key):
    answers = {"short": (0, 1, 2), "long": (0, 0, 1, 1, 2)}
    strips = figures.credit_strips(bracket_key, answers, brackets.vocabulary, reference="uniform")
    assert [len(chips) for chips in strips.chips().values()] == [3, 5]
    assert [chips[-1].special for chips in strips.chips().values()] == [True, True]
    rows = re.findall(r"<tr>.*?</tr>", strips.html())[1:]
    assert [row.count("<td") for row in rows] == [6, 6]
    assert signed(1 / bracket_key.alpha - bracket_key.log_z) in strips.text().splitlines()[-2]


def test_credits_of_zero_have_no_colour_and_do_no_harm():
    key = exact.solve(exact.enumerate_tree_from_rewards([1, 1, 1, 1], vocab_size=2), 0.5)
    for shown in (
        figures.credit_strips(key, {"a": (0, 1)}, "xy"),
        figures.sample_map(key, [(0, 1)], "xy"),
        figures.prefix_tree(key, "xy"),
        figures.waterfall(key, (0, 1), ["x", "y"]),
    ):
        assert "·" in shown.text()
        assert "background:#ffffff" in shown.html() or "<img" in shown.html()
        assert len(shown.png()) > 1000


def test_credit_strips_refuse_what_has_no_number(problem):
    with pytest.raises(ValueError, match="leave out"):
        figures.token_strip(["a"], [float("nan")], alpha=1.0).text()
    with pytest.raises(ValueError, match="one credit per token"):
        figures.token_strip(["a", "b"], [0.1], alpha=1.0)
    key = exact.solve(exact.enumerate_tree(problem), 0.5)
    with pytest.raises(ValueError, match="headings"):
        figures.credit_strips(key, {"a": (0, 0, 0)}, problem.vocabulary, headings=["only one"])


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


def test_a_wide_sample_map_keeps_signs_only(problem, words):
    shown = figures.SampleMap(
        [["a"] * 20], [[0.5, -0.5] * 10], [1.0], [True], "reference: r; alpha = 1", 1.0
    )
    drawn = words(shown.figure())
    assert drawn.count("▲") == drawn.count("▼") == 10
    with pytest.raises(ValueError, match="at least one answer"):
        figures.SampleMap([], [], [], [], "", 1.0)
