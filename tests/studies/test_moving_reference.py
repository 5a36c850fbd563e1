"""The study of a moving reference: what it measures on the tree, beside enumeration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gnivo_edu import studies
from gnivo_edu.population import laws, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.studies.moving_reference import study, tree
from gnivo_edu.studies.moving_reference.predictions import PREDICTIONS
from gnivo_edu.studies.moving_reference.tree_predictions import START
from gnivo_edu.studies.runner import TIMINGS

ALPHA = study.ALPHA
ANSWERS = problem("tree")
PI_V = ANSWERS.from_law(laws.vimpo_law(ANSWERS, ALPHA))


def trained(method: str, **given: object) -> torch.Tensor:
    settings = {"method": method, "alpha": ALPHA, "steps": 100, "groups": 32, "K": 4}
    policy, _ = tree.train(ANSWERS, settings | {"shuffled": False} | given, seed=3)
    return ANSWERS.law(policy)


@pytest.mark.parametrize("method", ["GVPO", "GN-IVO", "VIMPO"])
def test_training_from_samples_comes_near_its_rest(method: str) -> None:
    end = tree.goal(method, alpha=ALPHA, n=1)
    assert total_variation(trained(method), end) < 0.02
    assert total_variation(trained(method, steps=1), end) > 0.1


def test_a_placebo_goes_nowhere() -> None:
    law = trained("VIMPO", shuffled=True)
    assert float(law @ ANSWERS.rewards) == pytest.approx(START, abs=0.03)


def test_at_its_rest_everything_is_learned_and_the_jump_is_the_group_size() -> None:
    assert tree.unlearnt(ANSWERS, PI_V, ALPHA) < 1e-12
    at = tree.jump(ANSWERS, PI_V, K=4, alpha=ALPHA, draws=4_000, seed=0)
    assert at["gauge"] == pytest.approx(4)
    assert at["refresh"] == pytest.approx(4, rel=0.05)
    assert at["anneal_50"] == pytest.approx(1.75, rel=0.05)


def test_at_its_start_nothing_is_learned() -> None:
    assert tree.unlearnt(ANSWERS, ANSWERS.reference, ALPHA) == pytest.approx(1)


def test_a_swap_scatters_values_around_nothing() -> None:
    swaps = tree.swaps(ANSWERS, PI_V, alpha=ALPHA, draws=8_000, seed=0)
    stranger = swaps["a stranger"]
    assert stranger["exact_sd"]["3"] == pytest.approx(0.6713, abs=1e-4)
    assert stranger["sd"]["3"] == pytest.approx(stranger["exact_sd"]["3"], rel=0.05)
    assert stranger["mean"] < 0.03 < stranger["mean_old"]
    assert swaps["the same"]["rise"] == 0


def test_a_place_is_measured_from_where_theory_ends() -> None:
    twice = ANSWERS.from_law(tree.goal("VIMPO", alpha=ALPHA, n=2))
    seen = replace(ANSWERS, reference=PI_V)
    at = tree.place(seen, twice, method="VIMPO", alpha=ALPHA, n=2)
    assert at["rest"] < 1e-12
    assert at["lower"] == pytest.approx(0.0317, abs=1e-4)
    assert at["gain"] == pytest.approx(at["kls"])


def test_the_softmax_rest_is_no_tilt() -> None:
    end = tree.goal("GN-IVO, softmax", alpha=ALPHA, n=1)
    lower = tree.lower_end("GN-IVO, softmax", ALPHA)
    assert total_variation(lower, laws.tilt(ANSWERS, ALPHA)) == 0
    assert total_variation(end, lower) > 0.01
    with pytest.raises(ValueError, match=r"alpha = 0\.5 alone"):
        tree.goal("GN-IVO, softmax", alpha=1.0, n=1)


def test_the_log_tells_the_jump() -> None:
    curves = [[4.0, *[1.0] * 30], [3.0, *[0.5] * 30], [2.0, 2.0]]
    assert tree.in_training(curves)["logged_jump"] == pytest.approx((3 + 4) / 2)


def test_the_start_of_the_predictions_is_the_trees() -> None:
    law = ANSWERS.law(ANSWERS.reference)
    assert float(law @ ANSWERS.rewards) == pytest.approx(START, abs=1e-6)


def test_predictions_ask_for_runs_that_there_are() -> None:
    rows = {cell.row for cell in study.cells("full", range(1))}
    assert len(PREDICTIONS) == len({one.name for one in PREDICTIONS}) > 10
    assert {f"{name}, every 10, shuffled" for name in study.PLACED} <= rows
    for cell in study.cells("full", range(2)):
        assert cell.seed < 2
        assert cell.settings.get("method") is None or cell.row.startswith("tree: ")


@pytest.mark.slow
def test_the_smoke_form_runs_and_runs_again_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, again = (
        studies.run("moving-reference", size="smoke", seeds=1, jobs=0, out=tmp_path / name)
        for name in ("a", "b")
    )
    assert {path.name for path in first.folder.iterdir()} >= {"table.md", "jump.csv", "swap.md"}
    runs = [studies.Results.read(done.folder).runs for done in (first, again)]
    for one, other in zip(*runs, strict=True):
        assert timeless(one) == timeless(other)
    assert torch.get_default_dtype() == torch.float32


def timeless(run: dict[str, object]) -> dict[str, object]:
    """A run without what differs from one time to the next."""
    kept = {key: value for key, value in run.items() if key not in TIMINGS}
    curve = kept.pop("curve", {})
    kept.pop("training_seconds", None)
    assert isinstance(curve, dict)
    return kept | {"reward": curve.get("reward")}
