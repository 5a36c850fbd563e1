"""The report card of an objective: what the judge found, as a page of text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gnivo_edu.population.judge.counterexample import Counterexample, Search
from gnivo_edu.population.judge.ends import End
from gnivo_edu.population.laws import Verdict

GREEDY: Literal["E[R]"] = "E[R]"
Goal = Literal["E[R]", "E[R] - alpha KL"]
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
    """The report card: what the judge found.

    `goal`: what the loss is after; "E[R]" of one without a KL, which is not asked for pi*.

    `verdict` is that of the better of two samplers, `best_sampler`: the reference and the policy
    itself; it has to hold for every tree and group size. `passed`: the contract holds, the
    verdict is exact or the goal E[R], and length does not count.
    """

    objective: str
    settings: Mapping[str, Any]
    alpha: float
    verdict: Verdict
    goal: Goal
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
        """The smallest one, with the best sampler; None if there is none, or none was sought."""
        return self.searches[0].found if self.searches else None

    def to_json(self) -> dict[str, Any]:
        """One JSON object; fractions are texts."""
        return {
            "passed": self.passed,
            "objective": self.objective,
            "settings": {
                name: x if isinstance(x, (int, float, str)) else str(x)
                for name, x in self.settings.items()
            },
            "alpha": self.alpha,
            "verdict": self.verdict,
            "goal": self.goal,
            "best_sampler": self.best_sampler,
            "summary": self.summary,
            "lines": [vars(line) | {"numbers": dict(line.numbers)} for line in self.lines],
            "ends": [end.to_json() for end in self.ends],
            "counterexamples": [search.to_json() for search in self.searches],
            "seconds": self.seconds,
        }

    def text(self, width: int = 100) -> str:
        """The card as a page of plain text."""
        ending = "optimises E[R]" if self.goal == GREEDY else self.verdict
        title = escape(f"{self.objective}, alpha = {self.alpha:g}: {ending}")
        question = Column("question", no_wrap=True)
        table = Table(question, "answer", "holds", title=title, box=SIMPLE_HEAD)
        marks = {True: "yes", False: "NO", None: ""}
        for line in self.lines:
            table.add_row(line.question, escape(line.answer), marks[line.holds])
        sheet = StringIO()
        page = Console(file=sheet, width=width, no_color=True)
        page.print(table)
        for search in self.searches:
            if search.found is not None:
                page.print(*_drawn(search.found), sep="\n", highlight=False)
        page.print(escape(self.summary), highlight=False)
        page.print(
            f"{self.seconds:.0f} s; exact expectations over all groups, float64.", highlight=False
        )
        return "\n".join(x.rstrip() for x in sheet.getvalue().splitlines())

    def __str__(self) -> str:
        return self.text()


def counterexample_line(searches: list[Search]) -> Line:
    """What the searches found; the first decides, and only if it went through all trees."""
    if not searches:
        answer = "not sought: pi* is not its goal"
        return Line("counterexample", answer, holds=None, numbers={"tried": []})
    sentences = []
    for search in searches:
        tried, of = f"{search.tried:,}", f"{search.of:,}"
        outcome = f"tree {tried} of {of}, below"
        if search.found is None:
            short = "" if search.tried == search.of else f" (of {of}: time ran out)"
            family = "two tokens, at most two long, rational numbers"
            outcome = f"none in {tried} trees{short}: {family}"
        sentences.append(f"answers from {FROM[search.sampler]}: {outcome}")
    first = searches[0]
    # A search that time cut short says neither yes nor no.
    undecided = first.found is None and first.tried < first.of
    return Line(
        "counterexample",
        ".\n".join(sentences),
        holds=None if undecided else first.found is None,
        numbers={"tried": [search.tried for search in searches]},
    )


def _drawn(example: Counterexample) -> tuple[Table, str]:
    """A counterexample as a table, and its gradient."""
    tree = example.tree
    title = (
        f"The smallest counterexample, answers from {FROM[example.sampler]}, K = 2, "
        "e^(R/alpha) = 4^R"
    )
    headings = ("answer", "pi_ref", "R", "pi*", "where it ends")
    table = Table(*headings, title=title, box=SIMPLE_HEAD)
    ends = [f"{p:.4f}" for p in example.end or ()] or ["nowhere"] * len(tree.names)
    columns = (tree.names, tree.reference, tree.rewards, tree.optimum, ends)
    for row in zip(*columns, strict=True):
        table.add_row(*(str(x) for x in row))
    kind = "exact" if example.exact else "float64"
    slopes = [str(x) for x in example.exact or ()] or [f"{x:.4g}" for x in example.gradient]
    by = (
        "the log-odds of the first token in each state" if example.policy else "each explicit value"
    )
    what = f"Expected gradient at pi*, by {by} ({kind}): {', '.join(slopes)}. It is not 0.\n"
    return table, what
