"""What is said of a row with several ends is said of the worst."""

from __future__ import annotations

import json

import torch

from gnivo_edu.population import point_at
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.atlas.ends import End
from gnivo_edu.population.atlas.entry import Entry, Outcome
from gnivo_edu.population.atlas.row import Row


def outcome(verdict, kind, starts, tv, attracts=None):
    answers = problem("one step")
    law = torch.full((5,), 0.2, dtype=torch.float64)
    end = End(starts, point_at(answers, 0.5), law, kind=kind, residual=1e-12, attracts=attracts)
    return Outcome(end, verdict, tv=tv, kl=tv, error=None, reward=0.5, main=0.3, left=1e-9)


def test_the_worst_end_speaks_for_the_row_with_its_share():
    good = outcome("exact", "rest", ("reference", "random 1", "random 2"), tv=0.0, attracts=True)
    bad = outcome("collapses", "edge", ("opposite tilt",), tv=0.4)
    entry = Entry.of(Row("x", "", "collapses", "none"), [good, bad], norm=0.0)
    assert (entry.verdict, entry.share, entry.tv_from_optimum) == ("collapses", 0.25, 0.4)
    assert entry.agrees
    assert not Entry.of(Row("x", "", "exact", "none"), [good, bad], norm=0.0).agrees
    said = json.loads(json.dumps(entry.to_json()))
    assert [start["end"] for start in said["starts"]] == [0, 1, 1, 1]
    assert said["evidence"]["ends"] == 2
    for words in ("2 ends", "from opposite tilt: all mass but 1e-09", "reward 0.3"):
        assert words in said["evidence"]["text"]


def test_a_rest_that_repels_is_called_one():
    lone = outcome("exact", "rest", ("reference",), tv=0.0, attracts=False)
    entry = Entry.of(Row("x", "", None, "none"), [lone], norm=0.0)
    assert "which repels" in entry.evidence["text"]
