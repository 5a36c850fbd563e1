"""A graded reward with a real model: what every method earns of it, what KL it pays, and what
becomes of the texts.

A story model of 260,032 parameters continues openings, and a word list says how happy each story
is, in steps between 0 and 1. Every method runs as its published setting says, at the same three
learning rates, none of them chosen: the rate moves a method along a curve in the plane of reward
and KL. Trials of one seed, on the openings of training, set the budget and the rates before the
predictions were written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from gnivo_edu.course.layout import course_root
from gnivo_edu.figures.frontier_panels import frontier_panels
from gnivo_edu.figures.plane import Point
from gnivo_edu.statistics import Interval
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Cell, Size, Study
from gnivo_edu.studies.table1.search import METHODS
from gnivo_edu.studies.tables import write_table
from gnivo_edu.studies.text.predictions import PREDICTIONS
from gnivo_edu.studies.text.rows import (
    BASE,
    LARGEST,
    MIDDLE,
    OURS,
    PLACEBOS,
    RATES,
    RIVAL,
    ordered,
    row,
    share,
)
from gnivo_edu.studies.text.run import most_reward, train_and_write

STEPS = {"full": 20, "quick": 10, "smoke": 2}
SAMPLES = {"full": 32, "quick": 16, "smoke": 4}
FRONTIER = {"full": 512, "quick": 128, "smoke": 64}
PROMPTS, K, HORIZON = 4, 8, 32
FIRST = (
    BASE,
    *(row(m, MIDDLE, p) for p in ("task", *PLACEBOS) for m in (RIVAL, OURS)),
    row("RLOO", LARGEST),
    row(RIVAL, LARGEST),
)


def cells(size: Size, seeds: Sequence[int], model: str = "stories260k", **train: Any) -> list[Cell]:
    """The model at its start, once; every method at every rate and seed; placebos at the middle
    one. `train`: further settings of `training.load_config`.
    """
    full = size == "full"
    methods = list(METHODS) if full else [RIVAL, OURS]
    rates = RATES if full else (MIDDLE,)

    def run(method: str, rate: float, seed: int, reward: str = "task") -> Cell:
        steps = {"steps": STEPS[size], "prompts_per_step": PROMPTS, "group_size": K}
        settings = {
            "model": model,
            "train": {"setting": METHODS[method], "learning_rate": rate, **steps, **train},
            "reward": reward,
            "horizon": HORIZON,
            "samples": SAMPLES[size],
            "compared": SAMPLES[size],
            "frontier": False,
            "frozen": full and rate == MIDDLE and seed == seeds[0],
        }
        return Cell(row(method, rate, reward), seed, settings)

    base = run(OURS, MIDDLE, seeds[0]).settings
    start = {"train": None, "frontier": True, "samples": FRONTIER[size], "frozen": full}
    listed = [Cell(BASE, seeds[0], {**base, **start})]
    for rate in rates:
        listed += [run(method, rate, seed) for method in methods for seed in seeds]
    listed += [
        run(method, MIDDLE, seed, reward=reward)
        for method in (OURS, RIVAL)
        for reward in (PLACEBOS if full else PLACEBOS[:1])
        for seed in seeds
    ]
    return sorted(listed, key=_turn)


def _turn(cell: Cell) -> int:
    """When a run is made: what predictions are about first, then all others at the middle rate."""
    if cell.row in FIRST:
        return FIRST.index(cell.row)
    rate = float(cell.row.split(", ")[1])
    return len(FIRST) + [MIDDLE, LARGEST, RATES[0]].index(rate)


def report(results: Results) -> None:
    """The table, the plane, some answers of every row, and what is known of SmolLM2."""
    names = ordered(results)
    rows = names[1:]
    rivals = [name for name in rows if _rival(name) in rows and _rival(name) != name]
    planned = len(cells("full", range(STUDY.seeds)))
    model = results.runs[0]["settings"]["model"]
    text = (
        f"# A graded reward: {model}, happier stories\n\n"
        f"{len(results.runs)} runs; {planned} make the full study, those first that predictions "
        "are about. Means over seeds with 95% intervals (Student), on openings that no run was "
        "trained on. Reward: happy words against unhappy ones, between 0 and 1. KL to the initial "
        "model, nats an answer of at most 32 tokens. Share of the most: what a row gained of what "
        "the best policy of its KL would have; that most was estimated from the initial model's "
        "own answers, and of a large KL is 1, the largest reward there is: then a share says how "
        "much of the reward is left, and nothing of thrift. `against GRPO`: reward at the same "
        "learning rate, paired by seed, intervals "
        f"corrected for {len(rivals)} comparisons (Bonferroni). distinct-n: different runs of n "
        "words as a share of all, in the answers to one opening; different: answers that are not "
        "a copy of another. Responses: answers drawn in training."
    )
    table = [line(results, name, rivals) for name in names]
    write_table(results.folder, table, text)
    if rows:
        figure = plane(results)
        (results.folder / "plane.png").write_bytes(figure.png())
    (results.folder / "texts.md").write_text(texts(results), encoding="utf-8")
    write_table(results.folder, smollm2(), SMOLLM2, name="smollm2")


def line(results: Results, name: str, rivals: Sequence[str]) -> dict[str, Any]:
    """A row of the table; `rivals`: the rows that are compared with that of GRPO."""
    against: str | Interval = ""
    if name in rivals:
        against = results.difference(name, _rival(name), "reward", comparisons=len(rivals))
    trained = name != BASE
    of_most = share(results, name) if trained else ""
    seconds = results.mean(name, "training_seconds").mean if trained else ""
    return {
        "method, learning rate": name,
        "seeds": float(len(results.of(name))),
        "reward": results.mean(name, "reward"),
        "KL": results.mean(name, "kl"),
        "share of the most": of_most,
        "against GRPO": against,
        **{f"distinct-{n}": results.mean(name, f"distinct.{n}").mean for n in (1, 2)},
        "different": results.mean(name, "different").mean,
        "length": results.mean(name, "length").mean,
        "responses": results.mean(name, "responses").mean,
        "seconds": seconds,
    }


def _rival(name: str) -> str:
    """GRPO's row at the learning rate of another row, paid by the task."""
    return row(RIVAL, float(name.split(", ")[1])) if ", " in name else ""


def plane(results: Results) -> Any:
    """Reward against KL, a panel a method and one for the placebos of a method."""
    frontier = results.of(BASE)[0]["frontier"]
    runs: dict[str, dict[str, Point]] = {}
    for name in ordered(results)[1:]:
        method, rate, *reward = name.split(", ")
        panel = f"{method}, placebos" if reward else method
        label = reward[0] if reward else rate
        point = Point(results.mean(name, "kl").mean, results.mean(name, "reward").mean)
        runs.setdefault(panel, {})[label] = point
    kls = [point.kl for panel in runs.values() for point in panel.values()]
    grid = np.geomspace(min([0.05, *kls]) / 2, 2 * max(kls), 200)
    return frontier_panels(
        runs,
        [Point(float(kl), most_reward(frontier, float(kl))) for kl in grid],
        start=results.mean(BASE, "reward").mean,
        loose=[panel for panel in runs if panel.endswith("placebos")],
        caption=(
            "labels: learning rate; black: the most that any policy of this KL can earn, from the "
            "initial model's own answers; dashes: the initial model; grey: the other methods"
        ),
    )


def texts(results: Results) -> str:
    """Two answers of every row's first seed, as Markdown."""
    lines = ["# Answers of every row, first seed", ""]
    for name in ordered(results):
        run = results.of(name)[0]
        lines += [f"## {name}: reward {run['reward']:.2f}, KL {run['kl']:.1f} nats", ""]
        lines += [f"- {' '.join(example.split())}" for example in run["examples"][:2]]
        lines.append("")
    return "\n".join(lines)


SMOLLM2 = (
    "# SmolLM2, as far as it was run\n\n"
    "On sums in words, another task than the stories above, with a reward that is 0 or 1: one run "
    "of each method, from `recipes/sums`. Intervals carry the choice of questions, not that of "
    "seeds: three seeds of SmolLM2 were not run here. `gnivo-edu study text/smollm2` runs them on "
    "the stories, where the model was fetched."
)


def smollm2() -> list[dict[str, Any]]:
    """What `recipes/sums` measured of SmolLM2 after GN-IVO and GRPO, and a placebo."""
    path = course_root() / "recipes" / "sums" / "results.json"
    told = json.loads(path.read_text(encoding="utf-8"))["runs"]
    names = {"gnivo": OURS, "grpo": RIVAL, "gnivo_shuffled": f"{OURS}, shuffled"}
    return [
        {
            "method": name,
            "Pass@1": _interval(told[key]["pass@1"]),
            "gain": _interval(told[key]["change"]),
            "KL": _interval(told[key]["kl"]),
            "responses": float(told[key]["answers"]),
            "seeds": 1.0,
        }
        for key, name in names.items()
    ]


def _interval(told: dict[str, float]) -> Interval:
    return Interval(told["mean"], told["low"], told["high"])


STUDY = Study(
    name="text",
    about="A graded reward with a real model: reward against KL, texts and diversity.",
    cells=cells,
    run=train_and_write,
    report=report,
    predictions=PREDICTIONS,
    seeds=3,
)
