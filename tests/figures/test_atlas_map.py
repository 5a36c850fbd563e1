"""The atlas map and the heat map: what is drawn is what is given, nothing overlaps, odd input is
refused.
"""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text

from gnivo_edu import exact
from gnivo_edu.figures.atlas_map import LOOKS, End, Point, atlas_map, in_short
from gnivo_edu.figures.heatmap import heat_map
from gnivo_edu.figures.style import PAPER, colour, drawing
from tests.figures.colour_vision import DEFICIENCIES, contrast, distance

ALPHA = 0.5
TREE = exact.enumerate_tree_from_rewards(
    [0.0, 0.2, 0.5, 0.6, 1.0, 0.3], 6, exact.random_reference(6, 1, seed=1)
)
STAR = exact.solve(TREE, ALPHA)
LAW, REWARDS = np.exp(TREE.prefix_logps[-1]), TREE.rewards


def place(law):
    return Point(float(law @ np.log(law / LAW)), float(law @ REWARDS))


def tilted(nats):
    law = LAW * np.exp(nats)
    return law / law.sum()


BEST = tilted(REWARDS / ALPHA)
CORNER = Point(float(-np.log(LAW[4])), 1.0)
ENDS = [
    End("no anchor", "collapses", CORNER),
    End("sharper", "other optimum", place(tilted(REWARDS / 0.35))),
    End("one", "exact", place(BEST)),
    End("off", "biased", place(0.8 * BEST + 0.2 * LAW)),
    End("another", "exact", place(BEST)),
    End("near", "other optimum", place(tilted(REWARDS / 0.51))),
    End("on its own spot", "biased", place(tilted(REWARDS / 0.51))),
    End("order only", "other optimum", place(tilted(3 * (REWARDS > 0.4)))),
]


@pytest.fixture(scope="module")
def atlas():
    return atlas_map(TREE, ENDS, ALPHA, reference="six habits")


def test_ends_are_sorted_by_verdict_numbered_and_listed_with_their_numbers(atlas):
    head, rows = atlas.table()
    assert [row[1] for row in rows][:4] == ["one", "another", "off", "on its own spot"]
    assert [row[0] for row in rows] == [str(n) for n in range(1, 9)]
    assert [row[2] for row in rows] == sorted((end.verdict for end in ENDS), key=list(LOOKS).index)
    assert head[-1] == "short of J(π*)"
    assert rows[0][-1] == "0"
    assert "one problem; reference: six habits; alpha = 0.5" in atlas.text()


def test_what_is_given_up_is_alpha_times_the_kl_to_the_optimum(atlas):
    for law in (LAW, tilted(REWARDS / 0.35), 0.3 * BEST + 0.7 * LAW):
        assert atlas.shortfall(place(law)) == pytest.approx(
            ALPHA * float(law @ np.log(law / BEST)), abs=1e-12
        )


def test_ends_at_one_place_share_a_marker_and_other_verdicts_get_their_own(atlas):
    labels = [(label, verdict) for label, verdict, _ in atlas.places()]
    assert labels[:3] == [("1, 2", "exact"), ("3", "biased"), ("4", "biased")]
    assert len(labels) == 7


def drawn(figure):
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return figure


def test_markers_stand_at_the_points_with_the_looks_of_their_verdicts(atlas):
    with drawing():
        figure = drawn(atlas.figure())
    upper, lower = figure.axes[:2]
    for axes, inside in (
        (upper, [e for e in ENDS if e.verdict != "collapses"]),
        (lower, [ENDS[0]]),
    ):
        marks = {(line.get_marker(), *np.ravel(line.get_xydata()).round(9)) for line in axes.lines}
        for end in inside:
            assert (LOOKS[end.verdict].marker, *np.round(end.point, 9)) in marks, end.name
    assert len(drawn(atlas_map(TREE, ENDS[1:], ALPHA).figure()).axes) == 2, (
        "without a collapse, one panel and the list"
    )


@pytest.mark.parametrize("crowd", [1, 20])
def test_no_label_meets_another_or_leaves_its_panel(crowd):
    ends = [
        *ENDS,
        *(
            End(f"t{i}", "other optimum", place(tilted(REWARDS / (0.4 + 0.004 * i))))
            for i in range(crowd)
        ),
    ]
    with drawing():
        figure = drawn(atlas_map(TREE, ends, ALPHA).figure())
        for axes in figure.axes[:2]:
            notes = [t for t in axes.texts if isinstance(t, Annotation)]
            boxes = [Text.get_window_extent(t) for t in notes]  # of the words, without the leader
            assert len(boxes) >= 3
            panel = axes.get_window_extent()
            assert all(
                panel.x0 <= b.x0 and b.x1 <= panel.x1 and panel.y0 <= b.y0 and b.y1 <= panel.y1
                for b in boxes
            )
            assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        side = [t.get_window_extent() for t in figure.axes[-1].texts]
        assert not any(a.overlaps(b) for a, b in combinations(side, 2))
        assert all(box.x1 <= figure.bbox.width and box.y0 >= 0 for box in side)


@pytest.mark.parametrize("vision", DEFICIENCIES)
def test_the_verdicts_look_different_to_everybody(vision):
    assert len({look.marker for look in LOOKS.values()}) == 4
    for a, b in combinations(LOOKS.values(), 2):
        assert distance(a.colour, b.colour, vision) >= 25
    assert all(contrast(look.colour, PAPER) >= 3 for look in LOOKS.values())


@pytest.mark.slow
def test_the_sentence_counts_the_verdicts(atlas):
    assert "2 exact" in atlas.alt()
    assert "1 collapses" in atlas.alt()
    assert "for 8 objectives" in atlas.alt()
    assert atlas.png() == atlas.png()
    assert "short of J(π*)" in atlas.html()


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (End("x", "exact", place(tilted(REWARDS / 0.51))), "not π\\* at alpha = 0.5"),
        (End("x", "biased", Point(0.01, 0.9)), "above the frontier"),
        (End("x", "biased", Point(STAR.kl, STAR.expected_reward + 1e-4)), "above the frontier"),
        (End("x", "biased", Point(float("nan"), 0.5)), "above the frontier"),
        (End("x", "good", place(BEST)), "verdict must be one of"),
    ],
)
def test_ends_of_another_problem_or_alpha_are_refused(end, says):
    with pytest.raises(ValueError, match=says):
        atlas_map(TREE, [*ENDS, end], ALPHA)


def test_an_empty_map_is_refused():
    with pytest.raises(ValueError, match="at least one end"):
        atlas_map(TREE, [], ALPHA)


def test_runs_of_numbers_are_joined():
    assert in_short([4]) == "4"
    assert in_short([4, 5]) == "4, 5"
    assert in_short([1, 2, 3, 5, 8, 9, 10, 11]) == "1–3, 5, 8–11"


# --- the heat map ---------------------------------------------------------------------------------

CELLS = {
    "sparse": {
        "one": {"K = 2": 0.25, "K = 8": -0.5},
        "a longer name": {"K = 2": 1e-17, "K = 8": 0.004},
    },
    "dense": {"one": {"K = 2": 1.0, "K = 8": 0.1}, "a longer name": {"K = 2": 0.2, "K = 8": 0.3}},
}


def test_every_number_stands_in_its_cell_on_its_colour():
    heat = heat_map(CELLS, "signal to noise", "a caption")
    with drawing():
        figure = drawn(heat.figure())
    for axes, cells in zip(figure.axes, CELLS.values(), strict=True):
        values = [x for row in cells.values() for x in row.values()]
        faces = [patch.get_facecolor() for patch in axes.patches]
        assert [tuple(face) for face in faces] == [rgba(colour(x, 1.0)) for x in values]
        middles = [patch.get_center() for patch in axes.patches]
        assert [text.get_position() for text in axes.texts] == [tuple(m) for m in middles]
    assert [t.get_text() for t in figure.axes[0].texts] == ["0.25", "−0.50", "0", "0.004"]
    lines = heat.text().splitlines()
    assert lines[1].split() == ["sparse", "one", "0.25", "−0.50"]
    assert lines[-1] == "a caption"
    assert "dense: from 0.10 (one, K = 8) to 1.00 (one, K = 2)" in heat.alt()


def rgba(hexadecimal):
    return (*(int(hexadecimal[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1.0)


def test_headings_names_and_numbers_stay_apart():
    columns = {f"near the optimum, K = {k}": 0.1234 for k in (2, 4, 8)}
    heat = heat_map(
        {
            "sparse": {"GN-IVO": columns, "GVPO": columns},
            "dense": {"GN-IVO": columns, "GVPO": columns},
        },
        "x",
        "c",
    )
    with drawing():
        figure = drawn(heat.figure())
        boxes = [t.get_window_extent() for axes in figure.axes for t in axes.texts]
        for axes in figure.axes:
            boxes.append(axes._left_title.get_window_extent())
            boxes += [
                t.get_window_extent()
                for t in (*axes.get_xticklabels(), *axes.get_yticklabels())
                if t.get_text()
            ]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)


def test_a_scale_can_be_shared():
    heat = heat_map({"one": {"a": {"b": 1.0}}}, "x", "", scale=2.0)
    assert heat.full == 2.0
    assert heat_map(CELLS, "x", "").full == 1.0


@pytest.mark.parametrize(
    ("panels", "says"),
    [
        ({}, "at least one"),
        ({"a": {}}, "at least one"),
        ({"a": {"r": {"c": 1.0}}, "b": {"s": {"c": 1.0}}}, "rows of the first"),
        ({"a": {"r": {"c": 1.0}, "s": {"d": 1.0}}}, "must hold the columns"),
        ({"a": {"r": {"c": float("nan")}}}, "finite"),
    ],
)
def test_odd_tables_are_refused(panels, says):
    with pytest.raises(ValueError, match=says):
        heat_map(panels, "x", "")


def test_a_heat_map_draws_what_its_numbers_are():
    for what in ("signal to noise", "the total variation between two laws, after every update"):
        heat = heat_map(CELLS, what, "c")
        with drawing():
            figure = drawn(heat.figure())
            title = figure.texts[0]
            box = title.get_window_extent()
            assert " ".join(title.get_text().split()) == what
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1
            assert box.y1 <= figure.bbox.y1
            for axes in figure.axes:
                assert not box.overlaps(axes._left_title.get_window_extent())
