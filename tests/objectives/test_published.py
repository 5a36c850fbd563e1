"""Published settings: complete, taken whole, and what they say of their regularisers is so."""

import re

import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.objectives.published import names, rows, setting
from gnivo_edu.training.config import load_config
from tests.training.training_runs import TINY, run

TRAINED = [name for name in names() if name != "group_value"]
MARKS = {"source", "second-hand", "ours"}
# What every trained method must say of itself.
ASKED = {"reference", "sampler", "inner_steps", "level", "kl_to_initial"}


def test_every_objective_has_a_setting_and_every_setting_an_objective():
    assert {setting(name).objective for name in names()} == set(objectives.names())
    assert set(objectives.names()) <= set(names())


@pytest.mark.parametrize("name", TRAINED)
def test_a_setting_is_complete_and_each_field_says_where_it_comes_from(name):
    entry = setting(name)
    assert set(entry.fields) >= ASKED
    assert all(field.mark in MARKS and field.note for field in entry.fields.values())
    assert bool(entry.acts) != bool(entry.none)
    assert bool(entry.acts) == bool(entry.without)
    critics = {"ppo", "dro", "oreo", "value_mse"}
    assert ("critic" in entry.fields) == (entry.objective in critics)
    config = load_config(changes=[f"setting={name}"])
    assert {row["mark"] for row in rows(config)} <= MARKS


def test_only_vimpo_s_setting_is_whole_in_its_sources():
    whole = [
        name
        for name in TRAINED
        if {field.mark for field in setting(name).fields.values()} == {"source"}
    ]
    assert "vimpo" in whole
    assert {"gnivo", "grpo", "gvpo", "dr_grpo", "sft_winning"}.isdisjoint(whole)


def test_nothing_is_called_read_of_a_paper_that_was_not_opened():
    told = [name for name in names() if setting(name).source.endswith("documentation of TRL")]
    assert "grpo" in told
    for name in told:
        assert "source" not in {field.mark for field in setting(name).fields.values()}, name


RECIPE = """
objective: gnivo
objective_options: {alpha: 0.3, weights: raw}
level: step
reference: sampler
inner_steps: 2
steps: 7
"""


def test_another_objective_leaves_the_file_s_method_behind_and_says_so(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    lines = []
    config = load_config(path, ["objective=vimpo", "inner_steps=3"], progress=lines.append)
    assert (config.reference, config.level, config.inner_steps) == ("initial", "token", 3)
    assert config.objective_options["alpha"] == 5e-4
    assert (config.setting, config.steps) == ("vimpo", 7)
    [line] = lines
    assert re.search("in place of the file's .*objective_options, level, reference", line)
    assert "reference=initial" in line
    # Without another objective nothing is dropped, and nothing said.
    same = load_config(path, ["objective=gnivo"], progress=lines.append)
    assert (same.level, same.inner_steps, same.objective_options["alpha"]) == ("step", 2, 0.3)
    assert len(lines) == 1


def test_a_file_that_names_no_objective_is_one_of_the_default(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("reference: initial\nobjective_options: {alpha: 0.3}\n")
    kept = load_config(path, ["objective=gnivo"])
    assert (kept.reference, kept.objective_options["alpha"]) == ("initial", 0.3)
    assert kept.objective_options["weights"] == "softmax"
    assert load_config(path, ["objective=gvpo"]).reference == "sampler"


def test_a_file_of_answers_leaves_with_the_writer_that_reads_it(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("objective: dro\nsampler: data\ndata: a.jsonl\ndata_writer: reference\n")
    assert load_config(path).data.endswith("a.jsonl")
    other = load_config(path, ["objective=grpo"])
    assert (other.sampler, other.data, other.data_writer) == ("policy", None, "unknown")


def test_what_is_not_said_comes_from_the_setting_and_what_is_said_wins():
    config = load_config(objective="grpo", objective_options={"alpha": 0.1})
    assert config.objective_options["alpha"] == 0.1
    assert (config.objective_options["kl"], config.reference) == ("k3", "initial")
    assert load_config(changes=["setting=gnivo/acting"]).reference == "refreshed"
    assert load_config().setting == ""  # nobody names an objective: TrainConfig as it is
    with pytest.raises(ValueError, match="setting=vimpo is one of another objective than 'grpo'"):
        load_config(changes=["setting=vimpo", "objective=grpo"])
    with pytest.raises(ValueError, match="did you mean 'vimpo'"):
        load_config(changes=["setting=vimpa"])


def test_a_saved_configuration_is_read_back_as_it_is(tmp_path):
    import yaml

    config = load_config(changes=["setting=gnivo/acting", "objective_options.alpha=0.4"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.to_dict()))
    assert load_config(path) == config
    assert load_config(path, ["objective=gnivo"]) == config
    assert load_config(path, ["objective=gvpo"]).setting == "gvpo"


def test_a_field_that_is_yours_is_marked_so():
    told = rows(load_config(changes=["objective=rloo", "objective_options.alpha=1"]))
    marks = {row["field"]: row["mark"] for row in told}
    assert (marks["alpha"], marks["reference"]) == ("yours", "source")


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory):
    """The weights after three steps of a table, and the rows of metrics."""

    def train(name, **changes):
        settings = TINY | {"task": "toy_envs/RandomTree-v0", "steps": 3, "group_size": 8}
        out = tmp_path_factory.mktemp("run") / "out"
        done, rows = run(out, setting=name, **settings | changes)
        return torch.cat([p.detach().flatten() for p in done.policy.parameters()]), rows

    return train


@pytest.mark.parametrize("name", [name for name in TRAINED if setting(name).acts])
def test_a_regulariser_that_acts_moves_the_weights(name, weights_of):
    weights, lines = weights_of(name)
    away, _ = weights_of(name, **setting(name).without)
    assert float((weights - away).abs().max()) > 1e-8
    measured = ("logratio", "kl", "kl_to_initial")
    assert max(abs(row.get(name, 0.0)) for row in lines for name in measured) > 1e-6


@pytest.mark.parametrize("name", [name for name in TRAINED if setting(name).none])
def test_where_none_acts_no_reference_is_read_or_it_is_the_policy(name, weights_of):
    weights, lines = weights_of(name)
    if setting(name).objective == "gnivo":
        assert max(abs(row["logratio"]) for row in lines) < 1e-12
        return
    initial, _ = weights_of(name, reference="initial")
    assert torch.equal(weights, initial)


def test_an_objective_in_the_place_of_the_setting_s_leaves_no_other_s_name_behind(tmp_path):
    settings = TINY | {"objective": "gvpo", "steps": 1}
    run(tmp_path, **settings, things={"objective": "online_dpo"})
    saved = load_config(tmp_path / "config.yaml")
    assert (saved.objective, saved.objective_options["alpha"]) == ("online_dpo", 0.1)
