"""A row of the fixed-point atlas: an objective, its setting, and where theory says it ends.

Below stand the words to write rows with; the rows are in `implicit` and `baselines`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact import Tables
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import Answers, Objective, Sampler, laws
from gnivo_edu.population.laws import Verdict

OPTIMUM = "pi*"
NOT_OPTIMUM = "no closed form; not pi*"
ARGMAX = "no interior rest; the best answers, from every start"


@dataclass(frozen=True)
class Case:
    """What a law may look at: the answers, alpha, K, the law of the sampler, and the critic's value
    of the empty prefix, alpha log Z and the row's shift, reward units."""

    answers: Answers
    alpha: float
    K: int
    sampler: Tensor
    value: float


@dataclass(frozen=True)
class Row:
    """An objective with its settings, who draws its groups, and the theory that it should match.

    `law`: the theory's law of answers (of prefixes of `depth` tokens, if given); None where there
    is no closed form. `free`: what is solved for; critics and explicit values that are free start
    at 0. The others are exact, plus `shift` reward units: log Z + shift/alpha, and a critic that is
    wrong by shift (1 + t) at depth t. `anchor`: coefficient of KL(pi || pi_0) added to the loss,
    `kl_to_initial` of a run; `anchor_gradient`: its `kl_gradient`.
    `random_starts`: how many searches start at random policies, beside two that do not.
    `refreshes`: how often the reference is set to where the objective came to rest. `warm`: what
    differs in the search whose flow is followed, where the objective is too large, or has too sharp
    a kink, for a flow; the end is then confirmed. `parts`: see `Population`. `function` replaces
    the registry's.
    """

    objective: str
    variant: str
    expected: Verdict | None
    theory: str
    law: Callable[[Case], Tensor] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    sampling: Sampler | Callable[[Answers], Tables] = "reference"
    sampling_name: str = ""
    group_size: int = 3
    alpha: float = 0.5
    problem: Literal["tree", "one step", "16 answers"] = "tree"
    free: tuple[str, ...] = ("logits",)
    shift: float = 0.0
    depth: int | None = None
    anchor: float = 0.0
    anchor_gradient: Literal["states", "answers"] = "answers"
    refreshes: int = 1
    random_starts: int = 2
    warm: Mapping[str, Any] = field(default_factory=dict)
    parts: int = 1
    function: Objective | None = None
    source: str = ""
    read_in: str = "third party"

    @property
    def samples(self) -> str:
        """Name of the sampling law."""
        if self.sampling_name or not isinstance(self.sampling, str | Mapping):
            return self.sampling_name
        if isinstance(self.sampling, str):
            return {"current": "on-policy"}.get(self.sampling, self.sampling)
        return " + ".join(f"{share:g} {name}" for name, share in self.sampling.items())

    def loss(self, batch: GroupBatch) -> LossOutput:
        """The objective with this row's settings."""
        f = self.function or objectives.get(self.objective)
        return f(batch, **{"alpha": self.alpha, **self.settings})


# --- words to write rows with ---------------------------------------------------------------------


def optimum(c: Case) -> Tensor:
    """pi*."""
    return laws.tilt(c.answers, c.alpha)


def tilt_at(factor: float) -> Callable[[Case], Tensor]:
    """pi* at `factor` times alpha."""
    return lambda c: laws.tilt(c.answers, c.alpha * factor)


def prefixes(t: int) -> Callable[[Case], Tensor]:
    """pi* of the prefixes of t tokens."""
    return lambda c: laws.prefix_law(c.answers, laws.tilt(c.answers, c.alpha), depth=t)


def family(objective: str, source: str, read_in: str, rows: list[Row]) -> list[Row]:
    """The rows of one objective, which share a source."""
    return [replace(row, objective=objective, source=source, read_in=read_in) for row in rows]


def other(variant: str, theory: str, law: Callable[[Case], Tensor], **more: Any) -> Row:
    """A row that ends at another law, known in closed or self-consistent form."""
    return Row("", variant, expected="other optimum", theory=theory, law=law, **more)


# Rows that end at pi*; elsewhere, without a closed form; and nowhere inside.
exact = partial(Row, "", expected="exact", theory=OPTIMUM, law=optimum)
biased = partial(Row, "", expected="biased", theory=NOT_OPTIMUM)
collapses = partial(Row, "", expected="collapses", theory=ARGMAX)
