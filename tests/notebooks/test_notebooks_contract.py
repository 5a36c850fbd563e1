"""What every notebook of the course keeps to, whatever it is about.

That an exercise rejects at least four wrong answers is proven in
tests/course/exercises/test_every.py; that each committed notebook is what its source builds, in the
test of that notebook.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

from gnivo_edu.course import exercises
from gnivo_edu.course.regions import solution_lines
from gnivo_edu.course.release import depending, release

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))
NO_TORCH = ("00", "01", "02", "03", "04")  # these have to run in a browser one day
SLOW = ("05", "06", "07", "08", "09", "10", "13", "E1", "E2", "E5")
EVERY = [pytest.param(path, id=path.stem) for path in SOURCES]
RUN_EVERY = [
    pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem[:2] in SLOW else ()) for path in SOURCES
]

# Runs the code cells of a notebook one after the other in a plain interpreter, going on after a
# cell that raises, and prints for each what it raised. A value that a notebook would show is shown.
# With "blocked", torch cannot be had.
RUNNER = """
import ast, io, contextlib, json, sys, warnings
if sys.argv[2] == "blocked":
    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("torch", "transformers", "accelerate", "jupytext", "nbformat", "nbclient"):
                raise ImportError(f"{name} is refused: this notebook must do without it")
    sys.meta_path.insert(0, Refuse())
cells = [c for c in json.load(open(sys.argv[1], encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
space, raised = {"__name__": "__main__"}, []
for number, cell in enumerate(cells):
    body = ast.parse("".join(cell["source"])).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(ast.Module(body, []), f"cell {number}", "exec"), space)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), space)
                if hasattr(value, "_repr_mimebundle_"):
                    value._repr_mimebundle_()
    except Exception as error:
        raised.append([type(error).__name__, str(error)])
    else:
        raised.append(None)
print(json.dumps(raised))
"""


def outcomes(path, source):
    """What each code cell of the notebook `path` raised, or None."""
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(path), "blocked" if source.stem[:2] in NO_TORCH else "free"],
        capture_output=True,
        text=True,
        cwd=ROOT / "notebooks",
        env={**os.environ, "MPLBACKEND": "Agg", "GNIVO_STATIC": "1", "OMP_NUM_THREADS": "1"},
        check=True,
    )
    return json.loads(done.stdout)


class Notebook:
    def __init__(self, source):
        self.cells = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent").cells
        self.code = [cell.source for cell in self.cells if cell.cell_type == "code"]
        self.prose = "\n\n".join(cell.source for cell in self.cells if cell.cell_type == "markdown")

    def after(self, words):
        """The paragraph that these words begin."""
        assert words in self.prose, f"no {words}"
        return " ".join(self.prose.partition(words)[2].split("\n\n")[0].split())


@pytest.fixture(scope="module")
def notebook(request):
    return Notebook(request.param)


@pytest.mark.parametrize("notebook", EVERY, indirect=True)
class TestTheText:
    def test_it_claims_one_thing_in_one_sentence(self, notebook):
        claim = notebook.after("**Claim.**")
        assert re.findall(r"[.!?](?= |$)", claim) == ["."], claim
        assert claim.endswith(".")

    def test_it_says_what_is_known_and_what_is_not(self, notebook):
        opening = notebook.cells[0].source
        assert opening.index("**So far we know**") < opening.index("**We still cannot**")

    def test_it_says_how_long_it_takes(self, notebook):
        minutes = re.search(r"\*Learner time: about (\d+) minutes\. Run time: ([^*]+)\*", notebook.cells[0].source)
        assert minutes, "learner minutes and run time"
        assert 15 <= int(minutes[1]) <= 60

    def test_it_says_what_you_can_do_afterwards(self, notebook):
        goals = notebook.prose.partition("After this notebook you can")[2].split("\n\n")[1]
        assert 3 <= len(re.findall(r"(?m)^- ", goals)) <= 6

    def test_at_most_three_symbols_are_new(self, notebook):
        said = re.search(r"\b(One|Two|Three)( new)? symbols?\b", notebook.cells[0].source)
        assert said or "No new symbols" in notebook.cells[0].source

    def test_a_figure_comes_by_the_second_code_cell(self, notebook, request):
        name = request.node.callspec.id
        built = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        code = [cell for cell in built.cells if cell.cell_type == "code"]
        assert any("image/png" in output.get("data", {}) for cell in code[:3] for output in cell.outputs)
        # A cell of imports and printing may come first, and one that only defines what is drawn.
        drawn = next(i for i, c in enumerate(code) if any("image/png" in o.get("data", {}) for o in c.outputs))
        assert drawn <= 1, f"the first figure is in code cell {drawn + 1}"

    def test_the_first_exercise_comes_early(self, notebook):
        text = "\n".join(cell.source for cell in notebook.cells)
        first = next(i for i, source in enumerate(notebook.code) if "BEGIN SOLUTION" in source)
        assert first < 5, f"the first exercise is code cell {first + 1}"
        assert text.index("### Exercise") < 0.45 * len(text)

    def test_each_exercise_says_its_minutes_and_stands_before_its_answer(self, notebook):
        titles = re.findall(
            r"(?m)^### Exercise (\d+) · .+ \((\d+) minutes, (?:easy|medium|hard), \w+\)$", notebook.prose
        )
        answers = [source for source in notebook.code if "BEGIN SOLUTION" in source]
        assert len(titles) == len(answers) >= 2
        order = {e.name: re.match(r"Exercise (\d+): ", e.statement)[1] for e in exercises.all()}
        asked = [order[re.search(r"\bcheck\.(\w+)\(", source)[1]] for source in answers]
        assert [number for number, _ in titles] == asked, "an exercise's number is the one in its statement"

    def test_something_must_fail_and_the_limits_are_said(self, notebook):
        assert re.search(r"(?m)^## A control that must fail$", notebook.prose)
        limits = notebook.prose.partition("## What we did not show")[2].split("\n\n")[1]
        assert len(re.findall(r"(?m)^- ", limits)) >= 2

    def test_it_predicts_runs_and_explains(self, notebook):
        assert notebook.prose.count("**Predict") >= 2
        assert notebook.prose.count("**Explain.**") >= 2

    def test_it_ends_with_the_table_the_links_and_what_is_next(self, notebook):
        last = notebook.cells[-1].source
        assert last.index("**The credit table.**") < last.index("**Links.**") < last.index("**Next.**")
        for path in re.findall(r"`((?:gnivo_edu|toy_envs)/[\w/.]+)`", last):
            assert (ROOT / path).exists(), f"links to {path}, which is not there"

    def test_every_numbered_equation_has_its_test(self, notebook, request):
        number = request.node.callspec.id[:2]
        tags = re.findall(r"\\tag\{(\w+)\.(\d+)\}", notebook.prose)
        assert tags == [(number.removeprefix("0"), str(k)) for k in range(1, len(tags) + 1)]
        tests = (ROOT / "tests" / "notebooks" / f"test_notebook_{number}.py").read_text(encoding="utf-8")
        for chapter, k in tags:
            assert re.search(rf"def test_equation_{chapter}_{k}\b", tests), f"equation {chapter}.{k} has no test"

    def test_code_cells_are_few_short_and_narrow(self, notebook):
        assert len(notebook.code) <= 40
        for source in notebook.code:
            lines = source.splitlines()
            assert len(lines) <= 25, lines[0]
            assert max(map(len, lines)) <= 76, max(lines, key=len)
            ast.parse(source)

    def test_alpha_only(self, notebook):
        assert not re.search(r"\\(?:beta|tau)\b", notebook.prose), "the temperature is called alpha"


@pytest.mark.parametrize("source", EVERY)
def test_the_built_notebook_is_small_and_whole(source):
    path = ROOT / "notebooks" / f"{source.stem}.ipynb"
    assert path.stat().st_size < 1.5e6
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("source", RUN_EVERY)
def test_the_solutions_pass_every_check(source, tmp_path):
    """And so do all other cells, 00 to 04 without torch."""
    path = release(source, tmp_path / "solution.ipynb", "solution", execute=False, cwd=ROOT / "notebooks")
    assert "BEGIN SOLUTION" not in path.read_text(encoding="utf-8")
    assert [raised for raised in outcomes(path, source) if raised] == []


@pytest.mark.parametrize("source", RUN_EVERY)
def test_the_students_notebook_stops_only_at_stubs(source, tmp_path):
    """Every answer cell runs; every check says there is nothing to check yet; of the others, only
    cells that read a name bound by one of these, or by such a cell, raise."""
    path = release(source, tmp_path / "student.ipynb", "student", execute=False, cwd=ROOT / "notebooks")
    cells = nbformat.read(path, as_version=4).cells
    depends = [stops for cell, stops in zip(cells, depending(cells), strict=True) if cell.cell_type == "code"]
    code = [cell for cell in cells if cell.cell_type == "code"]
    raised = outcomes(path, source)
    for cell, stops, what in zip(code, depends, raised, strict=True):
        graded = cell.metadata.get("nbgrader", {})
        if graded.get("grade"):
            assert what is not None, cell.source
            assert what[0] == "CheckFailed"
            assert "nothing to check yet" in what[1]
        elif graded or not stops:
            assert what is None, (cell.source, what)
    assert sum(not stops for stops in depends) >= 3, "some of the notebook can be seen before the exercises are done"


@pytest.mark.parametrize("source", EVERY)
def test_no_solution_reaches_a_student(source, tmp_path):
    secrets = solution_lines(Notebook(source).code)
    assert len(secrets) >= 3
    student = release(source, tmp_path / "student.ipynb", "student", execute=False)
    solution = release(source, tmp_path / "solution.ipynb", "solution", execute=False)

    def texts(value):
        if isinstance(value, dict):
            value = [*value, *value.values()]
        if isinstance(value, list):
            # A source is a list of its lines.
            return "".join(value) if all(isinstance(v, str) for v in value) else "\n".join(map(texts, value))
        return str(value)

    given, kept = (texts(json.loads(path.read_text())) for path in (student, solution))
    assert [line for line in secrets if line in given] == []
    assert [line for line in secrets if line not in kept] == [], "the search finds what is there"
    assert "SOLUTION" not in given
    for name in re.findall(r'"grade_id": "check_(\w+)"', student.read_text()):
        assert f"check.{name}.solution()" in given
        hints = next(e.hints for e in exercises.all() if e.name == name)
        assert given.count("<details><summary>Hint ") >= len(hints)


def test_there_are_enough_exercises_in_the_notebooks():
    asked = [name for path in SOURCES for name in re.findall(r"(?m)^check\.(\w+)\(", "\n".join(Notebook(path).code))]
    known = {exercise.name: exercise for exercise in exercises.all()}
    assert len(asked) == len(set(asked)) >= 12
    assert all(len(known[name].wrong_answers) >= 4 for name in asked)
