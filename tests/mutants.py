"""Mutation testing of the formulas (`make mutants`): is a wrong one caught by some test?

mutmut writes every mutant of every function of a room, and runs the tests that call the function
until one fails, each mutant in a process of its own. The rooms: `--room objectives`, of
gnivo_edu/objectives and gnivo_edu/batch.py, and `--room exact`, of gnivo_edu/exact. Mutated are
numbers (one more, one less), operators and signs, comparisons, conditions, True and False, and what
goes wrong in a formula: a mean for a sum, a missing mask, `detach` or argument, another normaliser
or KL estimator, a maximum for a logsumexp, a largest for a smallest. Left out: error messages,
names of metrics, in the exact room the length checks of zip. A mutant is caught if a test fails.
The score is the share of caught mutants, survivors that change nothing counted as missed; each
survivor needs a reason in mutants_survivors.toml or mutants_survivors_exact.toml. The exit status
is 1 without one, or below the goal."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REASONS = {
    "objectives": ROOT / "tests/mutants_survivors.toml",
    "exact": ROOT / "tests/mutants_survivors_exact.toml",
}
GOALS = {"gnivo_edu.objectives": 0.985, "gnivo_edu.batch": 0.985, "gnivo_edu.exact": 0.90}
# The settings of the objectives stand in pyproject.toml; another room replaces these of them.
ROOMS = {
    "objectives": {},
    "exact": {
        "only_mutate": ["gnivo_edu/exact/*.py"],
        "pytest_add_cli_args_test_selection": ["tests/exact"],
    },
}
# fmt: off
# x.f(...) becomes x.g(...).
SWAPPED = {
    "mean": "sum", "sum": "mean", "amax": "amin", "amin": "amax", "maximum": "minimum",
    "minimum": "maximum", "ones_like": "zeros_like", "zeros_like": "ones_like",
    "logsigmoid": "sigmoid", "expm1": "exp", "rsqrt": "sqrt",
}
# x.f(...) becomes x.
DROPPED = {
    "masked_fill", "detach", "clamp", "square", "exp", "sqrt", "sigmoid", "sign", "absorb",
    "by_step", "std",
}
# A choice becomes a neighbour of it.
CHOICES = {
    "token-mean": "seq-mean-token-mean", "seq-mean-token-mean": "seq-mean-token-sum",
    "seq-mean-token-sum": "seq-mean-token-mean", "seq-mean-token-sum-norm": "seq-mean-token-sum",
    "k1": "k3", "k2": "k3", "k3": "k1", "exact": "k3", "value": "policy", "policy": "value",
    "group": "batch", "none": "group", "raw": "softmax", "all": "last", "sum_max": "sum_min",
    "token": "step", "mean": "leave_one_out", "hard": "soft", "half": "first", "sigmoid": "ipo",
    "best": "threshold", "completion": "completion_softmax",
}
# In the exact room: np.f becomes np.g, and a method of an array or a builtin becomes its neighbour.
NUMPY = {
    "exp": "expm1", "expm1": "exp", "log": "log1p", "logaddexp": "maximum", "abs": "positive",
    "minimum": "maximum", "maximum": "minimum", "zeros": "ones", "ones": "zeros",
    "zeros_like": "ones_like", "ones_like": "zeros_like", "isneginf": "isposinf",
}
METHODS = {"max": "min", "min": "max", "any": "all", "all": "any", "prod": "sum", "sum": "mean"}
BUILTINS = {"max": "min", "min": "max", "any": "all", "all": "any", "reversed": "iter"}
KEPT = {
    "operator_number", "operator_name", "operator_remove_unary_ops", "operator_keywords",
    "operator_swap_op", "operator_if_exp",
}
# fmt: on


def teach_operators(room: str) -> None:
    """Our operators beside those of mutmut that fit formulas."""
    import libcst as cst
    from mutmut.mutation import mutators

    def call(node: cst.Call) -> Iterator[cst.BaseExpression]:
        if isinstance(node.func, cst.Attribute) and room != "exact":
            name = node.func.attr.value
            if name in SWAPPED:
                yield node.with_changes(func=node.func.with_changes(attr=cst.Name(SWAPPED[name])))
            if name in DROPPED:
                yield node.func.value
        for i in range(len(node.args)):
            yield node.with_changes(args=[*node.args[:i], *node.args[i + 1 :]])

    def choice(node: cst.SimpleString) -> Iterator[cst.SimpleString]:
        if node.evaluated_value in CHOICES:
            yield node.with_changes(value=repr(CHOICES[node.evaluated_value]))

    def one_less(node: cst.Integer) -> Iterator[cst.Integer]:
        if node.evaluated_value > 0:
            yield node.with_changes(value=str(node.evaluated_value - 1))

    def numpy(node: cst.Attribute) -> Iterator[cst.Attribute]:
        module = isinstance(node.value, cst.Name) and node.value.value == "np"
        if name := (NUMPY if module else METHODS).get(node.attr.value):
            yield node.with_changes(attr=cst.Name(name))

    def builtin(node: cst.Call) -> Iterator[cst.Call]:
        if isinstance(node.func, cst.Name) and node.func.value in BUILTINS:
            yield node.with_changes(func=cst.Name(BUILTINS[node.func.value]))

    chosen = [pair for pair in mutators.mutation_operators if pair[1].__name__ in KEPT]
    mutators.mutation_operators[:] = [
        *chosen,
        (cst.Call, call),
        (cst.SimpleString, choice),
        (cst.Integer, one_less),
    ]
    if room == "exact":
        mutators.mutation_operators += [(cst.Attribute, numpy), (cst.Call, builtin)]


def run_mutmut(room: str, names: list[str], workers: int) -> dict[str, tuple[str, str]]:
    """(status, what was changed) of each mutant, in the current folder."""
    teach_operators(room)
    from mutmut import __main__ as mutmut
    from mutmut.runners.harness import PytestRunner
    from mutmut.state import state

    plain = PytestRunner._pytest_args_regular_run
    # The quick tests first.
    PytestRunner._pytest_args_regular_run = lambda self, tests: plain(
        self, sorted(tests, key=lambda test: (state().duration_by_test.get(test, 0.0), test))
    )
    if not sys.stdout.isatty():  # no progress bar in a log
        mutmut.print_stats = mutmut.print_status = lambda *args, **settings: None
    mutmut._run(names, workers)
    mutants = {}
    for path in mutmut.walk_mutatable_files():
        data = mutmut.SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            if not names or any(fnmatch(name, pattern) for pattern in names):
                mutants[name] = (
                    mutmut.status_by_exit_code[code],
                    change(mutmut.get_diff_for_mutant(name, path=path)),
                )
    return mutants


def change(diff: str) -> str:
    """The file of a mutant and its line, before => after: what a reason is filed under."""
    lines = diff.splitlines()
    before, after = ([x[1:].strip() for x in lines[2:] if x.startswith(sign)] for sign in "-+")
    return f"{Path(lines[0].split()[-1]).name}: {' '.join(before)} => {' '.join(after)}"


def report(
    mutants: dict[str, tuple[str, str]], seconds: float, survivors: Path, whole: bool = True
) -> bool:
    """Print the survivors and the scores; is the goal reached, and every survivor explained?"""
    reasons = {
        mutant: entry["reason"]
        for entry in tomllib.loads(survivors.read_text())["survivors"]
        for mutant in entry["mutants"]
    }
    alive = {
        name: text
        for name, (status, text) in mutants.items()
        if status not in ("killed", "timeout")
    }
    for name, text in sorted(alive.items()):
        print(
            f"{text}\n    {reasons.get(text, 'NO REASON: catch it with a test, or explain it')} "
            f"[{name}]"
        )
    for text in sorted(reasons.keys() - set(alive.values())) if whole else ():
        print(f"no survivor, take it from {survivors.name}: {text}")
    passed = all(text in reasons for text in alive.values())
    for part, goal in GOALS.items():
        if total := sum(name.startswith(part) for name in mutants):
            caught = total - sum(name.startswith(part) for name in alive)
            passed &= caught >= goal * total
            print(
                f"{part}: {total} mutants, {caught} caught, score {caught / total:.4f} (goal "
                f"{goal})"
            )
    print(
        f"{len(alive)} survivors, {sum(x not in reasons for x in alive.values())} without a "
        f"reason; {seconds:.0f} s"
    )
    return passed


def main() -> int:
    """Run in a copy of the project, so that nothing is left behind."""
    parser = argparse.ArgumentParser(description="Score the tests of a room by mutants.")
    parser.add_argument(
        "names", nargs="*", help="mutants, as patterns: gnivo_edu.objectives.gvpo.* (default: all)"
    )
    parser.add_argument("--room", choices=ROOMS, default="objectives")
    parser.add_argument("--workers", type=int, default=2)
    asked, start = parser.parse_args(), time.monotonic()
    # Without the recorded numbers: what the project's own tests can show.
    os.environ |= {"OMP_NUM_THREADS": "1", "GNIVO_SHARED": "none"}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("gnivo_edu", "toy_envs", "tests"):
            shutil.copytree(
                ROOT / name, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__")
            )
        settings = (ROOT / "pyproject.toml").read_text()
        for name, value in ROOMS[asked.room].items():
            settings = re.sub(rf"(?m)^{name} = .*", f"{name} = {json.dumps(value)}", settings)
        Path(folder, "pyproject.toml").write_text(settings)
        library = Path(folder, "gnivo_edu")
        # mutmut leaves decorated functions alone: @property above a function becomes a statement
        # below it.
        pattern = r"    @((?:cached_)?property)\n(    def (\w+)\(.*\n(?: {8}.*\n|\n(?= {8}))*)"
        for file in [library / "batch.py", *(library / "exact").glob("*.py")]:
            text = re.sub(pattern, r"\2\n    \3 = \1(\3)\n", file.read_text())
            file.write_text(text.replace(", strict=True", ""))
        os.chdir(folder)
        mutants = run_mutmut(asked.room, asked.names, asked.workers)
        os.chdir(ROOT)
    return not report(mutants, time.monotonic() - start, REASONS[asked.room], whole=not asked.names)


if __name__ == "__main__":
    sys.exit(main())
