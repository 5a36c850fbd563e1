"""What the page of a run says, without a browser: where a reward began to be fooled, and by which
tokens; formulas that give what the update took; what is on record and what is not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gnivo_edu import objectives
from gnivo_edu.objectives.formulas import SIGNAL, evaluate
from gnivo_edu.show import page_data, quantity, show
from gnivo_edu.show.formula import equation_of
from gnivo_edu.show.glance import glance_of, trouble_of
from gnivo_edu.show.history import history_of, onset
from gnivo_edu.show.read import read_run
from tests.show.planted import BEGINS, HOSTILE, write_run

pytest.importorskip("pyarrow", reason="needs pyarrow")
TRAINED = [name for name in objectives.names() if name not in ("group_value", "value_mse")]


def numbers_of(group, answer, t):
    """The named numbers of a token, as the page has them."""
    tokens = answer["tokens"]
    numbers = dict(group["numbers"]) | answer["numbers"]
    numbers |= {s: row[t] for s, row in tokens.items() if s not in numbers}
    numbers["old"] = tokens.get("old", tokens.get("logp"))[t]
    return {name: torch.tensor(x, dtype=torch.float64) for name, x in numbers.items()}


def test_the_page_says_when_the_reward_was_fooled_and_by_which_token(tmp_path):
    data = page_data(read_run(write_run(tmp_path / "run")))
    first, second, *_ = data["glance"]
    assert first["step"] == BEGINS
    assert f"began to rise for good at step {BEGINS}" in first["text"]
    assert "␣happy" in second["text"]
    assert second["step"] == BEGINS
    assert any(line.get("warning") for line in data["glance"])
    assert data["spread"][0]["token"] == "␣happy"
    assert data["spread"][0]["before"] == 0
    # The step before it and the step itself are there to look at.
    assert {BEGINS - 1, BEGINS} <= {group["step"] for group in data["groups"]}
    assert data["changes"]["after"] > data["changes"]["before"]


def token(name, step, after):
    return {"token": name, "before": 0.1, "after": after, "step": step, "rates": []}


def test_each_step_that_is_named_has_its_token_and_its_button(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    spread = [token("a", 4, 9.0), token("b", None, 8.0), token("c", 2, 7.0)]
    lines = [x for x in glance_of(run, history_of(run), spread) if "spread" in x["text"]]
    assert [line["step"] for line in lines] == [4, 2]
    assert "“a”, “c”" in lines[0]["text"]
    assert "from step 4 on" in lines[0]["text"]
    assert "“c”, for good from step 2 on" in lines[1]["text"]
    assert trouble_of(lines) == 2
    assert trouble_of([{"text": "", "step": 3}]) is None


def test_a_token_that_does_not_stay_is_said_to(tmp_path, monkeypatch):
    monkeypatch.setattr("gnivo_edu.show.spread_of", lambda history: [token("b", None, 8.0)])
    page = Path(show(write_run(tmp_path / "run"))["page"]).read_text(encoding="utf-8")
    assert "<td>not for good</td>" in page
    assert "Answers fill up" not in page


def test_a_page_opens_where_trouble_began_and_keeps_that_group(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run")
    data = page_data(read_run(run))
    assert data["groups"][data["first"]]["step"] == BEGINS
    assert data["title"] == "run · gnivo · what happened"
    monkeypatch.setattr("gnivo_edu.show.LARGEST", 1)
    assert show(run, step=11, question=1)["groups"] == 1
    island = (run / "show.html").read_text(encoding="utf-8").split('id="data">')[1]
    (group,) = json.loads(island.split("</script>")[0])["groups"]
    assert (group["step"], group["question"]) == (11, 1)


STEPS = {"level": "step", "kl_to_initial": 0.3, "kl_gradient": "answers", "reference": "initial"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in TRAINED if name != "gnivo"),
        ("gnivo", {"objective_options": {"prefixes": "given"}}),
        ("grpo", STEPS),
        ("gnivo", STEPS),
    ],
)
def test_the_formula_gives_what_the_update_took(name, settings, tmp_path):
    data = page_data(read_run(write_run(tmp_path / "run", name, steps=2, **settings)))
    assert data["equation"]
    formula = data["formulas"][0]
    assert ("price" in formula["words"]) == ("kl_to_initial" in settings)
    for group in data["groups"]:
        for answer in group["answers"]:
            for t in (0, len(answer["texts"]) - 1):
                known = numbers_of(group, answer, t)
                for line in formula["lines"]:
                    known[line["symbol"]] = evaluate(line["expression"], known)
                taken = answer["tokens"]["signal"][t]
                # The record keeps the signal in float32, as the network was given it.
                assert float(known[SIGNAL]) == pytest.approx(taken, rel=1e-6, abs=1e-9)


def test_every_quantity_is_on_one_scale_that_colours_no_rounding(tmp_path):
    data = page_data(read_run(write_run(tmp_path / "run", "ppo", steps=3)))
    scales = {q["key"]: q for q in data["quantities"]}
    assert set(scales) == {
        *("signal", "credit", "value", "advantage", "moved", "kl", "entropy", "critic"),
    }
    answer = data["groups"][0]["answers"][0]
    np.testing.assert_allclose(np.diff(quantity(answer, "value")), quantity(answer, "credit")[1:])
    assert all(q["scale"] >= 0.01 for q in data["quantities"] if q["unit"] == "nats")
    assert not scales["credit"]["flat"]


def test_the_group_that_is_asked_for_is_there_and_first(tmp_path):
    run = write_run(tmp_path / "run", steps=12, groups=8)
    data = page_data(read_run(run), step=7, question=5)
    group = data["groups"][data["first"]]
    assert (group["step"], group["question"]) == (7, 5)
    with pytest.raises(ValueError, match="step 12 is not on record, the nearest that is: 11"):
        show(run, step=12)
    with pytest.raises(ValueError, match="question 99 was not asked at step 3"):
        show(run, step=3, question=99)


def test_unipo_gets_its_schema(tmp_path):
    run = write_run(tmp_path / "run", "grpo", steps=3, groups=5)
    show(run, out=tmp_path / "page.html", unipo=tmp_path / "unipo.json")
    written = json.loads((tmp_path / "unipo.json").read_text())
    assert set(written["header"]) == {
        *("task", "dataset", "algorithm", "totalSteps", "model_name", "reference_model_name"),
        "hparams",
    }
    assert written["header"]["algorithm"] == "grpo"
    assert len(written["entries"]) == written["header"]["totalSteps"] == 3
    for entry in written["entries"]:
        assert entry["is_first_step_after_rollout_phase"] is True
        assert {"policy_objective", "reward"} <= set(entry["metrics"])
        assert len(entry["prompts"]) == 3
        for response in entry["prompts"][0]["responses"]:
            tokens = response["tokens"]
            assert set(tokens) == {
                *("ids", "strings", "log_probs", "ref_log_probs", "old_log_probs", "advantages"),
                *("values", "returns", "token_kl", "rewards", "token_objective"),
            }
            assert {len(x) for x in tokens.values()} == {response["response_length"]}
            assert sum(tokens["rewards"]) == pytest.approx(response["reward"])


def test_trls_log_is_read_with_what_it_has(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = {
        "step": [1, 1, 1, 1, 2, 2, 2, 2],
        "prompt": [[{"role": "user", "content": "a?"}]] * 2 + [[{"content": "b?"}]] * 2,
        "completion": ["one two", "two", "x", "y"],
        "format": [1.0, 0.0, None, 1.0],
        "accuracy": [0.5, 0.0, 1.0, 1.0],
        "advantage": [0.7, -0.7, 0.0, 0.0],
    }
    table = {name: column * (1 if len(column) == 8 else 2) for name, column in table.items()}
    pq.write_table(pa.table(table), tmp_path / "completions_00001.parquet")
    report = show(tmp_path / "completions_00001.parquet")
    assert report["page"].endswith("completions_00001.html")
    data = page_data(read_run(tmp_path))
    answer = data["groups"][0]["answers"][0]
    assert answer["texts"] == ["one", "␣two"]
    assert (answer["reward"], answer["parts"]) == (1.5, {"format": 1.0, "accuracy": 0.5})
    assert [q["key"] for q in data["quantities"]] == ["advantage"]
    assert data["groups"][0]["formula"] is None
    assert data["groups"][0]["prompt"] == ["a?"]


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_what_is_no_run_is_refused_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"holds neither a run|is no parquet file") as error:
        show(tmp_path)
    assert "\n" not in str(error.value)


def test_a_run_without_a_record_still_has_its_curves(tmp_path):
    run = write_run(tmp_path / "run")
    for part in (run / "completions").iterdir():
        part.unlink()
    data = page_data(read_run(run))
    assert [c["name"] for c in data["curves"]] == ["reward", "loss"]
    assert "No answers are on record" in data["glance"][-1]["text"]
    assert show(run)["groups"] == 0
    with pytest.raises(ValueError, match="no record of its answers"):
        show(run, step=3)


def test_an_onset_is_for_good():
    noise = np.random.default_rng(0).normal(size=60) / 20
    ramp = np.clip((np.arange(60) - 20) / 20, 0, 1)
    assert 22 <= onset(ramp + noise) <= 28
    assert onset(noise) is None
    back = ramp.copy()
    back[45:] = 0
    assert onset(back) is None or onset(back) > 40


def test_hostile_texts_stand_in_the_file_as_text_alone(tmp_path):
    run = write_run(tmp_path / "<script>pwned=1<", words=HOSTILE, steps=2)
    text = (run / "show.html") if show(run) else None
    page = text.read_text(encoding="utf-8")
    assert page.count("<script") == 2
    assert "<img" not in page
    assert not {"\u202e", "\u200b", "\x1b"} & set(page)
    assert equation_of("nobody:knows") == ""
