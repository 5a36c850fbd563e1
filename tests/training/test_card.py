"""The card of a trained model: what the run was, what it has measured, and what it has not."""

import json
import re
from types import SimpleNamespace

import pytest
import yaml

import gnivo_edu
from gnivo_edu.training.before_after import report_of
from gnivo_edu.training.card import model_card
from gnivo_edu.training.config import TrainConfig
from tests.training.training_runs import TINY, run

CHANGE = {"before": 0.25, "after": 0.5, "difference": 0.25, "questions": 8, "answers": 32}


def parts(card):
    """The head that the hub reads, and the recipe."""
    _, head, body = card.split("---\n", 2)
    return yaml.safe_load(head), yaml.safe_load(re.search(r"```yaml\n(.*?)```", body, re.S)[1])


def test_its_recipe_is_the_run_s_configuration(tmp_path):
    config = TrainConfig(out=str(tmp_path), steps=7, task_options={"tiers": [2]})
    head, recipe = parts(model_card(config))
    assert TrainConfig(**recipe, out=str(tmp_path)) == config
    assert head["tags"][-1] == "gnivo"
    assert str(tmp_path) not in model_card(config)
    assert f"gnivo-edu {gnivo_edu.__version__}" in model_card(config)


@pytest.mark.parametrize(
    ("model", "base"),
    [("shipped", None), ("owner/name", "owner/name"), ("/a/name", None), ("./owner", None)],
)
def test_only_a_name_of_the_hub_is_named_as_base(model, base, tmp_path):
    head, _ = parts(model_card(TrainConfig(model=model, out=str(tmp_path))))
    assert head.get("base_model") == base


def test_it_says_the_last_kl_and_the_interval_or_that_there_is_none(tmp_path):
    config = TrainConfig(out=str(tmp_path))
    assert "model it began from): not measured." in model_card(config)
    rows = [{"step": 0, "kl_to_initial": 0.5}, {"step": 1, "kl_to_initial": 0.75}, {"step": 2}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = model_card(config, CHANGE | {"interval": [0.125, 0.375]})
    assert "0.75 nats an answer, on its answers of step 1" in card
    assert "difference +0.250, 95% interval +0.125 to +0.375" in card
    assert "0.250 before, 0.500 after" in card
    assert "not measured" not in card
    assert "without an interval" in model_card(config, CHANGE | {"interval": None})


@pytest.mark.slow
def test_a_run_writes_it_beside_the_model_and_the_report_completes_it(tmp_path):
    done, rows = run(tmp_path / "run", **TINY)
    path = tmp_path / "run" / "model" / "README.md"
    card = path.read_text(encoding="utf-8")
    assert f"{rows[-1]['kl_to_initial']:.4g} nats" in card
    assert "Reward before and after: not measured" in card
    report = report_of(done, progress=lambda line: None)
    assert f"difference {report['change']['difference']:+.3f}" in path.read_text(encoding="utf-8")


def test_a_report_without_questions_leaves_the_card(tmp_path):
    config = TrainConfig(out=str(tmp_path), report_questions=0)
    (tmp_path / "metrics.jsonl").write_text("")
    folder = SimpleNamespace(path=tmp_path)
    report_of(SimpleNamespace(config=config, folder=folder, seconds=0.0), progress=print)
    assert not (tmp_path / "model").exists()
