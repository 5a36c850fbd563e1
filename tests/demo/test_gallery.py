"""The gallery page holds every output of every figure."""

import re
import sys

import pytest

from gnivo_edu.demo import gallery
from tests.figures.reader import Page


@pytest.mark.slow
def test_the_gallery_page_holds_every_output(monkeypatch, tmp_path, capsys):
    every = gallery.gallery_figures(training=False)
    few = {name: every[name] for name in ("Hostile tokens", "Waterfall")}
    monkeypatch.setattr(gallery, "gallery_figures", lambda: few)
    monkeypatch.setattr(sys, "argv", ["gallery", str(tmp_path / "new" / "index.html")])
    gallery.main()
    source = (tmp_path / "new" / "index.html").read_text(encoding="utf-8")
    page = Page(source)
    assert "script" not in page.tags
    assert not re.search(r"https?:", source)
    for name, figure in few.items():
        assert name in page.shown
        assert figure.text() in page.shown
        assert figure.html() in source
    assert source.count("data:image/png;base64,") == 2
    assert "2 figures" in capsys.readouterr().out
    assert "prefers-color-scheme" in source
    assert "#dark:checked" in source
