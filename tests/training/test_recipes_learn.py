"""The two recipes for a CPU learn what they are for; shorter than the recipes, to stay below a
minute each.
"""

from pathlib import Path

import pytest

from gnivo_edu import tasks
from gnivo_edu.evaluation import compare, evaluate
from gnivo_edu.training import fine_tune, load_config
from gnivo_edu.training.before_after import before_and_after

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["gnivo", "grpo"])
def test_pass_at_1_of_the_shipped_model_rises_by_ten_points_on_questions_it_has_not_seen(
    objective, tmp_path
):
    settings = ["steps=40", f"objective={objective}", f"out={tmp_path}"]
    run = fine_tune(load_config(RECIPES / "arithmetic_cpu.yaml", settings))
    unseen = tasks.get("arithmetic", num_prompts=60, split="test")
    before, after = (
        evaluate(model, unseen, samples=4, ks=(1,)) for model in (run.initial, run.policy)
    )
    found = compare(before, after)
    assert found["interval@1"][0] > 0.10, found


@pytest.mark.slow
def test_stories_become_happier(shared_model, tmp_path):
    settings = ["steps=12", f"model={shared_model}", f"out={tmp_path}", "task_options.horizon=32"]
    run = fine_tune(load_config(RECIPES / "stories_cpu.yaml", settings))
    found = before_and_after(run.initial, run.policy, run.task, completions=128)
    assert found["interval"][0] > 0.02, found
    assert found["texts"][0]["before"]["text"] != found["texts"][0]["after"]["text"]
