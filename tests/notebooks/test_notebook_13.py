"""Notebook 13: its equations, each under its number and by other means, and what its prose says."""

import ast
import functools
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import toy_envs
from gnivo_edu import exact, objectives, policies, tasks, training
from gnivo_edu.course import check
from gnivo_edu.course.exercises.two_pass_gradient import network
from tests.notebooks.notebook import ROOT, Notebook

BOOK = Notebook("13_same_code_on_a_gpu")
STORIES = Path(os.environ.get("GNIVO_SHARED", ROOT.parent / "shared")) / "models" / "stories260k"
CONSTANTS = {
    "alpha",
    "rounds",
    "SHARED",
    "configs",
    "TABLE",
    "SUMS",
    "EXAM",
    "BIG",
    "HUB",
    "KINDS",
    "SCHOOL",
}
CONSTANTS |= {"device", "hub_model", "chain", "long"}


def ladder():
    """The text of the signature figure, by rung: lines of (what, numbers)."""
    whole = next(
        text for text in re.split(r"(?m)^rung +what +numbers$", BOOK.printed) if "5 SmolLM2" in text
    )
    parts = re.split(r"(?m)^([1-5] [a-zA-Z0-9 -]+?)(?=  )", whole)[1:]
    return {name: parts[i + 1] for i, name in list(enumerate(parts))[::2]}


def credits(text, what):
    line = re.search(rf"{what} +(.*)$", text, re.MULTILINE)[1]
    return [float(x.replace("−", "-")) for x in re.findall(r"[+−]?\d\.\d\d", line)]


def test_its_outputs_name_no_machine_and_no_time():
    assert "device: cpu" in BOOK.printed
    assert not re.search(r"tokens a second|/tmp|\d s\b|seconds", BOOK.printed)


# --- the equations --------------------------------------------------------------------------------


def test_equation_13_1():
    """The bytes of logits are those of tensors, and the last rung's are those of its recipe."""
    for dtype in (torch.float32, torch.bfloat16):
        logits = torch.zeros(5, 7, 11, dtype=dtype)
        assert 5 * 7 * 11 * logits.itemsize * 2 == logits.nbytes + torch.zeros_like(logits).nbytes
    recipe = yaml.safe_load(
        (ROOT / "recipes" / "gsm8k_qwen2.5_0.5b.yaml").read_text(encoding="utf-8")
    )
    assert (recipe["prompts_per_step"], recipe["group_size"]) == (32, 8)
    assert recipe["task_options"] == {"split": "train"}, "the horizon is the default, 512"
    said = float(re.search(r"logits (\S+) GiB", BOOK.printed)[1])
    assert said == pytest.approx(256 * 512 * 151_936 * 4 / 2**30, abs=0.05)
    rows = [int(n) for n in re.findall(r"GiB for logits: +(\d+) of 256", BOOK.printed)]
    assert rows == [check.rows_that_fit.reference(gib, 512, 151_936, 4, 3) for gib in (8, 24, 80)]
    assert rows[1] >= recipe["micro_batch"], "the recipe's micro-batch fits a GPU of 24 GiB"


@pytest.fixture(scope="module")
def sums():
    return tasks.get("arithmetic", tiers=(4,), num_prompts=8, split="test")


def test_equation_13_2(sums):
    """In float32: what is measured against the sampler is the log-ratio of float64 and the sum of
    the deltas.
    """

    def scored(scale, dtype, rows):
        policy = policies.load_checkpoint(dtype=dtype)
        with torch.no_grad():
            policy.lm_head.weight.mul_(scale)
            return policies.score_rows(policy, sums, *rows)["policy_logps"].double()

    old = policies.load_checkpoint(dtype=torch.float32)
    drawn = policies.sample_completions(old, sums, 4, range(8), seed=2)
    rows = (
        drawn.tokens.flatten(0, 1),
        drawn.lengths.flatten(),
        drawn.prompt_index.repeat_interleave(4),
    )
    sampled = (drawn.logps.double() * drawn.mask).flatten(0, 1)
    measured = (scored(1.1, torch.float32, rows) - sampled).cumsum(1)
    true = (scored(1.1, torch.float64, rows) - scored(1.0, torch.float64, rows)).cumsum(1)
    delta = (scored(1.0, torch.float32, rows) - sampled).cumsum(1)
    assert 1e-8 < float(delta.abs().max()) < 1e-3
    assert float(true.abs().max()) > 0.01
    torch.testing.assert_close(measured, true + delta, atol=1e-4, rtol=0)


def test_equation_13_3(sums):
    """c_i by the formula, pushed through a transformer row by row, is the gradient of the library's
    loss.
    """
    model, alpha = policies.load_checkpoint(dtype=torch.float64), 0.5
    drawn = policies.sample_completions(model, sums, 8, [0], seed=1)
    with torch.no_grad():
        model.lm_head.weight.mul_(1.2)
    batch = policies.make_group_batch(model, sums, drawn)
    objectives.gnivo(batch, alpha=alpha, prefixes="last").loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert expected.norm() > 0.1
    model.zero_grad()
    rho = batch.sequence_logratio[0].detach()
    w = (batch.rewards[0] / alpha).exp()
    c = w.sum() * rho.softmax(0) - w
    score, _ = policies.two_pass_scorers(model, sums, drawn, fields=("policy_logps",))
    for row in range(8):
        (c[row] * score(torch.tensor([row]))["policy_logps"].sum()).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert float((gradient - expected).norm() / expected.norm()) < 1e-12


# --- what the prose says --------------------------------------------------------------------------


def test_the_bill_counts_the_models_that_are_run():
    source = "\n".join("".join(cell["source"]) for cell in BOOK.cells)
    problem, chain = toy_envs.PosterProblem(), tasks.get("arithmetic", tiers=(2,), num_prompts=1)
    table = policies.TabularLM.from_mdp(problem)
    counts = [sum(p.numel() for p in m.parameters()) for m in (table, policies.load_checkpoint())]
    counts += [policies.small_transformer(chain, "large").num_parameters()]
    for count in counts:
        assert f"({count:_}, " in source
        if count < 1e6:
            assert f"{count:,} parameters" in BOOK.printed
    assert (chain.horizon, chain.vocab_size) == (6, 15)
    assert f"{sum(3**t * 3 for t in range(6)):,} parameters" in ladder()["2 a pruned tree"]
    assert counts[2] == pytest.approx(90 * counts[1], rel=0.02), "ninety times the weights"


def test_the_first_rung_has_the_exact_numbers_beside_it():
    text, key = (
        ladder()["1 a table"],
        exact.solve(exact.enumerate_tree(toy_envs.PosterProblem()), 0.5),
    )
    words = re.search(r"credits of an answer +(.*)$", text, re.MULTILINE)[1]
    answer = [0 if word == "right" else 1 for word in re.findall("right|wrong", words)]
    assert credits(text, "credits of an answer.*\n +the same, exact") == pytest.approx(
        key.step_credit(answer), abs=0.006
    )
    assert credits(text, "credits of an answer") == pytest.approx(key.step_credit(answer), abs=0.3)
    R, law = key.tree.rewards, np.exp(key.tree.prefix_logps[-1])
    tilts = [law * np.exp(n * R / 2) for n in range(5)]
    said = [
        float(x) for x in re.search(r"the same, exact +(0[\d. ]+)$", text, re.MULTILINE)[1].split()
    ]
    assert said == pytest.approx([tilt @ R / tilt.sum() for tilt in tilts], abs=6e-4)
    drawn = [
        float(x) for x in re.search(r"reward, by round +(0[\d. ]+)$", text, re.MULTILINE)[1].split()
    ]
    assert drawn == pytest.approx(said, abs=0.05)


def test_the_second_slip_is_blamed_by_the_transformer_and_by_nothing_exact():
    tree, tiny = ladder()["2 a pruned tree"], ladder()["3 a tiny transformer"]
    letters = [re.findall(r"(\S) [▲▼·]", text) for text in (tree, tiny)]
    assert letters[0] == letters[1] == list("54;54."), "the very same answer"
    question = tasks.get("arithmetic", tiers=(2,), num_prompts=1, split="test")
    assert (question.question(0), question.totals(0), question.carries(0)) == (
        "59+5-8=",
        [59, 64, 56],
        [True, True],
    )
    assert question._wrong(59, 5) == question._wrong(54, -8) == 54, (
        "a carry dropped, then 8 - 4 for 4 - 8"
    )
    known = credits(tree, "credits of an answer.*\n +the same, exact")
    learned, guessed = (credits(text, "credits of an answer") for text in (tree, tiny))
    assert max(known[0], learned[0], guessed[0]) < -0.5
    assert np.abs(known[1:]).max() < 0.01, "the second slip costs nothing"
    assert np.abs(learned[1:]).max() < 0.05
    assert guessed[3] < -0.3, "and the transformer blames it"
    names = definitions()
    task = names["chain"]
    model = policies.load_checkpoint(dtype=torch.float64)
    mdp, tables = policies.tree_from_model(
        model, task.tokenizer, task.question(0), 3, 6, names["ends_right"]
    )
    key = exact.solve(exact.enumerate_tree(mdp, tables), 0.5)
    first = [mdp.pieces((rank,))[0] for rank in range(3)].index("5")
    assert key.success_probability((first,)) < 0.01, (
        "after the first slip next to nothing could be saved"
    )
    assert key.success_probability(()) > 0.2


def test_the_gain_of_the_transformer_is_clear_of_zero():
    low, high = map(
        float, re.search(r"gain (\S+) to (\S+)\)", ladder()["3 a tiny transformer"]).groups()
    )
    assert 0 < low < high


def test_the_longer_run_is_that_of_the_committed_table():
    row = next(
        line
        for line in (ROOT / "recipes/arithmetic/results.md").read_text("utf-8").splitlines()
        if line.startswith("| `gnivo` |")
    )
    before, after, gain, low, high = map(float, re.findall(r"[+-]?\d\.\d+", row)[1:6])
    assert after - before == pytest.approx(gain, abs=2e-3)
    said = f"steps: {before:.2f} → {after:.2f} (gain {low:+.2f} to {high:+.2f})"
    assert said in ladder()["3 a tiny transformer"]


def test_a_rung_that_was_not_run_says_how_and_the_last_one_is_that_of_the_files():
    text = ladder()
    assert "needs a GPU" in text["4 a 30M-parameter model"]
    rung = text["5 SmolLM2 on sums in words"]
    told, values = (
        json.loads((ROOT / "recipes" / "sums" / name).read_text(encoding="utf-8"))
        for name in ("results.json", "step_values.json")
    )
    gain = told["runs"]["gnivo"]["change"]
    assert f"(gain {gain['low']:+.2f} to {gain['high']:+.2f})" in rung
    learned, tried = credits(rung, "credits of an answer"), credits(rung, "the same, tries")
    rows = [one["implicit"]["gnivo"] for one in values["answers"] if one["reward"] == 0]
    assert any(len(row) == 3 and np.abs(np.subtract(row, learned)).max() < 0.006 for row in rows)
    assert np.argmin(tried) == 1
    assert tried[1] < -3


@pytest.mark.slow
def test_float32_drifts_by_millionths_and_bf16_by_a_tenth_of_a_credit():
    drifts = dict(
        re.findall(
            r"^(\w+) +sampled against scored: \|rho_T\| < (\S+) nats", BOOK.printed, re.MULTILINE
        )
    )
    assert drifts == {"float64": "1e-12", "float32": "0.0001", "bf16": "0.1"}
    assert re.findall(r"scored twice: (\S+)", BOOK.printed) == ["0", "0", "0"]
    names = definitions()
    ratio = {name: names["measured_ratios"](dtype)[0] for name, dtype in names["KINDS"].items()}
    last = {name: float(x[:, -1].abs().mean()) for name, x in ratio.items()}
    credit = np.abs(credits(ladder()["3 a tiny transformer"], "credits of an answer")).mean()
    assert 1e-6 < last["float32"] < 3e-5, "some millionths of a nat"
    assert 0.03 < last["bf16"] / credit < 0.4, "about a tenth"
    assert torch.finfo(torch.bfloat16).eps == 0.0078125, "after 1 comes 1.0078"


def test_pieces_of_groups_point_elsewhere():
    rows = re.findall(
        r"loss per micro-batch of +(\d+): (\S+) times as long, cosine (\S+)", BOOK.printed
    )
    sizes = {int(size): (float(length), float(cosine)) for size, length, cosine in rows}
    assert sizes[16] == sizes[8] == (1.0, 1.0)
    assert sizes[4][1] < 0.95 > sizes[2][1]
    assert sizes[2][0] < sizes[4][0] < 0.5
    score, pull = network(np.eye(4), np.zeros(4), 2)
    tied = check.two_pass_gradient.wrong_answers["softmax per micro-batch"](
        score, pull, np.array([1.0, 1.0, 0.0, 0.0]), 0.5, [np.array([0, 1]), np.array([2, 3])]
    )
    assert np.abs(tied).max() < 1e-12, "a piece whose answers all earn the same says nothing"


def test_what_differs_between_rungs_is_shown():
    for name in ("model", "task", "precision", "prompts_per_step", "inner_steps", "learning_rate"):
        assert re.search(rf"^{name} +.+( \| .+){{4}}$", BOOK.printed, re.MULTILINE), name
    assert not re.search(r"^(objective|group_size|steps|seed) +\S+ \|", BOOK.printed, re.MULTILINE)


# --- rungs 4 and 5, which this page could not run -------------------------------------------------


@functools.cache
def definitions():
    """The functions and settings of the notebook, without running its ladder."""
    space = {}
    for source in BOOK.code:
        for node in ast.parse(source).body:
            targets = [x for target in getattr(node, "targets", ()) for x in ast.walk(target)]
            constants = CONSTANTS & {x.id for x in targets if isinstance(x, ast.Name)}
            kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
            if constants or isinstance(node, kinds):
                exec(compile(ast.Module([node], []), source[:40], "exec"), space)
    return space


@pytest.mark.slow
def test_rung_4_goes_to_school_and_climbs_with_a_smaller_stand_in(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    names = definitions()
    school = names["SCHOOL"] | {"size": "tiny", "steps": 3, "batch_size": 4}
    small = {"prompts_per_step": 2, "inner_steps": 1, "micro_batch": 5}
    rung = names["big_rung"](school, **names["BIG"] | small)
    assert (rung.missing, len(rung.rewards)) == ("", 5)
    assert rung.facts[1] == "cpu, float32, drift < 0.0001"
    assert "gain" in rung.facts[3]


@pytest.mark.slow
def test_the_computation_in_bf16_runs_after_one_in_float64(monkeypatch):
    """One process may run several precisions: the ladder does."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    names = definitions()
    for precision in ("float64", "bf16"):
        small = {"prompts_per_step": 2, "inner_steps": 1, "learning_rate": 1e-5, "micro_batch": 5}
        rung = names["climb"](
            "it", names["EXAM"], model="shipped", precision=precision, **small, **names["SUMS"]
        )
        assert len(rung.rewards) == 5


@pytest.mark.slow
@pytest.mark.skipif(
    not STORIES.is_dir(), reason=f"no story model in {STORIES.parent.name}/{STORIES.name}"
)
def test_rung_5_climbs_with_a_small_story_model(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    names = definitions()
    small = {"task_options": {"horizon": 6}, "prompts_per_step": 2, "inner_steps": 1}
    rung = names["climb"]("it", model=str(STORIES), **names["HUB"] | small)
    assert (rung.missing, len(rung.rewards), len(rung.tokens)) == ("", 5, 6)
    assert len(rung.exact_credits) == 0


@pytest.mark.skipif(
    not STORIES.is_dir(), reason=f"no story model in {STORIES.parent.name}/{STORIES.name}"
)
def test_the_pruned_tree_is_that_of_the_model_where_one_is_given():
    model, words = policies.load_model(STORIES)
    names = definitions()
    tree, _ = policies.tree_from_model(
        model, words, names["OPENINGS"][0], 3, 6, reward=names["sentiment"]
    )
    key = names["answer_key"](policies.TabularLM.from_mdp(tree), tree)
    assert key.tree.num_sequences == 3**6
    assert len(names["exact_rewards"](key)) == 5
    assert (np.diff(names["exact_rewards"](key)) > 0).all()


def test_the_settings_of_rungs_4_and_5_are_those_of_a_run():
    names = definitions()
    for own in (names["BIG"], names["HUB"]):
        config = training.load_config(**names["SHARED"], **own)
        assert (config.objective, config.steps, config.group_size) == ("gnivo", 4, 8)
    recipe = yaml.safe_load((ROOT / "recipes" / "stories_cpu.yaml").read_text(encoding="utf-8"))
    assert recipe["learning_rate"] >= 10 * names["HUB"]["learning_rate"], "far larger"
