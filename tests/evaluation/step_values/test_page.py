"""The page of step values stands alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gnivo_edu import exact
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.evaluation.step_values.notes import alike, verdict
from gnivo_edu.evaluation.step_values.page import (
    lines_of,
    render_page,
    rows_of,
    strips_of,
    write_page,
)
from gnivo_edu.policies import TabularLM
from tests.evaluation.step_values.small_tasks import ALPHA, table_of
from toy_envs import PosterProblem, TokenMDP


def test_the_page_stands_alone_and_names_reference_and_alpha(tmp_path):
    problem = PosterProblem()
    key = exact.solve(exact.enumerate_tree(problem), alpha=ALPHA)
    policy, reference = table_of(problem, key.optimal_step_logps), TabularLM.from_mdp(problem)
    found = step_values(
        policy, reference, problem, alpha=ALPHA, answers=[problem.examples["right"]]
    )
    found = replace(found, prompt="<script>alert(1)</script>\n\u202ereversed")
    page = write_page(found, tmp_path / "new" / "index.html").read_text(encoding="utf-8")
    assert page == render_page(found)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "prefers-color-scheme: dark" in page
    assert not [word for word in page.split('"') if word.startswith(("http:", "https:", "//"))]
    figures = page.split("<figure")[1:]
    assert len(figures) == 4
    assert all(
        figure.count("reference: the initial model") and "alpha = 0.5" in figure
        for figure in figures
    )
    lines = lines_of(found, found.answers[0])
    assert list(lines.lines) == ["exact", "Monte-Carlo", "implicit"]
    head, rows = lines.table()
    assert (head[-1], rows[-1][-1]) == ("chance of ending right", "100%")
    assert [axes.get_ylabel() for axes in lines.figure().axes] == [
        "soft value V, nats",
        "chance of ending right",
    ]


def look(mdp: TokenMDP, answers: list[list[int]], **options: Any) -> Any:
    """Step values of a table that is its own reference."""
    table = TabularLM.from_mdp(mdp)
    return step_values(table, table, mdp, alpha=ALPHA, answers=answers, **options)


def test_a_model_that_is_its_own_reference_shows_where_the_value_falls():
    problem = PosterProblem()
    values = look(problem, [problem.examples["wrong late"]], continuations=400)
    answer = values.answers[0]
    headings = list(strips_of(values, answer))
    assert headings[0].startswith("Credit of every step under")
    assert not [heading for heading in headings if heading == "Credit of every step"]
    assert list(lines_of(values, answer).lines) == ["exact", "Monte-Carlo"]
    assert answer.first_fall == 6
    assert verdict(values, answer).startswith("The value first falls at step 7 of 7, by ")
    assert "the chance of ending right goes from" in verdict(values, answer)
    rows = rows_of(values, answer)
    assert [row.falls for row in rows] == [False] * 7 + [True]
    assert rows[-1].chance == "0%"
    assert rows[0].credit == ""
    assert "its credit, nats" in render_page(values)


def test_where_all_earn_the_same_the_page_says_so_and_colours_nothing():
    values = look(TokenMDP(2, 2, reward=lambda tokens, lengths: 0.0 * lengths), [[0, 1], [1, 1]])
    assert values.all_alike
    assert strips_of(values, values.answers[0]) == {}
    assert alike(values).startswith("All answers and all 64 continuations earned 0")
    page = render_page(values)
    assert alike(values) in page
    assert "first falls" not in page


def test_a_fall_within_its_interval_is_named_with_what_would_settle_it():
    problem = PosterProblem()
    answers = [problem.examples["wrong at 3"], problem.examples["right"]]
    values = look(problem, answers, continuations=2, seed=4)
    wrong, right = values.answers
    assert wrong.first_fall is None
    said = verdict(values, wrong)
    assert said.startswith("No step lowers the value by more than its 95% interval; the largest")
    assert f"at step {wrong.lowest_step + 1} of 7" in said
    assert said.endswith("draw more: --continuations 16, or --seconds 60.")
    assert verdict(values, right) == "No step lowers the value by more than its 95% interval."


def test_rounding_is_not_coloured():
    mdp = TokenMDP(2, 2, reward=lambda tokens, lengths: 1e-3 * tokens[:, 0])
    values = look(mdp, [[0, 1], [1, 1]])
    for strip in strips_of(values, values.answers[0]).values():
        assert strip.scale == 0.1  # nats
        assert "full colour at ±0.10" in strip.caption


def test_equal_answers_stand_once_with_their_number():
    problem = PosterProblem()
    right = problem.examples["right"]
    values = look(problem, [right, problem.examples["wrong late"], right])
    assert [numbers for _, numbers in values.distinct] == [[1, 3], [2]]
    page = render_page(values)
    assert page.count("<section") == 2
    assert "Answers 1 and 3, the same: reward" in page


class Accents(TokenMDP):
    """Each answer is one character of two tokens, then a letter."""

    def __init__(self) -> None:
        super().__init__(3, 3, reward=lambda tokens, lengths: tokens[:, 0] == 0)

    def token_texts(self, answer: Any) -> list[str]:
        return ["", "é", "x"]


def test_pieces_of_a_character_stand_with_the_token_that_completes_it():
    task = Accents()
    policy = TabularLM.from_mdp(task, seed=0)
    values = step_values(policy, TabularLM.from_mdp(task), task, alpha=ALPHA, answers=[[0, 1, 2]])
    answer = values.answers[0]
    assert answer.characters == ((0, 2), (2, 3))
    strip = strips_of(values, answer)["Credit of every step"]
    assert list(strip.tokens) == ["é", "x"]
    assert strip.values[0] == answer.credits[:2].sum()
