"""Judge my loss: the report card of any objective, from exact expectations on small trees.

Here are the questions of the card, in order. `subject` holds the objective, `contract` what is
asked before anything is measured, `ends` and `end_names` where it ends, `counterexample` the search
for the smallest tree where it misses pi*, `report_card` the card.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from gnivo_edu import objectives
from gnivo_edu.machine import one_thread
from gnivo_edu.population import Population, gradient_covariance, point_at, total_variation
from gnivo_edu.population.judge.contract import Finding, examine
from gnivo_edu.population.judge.counterexample import search
from gnivo_edu.population.judge.ends import (
    SAMPLERS,
    End,
    find_end,
    population_of,
    push_along,
    push_along_rewards,
    small_tree,
    typical_push,
)
from gnivo_edu.population.judge.report_card import FROM, Line, Report, counterexample_line
from gnivo_edu.population.judge.subject import Subject, load_objective
from gnivo_edu.population.laws import VERDICTS, Verdict

NONE = 1e-6  # tokens, shares and total variations below it are 0
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

    It takes 1 to 30 s on one core; what has not begun when `seconds` run short is left out, and the
    card shows it. Rewards lie in 0..1, alpha (reward per nat) in 0.1..10. Raises ValueError, in one
    line, on what cannot be judged.

    >>> def reinforce(batch, alpha):
    ...     advantage = batch.rewards - batch.rewards.mean(1, keepdim=True)
    ...     logp = batch.policy_logps.masked_fill(~batch.mask, 0.0).sum(-1)
    ...     return -batch.group_mean((advantage * logp).mean(1))
    >>> report = judge(reinforce)
    >>> report.verdict, report.passed, str(report.counterexample.exact[0])
    ('collapses', False, '2/25')
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
    # However slow the machine, some seconds are kept for the counterexample: the first trees are
    # the likeliest.
    until = max((started + 2 * deadline) / 3, time.monotonic() + 6)
    searches = [search(subject, best, deadline=until)]
    home = next(end for end in ends if end.sampler == best and end.tree == subject.tree)
    off_policy = _off_policy(subject, home, alpha=alpha, deadline=deadline)
    lines = [_contract(findings), _where(ends, best, verdict=verdict), off_policy]
    if searches[0].found is None and off_policy.numbers["moves"] and verdict != "collapses":
        searches.append(search(subject, "uniform", deadline=deadline))
    if "logits" in subject.free:
        lines += [
            _equal_rewards(subject, best, alpha=alpha),
            _length(subject, home, alpha=alpha),
            _noise(subject, alpha),
        ]
    lines.append(counterexample_line(searches))
    return Report(
        name,
        settings,
        alpha=alpha,
        verdict=verdict,
        best_sampler=best,
        summary=_summary(name, best, verdict=verdict, ends=ends, lines=lines),
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


def _where(ends: list[End], best: str, verdict: Verdict) -> Line:
    said = []
    for sampler in dict.fromkeys(end.sampler for end in ends):
        of_sampler = [end for end in ends if end.sampler == sampler]
        parts = []
        for tree, what in dict.fromkeys((end.tree, end.verdict) for end in of_sampler):
            alike = [end for end in of_sampler if (end.tree, end.verdict) == (tree, what)]
            sizes = ", ".join(str(end.group_size) for end in alike)
            parts.append(f"{tree}, K = {sizes}: {what}")
            if what != "exact" and all(end.tv is not None for end in alike):
                tv, kl = (
                    ", ".join(f"{getattr(end, x):.2g}" for end in alike) for x in ("tv", "kl")
                )
                parts[-1] += f" (TV {tv}; KL {kl} nats)"
        worst = max(VERDICTS.index(end.verdict) for end in of_sampler)
        why = [end.evidence for end in of_sampler if VERDICTS.index(end.verdict) == worst][-1]
        reason = "" if why == "ends at pi*" else f". {why[0].upper()}{why[1:]}"
        said.append(f"answers from {FROM[sampler]}: {'; '.join(parts)}{reason}")
    numbers = {"verdict": verdict, "best_sampler": best}
    return Line("where it ends", ".\n".join(said), holds=verdict == "exact", numbers=numbers)


def _off_policy(subject: Subject, home: End, alpha: float, deadline: float) -> Line:
    """The end point with answers of other policies, beside that with the best sampler."""
    moves: dict[str, float | None] = {}
    for sampler in [name for name in SAMPLERS if name != home.sampler]:
        unfit = sampler == "current" and "logits" not in subject.free
        if unfit or time.monotonic() > deadline - 10:
            continue
        end = find_end(
            subject, subject.tree, sampler=sampler, group_size=home.group_size, alpha=alpha
        )
        moves[sampler] = None
        if end.resting_law is not None and home.resting_law is not None:
            moves[sampler] = total_variation(end.resting_law, home.resting_law)
    moved = any(x is None or x > NONE for x in moves.values())
    told = [f"{name}: {'no end' if x is None else f'TV {x:.2g}'}" for name, x in moves.items()]
    if home.resting_law is None:
        answer = "no end that could move"
    elif moved:
        answer = f"the end moves with the sampler: from {home.sampler} to {', '.join(told)}"
    elif moves:
        answer = f"safe: the same end with answers from {', '.join(moves)}"
    else:
        answer = "not tried: time ran out"
    return Line("off-policy", answer, holds=None, numbers={"moves": moved, "tv": moves})


def _equal_rewards(subject: Subject, sampler: str, alpha: float) -> Line:
    """Size of a tied group's gradient, over that of others, and where the mean of it points."""
    tree = small_tree(subject.tree)
    tied = small_tree(subject.tree.replace("answers", "tied"))
    tilted = tree.tilted(tree.rewards / alpha)
    sizes = []
    for answers, policy in ((tree, tree.reference), (tied, tree.reference), (tied, tilted)):
        population = population_of(subject, answers, group_size=subject.sizes[0], sampler=sampler)
        point = point_at(answers, alpha, policy=policy)
        mean, covariance = gradient_covariance(subject, population, point=point, alpha=alpha)
        # E|g|^2 = |E g|^2 + trace of the covariance: the root mean square of a group's gradient.
        sizes.append(math.sqrt(float(mean.square().sum() + covariance.trace().clamp(min=0))))
    usual = sizes[0] or 1.0
    shares = {"reference": sizes[1] / usual, "pi*": sizes[2] / usual}
    population = population_of(subject, tied, group_size=subject.sizes[0], sampler=sampler)
    score = (tied.law(tilted) / tied.law(tied.reference)).log()
    back = -push_along(subject, population, policy=tilted, score=score, alpha=alpha)
    pull = "back to the reference" if back > 0 else "further away from the reference"
    if abs(back) < NONE:
        pull = "no pull"
    at_reference, at_optimum = (f"{0 if x < NONE else x:.2g}" for x in shares.values())
    answer = (
        f"gradient of a tied group, over that of others at the reference: {at_reference} at the "
        f"reference, {at_optimum} at pi* ({pull})"
    )
    if max(shares.values()) < NONE:
        answer = "a group with equal rewards teaches nothing"
    return Line("equal rewards", answer, holds=None, numbers={**shares, "pull_to_reference": back})


def _length(subject: Subject, home: End, alpha: float) -> Line:
    """Whether length counts among equal rewards: at its end, on ties, in its first update."""
    K, sampler = home.group_size, home.sampler
    answers = small_tree(subject.tree)
    reference = answers.law(answers.reference)
    length = answers.lengths.to(reference.dtype)
    # By how much an answer is longer than the reference's answers of the same reward.
    _, level = answers.rewards.unique(return_inverse=True)
    total, mass = (level.bincount(x) for x in (reference * length, reference))
    excess = length - (total / mass)[level]
    population = population_of(subject, answers, group_size=K, sampler=sampler)
    first = push_along(subject, population, policy=answers.reference, score=excess, alpha=alpha)
    first /= abs(push_along_rewards(subject, population, alpha=alpha, c=0.0)) or 1.0
    shift = None if home.resting_law is None else float(home.resting_law @ excess)
    tree = subject.tree.replace("answers", "tied")
    tied = find_end(subject, tree, sampler=sampler, group_size=K, alpha=alpha)
    moved = None if tied.law is None else float(tied.law @ length - reference @ length)
    decisive = [first, moved or 0.0]
    told = [] if moved is None else [f"if all rewards are equal: {_token(moved)}"]
    if shift is not None:
        decisive = [shift] if moved is None else [shift, moved]
        told.insert(0, f"tokens gained among answers of equal reward, at its end: {_token(shift)}")
    told.append(f"reward per token in its first update: {_token(first)}")
    biased = any(abs(x) > NONE for x in decisive)
    side = "long" if max(decisive, key=abs) > 0 else "short"
    answer = "none among answers of equal reward"
    if biased:
        answer = f"favours {side} answers: {'; '.join(told)}"
    numbers = {"shift": shift, "tied_shift": moved, "first_push": first}
    return Line("length bias", answer, holds=not biased, numbers=numbers)


def _token(x: float) -> str:
    return f"{x:+.2g}" if abs(x) > NONE else "0"


def _noise(subject: Subject, alpha: float) -> Line:
    """Signal to noise |mean|^2 / trace of one group's gradient at the reference, beside RLOO's."""
    answers = small_tree("4 answers")
    numbers: dict[str, dict[str, float]] = {}
    for K in (2, 4, 8) if len(subject.sizes) > 1 else subject.sizes:
        population = Population.of(answers, K, ordered=not subject.symmetric and K < 8)
        ratio, trace = _signal(subject, population, alpha=alpha)
        rloo, _ = _signal(objectives.rloo, population, alpha=alpha)
        unscaled = trace * subject.scale**2
        numbers[str(K)] = {"trace": unscaled, "signal_to_noise": ratio, "rloo": rloo}
    told = [
        f"{x['rloo'] / x['signal_to_noise']:.2g} at K = {K}"
        for K, x in numbers.items()
        if x["signal_to_noise"] > 1e-12
    ]
    answer = "no signal at the reference"
    if told:
        answer = (
            "groups needed for RLOO's signal to noise at the reference: "
            f"{', '.join(told)} times as many"
        )
    return Line("gradient noise", answer, holds=None, numbers=numbers)


def _signal(
    objective: Callable[..., Any], population: Population, alpha: float
) -> tuple[float, float]:
    point = point_at(population.answers, alpha)
    mean, covariance = gradient_covariance(objective, population, point=point, alpha=alpha)
    return float(mean.square().sum() / covariance.trace()), float(covariance.trace())


def _summary(name: str, best: str, verdict: Verdict, ends: list[End], lines: list[Line]) -> str:
    samples = f"with answers from {FROM[best]}"
    end = next(x for x in reversed(ends) if (x.sampler, x.verdict) == (best, verdict))
    where = {
        "exact": f"{name} ends at pi* {samples}",
        "other optimum": f"{name} ends at another optimum than pi*, {end.evidence}",
        "biased": f"{name} misses pi* by TV {end.tv or 0:.2g} ({end.tree}, K = {end.group_size}), "
        f"at best, {samples}",
        "collapses": f"{name} has no end but the limit: {end.evidence}",
    }[verdict]
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
