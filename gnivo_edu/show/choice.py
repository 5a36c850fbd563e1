"""Which groups a page shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gnivo_edu.show.groups import groups_of
from gnivo_edu.show.history import History, onset
from gnivo_edu.show.read import Part, Run
from gnivo_edu.training.record import moment_of

MOST_STEPS, MOST_TOKENS = 24, 30_000  # of the groups that are shown


def check_asked(history: History, step: int | None, question: int | None) -> None:
    """ValueError unless the group that is asked for is on record."""
    if (step is not None or question is not None) and not history.steps:
        raise ValueError("this run has no record of its answers: train with completions=all")
    if step is not None and step not in history.steps:
        nearest = min(history.steps, key=lambda s: abs(s - step))
        raise ValueError(
            f"step {step} is not on record, the nearest that is: {nearest}; completions=all keeps "
            "every step"
        )
    if question is not None:
        times = [s for s, _, _ in history.asked.get(question, [])]
        if not times or (step is not None and step not in times):
            here = [
                n for n, asked in history.asked.items() if step in (None, *(a[0] for a in asked))
            ]
            raise ValueError(
                f"question {question} was not asked"
                f"{f' at step {step}' if step is not None else ''}; some that were: "
                f"{', '.join(map(str, here[:8]))}"
            )


def chosen_groups(
    run: Run,
    history: History,
    asked: tuple[int | None, int | None],
    begun: Sequence[int],
    formulas: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The groups that are shown, in order of their steps: those asked for, those of the first and
    the last step, of the step at which the reward began to move, of those at which tokens began to
    spread (`begun`), and of some steps between.
    """
    wanted = _steps_shown(history, asked[0], begun)
    # Questions that come again can be followed; of the others those whose rewards differ.
    again = {number: len(times) for number, times in history.asked.items()}
    groups: list[dict[str, Any]] = []
    each = MOST_TOKENS // max(1, len(wanted))
    for part in _parts_of(run, wanted):
        rewards, questions = part.rewards, [number for number, _ in part.groups]
        spread = [float(np.ptp([rewards[i] for i in places])) for _, places in part.groups]
        rank = [
            (number != asked[1], -again[number], -(gap > 0), n)
            for n, (number, gap) in enumerate(zip(questions, spread, strict=True))
        ]
        order = [n for _, _, _, n in sorted(rank)]
        lengths = part.columns.get("length") or [
            len(t) // 4 + 1 for t in part.columns["completion"]
        ]
        sizes = [sum(lengths[i] for i in places) for _, places in part.groups]
        # The first one in any case, and as many more as there is room for.
        room = np.cumsum([sizes[n] for n in order]) <= each
        chosen = [n for n, fits in zip(order, room, strict=True) if fits or n == order[0]]
        groups += groups_of(part, run.config, chosen, formulas)
    return groups


def _steps_shown(history: History, asked: int | None, spread: Sequence[int]) -> list[int]:
    steps = history.steps
    if not steps:
        return []
    means = [float(np.mean(x)) for x in history.rewards]
    begun = onset(means)
    places = {0, len(steps) - 1, *(steps.index(step) for step in spread)}
    if asked is not None:
        places.add(steps.index(asked))
    if begun is not None:
        places |= {max(0, begun - 1), begun, min(begun + 1, len(steps) - 1)}
    more = np.linspace(0, len(steps) - 1, min(MOST_STEPS, len(steps))).round().astype(int)
    for place in more.tolist():
        if len(places) < MOST_STEPS:
            places.add(place)
    return [steps[place] for place in sorted(places)]


def _parts_of(run: Run, steps: Sequence[int]) -> Iterator[Part]:
    """The updates of some steps, of all parts that hold one."""
    for path in run.parts:
        moment = moment_of(path.name)
        if run.config and moment is not None and moment[0] not in steps:
            continue
        yield from (part for part in run.updates(path) if part.step in steps)
