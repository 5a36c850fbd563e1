"""The page of a run in a real browser: it says nothing on the console, asks for nothing, works by
keyboard, shows hostile texts as texts, and its formulas compute what Python computes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gnivo_edu.objectives.formulas import SIGNAL, evaluate
from gnivo_edu.show import show
from tests.browser import serious_faults
from tests.show.planted import BEGINS, HOSTILE, write_run

pytestmark = pytest.mark.slow
pytest.importorskip("pyarrow", reason="needs pyarrow")
FORMULA = """() => ({
  numbers: Object.fromEntries([...document.querySelectorAll("[data-number]")].map(
    (n) => [n.dataset.number, Number(n.textContent.replaceAll("−", "-"))])),
  lines: [...document.querySelectorAll("[data-symbol]")].map(
    (n) => [n.dataset.symbol, Number(n.dataset.value)])})"""


@pytest.fixture
def opened(open_file):
    """Open the page of a run."""
    return lambda run, **options: open_file(Path(show(run)["page"]), **options)


@pytest.mark.parametrize("name", ["gnivo", "grpo", "ppo", "online_dpo", "vimpo"])
def test_the_displayed_numbers_give_the_displayed_signal(opened, tmp_path, name):
    page = opened(write_run(tmp_path / "run", name, steps=2))
    formulas = page.evaluate("data.formulas")
    for place in ('[data-k="0"][data-t="0"]', '[data-k="1"][data-t="2"]'):
        page.click(place)
        shown = page.evaluate(FORMULA)
        known = {s: torch.tensor(x, dtype=torch.float64) for s, x in shown["numbers"].items()}
        for line, (symbol, value) in zip(formulas[0]["lines"], shown["lines"], strict=True):
            known[symbol] = evaluate(line["expression"], known)
            assert symbol == line["symbol"]
            assert value == pytest.approx(float(known[symbol]), abs=1e-9)
        assert symbol == SIGNAL
    assert name in page.inner_text("#panel")


def test_it_is_used_by_keyboard(opened, tmp_path):
    page = opened(write_run(tmp_path / "run"))
    page.click(".glance .jump >> nth=0")
    assert page.inner_text("#step-number") == str(BEGINS)
    assert page.evaluate("document.activeElement.id") == "step"
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#step-number") == str(BEGINS - 1)
    page.focus("#answers .t >> nth=0")
    page.keyboard.press("Enter")
    assert "signal" in page.inner_text("#said")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("[state.answer, state.token]") == [1, 1]
    assert page.evaluate("document.activeElement.dataset.t") == "1"
    assert page.locator("#answers .t[tabindex='0']").count() == 1
    page.select_option("#colour", "entropy")
    assert page.locator("#answers .plus").count() > 0
    assert page.locator("#answers .minus").count() == 0
    assert page.locator("#answers .mark").count() == 0  # before the word has spread
    page.keyboard.press("Tab")


def test_hostile_texts_are_seen_and_inert(opened, tmp_path):
    page = opened(write_run(tmp_path / "a<b>\u202eb", words=HOSTILE, steps=8))
    assert page.evaluate("window.pwned") is None
    text = page.inner_text("body")
    assert "\\u202e" in text
    assert "\\u200b" in text
    assert "</script><script>pwned=1</script>" in text
    assert "49" not in page.inner_text("#answers")
    assert not {"\u202e", "\u200b", "\x1b"} & set(text)
    page.click("#answers .t >> nth=1")
    assert page.evaluate("document.images.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_a_phone_needs_no_sideways_scroll(opened, tmp_path, scheme):
    page = opened(
        write_run(tmp_path / "run"), color_scheme=scheme, viewport={"width": 390, "height": 844}
    )
    page.click("#answers .t >> nth=1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious_faults(page) == []


def test_five_thousand_tokens_open_at_once(opened, tmp_path):
    page = opened(write_run(tmp_path / "run", steps=2, length=1250, groups=1))
    assert page.locator("#answers .t").count() > 4900
    # What the page itself works, in seconds of its thread, whatever else the machine does.
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.reload()
    assert page.locator("#answers .t").count() > 4900
    spent = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    assert 0 < spent["TaskDuration"] < 2


def test_the_panel_is_a_sheet_on_a_phone_that_the_keyboard_closes(opened, tmp_path):
    page = opened(write_run(tmp_path / "run"), viewport={"width": 390, "height": 844})
    page.click("#answers .t >> nth=20")
    box, token = page.locator("#panel").bounding_box(), page.locator("#answers .t >> nth=20")
    assert box["y"] + box["height"] == pytest.approx(844, abs=1)
    assert box["height"] <= 0.45 * 844 + 1
    assert token.bounding_box()["y"] < box["y"]
    assert "signal = " in page.inner_text("#formula > :first-child")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "close"
    page.keyboard.press("Enter")
    assert page.locator("#panel.open").count() == 0
    assert page.evaluate("[state.token, document.activeElement.className.split(' ')[0]]") == [
        None,
        "t",
    ]


def test_the_chosen_place_outlasts_a_change_of_step_and_question(opened, tmp_path):
    page = opened(write_run(tmp_path / "run", groups=3))
    assert page.inner_text("#step-number") == str(BEGINS)
    assert page.inner_text("#stops") == "12 of 12 steps are in this page"
    numbers = page.evaluate("[...$('question').options].map((o) => parseInt(o.text))")
    assert numbers == sorted(numbers)
    page.click('[data-k="1"][data-t="2"]')
    page.focus("#step")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("[state.step, state.answer, state.token]") == [BEGINS - 1, 1, 2]
    page.select_option("#question", index=1)
    assert page.evaluate("[state.step, state.answer, state.token]") == [BEGINS - 1, 1, 2]
    assert "Token" in page.inner_text("#panel-head")


def test_every_colour_says_what_it_means(opened, tmp_path):
    page = opened(write_run(tmp_path / "run", "ppo"))
    keys = page.evaluate("data.quantities.map((q) => q.key)")
    legends = {}
    for key in keys:
        page.select_option("#colour", key)
        legends[key] = page.inner_text("#legend")
    assert len(set(legends.values())) == len(keys) == 8
    assert not [text for text in legends.values() if " ," in text or "undefined" in text]
    assert "orange" in legends["credit"]
    assert not [key for key in ("entropy", "kl") if "orange" in legends[key]]
    assert page.evaluate("[short(-3.33e-4), short(-2e-9)]") == ["−3.33e−4", "−2.00e−9"]
