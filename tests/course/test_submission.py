"""Right work passes in every way in which Jupyter accepts it."""

import pytest

from gnivo_edu.course import check, remote
from gnivo_edu.course.remote import grade_exercise

HEAD = "import numpy as np\nfrom gnivo_edu.course import check"
ASK = "check.step_credit(step_credit)"


def answer(factor="1", name="step_credit"):
    return (
        f"def {name}(values, reward, alpha):\n"
        f"    return {factor} * np.diff(np.append(values, reward / alpha))\n"
    )


FAST = {
    "a command, a magic and help": [
        HEAD, "files = !ls\n%matplotlib inline\nnp.diff?\n" + answer() + ASK],
    "another name": [HEAD, answer(name="mine") + "check.step_credit(mine)"],
    "a loop that appends": [
        HEAD, "t = []\nfor i in range(2):\n    t.append(1.0)\n" + answer("t[1]") + ASK],
}  # fmt: skip
WAYS = {
    "a cell that is timed": [HEAD, "%%time\n" + answer() + ASK],
    "a cell that is captured": [HEAD, "%%capture out\n" + answer() + ASK],
    "a cell in another language": ["%%bash\nfalse", HEAD, "%%html\n<def>", answer() + ASK],
    "what a command prints": [HEAD, "k = !echo 1\nk = int(k.n)\n" + answer("k") + ASK],
    "what a command prints of a name": [
        HEAD, "ax = 1\nz = !echo {ax}\ny = !echo $ax\nk = int(z[0]) * int(y[0])\n" + answer("k")
        + ASK],
    "a file written in a with": [
        HEAD, "with open('q.txt', 'w') as f:\n    f.write('1')", "k = float(open('q.txt').read())",
        answer("k") + ASK],
    "a file written by a cell": [
        "%%writefile of_a_cell.py\none = 1", HEAD,
        "from of_a_cell import one\n" + answer("one") + ASK],
    "a variable of the environment": [
        "%env FACTOR=1\nimport os", HEAD, answer("float(os.environ['FACTOR'])") + ASK],
    "display": [HEAD, answer("(display(values), 1)[1]") + "display(step_credit)\n" + ASK],
    "__main__": [HEAD, "if __name__ == '__main__':\n    k = 1", answer("k") + ASK],
    "await": [HEAD, "async def one():\n    return 1\nk = await one()", answer("k") + ASK],
    "annotations of the future": [
        "from __future__ import annotations\n" + HEAD,
        answer().replace("credit(values", "credit(values: Unknown") + ASK],
    "a data class": [
        "from __future__ import annotations\n" + HEAD,
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    k: float = 1\n",
        answer("A().k") + ASK],
    "no function but a lambda": [
        HEAD, "check.step_credit(lambda v, r, a: np.diff(np.append(v, r / a)))"],
    "a method": [
        HEAD, "class S:\n    def f(self, v, r, a):\n        return np.diff(np.append(v, r / a))\n"
        "check.step_credit(S().f)"],
    "checked in a function": [
        HEAD, answer(name="mine") + "def test(f):\n    check.step_credit(f)\ntest(mine)"],
    "checked in a try": [
        HEAD, answer() + "try:\n    " + ASK + "\nexcept check.CheckFailed:\n    raise"],
    "update": [HEAD, "t = {}\nt.update(one=1.0)\n" + answer("t['one']") + ASK],
    "set up by a function": [
        HEAD, "def setup():\n    global one\n    one = 1.0\nsetup()\n" + answer("one") + ASK],
    "a method of an object": [
        HEAD, "class A:\n    one = 0\n    def go(self):\n        self.one = 1\na = A()\na.go()\n"
        + answer("a.one") + ASK],
    "an attribute of the function": [
        HEAD, answer("step_credit.one") + "step_credit.one = 1\n" + ASK],
    "names reused afterwards": [
        HEAD, "k = 1\n" + answer("k") + ASK, "k = 'text'\nnp = 3\nstep_credit = 7"],
    "a wrong one tried afterwards": [HEAD, answer() + ASK, "check.step_credit(lambda v, r, a: v)"],
    "checked before it is written": [HEAD, ASK, answer()],
    "written anew after the check": [
        HEAD, answer("2") + ASK, answer()],
    "an endless demonstration": [HEAD, answer() + ASK, "while True: print(step_credit)"],
    "torch in float64": [
        HEAD + "\nimport torch\ntorch.set_default_dtype(torch.float64)",
        "def step_credit(values, reward, alpha):\n"
        "    return torch.diff(torch.tensor([*values.tolist(), reward / alpha])).numpy()\n" + ASK],
    "deep recursion": [
        HEAD, "import sys\nsys.setrecursionlimit(20_000)",
        "def one(n):\n    return 1 if n == 0 else one(n - 1)\n" + answer("one(5000)") + ASK],
}  # fmt: skip


# What no name tells: only the whole notebook, run as Jupyter runs it, has it.
DOORS = {
    "setattr on the function": [
        HEAD, answer("step_credit.k") + "step_credit.k = 2",
        "setattr(step_credit, 'k', 1)\n" + ASK],
    "a name given by globals": [
        HEAD, "def step_credit(*given):\n    raise NotImplementedError", answer(name="mine"),
        "globals()['step_credit'] = mine\n" + ASK],
    "source that is run": [
        HEAD, f"source = 'import math\\nk = math.cos(0)\\n' + {answer('k')!r}",
        "exec(source)", ASK],
    "source that is run and checks itself": [HEAD, f"exec({answer() + ASK!r})"],
    "a task that is awaited in the next cell": [
        HEAD, "import asyncio\nasync def one():\n    return 1\ntask = asyncio.create_task(one())",
        "k = await task\n" + answer("k") + ASK],
    "the result before": [HEAD, "1.0", "k = _", answer("k") + ASK],
    "results by number": [HEAD, "1.0", "k = _2 * Out[2]", answer("k") + ASK],
    "a module that is written and imported": [
        HEAD, "with open('written.py', 'w') as f:\n    f.write('one = 1')",
        "from written import one\n" + answer("one") + ASK],
    "a script that needs the notebook": [
        HEAD, "two = 2", "%%writefile script.py\none = two / 2", "%run -i script\n",
        answer("one") + ASK],
    "a file that bash writes": [
        HEAD, "%%bash\necho 1 > q.txt", "k = float(open('q.txt').read())\n" + answer("k") + ASK],
    "a magic of one's own": [
        HEAD, "from IPython.core.magic import register_line_magic\n@register_line_magic\n"
        "def one(line):\n    return 1", "k = %one\n" + answer("k") + ASK],
    "names pushed into the shell": [
        HEAD, "get_ipython().push({'k': 1})\n" + answer("k") + ASK],
    "settings of what a call returns": [
        HEAD, "import decimal\ndecimal.getcontext().prec = 3",
        answer("(decimal.Decimal(1) / 3 * 3 == decimal.Decimal('0.999'))") + ASK],
    "a script with a very long name": [HEAD, f"%run {'a' * 300}.py\n", answer() + ASK],
}  # fmt: skip


@pytest.mark.parametrize("cells", FAST.values(), ids=FAST)
def test_right_work_passes(cells):
    assert grade_exercise(check.step_credit, cells).reason == ""


@pytest.mark.slow
@pytest.mark.parametrize("cells", (WAYS | DOORS).values(), ids=WAYS | DOORS)
def test_right_work_passes_in_every_way(cells):
    assert grade_exercise(check.step_credit, cells).reason == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "cells",
    [
        [HEAD, "%%bash\n" + answer(), ASK],
        [HEAD, "t = []\nt.append(2.0)\n" + answer("t[0]") + ASK],
        [HEAD, answer("2", name="mine") + "check.step_credit(mine)"],
    ],
    ids=["a function in bash", "a wrong change", "a wrong function of another name"],
)
def test_wrong_work_does_not(cells):
    assert grade_exercise(check.step_credit, cells).status in ("failed", "not attempted")


def test_the_reason_names_the_statement_that_failed_first():
    cells = [HEAD, "a = 1 / 0\nk = a + 1\n", answer("k") + ASK]
    reason = grade_exercise(check.step_credit, cells).reason
    assert "ZeroDivisionError: division by zero, in cell 2: a = 1 / 0" in reason


def test_a_wrong_value_names_it_too():
    cells = [HEAD, "k = 2", "k = missing(k)", answer("k") + ASK]
    reason = grade_exercise(check.step_credit, cells).reason
    assert "expected 0.5, got 1" in reason
    assert "before that, NameError: name 'missing' is not defined, in cell 3: k = missing" in reason


@pytest.mark.slow
def test_the_whole_notebook_is_run_up_to_the_check_only():
    cells = [
        HEAD,
        "k = 1",
        "exec('k = 2 / k')",
        answer("k / 2") + ASK,
        "k = 'text'\nwhile True: pass",
    ]
    assert grade_exercise(check.step_credit, cells).reason == ""


@pytest.mark.slow
def test_wrong_work_fails_in_the_whole_notebook_too():
    cells = [HEAD, "exec('k = 2')", answer("k") + ASK]
    reason = grade_exercise(check.step_credit, cells).reason
    assert "expected 0.5, got 1" in reason
    cells = [HEAD, "exec('k = 1 / 0')", answer("k") + ASK]
    reason = grade_exercise(check.step_credit, cells).reason
    assert "NameError: name 'k' is not defined" in reason
    assert "before that, ZeroDivisionError: division by zero, in cell 2: exec" in reason


@pytest.mark.parametrize(
    ("line", "ways"),
    [
        ("return valeus", 1),
        ("return values.maen()", 1),
        ("return reward.k", 1),
        ("return np.later", 2),
        ("return step_credit.k", 2),
        ("return later", 2),
    ],
)
def test_a_slip_of_the_pen_costs_no_run_of_the_whole_notebook(line, ways, monkeypatch):
    attempts = []
    start = remote.start
    monkeypatch.setattr(remote, "start", lambda *given: attempts.append(1) or start(*given))
    cells = [HEAD, f"def step_credit(values, reward, alpha):\n    {line}\n" + ASK]
    cells += ["def other():\n    import __main__\n    __main__.later = 1"]
    assert grade_exercise(check.step_credit, cells).status == "failed"
    assert len(attempts) == ways
