"""The demo page, alone and in a real browser: its numbers, its words, its manners."""

import json
import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

import toy_envs
from gnivo_edu import exact
from gnivo_edu.demo.page import (
    PARTS,
    TEMPLATE,
    certificate_data,
    control_data,
    poster_data,
    render_page,
)

PROBLEM = toy_envs.PosterProblem()
TREE = exact.enumerate_tree(PROBLEM)
KEY = exact.solve(TREE, alpha=0.5)
HOSTILE = """<img src=x onerror="pwned=1"></script><!--<script>pwned=1</script> & "q" 'a'"""
PROSE = """() => {
  const aside = "script, style, noscript, nav, svg, .strip, ol, .ledger, .hidden, .tokens, q, " +
    ".data";
  const inside = (n) => [...n.childNodes].map(walk).join("") +
    (getComputedStyle(n).display.includes("inline") ? "" : " ");
  const walk = (n) => n.nodeType === 3 ? n.data : n.matches(aside) ? " " : inside(n);
  return walk(document.body).split(/\\s+/).filter((word) => /[\\p{L}\\p{N}]/u.test(word)).length;
}"""

INK_AND_PAPER = """() => {
  const behind = (n) => {
    const colour = getComputedStyle(n).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? behind(n.parentElement) : colour;
  };
  const written = "body, h1, h2 b, p, b, figcaption, small, .chip, .chance, .name, " +
    ".card :not(svg, svg *), svg text, .door, #show, nav a, [role=columnheader], " +
    "[role=rowheader], label, output";
  return [...document.querySelectorAll(written)].map((n) => [
    getComputedStyle(n)[n.matches("svg *") ? "fill" : "color"],
    behind(n),
    n.className.baseVal ?? n.className]);
}"""


def synthetic(model: bool = False) -> dict:
    """Exact numbers everywhere but in `training` and `model`, which only test how the page shows
    them.
    """
    certificates = [
        certificate_data("Theorem 1", exact.verify_soft_value_theorem(TREE, 0.5)),
        certificate_data("Theorem 2", exact.verify_constant_shift(TREE, 0.5, 8)),
    ]
    controls = [
        control_data("softmax weights", exact.softmax_weights(TREE, 0.5, 8)),
        control_data("stale samples", exact.off_policy_samples(TREE, 0.5, 8)),
    ]
    credit = KEY.step_credit(PROBLEM.examples["wrong at 3"])
    return deepcopy(
        {
            **poster_data(PROBLEM, [exact.solve(TREE, alpha) for alpha in (0.05, 0.5, 5.0)]),
            "alpha": 0.5,
            "certificates": certificates,
            "controls": controls,
            "training": {
                "alpha": 0.3,
                "group_size": 8,
                "environment": "RandomTree, V=4, T=4",
                "groups": [0, 1, 10, 100, 1000],
                "kl": [0.8, 0.7, 0.1, 0.009, 0.002],
                "value_error": [2, 1.9, 1, 0.3, 0.1],
                "strips": {
                    "answer": "wrong at 3",
                    "alpha": 0.5,
                    "rows": [{"groups": n, "credits": credit + 1 / n} for n in (1, 10, 100, 1000)],
                    "exact": credit,
                },
            },
            "model": {
                "name": "tiny-model",
                "prompt": "Once upon a time",
                "alpha": 0.5,
                "reward": "ends happily",
                "sequences": 4096,
                "certificates": certificates,
                "controls": controls,
                "seconds": 12.3,
                "example": {"tokens": [" a", "\n", "b"], "credits": [0.5, -1.0, 0.0]},
            }
            if model
            else None,
            "footer": {
                "machine": "a machine",
                "versions": {"python": "3"},
                "seconds": 8.2,
                "seed": 0,
                "not_shown": (
                    "16 words: the other answers; graded or noisy rewards; "
                    "any model on a GPU; four more"
                ),
            },
        }
    )


@pytest.fixture
def show(browser, tmp_path):
    """Open a page; whatever it says on the console or asks of a network fails the test."""
    contexts, complaints = [], []

    def open_page(data: dict | None = None, **options):
        file = tmp_path / f"{len(contexts)}.html"
        file.write_text(render_page(synthetic() if data is None else data), encoding="utf-8")
        contexts.append(browser.new_context(**{"reduced_motion": "reduce", **options}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url in (file.as_uri(), "data:,") or complaints.append(request.url)
            ),
        )
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def blame(page, step: int) -> str:
    page.click(f"#answers button >> nth={step - 1}")
    return page.inner_text("#verdict").replace("\u00a0", " ")


def percent(probability: float) -> str:
    return f"{100 * probability:.0f}%"


def test_data_survive_the_template_whatever_they_contain():
    data = synthetic(model=True)
    data["footer"]["machine"] = HOSTILE + "{{ data }}{% if %}{#\u2028\ud800"
    html = render_page(data)
    island = html.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert "<!--" not in island
    back = json.loads(island)
    assert back["footer"] == data["footer"]
    assert back["tree"]["rewards"] == TREE.rewards.tolist()
    assert [np.array(t).shape for t in back["tree"]["step_logps"]] == [
        (2 * 2**t,) for t in range(7)
    ]
    assert back["training"]["strips"]["exact"] == data["training"]["strips"]["exact"].tolist()


def test_page_is_one_file():
    template = TEMPLATE.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[\w./]+", template)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(
        r"@import|url\(|<link(?! rel=\"icon\" href=\"data:)|\bsrc=|innerHTML|insertAdjacent",
        template,
    )
    assert str(Path.cwd()) not in template


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float64("-inf")])
def test_numbers_must_be_finite(number):
    data = synthetic()
    data["training"]["kl"][3] = number
    with pytest.raises(
        ValueError, match=r"finite numbers, and data\['training'\]\['kl'\]\[3\] is -?(nan|inf)"
    ):
        render_page(data)


def test_missing_parts_and_graded_rewards_are_refused():
    for part in PARTS:
        data = synthetic()
        del data[part]
        with pytest.raises(ValueError, match=f"needs data\\['{part}'\\]"):
            render_page(data)
    data = synthetic()
    data["tree"]["rewards"][5] = 0.5
    with pytest.raises(ValueError, match="must be 0 or 1"):
        render_page(data)
    with pytest.raises(ValueError, match="at least one solution"):
        poster_data(PROBLEM, [])


@pytest.mark.parametrize("alpha", [0.05, 0.37, 4.2])
@pytest.mark.slow
def test_browser_and_python_agree(show, alpha):
    values = show().evaluate("(alpha) => gnivo.softValues(alpha)", alpha)
    for ours, theirs in zip(exact.solve(TREE, alpha).values, values, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_slider_moves_credits_but_not_chances(show):
    page = show()
    before = page.locator("#strips .chance").all_inner_texts()
    page.focus("#alpha")
    for key, moved in (("ArrowRight", True), ("Home", True), ("End", True)):
        old = page.evaluate("gnivo.shown.alpha")
        page.keyboard.press(key)
        shown = page.evaluate("gnivo.shown")
        assert (shown["alpha"] != old) == moved
        key_now = exact.solve(TREE, shown["alpha"])
        for ours, theirs in zip(key_now.values, shown["values"], strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-12)
        chips = [
            text.replace("−", "-") for text in page.locator("#strips .number").all_inner_texts()
        ]
        credits = np.concatenate(
            [key_now.step_credit(answer) for answer in PROBLEM.examples.values()]
        )
        assert [float(text.split()[-1]) for text in chips] == pytest.approx(credits, abs=0.0501)
        for text, credit in zip(chips, credits, strict=True):
            assert text[0] == ("·" if abs(credit) < 0.005 else "▲" if credit > 0 else "▼")
        assert page.locator("#strips .chance").all_inner_texts() == before
        assert f"log Z {key_now.log_z:.2f}" in page.get_attribute("#alpha", "aria-valuetext")
    assert (shown["alpha"], before[8], before[13]) == (
        5,
        percent(KEY.success_probability((0, 0))),
        "0%",
    )


@pytest.mark.slow
def test_turning_alpha_moves_the_colours_on_one_scale(show):
    page = show()
    looks = "[...document.querySelectorAll('#strips .chip')].map((c) => c.style.backgroundColor)"
    page.focus("#alpha")
    seen = []
    for key in ("Home", "End"):
        page.keyboard.press(key)
        seen.append((page.evaluate(looks), page.text_content("#strips-caption")))
    (strong, first), (faint, second) = seen
    assert strong != faint
    # What costs a nat at a small alpha costs little at a large one: its colour fades.
    strength = [sum(255 - int(c) for c in look[4:-1].split(",")) for look in (*strong, *faint)]
    assert sum(strength[: len(strong)]) > 2 * sum(strength[len(strong) :])
    assert first.partition("full colour")[2] == second.partition("full colour")[2]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.slow
def test_the_first_screen_fits_with_its_last_step_in_sight(show, width, height):
    page = show(viewport={"width": width, "height": height})
    bottom = (
        "(where) => [...document.querySelectorAll(where)].at(-1).getBoundingClientRect().bottom"
    )
    assert page.evaluate(bottom, "#answers li") <= height
    assert page.evaluate(bottom, "#s1") <= height + 1


@pytest.mark.slow
def test_disagreement_is_said(show):
    data = synthetic()
    data["parity"]["values"][1][77] += 1e-9
    assert "differ from Python’s by 10⁻⁹" in show(data).inner_text("#parity")


@pytest.mark.slow
def test_sentence_follows_the_numbers(show):
    answer = PROBLEM.examples["wrong at 3"]
    chance = [KEY.success_probability(answer[:t]) for t in range(8)]
    first = f"from {percent(chance[2])} to {percent(chance[3])}"
    final = f"missed the last chance, from {percent(chance[6])} to 0%"
    page = show()
    assert "[" not in page.inner_text("#verdict")
    assert page.locator("#ledger .chip").all_inner_texts() == ["??"] * 9
    for step in range(1, 8):
        sentence = blame(page, step)
        assert f"You picked step {step}" in sentence
        assert first in sentence
        assert final in sentence
        assert "Step 7 costs more nats: −1.07 against −0.67." in sentence
        assert ("the first drop: it took" in sentence) == (step == 3)
        assert ("The first drop was step 3" in sentence) == (step == 7)
        assert ("raised" in sentence) == (step not in (3, 7))
        assert page.locator("[aria-pressed=true]").count() == 2
    assert page.evaluate("document.activeElement.id") == "h2"
    chips = [
        float(text.replace("−", "-").split()[-1])
        for text in page.locator("#ledger .number").all_inner_texts()
    ]
    assert chips == pytest.approx([KEY.log_z, *KEY.step_credit(answer), 0], abs=0.00501)
    residual = re.search(r"R/α = (\S+)\.", page.inner_text("#sum"))
    assert residual
    assert residual[1] == "0" or "10⁻¹" in residual[1]


@pytest.mark.slow
def test_sentence_of_an_answer_with_one_drop_and_without_a_pick(show):
    data = synthetic()
    examples = data["problem"]["examples"]
    data["problem"]["examples"] = {
        label: examples[label] for label in ("right", "wrong late", "wrong at 3")
    }
    page = show(data)
    page.focus("#show")
    page.keyboard.press("Enter")
    sentence = page.inner_text("#verdict").replace("\u00a0", " ")
    assert sentence == "Step 7 took the chance of ending right from 97% to 0%."
    page.focus("#answers button >> nth=6")
    page.keyboard.press("Enter")
    assert "You picked step 7, the only drop: it took" in page.inner_text("#verdict").replace(
        "\u00a0", " "
    )


@pytest.mark.slow
def test_verdicts_follow_the_data(show):
    data = synthetic()
    page = show(data)
    assert (
        page.locator("#checks h3 span:last-child").all_inner_texts()
        == ["✓ holds"] * 2 + ["✕ misses, as predicted"] * 2
    )
    assert "below 0.01 from group 100 on" in page.inner_text("#learning")
    assert page.locator("#learned small").all_inner_texts()[:4] == [
        "off by " + n for n in ("1.00", "0.10", "0.01", "0.00")
    ]
    data["certificates"][0]["passed"] = data["controls"][0]["behaves"] = False
    data["training"]["kl"][-1] = 0.02
    page = show(data)
    verdicts = page.locator("#checks h3 span:last-child").all_inner_texts()
    assert verdicts == ["✕ fails", "✓ holds", "? not as predicted", "✕ misses, as predicted"]
    assert "still above 0.01" in page.inner_text("#learning")


@pytest.mark.parametrize("model", [False, True])
@pytest.mark.slow
def test_at_most_350_words(show, model):
    page = show(synthetic(model))
    counts = []
    for step in range(1, 8):
        blame(page, step)
        counts.append(page.evaluate(PROSE))
    assert 250 < max(counts) <= 350
    assert ("gnivo-edu demo --model" in page.inner_text("#model")) != model
    assert not model or page.locator("#model .chip > span:first-child").all_inner_texts() == [
        "␣a",
        "⏎",
        "b",
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.slow
def test_contrast(show, theme):
    page = show(synthetic(model=True), color_scheme=theme)
    blame(page, 5)
    pairs = page.evaluate(INK_AND_PAPER)
    assert len(pairs) > 150
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 23)"
    ) == (theme == "dark")

    def luminance(colour: str) -> float:
        rgb = np.array([float(c) for c in re.findall(r"[\d.]+", colour)[:3]]) / 255
        return float(
            np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
            @ [0.2126, 0.7152, 0.0722]
        )

    for ink, paper, where in pairs:
        low, high = sorted((luminance(ink), luminance(paper)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper, where)
    chips = {ink for ink, _, where in pairs if where == "chip"}
    assert chips == {"rgb(0, 0, 0)"}


@pytest.mark.parametrize("width", [360, 768, 1280, 2560])
@pytest.mark.slow
def test_nothing_scrolls_sideways(show, width):
    page = show(synthetic(model=True), viewport={"width": width, "height": 720})
    blame(page, 5)
    page.focus("#alpha")
    for key in ("Home", "End"):
        page.keyboard.press(key)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        cut = page.evaluate(
            "[...document.querySelectorAll('.chip')].filter((c) => c.scrollWidth > c.clientWidth + "
            "1).length"
        )
        assert cut == 0


@pytest.mark.slow
def test_hostile_strings_are_shown_as_they_are(show):
    data = synthetic(model=True)
    texts = data["problem"]["examples"]["wrong at 3"]["steps"]
    texts[0], texts[1] = HOSTILE, "√(" + HOSTILE
    data["problem"]["question"] = HOSTILE + " √(20 + √(T + x)) = 5"
    data["certificates"][0]["sentence"] = data["model"]["prompt"] = data["footer"]["not_shown"] = (
        HOSTILE
    )
    data["model"]["example"]["tokens"][0] = HOSTILE
    page = show(data, viewport={"width": 360, "height": 720})
    for where in (
        "#question",
        "#answers button >> nth=0",
        "#checks .card >> nth=0",
        "#model p",
        "#not-shown",
    ):
        assert HOSTILE in page.text_content(where)
    assert "√(" + HOSTILE in page.text_content("#answers button >> nth=1")
    assert page.text_content("#formula") == "√(20 + √(T + x)) = 5"
    assert page.text_content("#model .chip >> nth=0").startswith(HOSTILE.replace(" ", "␣"))
    assert page.locator("img").count() == 0
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_everything_has_a_name_and_needs_no_mouse(show):
    page = show(synthetic(model=True))
    page.focus("#answers button >> nth=2")
    page.keyboard.press("Space")
    assert "You picked" in page.inner_text("#verdict")
    assert page.get_attribute("#verdict", "aria-live") == "polite"
    labels = page.locator("svg[role=img]").evaluate_all(
        "(all) => all.map((svg) => svg.getAttribute('aria-label'))"
    )
    assert len(labels) == 10
    assert "step 3 −0.67, chance of ending right 23%" in labels[0]
    assert all(
        len(label) > 20 and not re.search("NaN|undefined|Infinity", label) for label in labels
    )
    for button in page.locator("button:visible, a:visible").all():
        assert button.inner_text().strip()
    assert page.get_by_role("slider", name="α = 0.5").count() == 1
    assert not re.search(
        "NaN|undefined|Infinity", page.inner_text("body") + page.inner_html("main")
    )


@pytest.mark.slow
def test_motion_only_where_wanted(show):
    duration = "getComputedStyle(document.querySelector('.chip')).transitionDuration"
    assert show().evaluate(duration) == "0s"
    assert show(reduced_motion="no-preference").evaluate(duration) == "0.7s"


@pytest.mark.slow
def test_without_javascript_the_page_says_so(show):
    page = show(java_script_enabled=False)
    assert "allow JavaScript" in page.inner_text("body")
