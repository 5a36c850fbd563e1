"""The credit study: its measures on steps whose credit is known, and all of it once, small."""

import numpy as np
import pytest

from gnivo_edu import studies
from gnivo_edu.policies import TabularLM
from gnivo_edu.studies.credit import answers, exact, measures, readings, study
from gnivo_edu.studies.credit.measures import Frozen, auc, hit, roc
from gnivo_edu.studies.results import Results
from gnivo_edu.tasks.arithmetic import Arithmetic


def row(right, first, wrong, alike, after=None):
    steps = len(wrong)
    return {
        "tier": 2,
        "right": right,
        "first_wrong": first,
        "wrong": wrong,
        "alike": alike,
        "least_log_p": [-1.0] * steps,
        "tokens": [3] * steps,
        "right_after": after or [8, *[0] * (steps - 1)],
        "right_after_half": [4] * steps,
    }


ANSWERS = Frozen(
    [
        row(0, 0, wrong=[1, 1], alike=[1, 1]),  # wrong twice
        row(1, -1, wrong=[0, 0], alike=[1, 0], after=[8, 16]),
        row(0, 1, wrong=[0, 1, 0], alike=[1, 1, 0]),
    ]
)
CREDITS = [[-1.0, -2.0], [1.0, 0.0], [0.5, -1.5, 0.0]]


def test_auc_is_the_share_of_pairs_and_the_area_under_the_curve():
    rng = np.random.default_rng(0)
    wrong, others = (rng.integers(-3, 4, size=n).astype(float) for n in (7, 11))
    pairs = [(a < b) + (a == b) / 2 for a in wrong for b in others]
    assert auc(wrong, others) == pytest.approx(np.mean(pairs), abs=1e-12)
    false, true = roc(wrong, others)
    assert np.trapezoid(true, false) == pytest.approx(auc(wrong, others), abs=1e-12)
    assert np.isnan(auc([], others))


def test_only_wrong_answers_are_judged_and_look_alikes_are_a_choice_of_theirs():
    assert ANSWERS.judged == [0, 2]
    counts = {name: [int(s.sum()) for s in ANSWERS.compared(name)] for name in measures.AGAINST}
    assert counts == {"all": [2, 3], "alike": [2, 2], "done right": [2, 1], "wrong again": [2, 1]}
    assert ANSWERS.auc(CREDITS, "done right") == 1
    assert ANSWERS.auc(CREDITS, "wrong again") == 0
    assert ANSWERS.hits(CREDITS).tolist() == [0, 1]
    assert hit([0.0, 0.0], 1) == 0.5


def test_interval_of_the_auc_holds_it_and_needs_more_than_one_answer():
    interval = ANSWERS.auc_interval(CREDITS, "all")
    assert interval.low <= interval.mean <= interval.high
    assert interval.mean == ANSWERS.auc(CREDITS, "all")
    assert interval.width > 0


def test_rollouts_blame_the_step_after_which_no_continuation_is_right():
    chances, nats = (ANSWERS.monte_carlo(16, nats=nats) for nats in (False, True))
    assert chances[0].tolist() == [-0.5, 0.0]
    assert chances[1].tolist() == [0.5, 0.0]
    assert nats[1].sum() == pytest.approx(5 - np.log(0.5 + 0.5 * np.exp(5)))
    told = readings.last_missed_chances(ANSWERS, 16)
    assert told == {"first wrong step": 1, "later": 0, "earlier": 1, "none seen": 0}


def test_learned_is_counted_where_the_first_wrong_step_became_likelier():
    learned = [[1.0, -2.0], [1.0, 0.0], [0.5, -1.5, 0.0]]
    assert readings.measures(ANSWERS, CREDITS, 16)["learned"] == 0
    assert readings.measures(ANSWERS, learned, 16)["learned"] == 0.5
    assert readings.measures(ANSWERS, learned, 16)["again_negative"] == 1


def test_implied_chances_of_an_optimal_policy_are_the_true_ones():
    """Answers of two steps; after a wrong first step nothing is right, after a right one 3 of 4."""
    rows = [
        row(right, first, wrong, [1, 1], after=[8, 12 * (first != 0)])
        for right, first, wrong in ((1, -1, [0, 0]), (0, 0, [1, 0]), (0, 1, [0, 1]))
    ]
    frozen = Frozen(rows)
    optimal = frozen.monte_carlo(16, nats=True)
    inverse, implied = readings.implied_chances(frozen, optimal, 16)
    assert inverse == pytest.approx(1 / measures.ALPHA)
    for chances, true in zip(implied, frozen.chances(16), strict=True):
        np.testing.assert_allclose(chances, true, atol=1e-12)
    assert readings.calibration(frozen, optimal, 16)["error"] < 1e-12


def test_a_step_is_judged_by_the_total_written_before_it():
    task = Arithmetic(tiers=(2,), num_prompts=1, split="test")
    assert task.question(0) == "59+5-8="
    judged = {
        "64;56.": ([False, False], [True, True]),
        "54;46.": ([True, False], [True, True]),  # goes on from 54
        "63;55.": ([True, False], [True, True]),
        "69;61.": ([True, False], [True, False]),
        ";56.": ([True, True], [True, False]),  # nothing is known after a gap
        "64;56;4.": ([False, False, True], [True, True, False]),  # one step too many
    }
    for text, told in judged.items():
        assert answers.judged_steps(task, 0, text) == told, text


def test_credits_of_a_right_answer_look_alike_where_the_task_carries():
    task = Arithmetic(tiers=(2, 3, 4), num_prompts=20, split="test")
    for number in range(60):
        wrong, alike = answers.judged_steps(task, number, task.decode(task.demonstration(number)))
        assert not any(wrong)
        assert alike == task.carries(number)


def test_an_optimal_table_has_the_exact_credits():
    tables = exact.key().optimal_step_logps
    tree = exact.key().tree
    policy = TabularLM.from_tables(exact.PosterProblem(), tables)
    credits = exact.implicit_credits(policy)
    told = exact.against_exact(credits)
    assert told["correlation"] == pytest.approx(1)
    assert told["inverse_alpha"] == pytest.approx(1 / exact.ALPHA)
    assert told["drop"] == pytest.approx(1)
    assert sum(map(exact.likelihood, exact.ANSWERS)) == pytest.approx(1)
    assert tree.horizon == 7


def test_of_the_poster_s_wrong_answers_nats_blame_the_check_and_chances_the_first_mistake():
    told = exact.facts()
    assert told["drop_nats"] < 0.1
    assert told["drop_chances"] > 0.9
    assert told["first_drop"] > 0.9
    assert told["last_chance"] < 0.1


@pytest.mark.slow
def test_smoke_form_runs_and_says_the_same_again(tmp_path):
    folders = [
        studies.run("credit", size="smoke", seeds=seeds, jobs=0, out=tmp_path / str(seeds)).folder
        for seeds in (2, 1)
    ]
    first, second = (Results.read(folder) for folder in folders)
    assert first.rows == second.rows == ["base", "GN-IVO", "GRPO", "GN-IVO, random"]
    alone = [run for run in first.runs if run["seed"] == 0]
    for one, other in zip(alone, second.runs, strict=True):
        for key in ("credits", "answers", "exact", "pass@1"):
            assert one.get(key) == other.get(key)
    for name in ("table", "credits", "exact"):
        assert (folders[0] / f"{name}.md").read_text().startswith("# ")
    assert (folders[0] / "roc.png").read_bytes().startswith(b"\x89PNG")
    assert "GN-IVO" in (folders[0] / "answers.md").read_text()


@pytest.mark.nightly
@pytest.mark.slow
def test_quick_form_finds_the_first_wrong_step_better_than_a_placebo(tmp_path):
    done = studies.run("credit", size="quick", jobs=0, out=tmp_path)
    results = study.measured(Results.read(done.folder))
    ours, coin = (results.mean(row, "auc.done right").mean for row in ("GN-IVO", "GN-IVO, random"))
    assert ours > coin + 0.1
