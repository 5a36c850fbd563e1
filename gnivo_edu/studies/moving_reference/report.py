"""The tables of the study of a moving reference: what was trained, what enumeration says."""

from __future__ import annotations

from typing import Any

from gnivo_edu.population import total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving.tables import SHARES
from gnivo_edu.studies.arithmetic import TESTED
from gnivo_edu.studies.moving_reference import pictures
from gnivo_edu.studies.moving_reference.tree import goal, lower_end
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.tables import write_table

TREE, GROUP = "tree: ", 8
HARD = str(max(TESTED))
Rows = list[dict[str, Any]]


def report(results: Results) -> None:
    """Four tables and four figures; of a small form what it has runs for."""
    trees = [row for row in results.rows if row.startswith(TREE)]
    seeds = len(results.of(trees[0]))
    means = f"Means over {seeds} seeds with 95% intervals (Student)."
    texts = {
        "table": (
            refreshes(results, trees),
            "# Refreshes on the tree\n\n"
            f"{means} After n refreshes: total variation from the end at alpha/n (of softmax "
            "weights: from pi* there), that of the exact end of n refreshes; total variation from "
            "that exact end; E[R], trained and exact; what the refresh gained, and alpha times "
            "both KLs.",
        ),
        "swap": (
            swaps(results, trees),
            f"# A swap of the reference, the policy held\n\n{means} VIMPO's policy after its first "
            "rest: largest mean change of an implied value on its own answers and on those of the "
            "old reference; standard deviation after 1, 2, 3 tokens on a sample, and counted for "
            "the trained policy; rise of the value loss, and half the last variance.",
        ),
        "jump": (
            jumps(results, trees),
            f"# The loss at a refresh\n\n{means} Factors of VIMPO's value loss on the same groups "
            "of the policy's answers; u, the share of the rewards' variance not learned; the "
            "factor that u asks for; in the log, the first update after a refresh over the mean "
            "of the twenty before.",
        ),
        "transformer": (
            transformer(results),
            f"# The arithmetic transformer\n\n{means} `against initial`: paired by seed, corrected "
            "for all rows that are compared and three tiers. KL to the start, nats an answer.",
        ),
    }
    for name, (rows, text) in texts.items():
        write_table(results.folder, rows, text, name)
    for name, figure in pictures.pictures(results).items():
        (results.folder / f"{name}.png").write_bytes(figure)


def refreshes(results: Results, trees: list[str]) -> Rows:
    """A row for each tree row and number of refreshes."""
    answers, rows = problem("tree"), []
    for row in trees:
        first = results.of(row)[0]
        method, alpha = first["settings"]["method"], first["settings"]["alpha"]
        for n in first["after"]:
            exact = goal(method, alpha=alpha, n=int(n))
            far = total_variation(exact, lower_end(method, alpha / int(n)))
            trained = {
                name: results.mean(row, f"after.{n}.{measure}")
                for name, measure in (
                    ("from the end at alpha/n", "lower"),
                    ("from the exact end", "rest"),
                    ("E[R]", "reward"),
                    ("gained", "gain"),
                    ("alpha (KL + KL)", "kls"),
                )
            }
            told = {"exact: from the end at alpha/n": far if far > 1e-9 else 0.0}
            told["exact: E[R]"] = float(exact @ answers.rewards)
            rows.append({"run": row.removeprefix(TREE), "n": n, **trained, **told})
    return rows


def swaps(results: Results, trees: list[str]) -> Rows:
    """A row for each new reference, of the runs of VIMPO that were measured; groups do not matter,
    so of one size alone.
    """
    rows = []
    for row in trees:
        if results.of(row)[0]["settings"]["K"] != GROUP:
            continue
        for name in results.of(row)[0].get("swap", {}):
            at = f"swap.{name}"
            measures = {
                "mean": "mean",
                "mean, old reference's answers": "mean_old",
                **{f"sd, t = {t}": f"sd.{t}" for t in (1, 2, 3)},
                **{f"counted sd, t = {t}": f"exact_sd.{t}" for t in (1, 2, 3)},
                "the loss rises by": "rise",
                "half the last variance": "half_variance",
            }
            values = {word: results.mean(row, f"{at}.{one}") for word, one in measures.items()}
            rows.append({"run": row.removeprefix(TREE), "new reference": name, **values})
    return rows


def jumps(results: Results, trees: list[str]) -> Rows:
    """A row for each run of VIMPO and refresh that was measured."""
    rows = []
    for row in trees:
        first = results.of(row)[0]
        for n in first["jump"]:
            measures = {"a refresh": "refresh", "u": "unlearnt", "K/(1 + (K - 1) u)": "gauge"}
            measures |= {f"alpha to {s:g} alpha": f"anneal_{100 * s:.0f}" for s in SHARES}
            values: dict[str, Any] = {
                word: results.mean(row, f"jump.{n}.{one}") for word, one in measures.items()
            }
            K = first["settings"]["K"]
            values |= {f"exact: alpha to {s:g} alpha": 1 + (K - 1) * (1 - s) ** 2 for s in SHARES}
            logged = results.mean(row, "logged_jump") if "logged_jump" in first else ""
            values["in the log"] = logged if n == "1" else ""
            rows.append({"run": row.removeprefix(TREE), "n": n, "K": float(K), **values})
    return rows


def transformer(results: Results) -> Rows:
    """A row for each method and reference."""
    rows = []
    compared = pictures.compared(results)
    for row in results.rows:
        if row.startswith(TREE):
            continue
        cells: dict[str, Any] = {"run": row}
        for tier in TESTED:
            cells[f"tier {tier} Pass@1"] = results.mean(row, f"pass@1.{tier}")
        cells[f"tier {HARD} Pass@3"] = results.mean(row, f"pass@3.{HARD}")
        cells[f"against initial, tier {HARD}"] = ""
        if row in compared:
            cells[f"against initial, tier {HARD}"] = results.difference(
                row, compared[row], f"pass@1.{HARD}", comparisons=len(compared) * len(TESTED)
            )
        cells["KL"] = results.mean(row, "kl_to_initial")
        rows.append(cells)
    return rows
