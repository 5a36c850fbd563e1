"""Every page that the project writes, in a real browser: silent, at home on a phone, light and
dark, readable by machines that read to people, and deaf to hostile texts.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gnivo_edu.demo import run_demo
from gnivo_edu.demo.gallery import gallery_page
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.evaluation.step_values.page import write_page
from gnivo_edu.figures import token_strip
from gnivo_edu.policies import TabularLM
from tests.browser import serious_faults
from tests.show.planted import HOSTILE
from toy_envs import PosterProblem

pytestmark = pytest.mark.slow


def explored(hostile: bool = False):
    problem = PosterProblem()
    table = TabularLM.from_mdp(problem)
    answers = [problem.examples["wrong at 3"], problem.examples["right"]]
    values = step_values(table, table, problem, alpha=0.5, answers=answers, continuations=8)
    if not hostile:
        return values
    texts = HOSTILE[:7]
    answer = replace(values.answers[0], texts=texts, step_texts=texts)
    names = {"policy": HOSTILE[2], "reference": HOSTILE[0] + HOSTILE[2], "prompt": HOSTILE[1]}
    return replace(values, answers=(answer,), **names)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    run_demo(folder / "demo", say=lambda line: None)
    write_page(explored(), folder / "explore" / "index.html")
    strip = token_strip(["a", "b"], [0.5, -1.0], alpha=0.5)
    (folder / "gallery.html").write_text(gallery_page({"A strip": strip}), encoding="utf-8")
    return {
        "demo": folder / "demo" / "index.html",
        "explore": folder / "explore" / "index.html",
        "gallery": folder / "gallery.html",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["demo", "explore", "gallery"])
def test_axe_finds_nothing_serious(open_file, pages, name, scheme):
    page = open_file(pages[name], color_scheme=scheme, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious_faults(page) == []


def test_hostile_texts_of_a_model_are_seen_and_inert(open_file, tmp_path: Path):
    page = open_file(write_page(explored(hostile=True), tmp_path / "index.html"))
    assert page.evaluate("window.pwned") is None
    text = page.inner_text("body")
    assert "</script><script>pwned=1</script>" in text
    assert "\\u202e" in text
    assert not {"\u202e", "\u200b", "\x1b"} & set(page.content())
    assert page.evaluate("[...document.images].every((i) => i.src.startsWith('data:'))")


def test_the_page_of_an_answer_is_read_by_keyboard(open_file, pages):
    page = open_file(pages["explore"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#answer-1"
    page.keyboard.press("Enter")
    assert page.url.endswith("#answer-1")
