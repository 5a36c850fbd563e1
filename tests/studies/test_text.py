"""The study of text: the frontier, the placebos, and the smoke form with its model."""

import os
from pathlib import Path

import numpy as np
import pytest

from gnivo_edu import studies
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.runner import TIMINGS
from gnivo_edu.studies.text import rows, study
from gnivo_edu.studies.text.run import (
    UNSEEN,
    StoryReward,
    distinct,
    frontier_of,
    model_of,
    most_reward,
)
from gnivo_edu.tasks.stories import OPENINGS, sentiment

ROOT = Path(__file__).resolve().parents[2]
STORIES = Path(os.environ.get("GNIVO_SHARED", ROOT.parent / "shared")) / "models" / "stories260k"
TEXTS = ["A happy end.", "She was sad.", "A cat.", "Happy, happy Lily!"]


@pytest.fixture(scope="module")
def rewards():
    """Rewards [N, K] of answers that the reference writes alike."""
    return np.random.default_rng(0).beta(2, 2, size=(3, 400))


def test_no_policy_lies_above_the_frontier_and_pi_star_lies_on_it(rewards):
    frontier = frontier_of(rewards)
    rng = np.random.default_rng(1)
    for scale in (0.3, 1.0, 3.0):
        for pull in (0.0, 2.0, 5.0):
            law = np.exp(scale * rng.normal(size=rewards.shape) + pull * rewards)
            law /= law.sum(1, keepdims=True)
            kl = (law * np.log(law * rewards.shape[1])).sum(1).mean()
            assert (law * rewards).sum(1).mean() <= most_reward(frontier, kl) + 1e-12
    for _, kl, reward in frontier:
        assert most_reward(frontier, kl) == pytest.approx(reward, abs=1e-12)


def test_the_frontier_ends_where_too_few_answers_bear_it(rewards):
    assert len(frontier_of(rewards[:, :60])) < len(frontier_of(rewards))
    assert most_reward(frontier_of(rewards), 1e3) == 1.0


def test_distinct_counts_runs_of_words():
    assert distinct(["happy happy happy"], 1) == pytest.approx(1 / 3)
    assert distinct(["a b c", "A b d"], 2) == 3 / 4


def test_placebos_pay_what_no_text_decides():
    shuffled = StoryReward("shuffled", 0, group_size=2)
    paid, due = shuffled(TEXTS * 10), sentiment(TEXTS * 10)
    groups = paid.reshape(-1, 2), due.reshape(-1, 2)
    assert np.array_equal(*(np.sort(group, axis=1) for group in groups))
    assert 0.2 < (paid != due).mean() < 0.8
    random = StoryReward("random", 0, group_size=2)
    assert not np.array_equal(random(TEXTS), random(TEXTS))
    assert np.array_equal(StoryReward("task", 0, group_size=2)(TEXTS), sentiment(TEXTS))


def test_openings_of_the_test_are_none_of_training():
    assert not set(UNSEEN) & set(OPENINGS)


def test_without_the_model_one_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("GNIVO_SHARED", str(tmp_path))
    with pytest.raises(ValueError, match=r"tinyllamas.*GNIVO_SHARED") as told:
        model_of("stories260k")
    assert "\n" not in str(told.value)


def test_every_method_has_every_rate_and_seed():
    listed = study.cells("full", range(3))
    rows = {cell.row for cell in listed}
    assert len(rows) == 1 + 11 * 3 + 4
    assert len({(cell.row, cell.seed) for cell in listed}) == len(listed) == 1 + 3 * (len(rows) - 1)
    assert sum(cell.settings["frontier"] for cell in listed) == 1


def test_smollm2_has_rows_of_its_own():
    listed = studies.study_of("text/smollm2").cells("full", range(3))
    assert [cell.row for cell in listed[:2]] == ["base", "GN-IVO, 0.0003"]
    assert {cell.settings["model"] for cell in listed} == {"smollm2"}
    assert len(listed) == 1 + 4 * 3
    paid = [cell.settings["reward"] for cell in listed[1:]]
    assert paid == ["task"] * 6 + ["shuffled"] * 6
    # The table's openings are the study's; what is compared is the same for every row.
    assert {cell.settings["compared"] for cell in listed} == {12}


@pytest.mark.parametrize("name", ["text", "text/smollm2"])
@pytest.mark.parametrize("size", ["full", "quick", "smoke"])
def test_every_form_draws_enough_for_a_frontier(name, size):
    base, *others = studies.study_of(name).cells(size, range(2))
    assert (base.row, base.settings["frontier"]) == ("base", True)
    assert not any(cell.settings["frontier"] for cell in others)
    rewards = np.random.default_rng(0).uniform(size=(8, base.settings["samples"]))
    assert frontier_of(rewards), "a share of the most needs a point"


def test_shares_and_ratios_are_of_the_right_rows():
    frontier = [[1.0, 0.0, 0.5], [0.2, 1.0, 0.9]]
    runs = [
        {"row": "base", "seed": 0, "reward": 0.5, "kl": 0.0, "frontier": frontier},
        {"row": "GRPO, 0.001", "seed": 0, "reward": 0.7, "kl": 1.0, "distinct": {"2": 0.5}},
        {"row": "RLOO, 0.001", "seed": 0, "reward": 0.6, "kl": 0.5, "distinct": {"2": 0.9}},
        {"row": "GRPO, 0.0003, random", "seed": 0, "reward": 0.5, "kl": 0.3},
    ]
    results = Results(Path(), runs)
    assert rows.share(results, "GRPO, 0.001").mean == pytest.approx(0.2 / 0.4)
    assert rows.largest_share(results) == pytest.approx(0.5)
    assert rows.largest_share(results, placebo=True) == 0
    assert rows.gain(results, "RLOO, 0.001") == pytest.approx(0.1)
    assert rows.ratio(results, "RLOO, 0.001", "GRPO, 0.001") == 0.5
    assert rows.diversity_against_kl(results) == pytest.approx(-1)


@pytest.mark.slow
@pytest.mark.skipif(not STORIES.is_dir(), reason="GNIVO_SHARED holds no models/stories260k")
def test_the_smoke_form_runs_and_gives_the_same_numbers_again(tmp_path, monkeypatch):
    monkeypatch.setenv("GNIVO_SHARED", str(STORIES.parents[1]))
    monkeypatch.chdir(tmp_path)
    first = studies.run("text", size="smoke", seeds=1, jobs=0, out=tmp_path / "a")
    for file in ("table.md", "table.csv", "plane.png", "texts.md", "smollm2.md"):
        assert (tmp_path / "a" / file).stat().st_size > 100
    assert "GN-IVO, 0.0003, shuffled" in first.table
    # What is learned in two steps from shuffled rewards is not what is learned from rewards.
    runs = [one for one in Results.read(tmp_path / "a").runs if one["row"].startswith("GN-IVO")]
    assert runs[0]["reward"] != runs[1]["reward"]
    timings = (*TIMINGS, "training_seconds", "curve")
    cells = study.cells("smoke", range(1))[:2]
    from gnivo_edu.studies.runner import run_study

    again = run_study(
        study.STUDY, cells, tmp_path / "b", tmp_path / "s", jobs=0, progress=lambda line: None
    )
    for old, new in zip(Results.read(tmp_path / "a").runs, again.runs, strict=False):
        assert {k: v for k, v in old.items() if k not in timings} == {
            k: v for k, v in new.items() if k not in timings
        }
