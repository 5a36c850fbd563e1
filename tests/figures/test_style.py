"""Colours that colour-blind readers tell apart, and text that everybody can read, measured."""

import numpy as np
import pytest

from gnivo_edu.figures.style import INK, colour, conditions, percent
from tests.figures.colour_vision import DEFICIENCIES, ciecam02, contrast, distance


@pytest.mark.parametrize(
    ("xyz", "L_A", "J", "M", "h"),
    [
        ((19.01, 20.00, 21.78), 318.31, 41.73, 0.1088, 219.05),
        ((57.06, 43.06, 31.96), 31.83, 65.96, 41.67, 19.56),
    ],
)
def test_the_colour_model_gives_the_published_values(xyz, L_A, J, M, h):
    found = ciecam02(xyz, (95.05, 100.00, 108.88), L_A)
    assert found == pytest.approx((J, M, h), rel=2e-3)


def test_a_gain_is_blue_and_a_loss_orange_up_to_the_scale():
    assert [colour(v, 2.0) for v in (2, 5, 0, -2, -9)] == [
        "#56b4e9",
        "#56b4e9",
        "#ffffff",
        "#e69f00",
        "#e69f00",
    ]
    assert colour(1.0, 2.0) == "#aadaf4"
    assert colour(0.0, 0.0) == "#ffffff"


@pytest.mark.parametrize("vision", DEFICIENCIES)
@pytest.mark.parametrize("value", [0.25, 0.5, 1.0])
def test_a_gain_and_a_loss_of_one_size_look_different(vision, value):
    assert distance(colour(value, 1), colour(-value, 1), vision) >= 19  # 10 is hard to tell


def test_red_and_green_would_fail_that():
    assert distance("#ff0000", "#00aa00", "normal") > 60
    assert distance("#ffbfbf", "#bfffbf", "deuteranopia") < 10


@pytest.mark.parametrize("value", np.linspace(-1, 1, 21))
def test_text_is_readable_on_every_chip(value):
    assert contrast(INK, colour(value, 1)) >= 7


def test_a_probability_never_looks_certain_when_it_is_not():
    assert [percent(p) for p in (0, 1e-9, 0.009, 0.01, 0.5, 0.991, 0.9999, 1)] == [
        "0%", "<0.1%", "0.9%", "1%", "50%", "99.1%", ">99.9%", "100%",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("/home/ann/models/stories260k", "stories260k"),
        ("/home/ann/models/stories260k/", "stories260k"),
        ("./models/stories260k, its 4 likeliest tokens", "stories260k, its 4 likeliest tokens"),
        ("~/my models/a; policy: /srv/b", "a; policy: b"),
        (r"C:\models\a", "a"),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"),
        ("R/alpha, 1/2", "R/alpha, 1/2"),
    ],
)
def test_a_caption_names_a_model_and_not_where_it_lies(reference, told):
    assert conditions(reference, 0.5) == f"reference: {told}; alpha = 0.5"
