"""Cells as Python: what IPython adds is read as IPython reads it."""

import ast
import subprocess
import sys

import pytest

from gnivo_edu.course import cells
from gnivo_edu.course.cells import python


def code(source):
    return "\n".join(ast.unparse(node) for node in python(source)[1])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1", "x = 1"),
        ("!pip install \\\n  numpy\nx = 1", "x = 1"),
        ("K = (7\n  % 6)\n%matplotlib inline", "K = 7 % 6"),
        ('s = """\n%no\n!no\n"""\n%matplotlib inline', "s = '\\n%no\\n!no\\n'"),
        ("%time k = 2", "k = 2"),
        ("%%time\n%matplotlib inline\nk = 2", "k = 2"),
        ("%%capture --no-stderr out\nk = 2", "k = 2\nout = get_ipython().captured()"),
        (">>> k = (1 +\n...      2)", "k = 1 + 2"),
        ("    k = 2", "k = 2"),
        ("np.append?\nk = 2", "k = 2"),
        ("%%bash\ndef f(:", ""),
        ("%%javascript\nlet f = 1;", ""),
    ],
)
def test_what_it_binds(source, expected):
    kept = [line for line in code(source).splitlines() if not line.startswith("get_ipython()")]
    assert "\n".join(kept) == expected


def test_lines_of_a_magics_python_keep_their_numbers():
    _, (node,) = python("%%time\n\nk = 2")
    assert node.lineno == 3


def test_what_jupyter_refuses_is_refused():
    for source in ("def f(:", "%%time\ndef f(:", "x = = 1"):
        with pytest.raises(SyntaxError):
            python(source)


def test_reading_magics_leaves_ipython_to_the_notebook():
    """IPython's transformer is read alone; whoever imports IPython afterwards gets the whole."""
    program = (
        "import sys\nfrom gnivo_edu.course.cells import python\npython('%time x = 1')\n"
        "assert 'IPython' not in sys.modules\n"
        "from IPython.display import display\nimport IPython\nprint(IPython.version_info[0] > 7)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    "source",
    [
        "%matplotlib inline\nx = 1",
        "x = 1\n%load_ext autoreload\n%autoreload 2\ny = 2",
        "%config A.b = 'c'  # why\nx = 1",
        "def f():\n    return 1\n%time f()",
    ],
)
def test_plain_magics_are_read_as_ipython_reads_them(source):
    ours, theirs = cells._plain_magics(source), cells._as_python()(source)
    assert ast.dump(ast.parse(ours)) == ast.dump(ast.parse(theirs))


@pytest.mark.parametrize(
    "source", ["k = (7\n%six)\n%pwd", "%%time\nx = 1", "%pip x \\\n y", "%ls?"]
)
def test_all_others_are_left_to_it(source):
    assert cells._plain_magics(source) is None
