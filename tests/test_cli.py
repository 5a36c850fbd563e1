import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gnivo_edu import cli, exact, verify

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
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("gnivo-edu: ")
    for word in words:
        assert word in lines[0], lines[0]


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


def test_bad_input_is_one_line_and_exit_2(called, tmp_path):
    assert_one_line(gnivo("verify", "--alpha", "0"), "alpha", "positive")
    assert_one_line(called("verify", "--alpha", "-0.5"), "alpha", "positive")
    assert_one_line(called("verify", "--alpha", "nan"), "alpha", "positive")
    assert_one_line(called("verify", "--alpha", "much"), "alpha")
    assert_one_line(called("verify", "--group-size", "1"), "group")
    assert_one_line(called("verify", "--env", "RandomTre"), "did you mean 'RandomTree'")
    assert_one_line(called("verify", "--env", "toy_envs/Bracket-v0"), "Brackets")
    assert_one_line(called("verify", "--env", "ArithmeticChain", "--prompt-index", "99"), "prompt_index")
    assert_one_line(called("nonsense"), "nonsense")
    assert_one_line(
        called("verify", "--env", "Brackets", "--reward", "foo", "--top-k", "3"), "--top-k, --reward", "--model"
    )
    assert_one_line(called("bench", "nonsense"), "known: exact")
    occupied = tmp_path / "file"
    occupied.write_text("kept")
    assert_one_line(called("demo", "--out", str(occupied)), "file")
    assert occupied.read_text() == "kept"
    assert_one_line(called("demo", "--out", "/proc/nowhere/demo"), "/proc")


def test_a_path_that_is_not_a_model(called, tmp_path):
    (tmp_path / "notes.txt").write_text("not a model")
    assert_one_line(called("verify", "--model", str(tmp_path)), "config.json")
    assert_one_line(called("verify", "--model", str(tmp_path / "missing")), "missing")
    assert_one_line(called("demo", "--model", str(tmp_path / "missing"), "--out", str(tmp_path / "out")), "missing")
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


def test_verify_json_meets_its_contract():
    result = gnivo("verify", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["passed"] is True
    combinations = {(r["target"], r["alpha"], r["constant_shift"]["group_size"]) for r in report["results"]}
    assert combinations == {
        (env, alpha, k) for env in verify.environments() for alpha in (0.1, 0.5, 1.0) for k in (2, 3, 4)
    }
    assert len(verify.environments()) == 7
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
    assert sum(r["seconds"] for r in report["results"]) < 60


def test_a_check_that_does_not_hold_exits_1(called, monkeypatch):
    broken = exact.solve
    monkeypatch.setattr("gnivo_edu.exact.theorems.solve", lambda tree, alpha: broken(tree, 1.01 * alpha))
    result = called("verify", "--env", "RandomTree", "--alpha", "0.5")
    assert result.returncode == 1
    assert "NO" in result.stdout


def test_verify_prints_a_table_that_fits():
    result = gnivo("verify", "--env", "ArithmeticChain", "--alpha", "0.1", "--group-size", "2", COLUMNS="80")
    assert result.returncode == 0
    assert "2,801" in result.stdout
    assert "…" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 82


def test_help_doctor_lab_and_bench():
    shown = gnivo("--help")
    assert shown.returncode == 0
    assert all(word in shown.stdout for word in ("Learn", "Verify", "Maintain", "demo", "lab", "verify", "doctor"))
    assert gnivo().returncode == 0
    report = json.loads(gnivo("doctor", "--json").stdout)
    assert report["passed"] is True
    assert "numpy" in {row["what"] for row in report["findings"]}
    lab = gnivo("lab", "--dry-run")
    assert lab.returncode == 0
    assert str(ROOT / "notebooks") in lab.stdout


def test_the_ground_floor_imports_no_torch():
    code = (
        "import sys, toy_envs, gnivo_edu.exact, gnivo_edu.figures, gnivo_edu.course.check, gnivo_edu.verify\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'jupyter_core', 'seaborn', 'pandas'} & set(sys.modules)\n"
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


def test_the_atlas_prints_one_object_or_a_table_and_exits_1_if_theory_is_wrong(called, monkeypatch):
    from dataclasses import replace

    from gnivo_edu.population import rows_baselines

    result = called("atlas", "--only", "sft_winning", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["passed"] is True
    assert {row["verdict"] for row in report["rows"]} == {"other optimum", "collapses"}
    table = called("atlas", "--only", "sft_winning").stdout
    assert "best of K" in table
    assert "3 rows; all agree with theory." in table

    wrong = [replace(row, expected="exact") for row in rows_baselines.ROWS if row.objective == "sft_winning"]
    monkeypatch.setattr(rows_baselines, "ROWS", wrong)
    result = called("atlas", "--only", "sft_winning")
    assert result.returncode == 1
    assert "disagrees: sft_winning, best of K" in result.stdout
    assert_one_line(called("atlas", "--only", "grop"), "did you mean 'grpo'")


def test_claims_prints_a_page_or_one_object(called):
    report = json.loads(called("claims", "--only", "gvpo-unbiased", "--json").stdout)
    assert report["claims"][0]["verdict"] == "holds"
    page = called("claims", "--only", "index")
    assert page.returncode == 0
    assert "only if j = 0 is meant" in page.stdout
    assert_one_line(called("claims", "--only", "gvpo-unbiasd"), "did you mean 'gvpo-unbiased'")


def test_judge_prints_a_card_and_exits_1_unless_everything_holds(called, tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "def reinforce(batch, alpha=0.1):\n"
        "    logp = batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)\n"
        "    return batch.group_mean(-(batch.rewards * logp).mean(1))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    card = called("judge", "my_losses:reinforce")
    assert card.returncode == 1, card.stderr
    assert "my_losses:reinforce, alpha = 0.5: other optimum" in card.stdout  # pi_ref R, on samples of pi_ref
    assert "The smallest counterexample" in card.stdout
    report = json.loads(called("judge", "gvpo", "--alpha", "0.4", "--json").stdout)
    assert report["passed"] is True
    assert_one_line(called("judge", "my_losses:reinforse"), "reinforse")
    assert_one_line(called("judge", "gvpo", "--set", "alpha"), "key=value")


def test_train_evaluate_and_compare_from_the_command_line(called, tmp_path):
    run = tmp_path / "run"
    tiny = ["--set", "model=table", "--set", "task=toy_envs/Brackets-v0", "--set", "steps=3", "--set", f"out={run}"]
    report = json.loads(called("train", *tiny, "--json").stdout)
    assert report["summary"]["steps"] == 3
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    assert_one_line(called("train", *tiny), "holds a run", "--resume")
    assert called("train", *tiny, "--resume").returncode == 0
    assert_one_line(called("train", "--set", "lerning_rate=1"), "did you mean 'learning_rate'")

    common = ["--task", "arithmetic", "--problems", "4", "--samples", "3", "--json"]
    for name, seed in (("one", "0"), ("two", "1")):
        found = called("evaluate", "--model", "shipped", *common, "--seed", seed, "--out", tmp_path / name)
        assert {"pass@1", "pass@3", "interval@1", "truncated"} <= json.loads(found.stdout).keys()
    both = called("evaluate", "--compare", tmp_path / "one", tmp_path / "two")
    assert both.returncode == 0, both.stderr
    assert_one_line(called("evaluate", "--model", "shipped"), "--task")
    assert_one_line(called("verify", "--policy", "transformer"), "small-transformer")


def test_every_recipe_is_a_configuration():
    from gnivo_edu.training.config import load_config

    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    assert len(recipes) >= 6
    for path in recipes:
        assert load_config(path).out.startswith("runs/"), path.name
