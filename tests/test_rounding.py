"""What is committed for people to read states no number that rounding makes.

3.6e-14 on one processor is 1.4e-14 on another: a text says "below 1e-12", which holds on both
(`exact.below`). Looked at: prose, printed outputs, strings and comments of the notebooks, the
README and the pages beside the notebooks, and the docstrings of the library.
"""

import ast
import io
import json
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"(?<![\w.])(?:\d+\.?\d*e[-−]\d+|10\^\{?[-−]\d+\}?|0\.0{9,}\d+)(?!\w)")
# A bound is no number that was measured: these words may stand before one.
BOUND = re.compile(r"(?:below|under|within|at most|less than|limit|to|<|≤)[\s$`(]*$", re.IGNORECASE)
# Examples of small numbers that an answer may hold, not sizes of an error.
EXAMPLES = {"4.6e-24", "4.6e-23"}


def value(number):
    """What a number in any of the three spellings is.

    >>> value("2e−15"), value("10^{-12}"), value("0.00000000002")
    (2e-15, 1e-12, 2e-11)
    """
    return float(re.sub(r"10\^\{?([-−]\d+)\}?", r"1e\1", number).replace("−", "-"))


def made_by_rounding(texts):
    """The numbers other than zero below 1e-10 that no word makes a bound."""
    return [
        match[0]
        for text in texts
        for match in NUMBER.finditer(text)
        if 0 < value(match[0]) < 1e-10
        and match[0] not in EXAMPLES
        and not BOUND.search(text[: match.start()])
    ]


def words_of(code):
    """The strings and comments of Python code: what it may print, and what a reader reads."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    yield from (token.string for token in tokens if token.type == tokenize.COMMENT)


def of_a_notebook(notebook):
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        yield from [source] if cell["cell_type"] == "markdown" else words_of(source)
        for output in cell.get("outputs", []):
            yield "".join(output.get("text", []))
            data = output.get("data", {})
            yield from ("".join(data[kind]) for kind in data if kind.startswith("text/"))


def of_a_module(code):
    """Its docstrings, without what a doctest types in."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            lines = (ast.get_docstring(node) or "").splitlines()
            yield "\n".join(line for line in lines if not line.strip().startswith((">>>", "...")))


def texts(path):
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return list(of_a_notebook(json.loads(content)))
    return [content] if path.suffix == ".md" else list(of_a_module(content))


KINDS = ["notebooks/*.ipynb", "notebooks/*.md", "*.md", "gnivo_edu/**/*.py", "toy_envs/**/*.py"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_text_states_a_number_that_rounding_makes(kind):
    paths = sorted(ROOT.glob(kind))
    assert paths
    stated = {str(path.relative_to(ROOT)): made_by_rounding(texts(path)) for path in paths}
    assert {path: numbers for path, numbers in stated.items() if numbers} == {}


PROSE = {"cell_type": "markdown", "source": ["the error is $10^{-14}$"]}
PRINTS = {"cell_type": "code", "source": ["print('spread 3.6e-14')"], "outputs": []}
PRINTED = {
    "cell_type": "code",
    "source": ["print(spread, limit < 1e-12)"],
    "outputs": [{"output_type": "stream", "text": ["spread 3.6e−14\n"]}],
}
SHOWN = {
    "cell_type": "code",
    "source": ["spread"],
    "outputs": [{"output_type": "execute_result", "data": {"text/plain": ["0.000000000000036"]}}],
}


@pytest.mark.parametrize(
    "cell", [PROSE, PRINTS, PRINTED, SHOWN], ids=["prose", "code", "output", "value"]
)
def test_one_planted_in_a_notebook_is_seen(cell):
    assert len(made_by_rounding(of_a_notebook({"cells": [cell]}))) == 1


def test_one_planted_in_a_docstring_is_seen():
    code = '"""Off by 2e-15 nats; below 1e-12.\n\n>>> f(1e-13)\n3e-16\n"""\nEPSILON = 1e-15'
    assert made_by_rounding(of_a_module(code)) == ["2e-15", "3e-16"]


@pytest.mark.parametrize(
    "text",
    [
        "below 1e-12",
        "within $10^{-12}$",
        "error < 1e-14: True",
        "at most 2e-13",
        "0.0e-00",
        "a step of 1e-5",
        "1e-10",
    ],
)
def test_bounds_and_larger_numbers_are_let_through(text):
    assert made_by_rounding([text]) == []
