"""Judge my loss: the report card of any objective, from exact expectations on small trees.

Here is the order of the questions, and those about the end. `subject` holds the objective,
`contract` what is asked before anything is measured, `ends` and `end_names` where it ends,
`gradients` what its gradients reward and how noisy they are, `counterexample` the search for the
smallest tree where it misses pi*, `report_card` the card.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from gnivo_edu.machine import one_thread
from gnivo_edu.population import total_variation
from gnivo_edu.population.judge.contract import Finding, examine
from gnivo_edu.population.judge.counterexample import search
from gnivo_edu.population.judge.ends import End, find_end
from gnivo_edu.population.judge.gradients import NONE, equal_rewards_line, length_line, noise_line
from gnivo_edu.population.judge.pushes import SAMPLERS, typical_push
from gnivo_edu.population.judge.report_card import (
    FROM,
    GREEDY,
    Goal,
    Line,
    Report,
    counterexample_line,
)
from gnivo_edu.population.judge.subject import Subject, load_objective
from gnivo_edu.population.laws import VERDICTS, Verdict

# Of the judge's rewards, 0..1: below it pi* is one answer, above it the reference.
ALPHAS = (0.1, 10.0)


@one_thread()
def judge(
    objective: str | Callable[..., Any], alpha: float = 0.5, seconds: float = 50.0, **settings: Any
) -> Report:
    r"""The report card of an objective: name in the registry, `module:function`, or a function.

    It is called as f(batch, alpha=..., **settings) with a GroupBatch and returns a scalar tensor or
    a LossOutput. On trees of four and fifteen answers, where pi* = pi_ref e^{R/alpha}/Z is known
    and E[grad loss] is exact, it is asked: the contract; where it ends, for K = 2 and 4 and two
    samplers (root of E[grad loss], which must attract); whether other samplers move that end; what
    equal rewards still teach; whether length counts among equal rewards; how noisy one group's
    gradient is, beside RLOO's; and for the smallest tree in rational numbers where E[grad loss] at
    pi* is not 0. Verdicts: "exact"; "other optimum", a law that can be named; "biased";
    "collapses".

    A loss without a KL has no pi*: it is said to optimise E[R], and asked whether it gets there
    with answers of its own, and what stale answers and clipping make of it.

    It takes 1 to 30 s on one core; what has not begun when `seconds` run short is left out, and the
    card shows it. Rewards lie in 0..1, alpha (reward per nat) in 0.1..10. Raises ValueError, in one
    line, on what cannot be judged.

    >>> def reinforce(batch, alpha):
    ...     advantage = batch.rewards - batch.rewards.mean(1, keepdim=True)
    ...     logp = batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)
    ...     return -batch.group_mean((advantage * logp).mean(1))
    >>> report = judge(reinforce)
    >>> report.goal, report.verdict, report.passed
    ('E[R]', 'collapses', True)
    """
    started = time.monotonic()
    deadline = started + seconds
    if not ALPHAS[0] <= alpha <= ALPHAS[1]:
        raise ValueError(
            f"alpha must lie in {ALPHAS[0]:g}..{ALPHAS[1]:g}, since the judge's rewards lie in "
            f"0..1: got {alpha:g}"
        )
    function = load_objective(objective) if isinstance(objective, str) else objective
    names = [objective, getattr(function, "__name__", None), type(function).__name__]
    name = next(name for name in names if isinstance(name, str))
    subject, findings = examine(function, name, alpha=alpha, settings=settings)
    subject = replace(subject, scale=typical_push(subject, alpha))
    ends = _ends(subject, alpha, deadline=deadline)
    best, verdict = _verdict(ends)
    goal = _goal(subject, ends)
    if goal == GREEDY:
        best, verdict = "current", "collapses"
    # However slow the machine, some seconds are kept for the counterexample: the first trees are
    # the likeliest.
    until = max((started + 2 * deadline) / 3, time.monotonic() + 6)
    searches = [] if goal == GREEDY else [search(subject, best, deadline=until)]
    home = next(end for end in ends if end.sampler == best and end.tree == subject.tree)
    off_policy = _off_policy(subject, home, alpha=alpha, deadline=deadline)
    where = _where(ends, best, verdict=verdict, goal=goal)
    lines = [_contract(findings), where, off_policy]
    moves = off_policy.numbers["moves"] and verdict != "collapses"
    if searches and searches[0].found is None and moves:
        searches.append(search(subject, "uniform", deadline=deadline))
    if "logits" in subject.free:
        lines += [
            equal_rewards_line(subject, best, alpha=alpha),
            length_line(subject, home, alpha=alpha),
            noise_line(subject, alpha),
        ]
    lines.append(counterexample_line(searches))
    return Report(
        name,
        settings,
        alpha=alpha,
        verdict=verdict,
        goal=goal,
        best_sampler=best,
        summary=_summary(name, best, verdict=verdict, goal=goal, ends=ends, lines=lines),
        lines=tuple(lines),
        ends=tuple(ends),
        searches=tuple(searches),
        seconds=time.monotonic() - started,
    )


def _contract(findings: list[Finding]) -> Line:
    """What does not hold, and how prompts are averaged; the order of a group may matter."""
    notes = [f.text for f in findings if not f.holds or f.name == "prompts"]
    holds = all(f.holds for f in findings if f.name != "order")
    numbers = {f.name: f.holds for f in findings}
    return Line("contract", "; ".join(notes), holds=holds, numbers=numbers)


def _ends(subject: Subject, alpha: float, deadline: float) -> list[End]:
    """All ends that there is time for; K = 4 on the larger tree starts from the end of K = 2."""
    solve = partial(find_end, subject, alpha=alpha)
    first, *more = subject.sizes
    ends: list[End] = []
    for sampler in ("reference", "current") if "logits" in subject.free else ("reference",):
        for K in subject.sizes:
            if time.monotonic() < deadline - 25 or first == K:
                ends.append(solve("one token", sampler=sampler, group_size=K))
        began = time.monotonic()
        small = solve(subject.tree, sampler=sampler, group_size=first)
        ends.append(small)
        # A larger group costs about eight times as much: it is tried where that leaves 15 seconds.
        time_left = time.monotonic() + 8 * (time.monotonic() - began) < deadline - 15
        if more and small.settled and small.verdict != "collapses" and time_left:
            start = small.point
            ends.append(solve(subject.tree, sampler=sampler, group_size=more[0], start=start))
    return ends


def _verdict(ends: list[End]) -> tuple[str, Verdict]:
    """The better of the samplers, each as bad as its worst end.

    Where neither has a resting point it is the policy itself, and so is the verdict.
    """
    worst: dict[str, tuple[bool, int]] = {}
    for end in ends:
        lost = not end.settled or end.verdict == "collapses"
        grade = (lost, VERDICTS.index(end.verdict))
        worst[end.sampler] = max(worst.get(end.sampler, grade), grade)
    best = min(worst, key=lambda sampler: worst[sampler])
    if worst[best][0] and "current" in worst:
        best = "current"
    return best, VERDICTS[worst[best][1]]


def _goal(subject: Subject, ends: list[End]) -> Goal:
    """What it is after. A loss that never looks at the reference has no KL to it: if its own
    answers lead it to the best ones, it optimises E[R].
    """
    current = [end for end in ends if end.sampler == "current"]
    there = bool(current) and all(end.best for end in current)
    return GREEDY if there and not subject.anchored else "E[R] - alpha KL"


def _where(ends: list[End], best: str, verdict: Verdict, goal: Goal) -> Line:
    sentences = []
    for sampler in dict.fromkeys(end.sampler for end in ends):
        of_sampler = [end for end in ends if end.sampler == sampler]
        parts = []
        for tree, what in dict.fromkeys((end.tree, end.verdict) for end in of_sampler):
            alike = [end for end in of_sampler if (end.tree, end.verdict) == (tree, what)]
            sizes = ", ".join(str(end.group_size) for end in alike)
            parts.append(f"{tree}, K = {sizes}: {what}")
            if what not in ("exact", "collapses"):
                tv, kl = (
                    ", ".join(f"{getattr(end, x):.2g}" for end in alike) for x in ("tv", "kl")
                )
                parts[-1] += f" (TV {tv}; KL {kl} nats)"
        worst = max(VERDICTS.index(end.verdict) for end in of_sampler)
        why = [end.evidence for end in of_sampler if VERDICTS.index(end.verdict) == worst][-1]
        reason = "" if why == "ends at pi*" else f". {why[0].upper()}{why[1:]}"
        sentences.append(f"answers from {FROM[sampler]}: {'; '.join(parts)}{reason}")
    if goal == GREEDY:
        sentences.insert(0, "it has no KL, so pi* is not its goal: it optimises E[R]")
    numbers = {"verdict": verdict, "best_sampler": best, "goal": goal}
    holds = goal == GREEDY or verdict == "exact"
    return Line("where it ends", ".\n".join(sentences), holds=holds, numbers=numbers)


def _off_policy(subject: Subject, home: End, alpha: float, deadline: float) -> Line:
    """The end point with answers of other policies, beside that with the best sampler."""
    moves: dict[str, float | None] = {}
    rewards: dict[str, float] = {}
    parts = []
    for sampler in [name for name in SAMPLERS if name != home.sampler]:
        unfit = sampler == "current" and "logits" not in subject.free
        if unfit or time.monotonic() > deadline - 10:
            continue
        end = find_end(
            subject, subject.tree, sampler=sampler, group_size=home.group_size, alpha=alpha
        )
        moves[sampler] = None
        rewards[sampler] = end.reward
        parts.append(f"from {FROM.get(sampler, sampler)} {end.reward:.2g}{_held(end)}")
        if end.resting_law is not None and home.resting_law is not None:
            moves[sampler] = total_variation(end.resting_law, home.resting_law)
    moved = any(x is None or x > NONE for x in moves.values())
    places = [f"{name}: {'no end' if x is None else f'TV {x:.2g}'}" for name, x in moves.items()]
    if home.resting_law is None:
        answer = f"E[R] where it ends: with its own answers {home.reward:.2g}; {', '.join(parts)}"
    elif moved:
        answer = f"the end moves with the sampler: from {home.sampler} to {', '.join(places)}"
    elif moves:
        answer = f"safe: the same end with answers from {', '.join(moves)}"
    else:
        answer = "not tried: time ran out"
    numbers = {"moves": moved, "tv": moves, "expected_reward": rewards}
    return Line("off-policy", answer, holds=None, numbers=numbers)


def _held(end: End) -> str:
    """Whether clipping, or what else makes a push vanish, keeps it where it began."""
    if end.settled or end.sampler != "reference":
        return "" if end.settled else " (still moving)"
    return f" (held at TV {end.moved:.1g} from it)"


def _summary(
    name: str, best: str, verdict: Verdict, goal: Goal, ends: list[End], lines: list[Line]
) -> str:
    samples = f"with answers from {FROM[best]}"
    end = next(x for x in reversed(ends) if (x.sampler, x.verdict) == (best, verdict))
    where = {
        "exact": f"{name} ends at pi* {samples}",
        "other optimum": f"{name} ends at another optimum than pi*, {end.evidence}",
        "biased": f"{name} misses pi* by TV {end.tv:.2g} ({end.tree}, K = {end.group_size}), "
        f"at best, {samples}",
        "collapses": f"{name} has no end but the limit: {end.evidence}",
    }[verdict]
    if goal == GREEDY:
        where = f"{name} has no KL and optimises E[R]: {end.evidence}, {samples}"
    sentences = [where if where.endswith("?") else f"{where}."]
    worse = sorted({end.sampler for end in ends if end.verdict != "exact"} - {best})
    if verdict == "exact" and worse:
        others = " or ".join(FROM[sampler] for sampler in worse)
        sentences.append(f"With answers from {others} it does not end at pi*.")
    failed = ", ".join(line.question for line in lines if line.holds is False)
    sentences.append(f"Did not hold: {failed}." if failed else "All that was tried holds.")
    untried = ", ".join(line.question for line in lines if "time ran out" in line.answer)
    if untried:
        sentences.append(f"Not tried in full, for want of time: {untried}.")
    return " ".join(sentences)
