"""The claim ledger: what papers and teaching say, each with a number that is zero if it is true.

A claim stands beside a counterfactual: the same test with one thing changed, which must come out
the other way. The verdict is read off these two numbers: holds, holds if, fails. `claim` holds the
words to write one with; the other files hold the claims, by subject.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gnivo_edu.names import nearest
from gnivo_edu.population.claims import (
    credit,
    gnivo,
    grpo,
    moving,
    noise,
    papers,
    practice,
    preferences,
    readings,
    seeds,
    table1,
    theorems,
    vimpo,
    weights,
)
from gnivo_edu.population.claims.claim import BITES, ZERO, Claim, Finding, Verdict

__all__ = ["BITES", "ZERO", "Claim", "Finding", "Verdict", "all_claims", "claims"]


def all_claims() -> list[Claim]:
    """The ledger: the papers' claims, those of practice and teaching, and our own."""
    ours = (theorems, weights, moving)
    poster = (gnivo, seeds, table1, readings)
    subjects = (*poster, papers, vimpo, grpo, noise, preferences, practice, credit, *ours)
    return [claim for subject in subjects for claim in subject.CLAIMS]


def claims(
    only: str | None = None, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Judge all claims, or one: the report of `gnivo-edu claims --json`.

    ValueError, with the nearest name, on one that is not there.

    >>> report = claims("theorem-1")
    >>> report["passed"], report["claims"][0]["verdict"]
    (True, 'holds')
    """
    ledger, start = all_claims(), time.perf_counter()
    if only is not None and only not in {c.name for c in ledger}:
        hint = nearest(only, [c.name for c in ledger], otherwise="see the list")
        raise ValueError(f"there is no claim {only!r}; {hint}")
    findings = []
    for c in ledger:
        if only in (None, c.name):
            progress(c.name)
            findings.append(c.judge())
    return {
        "passed": all(f.passed for f in findings),
        "claims": [f.to_json() for f in findings],
        "seconds": time.perf_counter() - start,
    }
