"""A slider where a kernel is live, pictures where not."""

import sys

import pytest

from gnivo_edu import figures, machine


def test_a_slider_where_a_kernel_is_live_and_pictures_where_not(monkeypatch, capsys):
    ipywidgets = pytest.importorskip("ipywidgets")

    def draw(alpha):
        return figures.token_strip(["a"], [alpha], alpha)

    calls = []
    monkeypatch.setattr(
        ipywidgets, "interact", lambda function, **sliders: calls.append((function, sliders))
    )
    monkeypatch.setattr(machine, "is_static", lambda: False)
    figures.slide(draw, [0.1, 1.0], still=[0.5])
    (function, sliders), slider = calls[0], calls[0][1]["alpha"]
    assert function is draw
    assert list(sliders) == ["alpha"]
    assert slider.value == 0.5
    assert [value for _, value in slider.options] == [0.1, 0.5, 1.0]
    monkeypatch.setattr(machine, "is_static", lambda: True)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    figures.slide(draw, [0.1, 1.0], still=[0.5, 1.0])
    assert capsys.readouterr().out.count("credit per token") == 2
