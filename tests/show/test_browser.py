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
    (n) => [n.dataset.number, Number(n.textContent)])),
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
