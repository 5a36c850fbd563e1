"""Whatever of the user's decides a run's numbers is found, and nothing else is."""

from __future__ import annotations

import importlib
import sys
import textwrap
import time
from datetime import datetime
from functools import lru_cache, partialmethod

import numpy as np
import pytest
import torch
from torch import nn

from gnivo_edu.tasks import get
from gnivo_edu.training.plain_values import in_words, is_moment
from gnivo_edu.training.user_code import code_of, values_of
from tests.tasks.small_data import Words
from tests.tasks.small_data import write as rows_of


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write modules of the user's, and import the last one; whatever was imported is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def make(**texts):
        for name in set(sys.modules) - before:
            del sys.modules[name]
        for name, text in texts.items():
            for left in (name.replace("/", "."), name.partition("/")[0]):
                sys.modules.pop(left, None)  # by another test
            path = tmp_path.joinpath(*name.split("/")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return importlib.import_module(next(reversed(texts)).replace("/", "."))

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


def typed(text, **given):
    """The variables of a notebook in which a text was typed."""
    space = {"__name__": "__main__", "np": np, "time": time, **given}
    exec(textwrap.dedent(text), space)
    return space


LAZY = {
    "plain": "import helper; return helper.score(t)",
    "one name": "from helper import score; return score(t)",
    "renamed": "import helper as h; return h.score(t)",
    "tried": "\n        try: import helper\n        except ImportError: raise",
}


@pytest.mark.parametrize("body", LAZY.values(), ids=LAZY)
def test_a_module_that_a_function_imports_counts_before_it_is_imported(body, write):
    reward = f"def reward(t, n):\n        {body}\n"
    prints = []
    for factor in (1, 1, 2):
        helper = f"import deep\ndef score(x): return deep.times(x) * {factor}\n"
        module = write(deep="def times(x): return x\n", helper=helper, prize=reward)
        prints.append(code_of((module.reward,)))
        assert "helper" not in sys.modules
        importlib.import_module("helper")
        assert code_of((module.reward,)) == prints[-1]
    assert prints[0] == prints[1] != prints[2]
    assert set(prints[0]) == {"prize.py", "helper.py", "deep.py"}


def test_an_import_within_a_package_counts(write):
    files = {
        "mine/__init__": "",
        "mine/parts": "FACTOR = 1\n",
        "mine/prize": "def reward(t, n):\n    from . import parts\n    return t * parts.FACTOR\n",
    }
    module = write(**files)
    assert set(code_of((module.reward,))) == {"__init__.py", "parts.py", "prize.py"}


def test_an_import_of_a_library_or_of_nothing_does_not_count(write):
    text = "def reward(t, n):\n    import numpy, json.decoder, no_such_thing, gnivo_edu.names\n"
    assert set(code_of((write(prize=text).reward,))) == {"prize.py"}


METHODS = {
    "property": "@property\n    def part(self): return helped()",
    "static": "@staticmethod\n    def part(): return helped()",
    "class": "@classmethod\n    def part(cls): return helped()",
    "cached": "@lru_cache\n    def part(self): return helped()",
    "partial": "def whole(self, x): return helped()\n    part = partialmethod(whole, 1)",
    "class in it": "class Part:\n        def part(self): return helped()",
}


@pytest.mark.parametrize("text", METHODS.values(), ids=METHODS)
def test_methods_of_every_kind_count(text, write):
    module = write(helper="def helped(): return 1\n")
    space = typed(
        f"class Prize:\n    {text}\n    def __call__(self, t, n): return 1\n",
        helped=module.helped,
        lru_cache=lru_cache,
        partialmethod=partialmethod,
    )
    assert "helper.py" in code_of((space["Prize"](),))


def test_what_is_typed_and_not_kept_counts_by_what_it_does():
    def printed(text):
        return code_of((typed(f"def reward(t, n): return {text}")["reward"],))

    assert printed("t.mean(1)") == printed("t.mean(1)")
    others = ("t.mean(0)", "t.sum(1)", "[x for x in t]", "[x + 1 for x in t]")
    assert len({str(printed(text)) for text in ("t.mean(1)", *others)}) == 5


READ = {
    "number": ("SCALE = {}", "t * SCALE"),
    "array": ("SCALE = np.array([{}, 1])", "t @ SCALE"),
    "table": ("SCALE = {{'a': [{}]}}", "t * SCALE['a'][0]"),
    "inside": ("SCALE = {}", "[x * SCALE for x in t]"),
    "object": ("class C:\n    def __init__(s, x): s.x = x\nSCALE = C({})", "t * SCALE.x"),
    "of the class": ("class C: x = {}\nSCALE = C()", "t * SCALE.x"),
}


@pytest.mark.parametrize(("text", "body"), READ.values(), ids=READ)
def test_what_a_function_reads_where_it_stands_counts(text, body):
    def printed(x, other=0):
        source = f"{text.format(x)}\nOTHER = {other}\ndef reward(t, n): return {body}\n"
        return values_of((typed(source)["reward"],))

    assert printed(0.5) == printed(0.5, other=1) != printed(0.25)


def test_a_variable_of_another_module_counts_as_it_is_now(write):
    module = write(
        settings="SCALE = 1\n", prize="import settings\ndef reward(t, n): return settings.SCALE\n"
    )
    before = values_of((module.reward,))
    module.settings.SCALE = 2
    after = values_of((module.reward,))
    assert {name for name in after if after[name] != before[name]} == {"SCALE of reward"}


COUNTED = """
CALLS, KEPT, SEEN, SCALE = 0, {}, [], 0.5
def reward(t, n):
    global CALLS
    CALLS += 1
    KEPT[CALLS] = t
    SEEN.append(t)
    return SCALE
class Prize:
    def __init__(self): self.calls, self.kept, self.seen, self.scale = 0, {}, [], 0.5
    def __call__(self, t, n):
        self.calls += 1
        self.kept.setdefault(0, []).append(t)
        self.seen[0:0] = [t]
        return self.scale
def closed():
    calls, seen, scale = 0, [], 0.5
    def inner(t, n):
        nonlocal calls
        calls += 1
        seen.append(t)
        return scale
    return inner
"""


@pytest.mark.parametrize("make", ["reward", "Prize()", "closed()"])
def test_what_the_code_itself_counts_and_keeps_does_not(make, write):
    module = write(prize=COUNTED)
    reward = eval(make, vars(module))
    before = values_of((reward,))
    reward(3, 1)
    assert values_of((reward,)) == before
    assert {"SCALE of reward", "scale of Prize", "scale of closed.<locals>.inner"} & set(before)


NOTED = {
    "in an object": "class R:\n    def __init__(s): s.at = {}\n    def __call__(s, t, n): return 1",
    "in a notebook": "AT = {}\ndef R():\n    def r(t, n): return AT\n    return r",
    "in a closure": "def R():\n    at = {}\n    def r(t, n): return at\n    return r",
    "in a table": "class R:\n    def __init__(s): s.at = [{{'a': {}}}]",
}
CLOCKS = (
    "time.time()",
    "int(time.time())",
    "time.time_ns()",
    "time.perf_counter()",
    "time.monotonic_ns()",
    "datetime.now().isoformat()",
    "time.strftime('%Y-%m-%d %H:%M:%S')",
)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("text", NOTED.values(), ids=NOTED)
def test_a_time_that_is_noted_does_not_count(text, clock):
    prints = []
    for _ in range(2):
        prints.append(values_of((typed(text.format(clock), datetime=datetime)["R"](),)))
        time.sleep(0.001)
    assert prints[0] == prints[1]


def test_a_setting_is_no_time():
    settings = (
        0.5,
        1 / 3,
        20.0,
        1000,
        1e9,
        2**31,
        True,
        "2019-01-01",
        "12",
        "gsm8k",
        946684800,
        10**400,
    )
    assert not any(is_moment(x) for x in settings)


def test_files_of_the_same_name_are_two(write, tmp_path):
    def prints(first, second):
        text = "def part(t, n): return {}\n"
        files = {
            "a/__init__": "",
            "b/__init__": "",
            "a/score": text.format(first),
            "b/score": text.format(second),
            "prize": "from a.score import part as x\nfrom b.score import part as y\n"
            "def reward(t, n): return x(t, n) + y(t, n)\n",
        }
        write(**files)
        return code_of((sys.modules["prize"].reward,))

    first, swapped = prints(1, 2), prints(2, 1)
    assert set(first) == {"a/score.py", "b/score.py", "prize.py"}
    assert [name for name in first if first[name] != swapped[name]] == ["a/score.py", "b/score.py"]
    assert prints(1, 3) | {"b/score.py": ""} == first | {"b/score.py": ""}


def test_functions_of_the_same_name_are_two():
    space = typed("f = [lambda t: t, lambda t: t + 1, lambda t: t + 2]\n")["f"]
    assert len({str(code_of(tuple(space[i] for i in order))) for order in ((0, 1), (2, 1))}) == 2


def test_weights_of_a_reward_model_count():
    space = typed("def reward(t, n): return model(t)", model=nn.Linear(2, 1))
    before = values_of((space["reward"],))
    with torch.no_grad():
        space["model"].bias += 1
    assert values_of((space["reward"],)) != before


@pytest.mark.parametrize("x", [torch.zeros(0), torch.zeros(()), np.zeros((0, 2)), b"", np.int8(3)])
def test_small_values_are_said_too(x):
    assert in_words(x) == in_words(x) is not None


@pytest.mark.parametrize("names", [["one"], ["one", "two"]], ids=str)
def test_the_rewards_of_a_task_of_one_s_own_count(names, write, tmp_path):
    prints = []
    for factor in (1, 1, 2):
        one = f"def one(texts): return [{factor}.0 for _ in texts]\n"
        module = write(prize=one + "def two(texts): return one(texts)\n")
        file = rows_of(tmp_path / "questions.jsonl", [{"prompt": "?"}])
        rewards = [getattr(module, name) for name in names]
        task = get("dataset", Words(), path_or_id=file, reward=rewards)
        prints.append(code_of((task,))["prize.py"])
    assert prints[0] == prints[1] != prints[2]
