"""The house: arrows run downward, there is no circle, and nobody asks a task what it is."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the ground up; a room may use those before it, and rooms of one floor do not know each other
# but for what BESIDE says.
FLOORS = (
    ("toy_envs", "names", "machine", "statistics"),
    ("values", "files", "new"),
    ("exact",),
    ("batch",),
    ("objectives",),
    ("policies", "figures"),
    ("tasks", "pages"),
    ("course",),
    ("population",),
    ("evaluation",),
    ("training",),
    ("bench", "verify", "show"),
    ("studies",),
    ("demo",),
    ("commands",),
    ("cli",),
)
BESIDE: set[tuple[str, str]] = set()


def modules():
    """Every module of the library by its dotted name."""
    files = [p for room in ("gnivo_edu", "toy_envs") for p in sorted((ROOT / room).rglob("*.py"))]
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in files}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def imports(name, path, known):
    """Modules of the library that a module imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [target if target in known else node.module for target in inner]
        else:
            continue
        yield from (target for target in targets if target in known and target != name)


@pytest.fixture(scope="module")
def arrows():
    known = modules()
    return {name: set(imports(name, path, known)) for name, path in known.items()}


def room_of(module):
    parts = module.split(".")
    return "toy_envs" if parts[0] == "toy_envs" else parts[1] if len(parts) > 1 else "gnivo_edu"


def circles(arrows):
    """Sets of modules that can each be reached from the others."""
    reach = {}
    for start in arrows:
        seen, stack = set(), [start]
        while stack:
            for after in arrows[stack.pop()] - seen:
                seen.add(after)
                stack.append(after)
        reach[start] = seen
    return {
        frozenset({m, *(n for n in reach[m] if m in reach[n])}) for m in arrows if m in reach[m]
    }


def upward(arrows):
    """Arrows to a room that does not stand below."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    found = []
    for module, targets in arrows.items():
        for target in targets:
            here, there = room_of(module), room_of(target)
            below = there == "gnivo_edu" or floor[there] < floor[here]
            if here not in (there, "gnivo_edu") and not below and (here, there) not in BESIDE:
                found.append(f"{module} -> {target}")
    return sorted(found)


def test_no_circle(arrows):
    assert not circles(arrows)


def test_no_arrow_runs_back_up(arrows):
    assert not upward(arrows)


def test_a_circle_and_an_upward_arrow_would_be_seen(arrows):
    planted = arrows | {"toy_envs.core": {"gnivo_edu.exact.tree"}}
    assert upward(planted) == ["toy_envs.core -> gnivo_edu.exact.tree"]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {frozenset("abc")}


ASKS = re.compile(r"(hasattr|getattr|isinstance)\((self\.)?(task|mdp|env|made|asked)\b")


def test_nobody_asks_a_task_what_it_is():
    asking = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in modules().values()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if ASKS.search(line)
    ]
    # Where a stranger's environment comes in, it is looked at once; the checker's trade is looking.
    assert [line for line in asking if "checker.py" not in line] == []
    assert ASKS.search("if hasattr(task, 'grade'):")
