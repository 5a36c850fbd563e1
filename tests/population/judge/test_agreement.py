"""The judge and the atlas, two searches, on every objective of the registry: the same ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gnivo_edu import objectives
from gnivo_edu.population import atlas, total_variation
from gnivo_edu.population.atlas.row import Row
from gnivo_edu.population.judge.contract import examine
from gnivo_edu.population.judge.ends import find_end
from gnivo_edu.population.judge.pushes import small_tree, typical_push

ALPHA = 0.5


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["current", "reference"])
@pytest.mark.parametrize("name", objectives.names())
def test_judge_and_atlas_end_at_the_same_law(name, sampler, monkeypatch):
    """At its defaults, on a tree of the judge: to rounding at rests, to what is left at edges, to
    a step at jumps; of two that still move when time is up only the verdict can be the same.
    """
    monkeypatch.setattr(atlas, "problem", small_tree)
    subject, _ = examine(objectives.get(name), name, alpha=ALPHA, settings={})
    subject = replace(subject, scale=typical_push(subject, ALPHA))
    if sampler == "current" and "logits" not in subject.free:
        pytest.skip("it trains no policy that could write answers")
    judged = find_end(subject, "4 answers", sampler, group_size=2, alpha=ALPHA)
    row = Row(name, "", None, "", sampling=sampler, group_size=2, problem="4 answers")
    entry = atlas.find(replace(row, free=subject.free))
    reached = next(x for x in entry.outcomes if "reference" in x.end.starts)
    # A law that the judge can name is no theory of the atlas.
    same = {"other optimum": "biased"}.get(judged.verdict, judged.verdict)
    assert same == reached.verdict
    close = {"rest": 1e-6, "edge": 1e-3, "held": 0.02}.get(reached.end.kind, 1.0)
    assert total_variation(judged.law, reached.end.law) < close
