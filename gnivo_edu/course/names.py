"""Which names a piece of code reads from its notebook, and which it gives to it; nothing is run."""

from __future__ import annotations

import ast
import symtable


def names(code: str) -> tuple[set[str], set[str]]:
    """The global names that `code` reads, at once or inside its functions, and those it binds or
    changes.

    A name that is only a parameter or a variable of a function is neither. `x[0] = 1`, `x.a = 1`
    and `x().a = 1` change x. Raises SyntaxError where the code is not Python.

    >>> code = "import os\\ndef area(r):\\n    k = pi\\n    return k * r\\nx[0] = area(2)"
    >>> reads, binds = names(code)
    >>> sorted(reads), sorted(binds)
    (['area', 'pi', 'x'], ['area', 'os', 'x'])
    """
    return names_of(ast.parse(code), code)


def names_of(tree: ast.AST, code: str) -> tuple[set[str], set[str]]:
    """The same of a piece of code that has been read already."""
    reads, binds = set(), set()
    tables = [symtable.symtable(code, "<cell>", "exec")]
    for table in tables:  # the list grows while it is read, by the functions inside
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table.get_type() == "module" or symbol.is_global():
                if symbol.is_referenced():
                    reads.add(symbol.get_name())
                if symbol.is_assigned() or symbol.is_imported():
                    binds.add(symbol.get_name())
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            base: ast.expr = node
            while isinstance(base, ast.Subscript | ast.Attribute | ast.Call):
                base = base.func if isinstance(base, ast.Call) else base.value
            if isinstance(base, ast.Name) and base.id in reads:
                binds.add(base.id)
    return reads, binds
