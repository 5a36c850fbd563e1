"""The README says what is there: its links lead somewhere, its commands and options exist, its
Python runs.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#\s]+)\)", TEXT)
    assert len(links) > 8
    assert [
        link for link in links if not link.startswith("http") and not (ROOT / link).exists()
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
def test_its_own_objective_is_in_the_atlas_and_ends_where_it_says(monkeypatch):
    from gnivo_edu import objectives
    from gnivo_edu.population.atlas import atlas

    block = next(
        b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "def reinforce" in b
    )
    assert len(block.splitlines()) <= 15
    names: dict = {}
    exec(block, names)
    monkeypatch.setitem(objectives._REGISTRY, "reinforce", names["reinforce"])
    rows = {row["sampling"]: row["verdict"] for row in atlas("reinforce")["rows"]}
    assert rows == {"on-policy": "exact", "reference": "exact", "uniform": "exact"}


def test_its_python_runs():
    printed = io.StringIO()
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(block, {})
    assert printed.getvalue().startswith("[")
