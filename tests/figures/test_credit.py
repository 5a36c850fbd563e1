"""Credit strips: the numbers that are shown are the exact ones."""

import re

import numpy as np
import pytest

from gnivo_edu import exact, figures
from gnivo_edu.figures.style import colour, mark, signed


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


@pytest.mark.slow
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
