"""Judge my loss: the report card of any objective, from exact expectations on trees that can be
enumerated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from gnivo_edu import objectives
from gnivo_edu.machine import one_thread
from gnivo_edu.population.answers import Answers, total_variation
from gnivo_edu.population.expectation import gradient_covariance, point_at
from gnivo_edu.population.groups import Population
from gnivo_edu.population.judge.contract import examine
from gnivo_edu.population.judge.counterexample import search
from gnivo_edu.population.judge.ends import (
    SAMPLERS,
    VERDICTS,
    End,
    Verdict,
    find_end,
    push_along,
    push_along_rewards,
    small_tree,
    typical_push,
)
from gnivo_edu.population.judge.report_card import FROM, Line, Report, counterexample_line
from gnivo_edu.population.judge.subject import Subject, load_objective

NONE = 1e-6  # tokens, shares and total variations below it are 0
ALPHAS = (
    0.1,
    10.0,
)  # of the judge's rewards, 0..1: below it pi* is one answer, above it the reference


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

    >>> report = judge("dr_grpo")
    >>> report.verdict, report.passed, str(report.counterexample.exact[0])
    ('collapses', False, '2/25')
    """
    started = time.monotonic()
    if not ALPHAS[0] <= alpha <= ALPHAS[1]:
        raise ValueError(
            f"alpha must lie in {ALPHAS[0]:g}..{ALPHAS[1]:g}, since the judge's rewards lie in "
            f"0..1: got {alpha:g}"
        )
    name = (
        objective
        if isinstance(objective, str)
        else getattr(objective, "__name__", type(objective).__name__)
    )
    function = load_objective(objective) if isinstance(objective, str) else objective
    subject, findings = examine(function, name, alpha, settings)
    subject = replace(subject, scale=typical_push(subject, alpha))
    broken = [finding for finding in findings if not finding.holds and finding.name != "order"]
    notes = [f.text for f in findings if f.holds is not True or f.name == "prompts"]
    lines = [Line("contract", "; ".join(notes), not broken, {f.name: f.holds for f in findings})]
    deadline = started + seconds
    ends = _ends(subject, alpha, deadline)
    best, verdict = _verdict(ends)
    # However slow the machine, some seconds are kept for the counterexample: the first trees are
    # the likeliest.
    searches = [search(subject, best, max((started + 2 * deadline) / 3, time.monotonic() + 6))]
    home = next(end for end in ends if end.sampler == best and end.tree == subject.tree)
    lines += [_where(ends, best, verdict), _off_policy(subject, home, alpha, deadline)]
    if searches[0].found is None and lines[-1].numbers["moves"] and verdict != "collapses":
        searches.append(search(subject, "uniform", deadline))
    if "logits" in subject.free:
        lines += [
            _equal_rewards(subject, best, alpha),
            _length(subject, home, alpha),
            _noise(subject, alpha),
        ]
    lines.append(counterexample_line(searches))
    worst = next(end for end in reversed(ends) if end.sampler == best and end.verdict == verdict)
    missing = {end.sampler for end in ends if end.verdict != "exact" and end.sampler != best}
    summary = _summary(
        name, best, verdict, worst, lines, sorted(missing) if verdict == "exact" else []
    )
    spent = time.monotonic() - started
    return Report(
        name,
        settings,
        alpha,
        verdict,
        best,
        summary,
        tuple(lines),
        tuple(ends),
        tuple(searches),
        spent,
    )


def _ends(subject: Subject, alpha: float, deadline: float) -> list[End]:
    """All ends that there is time for; K = 4 on the larger tree starts from the end of K = 2."""
    found: list[End] = []
    for sampler in ("reference", "current") if "logits" in subject.free else ("reference",):
        for K in subject.sizes:
            if time.monotonic() < deadline - 25 or subject.sizes[0] == K:
                found.append(find_end(subject, "one token", sampler, K, alpha))
        began = time.monotonic()
        small = find_end(subject, subject.tree, sampler, subject.sizes[0], alpha)
        found.append(small)
        cost = time.monotonic() - began
        time_left = time.monotonic() + 8 * cost < deadline - 15
        if len(subject.sizes) > 1 and small.settled and small.verdict != "collapses" and time_left:
            found.append(
                find_end(subject, subject.tree, sampler, subject.sizes[1], alpha, small.point)
            )
    return found


def _verdict(ends: list[End]) -> tuple[str, Verdict]:
    """The better of the samplers, each as bad as its worst end; on-policy where neither has a
    resting point.
    """
    worst: dict[str, tuple[bool, int]] = {}
    for end in ends:
        lost = not end.settled or end.verdict == "collapses"
        worst[end.sampler] = max(
            worst.get(end.sampler, (False, 0)), (lost, VERDICTS.index(end.verdict))
        )
    best = min(worst, key=lambda sampler: worst[sampler])
    if worst[best][0]:
        best = "current" if "current" in worst else best
    return best, VERDICTS[worst[best][1]]


def _where(ends: list[End], best: str, verdict: Verdict) -> Line:
    said = []
    for sampler in dict.fromkeys(end.sampler for end in ends):
        mine = [end for end in ends if end.sampler == sampler]
        parts = []
        for tree, what in dict.fromkeys((end.tree, end.verdict) for end in mine):
            here = [end for end in mine if (end.tree, end.verdict) == (tree, what)]
            sizes = ", ".join(str(end.group_size) for end in here)
            parts.append(f"{tree}, K = {sizes}: {what}")
            if what != "exact" and all(end.tv is not None for end in here):
                parts[-1] += " (TV " + ", ".join(f"{end.tv:.2g}" for end in here)
                parts[-1] += "; KL " + ", ".join(f"{end.kl:.2g}" for end in here) + " nats)"
        why = [
            end.evidence
            for end in mine
            if VERDICTS.index(end.verdict) == max(VERDICTS.index(e.verdict) for e in mine)
        ]
        reason = "" if why[-1] == "ends at pi*" else f". {why[-1][0].upper()}{why[-1][1:]}"
        said.append(f"answers from {FROM[sampler]}: {'; '.join(parts)}{reason}")
    return Line(
        "where it ends",
        ".\n".join(said),
        verdict == "exact",
        {"verdict": verdict, "best_sampler": best},
    )


def _off_policy(subject: Subject, home: End, alpha: float, deadline: float) -> Line:
    """The end point with answers of other policies, beside that with the best sampler."""
    moves: dict[str, float | None] = {}
    for sampler in [name for name in SAMPLERS if name != home.sampler]:
        if (
            sampler == "current" and "logits" not in subject.free
        ) or time.monotonic() > deadline - 10:
            continue
        end = find_end(subject, subject.tree, sampler, home.group_size, alpha)
        rests = (
            end.law is not None
            and home.law is not None
            and end.verdict != "collapses" != home.verdict
        )
        moves[sampler] = total_variation(end.law, home.law) if rests else None  # type: ignore[arg-type]
    moved = any(x is None or x > NONE for x in moves.values())
    if home.law is None or home.verdict == "collapses":
        answer = "no end that could move"
    elif moved:
        told = [f"{name}: {'no end' if x is None else f'TV {x:.2g}'}" for name, x in moves.items()]
        answer = f"the end moves with the sampler: from {home.sampler} to {', '.join(told)}"
    else:
        answer = (
            f"safe: the same end with answers from {', '.join(moves)}"
            if moves
            else "not tried: time ran out"
        )
    return Line("off-policy", answer, None, {"moves": moved, "tv": moves})


def _equal_rewards(subject: Subject, sampler: str, alpha: float) -> Line:
    """Size of a group's gradient on tied groups, over that with different rewards; and where the
    mean of it points.
    """
    tree, tied = small_tree(subject.tree), small_tree(subject.tree.replace("answers", "tied"))
    tilted = tree.tilted(tree.rewards / alpha)
    sizes = []
    for answers, policy in ((tree, tree.reference), (tied, tree.reference), (tied, tilted)):
        population = Population.of(
            answers, subject.sizes[0], SAMPLERS[sampler], ordered=not subject.symmetric
        )
        mean, covariance = gradient_covariance(
            subject, population, point_at(answers, alpha, policy), alpha=alpha
        )
        sizes.append(math.sqrt(float(mean.square().sum() + covariance.trace().clamp(min=0))))
    usual = sizes[0] or 1.0
    shares = {"reference": sizes[1] / usual, "pi*": sizes[2] / usual}
    population = Population.of(
        tied, subject.sizes[0], SAMPLERS[sampler], ordered=not subject.symmetric
    )
    score = (tied.law(tilted) / tied.law(tied.reference)).log()
    back = -push_along(subject, population, tilted, score, alpha)
    pull = (
        "no pull"
        if abs(back) < NONE
        else "back to the reference"
        if back > 0
        else "further away from the reference"
    )
    told = [
        f"{0 if x < NONE else x:.2g} at {'the ' * (where == 'reference')}{where}"
        for where, x in shares.items()
    ]
    quiet = max(shares.values()) < NONE
    answer = (
        f"gradient of a tied group, over that of others at the reference: {', '.join(told)} "
        f"({pull})"
    )
    answer = "a group with equal rewards teaches nothing" if quiet else answer
    return Line("equal rewards", answer, None, {**shares, "pull_to_reference": back})


def _length(subject: Subject, home: End, alpha: float) -> Line:
    """Whether length counts among answers of equal reward: at the end, on tied rewards, and in the
    first update.
    """
    answers = small_tree(subject.tree)
    reference = answers.law(answers.reference)
    length = answers.lengths.to(reference.dtype)
    _, level = answers.rewards.unique(return_inverse=True)
    excess = (
        length - _per_level(reference * length, level)[level] / _per_level(reference, level)[level]
    )
    population = Population.of(
        answers, home.group_size, SAMPLERS[home.sampler], ordered=not subject.symmetric
    )
    first = push_along(subject, population, answers.reference, excess, alpha)
    first /= abs(push_along_rewards(subject, population, alpha, 0.0)) or 1.0
    rests = home.law is not None and home.verdict != "collapses"
    shift = float(home.law @ excess) if rests else None  # type: ignore[operator]
    tied = find_end(
        subject, subject.tree.replace("answers", "tied"), home.sampler, home.group_size, alpha
    )
    moved = None if tied.law is None else float(tied.law @ length - reference @ length)
    decisive = [x for x in (shift, moved) if x is not None] if rests else [first, moved or 0.0]
    biased = any(abs(x) > NONE for x in decisive)
    side = "long" if max(decisive, key=abs) > 0 else "short"
    told = (
        []
        if shift is None
        else [f"tokens gained among answers of equal reward, at its end: {_token(shift)}"]
    )
    told += [] if moved is None else [f"if all rewards are equal: {_token(moved)}"]
    told.append(f"reward per token in its first update: {_token(first)}")
    answer = (
        f"favours {side} answers: {'; '.join(told)}"
        if biased
        else "none among answers of equal reward"
    )
    return Line(
        "length bias",
        answer,
        not biased,
        {"shift": shift, "tied_shift": moved, "first_push": first},
    )


def _token(x: float) -> str:
    return f"{x:+.2g}" if abs(x) > NONE else "0"


def _per_level(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    return torch.zeros(int(level.max()) + 1, dtype=x.dtype).index_add(0, level, x)


def _noise(subject: Subject, alpha: float) -> Line:
    """Signal to noise of one group's gradient at the reference, |mean|^2 / trace of covariance, and
    RLOO's over it.
    """
    answers = small_tree("4 answers")
    numbers: dict[str, dict[str, float]] = {}
    for K in (2, 4, 8) if len(subject.sizes) > 1 else subject.sizes:
        population = Population.of(answers, K, ordered=not subject.symmetric and K < 8)
        ratio, trace = _signal(subject, population, answers, alpha)
        rloo, _ = _signal(objectives.rloo, population, answers, alpha)
        numbers[str(K)] = {
            "trace": trace * subject.scale**2,
            "signal_to_noise": ratio,
            "rloo": rloo,
        }
    told = [
        f"{x['rloo'] / x['signal_to_noise']:.2g} at K = {K}"
        for K, x in numbers.items()
        if x["signal_to_noise"] > 1e-12
    ]
    answer = (
        f"groups needed for RLOO's signal to noise at the reference: {', '.join(told)} times as "
        "many"
    )
    return Line("gradient noise", answer if told else "no signal at the reference", None, numbers)


def _signal(
    objective: Callable[..., Any], population: Population, answers: Answers, alpha: float
) -> tuple[float, float]:
    mean, covariance = gradient_covariance(
        objective, population, point_at(answers, alpha), alpha=alpha
    )
    return float(mean.square().sum() / covariance.trace()), float(covariance.trace())


def _summary(
    name: str, best: str, verdict: Verdict, end: End, lines: list[Line], elsewhere: list[str]
) -> str:
    samples = f"with answers from {FROM[best]}"
    where = {
        "exact": f"{name} ends at pi* {samples}",
        "other optimum": f"{name} ends at another optimum than pi*, {end.evidence}",
        "biased": f"{name} misses pi* by TV {end.tv or 0:.2g} ({end.tree}, K = {end.group_size}), at best, {samples}",
        "collapses": f"{name} has no end but the limit: {end.evidence}",
    }[verdict]
    failed = [line.question for line in lines if line.holds is False]
    untried = [line.question for line in lines if "time ran out" in line.answer]
    rest = f"Did not hold: {', '.join(failed)}." if failed else "All that was tried holds."
    if elsewhere:
        rest = (
            f"With answers from {' or '.join(FROM[x] for x in elsewhere)} it does not end at pi*. "
            f"{rest}"
        )
    if untried:
        rest += f" Not tried in full, for want of time: {', '.join(untried)}."
    return f"{where}{'' if where.endswith('?') else '.'} {rest}"
