"""The tables of notebooks/moving_reference.md.

`python -m gnivo_edu.population.moving.tables` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

from gnivo_edu import exact, objectives
from gnivo_edu.machine import one_thread
from gnivo_edu.population import Answers, Objective, Population, laws, point_at, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving import (
    Average,
    Policy,
    along_answers,
    both_kls,
    change_by_token,
    partly_refreshed,
    refreshed,
    refreshes,
    value_at,
    value_loss,
)
from gnivo_edu.population.roots import rest
from gnivo_edu.population.signal import problem as binary_problem

ALPHA = 0.5  # reward per nat
TIMES = (1, 2, 3, 6)  # refreshes
SHARES = (0.9, 0.5)  # annealing: alpha -> s alpha
PARTS = (1, 2, 4, 8, 16, 32)
RATES = (1.0, 0.5, 0.1, 0.01)  # of partial refreshes
ZERO = 1e-10  # what is smaller is printed as 0


@dataclass(frozen=True)
class Table:
    """Rows of words and numbers; `markdown` shows numbers with four decimals."""

    head: list[str]
    rows: list[list[str | float]]

    def markdown(self) -> str:
        """The table as it stands on the page."""
        lines = [self.head, ["---"] * len(self.head), *(map(shown, row) for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(cell: str | float) -> str:
    """A cell in print.

    >>> shown("n"), shown(4), shown(0.25), shown(1e-12), shown(-0.5)
    ('n', '4', '0.2500', '0', '-0.5000')
    """
    if isinstance(cell, str | int):
        return str(cell)
    return "0" if abs(cell) < ZERO else f"{cell:.4f}"


def swap_table() -> Table:
    """What three new references do to the implied values of VIMPO's resting policy."""
    answers = problem("tree")
    policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
    law, old_law = answers.law(policy), answers.law(answers.reference)
    before = value_at(answers, policy, group_size=4, alpha=ALPHA).loss
    rows: list[list[str | float]] = []
    for name, reference in new_references(answers, policy).items():
        by_token = change_by_token(answers, policy, reference=reference, alpha=ALPHA)
        change = along_answers(answers, by_token)
        swapped = replace(answers, reference=reference)
        after = value_at(swapped, policy, group_size=4, alpha=ALPHA).loss
        deviations = (law @ change.square()).sqrt().tolist()
        means = [float((weights @ change).abs().max()) for weights in (law, old_law)]
        rows.append([name, *means, *deviations, after - before, deviations[-1] ** 2 / 2])
    means_of = ["largest mean under π", "under the old reference"]
    deviations_of = [f"sd, t = {t}" for t in (1, 2, 3)]
    losses = ["the value loss rises by", "half the last sd²"]
    return Table(["new reference", *means_of, *deviations_of, *losses], rows)


def new_references(answers: Answers, policy: Policy) -> dict[str, Policy]:
    """What the reference is swapped for, by name."""
    stranger = answers.from_tables(exact.random_reference(3, 3, seed=7))
    return {"a stranger": stranger, "the policy (a refresh)": policy, "the same": answers.reference}


def refresh_table() -> Table:
    """Total variation of n refreshes from the same objective at alpha/n; every rest is searched."""
    tree, one_step = problem("tree"), problem("one step")
    from_reference = partial(searched, sampler="reference")
    on_policy = partial(searched, value_loss, sampler="current")
    by_vimpo = on_policy(answers=tree)
    cases = [
        ("GVPO", tree, from_reference(objectives.gvpo, answers=tree), laws.tilt),
        ("GN-IVO", tree, from_reference(objectives.gnivo, answers=tree), laws.tilt),
        ("VIMPO, answers of one token", one_step, on_policy(answers=one_step), laws.vimpo_law),
        ("VIMPO", tree, by_vimpo, laws.vimpo_law),
        ("VIMPO, from π₀ e^{nR/α}/Z instead", tree, by_vimpo, laws.tilt),
    ]
    rows: list[list[str | float]] = [
        [name, *(total_variation(ends[n], goal(answers, ALPHA / n)) for n in TIMES)]
        for name, answers, ends, goal in cases
    ]
    return Table(["distance from the end at α/n", *(f"n = {n}" for n in TIMES)], rows)


def searched(objective: Objective, answers: Answers, sampler: str) -> dict[int, laws.Law]:
    """Where an objective ends after 1, 2, ... refreshes: each the end of a search that starts at
    the one before it, which is its reference.
    """
    ends, seen = {}, answers
    for n in range(1, max(TIMES) + 1):
        population = Population.of(seen, 2, sampler=sampler)
        end = rest(objective, population, point_at(seen, ALPHA), alpha=ALPHA)
        assert end.converged
        seen = replace(seen, reference=seen.policy(end.point.logits))
        ends[n] = seen.law(seen.reference)
    return ends


def gain_table() -> Table:
    """What each refresh of VIMPO gains, and how much is left after it."""
    answers = problem("tree")
    best = answers.rewards == answers.rewards.max()
    nats_to_best = -float(answers.law(answers.reference)[best].sum().log())
    names = ["E[R]", "gained by refresh n", "α (KL + KL)", "still to gain", "α log(1/π₀(best))/n"]
    columns = []
    for n, (seen, policy) in enumerate(refreshes(answers, ALPHA, times=max(TIMES)), start=1):
        old, new = (float(answers.law(p) @ answers.rewards) for p in (seen.reference, policy))
        both = both_kls(answers, old=seen.reference, new=policy)
        left = float(answers.rewards.max()) - new
        if n in TIMES:
            columns.append([new, new - old, ALPHA * both, left, ALPHA * nats_to_best / n])
    rows: list[list[str | float]] = [
        [name, *values] for name, *values in zip(names, *columns, strict=True)
    ]
    return Table(["after n refreshes", *(f"n = {n}" for n in TIMES)], rows)


def parts_table() -> Table:
    """How far n refreshes at n alpha end from pi* at alpha."""
    answers = problem("tree")
    goal = laws.tilt(answers, ALPHA)
    laws_ = [answers.law(refreshed(answers, n * ALPHA, times=n)) for n in PARTS]
    distances = [total_variation(law, goal) for law in laws_]
    rows: list[list[str | float]] = [
        ["distance from π* at α", *distances],
        ["n times that", *(n * d for n, d in zip(PARTS, distances, strict=True))],
    ]
    return Table(["n refreshes at nα", *(f"n = {n}" for n in PARTS)], rows)


def partial_table() -> Table:
    """How far partial refreshes, the parts of which add up to two, end from two whole ones."""
    answers = problem("tree")
    goal = laws.tilt(answers, ALPHA / 2)
    rows: list[list[str | float]] = []
    for average in get_args(Average):
        ends = [
            partly_refreshed(answers, ALPHA, times=round(2 / rate), rate=rate, average=average)
            for rate in RATES
        ]
        rows.append([average, *(total_variation(end, goal) for end in ends)])
    return Table(["averaged are the", *(f"η = {rate:g}, n = {2 / rate:g}" for rate in RATES)], rows)


def jump_table() -> Table:
    """By what a refresh and annealing multiply the value loss at its rest, and how they push."""
    rows: list[list[str | float]] = []
    for K in (2, 3, 4, 8):
        # Groups of eight of 15 answers are too many to list: three binary tokens make 8 answers.
        answers = binary_problem("dense") if K == 8 else problem("tree")
        policy = answers.from_law(laws.vimpo_law(answers, ALPHA))
        at = partial(value_at, policy=policy, group_size=K)
        before = at(answers, alpha=ALPHA).loss
        fresh = at(replace(answers, reference=policy), alpha=ALPHA)
        annealed = [at(answers, alpha=s * ALPHA) for s in SHARES]
        push = fresh.gradient["logits"]
        others = [end.gradient["logits"] for end in annealed]
        rows.append(
            [
                K,
                *(end.loss / before for end in (fresh, *annealed)),
                *(float(other.norm() / push.norm()) for other in others),
                min(float((other * push).sum() / other.norm() / push.norm()) for other in others),
            ]
        )
    factors = ["loss × after a refresh", *(f"after α → {s}α" for s in SHARES)]
    pushes = [f"push of α → {s}α / a refresh's" for s in SHARES]
    return Table(["K", *factors, *pushes, "their cosine"], rows)


TABLES = {
    "swap": swap_table,
    "refreshes": refresh_table,
    "gains": gain_table,
    "parts": parts_table,
    "partial": partial_table,
    "jump": jump_table,
}


@one_thread()
def tables() -> dict[str, Table]:
    """All tables by name, in the order of the page."""
    return {name: table() for name, table in TABLES.items()}


if __name__ == "__main__":
    print("\n\n".join(table.markdown() for table in tables().values()))
