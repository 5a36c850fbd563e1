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
from gnivo_edu.show.choice import check_asked, chosen_groups
from gnivo_edu.show.formula import equation_of
from gnivo_edu.show.glance import facts_of, glance_of, trouble_of
from gnivo_edu.show.history import changes_of, curves_of, history_of, spread_of
from gnivo_edu.show.read import Run, read_run
from gnivo_edu.show.unipo import write_unipo

TEMPLATE = Path(__file__).with_name("page.html")
LARGEST = 20 * 10**6  # bytes of a page
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
    text = render(TEMPLATE, data=data)
    while len(text.encode()) > LARGEST and len(data["groups"]) > 1:
        data |= _fewer(data["groups"], data["first"])
        text = render(TEMPLATE, data=data)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return {
        "passed": True,
        "page": str(target),
        "bytes": len(text.encode()),
        "groups": len(data["groups"]),
        "glance": [line["text"] for line in data["glance"]],
    }


def _fewer(groups: list[dict[str, Any]], first: int) -> dict[str, Any]:
    # Two thirds of the groups, and among them the one that is shown first.
    kept = groups[: len(groups) * 2 // 3]
    if first >= len(kept):
        kept[-1], first = groups[first], len(kept) - 1
    return {"groups": kept, "first": first}


def _target(path: Path) -> Path:
    return path.with_suffix(".html") if path.is_file() else path / "show.html"


def page_data(run: Run, step: int | None = None, question: int | None = None) -> dict[str, Any]:
    """All that the page of a run shows, as plain data."""
    history = history_of(run)
    check_asked(history, step, question)
    config = run.config
    formulas: list[dict[str, Any]] = []
    spread = spread_of(history)
    begun = [row["step"] for row in spread if row["step"] is not None]
    glance = glance_of(run, history, spread)
    objective = visible(str(config.get("objective", "")))
    name = visible(run.name)
    groups = chosen_groups(run, history, asked=(step, question), begun=begun, formulas=formulas)
    return {
        "name": name,
        "title": " · ".join(filter(None, (name, objective, "what happened"))),
        "facts": facts_of(run),
        "glance": glance,
        "curves": curves_of(run, history),
        "spread": spread,
        "changes": changes_of(history),
        "objective": objective,
        "equation": equation_of(str(config.get("objective", ""))),
        "formulas": formulas,
        "quantities": _quantities(groups),
        "steps": len(run.metrics) or len(history.steps),
        "groups": groups,
        "first": _first(groups, asked=(step, question), trouble=trouble_of(glance)),
    }


def _first(
    groups: Sequence[dict[str, Any]], asked: tuple[int | None, int | None], trouble: int | None
) -> int:
    """The place of the group that is shown first: the one asked for, else one of the step at which
    the trouble began, or of the nearest that is shown, else the last step's.
    """
    step, question = asked
    if step is None and question is None and groups:
        last = groups[-1]["step"]
        sought = last if trouble is None else trouble
        step = min((g["step"] for g in groups), key=lambda s: abs(s - sought))
    wanted = [step in (None, g["step"]) and question in (None, g["question"]) for g in groups]
    return wanted.index(True) if True in wanted else 0


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
