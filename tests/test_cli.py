import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gnivo_edu import cli, exact, tasks

ROOT = Path(__file__).resolve().parents[1]


def gnivo(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "gnivo_edu.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


@pytest.fixture
def called(monkeypatch, capsys):
    """Call the command in this process, where torch is loaded once."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gnivo-edu", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, stopped.value.code, printed.out, printed.err)

    return call


def assert_one_line(result, *words):
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    *progress, line = result.stderr.strip().splitlines()
    assert line.startswith("gnivo-edu: "), result.stderr
    for word in words:
        assert word in line, line
    # A slow machine is told what it is at.
    assert all(said.startswith("reading ") for said in progress), result.stderr


@pytest.fixture(scope="module")
def rewards_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rewards")
    (folder / "my_rewards.py").write_text(
        "def nan(texts):\n    return [float('nan')] * len(texts)\n\n"
        "def boom(texts):\n    return texts.sum()\n\n"
        "def length(texts):\n"
        "    return [min(1.0, len(text) / 40) for text in texts]\n"
    )
    return folder


@pytest.mark.slow
def test_bad_input_is_one_line_and_exit_2(called, tmp_path):
    assert_one_line(gnivo("verify", "--alpha", "0"), "alpha", "positive")
    assert_one_line(called("verify", "--alpha", "-0.5"), "alpha", "positive")
    assert_one_line(called("verify", "--alpha", "nan"), "alpha", "positive")
    assert_one_line(called("verify", "--alpha", "much"), "alpha")
    assert_one_line(called("verify", "--group-size", "1"), "group")
    assert_one_line(called("verify", "--env", "RandomTre"), "did you mean 'RandomTree'")
    assert_one_line(called("verify", "--env", "toy_envs/Bracket-v0"), "Brackets")
    assert_one_line(
        called("verify", "--env", "ArithmeticChain", "--prompt-index", "99"), "prompt_index"
    )
    assert_one_line(called("nonsense"), "nonsense")
    assert_one_line(
        called("verify", "--env", "Brackets", "--reward", "foo", "--top-k", "3"),
        "--top-k, --reward",
        "--model",
    )
    assert_one_line(called("bench", "nonsense"), "known: atlas")
    occupied = tmp_path / "file"
    occupied.write_text("kept")
    assert_one_line(called("demo", "--out", str(occupied)), "file")
    assert occupied.read_text() == "kept"
    assert_one_line(called("demo", "--out", "/proc/nowhere/demo"), "/proc")


def test_a_path_that_is_not_a_model(called, tmp_path):
    (tmp_path / "notes.txt").write_text("not a model")
    assert_one_line(called("verify", "--model", str(tmp_path)), "config.json")
    assert_one_line(called("verify", "--model", str(tmp_path / "missing")), "missing")
    assert_one_line(
        called("demo", "--model", str(tmp_path / "missing"), "--out", str(tmp_path / "out")),
        "missing",
    )
    assert not (tmp_path / "out" / "index.html").exists()


def test_bad_requests_of_a_model(called, monkeypatch, shared_model, rewards_module):
    ask = ("verify", "--model", shared_model)
    assert_one_line(called(*ask, "--top-k", "100000", "--horizon", "1"), "top_k")
    assert_one_line(called(*ask, "--top-k", "64", "--horizon", "12"), "limit")
    assert_one_line(called(*ask, "--top-k", "0"), "top_k")
    assert_one_line(called(*ask, "--horizon", "0"), "horizon")
    assert_one_line(called(*ask, "--reward", "sentimental"), "sentiment")
    assert_one_line(called(*ask, "--reward", "no_such_module:f"), "no_such_module")
    assert_one_line(called(*ask, "--env", "RandomTree"), "exclude")
    monkeypatch.syspath_prepend(rewards_module)
    nan = called(*ask, "--horizon", "2", "--reward", "my_rewards:nan")
    assert_one_line(nan, "nan", "finite")
    boom = called(*ask, "--horizon", "2", "--reward", "my_rewards:boom")
    assert_one_line(boom, "my_rewards:boom raised AttributeError")


def test_a_reward_of_ones_own(called, monkeypatch, shared_model, rewards_module):
    monkeypatch.syspath_prepend(rewards_module)
    result = called(
        "verify", "--model", shared_model, "--horizon", "3", "--alpha", "0.5", "--group-size", "2",
        "--reward", "my_rewards:length", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["results"][0]["sequences"] == 64


@pytest.mark.slow
def test_verify_json_meets_its_contract():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = gnivo("verify", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["passed"] is True
    combinations = {
        (r["target"], r["alpha"], r["constant_shift"]["group_size"]) for r in report["results"]
    }
    assert combinations == {
        (env, alpha, k)
        for env in tasks.environments()
        for alpha in (0.1, 0.5, 1.0)
        for k in (2, 3, 4)
    }
    assert len(tasks.environments()) == 7
    bites = {"softmax_weights": set(), "off_policy_samples": set()}
    for r in report["results"]:
        assert r["passed"] is True
        assert r["soft_value_theorem"]["max_abs_error"] <= 1e-10
        assert r["constant_shift"]["spread"] <= 1e-6
        assert r["constant_shift"]["gradient_norm_at_shifted_optimum"] <= 1e-10
        assert set(r["controls"]) | set(r["not_applicable"]) == set(bites)
        for name, control in r["controls"].items():
            assert control["violation"] > 1e-4
            bites[name].add(r["target"])
    assert all(len(targets) >= 4 for targets in bites.values())
    # Work, not the clock: processor seconds of this command, whatever else the machine does.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60


def test_a_check_that_does_not_hold_exits_1(called, monkeypatch):
    broken = exact.solve
    monkeypatch.setattr(
        "gnivo_edu.exact.theorems.solve", lambda tree, alpha: broken(tree, 1.01 * alpha)
    )
    result = called("verify", "--env", "RandomTree", "--alpha", "0.5")
    assert result.returncode == 1
    assert "NO" in result.stdout


@pytest.mark.slow
def test_verify_prints_a_table_that_fits():
    result = gnivo(
        "verify", "--env", "ArithmeticChain", "--alpha", "0.1", "--group-size", "2", COLUMNS="80"
    )
    assert result.returncode == 0
    assert "2,801" in result.stdout
    assert "…" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 82


@pytest.mark.slow
def test_help_doctor_lab_and_bench():
    shown = gnivo("--help")
    assert shown.returncode == 0
    assert all(
        word in shown.stdout
        for word in ("Learn", "Verify", "Maintain", "demo", "lab", "verify", "doctor")
    )
    assert gnivo().returncode == 0
    report = json.loads(gnivo("doctor", "--json").stdout)
    assert report["passed"] is True
    assert "numpy" in {row["what"] for row in report["findings"]}
    lab = gnivo("lab", "--dry-run", "--no-browser", "--port", "8899")
    assert lab.returncode == 0
    assert f"lab {ROOT / 'notebooks'} --no-browser --port=8899" in lab.stdout
    assert gnivo("lab", "--dry-run", "--port", "0").returncode == 2


def test_jupyter_starts_as_root_and_at_a_port_of_ones_choice(called, monkeypatch):
    for user in (0, 1000):
        monkeypatch.setattr("os.geteuid", lambda user=user: user, raising=False)
        assert ("--allow-root" in called("lab", "--dry-run").stdout) == (user == 0)
    if shutil.which("make"):
        for port, option in (("8899", " lab --port 8899"), ("", " lab")):
            command = ["make", "-n", "--no-print-directory", "lab", f"PORT={port}"]
            recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            assert recipe.stdout.rstrip().endswith(option)


def test_the_ground_floor_imports_no_torch():
    code = (
        "import sys, toy_envs, gnivo_edu.exact, gnivo_edu.figures, gnivo_edu.course.check, "
        "gnivo_edu.verify\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'jupyter_core', 'seaborn', 'pandas'} & "
        "set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_help_imports_nothing_heavy():
    code = (
        "import sys, gnivo_edu.cli\n"
        "heavy = {'numpy', 'torch', 'gymnasium', 'matplotlib', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_the_atlas_prints_one_object_or_a_table_and_exits_1_if_theory_is_wrong(called, monkeypatch):
    from dataclasses import replace

    from gnivo_edu.population.atlas import baselines

    result = called("atlas", "--only", "sft_winning", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["passed"] is True
    assert {row["verdict"] for row in report["rows"]} == {"other optimum", "collapses"}
    table = called("atlas", "--only", "sft_winning").stdout
    assert "best of K" in table
    assert "3 rows; all agree with theory." in table

    wrong = [
        replace(row, expected="exact") for row in baselines.ROWS if row.objective == "sft_winning"
    ]
    monkeypatch.setattr(baselines, "ROWS", wrong)
    result = called("atlas", "--only", "sft_winning")
    assert result.returncode == 1
    assert "disagrees: sft_winning, best of K" in result.stdout
    assert_one_line(called("atlas", "--only", "grop"), "did you mean 'grpo'")


def test_claims_prints_a_page_or_one_object(called):
    report = json.loads(called("claims", "--only", "gvpo-unbiased", "--json").stdout)
    assert report["claims"][0]["verdict"] == "holds"
    pages = [called("claims", "--only", name) for name in ("index", "first-drop")]
    assert [page.returncode for page in pages] == [0, 0]
    # A narrow terminal breaks the lines of the page elsewhere, but loses no word.
    index, drop = (" ".join(page.stdout.split()) for page in pages)
    assert all(word in index for word in ("counterfactual:", "runs from", "identity"))
    assert all(word in drop for word in ("only if", "alpha 10: nats 0", "measurement"))
    assert_one_line(called("claims", "--only", "gvpo-unbiasd"), "did you mean 'gvpo-unbiased'")


@pytest.mark.slow
def test_judge_prints_a_card_and_exits_1_unless_everything_holds(called, tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "def reinforce(batch, alpha=0.1):\n"
        "    logp = batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)\n"
        "    return batch.group_mean(-(batch.rewards * logp).mean(1))\n\n\n"
        "def milder(batch, alpha=0.1):\n"
        "    left = batch.rewards - 2 * alpha * batch.sequence_logratio\n"
        "    return batch.group_mean(left.var(1))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    greedy = called("judge", "my_losses:reinforce")
    assert "my_losses:reinforce, alpha = 0.5: optimises E[R]" in greedy.stdout
    card = called("judge", "my_losses:milder")
    assert card.returncode == 1, card.stderr
    assert "my_losses:milder, alpha = 0.5: other optimum" in card.stdout
    assert "The smallest counterexample" in card.stdout
    report = json.loads(called("judge", "gvpo", "--alpha", "0.4", "--json").stdout)
    assert report["passed"] is True
    assert_one_line(called("judge", "my_losses:reinforse"), "reinforse")
    assert_one_line(called("judge", "gvpo", "--set", "alpha"), "key=value")
    assert_one_line(called("judge", "gvpo", "--set", "alpah=1"), "did you mean 'alpha'")
    assert_one_line(called("judge", "gvpo", "--set", "alpha=1"), "give --alpha")


def test_an_empty_path_is_no_folder_to_compare(called):
    assert_one_line(called("evaluate", "--compare", "", ""), "empty")


def test_train_evaluate_and_compare_from_the_command_line(called, tmp_path):
    run = tmp_path / "run"
    tiny = [
        "--set",
        "model=table",
        "--set",
        "task=toy_envs/Brackets-v0",
        "--set",
        "steps=3",
        "--set",
        f"out={run}",
    ]
    report = json.loads(called("train", *tiny, "--json").stdout)
    assert report["summary"]["steps"] == 3
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    assert_one_line(called("train", *tiny), "holds a run", "--resume")
    again = json.loads(called("train", *tiny, "--resume", "--json").stdout)
    rewards = [name for name in report["summary"] if name.startswith("reward")]
    assert len(rewards) == 2
    assert all(
        again["summary"][name] == report["summary"][name] > 0 for name in rewards
    )  # of the whole run
    assert_one_line(
        called("evaluate", "--model", run, "--task", "arithmetic"),
        f"did you mean '{run / 'model'}'",
    )
    assert_one_line(
        called("evaluate", "--model", "PATH_OR_HUB_ID", "--task", "stories"), "stands for a model"
    )
    assert_one_line(called("train", "--set", "lerning_rate=1"), "did you mean 'learning_rate'")

    common = ["--task", "arithmetic", "--problems", "4", "--samples", "3", "--json"]
    for name, seed in (("one", "0"), ("two", "1")):
        found = called(
            "evaluate", "--model", "shipped", *common, "--seed", seed, "--out", tmp_path / name
        )
        assert {"pass@1", "pass@3", "interval@1", "truncated"} <= json.loads(found.stdout).keys()
    both = called("evaluate", "--compare", tmp_path / "one", tmp_path / "two")
    assert both.returncode == 0, both.stderr
    assert_one_line(called("evaluate", "--model", "shipped"), "--task")
    assert_one_line(called("verify", "--policy", "transformer"), "small-transformer")


def test_results_of_two_models_come_out_as_a_table(called, tmp_path, monkeypatch):
    for name, seed in (("one", 0), ("two", 1)):
        asked = [
            "--task",
            "toy_envs/Brackets-v0",
            "--samples",
            3,
            "--seed",
            seed,
            "--out",
            tmp_path / name,
        ]
        assert called("evaluate", "--model", "table", *asked).returncode == 0
        for file in ("settings.json", "report.json"):  # two models, as it were
            path = tmp_path / name / file
            path.write_text(path.read_text().replace('"table"', f'"{name}"'))
    both = ["--table", tmp_path / "one", "--table", tmp_path / "two"]
    report = json.loads(called("evaluate", *both, "--json").stdout)
    assert [row["model"] for row in report["rows"]] == ["one", "two"]
    assert list(report["rows"][0])[1:] == [
        "toy_envs/Brackets-v0 pass@1",
        "toy_envs/Brackets-v0 pass@3",
    ]
    assert (
        report["results"][1]["pass@3"]
        == json.loads((tmp_path / "two" / "report.json").read_text())["pass@3"]
    )
    assert list(json.loads(called("evaluate", *both, "--k", 2, "--json").stdout)["rows"][0])[
        1:
    ] == ["toy_envs/Brackets-v0 pass@2"]
    monkeypatch.setenv("COLUMNS", "80")
    shown = called("evaluate", *both).stdout
    assert all(word in shown for word in ("pass@1", "pass@3", "one", "two"))
    assert_one_line(called("evaluate", *both, "--model", "table"), "--table reads results")
    assert_one_line(called("evaluate", *both, *both), "two results")
    assert_one_line(called("evaluate", "--table", tmp_path / "none"), "no finished evaluation")


def test_a_result_that_is_broken_is_named(called, tmp_path):
    asked = [
        "--model",
        "table",
        "--task",
        "toy_envs/Brackets-v0",
        "--samples",
        3,
        "--out",
        tmp_path / "one",
    ]
    assert called("evaluate", *asked).returncode == 0
    (tmp_path / "one" / "completions.jsonl").write_text("")
    again = ["--compare", tmp_path / "one", tmp_path / "one"]
    assert_one_line(
        called("evaluate", *again), "completions are missing", "0 problems", "report is of 1"
    )
    (tmp_path / "one" / "settings.json").write_text('{"a":')
    for arguments in (again, asked):
        assert_one_line(called("evaluate", *arguments), "settings.json' is broken")


def test_a_task_option_that_does_not_fit_is_one_line(called):
    ask = ("evaluate", "--model", "shipped", "--task", "arithmetic")
    assert_one_line(called(*ask, "--set", "tiers=2"), "tiers")
    assert_one_line(called(*ask, "--set", "tires=[2]"), "did you mean 'tiers'")


@pytest.mark.slow
def test_pretrain_refuses_before_it_trains(called, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.nn.functional.cross_entropy", None)  # the first step would fail
    (tmp_path / "file").write_text("kept")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text("kept")
    new = tmp_path / "new"
    assert_one_line(called("pretrain", "--wrong-rate", "2", "--out", new), "wrong_rate", "0..1")
    assert_one_line(called("pretrain", "--out", tmp_path / "file"), "cannot hold a model")
    assert_one_line(called("pretrain", "--out", tmp_path / "file" / "below"), "cannot hold a model")
    assert_one_line(
        called("pretrain", "--out", tmp_path / "old"), "holds a model: choose another folder"
    )
    for name in ("toy_envs/RandomTree-v0", "gsm8k", "nonsense"):
        assert_one_line(
            called("pretrain", "--task", name, "--out", new),
            name,
            "arithmetic, toy_envs/ArithmeticChain-v0",
        )
    chain = ("pretrain", "--task", "toy_envs/ArithmeticChain-v0", "--out", new)
    assert_one_line(called(*chain, "--set", "operation=1"), "operation")
    assert_one_line(called(*chain, "--tier", "2"), "--tier is for arithmetic")
    assert_one_line(called("pretrain", "--set", "split=test", "--out", new), "--tier")
    assert not new.exists()


def test_pretrain_on_a_toy_environment(called, tmp_path):
    chain = [
        "--task",
        "toy_envs/ArithmeticChain-v0",
        "--set",
        "operations=1",
        "--steps",
        2,
        "--size",
        "tiny",
    ]
    recipe = json.loads(called("pretrain", *chain, "--out", tmp_path / "base", "--json").stdout)
    assert (recipe["task"], recipe["task_options"]) == (
        "toy_envs/ArithmeticChain-v0",
        {"operations": 1},
    )
    assert recipe["right_answers"].keys() == {"sampled", "sampled_error", "greedy"}
    assert json.loads((tmp_path / "base" / "recipe.json").read_text()) == recipe
    assert_one_line(called("pretrain", *chain, "--out", tmp_path / "base"), "holds a model")
    task = chain[:4]
    found = called("evaluate", "--model", tmp_path / "base", *task, "--samples", 3, "--json")
    assert json.loads(found.stdout)["problems"] == 4


@pytest.mark.slow
def test_explore_takes_task_options_and_says_where_its_json_is_explained(called, tmp_path):
    few = ["--group-size", 2, "--continuations", 2, "--out", tmp_path, "--json"]
    report = json.loads(
        called(
            "explore",
            "--model",
            "shipped",
            "--task",
            "arithmetic",
            "--set",
            "tiers=[3]",
            "--set",
            "split=test",
            *few,
        ).stdout
    )
    assert report["schema"] == "gnivo_edu.step_values/1"
    assert report["prompt"].count("+") + report["prompt"].count("-") == 3
    shown = " ".join(called("explore", "--help").stdout.replace("│", " ").split())
    assert "gnivo_edu.step_values/1" in shown
    assert "python -m pydoc gnivo_edu.evaluation.step_values.record.StepValues.to_json" in shown
    ask = ("explore", "--model", "shipped")
    assert_one_line(called(*ask, "--set", "tiers=[3]"), "give --task")
    assert_one_line(
        called(*ask, "--task", "arithmetic", "--set", "tires=[3]"), "did you mean 'tiers'"
    )
    assert_one_line(called(*ask, "--task", "toy_envs/Brackets-v0", "--set", "length=3"), "length")


def test_every_command_takes_an_environment_of_ones_own(called, tmp_path, monkeypatch):
    (tmp_path / "module_at_hand.py").write_text(
        "import gymnasium\n"
        "import numpy as np\n"
        "from toy_envs import TokenMDP\n\n\n"
        "class Mine(TokenMDP):\n"
        "    def __init__(self, horizon=2, render_mode=None):\n"
        "        super().__init__(2, horizon, lambda tokens, lengths: (tokens == 1).mean(1))\n\n"
        "    def demonstration(self, prompt_index):\n"
        "        return np.ones(self.horizon, dtype=int)\n\n\n"
        "gymnasium.register('Mine-v0', entry_point=Mine)\n"
    )
    monkeypatch.chdir(tmp_path)
    mine = "module_at_hand:Mine-v0"

    def report(*arguments):
        printed = called(*arguments, "--json")
        assert printed.returncode == 0, printed.stderr
        return json.loads(printed.stdout)

    asked = ("--task", mine, "--set", "horizon=3", "--samples", 3)
    assert report("evaluate", "--model", "table", *asked)["task"] == mine
    settings = ("model=table", f"task={mine}", "steps=2", "out=run", "report_questions=0")
    trained = report("train", *(x for setting in settings for x in ("--set", setting)))
    assert trained["config"]["task"] == mine
    few = ("--alpha", 0.5, "--group-size", 2)
    assert report("verify", "--env", mine, *few)["results"][0]["target"] == "Mine-v0"
    recipe = report("pretrain", "--task", mine, "--steps", 1, "--size", "tiny", "--out", "base")
    assert recipe["task"] == mine
    look = ("--group-size", 2, "--continuations", 2, "--out", "page")
    explored = report("explore", "--model", "base", "--task", mine, *look)
    assert explored["schema"] == "gnivo_edu.step_values/1"
    assert_one_line(called("evaluate", "--model", "table", "--task", mine[:-1] + "1"), "Mine")


RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_starts_with_its_command_and_marks_every_line(path):
    import re
    import shlex

    from typer.main import get_command

    from gnivo_edu.training.config import load_config

    lines = path.read_text(encoding="utf-8").splitlines()
    header = [line for line in lines if line.startswith("#")]
    commands = [line.removeprefix("# ") for line in header if line.startswith("# gnivo-edu ")]
    assert len(commands) == 1
    name, *arguments = shlex.split(commands[0])[1:]
    asked = get_command(cli.app).commands[name].make_context(name, arguments).params
    assert (name, ROOT / asked["config"]) == ("train", path)
    assert load_config(path, asked["set_"] or []).out.startswith("runs/")
    unmarked = [
        line
        for line in lines
        if line not in header and not re.search(r" # (published|our choice)", line)
    ]
    assert unmarked == []


def test_the_learning_rate_of_a_recipe_is_the_best_of_its_search():
    from gnivo_edu.objectives import published

    folder = ROOT / "recipes" / "arithmetic"
    searches = json.loads((folder / "rates.json").read_text(encoding="utf-8"))
    assert {*searches} == {name for name in published.names() if name != "group_value"}
    assert len({tuple(search) for search in searches.values()}) == 1  # one grid for each
    chosen = {name: search.pop("chosen") for name, search in searches.items()}
    for name, search in searches.items():
        assert f"{chosen[name]:g}" in {f"{float(rate):g}" for rate in search}
        best = max(search, key=lambda rate: search[rate])
        assert float(best) == chosen[name]
    for path in folder.glob("*.yaml"):
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert recipe["learning_rate"] == chosen[recipe["setting"]], path.name


def test_the_paper_s_experiments_are_among_the_recipes():
    models = {
        line
        for path in RECIPES
        for line in path.read_text().splitlines()
        if line.startswith("model:")
    }
    assert all(
        any(name in line for line in models)
        for name in ("Math-7B", "3.1-8B-Instruct", "3.2-3B-Instruct")
    )
