"""What every notebook of the course keeps to, whatever it is about.

Each is executed once a run of the tests, where it is compared with the committed one. All else is
read off the committed notebook: what it prints, that its solutions pass, what a student is given.
That an exercise rejects at least four wrong answers, and says of a stub that there is nothing to
check yet, is proven in tests/course/exercises/test_every.py.
"""

import ast
import builtins
import dis
import json
import os
import re
import subprocess
import sys

import nbformat
import pytest

from gnivo_edu.course import exercises
from gnivo_edu.course.build import BuildError, build, build_course
from gnivo_edu.course.regions import solution_lines
from gnivo_edu.course.release import depending, release
from gnivo_edu.course.tidy import machine_paths
from tests.notebooks.notebook import NAMES, ROOT, Notebook

NO_TORCH = ("00", "01", "02", "03", "04")  # these have to run in a browser one day
# Of each notebook: the figures of every cell that shows one, how many equations are numbered, the
# exercises, and headings of its own.
HAS = {
    "00": ([1, 1, 3], 3, "8 9", []),
    "01": ([1], 3, "1 2", ["## Play"]),
    "02": ([3, 1, 1], 5, "3 4 11", ["## Play"]),
    "03": ([1, 1, 1, 1], 5, "5 6 7 10", ["## Play"]),
    "04": ([1, 1, 1, 1], 8, "14 15 16", ["## Play"]),
    "05": ([1, 1, 1, 1, 1, 1], 6, "12 13 17", ["## Play"]),
    "06": ([1, 1, 1, 1, 1], 8, "18 19 20", ["## Play"]),
    "07": ([1, 1, 1], 11, "21 22", ["## The race", "## Play"]),
    "08": ([1, 1, 1, 1], 6, "26 28", ["## The atlas", "## Play"]),
    "09": ([1, 1, 1], 4, "32 33", ["## Play"]),
    "10": ([1, 1, 1, 1, 1, 1, 1, 1], 4, "34 35", ["## Play"]),
    "11": ([1, 1, 1, 1, 1], 2, "41 42", ["## Play"]),
    "12": ([1, 1, 1, 1, 1], 3, "25 38", ["## Play"]),
    "13": ([1, 1, 1, 1, 1, 1, 1], 3, "36 37", ["## Play"]),
    "E1": ([1, 1, 1], 8, "23 30", ["## Play"]),
    "E2": ([1, 1, 1, 1], 6, "27 29", ["## Play"]),
    "E3": ([1, 1, 1, 1, 1], 5, "43 44", ["## And if one trains?", "## Play"]),
    "E4": ([1, 1, 1, 1], 6, "45 46", ["## Play"]),
    "E5": ([1, 1, 1], 5, "24 31", ["## Play"]),
}

# Before a kernel's first cell: torch, and what a browser cannot install, cannot be had.
REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        heavy = ("torch", "transformers", "accelerate", "jupytext", "nbformat", "nbclient")
        if name.split(".")[0] in heavy:
            raise ImportError(f"{name} is refused: this notebook must do without it")
sys.meta_path.insert(0, Refuse())
"""

# Runs the code cells of a notebook one after the other in a plain interpreter, going on after a
# cell that raises, and prints for each what it raised. A value that a notebook would show is shown.
RUNNER = """
import ast, io, contextlib, json, sys
cells = json.load(open(sys.argv[1], encoding="utf-8"))["cells"]
cells = [cell for cell in cells if cell["cell_type"] == "code"]
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


def marked(mark):
    """The names of all notebooks; this mark on those with torch in them, which take longer."""
    marks = {name: () if name[:2] in NO_TORCH else mark for name in NAMES}
    return pytest.mark.parametrize("name", [pytest.param(n, marks=m) for n, m in marks.items()])


def outcomes(path):
    """What each code cell of the notebook `path` raised, or None."""
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT / "notebooks",
        env={**os.environ, "MPLBACKEND": "Agg", "GNIVO_STATIC": "1", "OMP_NUM_THREADS": "1"},
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=NAMES)
def notebook(request):
    return Notebook(request.param)


@pytest.fixture
def released(notebook, tmp_path):
    """Cells and text of a copy of the notebook, "student" or "solution"; nothing is run."""

    def make(kind):
        path = tmp_path / f"{kind}.ipynb"
        home = ROOT / "notebooks"
        release(notebook.source, path, kind, cwd=home, committed=notebook.path)
        return nbformat.read(path, as_version=4).cells, path.read_text(encoding="utf-8")

    return make


@pytest.fixture
def without_torch(tmp_path, monkeypatch):
    """Call it, and kernels that start from then on cannot import torch."""

    def refuse():
        (tmp_path / "sitecustomize.py").write_text(REFUSE)
        paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))

    return refuse


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_committed_notebook_is_what_its_source_builds(name, without_torch):
    """The one execution; of 00 to 04 in a kernel that cannot import torch."""
    if name[:2] in NO_TORCH:
        without_torch()
    assert build_course(only=[name], check=True) == []


@pytest.mark.slow
def test_a_notebook_that_needs_torch_stops_where_there_is_none(tmp_path, without_torch):
    (tmp_path / "needs.py").write_text("# %%\nimport torch\n")
    without_torch()
    with pytest.raises(BuildError, match="torch is refused"):
        build(tmp_path / "needs.py", tmp_path / "needs.ipynb")


class TestTheText:
    def test_it_claims_one_thing_in_one_sentence(self, notebook):
        assert "**Claim.**" in notebook.prose
        claim = " ".join(notebook.prose.partition("**Claim.**")[2].split("\n\n")[0].split())
        assert re.findall(r"[.!?](?= |$)", claim) == ["."], claim
        assert claim.endswith(".")

    def test_it_has_what_it_should_have(self, notebook):
        number = notebook.name[:2]
        figures, equations, exercises_asked, headings = HAS[number]
        assert notebook.prose.startswith(f"# {number} · ")
        assert [shown for shown in notebook.pictures if shown] == figures
        tags = re.findall(r"\\tag\{(\w+\.\d+)\}", notebook.prose)
        assert tags == [f"{number.removeprefix('0') or 0}.{k}" for k in range(1, equations + 1)]
        cards = re.findall(r"(?m)^### Exercise (\d+) ·", notebook.prose)
        assert cards == exercises_asked.split()
        assert notebook.printed.count("Correct.") == len(cards), "every solution passes its check"
        assert [words for words in headings if words not in notebook.prose] == []
        assert "**Run.**" in notebook.prose

    def test_it_says_what_is_known_and_what_is_not(self, notebook):
        opening = notebook.cells[0]["source"]
        assert opening.index("**So far we know**") < opening.index("**We still cannot**")

    def test_it_says_how_long_it_takes(self, notebook):
        minutes = re.search(
            r"\*Learner time: about (\d+) minutes\. Run time: ([^*]+)\*",
            notebook.cells[0]["source"],
        )
        assert minutes, "learner minutes and run time"
        assert 15 <= int(minutes[1]) <= 60

    def test_it_says_what_you_can_do_afterwards(self, notebook):
        goals = notebook.prose.partition("After this notebook you can")[2].split("\n\n")[1]
        assert 3 <= len(re.findall(r"(?m)^- ", goals)) <= 6

    def test_at_most_three_symbols_are_new(self, notebook):
        said = re.search(r"\b(One|Two|Three)( new)? symbols?\b", notebook.cells[0]["source"])
        assert said or "No new symbols" in notebook.cells[0]["source"]

    def test_a_figure_comes_by_the_second_code_cell(self, notebook):
        # A cell of imports and printing may come first, and one that only defines what is drawn.
        assert any(notebook.pictures[:2])

    def test_the_first_exercise_comes_early(self, notebook):
        text = "\n".join(cell["source"] for cell in notebook.cells)
        first = next(i for i, source in enumerate(notebook.code) if "BEGIN SOLUTION" in source)
        assert first < min(5, 0.4 * len(notebook.code)), f"it is code cell {first + 1}"
        assert text.index("### Exercise") < 0.45 * len(text)

    def test_each_exercise_says_its_minutes_and_stands_before_its_answer(self, notebook):
        titles = re.findall(
            r"(?m)^### Exercise (\d+) · .+ \((\d+) minutes, (?:easy|medium|hard), \w+\)$",
            notebook.prose,
        )
        answers = [source for source in notebook.code if "BEGIN SOLUTION" in source]
        assert len(titles) == len(answers) >= 2
        order = {e.name: re.match(r"Exercise (\d+): ", e.statement)[1] for e in exercises.all()}
        asked = [order[re.search(r"\bcheck\.(\w+)\(", source)[1]] for source in answers]
        assert [number for number, _ in titles] == asked, (
            "an exercise's number is the one in its statement"
        )

    def test_something_must_fail_and_the_limits_are_said(self, notebook):
        assert re.search(r"(?m)^## A control that must fail$", notebook.prose)
        limits = notebook.prose.partition("## What we did not show")[2].split("\n\n")[1]
        assert len(re.findall(r"(?m)^- ", limits)) >= 2

    def test_it_predicts_runs_and_explains(self, notebook):
        assert notebook.prose.count("**Predict") >= 2
        assert notebook.prose.count("**Explain.**") >= 2

    def test_it_ends_with_the_table_the_links_and_what_is_next(self, notebook):
        last = notebook.cells[-1]["source"]
        assert (
            last.index("**The credit table.**") < last.index("**Links.**") < last.index("**Next.**")
        )
        for path in re.findall(r"`((?:gnivo_edu|toy_envs)/[\w/.]+)`", last):
            assert (ROOT / path).exists(), f"links to {path}, which is not there"

    def test_every_numbered_equation_has_its_test(self, notebook):
        file = f"test_notebook_{notebook.name[:2]}.py"
        tests = (ROOT / "tests" / "notebooks" / file).read_text(encoding="utf-8")
        for chapter, k in re.findall(r"\\tag\{(\w+)\.(\d+)\}", notebook.prose):
            assert re.search(rf"def test_equation_{chapter}_{k}\b", tests), f"{chapter}.{k}"

    def test_code_cells_are_few_short_and_narrow(self, notebook):
        assert 9 <= len(notebook.code) <= 24
        for source in notebook.code:
            lines = source.splitlines()
            assert len(lines) <= 25, lines[0]
            assert max(map(len, lines)) <= 76, max(lines, key=len)
            ast.parse(source)

    def test_prose_is_narrow_too(self, notebook):
        """But for rows of tables and headings."""
        lines = notebook.prose.splitlines()
        assert [line for line in lines if len(line) > 76 and line[0] not in "|#"] == []

    def test_alpha_only(self, notebook):
        assert not re.search(r"\\(?:beta|tau)\b", notebook.prose), "the temperature is called alpha"


def test_the_committed_notebook_is_small_and_whole(notebook):
    assert notebook.path.stat().st_size < 1.5e6
    outputs = [output for cell in notebook.code_cells for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    counts = [cell["execution_count"] for cell in notebook.code_cells]
    assert counts == list(range(1, len(counts) + 1))
    assert "Warning" not in notebook.printed
    assert not machine_paths(ROOT).search(notebook.printed)
    if notebook.name[:2] in NO_TORCH:
        assert "torch" not in "".join(notebook.code)


def statements(sources):
    return [ast.dump(statement) for source in sources for statement in ast.parse(source).body]


def test_the_solutions_pass_every_check(notebook, released):
    """Statement by statement the copy with solutions is the notebook, which ran without an error
    and whose every check said "Correct.".
    """
    cells, text = released("solution")
    assert "BEGIN SOLUTION" not in text
    copied = [cell.source for cell in cells if cell.cell_type == "code"]
    assert statements(copied) == statements(notebook.code)
    assert len(copied) > len(notebook.code), "each check has a cell of its own"


def names_of(code):
    """The global names that compiled code reads at once, reads in its functions, and binds."""
    steps = list(dis.get_instructions(code))
    reads = {s.argval for s in steps if s.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    binds = {s.argval for s in steps if s.opname == "STORE_NAME"}
    later = set()
    for inner in (constant for constant in code.co_consts if isinstance(constant, type(code))):
        inner_reads, inner_later, inner_binds = names_of(inner)
        later |= (inner_reads | inner_later) - inner_binds  # the body of a class binds its own
    return reads, later, binds


def test_much_of_a_students_notebook_runs_before_any_answer(notebook, released):
    """A cell that is said not to depend on an exercise reads only what such cells have bound: read
    off the compiled code. The nightly test below runs them.
    """
    cells, _ = released("student")
    independent = [
        cell.source
        for cell, stops in zip(cells, depending(cells), strict=True)
        if cell.cell_type == "code" and not stops
    ]
    assert len(independent) >= 3
    bound, later = {*vars(builtins), "__name__"}, set()
    for source in independent:
        reads, reads_later, binds = names_of(compile(source, notebook.name, "exec"))
        bound |= binds
        later |= reads_later
        assert reads - bound == set(), source
    assert later - bound == set()


@pytest.mark.slow
@marked(pytest.mark.nightly)
def test_the_students_notebook_stops_only_at_stubs(name, tmp_path):
    """Every answer cell runs; every check says there is nothing to check yet; of the others, only
    cells that read a name bound by one of these, or by such a cell, raise.

    That runs a notebook once more. The tests above read the same off its code, so only the short
    ones run here every time.
    """
    path = tmp_path / "student.ipynb"
    release(Notebook(name).source, path, "student", execute=False, cwd=ROOT / "notebooks")
    cells = nbformat.read(path, as_version=4).cells
    depends = [
        stops
        for cell, stops in zip(cells, depending(cells), strict=True)
        if cell.cell_type == "code"
    ]
    code = [cell for cell in cells if cell.cell_type == "code"]
    for cell, stops, what in zip(code, depends, outcomes(path), strict=True):
        graded = cell.metadata.get("nbgrader", {})
        if graded.get("grade"):
            assert what is not None, cell.source
            assert what[0] == "NothingYet"
            assert "nothing to check yet" in what[1]
        elif graded or not stops:
            assert what is None, (cell.source, what)


def test_no_solution_reaches_a_student(notebook, released):
    secrets = solution_lines(notebook.code)
    assert len(secrets) >= 3

    def words(value):
        if isinstance(value, dict):
            value = [*value, *value.values()]
        if isinstance(value, list):
            # A source is a list of its lines.
            whole = all(isinstance(v, str) for v in value)
            return "".join(value) if whole else "\n".join(map(words, value))
        return str(value)

    (_, student), (_, solution) = released("student"), released("solution")
    handed_out, solved = (words(json.loads(text)) for text in (student, solution))
    assert [line for line in secrets if line in handed_out] == []
    assert [line for line in secrets if line not in solved] == [], "the search finds what is there"
    assert "SOLUTION" not in handed_out
    for name in re.findall(r'"grade_id": "check_(\w+)"', student):
        assert f"check.{name}.solution()" in handed_out
        hints = next(e.hints for e in exercises.all() if e.name == name)
        assert handed_out.count("<details><summary>Hint ") >= len(hints)


def test_there_are_enough_exercises_in_the_notebooks():
    asked = [
        name
        for notebook in map(Notebook, NAMES)
        for name in re.findall(r"(?m)^check\.(\w+)\(", "\n".join(notebook.code))
    ]
    known = {exercise.name: exercise for exercise in exercises.all()}
    assert len(asked) == len(set(asked)) >= 12
    assert all(len(known[name].wrong_answers) >= 4 for name in asked)
