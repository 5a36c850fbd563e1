"""The report card of an objective: what the judge found, as a page of text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any

from gnivo_edu.population.judge.counterexample import Counterexample, Search
from gnivo_edu.population.judge.ends import End, Verdict

FROM = {"reference": "the reference", "current": "the policy itself", "uniform": "a uniform policy"}


@dataclass(frozen=True)
class Line:
    """One line of the card. `holds` is None where there is nothing to hold, only to know."""

    question: str
    answer: str
    holds: bool | None
    numbers: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """The report card. `verdict` is that of the better of two samplers, `best_sampler`: the
    reference and the policy itself; it has to hold for every tree and group size. `passed`: the
    contract holds and the verdict is exact."""

    objective: str
    settings: Mapping[str, Any]
    alpha: float
    verdict: Verdict
    best_sampler: str
    summary: str
    lines: tuple[Line, ...]
    ends: tuple[End, ...]
    searches: tuple[Search, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether everything that can hold holds."""
        return all(line.holds is not False for line in self.lines)

    @property
    def counterexample(self) -> Counterexample | None:
        """The smallest one, with the sampler it is exact for, or best with; None if the search
        found none.
        """
        return self.searches[0].found

    def to_json(self) -> dict[str, Any]:
        """One JSON object; fractions are texts."""
        return {
            "passed": self.passed,
            "objective": self.objective,
            "settings": {
                name: str(x) if not isinstance(x, (int, float, str)) else x
                for name, x in self.settings.items()
            },
            "alpha": self.alpha,
            "verdict": self.verdict,
            "best_sampler": self.best_sampler,
            "summary": self.summary,
            "lines": [vars(line) | {"numbers": dict(line.numbers)} for line in self.lines],
            "ends": [end.to_json() for end in self.ends],
            "counterexamples": [found.to_json() for found in self.searches],
            "seconds": self.seconds,
        }

    def text(self, width: int = 100) -> str:
        """The card as a page of plain text."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(
            title=escape(f"{self.objective}, alpha = {self.alpha:g}: {self.verdict}"),
            box=SIMPLE_HEAD,
        )
        table.add_column("question", no_wrap=True)
        table.add_column("answer")
        table.add_column("holds")
        for line in self.lines:
            table.add_row(
                line.question, escape(line.answer), {True: "yes", False: "NO", None: ""}[line.holds]
            )
        page = Console(file=StringIO(), width=width, no_color=True)
        page.print(table)
        for found in (done.found for done in self.searches if done.found is not None):
            page.print(*_drawn(found), sep="\n", highlight=False)
        page.print(escape(self.summary), highlight=False)
        page.print(
            f"{self.seconds:.0f} s; exact expectations over all groups, float64.", highlight=False
        )
        return "\n".join(x.rstrip() for x in page.file.getvalue().splitlines())  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return self.text()


def counterexample_line(searches: list[Search]) -> Line:
    """What the searches found; the first decides, and only if it went through all trees."""
    said = []
    for done in searches:
        samples = f"answers from {FROM[done.sampler]}"
        if done.found is None:
            short = "" if done.tried == done.of else f" (of {done.of:,}: time ran out)"
            said.append(
                f"{samples}: none in {done.tried:,} trees{short}: two tokens, at most two long, "
                "rational numbers"
            )
            continue
        said.append(f"{samples}: tree {done.tried:,} of {done.of:,}, below")
    none = searches[0].found is None
    holds = (True if searches[0].tried == searches[0].of else None) if none else False
    return Line(
        "counterexample", ".\n".join(said), holds, {"tried": [done.tried for done in searches]}
    )


def _drawn(found: Counterexample) -> tuple[Any, str]:
    """A counterexample as a table, and its gradient."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    tree = found.tree
    title = (
        f"The smallest counterexample, answers from {FROM[found.sampler]}, K = 2, e^(R/alpha) = 4^R"
    )
    table = Table(title=title, box=SIMPLE_HEAD)
    for heading in ("answer", "pi_ref", "R", "pi*", "where it ends"):
        table.add_column(heading)
    ends = found.end or ("nowhere",) * len(tree.names)
    for name, *numbers, end in zip(
        tree.names, tree.reference, tree.rewards, tree.optimum, ends, strict=True
    ):
        table.add_row(
            name, *(str(x) for x in numbers), end if isinstance(end, str) else f"{end:.4f}"
        )
    slopes = [str(x) for x in found.exact] if found.exact else [f"{x:.4g}" for x in found.gradient]
    kind = "exact" if found.exact else "float64"
    what = (
        "by the log-odds of the first token in each state"
        if found.policy
        else "by each explicit value"
    )
    return table, f"Expected gradient at pi*, {what} ({kind}): {', '.join(slopes)}. It is not 0.\n"
