r"""What inequalities say: the numbers for which they hold, all of them or any."""

from __future__ import annotations

import re
from typing import Any

from gnivo_edu.tasks.answers.equations import is_equation, parts_of

_WORD = re.compile(r"\\text[a-z]*\s*\{\s*(and|or)\s*\}|(?<![\\A-Za-z])(and|or)(?![A-Za-z])")


def same_inequalities(gold: Any, gold_text: str, answer: Any, answer_text: str) -> bool | None:
    """Whether two statements of inequalities hold for the same numbers; None where one is another
    thing, or does not say by a word whether all or any of its inequalities hold.
    """
    if _several(gold) and _several(answer):
        words = _word(gold_text), _word(answer_text)
        if "" not in words and words[0] != words[1]:
            return False
    said, also_said = _numbers(gold, gold_text), _numbers(answer, answer_text)
    if said is None or also_said is None:
        return None
    (name, numbers), (other, others) = said, also_said
    if name is None and other is None:  # two sets: math-verify compares these
        return None
    if name is not None and other is not None and name != other:
        return False
    return True if numbers == others else None


def _word(text: str) -> str:
    words = {match[1] or match[2] for match in _WORD.finditer(text)}
    return words.pop() if len(words) == 1 else ""


def _several(expression: Any) -> bool:
    from sympy import FiniteSet
    from sympy.core.relational import Relational

    parts = parts_of(expression) if isinstance(expression, FiniteSet) else ()
    return len(parts) > 1 and all(isinstance(p, Relational) and not p.is_Equality for p in parts)


def _numbers(expression: Any, text: str) -> tuple[Any, Any] | None:
    """The variable of inequalities and the numbers for which they hold; of a set, None and the set;
    None where there is no such thing.
    """
    from sympy import And, Intersection, Interval, Union
    from sympy.core.relational import Relational

    if isinstance(expression, Interval | Union):
        return None, expression
    several = _several(expression)
    if several and not _word(text):
        return None
    if not (several or isinstance(expression, And | Relational)) or is_equation(expression):
        return None
    parts = parts_of(expression) if several or isinstance(expression, And) else [expression]
    if len(expression.free_symbols) != 1:
        return None
    try:
        sets = [part.as_set() for part in parts]
    except Exception:  # sympy solves few inequalities, and raises what it likes
        return None
    either = several and _word(text) == "or"
    return next(iter(expression.free_symbols)), (Union if either else Intersection)(*sets)
