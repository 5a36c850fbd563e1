"""`ablations`: its rows, the laboratory beside them, and a smoke form that comes out the same
twice."""

import pytest
import torch

from gnivo_edu import studies
from gnivo_edu.objectives import gnivo
from gnivo_edu.population import Population, point_at
from gnivo_edu.studies import Results
from gnivo_edu.studies.ablations import study
from gnivo_edu.studies.ablations.exact import batch_of, end_of, few_depths, question
from gnivo_edu.studies.ablations.predictions import PREDICTIONS
from gnivo_edu.studies.ablations.report import report
from gnivo_edu.studies.ablations.rows import FACTORS, OURS, STAYING, cells, settings
from gnivo_edu.studies.runner import TIMINGS
from gnivo_edu.training import load_config


def test_every_row_draws_as_many_answers():
    drawn = {
        train["group_size"] * train["prompts_per_step"] * train["steps"]
        for cell in cells("full", range(2))
        if (train := cell.settings.get("train"))
    }
    assert drawn == {2560}


def test_each_row_of_a_factor_differs_from_gnivo_in_one_setting():
    rows = settings()
    ours = load_config(**rows[OURS]).to_dict()
    for factor in ("group size", "alpha", "level"):
        for row in FACTORS[factor]:
            other = load_config(**rows[row]).to_dict()
            changed = [name for name in ours if ours[name] != other[name]]
            assert len(changed) == (row != OURS), row


def test_all_depths_evenly_spread_are_all_depths():
    answers = question(0.8)
    batch = Population.of(answers, 2).batch(point_at(answers, alpha=0.2))
    first = torch.full((len(batch.rewards),), 3)
    spread = few_depths(batch, count=4, depths=first).loss
    every = gnivo(batch, weights="softmax", lengths="horizon", horizon=4).loss
    torch.testing.assert_close(spread, every)


def test_few_depths_asks_for_drawn_ones():
    answers = question(0.8)
    batch = Population.of(answers, 2).batch(point_at(answers, alpha=0.2))
    with pytest.raises(ValueError, match="set prefixes to given"):
        few_depths(batch)


def uphill(row):
    return batch_of(load_config(**settings()[row]))


def test_the_laboratory_sees_the_noise_of_small_groups_and_of_one_depth():
    ours, pairs = uphill(OURS), uphill("GN-IVO, K = 2")
    assert pairs["noise"] > 2 * ours["noise"]
    one, three = uphill("1 depth"), uphill("3 depths")
    assert one["noise"] > three["noise"] > ours["noise"]
    # A drawn depth has the mean gradient of all.
    assert one["cosine"] == pytest.approx(ours["cosine"], abs=1e-12)


@pytest.mark.slow
def test_raw_weights_end_at_the_optimum_and_softmax_weights_do_not():
    away = {
        row: end_of(load_config(**settings()[row]))["away"]
        for row in ("raw weights", "last depth", "GN-IVO, K = 4")
    }
    assert away["raw weights"] < 1e-9
    assert away["last depth"] < 1e-9
    assert away["GN-IVO, K = 4"] > 0.05


@pytest.mark.slow
def test_predictions_quote_the_laboratory():
    said = {one.name: one.says for one in PREDICTIONS}
    quoted = {
        "pairs are noisier than groups of eight": ("GN-IVO, K = 2", OURS),
        "alpha 1 is not worse while the reference moves": ("alpha = 1", OURS),
        "one depth is worse than all": ("1 depth", OURS),
        "the last depth alone is no worse than all": ("last depth", OURS),
    }
    for name, named in quoted.items():
        for row in named:
            assert f"{uphill(row)['uphill']:.3f}" in said[name], row
    ratios = [
        uphill(f"GN-IVO, K = {size}")["uphill"] / uphill(f"GRPO, K = {size}")["uphill"]
        for size in (2, 16)
    ]
    text = said["the margin over GRPO is no larger at small K"]
    assert all(f"{ratio:.2f}" in text for ratio in ratios)
    kls = [end_of(load_config(**settings()[row]))["kl"] for row in (STAYING[-1], STAYING[0])]
    text = said["a large alpha holds the policy where the reference stays"]
    assert f"{kls[0]:.3f}" in text
    assert f"{kls[1]:.2f}" in text


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablations")
    studies.run("ablations", size="smoke", jobs=0, out=folder)
    return Results.read(folder)


def plain(run):
    """A run without what differs from one time to the next."""
    kept = {name: x for name, x in run.items() if name not in (*TIMINGS, "training_seconds")}
    curve = kept.get("curve", {})
    return kept | {"curve": {name: x for name, x in curve.items() if name != "seconds"}}


@pytest.mark.slow
def test_smoke_writes_table_and_figures(smoke):
    text = (smoke.folder / "table.md").read_text(encoding="utf-8")
    assert "In the laboratory, uphill signal: GN-IVO (0.213)" in text
    for name in ("forest.png", "reference_stays.png", "reference_stays.md", "table.csv"):
        assert (smoke.folder / name).stat().st_size > 100, name


@pytest.mark.slow
def test_a_second_run_gives_the_same_numbers(smoke, tmp_path):
    asked = [cell for cell in cells("smoke", range(2)) if cell.row == OURS][:1]
    again = study.run(asked[0], tmp_path)
    known = plain(smoke.of(OURS)[0])
    fresh = plain(again)
    assert {"pass@1", "kl_to_initial", "grad_norm"} < fresh.keys()
    for name in ("pass@1", "pass@3", "kl_to_initial", "entropy", "grad_norm"):
        assert fresh[name] == pytest.approx(known[name], rel=1e-5), name


@pytest.mark.slow
def test_pairs_that_lie_apart_are_counted_by_their_order(smoke, tmp_path):
    """Of two seeds whose runs are made up: one depth 0.2 below GN-IVO, as the laboratory says; and
    0.2 above."""

    def told(shift):
        runs = []
        for run in smoke.runs:
            if run["row"] in ("1 depth", OURS):
                score = 0.5 + 0.001 * run["seed"] ** 2
                score += shift * (run["row"] != OURS) + 1e-5 * run["seed"] * (run["row"] != OURS)
                run = {**run, "pass@1": {**run["pass@1"], "mean": score}}
            runs.append(run)
        report(Results(tmp_path, runs))
        text = (tmp_path / "table.md").read_text(encoding="utf-8")
        return next(line for line in text.splitlines() if line.startswith("- **depths**"))

    assert "1 are apart from 0, corrected: 1 of these in the order of the uphill" in told(-0.2)
    assert "1 are apart from 0, corrected: 0 of these in the order of the uphill" in told(+0.2)
