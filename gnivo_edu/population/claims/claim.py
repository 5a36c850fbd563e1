"""One claim, what came out of it, and what claims share: settings, units, entries of the atlas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from gnivo_edu.machine import one_thread
from gnivo_edu.population import Answers, Objective, Population, Sampler, expect, point_at
from gnivo_edu.population.atlas import Entry, find, rows_of

Verdict = Literal["holds", "holds if", "fails"]
ZERO = 1e-8  # an error below this is rounding
BITES = 1e-4  # an error above this is a counterexample; nothing may lie between
ALPHA = 0.5  # where a claim does not say another
TV = "total variation from pi*"


@dataclass(frozen=True)
class Claim:
    """One claim: the sentence, its source, and what was read of it.

    `read`: paper, poster, code, third party or story. `errors` computes the error as said and, if
    there is one, the error under `condition`; `unit` says what they are. `expected`: the verdict in
    the ledger, which the numbers must give again.
    """

    name: str
    says: str
    source: str
    read: str
    expected: Verdict
    unit: str
    errors: Callable[[], tuple[float, ...]]
    condition: str = ""

    @one_thread()
    def judge(self) -> Finding:
        """Compute the verdict."""
        error, *mended = self.errors()
        verdict: Verdict | None = None
        if error < ZERO:
            verdict = "holds"
        elif error > BITES:
            verdict = "holds if" if mended and mended[0] < ZERO else "fails"
        return Finding(self, verdict, error=error, mended=mended[0] if mended else None)


@dataclass(frozen=True)
class Finding:
    """A claim and what came out; `verdict` is None where a number is neither zero nor large."""

    claim: Claim
    verdict: Verdict | None
    error: float
    mended: float | None

    @property
    def passed(self) -> bool:
        """Whether the computation gives the verdict of the ledger."""
        return self.verdict == self.claim.expected

    def to_json(self) -> dict[str, Any]:
        """One row of `claims --json`."""
        c = self.claim
        return {
            "name": c.name,
            "claim": c.says,
            "source": c.source,
            "read": c.read,
            "verdict": self.verdict,
            "condition": c.condition,
            "number": self.error,
            "number_under_condition": self.mended,
            "unit": c.unit,
            "command": f"gnivo-edu claims --only {c.name}",
            "passed": self.passed,
        }


@cache
def entry(objective: str, variant: str) -> Entry:
    """The row of the atlas with this name, solved once."""
    return find(next(row for row in rows_of(objective) if row.variant == variant))


def gradient(
    objective: Objective,
    answers: Answers,
    policy: Float[Tensor, "S V"],
    group_size: int,
    sampler: Sampler = "reference",
    alpha: float = ALPHA,
    **settings: Any,
) -> Float[Tensor, "S V"]:
    """The expected gradient by the logits at a policy."""
    population = Population.of(answers, group_size, sampler=sampler)
    point = point_at(answers, ALPHA, policy=policy)
    return expect(objective, population, point=point, alpha=alpha, **settings).gradient["logits"]


def angle(a: Tensor, b: Tensor) -> float:
    """1 - cosine between two gradients."""
    return 1 - float((a * b).sum() / (a.norm() * b.norm()))


def miss(objective: str, variant: str) -> float:
    """Total variation between where a row of the atlas ends and pi*."""
    return entry(objective, variant).tv_from_optimum


# --- words to write claims with -------------------------------------------------------------------

holds = partial(Claim, expected="holds")
holds_if = partial(Claim, expected="holds if")
fails = partial(Claim, expected="fails")


def off_optimum(objective: str, *variants: str) -> dict[str, Any]:
    """The number of a claim that a row of the atlas ends at pi*; a second row is under the
    condition.
    """
    return {"unit": TV, "errors": lambda: tuple(miss(objective, variant) for variant in variants)}


def off_law(objective: str, variant: str) -> dict[str, Any]:
    """The number of a claim that a row of the atlas ends at the law that its theory states."""
    return {
        "unit": "total variation from that law",
        "errors": lambda: (entry(objective, variant).theory_error,),
    }
