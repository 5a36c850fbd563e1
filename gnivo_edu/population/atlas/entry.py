"""A row of the atlas, solved: its ends, what is said of the worst, and how to write it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gnivo_edu.population.atlas.ends import End
from gnivo_edu.population.atlas.row import Row
from gnivo_edu.population.laws import SAME, VERDICTS, Law, Verdict

GONE = 1e-8  # chance of an answer that has been pushed out


@dataclass(frozen=True)
class Outcome:
    """One end of a row: its verdict, how far it is from pi* (`tv`; `kl`, nats) and from the law of
    theory (`error`); `reward`, what is expected there; `main`, the reward met most often, and the
    chance of all others (`rest`)."""

    end: End
    verdict: Verdict
    tv: float
    kl: float
    error: float | None
    reward: float
    main: float
    left: float

    @property
    def text(self) -> str:
        """What is there."""
        if self.end.kind == "edge":
            return f"all mass but {self.left:.0e} on answers of reward {self.main:g}, and no rest"
        if self.end.kind == "held":
            return f"held where its push jumps (a clip), TV {self.tv:.2f} from pi*"
        if self.end.kind == "moving":
            return f"still moving when the search stopped, TV {self.tv:.2f} from pi*"
        repels = "" if self.end.attracts is not False else ", which repels"
        stay = int((self.end.law > GONE).sum())
        among = "" if stay == len(self.end.law) else f" among {stay} answers, the others pushed out"
        return f"a rest{among}{repels} (expected gradient {self.end.residual:.0e})"


@dataclass(frozen=True)
class Entry:
    """A row, solved. `verdict` is computed from the numbers alone; `law`: where it ends, by answer.

    `outcomes`: all ends that were found, the worst first. What is said of the row is said of that
    one, and `share` of the starts lead there. `agrees`: the verdict is the one that theory expects,
    and the law is the theory's to within 1e-6 where theory has one.
    """

    row: Row
    law: Law
    verdict: Verdict
    gradient_norm_at_optimum: float
    tv_from_optimum: float
    kl_from_optimum: float
    theory_error: float | None
    share: float
    outcomes: tuple[Outcome, ...]
    note: str = ""

    @classmethod
    def of(cls, row: Row, outcomes: Sequence[Outcome], norm: float, note: str = "") -> Entry:
        """From its ends, in any order, the norm of the expected gradient at pi*, and what else the
        evidence has to say."""
        worst, *more = sorted(
            outcomes, key=lambda x: (VERDICTS.index(x.verdict), x.tv), reverse=True
        )
        starts = sum(len(outcome.end.starts) for outcome in outcomes)
        return cls(
            row,
            worst.end.law,
            verdict=worst.verdict,
            gradient_norm_at_optimum=norm,
            tv_from_optimum=worst.tv,
            kl_from_optimum=worst.kl,
            theory_error=worst.error,
            share=len(worst.end.starts) / starts,
            outcomes=(worst, *more),
            note=note,
        )

    @property
    def agrees(self) -> bool:
        """Whether theory and computation agree."""
        right = self.row.expected in (None, self.verdict)
        return right and (self.theory_error is None or self.theory_error < SAME)

    @property
    def evidence(self) -> dict[str, Any]:
        """What the searches found: of the worst end in numbers, of all in words."""
        worst = self.outcomes[0]
        text = f"{len(self.outcomes)} ends, the worst first"
        if len(self.outcomes) == 1:
            text = f"from all {len(worst.end.starts)} starts the flow leads to {worst.text}"
        else:
            each = [f"from {', '.join(x.end.starts)}: {x.text}" for x in self.outcomes]
            text += f"; {'; '.join(each)}"
        return {
            "kind": worst.end.kind,
            "residual": worst.end.residual,
            "attracts": worst.end.attracts,
            "ends": len(self.outcomes),
            "text": self.note + text,
        }

    def to_json(self) -> dict[str, Any]:
        """The row of `atlas --json`."""
        row = self.row
        starts = [
            {
                "start": name,
                "end": number,
                "verdict": outcome.verdict,
                "tv_from_optimum": outcome.tv,
                "expected_reward": outcome.reward,
            }
            for number, outcome in enumerate(self.outcomes)
            for name in outcome.end.starts
        ]
        return {
            "objective": row.objective,
            "variant": row.variant,
            "sampling": row.samples,
            "gradient_norm_at_optimum": self.gradient_norm_at_optimum,
            "tv_from_optimum": self.tv_from_optimum,
            "kl_from_optimum": self.kl_from_optimum,
            "theory": row.theory,
            "theory_error": self.theory_error,
            "evidence": self.evidence,
            "verdict": self.verdict,
            "share": self.share,
            "starts": starts,
            "source": row.source,
            "read_in": row.read_in,
            "command": f"gnivo-edu atlas --only {row.objective}",
            "problem": row.problem,
            "alpha": row.alpha,
            "group_size": row.group_size,
            "agrees": self.agrees,
        }
