"""What `pip install gnivo-edu` gives: a wheel with the course in it, and commands that need no
clone. The packages that it requires come from the environment of the tests.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import gnivo_edu

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PARTS = ("gnivo_edu", "toy_envs", "notebooks", "recipes", "results")
KINDS = (".ipynb", ".md", ".py", ".png", ".yaml", ".json", ".jsonl", ".csv", ".parquet")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def test_the_version_is_said_in_one_place():
    version = PROJECT["project"]["version"]
    assert gnivo_edu.__version__ == version
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1] == version
    with pytest.raises(AttributeError, match="no attribute 'versions'"):
        _ = gnivo_edu.versions


def addresses(urls: dict[str, str]) -> dict[str, str]:
    """What follows from the public address: further links, Colab's, and that of the citation."""
    repository = urls.get("Repository", "")
    if not repository:  # a new notebook
        return {"Colab": "https://colab.research.google.com/#create=true", "Citation": ""}
    notebook = f"{repository.removeprefix('https://')}/blob/main/notebooks/00_which_step.ipynb"
    return {
        "Issues": f"{repository}/issues",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Colab": f"https://colab.research.google.com/{notebook.replace('github.com', 'github')}",
        "Citation": repository,
    }


def test_the_public_address_is_said_in_one_place():
    follow = addresses({"Repository": "https://github.com/a/b"})
    assert follow["Colab"] == (
        "https://colab.research.google.com/github/a/b/blob/main/notebooks/00_which_step.ipynb"
    )
    urls = PROJECT["project"]["urls"]
    follow = addresses(urls)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    code = re.search(r"^repository-code: (\S+)$", citation, re.MULTILINE)
    stated = {
        **{name: urls.get(name) for name in ("Issues", "Changelog") if name in follow},
        "Colab": re.search(r"colab-badge\.svg\)\]\((\S+)\)", readme)[1],
        "Citation": code[1] if code else "",
    }
    assert stated == follow


def test_the_extras_are_those_that_the_messages_name():
    extras = PROJECT["project"]["optional-dependencies"]
    sources = [p.read_text(encoding="utf-8") for p in (ROOT / "gnivo_edu").rglob("*.py")]
    named = set(re.findall(r"gnivo-edu\[([a-z]+)\]", " ".join(sources)))
    assert "llm" in named
    assert named <= set(extras)
    inside = re.findall(r"[a-z]+", extras["all"][0].partition("[")[2])
    assert set(inside) == set(extras) - {"all", "dev", "mutants"}
    from gnivo_edu.machine import OPTIONAL

    for package, extra in OPTIONAL.items():
        assert any(line.startswith(package) for line in extras[extra]), package


def test_the_workflows_try_the_oldest_and_every_python_that_are_promised():
    import yaml

    lines = (ROOT / ".github" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    oldest = dict(line.removesuffix(".*").split("==") for line in lines if line[0] != "#")
    required = [line.partition(";")[0] for line in PROJECT["project"]["dependencies"]]
    bounds = dict(line.split(">=") for line in required)
    assert set(oldest) == {"torch", "transformers"}
    assert {name: bounds[name] for name in oldest} == oldest
    workflows = ROOT / ".github" / "workflows"
    checks, release = (
        yaml.safe_load((workflows / name).read_text(encoding="utf-8"))["jobs"]
        for name in ("checks.yml", "release.yml")
    )
    pythons = checks["fast"]["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" == PROJECT["project"]["requires-python"]
    assert pythons[-1] == "3.13"
    for job in (checks["wheel"], release["build"]):
        assert any("try_wheel.sh" in step.get("run", "") for step in job["steps"])
    assert release["publish"]["permissions"] == {"id-token": "write"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    steps = [
        step.get("run", "")
        for job in (*checks.values(), *release.values())
        for step in job["steps"]
    ]
    for line in steps:
        if line.startswith("make "):
            assert {word for word in line.split()[1:] if "=" not in word} <= targets, line


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as pip does, from a copy in which nothing was built before."""
    pytest.importorskip("setuptools", minversion="77", reason="setuptools builds the wheel")
    folder = tmp_path_factory.mktemp("package")
    for part in PARTS:
        leave = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / part, folder / "project" / part, ignore=leave)
    for file in FILES:
        shutil.copy(ROOT / file, folder / "project" / file)
    # What must not travel: an editor's copy, and a reader's own notes.
    (folder / "project" / "notebooks" / "src" / "notes.txt").write_text("mine")
    (folder / "project" / "notebooks" / ".ipynb_checkpoints").mkdir()
    (folder / "project" / "notebooks" / ".ipynb_checkpoints" / "x.ipynb").write_text("{}")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(folder)]
    pip = [sys.executable, "-m", "pip", "wheel", *options, str(folder / "project")]
    built = subprocess.run(pip, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


def run(command, cwd, **variables):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200", **variables}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The command of an environment that has the wheel alone, and borrows what it requires."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    scripts = Path(sysconfig.get_path("scripts", "venv", vars=paths))
    options = ["--no-deps", "--no-index", "-q", "--disable-pip-version-check"]
    python = scripts / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)]
    done = run(pip, folder)
    assert done.returncode == 0, done.stderr
    # A path in a .pth file: the packages there, but none of its own .pth files, so no clone.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run([str(python), "-c", "import gnivo_edu; print(gnivo_edu.__file__)"], folder)
    assert str(packages) in where.stdout, where.stderr
    return str(scripts / "gnivo-edu")


@pytest.mark.slow
def test_the_wheel_carries_the_course(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    data = "gnivo_edu/data/"
    tracked = {
        path.relative_to(ROOT).as_posix()
        for part in ("notebooks", "recipes", "results")
        for kind in KINDS
        for path in (ROOT / part).rglob(f"*{kind}")
        if not any(name.startswith(".") for name in path.relative_to(ROOT).parts)
    }
    assert len(tracked) > 40
    assert {name.removeprefix(data) for name in names if name.startswith(data)} == tracked
    library = {
        path.relative_to(ROOT).as_posix()
        for part in ("gnivo_edu", "toy_envs")
        for path in (ROOT / part).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__" and path.name[0] != "."
    }
    assert library <= names
    outside = ("tests/", "notebooks/", "recipes/", "results/")
    assert not any(name.startswith(outside) for name in names)
    metadata = next(name for name in names if name.endswith("METADATA"))
    said = zipfile.ZipFile(wheel).read(metadata).decode()
    assert f"Version: {gnivo_edu.__version__}\n" in said
    assert all(f"Provides-Extra: {extra}" in said for extra in ("llm", "all"))


@pytest.mark.slow
def test_the_commands_need_no_clone(installed, tmp_path):
    course = tmp_path / "my course"
    begun = run([installed, "start", str(course)], tmp_path)
    assert begun.returncode == 0, begun.stderr
    (course / "recipes" / "arithmetic_cpu.yaml").write_text("steps: 7\n")
    again = json.loads(run([installed, "start", str(course), "--json"], tmp_path).stdout)
    assert (again["written"], again["kept"]) == ([], ["recipes/arithmetic_cpu.yaml"])

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = ["--env", "Brackets", "--alpha", "0.5", "--group-size", "2", "--json"]
    verified = run([installed, "verify", *arguments], elsewhere)
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["passed"] is True

    shown = run([installed, "demo"], elsewhere)
    assert shown.returncode == 0, shown.stderr
    assert (elsewhere / "runs" / "demo" / "index.html").is_file()
    assert "Next: gnivo-edu lab" in shown.stdout

    notebook = course / "notebooks" / "00_which_step.ipynb"
    checked = run([installed, "check", str(notebook)], elsewhere)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    # The notebooks open in a folder of the reader's, not inside the installed package.
    lab = run([installed, "lab", "--dry-run"], elsewhere)
    assert str(elsewhere / "gnivo_course" / "notebooks") in lab.stdout
    assert not (elsewhere / "gnivo_course").exists()
    inside = run([installed, "lab", "--dry-run"], course)
    assert str(course / "notebooks") in inside.stdout

    one = ["--only", "00_which_step"]
    released = run([installed, "build-course", *one, "--release", "handout"], elsewhere)
    assert released.returncode == 0, released.stderr
    assert (elsewhere / "handout" / "student" / "00_which_step.ipynb").is_file()
    refused = run([installed, "build-course", *one], elsewhere)
    assert refused.returncode == 2
    assert "gnivo-edu start FOLDER" in refused.stderr
