"""A committed notebook, as its tests read it: once, and without running it.

That it is what its source builds is proven once, in test_notebooks_contract.py; the tests of what a
notebook prints therefore read the committed outputs.
"""

import json
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = [path.stem for path in sorted((ROOT / "notebooks" / "src").glob("*.py"))]


class Notebook:
    """The committed notebook `name`: its cells, the sources of the code cells, what it prints."""

    def __init__(self, name):
        self.name = name
        self.source = ROOT / "notebooks" / "src" / f"{name}.py"
        self.path = ROOT / "notebooks" / f"{name}.ipynb"

    @cached_property
    def cells(self):
        cells = json.loads(self.path.read_text(encoding="utf-8"))["cells"]
        return [cell | {"source": "".join(cell["source"])} for cell in cells]

    @cached_property
    def code_cells(self):
        return [cell for cell in self.cells if cell["cell_type"] == "code"]

    @cached_property
    def code(self):
        return [cell["source"] for cell in self.code_cells]

    @cached_property
    def prose(self):
        return "\n\n".join(c["source"] for c in self.cells if c["cell_type"] == "markdown")

    @cached_property
    def printed(self):
        """Everything the notebook prints, and its figures as text."""
        outputs = [output for cell in self.code_cells for output in cell["outputs"]]
        texts = [o.get("text", o.get("data", {}).get("text/plain", [])) for o in outputs]
        return "\n".join("".join(text) for text in texts)

    @cached_property
    def pictures(self):
        """How many figures each code cell shows."""
        outputs = [cell["outputs"] for cell in self.code_cells]
        return [sum("image/png" in o.get("data", {}) for o in shown) for shown in outputs]

    def space(self, *words, until=None, **names):
        """Variables of the notebook: `names`, and what its code binds: all cells, or those that
        hold one of `words`. Of a cell, only what stands before a line that begins with `until`.
        """
        namespace = {"__name__": "notebook", **names}
        for source in self.code:
            if not words or any(word in source for word in words):
                code = source.partition(f"\n{until}")[0] if until else source
                exec(compile(code, self.name, "exec"), namespace)
        return namespace
