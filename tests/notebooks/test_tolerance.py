"""A cell that trains or samples says by how much its numbers may move elsewhere: one flipped token
moves a first digit."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
DRAWS = {"sample_groups", "sample_completions", "fine_tune", "step_values", "evaluate"}


def drawing(tree, functions):
    """Names of calls that train or sample, by the library or by a function that a cell defined."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="training"), attr="train")):
                yield "train"
            case ast.Call(func=ast.Attribute(attr=name)) if name in DRAWS:
                yield name
            case ast.Call(func=ast.Name(id=name)) if name in DRAWS | functions:
                yield name


def untagged(cells):
    """Numbers of the code cells that train or sample, print digits and state no tolerance."""
    functions: set[str] = set()
    for number, cell in enumerate(cells):
        if cell.cell_type != "code" or cell.source.startswith(("%", "!")):
            continue
        here = set()
        for statement in ast.parse(cell.source).body:
            calls = set(drawing(statement, functions))
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                functions |= {statement.name} if calls else set()
            else:
                here |= calls
        tags = " ".join(cell.metadata.get("tags", []))
        if here and re.search(r"\d", shown(cell)) and "tolerance=" not in tags:
            yield number


def shown(cell):
    data = [out.get("data", {}) | {"text/plain": out.get("text", "")} for out in cell.outputs]
    return " ".join(str(kinds[kind]) for kinds in data for kind in kinds if kind[:5] == "text/")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_that_trains_or_samples_states_its_tolerance(path):
    assert list(untagged(nbformat.read(path, as_version=4).cells)) == []


def test_one_without_a_tag_is_seen():
    cell = nbformat.v4.new_code_cell("reward = training.train(mdp).reward\nprint(reward)")
    cell.outputs = [nbformat.v4.new_output("stream", text="0.25")]
    assert list(untagged([cell])) == [0]
    cell.metadata["tags"] = ["tolerance=0.3"]
    assert list(untagged([cell])) == []
