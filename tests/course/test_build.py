"""Notebooks come out the same, byte for byte, and nothing that should not be committed gets
through.
"""

import json
import os
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output

from gnivo_edu.course import is_static
from gnivo_edu.course.build import BuildError, build, build_course
from gnivo_edu.course.compare import differences
from gnivo_edu.course.tidy import machine_paths, tidy

GOOD = """
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
#   language_info:
#     name: python
#     version: 0.0.0
# ---

# %% [markdown]
# # Tiny

# %% tags=["hide-input"]
import os, sys
from gnivo_edu.course import check, is_static
print("static", is_static(), os.environ["OMP_NUM_THREADS"], os.path.basename(os.getcwd()))
print({"a", "b", "c", "d"}, "torch" in sys.modules, "PYTHONWARNINGS" in os.environ)

# %%
import matplotlib.pyplot as plt
print("before")
plt.plot([1, 3, 2])
plt.show()
print("after")

# %%
class Both:
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": "<b>bold</b>", "text/plain": "plain"}
Both()

# %% tags=["raises-exception"]
check.sequence_logprob(lambda logps, tokens, length: logps.sum(axis=1))
"""


def course(folder, **sources):
    (folder / "notebooks" / "src").mkdir(parents=True)
    for name, text in sources.items():
        (folder / "notebooks" / "src" / f"{name}.py").write_text(text.lstrip(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A course with one good notebook, built where the registered "python3" kernel is a broken
    one.
    """
    root = course(tmp_path_factory.mktemp("course"), tiny=GOOD)
    kernel = root / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        '{"argv": ["no-such-python"], "display_name": "x", "language": "python"}'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(root / "jupyter"))
        patch.setenv("PYTHONWARNINGS", "ignore")
        patch.setenv("PYTHONHASHSEED", "7")
        assert build_course(root) == [root / "notebooks" / "tiny.ipynb"]
    return root


def cells(root, name="tiny"):
    return nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4).cells


@pytest.mark.slow
def test_a_second_build_gives_the_same_bytes(built, tmp_path):
    committed = (built / "notebooks" / "tiny.ipynb").read_bytes()
    again = build(
        built / "notebooks" / "src" / "tiny.py", tmp_path / "tiny.ipynb", cwd=built / "notebooks"
    )
    assert again.read_bytes() == committed


@pytest.mark.slow
def test_outputs(built):
    _, first, picture, both, failing = cells(built)
    assert first.outputs[0].text.startswith("static True 1 notebooks\n")
    assert first.outputs[0].text.endswith("False False\n")
    assert first.metadata == {"tags": ["hide-input"]}
    assert [output.get("name", "picture") for output in picture.outputs] == [
        "stdout",
        "picture",
        "stdout",
    ]
    assert set(picture.outputs[1].data) == {"image/png", "text/plain"}
    assert set(both.outputs[0].data) == {"text/html", "text/plain"}
    assert failing.outputs[0].ename == "CheckFailed"
    assert failing.outputs[0].traceback == ["CheckFailed: " + failing.outputs[0].evalue]
    assert "expected one number" in failing.outputs[0].evalue
    assert [cell.execution_count for cell in cells(built)[1:]] == [1, 2, 3, 4]


def test_form_of_the_file(built):
    text = (built / "notebooks" / "tiny.ipynb").read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert text == json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert not re.search(r"iopub|\"execution\"|\d\d:\d\d:\d\d|jupytext", text), (
        "a timing or a tool's trace"
    )
    assert len({cell["id"] for cell in notebook["cells"]}) == 5


@pytest.mark.slow
def test_check_finds_a_changed_output_a_missing_and_an_orphaned_notebook(built, tmp_path):
    root = course(tmp_path, tiny=GOOD, new="# %%\n1 + 1\n")
    text = (built / "notebooks" / "tiny.ipynb").read_text(encoding="utf-8")
    committed, orphan = root / "notebooks" / "tiny.ipynb", root / "notebooks" / "old.ipynb"
    committed.write_text(text, encoding="utf-8")
    assert build_course(root, only="tiny", check=True) == []
    committed.write_text(text.replace("static True 1", "static True 2"), encoding="utf-8")
    orphan.write_text(text, encoding="utf-8")
    found = build_course(root, check=True)
    assert found == [
        "old.ipynb: no source in notebooks/src builds it",
        "new: new.ipynb is missing",
        "tiny, cell 2 (import os, sys): the stdout output 'static True 2 notebooks' is now "
        "'static True 1 notebooks'",
    ]
    assert "static True 2" in committed.read_text(encoding="utf-8"), "a check writes nothing"
    assert not (root / "notebooks" / "new.ipynb").exists()


@pytest.mark.slow
def test_every_failure_is_reported_and_the_rest_is_built(tmp_path, capfd):
    root = course(
        tmp_path,
        a_raises="# %% [markdown]\n# text\n\n# %%\n# why\n1 / 0\n",
        b_warns="# %%\nimport warnings\nwarnings.warn('alpha is large')\n",
        c_works="# %%\nprint('fine')\n",
        d_is_silent="# %% tags=['raises-exception']\nx = 1\n".replace("'", '"'),
        e_dies="# %%\nimport os\nos._exit(3)\n",
        f_header="# ---\n# jupyter:\n#   language_info:\n#     version: 1\n# ---\n# %%\n1\n",
    )
    with pytest.raises(BuildError) as caught:
        build_course(root)
    lines = str(caught.value).splitlines()
    assert lines[0] == "a_raises, cell 2 (# why): ZeroDivisionError: division by zero"
    assert re.fullmatch(
        r"b_warns, cell 1 \(import warnings\): wrote to standard error: .*: alpha is large",
        lines[1],
    )
    assert lines[2] == "d_is_silent, cell 1 (x = 1): is tagged raises-exception and raised nothing"
    assert lines[3] == "e_dies, cell 1 (import os): the kernel died"
    assert lines[4].startswith("f_header: is not a notebook in percent format: ")
    assert len(lines) == 5
    assert [path.name for path in (root / "notebooks").glob("*.ipynb")] == ["c_works.ipynb"]
    progress = capfd.readouterr().err
    assert "3/6 c_works: built" in progress
    assert "1/6 a_raises: failed" in progress


@pytest.mark.slow
def test_a_cell_that_takes_too_long(tmp_path):
    source = (
        course(tmp_path, slow="# %%\nimport time\ntime.sleep(30)\n")
        / "notebooks"
        / "src"
        / "slow.py"
    )
    with pytest.raises(BuildError, match=r"slow, cell 1 \(import time\): took longer than 1 s"):
        build(source, tmp_path / "slow.ipynb", timeout=1)
    assert not (tmp_path / "slow.ipynb").exists()


def test_without_execution_and_unknown_names(tmp_path):
    root = course(tmp_path, tiny=GOOD)
    source = root / "notebooks" / "src" / "tiny.py"
    one = build(source, tmp_path / "one" / "tiny.ipynb", execute=False).read_bytes()
    assert one == build(source, tmp_path / "two" / "tiny.ipynb", execute=False).read_bytes()
    assert all(not cell.get("outputs") for cell in json.loads(one)["cells"])
    with pytest.raises(ValueError, match="no notebook named big; there are tiny"):
        build_course(root, only=["big"])
    with pytest.raises(ValueError, match="no sources"):
        build_course(tmp_path / "one")


# --- one cell, without a kernel -------------------------------------------------------------------


def display(**data):
    kinds = {kind.replace("_", "/"): value for kind, value in data.items()}
    return new_output("display_data", data=kinds, metadata={kind: {} for kind in kinds})


def tidied(*outputs, source="x", **metadata):
    cell = new_code_cell(source, outputs=list(outputs), execution_count=1, metadata=metadata)
    tidy(cell, "nb, cell 1 (x)", machine_paths())
    return cell


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (
            new_output("stream", name="stderr", text="\n100%|####|\n"),
            r"wrote to standard error: 100%",
        ),
        (
            display(text_plain="<Line2D at 0x7f33aa10c2d0>"),
            r"memory address \(text/plain: 0x7f33aa10c2d0\)",
        ),
        (
            new_output("stream", name="stdout", text="see /home/me/run.csv"),
            r"absolute path \(stdout: /home/\)",
        ),
        (
            new_output("error", ename="OSError", evalue=f"no {os.getcwd()}/x"),
            r"absolute path \(error: ",
        ),
        (display(text_html="<a href='C:\\Users\\me'>"), r"absolute path \(text/html: "),
        (
            display(**{"application/javascript": "alert()"}),
            r"shows application/javascript; with .*is_static",
        ),
        (display(image_svg="<svg/>", text_plain="x"), r"shows image/svg"),
    ],
)
def test_refused_outputs(output, problem):
    with pytest.raises(BuildError, match=r"^nb, cell 1 \(x\): .*" + problem):
        tidied(output)


def test_a_path_in_the_source_is_refused():
    with pytest.raises(BuildError, match="the source holds an absolute path"):
        tidied(source=f"open('{os.getcwd()}/a.txt')")


def test_kept_outputs():
    stream = [new_output("stream", name="stdout", text=text) for text in ("a", "b\n")]
    picture = display(
        image_png="aGVsbG8=",
        text_html="<p>0x7f33aa10c2d0</p>",
        text_plain="a figure",
        image_svg="x",
    )
    cell = tidied(
        *stream,
        picture,
        new_output("stream", name="stdout", text="https://x.org/home/a and b/tmp/c"),
    )
    assert [output.output_type for output in cell.outputs] == ["stream", "display_data", "stream"]
    assert cell.outputs[0].text == "ab\n"
    assert cell.outputs[1].data == {"image/png": "aGVsbG8=", "text/plain": "a figure"}
    assert set(cell.outputs[1].metadata) == {"image/png", "text/plain"}
    frames = ["Cell In[3], line 1", "File /opt/lib/x.py:7, in f", "KeyError: 3"]
    error = new_output("error", ename="KeyError", evalue="3", traceback=frames)
    assert tidied(error).outputs[0].traceback == ["KeyError: 3"]
    assert tidied(tags=["t"], execution={"iopub.status.busy": "2026"}).metadata == {"tags": ["t"]}


def changed(built, tmp_path, edit):
    notebook = nbformat.read(built / "notebooks" / "tiny.ipynb", as_version=4)
    edit(notebook)
    nbformat.write(notebook, tmp_path / "tiny.ipynb")
    return differences(tmp_path / "tiny.ipynb", built / "notebooks" / "tiny.ipynb")


def scale_picture(factor):
    def edit(notebook):
        data = notebook.cells[2].outputs[1].data
        size = int(len(data["image/png"]) * factor) // 4 * 4
        data["image/png"] = (data["image/png"] * 2)[:size]

    return edit


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda nb: None, None),
        (scale_picture(1.15), None),
        (scale_picture(1.4), "the picture's size went from"),
        (scale_picture(0.7), "the picture's size went from"),
        (
            lambda nb: nb.cells[2].outputs.pop(),
            "outputs (stdout, image/png, text/plain) are now (stdout, image/png",
        ),
        (lambda nb: nb.cells[0].update(source="# Big"), "the source '# Big' is now '# Tiny'"),
        (lambda nb: nb.cells[1].metadata.clear(), "its id or metadata changed"),
        (
            lambda nb: nb.cells[3].outputs[0].data.update({"text/html": "<i>"}),
            "the text/html output '<i>' is now",
        ),
        (
            lambda nb: nb.cells[4].outputs[0].update(evalue="fine"),
            "the error output 'CheckFailed: fine' is now",
        ),
        (lambda nb: nb.cells[1].update(execution_count=9), "execution count 9 is now 1"),
        (lambda nb: nb.cells.pop(), "4 cells are committed, the source builds 5"),
        (lambda nb: nb.metadata.update(widgets={}), "the notebook's metadata changed"),
    ],
)
def test_differences(built, tmp_path, edit, expected):
    found = changed(built, tmp_path, edit)
    assert len(found) == (expected is not None)
    assert all(expected in line and line.startswith("tiny") for line in found)


def test_static_mode(monkeypatch):
    monkeypatch.delenv("GNIVO_STATIC", raising=False)
    assert is_static(), "no kernel runs here"

    class Shell:
        kernel = object()

    class IPython:
        @staticmethod
        def get_ipython():
            return Shell()

    monkeypatch.setitem(__import__("sys").modules, "IPython", IPython)
    assert not is_static()
    monkeypatch.setenv("GNIVO_STATIC", "1")
    assert is_static()
    monkeypatch.setenv("GNIVO_STATIC", "0")
    assert not is_static()
