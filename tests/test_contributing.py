"""The recipes of CONTRIBUTING.md are run as they stand, each in a copy of the project."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = {
    title: text
    for title, text in re.findall(r"^## \d+\. (.+?)\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
}
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The library and its tests, to be written into."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("gnivo_edu", "toy_envs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def change(file: Path, block: str) -> None:
    """Replace the lines that stand there, unmarked or marked `-`, by those unmarked or marked
    `+`.
    """
    lines = block.splitlines()
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    text = file.read_text(encoding="utf-8")
    assert text.count(f"\n{old}") == 1, old
    file.write_text(text.replace(f"\n{old}", f"\n{new}"), encoding="utf-8")


def run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)


def follow(recipe: str, folder: Path) -> None:
    """Do what a recipe says, block by block."""
    for language, block in BLOCK.findall(recipe):
        head, _, rest = block.partition("\n")
        file = folder / head.removeprefix("# ")
        if language == "python" and head.startswith("# "):
            assert not file.exists()
            file.write_text(rest, encoding="utf-8")
            run(
                [sys.executable, "-m", "ruff", "check", "--config", "pyproject.toml", str(file)],
                folder,
            )
            run([sys.executable, "-m", "ruff", "format", "--check", str(file)], folder)
        elif language == "python":
            run([sys.executable, "-c", block], folder)
        elif language == "diff":
            change(file, rest)
        for line in block.splitlines() if language == "sh" else ():
            words = shlex.split(line)
            if words[0] == "mv":
                shutil.move(folder / words[1], folder / words[2])
            elif words[0] == "python":
                run([sys.executable, *words[1:]], folder)
            else:
                assert words[0] == "gnivo-edu"
                run([sys.executable, "-m", "gnivo_edu.cli", *words[1:]], folder)


def test_there_are_ten_recipes_each_with_something_to_run() -> None:
    assert len(RECIPES) == 10
    for recipe in RECIPES.values():
        assert {language for language, _ in BLOCK.findall(recipe)} & {"sh", "python"}


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works_as_it_stands(title: str, copy: Path) -> None:
    follow(RECIPES[title], copy)


def test_a_line_that_is_not_there_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\ny = 2\nz = 3\n", encoding="utf-8")
    change(file, " y = 2\n+w = 4\n")
    assert file.read_text(encoding="utf-8") == "x = 1\ny = 2\nw = 4\nz = 3\n"
    with pytest.raises(AssertionError):
        change(file, " y = 3\n+w = 4\n")


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):(?!=)", text, re.MULTILINE)
    assert len(targets) > 10
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True)
    assert re.findall(r"^make ([a-z-]+)  +\S", done.stdout, re.MULTILINE) == targets


def test_the_change_log_the_citation_and_the_package_are_of_one_version() -> None:
    stated = {
        "CITATION.cff": r"^version: (\S+)",
        "CHANGELOG.md": r"^## ([\d.]+)",
        "pyproject.toml": r'^version = "(.+)"',
    }
    versions = [
        re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)[0]
        for name, pattern in stated.items()
    ]
    assert len(set(versions)) == 1, versions
