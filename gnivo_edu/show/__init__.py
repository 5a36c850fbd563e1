"""A page for every run: what happened, in curves, tokens and answers; and, of every token that is
shown, the objective's formula with that token's own numbers in it.

>>> from gnivo_edu.show import show
>>> show("runs/nowhere")
Traceback (most recent call last):
ValueError: 'runs/nowhere' is not there: give the folder of a run, or a parquet file
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnivo_edu.figures.tokens import visible
from gnivo_edu.names import home
from gnivo_edu.pages import render
from gnivo_edu.show.formula import equation_of
from gnivo_edu.show.groups import groups_of
from gnivo_edu.show.history import History, changes_of, curves_of, history_of, onset, spread_of
from gnivo_edu.show.read import Run, read_run
from gnivo_edu.show.unipo import write_unipo

TEMPLATE = Path(__file__).with_name("page.html")
LARGEST = 20 * 10**6  # bytes of a page
MOST_STEPS, MOST_TOKENS = 24, 30_000  # of the groups that are shown
NATS = 0.01  # a scale of colours is never finer, so that rounding is never coloured
# What tokens can be coloured by: a key that the page knows, its name, its unit, the floor of its
# scale.
QUANTITIES = (
    ("signal", "signal that the update gave", "loss per nat", 1e-9),
    ("credit", "implicit credit, log π/π_ref", "nats", NATS),
    ("value", "implicit value, less log Z", "nats", NATS),
    ("advantage", "advantage", "", NATS),
    ("moved", "log-ratio to who wrote it", "nats", NATS),
    ("kl", "KL to the reference", "nats", NATS),
    ("entropy", "entropy before the token", "nats", NATS),
    ("critic", "critic before the token", "", NATS),
)


def show(
    run: str | Path,
    step: int | None = None,
    question: int | None = None,
    out: str | Path | None = None,
    unipo: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write the page of a run: of its folder, to `out`, by default show.html in it; or of a parquet
    file of completions, as TRL writes them, to an HTML file beside it.

    A page holds all curves and a choice of groups within 20 MB; `step` and `question` say which
    group has to be among them, and is shown first. `unipo`: a file for the record as UNIPO reads
    it. Returns what the page says at a glance, and where it lies. Raises ValueError, in one line,
    where there is no run, and on a step or question that is not on record.
    """
    path = home(run)
    say = say or (lambda line: None)
    found = read_run(path)
    if unipo is not None:
        say("writing the record for UNIPO")
        write_unipo(found, home(unipo))
    say("reading the record")
    data = page_data(found, step, question)
    target = home(out) if out is not None else _target(path)
    text = render(TEMPLATE, data=data, title=f"{data['name']}: what happened")
    while len(text.encode()) > LARGEST and len(data["groups"]) > 1:
        data["groups"] = data["groups"][: len(data["groups"]) * 2 // 3]
        text = render(TEMPLATE, data=data, title=f"{data['name']}: what happened")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return {
        "passed": True,
        "page": str(target),
        "bytes": len(text.encode()),
        "groups": len(data["groups"]),
        "glance": [line["text"] for line in data["glance"]],
    }


def _target(path: Path) -> Path:
    return path.with_suffix(".html") if path.is_file() else path / "show.html"


def page_data(run: Run, step: int | None = None, question: int | None = None) -> dict[str, Any]:
    """All that the page of a run shows, as plain data."""
    history = history_of(run)
    _check_asked(history, step, question)
    config = run.config
    formulas: list[dict[str, Any]] = []
    spread = spread_of(history)
    begun = [row["step"] for row in spread if row["step"] is not None]
    groups = _groups(run, history, asked=(step, question), begun=begun, formulas=formulas)
    return {
        "name": visible(run.name),
        "facts": _facts(run),
        "glance": glance_of(run, history, spread),
        "curves": curves_of(run, history),
        "spread": spread,
        "changes": changes_of(history),
        "objective": visible(str(config.get("objective", ""))),
        "equation": equation_of(str(config.get("objective", ""))),
        "formulas": formulas,
        "quantities": _quantities(groups),
        "groups": groups,
        "first": _first(groups, step, question),
    }


def _check_asked(history: History, step: int | None, question: int | None) -> None:
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


def _groups(
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


def _parts_of(run: Run, steps: Sequence[int]) -> Any:
    """The updates of some steps, of all parts that hold one."""
    from gnivo_edu.training.record import moment_of

    for path in run.parts:
        moment = moment_of(path.name)
        if run.config and moment is not None and moment[0] not in steps:
            continue
        yield from (part for part in run.updates(path) if part.step in steps)


def _first(groups: Sequence[dict[str, Any]], step: int | None, question: int | None) -> int:
    """The place of the group that is shown first: the one asked for, else the last step's."""
    wanted = [step in (None, g["step"]) and question in (None, g["question"]) for g in groups]
    if step is None and question is None and groups:
        wanted = [g["step"] == groups[-1]["step"] for g in groups]
    return wanted.index(True) if True in wanted else 0


def _facts(run: Run) -> list[list[str]]:
    """What the run was told, in a few words each."""
    config = run.config
    if not config:
        return [["completions", visible(str(run.path.name))]]
    options = config.get("objective_options") or {}
    told = ", ".join(f"{k}={v}" for k, v in options.items())
    facts = [
        ["objective", f"{config.get('objective')}{f' ({told})' if told else ''}"],
        ["task", str(config.get("task"))],
        ["model", str(config.get("model"))],
        ["reference", str(config.get("reference"))],
        ["answers", f"{config.get('prompts_per_step')} x {config.get('group_size')} a step"],
        ["learning rate", f"{config.get('learning_rate'):g}"],
        ["seed", str(config.get("seed"))],
    ]
    return [[name, visible(text)] for name, text in facts]


def glance_of(run: Run, history: History, spread: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What happened, in a few sentences, with the step to look at where there is one."""
    lines: list[dict[str, Any]] = []
    steps = [int(row["step"]) for row in run.metrics] or history.steps
    rewards = [float(row["reward"]) for row in run.metrics]
    rewards = rewards or [float(np.mean(x)) for x in history.rewards]
    if not rewards:
        return [{"text": "This run has no metrics yet.", "step": None}]
    ends = max(1, min(10, len(rewards) // 2))
    first, last = float(np.mean(rewards[:ends])), float(np.mean(rewards[-ends:]))
    begun = onset(rewards)
    counted = f"{ends} steps" if ends > 1 else "step"
    text = f"The mean reward was {first:.3g} in the first {counted} and {last:.3g} in the last."
    if begun is None:
        text += " It did not leave its beginning by more than it scatters."
        lines.append({"text": text, "step": None})
    else:
        way = "rise" if last > first else "fall"
        text += f" It began to {way} for good at step {steps[begun]}."
        lines.append({"text": text, "step": steps[begun]})
    strong = [token for token in spread if token["after"] > max(0.5, 3 * token["before"])]
    if strong:
        named = ", ".join(f"“{t['token']}”" for t in strong[:4])
        found = [t["step"] for t in strong if t["step"] is not None]
        text = (
            f"Answers fill up with {named}: {strong[0]['before']:.2g} to an answer at first, "
            f"{strong[0]['after']:.2g} at the end"
        )
        text += f", for good from step {min(found)} on." if found else "."
        lines.append({"text": text, "step": min(found) if found else None, "tokens": True})
    alike = _alike(history)
    if alike:
        lines.append(alike)
    if strong and begun is not None and last > first:
        lines.append(
            {
                "text": "The reward rose while a few tokens took over: read the answers of these "
                "steps before you trust it. A reward that pays for words is easily fooled.",
                "step": None,
                "warning": True,
            }
        )
    if not history.steps:
        text = "No answers are on record: pip install 'gnivo-edu[llm]', and completions=all."
        lines.append({"text": text, "step": None})
    return lines


def _alike(history: History) -> dict[str, Any] | None:
    unlike = history.different
    if len(unlike) < 2 or unlike[-1] > 0.7 * unlike[0]:
        return None
    begun = onset(unlike)
    text = (
        f"The answers to a question have become alike: {unlike[0]:.0%} of them were different at "
        f"first, {unlike[-1]:.0%} at the end."
    )
    return {"text": text, "step": None if begun is None else history.steps[begun]}


def _quantities(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What tokens can be coloured by here, each on one scale for the whole page."""
    rows = []
    for key, label, unit, floor in QUANTITIES:
        values = [
            np.abs(np.asarray(x, dtype=float))
            for group in groups
            for answer in group["answers"]
            if (x := quantity(answer, key)) is not None
        ]
        if not values:
            continue
        flat = np.concatenate(values)
        top = float(np.quantile(flat, 0.98)) if flat.size else 0.0
        rows.append({"key": key, "label": label, "unit": unit, "scale": max(floor, top)})
        rows[-1]["flat"] = top < floor
    return rows


def quantity(answer: dict[str, Any], key: str) -> Any:
    """What a token can be coloured by, of each token of an answer; None where it is not on record.
    The page computes the same.
    """
    tokens = answer["tokens"]
    logp = np.asarray(tokens["logp"]) if "logp" in tokens else None
    ref = np.asarray(tokens["ref"]) if "ref" in tokens else None
    if key == "signal":
        return tokens.get("signal")
    if key == "advantage":
        own = tokens.get("A")
        flat = answer["advantage"]
        return own if own is not None or flat is None else [flat] * len(answer["texts"])
    if key == "moved":
        return None if logp is None else logp - np.asarray(tokens.get("old", logp))
    if key in ("credit", "value") and logp is not None and ref is not None:
        return logp - ref if key == "credit" else np.cumsum(logp - ref)
    if key == "kl" and logp is not None and ref is not None:
        return tokens.get("kl", np.expm1(ref - logp) + logp - ref)
    if key == "critic":
        return tokens.get("V")
    return tokens.get(key) if key == "entropy" else None
