"""Settings: from a file, from the command line, and what a run may change when it goes on."""

import inspect
import re

import pytest

from gnivo_edu import objectives
from gnivo_edu.training.config import load_config
from tests.training.training_runs import TINY, Stop, largest_difference, run, weights

FILE = """
objective: gnivo
objective_options: {alpha: 0.3, weights: softmax}
steps: 7
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name", [name for name in objectives.names() if name != "gnivo"])
def test_another_objective_takes_nothing_from_the_file_s_options(name, file):
    options = load_config(file, [f"objective={name}"]).objective_options
    assert "weights" not in options or name == "group_value"
    assert options.get("alpha") != 0.3
    assert set(options) <= set(inspect.signature(objectives.get(name)).parameters)


def test_the_file_s_own_objective_keeps_its_options_and_what_is_said_later_wins(file):
    options = {"alpha": 0.3, "weights": "softmax", "prefixes": "all"}
    assert load_config(file, ["steps=9"]).objective_options == options
    assert load_config(file, ["objective=gnivo"]).objective_options == options
    changed = load_config(file, ["objective_options.alpha=0.2", "objective=gvpo"])
    assert changed.objective_options == {"alpha": 0.2}
    with pytest.raises(ValueError, match="the objective 'grpo' has no option 'weights'; known"):
        load_config(file, ["objective=grpo", "objective_options.weights=raw"])
    with pytest.raises(ValueError, match="has no option 'beta'; did you mean 'alpha'"):
        load_config(file, ["objective=gvpo", "objective_options.beta=0.1"])
    with pytest.raises(ValueError, match="did you mean 'grpo'"):
        load_config(file, ["objective=gropo"])


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "loss_of_a_runner.py").write_text(
        "def loss(batch, alpha: float = 0.1, scale: float = 1.0):\n"
        "    centred = batch.rewards - batch.rewards.mean(1, keepdim=True)\n"
        "    logps = (batch.policy_logps * batch.mask).sum(-1)\n"
        "    return -scale * batch.group_mean((centred * logps).mean(1))\n"
    )
    monkeypatch.chdir(tmp_path)
    return "loss_of_a_runner:loss"


def test_an_objective_of_one_s_own_takes_nothing_of_the_file_s_method(own, file):
    lines = []
    config = load_config(
        file, [f"objective={own}", "objective_options.scale=2"], progress=lines.append
    )
    assert (config.objective, config.setting, config.steps) == (own, "", 7)
    assert config.objective_options == {"scale": 2.0}
    assert lines == [f"objective={own} in place of the file's objective, objective_options"]
    with pytest.raises(ValueError, match="has no option 'scal'; did you mean 'scale'"):
        load_config(file, [f"objective={own}", "objective_options.scal=2"])
    file.write_text(f"objective: {own}\nobjective_options: {{scale: 3}}\n")
    config = load_config(file)
    assert (config.objective, config.objective_options) == (own, {"scale": 3})
    assert load_config(file, ["objective=grpo"]).setting == "grpo"


def test_a_run_learns_with_an_objective_of_one_s_own_and_goes_on_with_it(own, tmp_path):
    asked = {**TINY, "objective": own, "steps": 3, "save_every": 1}
    run(tmp_path / "whole", **asked)
    with pytest.raises(Stop):
        run(tmp_path / "part", stop_at=1, **asked)
    run(tmp_path / "part", resume=True, **asked)
    whole, part = (weights(tmp_path / name) for name in ("whole", "part"))
    assert largest_difference(whole, part) == 0


def test_a_run_may_go_on_for_longer_unless_its_rate_depends_on_the_end():
    for schedule, changed in (("constant", []), ("cosine", ["steps"]), ("linear", ["steps"])):
        config = load_config(steps=5, schedule=schedule)
        assert load_config(steps=9, schedule=schedule).changed(config.to_dict()) == changed
    assert load_config(seed=1, out="elsewhere").changed(load_config().to_dict()) == ["seed"]


@pytest.mark.parametrize(
    ("text", "changes", "says"),
    [
        ("", ["task_options={a"], "--set task_options={a: the value is not YAML"),
        ("", ["steps=.inf"], "steps must be a whole number, got inf"),
        ("", ["steps=.nan"], "steps must be a whole number, got nan"),
        ("", ["learning_rate=.inf"], "learning_rate must be positive and finite, got inf"),
        ("", ["temperature=1e-300"], "temperature must be at least 0.001, or the logits overflow"),
        ("", ["temperature=1e30"], "temperature must be at most 1,000,000, got 1e+30"),
        ("", ["kl_to_initial=1e30"], "kl_to_initial must be at most 1,000,000"),
        ("", ["objective_options.alpha=1e30"], "alpha must be at most 1,000,000, got 1e+30"),
        ("", ["objective_options.horizon=100000000000"], "horizon must be at most 1,000,000"),
        ("", ["out=/"], "out is '/', all of the file system: give a folder inside it"),
        ("", ["out=/tmp/.."], "out is '/tmp/..', all of the file system"),
        ("", ["kl_to_initial=.nan"], "kl_to_initial must not be negative, and finite, got nan"),
        ("1: 2", [], "there is no setting 1"),
        ("task_options: {1: 2}", [], "the entries of task_options have names, got 1"),
        ("steps: 3", ["steps.x=1"], "steps.x cannot be set: steps is 3, and no group of entries"),
        ("objective: [gnivo]", ["objective=grpo"], "objective must be text, got ['gnivo']"),
        (
            "objective_options: {alpha: 1}",
            ["objective=[grpo]"],
            "objective must be text, got ['grpo']",
        ),
        ("objective_options: {alpha: 1}", ["objective=1"], "objective must be text, got 1"),
        ("", ["completions_every=0"], "completions_every must be at least 1, got 0"),
        ("", ["seed=-1"], "seed must not be negative"),
        ("", ["micro_batch=0"], "micro_batch must be at least 1 answer, or null for all, got 0"),
        ("", ["max_grad_norm=0"], "max_grad_norm must be positive, got 0"),
    ],
)
def test_what_is_no_setting_is_one_line(text, changes, says, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        load_config(path, changes)
    assert "\n" not in str(error.value)


def test_a_group_with_nothing_below_it_is_an_empty_one(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("task_options:\n")
    assert load_config(path).task_options == {}
    assert load_config(path, ["task_options.x=1"]).task_options == {"x": 1}
    assert load_config(changes=["max_grad_norm=.inf"]).max_grad_norm == float("inf")  # no clipping


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("steps=true", "steps must be a whole number, got True"),
        ("steps=2.5", "steps must be a whole number, got 2.5"),
        ("steps=two", "steps must be a whole number, got 'two'"),
        ("micro_batch=[1]", "micro_batch must be a whole number, got [1]"),
        ("micro_batch=false", "micro_batch must be a whole number, got False"),
        ("temperature=hot", "temperature must be a number, got 'hot'"),
        ("temperature=true", "temperature must be a number, got True"),
        ("out=3", "out must be text, got 3"),
        ("level=word", "level must be one of token, step, got 'word'"),
        ("task_options=3", "task_options must be a group of entries, got 3"),
        ("trackers=3", "trackers must be a list, got 3"),
        ("trackers=[1]", "the entries of trackers must be text, got 1"),
        ("FREE=[seed]", "there is no setting 'FREE'"),
        ("zzz=1", "there is no setting 'zzz'; TrainConfig lists them all"),
        ("steps", "--set takes key=value, got 'steps'"),
    ],
)
def test_a_value_of_another_type_is_one_line(setting, says):
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        load_config(changes=[setting])
    assert "\n" not in str(error.value)


def test_a_number_may_be_written_as_the_other_kind():
    config = load_config(changes=["steps=3.0", "temperature=1", "micro_batch=2.0"], seed="4")
    numbers = (config.steps, config.temperature, config.micro_batch, config.seed)
    assert numbers == (3, 1.0, 2, 4)
    assert [type(number) for number in numbers] == [int, float, int, int]
    assert load_config(changes=["micro_batch=null"]).micro_batch is None


def test_a_sampler_without_a_reference_is_refused():
    with pytest.raises(ValueError, match="sampler=reference needs a reference of its own"):
        load_config(sampler="reference")


def test_a_clip_at_infinity_is_none():
    changes = ["objective=ppo", "objective_options.clip_high=.inf"]
    assert load_config(changes=changes).objective_options["clip_high"] == float("inf")
