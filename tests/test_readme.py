"""The README says what is there: its links lead somewhere, its commands and options exist, its
Python runs.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The README and the pages that say more of what it says.
PAGES = ("README.md", "notebooks/training.md", "notebooks/your_own.md", "notebooks/code.md")
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
TEXT = "\n".join(TEXTS.values())


def test_it_is_read_in_a_few_screens():
    assert len(TEXTS["README.md"].splitlines()) <= 160


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", TEXTS[page])
    assert links or page.endswith("code.md")
    here = (ROOT / page).parent
    assert [
        link for link in links if not link.startswith("http") and not (here / link).exists()
    ] == []


@pytest.mark.slow
def test_its_commands_and_options_exist():
    lines = re.findall(r"^gnivo-edu (\S+)(.*)$", TEXT, re.MULTILINE)
    assert {"verify", "build-course", "check"} <= {command for command, _ in lines}
    for command, rest in lines:
        shown = subprocess.run(
            [sys.executable, "-m", "gnivo_edu.cli", command, "--help"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert shown.returncode == 0, command
        for option in re.findall(r"--[a-z][a-z-]*", rest.partition("#")[0]):
            assert option in shown.stdout, (command, option)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXT, re.MULTILINE)) <= set(targets)


@pytest.mark.slow
def test_its_own_objective_is_in_the_atlas_and_ends_where_it_says(monkeypatch, tmp_path):
    from gnivo_edu.population.atlas import atlas

    block = next(
        b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "def reinforce" in b
    )
    assert len(block.splitlines()) <= 15
    (tmp_path / "losses_of_the_page.py").write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    rows = {r["sampling"]: r["verdict"] for r in atlas("losses_of_the_page:reinforce")["rows"]}
    assert rows == {"on-policy": "exact", "reference": "exact", "uniform": "exact"}


def test_its_python_runs():
    printed = io.StringIO()
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(block, {})
    assert printed.getvalue().startswith("[")


def test_its_configuration_of_one_s_own_questions_is_one(tmp_path):
    import yaml

    from gnivo_edu.tasks import check_options
    from gnivo_edu.training.config import load_config

    block = next(b for b in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if "dataset" in b)
    (tmp_path / "own.yaml").write_text(block, encoding="utf-8")
    config = load_config(tmp_path / "own.yaml")
    row = {"question": "What is 7 + 5?", "result": 12, "hint": "count up from 7"}
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for _ in range(5)), encoding="utf-8")
    options = config.task_options | {"path_or_id": str(file)}
    assert check_options("dataset", options) == yaml.safe_load(block)["task_options"] | {
        "path_or_id": str(file)
    }
