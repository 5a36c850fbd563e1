"""What holds for every figure: three outputs, one sentence, no script, no network, the same bytes,
readable letters.
"""

import io
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from gnivo_edu import figures, machine
from gnivo_edu.demo import gallery
from gnivo_edu.figures.style import INK, drawing
from tests.figures.reader import Page

RECORDS = [{"groups": n, "kl": 1.0 / n, "loss": 2.0 / n} for n in (1, 10, 100)]


@pytest.fixture(scope="module")
def shown():
    """The gallery, without the two figures that need torch, and training curves of records that a
    test may invent.
    """
    made = gallery.gallery_figures(training=False)
    made["Training"] = figures.training_curves(
        {"a": RECORDS, "b": RECORDS[:2]}, {"kl": "KL", "loss": "loss"}, 0.5
    )
    return made


TITLES = [*gallery.gallery_figures(training=False), "Training"]
each = pytest.mark.parametrize("title", TITLES)


@each
def test_html_is_whole_still_and_alone(shown, title):
    source = shown[title].html()
    page = Page(source)
    assert page.open == []
    assert not page.tags & {"script", "link", "iframe", "style", "object"}
    assert not re.search(r"https?:|@import|url\(", source)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name != "id"  # two figures on one page must not clash
        assert name not in ("src", "href") or value.startswith("data:image/svg+xml;base64,")
    assert shown[title].caption in page.shown
    labels = [value for name, value in page.attributes if name in ("aria-label", "alt")]
    assert shown[title].alt() in labels


@each
def test_html_reads_on_light_and_dark_pages(shown, title):
    """Whatever sets a text colour sets its background too, and the other way round; pictures have
    their own.
    """
    for _, style in re.findall(r"<(\w+)[^>]* style=\"([^\"]*)\"", shown[title].html()):
        rules = dict(rule.split(":", 1) for rule in style.split(";") if rule)
        if "color" in rules:
            assert rules["color"] == INK
            assert re.fullmatch("#[0-9a-f]{6}", rules["background"])


@each
def test_alt_is_one_sentence_and_the_caption_names_reference_and_alpha(shown, title):
    alt = shown[title].alt()
    assert "\n" not in alt
    assert alt.endswith(".")
    assert 40 < len(alt) < 500
    assert "reference" in shown[title].caption
    assert "alpha" in shown[title].caption


@each
@pytest.mark.slow
def test_png_is_the_same_whatever_the_reader_has_set(shown, title):
    first = shown[title].png()
    strange = {
        "axes.facecolor": "black",
        "axes.linewidth": 5,
        "lines.linewidth": 9,
        "lines.solid_capstyle": "round",
    }
    with matplotlib.rc_context(strange):
        assert shown[title].png() == first
    pixels = image.imread(io.BytesIO(first))
    assert pixels.shape[1] <= 1950
    if pixels.shape[2] == 4:
        assert pixels[..., 3].min() == 1
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1], :3]
    assert np.array_equal(corners, np.ones((4, 3)))


@pytest.mark.slow
@each
def test_letters_are_large_enough_and_apart(shown, title):
    with drawing():
        figure = shown[title].figure()
        FigureCanvasAgg(figure).draw()
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
        assert texts
        assert min(t.get_fontsize() for t in texts) >= 9
        boxes = [
            (t.get_text(), Text.get_window_extent(t)) for t in texts
        ]  # without the arrows of annotations
    bounds = figure.bbox
    inside = [
        (word, b)
        for word, b in boxes
        if b.x1 > 0 and b.y1 > 0 and b.x0 < bounds.x1 and b.y0 < bounds.y1
    ]
    for n, (word, box) in enumerate(inside):
        for other, second in inside[n + 1 :]:
            width = min(box.x1, second.x1) - max(box.x0, second.x0)
            height = min(box.y1, second.y1) - max(box.y0, second.y0)
            assert min(width, height) < 0.04 * figure.dpi, f"{word!r} and {other!r} overlap"


@each
def test_text_is_plain_lines(shown, title):
    text = str(shown[title])
    assert text == shown[title].text()
    assert "<" not in text or "Hostile" in title or "Prefix" in title
    assert all(line == line.rstrip() for line in text.splitlines())
    assert shown[title].caption.replace(" ", "") in text.replace("\n", "").replace(" ", "")


@pytest.mark.slow
def test_svg_is_the_same_text_each_time(shown):
    assert shown["Waterfall"].svg() == shown["Waterfall"].svg()
    assert "<text" not in shown["Waterfall"].svg()  # outlines: no font is needed


def test_a_notebook_gets_html_live_and_png_with_alt_in_a_static_build(shown, monkeypatch):
    monkeypatch.setattr(machine, "is_static", lambda: False)
    assert set(shown["Waterfall"]._repr_mimebundle_()) == {"text/html", "text/plain"}
    monkeypatch.setattr(machine, "is_static", lambda: True)
    data, metadata = shown["Waterfall"]._repr_mimebundle_(include=None, exclude=None)
    assert set(data) == {"image/png", "text/plain"}
    assert metadata == {"image/png": {"alt": shown["Waterfall"].alt()}}


def test_importing_figures_brings_neither_torch_nor_matplotlib():
    heavy = "{'torch', 'matplotlib', 'seaborn', 'pandas', 'IPython'}"
    code = (
        f"import sys, gnivo_edu.figures, gnivo_edu.demo.gallery as g; assert not {heavy} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
