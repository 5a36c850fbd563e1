"""Which statements of a notebook a function needs."""

import ast
import re
from pathlib import Path

import pytest

from gnivo_edu.course.flow import plans
from gnivo_edu.course.statements import asking, has_doors, step_of

END = "def f(x):\n    return x * {}\ncheck.f(f)"


def lines_run(source, attempt):
    statements = [(1, node) for node in ast.parse(source).body]
    ways = list(plans(statements, "f"))
    return [ast.unparse(statements[i][1]) for i in sorted(ways[attempt])]


def test_at_first_only_what_binds_a_name_is_run():
    source = "import os, time\nk = 2\nk += 1\ntime.sleep(1000)\nprint(k)\n" + END.format("k")
    assert lines_run(source, 0) == ["k = 2", "k += 1", *END.format("k").rsplit("\n", 1)]


@pytest.mark.parametrize(
    "change",
    [
        "t.append(1)",
        "for i in range(2):\n    t.append(i)",
        "[t.append(i) for i in range(2)]",
        "list.append(t, 1)",
        "def fill(a):\n    a.append(1)\nfill(t)",
        "def fill():\n    t.append(1)\ndef go():\n    fill()\ngo()",
        "second = t\nsecond.append(1)",
        "for one in (t, []):\n    one.append(1)",
        "class Bag:\n\n    def __init__(self, inner):\n        self.inner = inner\n\n"
        "    def fill(self):\n        self.inner.append(1)\nbag = Bag(t)\nbag.fill()",
        "def keep(g):\n    t.append(g)\n    return g\n\n@keep\ndef one():\n    pass",
        "globals()['t'].append(1)",
        "exec('t.append(1)')",
    ],
)
def test_then_all_that_may_change_an_object(change):
    source = f"import time\nt = []\nother = []\n{change}\nother.append(2)\ntime.sleep(1)\n" + (
        END.format("t[0]")
    )
    ran = lines_run(source, -1)
    for node in ast.parse(change).body:
        assert ast.unparse(node) in ran
    assert "other.append(2)" not in ran
    assert "time.sleep(1)" not in ran


def test_a_function_that_binds_a_global_name_is_called():
    source = "def setup():\n    global k\n    k = 2\nsetup()\n" + END.format("k")
    assert "setup()" in lines_run(source, -1)


def test_settings_of_packages_that_it_uses_are_made():
    source = (
        "import torch, seaborn\ntorch.set_default_dtype(torch.float64)\nseaborn.set_theme()\n"
        "def f(x):\n    import torch\n    return torch.tensor(x)\ncheck.f(f)"
    )
    assert "torch.set_default_dtype(torch.float64)" in lines_run(source, -1)
    assert "seaborn.set_theme()" not in lines_run(source, -1)


def test_what_comes_after_the_check_counts_only_if_nothing_else_passes():
    source = "k = 2\n" + END.format("k") + "\nk = 'reused'\nf = 7"
    assert "k = 'reused'" not in lines_run(source, 0)
    assert lines_run(source, -1)[-1] == "f = 7"
    assert len(lines_run(source, 0)) == 3


def test_no_way_twice():
    source = END.format("2")
    assert len(list(plans([(1, node) for node in ast.parse(source).body], "f"))) == 1
    assert list(plans([(1, node) for node in ast.parse("x = 1").body], "f")) == []


@pytest.mark.parametrize(
    "source",
    [
        "check.f(mine)",
        "check.f(lambda x: x)",
        "check.f.run(mine)",
        "import gnivo_edu.course.check\ngnivo_edu.course.check.f(mine)",
        "import gnivo_edu.course.check as c\nc.f(mine)",
        "from gnivo_edu.course import check as c\nc.f(mine)",
        "from gnivo_edu.course.check import f as c\nc(mine)",
        "c = check\nc.f(mine)",
        "c = check.f\nc(mine)",
        "getattr(check, 'f')(mine)",
        "def test(g):\n    check.f(g)\ntest(mine)",
        "try:\n    check.f(mine)\nexcept check.CheckFailed:\n    pass",
        "for c, g in [(check.f, mine)]:\n    c(g)",
    ],
)
def test_a_check_is_seen_under_any_name(source):
    body = ast.parse(source).body
    steps = [step_of(node) for node in body]
    assert asking(steps, "f") == [len(body) - 1]
    assert asking(steps, "other") == []


IDLE = [
    "print('a table of', *(f'{n:>3}' for n in (1, 2)))",
    "check.f.hint()",
    "check.other.solution()",
    "get_ipython().run_line_magic('matplotlib', 'inline')",
    "get_ipython().run_line_magic('timeit', 'f(1)')",
]


@pytest.mark.parametrize("idle", IDLE)
def test_what_only_shows_something_gives_no_second_way(idle):
    source = "from gnivo_edu.course import check\n" + END.format("2")
    statements = [(1, node) for node in ast.parse(f"{idle}\n{source}\n{idle}").body]
    assert list(plans(statements, "f")) == [frozenset({1, 2, 3})]


@pytest.mark.parametrize(
    "line", ["print('a', file=open('q.txt', 'w'))", "exec('k = 2')", "get_ipython().system('ls')"]
)
def test_what_may_do_more_is_run(line):
    assert line in lines_run(END.format("2") + f"\n{line}", -1)


def test_a_print_of_ones_own_is_run():
    source = "seen = []\ndef print(text):\n    seen.append(text)\nprint('1')\n"
    assert "print('1')" in lines_run(source + END.format("seen[0]"), -1)


@pytest.mark.slow
def test_the_committed_notebooks_have_one_way():
    """Or every wrong answer in them would cost a second process."""
    for source in (Path(__file__).resolve().parents[2] / "notebooks" / "src").glob("*.py"):
        text = source.read_text(encoding="utf-8")
        statements = [(1, node) for node in ast.parse(text).body]
        for name in set(re.findall(r"^check\.(\w+)\(", text, re.MULTILINE)):
            assert len(list(plans(statements, name))) == 1, (source.name, name)


def test_expressions_of_thousands_of_brackets_end_nothing():
    deep = "x = " + "-" * 5000 + "1"
    node = ast.parse("x = 1").body[0]
    for _ in range(5000):
        node.value = ast.UnaryOp(ast.USub(), node.value)
    del deep
    assert list(plans([(1, node), *((2, n) for n in ast.parse("def f(): pass").body)], "f"))


@pytest.mark.parametrize(
    "change",
    [
        "with open('q.txt', 'w') as f:\n    f.write('-1')",
        "with open(name, mode) as f:\n    print(1, file=f)",
        "open(name, 'w').write('-1')",
        "np.savetxt(name, [1])",
        "def keep():\n    Path('q.txt').write_text('1')\nkeep()",
        "get_ipython().system('echo 1 > q.txt')",
    ],
)
def test_what_reads_a_file_needs_what_may_write_one(change):
    source = f"name, mode = 'q.txt', 'w'\n{change}\ntime.sleep(1)\nseen = open('other').read()\n"
    ran = lines_run(source + "k = open('q.txt').read()\n" + END.format("k"), -1)
    for node in ast.parse(change).body:
        assert ast.unparse(node) in ran
    assert "time.sleep(1)" not in ran
    assert "seen = open('other').read()" not in ran


@pytest.mark.parametrize("command", ["echo {a + 1}", "echo $a"])
def test_a_command_reads_the_names_that_are_put_into_it(command):
    line = f"z = get_ipython().getoutput({command!r})"
    assert lines_run(f"a = 1\nb = 2\n{line}\n" + END.format("z"), 0)[:2] == ["a = 1", line]


@pytest.mark.parametrize(
    ("line", "door"),
    [
        ("setattr(f, 'k', 1)", True),
        ("globals()['k'] = 1", True),
        ("f.__dict__['k'] = 1", True),
        ("k = _", True),
        ("k = Out[3]", True),
        ("get_ipython().run_line_magic('run', 'helper')", True),
        ("r = get_ipython().run_line_magic('timeit', '-o f()')", True),
        ("get_ipython().run_line_magic('matplotlib', 'inline')", False),
        ("for _ in range(3):\n    print(f.__name__)", False),
        ("class A:\n    def __init__(self):\n        self.k = 1", False),
        ("first, _ = f(2)", False),
    ],
)
def test_what_no_name_tells(line, door):
    assert has_doors(map(step_of, ast.parse(line).body)) == door


def test_the_committed_notebooks_have_no_doors():
    """Or every wrong answer in them would cost a run of the whole notebook."""
    for source in (Path(__file__).resolve().parents[2] / "notebooks" / "src").glob("*.py"):
        steps = map(step_of, ast.parse(source.read_text(encoding="utf-8")).body)
        assert not has_doors(steps), source.name
