import json
import re
from pathlib import Path

import pytest

from gnivo_edu import demo
from gnivo_edu.demo import run_demo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What one run of the demo says, what it returns, and its folder."""
    lines, folder = [], tmp_path_factory.mktemp("runs") / "demo"
    return lines, run_demo(folder, say=lines.append), folder


@pytest.mark.slow
def test_the_demo_says_four_lines_and_writes_one_page(shown):
    lines, data, folder = shown
    assert data["passed"] is True
    shape = [
        r"1/4 Counting every answer: 128 answers, \d+\.\d s",
        r"2/4 Theorem 1 holds: largest error below 1e-12 nats over 255 prefixes, "
        r"and so does Theorem 2",
        r"3/4 Breaking it on purpose: softmax weights miss by 0\.\d\d nats, stale samples by "
        r"\d\.\d, as predicted",
        r"4/4 Learning from 8 answers at a time, on a random tree: KL to the optimum 0\.35 -> "
        r"0\.00\d\d",
    ]
    for line, pattern in zip(lines, shape, strict=False):
        assert re.fullmatch(pattern, line), line
    # Each is one line: the command shows a line break inside one as an escape.
    assert len(lines) == 7
    assert all(line.isprintable() for line in lines)
    assert lines[5].startswith("Open ")
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert str(len(data["tree"]["rewards"])) == "128"
    assert "http://" not in page.replace("http://www.w3.org", "")
    curve = data["training"]
    assert curve["kl"][-1] < 0.01
    assert [row["groups"] for row in curve["strips"]["rows"]] == [1, 10, 100, 1000]
    errors = [
        max(abs(a - b) for a, b in zip(row["credits"], curve["strips"]["exact"], strict=True))
        for row in curve["strips"]["rows"]
    ]
    assert errors[-1] < 0.1 < errors[0]
    json.dumps(data, allow_nan=False)
    # The README shows these lines: the same sentences, with the numbers of some run.
    shown = (
        (ROOT / "README.md")
        .read_text()
        .partition("<!-- demo:begin -->")[2]
        .partition("<!-- demo:end -->")[0]
    )
    for pattern in shape:
        assert re.search(pattern, shown), pattern


@pytest.mark.slow
def test_the_demo_goes_inside_a_real_model(tmp_path, shared_model, shown, monkeypatch):
    learned = dict(shown[1]["training"])
    strips = learned.pop("strips")
    monkeypatch.setattr(demo, "_learn", lambda problem: (learned, strips))  # once is enough
    lines = []
    data = run_demo(tmp_path, model=shared_model, say=lines.append)
    assert lines[4].startswith("5/5 Inside stories260k: 4,096 continuations")
    assert data["model"]["passed"] is True
    assert len(data["model"]["example"]["tokens"]) == 6
