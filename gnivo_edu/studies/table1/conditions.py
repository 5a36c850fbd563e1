"""Where GN-IVO and GRPO may differ: the same change made to both, one condition at a time.

Found on seeds 0, 1 and 2, confirmed on the five fresh ones after them: only these have a part in
the intervals, which are corrected for the number of conditions. The whole map is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gnivo_edu.figures.forest import forest_plot
from gnivo_edu.statistics import Interval, t_interval
from gnivo_edu.studies.arithmetic import train_and_test
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Cell, Prediction, Size, Study
from gnivo_edu.studies.table1.search import METHODS, chosen, training
from gnivo_edu.studies.tables import write_table

OURS, RIVAL = "GN-IVO", "GRPO"
TRIED = 3  # seeds on which a condition is found; the later ones confirm
RESPONSES = {"full": 5_120, "quick": 1_024, "smoke": 256}


# What a condition changes of both methods: settings of the run, and of its questions and reward.
CONDITIONS: dict[str, dict[str, Any]] = {
    "as in Table 1": {},
    "groups of 2": {"group_size": 2},
    "groups of 16": {"group_size": 16},
    "4 updates a draw": {"inner_steps": 4},
    "8 updates a draw": {"inner_steps": 8},
    "fixed reference": {"reference": "initial"},
    "alpha 1": {"alpha": 1.0},
    "longer answers, tier 4 alone": {"tiers": [4]},
    "rare rewards, tier 5 alone": {"tiers": [5], "tested": [5]},
    "graded reward, share of right totals": {"reward": "graded"},
    "25% of groups flipped": {"reward_noise": 0.25, "reward_noise_of": "group"},
    "half of the answers replayed": {
        "sampler": {"policy": 4, "replay": 4},
        "reference": "initial",  # replayed answers ask for one that stays
        "questions": 64,  # few, so that each comes again soon
    },
}


def row(condition: str, method: str) -> str:
    """The row of a method under a condition."""
    return f"{method}: {condition}"


def cells(size: Size, seeds: Sequence[int]) -> list[Cell]:
    """Both methods under every condition at every seed; a small form has three conditions."""
    names = list(CONDITIONS) if size == "full" else [*list(CONDITIONS)[:2], "4 updates a draw"]
    return [
        Cell(row(name, method), seed, settings(name, method, size, chosen(method)))
        for name in names
        for method in (OURS, RIVAL)
        for seed in seeds
    ]


def settings(condition: str, method: str, size: Size, point: tuple[float, int]) -> dict[str, Any]:
    """Settings of a run under a condition, at a learning rate and questions a step."""
    change = dict(CONDITIONS[condition])
    rate, prompts = point
    outside: dict[str, Any] = {key: change.pop(key) for key in ("tiers", "tested") if key in change}
    if change.get("reward") == "graded":
        outside["reward"] = change.pop("reward")
    # alpha is the price of a nat for GN-IVO; GRPO runs at its published one throughout.
    alpha = change.pop("alpha", None)
    if alpha is not None and method == OURS:
        change["objective_options"] = {"alpha": alpha}
    train = training(METHODS[method], rate, prompts, size=size) | change
    train["steps"] = max(1, RESPONSES[size] // (train["prompts_per_step"] * train["group_size"]))
    test = {"questions": {"full": 200, "quick": 50, "smoke": 5}[size], "samples": 3}
    return {"train": train, **outside, **test}


def differences(results: Results, condition: str, fresh: bool) -> list[float]:
    """GN-IVO less GRPO in Pass@1, mean over tiers, of the seeds that found or that confirm."""
    ours, theirs = (
        results.values(row(condition, method), "pass@1.mean") for method in (OURS, RIVAL)
    )
    return [ours[s] - theirs[s] for s in sorted(ours) if s in theirs and (s >= TRIED) == fresh]


def confirmed(results: Results, condition: str) -> Interval:
    """The mean difference on fresh seeds; its interval holds together with those of all others."""
    count = len(_conditions(results))
    return t_interval(differences(results, condition, fresh=True), 1 - 0.05 / count)


def _conditions(results: Results) -> list[str]:
    return [name for name in CONDITIONS if row(name, OURS) in results.rows]


def report(results: Results) -> None:
    """The map: each condition with both scores and the difference, found and confirmed."""
    names = _conditions(results)
    enough = len(results.of(row(names[0], OURS))) > TRIED + 1
    rows = []
    for name in names:
        cells: dict[str, Any] = {"condition": name}
        cells |= {m: results.mean(row(name, m), "pass@1.mean").mean for m in (OURS, RIVAL)}
        cells["gain, seeds 0 to 2"] = t_interval(differences(results, name, fresh=False)).mean
        cells["gain, fresh seeds"] = confirmed(results, name) if enough else ""
        cells |= {
            f"KL {m}": results.mean(row(name, m), "kl_to_initial").mean for m in (OURS, RIVAL)
        }
        rows.append(cells)
    text = (
        "# Where GN-IVO and GRPO differ\n\n"
        "Pass@1, mean over tiers 2, 3 and 4 (of the rare condition, over tier 5), each method at "
        "its own learning rate, both with the same change; equal answers. Gain: GN-IVO less GRPO, "
        "paired by seed; found on seeds 0 to 2, confirmed on the fresh ones, whose intervals are "
        f"corrected for {len(names)} conditions."
    )
    write_table(results.folder, rows, text)
    if enough:
        panels = {"fresh seeds": {name: confirmed(results, name) for name in names}}
        note = f"paired; 95% intervals, corrected for {len(names)} conditions; grey: holds 0"
        plot = forest_plot(panels, "Pass@1 of GN-IVO less that of GRPO", note)
        (results.folder / "forest.png").write_bytes(plot.png())


def _fresh(condition: str) -> Any:
    return lambda results: t_interval(differences(results, condition, fresh=True)).mean


STUDY = Study(
    name="table1/conditions",
    about="GN-IVO and GRPO under the same change, one condition at a time: where do they differ?",
    cells=cells,
    run=train_and_test,
    report=report,
    seeds=TRIED + 5,
    predictions=(
        Prediction(
            "pairs tie",
            "In groups of 2 a group pushes only where one answer is right and one is wrong, and "
            "then both methods push the two apart by one number: GN-IVO by softmax(1/alpha) - 1/2, "
            "GRPO by half the root of 2. An optimiser that divides by the size of the gradient "
            "takes the number out, and they differ only by how they count tokens.",
            -0.04,
            0.04,
            command="gnivo-edu claims --only gnivo-letter",
            falsified="a mean difference of more than four points on fresh seeds",
            placebo_misses="paid by a shuffled reward GN-IVO would not rise at all, and GRPO would",
            number=_fresh("groups of 2"),
        ),
        Prediction(
            "many updates favour GN-IVO",
            "With 8 updates on a draw GRPO's ratio is clipped at 0.2, GN-IVO's loss goes on until "
            "the log-ratios of a group differ by what the rewards say, 1/alpha = 5 nats: per "
            "answer drawn it moves farther, and 5,120 answers are few.",
            0.0,
            0.2,
            command="gnivo-edu judge gnivo",
            falsified="GRPO ahead on fresh seeds",
            placebo_misses="a placebo moves as far, and to nowhere",
            number=_fresh("8 updates a draw"),
        ),
        Prediction(
            "a fixed reference holds GN-IVO back",
            "Against a reference that stays, the weight of an answer is w_i - q_i with q the "
            "softmax of its log-ratios: once right answers stand 5 nats above wrong ones nothing "
            "is left to push, and groups of one right answer saturate first. GRPO's price is 0.04 "
            "a nat.",
            -0.3,
            -0.005,
            command="gnivo-edu claims --only gnivo-optimum",
            falsified="GN-IVO level with GRPO or above it on fresh seeds",
            placebo_misses="it would lie far below -0.3",
            number=_fresh("fixed reference"),
        ),
        Prediction(
            "alpha hardly matters",
            "For 0/1 rewards alpha scales the push of a group, and hardly tells groups apart: at "
            "alpha = 1 weights are those of Dr. GRPO but for a factor, which the optimiser takes "
            "out.",
            -0.05,
            0.05,
            command="gnivo-edu claims --only vimpo-start",
            falsified="a mean difference of more than five points from GRPO at alpha = 1",
            placebo_misses="it would lie far below",
            number=_fresh("alpha 1"),
        ),
        Prediction(
            "rare rewards favour GN-IVO",
            "Of K answers with m right ones GN-IVO gives a right one 1/m - 1/K, about 1/p, GRPO "
            "about 1/sqrt(p): where p is small, a rare right answer weighs more beside the common "
            "ones of easy questions.",
            0.0,
            0.25,
            command="gnivo-edu claims --only gnivo-letter",
            falsified="GRPO ahead on fresh seeds",
            placebo_misses="it would not leave 0.03, where the base stands",
            number=_fresh("rare rewards, tier 5 alone"),
        ),
        Prediction(
            "noise hurts GN-IVO more",
            "A flipped group of which most answers are right pays the few wrong ones: GN-IVO gives "
            "them 1/m - 1/K, more than GRPO's 1/sqrt(p(1 - p)), so that the same flips push harder "
            "the wrong way.",
            -0.2,
            0.0,
            command="gnivo-edu claims --only gnivo-noise",
            falsified="GN-IVO ahead under flipped groups on fresh seeds",
            placebo_misses="it would lie far below -0.2",
            number=_fresh("25% of groups flipped"),
        ),
    ),
)
