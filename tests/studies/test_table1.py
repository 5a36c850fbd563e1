"""Table 1 in miniature: its cells, its differences, and that its smallest form runs twice alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnivo_edu import objectives, studies
from gnivo_edu.batch import GroupBatch
from gnivo_edu.course.layout import CLONE
from gnivo_edu.studies import arithmetic
from gnivo_edu.studies.arithmetic import curve, train_and_test
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.runner import TIMINGS
from gnivo_edu.studies.study import Cell
from gnivo_edu.studies.table1 import conditions, rows, search, study, tuned, variants
from gnivo_edu.tasks.arithmetic import TRAIN_QUESTIONS, Arithmetic


def test_every_method_and_placebo_runs_at_every_seed_with_equal_answers() -> None:
    cells = study.cells("full", range(5))
    listed = {cell.row for cell in cells}
    assert listed == {"base", *search.METHODS} | {
        rows.placebo(m, r) for m in rows.PLACED for r in rows.PLACEBOS
    }
    drawn = set()
    for cell in cells:
        if cell.row != "base":
            train = cell.settings["train"]
            drawn.add(train["steps"] * train["prompts_per_step"] * train["group_size"])
    assert drawn == {12_800}


def test_a_placebo_differs_from_its_method_by_the_reward_alone() -> None:
    cells = {(c.row, c.seed): dict(c.settings) for c in study.cells("full", range(1))}
    for reward in rows.PLACEBOS:
        placed = cells[rows.placebo("GRPO", reward), 0]
        assert placed.pop("reward") == reward
        assert placed == cells["GRPO", 0]


def test_the_grid_is_the_same_for_every_method() -> None:
    cells = search.cells("full", range(1))
    points: dict[str, list[Any]] = {}
    for cell in cells:
        train = dict(cell.settings["train"])
        assert search.METHODS[cell.settings["method"]] == train.pop("setting")
        points.setdefault(cell.settings["method"], []).append(train)
        assert cell.settings["test"] == "validation"
    assert len({str(grid) for grid in points.values()}) == 1


def test_questions_for_choosing_are_neither_trained_nor_tested_on() -> None:
    trained = Arithmetic((2,), split="train")
    wide = Arithmetic((2,), num_prompts=TRAIN_QUESTIONS + 100, split="train")
    tested = Arithmetic((2,), split="test")
    asked = [{t.question(i) for i in range(len(t.tier))} for t in (trained, tested)]
    chosen_by = {wide.question(i) for i in range(TRAIN_QUESTIONS, TRAIN_QUESTIONS + 100)}
    assert len(chosen_by) == 100
    assert not chosen_by & asked[0]
    assert not chosen_by & asked[1]


def test_a_curve_is_means_over_windows() -> None:
    rows = [
        {"step": i, "reward": float(i), "step_time": 1.0, "entropy": 2.0 * i} for i in range(40)
    ]
    rows[3]["kl_to_initial"] = 7.0
    points = curve(rows, answers=8)
    assert points["reward"] == [2 * n + 0.5 for n in range(20)]
    assert points["responses"][-1] == 320
    assert points["seconds"][0] == 2
    assert points["kl_to_initial"][:3] == [None, 7.0, None]


def made(scores: dict[str, list[float]]) -> Results:
    runs = [
        {"row": row, "seed": seed, "pass@1": {"2": x, "3": x, "4": x, "mean": x}}
        | {"pass@3": {"4": x + 0.1}}
        for row, values in scores.items()
        for seed, x in enumerate(values)
    ]
    return Results(Path("nowhere"), runs)


def test_gains_and_differences() -> None:
    results = made({"base": [0.3], "GRPO": [0.5, 0.7], "GN-IVO": [0.6, 0.9]})
    assert rows.gain(results, "GRPO") == pytest.approx(0.3)
    assert rows.difference(results, "GN-IVO") == pytest.approx(0.15)
    assert rows.gap(results, "GN-IVO") == pytest.approx(0.1)
    assert rows.rivals(results) == ["GN-IVO"]


def test_seeds_that_find_a_condition_do_not_confirm_it() -> None:
    name = "groups of 2"
    ours, theirs = (conditions.row(name, m) for m in ("GN-IVO", "GRPO"))
    results = made({ours: [1.0] * 3 + [0.5, 0.6, 0.7, 0.8, 0.4], theirs: [0.0] * 3 + [0.5] * 5})
    assert conditions.differences(results, name, fresh=False) == [1.0] * 3
    assert conditions.confirmed(results, name).mean == pytest.approx(0.1)


def test_both_methods_meet_the_same_condition() -> None:
    cells = conditions.cells("full", range(1))
    for name, change in conditions.CONDITIONS.items():
        pair = [c.settings for c in cells if c.row.endswith(f": {name}")]
        assert len(pair) == 2
        for key in set(change) & {"group_size", "inner_steps", "reference", "reward_noise"}:
            assert [settings["train"][key] for settings in pair] == [change[key]] * 2
        drawn = {
            s["train"]["steps"] * s["train"]["prompts_per_step"] * s["train"]["group_size"]
            for s in pair
        }
        assert drawn == {5_120}


def test_second_order_weights_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    N, K, T = 2, 3, 4
    logps = torch.tensor(rng.normal(size=(N, K, T)) - 2, dtype=torch.float64)
    policy = (logps + 0.3 * torch.tensor(rng.normal(size=(N, K, T)))).requires_grad_()
    rewards = torch.tensor(rng.random((N, K)))
    mask = torch.ones(N, K, T, dtype=torch.bool)
    batch = GroupBatch(policy_logps=policy, behaviour_logps=logps, rewards=rewards, mask=mask)
    out = variants.second_order(batch, alpha=0.5).loss.detach()
    total = 0.0
    rho = (policy - logps).detach().numpy().cumsum(-1)
    for n in range(N):
        e = np.exp(rewards[n].numpy() / 0.5)
        p = e / e.sum()
        for t in range(T):
            q = np.exp(rho[n, :, t]) / np.exp(rho[n, :, t]).sum()
            w = p * (1 + p - q)
            total -= (w / w.sum() * np.log(q)).sum() / N
    assert float(out) == pytest.approx(total, abs=1e-12)
    # Where p = q they are GN-IVO's own.
    flat = objectives.gnivo(batch, alpha=1e5, weights="softmax").loss
    assert not torch.isclose(out, flat)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table1", "table1/search", "table1/variants", "curves"])
def test_the_smallest_form_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = studies.run(name, size="smoke", seeds=2, jobs=0, out=tmp_path / "out")
    assert done.runs >= 4
    for file in ("table.md", "table.csv", "runs.jsonl"):
        assert (tmp_path / "out" / file).stat().st_size > 0
    assert "nan" not in done.table


@pytest.mark.slow
def test_a_second_run_from_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    settings = next(c for c in study.cells("smoke", range(1)) if "shuffled" in c.row).settings
    first, second = (train_and_test(Cell("a", 3, settings), tmp_path / n) for n in "ab")
    for timing in TIMINGS:
        first.pop(timing, None), second.pop(timing, None)
    first["curve"].pop("seconds"), second["curve"].pop("seconds")
    assert first == second


def test_the_hard_tier_lies_where_it_can_rise() -> None:
    """The committed base is right in 15% to 35% of its answers there, and the best gains 12
    points.
    """
    results = Results.read(CLONE / "results" / "table1")
    if not results.runs:
        pytest.skip("results/table1 is not there")
    assert 0.15 <= results.mean("base", f"pass@1.{rows.HARD}").mean <= 0.35
    assert max(rows.gain(results, name) for name in search.METHODS) >= 0.12


def test_a_condition_is_tested_where_its_validation_is_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The test has no part in the choice, and the chosen model is the one that it is given."""
    scores = iter([0.3, 0.9, 0.6])
    asked: list[Any] = []

    def trained(cell: Cell, folder: Path) -> dict[str, Any]:
        asked.append(cell.settings)
        kl = cell.settings["train"]["learning_rate"]
        return {"pass@1": {"mean": next(scores)}, "kl_to_initial": kl, "responses": 8}

    def tested(model: Any, settings: Any) -> dict[str, Any]:
        assert settings.get("test", "test") == "test"
        return {"model": model, "pass@1": {"mean": 0.2}}

    monkeypatch.setattr(arithmetic, "train_and_test", trained)
    monkeypatch.setattr(arithmetic, "test", tested)
    monkeypatch.setattr(tuned, "load_transformer", lambda folder: folder.parent.name)
    grid = [
        {"train": {"learning_rate": rate, "prompts_per_step": 8}, "questions": 200}
        for rate in (1, 2, 3)
    ]
    run = tuned.run(Cell("GRPO: as in Table 1", 8, {"grid": grid}), tmp_path)
    assert (run["model"], run["learning_rate"], run["kl_to_initial"]) == ("1", 2, 2)
    assert run["validation"] == [0.3, 0.9, 0.6]
    assert {one["test"] for one in asked} == {"validation"}


def test_both_methods_choose_on_one_grid_and_fresh_seeds() -> None:
    listed = tuned.cells("full", range(5))
    grids: dict[str, set[Any]] = {}
    for cell in listed:
        points = [
            (point["train"]["learning_rate"], point["train"]["prompts_per_step"])
            for point in cell.settings["grid"]
        ]
        grids.setdefault(cell.row.split(": ")[1], set()).add(tuple(points))
        answers = {
            point["train"]["steps"]
            * point["train"]["prompts_per_step"]
            * point["train"]["group_size"]
            for point in cell.settings["grid"]
        }
        assert len(answers) == 1
    assert all(points == {tuned.GRID} for points in grids.values())
    before = {cell.seed for cell in conditions.cells("full", range(conditions.TRIED + 5))}
    assert not before & {cell.seed for cell in listed}


def test_the_first_choice_stays_unless_another_leads_by_the_margin() -> None:
    def chosen(lead: float) -> str:
        scores = {"first": (0.9, 0.6, 0.6), "other": (0.8, 0.65, 0.65 + 3 * lead)}
        runs = [
            {"row": row, "seed": seed, "pass@1": {"mean": score}}
            for row, of_seeds in scores.items()
            for seed, score in enumerate(of_seeds)
        ]
        return search.best_point(Results(Path(), runs), list(scores))

    assert chosen(search.MARGIN - 0.001) == "first"
    assert chosen(search.MARGIN + 0.001) == "other"
