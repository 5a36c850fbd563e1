"""One claim, its counterfactual and what came out; and what claims share: units, atlas entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from gnivo_edu.machine import one_thread
from gnivo_edu.population import (
    Answers,
    Objective,
    Population,
    Sampler,
    expect,
    laws,
    point_at,
    total_variation,
)
from gnivo_edu.population.atlas import Entry, find, rows_of
from gnivo_edu.population.atlas.row import Row

Verdict = Literal["holds", "holds if", "fails"]
Kind = Literal["theorem", "corollary", "identity", "counterexample", "measurement"]
Curve = list[dict[str, float]]
ZERO = 1e-8  # an error below this is rounding
BITES = 1e-4  # an error above this is a counterexample; nothing may lie between
ALPHA = 0.5  # where a claim does not say another
TV = "total variation from pi*"
PROBLEMS = {
    "tree": "15 answers of up to 3 tokens",
    "one step": "5 answers of one token",
    "16 answers": "16 answers of 4 tokens",
}
TREE = f"alpha {ALPHA:g}, {PROBLEMS['tree']}"
ONE_STEP = f"alpha {ALPHA:g}, {PROBLEMS['one step']}"


@dataclass(frozen=True)
class Claim:
    """One claim beside its counterfactual: the same test with one thing changed.

    `says`: the sentence, as its source says it and no more. `read`, what was read of the source:
    paper, poster, code, third party or story. `where`: the conditions of the test: alpha, answers,
    group size, who draws, at which policy. `number`: zero if the claim is true as said; `unit` says
    what it is. `unless`: what the counterfactual changes, and the condition of a claim that holds
    only so; `counterfactual`: the number with that change, which must come out the other way.
    `expected`: the verdict in the ledger, which the two numbers must give again. `kind`: a theorem;
    the corollary of another claim; an identity (algebra: no policy and no reward could make it
    fail); a counterexample; a measurement at one setting. `curve`: the number at several settings.

    ValueError where the counterfactual or the conditions are left out.
    """

    name: str
    says: str
    source: str
    read: str
    expected: Verdict
    kind: Kind
    where: str
    unit: str
    number: Callable[[], float]
    unless: str
    counterfactual: Callable[[], float]
    curve: Callable[[], Curve] | None = None

    def __post_init__(self) -> None:
        if not (self.unless and self.where) or self.counterfactual is self.number:
            raise ValueError(
                f"claim {self.name!r} needs `where` (the conditions of its test), `unless` (what "
                "its counterfactual changes) and a `counterfactual` of its own"
            )

    @property
    def condition(self) -> str:
        """Under which a claim that "holds if" is true; else empty."""
        return self.unless if self.expected == "holds if" else ""

    @one_thread()
    def judge(self) -> Finding:
        """Compute both numbers and the verdict."""
        error, other = self.number(), self.counterfactual()
        verdict: Verdict | None = None
        if error < ZERO:
            verdict = "holds"
        elif error > BITES:
            # A change that mends a claim is its condition, if the ledger says so.
            verdict = "holds if" if self.condition and other < ZERO else "fails"
        return Finding(self, verdict, error, other, self.curve() if self.curve else None)


@dataclass(frozen=True)
class Finding:
    """A claim and what came out; `verdict` is None where a number is neither zero nor large.

    `error`: the number of the claim as said; `other`: that of its counterfactual.
    """

    claim: Claim
    verdict: Verdict | None
    error: float
    other: float
    curve: Curve | None = None

    @property
    def bites(self) -> bool:
        """Whether the counterfactual comes out the other way: the test can tell the two apart."""
        return self.other > BITES if self.error < ZERO else self.other < ZERO

    @property
    def passed(self) -> bool:
        """Whether the computation gives the verdict of the ledger, and its counterfactual bites."""
        return self.verdict == self.claim.expected and self.bites

    def to_json(self) -> dict[str, Any]:
        """One row of `claims --json`."""
        c = self.claim
        return {
            "name": c.name,
            "claim": c.says,
            "source": c.source,
            "read": c.read,
            "kind": c.kind,
            "where": c.where,
            "verdict": self.verdict,
            "condition": c.condition,
            "number": self.error,
            "number_under_condition": self.other if c.condition else None,
            "unit": c.unit,
            "counterfactual": c.unless,
            "counterfactual_number": self.other,
            "bites": self.bites,
            "curve": self.curve,
            "command": f"gnivo-edu claims --only {c.name}",
            "passed": self.passed,
        }


# --- rows of the atlas, the only door to them -----------------------------------------------------


def row_of(objective: str, variant: str) -> Row:
    """The row of the atlas with this name; KeyError where there is none."""
    for row in rows_of(objective):
        if row.variant == variant:
            return row
    raise KeyError(f"the atlas has no row {variant!r} of {objective}")


@cache
def entry(objective: str, variant: str) -> Entry:
    """The row of the atlas with this name, solved once."""
    return find(row_of(objective, variant))


def changed(objective: str, variant: str, **changes: Any) -> Entry:
    """The same row with some of its fields replaced, solved."""
    return find(replace(row_of(objective, variant), **changes))


def miss(objective: str, variant: str) -> float:
    """Total variation between where a row of the atlas ends and pi*."""
    return entry(objective, variant).tv_from_optimum


def conditions(objective: str, *variants: str) -> str:
    """Under which rows of the atlas were solved, each said once."""
    rows = [row_of(objective, variant) for variant in variants]
    return "; ".join(
        dict.fromkeys(
            f"alpha {row.alpha:g}, {PROBLEMS[row.problem]}, K = {row.group_size}, samples: "
            f"{row.samples}"
            for row in rows
        )
    )


def off_theory(end: Entry) -> float:
    """Total variation of where a row ends from the law of its theory; 1 if theory states none."""
    return 1.0 if end.theory_error is None else end.theory_error


# --- gradients and laws ---------------------------------------------------------------------------


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


def off_tilts(answers: Answers, law: Float[Tensor, " n"]) -> float:
    """Total variation of a law from pi_ref e^{R/c}/Z at the c that fits it best; 0 for a tilt of
    the reference at any temperature.
    """
    # log law/pi_ref of a tilt is R/c plus a constant: c is the slope of a least-squares line, the
    # answers weighted by the law.
    h = (law / answers.law(answers.reference)).log()
    centred_rewards = answers.rewards - law @ answers.rewards
    slope = float((law * centred_rewards) @ h / (law @ centred_rewards.square()))
    return total_variation(law, laws.tilt_by(answers, slope * answers.rewards))


# --- words to write claims with -------------------------------------------------------------------

holds = partial(Claim, expected="holds", kind="theorem")
holds_if = partial(Claim, expected="holds if", kind="counterexample")
fails = partial(Claim, expected="fails", kind="counterexample")


def off_optimum(
    objective: str, variant: str, instead: str | Mapping[str, Any] | tuple[str, str]
) -> dict[str, Any]:
    """The number of a claim that a row of the atlas ends at pi*.

    `instead`, where the counterfactual ends: another row of this objective, or of another (its
    name first), or the same row with these fields replaced.
    """

    def counterfactual() -> float:
        if isinstance(instead, str):
            return miss(objective, instead)
        if isinstance(instead, tuple):
            return miss(*instead)
        return changed(objective, variant, **instead).tv_from_optimum

    return {
        "unit": TV,
        "where": conditions(objective, variant),
        "number": lambda: miss(objective, variant),
        "counterfactual": counterfactual,
    }


def off_law(objective: str, variant: str, instead: Callable[[Row], Tensor]) -> dict[str, Any]:
    """The number of a claim that a row of the atlas ends at the law that its theory states.

    `instead`: a law close by, at which it must not end, [n] by answer.
    """

    def counterfactual() -> float:
        end = entry(objective, variant)
        return total_variation(end.law, instead(end.row))

    return {
        "unit": "total variation from that law",
        "where": conditions(objective, variant),
        "number": lambda: off_theory(entry(objective, variant)),
        "counterfactual": counterfactual,
    }
