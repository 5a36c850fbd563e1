"""`off-policy`: who takes whose answers, the laboratory's ends, and a smoke form."""

import json

import pytest

from gnivo_edu import studies
from gnivo_edu.studies import Results
from gnivo_edu.studies.off_policy import study
from gnivo_edu.studies.off_policy.exact import LOSSES, distance, laboratory, pulls
from gnivo_edu.studies.off_policy.measures import share_kept, written
from gnivo_edu.studies.off_policy.predictions import CLIPPED
from gnivo_edu.studies.off_policy.rows import (
    BASE,
    COMPLETION,
    EXACT,
    FRESH,
    HALF,
    METHODS,
    NOT_RUN,
    OTHER,
    OURS,
    REFUSING,
    SAMPLERS,
    cells,
    row_of,
)
from gnivo_edu.training import fine_tune, load_config


def test_every_row_learns_from_as_many_answers_to_the_same_questions():
    trained = [train for cell in cells("full", range(2)) if (train := cell.settings.get("train"))]
    assert {x["group_size"] * x["prompts_per_step"] * x["steps"] for x in trained} == {2048}
    assert {x["questions"] for x in trained} == {64}
    # A question comes again before its answers are forgotten.
    assert all(x["questions"] <= x["replay_age"] * x["prompts_per_step"] for x in trained)


def test_every_method_learns_from_every_mixture():
    listed = cells("full", [0])
    rows = {cell.row: cell.settings for cell in listed}
    assert len(rows) == len(listed)
    for method in METHODS:
        for name, sampler in SAMPLERS.items():
            assert rows[row_of(method, name)]["train"]["sampler"] == sampler, method
        # Of another model's answers only a ratio needs log-probabilities.
        assert rows[row_of(method, OTHER)]["other"]["logps"] == (method in REFUSING), method


@pytest.mark.parametrize("method", [name for name in {**METHODS, **NOT_RUN} if name not in LOSSES])
def test_methods_that_refuse_ask_for_the_writer(method):
    asked = {**METHODS, **NOT_RUN}[method]
    assert laboratory(method, asked) == {"asks_writer": int(method in REFUSING)}


def test_a_method_that_refuses_says_so(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"prompt_index": 0, "completion": "64;69"}\n' * 4, encoding="utf-8")
    told = {"sampler": {"policy": 4, "data": 4}, "data": str(path), "reference": "initial"}
    config = load_config(**METHODS["GRPO"], **told, prompts_per_step=1, steps=1, report_questions=0)
    with pytest.raises(ValueError, match="reads the log-probabilities of who wrote an answer"):
        fine_tune(config)


def test_completion_weights_and_gvpo_end_at_the_optimum_on_old_answers():
    half = {"current": 0.5, "reference": 0.5}
    for method in ("GVPO", COMPLETION, "GN-IVO, last depth", "DRO"):
        assert distance(method, half) == 0, method


@pytest.mark.slow
def test_softmax_weights_end_nearer_as_answers_grow_old():
    """What the prediction quotes."""
    new, half = (distance(OURS, {"current": 1 - share, "reference": share}) for share in (0.0, 0.5))
    assert new == pytest.approx(0.028, abs=5e-4)
    assert half == pytest.approx(0.014, abs=5e-4)


def test_clips_hide_old_answers_once_the_policy_has_gone_far():
    """What the predictions quote."""
    pulled = {method: pulls(METHODS[method]) for method in METHODS}
    # The ratio of a whole answer leaves the clip before that of a token does.
    near = {"RLOO": 0.88, "Dr. GRPO": 0.97, "PPO": 0.97}
    far = {"RLOO": 0.08, "Dr. GRPO": 0.15, "PPO": 0.17, "OREO": 1.24}
    for way, said in (("near", near), ("far", far)):
        told = {method: pulled[method][way] for method in said}
        assert told == pytest.approx(said, abs=5e-3), way
    clipped = (*CLIPPED, "GRPO")
    assert all((pulled[method]["far"] < 0.2) == (method in clipped) for method in METHODS)


def scores(method, sampler, *values):
    return [
        {"row": row_of(method, sampler), "seed": seed, "pass@1": {"mean": value}}
        for seed, value in enumerate(values)
    ]


def test_the_share_kept_is_of_the_gain_over_the_base(tmp_path):
    base = {"row": BASE, "seed": 0, "pass@1": {"mean": 0.4}}
    runs = [base, *scores("GRPO", FRESH, 0.6, 0.7, 0.8), *scores("GRPO", HALF, 0.5, 0.55, 0.6)]
    half = share_kept(Results(tmp_path, runs), "GRPO", HALF)
    assert (half.mean, half.low, half.high) == pytest.approx((0.5, 0.5, 0.5))
    # The same gains, of other seeds: no seed keeps a half of its own.
    runs[-3:] = scores("GRPO", HALF, 0.6, 0.55, 0.5)
    crossed = share_kept(Results(tmp_path, runs), "GRPO", HALF)
    assert crossed.mean == pytest.approx(0.5)
    assert crossed.high - crossed.mean > 0.5
    # Where the gain on fresh answers may be none, a share of it says nothing.
    runs[1:4] = scores("GRPO", FRESH, 0.3, 0.6, 0.9)
    assert share_kept(Results(tmp_path, runs), "GRPO", HALF) is None


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("off-policy")
    studies.run("off-policy", size="smoke", jobs=0, out=folder)
    return Results.read(folder)


@pytest.mark.slow
def test_smoke_writes_tables_and_figures(smoke):
    text = (smoke.folder / "takes.md").read_text(encoding="utf-8")
    assert f"refuse: {COMPLETION}." in text
    for name in ("table.md", "table.csv", "takes.csv", "forest.png", "exact.png"):
        assert (smoke.folder / name).stat().st_size > 100, name
    assert laboratory_of(smoke, "GVPO")["old"] == {"0": 0, "25": 0, "50": 0, "100": 0}


def laboratory_of(results, method):
    return results.of(EXACT + method)[0]


@pytest.mark.slow
def test_old_answers_are_not_written_again(smoke):
    assert written(smoke, row_of("GVPO", FRESH)) == 128
    # Four visits, the first of which has no old answers; then half of each group.
    assert written(smoke, row_of("GVPO", HALF)) == 128 * (1 - 3 / 8)
    assert written(smoke, row_of("GVPO", OTHER)) == 64


@pytest.mark.slow
def test_a_second_run_gives_the_same_numbers(smoke, tmp_path):
    row = row_of(COMPLETION, OTHER)
    cell = next(cell for cell in cells("smoke", range(2)) if cell.row == row)
    again, known = study.run(cell, tmp_path / "run"), smoke.of(row)[0]
    for name in ("pass@1", "pass@3", "kl_to_initial", "grad_norm"):
        assert again[name] == pytest.approx(known[name], rel=1e-5), name


@pytest.mark.slow
def test_the_other_model_writes_the_same_answers_with_and_without_their_chances(tmp_path):
    files = study.other_answers(tmp_path, answers=64, questions=4)
    bare, noted = (
        [json.loads(line) for line in files[name].read_text(encoding="utf-8").splitlines()]
        for name in ("answers", "logps")
    )
    assert len(bare) == 32
    assert bare == [{key: row[key] for key in ("prompt_index", "tokens")} for row in noted]
    assert all(len(row["logps"]) == len(row["tokens"]) for row in noted)
