"""The recipes of the sums: what their numbers mean, that the files agree with each other, and the
whole way on a stand-in.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gnivo_edu.policies.fetch import place_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes" / "sums"
TINY = {
    "--warm-steps": ["1"],
    "--samples": ["2"],
    "--workers": ["1"],
    "--rows": ["gnivo"],
    "--options": ["examples=0", "horizon=90", "num_prompts=2"],
    "--changes": ["steps=1", "prompts_per_step=1", "group_size=2", "lora_rank=2"],
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the folder by name: scripts there find each other as they do when they run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("hits", "table", "where", "run_all")
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def values() -> dict[str, Any]:
    """Two wrong answers and a right one, as step_values.json has them; four continuations."""
    return {
        "alpha": 0.2,
        "continuations": 4,
        "names": ["gnivo"],
        "answers": [
            answer([4, 4, 0], 0.0, first=1, implicit=[0.1, -2.0, 0.0], log_p=[-0.1, -0.2, -3.0]),
            answer([2, 0, 0], 0.0, first=0, implicit=[0.2, -0.1, 0.3], log_p=[-1.0, -0.2, -0.1]),
            answer([2, 4, 4], 1.0, first=-1, implicit=[0.3, 0.0, 0.1], log_p=[-0.1, -0.1, -0.1]),
        ],
    }


def answer(
    right: list[int], reward: float, *, first: int, implicit: list[float], log_p: list[float]
) -> dict[str, Any]:
    return {
        "tier": "3x2",
        "reward": reward,
        "first_wrong": first,
        "right_after": right,
        "right_after_first_half": [n // 2 for n in right],
        "log_p": log_p,
        "least_log_p_of_a_token": log_p,
        "implicit": {"gnivo": implicit},
    }


def test_the_lowest_step_is_guessed_and_a_tie_is_a_draw(script: Any) -> None:
    hits = script("hits")
    assert hits.hit(np.array([0.0, -1.0, -0.5]), 1) == 1.0
    assert hits.hit(np.array([0.0, -1.0, -0.5]), 2) == 0.0
    assert hits.hit(np.zeros(4), 3) == 0.25


def test_hit_rates_of_answers_worked_out_by_hand(script: Any, values: dict[str, Any]) -> None:
    rates = script("hits").hit_rates(values)
    means = {name: rate["mean"] for name, rate in rates.items()}
    assert means == pytest.approx(
        {
            "Monte-Carlo values, nats": 1.0,
            "Monte-Carlo chances of a right answer": 1.0,
            "implicit values, `gnivo`": 0.5,
            "most surprising token": 0.5,
            "least likely step": 0.5,
            "position: the tier's commonest": 0.5,
            "chance": 1 / 3,
        }
    )
    assert {rate["count"] for rate in rates.values()} == {2}
    assert rates["chance"]["beyond_control"]["mean"] == pytest.approx(1 / 3 - 0.5)


def test_monte_carlo_credits_sum_to_the_value_that_is_left(
    script: Any, values: dict[str, Any]
) -> None:
    right = values["answers"][2]
    credits = script("hits").credits(right, right["right_after"], 4)
    start = np.log(0.5 + 0.5 * np.exp(5.0))
    assert credits.sum() == pytest.approx(5.0 - start)
    assert credits[1:].tolist() == pytest.approx([0.0, 0.0])


def test_correlation_is_that_of_ranks_and_has_an_interval_around_it(script: Any) -> None:
    rows = [np.array([1.0, 2.0, 3.0]), np.array([0.0, 5.0])]
    told = script("hits").correlation(rows, [row**3 for row in rows])
    assert [told[name] for name in ("mean", "low", "high")] == pytest.approx([1.0, 1.0, 1.0])
    assert told["steps"] == 5
    assert script("hits").correlation(rows, [-row for row in rows])["mean"] == pytest.approx(-1.0)


def test_results_md_says_what_results_json_holds(script: Any) -> None:
    report = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    assert script("table").table(report) == (FOLDER / "results.md").read_text(encoding="utf-8")


def test_results_json_says_what_step_values_hold(script: Any) -> None:
    report = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))["steps"]
    kept = json.loads((FOLDER / "step_values.json").read_text(encoding="utf-8"))
    rates = script("hits").hit_rates(kept)
    assert report["judged"] == len(script("hits").judged(kept)) >= 100
    for name, rate in rates.items():
        assert report["hit_rates"][name]["mean"] == pytest.approx(rate["mean"], abs=1e-4), name


def test_every_run_has_the_same_budget_and_a_published_setting() -> None:
    recipes = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.yaml")]
    shared = ("steps", "prompts_per_step", "group_size", "learning_rate", "lora_rank", "model")
    assert len({tuple(recipe[name] for name in shared) for recipe in recipes}) == 1
    noisy = {recipe["setting"] for recipe in recipes if recipe.get("reward_noise") == 0.5}
    assert noisy == {"gnivo"}


def whole_way(model: str, out: Path) -> dict[str, Any]:
    """Warm-up, training, test, step values and tables with this model, as small as can be."""
    results = out / "results"
    results.mkdir()
    places = ["--out", str(out), "--results", str(results)]
    tiny = [word for name, words in TINY.items() for word in (name, *words)]
    steps = [
        ["run_all.py", *places, "--model", model, *tiny],
        ["where.py", *places, "--questions", "1", "1", "--continuations", "2"],
        ["run_all.py", *places, "--rows", "gnivo", "--only", "write"],
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name, *words in steps:
        done = subprocess.run(
            [sys.executable, str(FOLDER / name), *words],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    assert (results / "results.md").read_text(encoding="utf-8").startswith("# Sums in words")
    return dict(json.loads((results / "results.json").read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_whole_way_on_a_stand_in(shared_model: str, tmp_path: Path) -> None:
    report = whole_way(shared_model, tmp_path)
    run = report["runs"]["gnivo"]
    assert (run["steps"], report["test"]) == (1, {"questions": 4, "samples": 2, "seed": 1})
    assert run["peak_gib"] > 0.1
    kept = json.loads((tmp_path / "results" / "step_values.json").read_text(encoding="utf-8"))
    assert [row["tier"] for row in kept["answers"]] == ["3x2", "4x1"]
    for row in kept["answers"]:
        steps = len(row["boundaries"]) - 1
        assert len(row["right_after"]) == len(row["implicit"]["gnivo"]) == steps
        assert row["boundaries"][-1] == len(row["tokens"])


@pytest.mark.nightly
def test_a_real_model_that_was_trained_loads_in_plain_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = place_of("smollm2")
    if not (folder / "config.json").is_file():
        pytest.skip("needs smollm2: gnivo-edu fetch smollm2, or name its folder in GNIVO_MODELS")
    whole_way(str(folder), tmp_path)
    place = tmp_path / "gnivo" / "model"
    model, tokenizer = (
        maker.from_pretrained(place) for maker in (AutoModelForCausalLM, AutoTokenizer)
    )
    ids = tokenizer("Question: 3 + 8 + 4 = ?\nSteps:", return_tensors="pt")["input_ids"]
    written = model.generate(ids, max_new_tokens=4, do_sample=False)
    assert written.shape[1] > ids.shape[1]
