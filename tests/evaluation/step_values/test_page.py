"""The page of step values stands alone."""

from __future__ import annotations

from dataclasses import replace

from gnivo_edu import exact
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.evaluation.step_values.page import lines_of, render_page, write_page
from gnivo_edu.policies import TabularLM
from tests.evaluation.step_values.small_tasks import ALPHA, table_of
from toy_envs import PosterProblem


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
    assert len(figures) == 3
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
