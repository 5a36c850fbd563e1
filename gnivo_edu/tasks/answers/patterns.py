r"""Pieces of regular expressions that several modules of answers share."""

from __future__ import annotations

# A command whose argument is words or a letter in a font.
TEXT = r"\\(?:text(?:rm|it|bf|normal|sf)?|mbox|math(?:rm|it|bf|sf)|operatorname|boldsymbol|bm)"
GROUP = rf"{TEXT}\s*\{{([^{{}}]*)\}}"  # such a command and what it holds
SUBSCRIPT = r"_\s*(?:\w|\{[^{}]*\})"
NUMBER = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"  # 1,234.5 or .5
DEGREES = r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))"
