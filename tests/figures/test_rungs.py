"""Rungs: what is missing says why, and what is there stands in the text, the page and the
sentence.
"""

import pytest

from gnivo_edu.figures.rungs import Rung, rungs

DONE = {
    "name": "a table",
    "rewards": [0.5, 0.75],
    "tokens": ["right", "wrong"],
    "credits": [0.25, -0.5],
}
EMPTY = Rung(name="a large model", missing="not run here: needs a GPU")


def both():
    exact = {"facts": ["254 parameters"], "exact_rewards": [0.5, 0.7], "exact_credits": [0.2, -1.0]}
    return rungs([Rung(**DONE, **exact), EMPTY], alpha=0.5)


def test_measured_and_exact_numbers_and_the_reason_of_an_empty_frame_are_in_every_output():
    figure = both()
    for output in (figure.text(), figure.html()):
        for piece in (
            "254 parameters",
            "0.500 0.750",
            "0.500 0.700",
            "−1.00",
            "−0.50",
            EMPTY.missing,
        ):
            assert piece in output
    assert "mean reward 0.50 to 0.75" in figure.alt()
    assert EMPTY.missing in figure.alt()


def test_the_picture_is_the_same_each_time_and_holds_the_reason():
    figure = both()
    assert figure.png() == both().png()
    words = [text.get_text() for axes in figure.figure().axes for text in axes.texts]
    assert EMPTY.missing in words
    assert words.count("learned") == words.count("exact") == 1
    assert {"▼ −0.50", "▼ −1.00"} <= set(words), "the exact chip shows the exact number"


def test_colours_share_one_scale_and_the_caption_names_reference_and_alpha():
    assert both().scale == 1.0
    assert "reference: the initial model; alpha = 0.5; full colour at ±1.00" in both().caption


def test_a_rung_that_was_not_run_takes_a_line():
    high = [
        rungs(list(rows), 1.0).figure().get_size_inches()[1]
        for rows in ([Rung(**DONE)], [Rung(**DONE), EMPTY], [Rung(**DONE), Rung(**DONE)])
    ]
    assert 0.1 < high[1] - high[0] < 0.5 < high[2] - high[0]


def test_second_credits_say_where_they_come_from():
    figure = rungs([Rung(**DONE, exact_credits=[0.2, -1.0], second="by trying")], alpha=0.5)
    words = [text.get_text() for axes in figure.figure().axes for text in axes.texts]
    assert "by trying" in words
    assert "exact" not in words
    assert "the same, by trying" in figure.text()


def test_rungs_are_numbered_from_the_first():
    figure = rungs([Rung(**DONE), EMPTY], alpha=1.0, first=4)
    assert [row[0] for row in figure.table()[1] if row[0]] == ["4 a table", "5 a large model"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rewards": []}, "needs rewards"),
        ({"credits": [0.1]}, "tokens with a credit each"),
        ({"exact_rewards": [0.5]}, "a part of its rounds"),
        ({"exact_credits": [0.5]}, "a part of its rounds or tokens"),
    ],
)
def test_half_a_rung_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Rung(**DONE | change)


def test_a_ladder_without_rungs_is_refused():
    with pytest.raises(ValueError, match="at least one rung"):
        rungs([], alpha=1.0)
