"""What came out of `off-policy`: tables, the forest plot, and the laboratory's ends."""

from __future__ import annotations

from typing import Any

from gnivo_edu.figures.distance import distance_curves
from gnivo_edu.figures.forest import forest_plot
from gnivo_edu.studies.off_policy.measures import (
    change,
    gain,
    laboratory,
    mixed,
    share_kept,
    written,
)
from gnivo_edu.studies.off_policy.rows import (
    BASE,
    EXACT,
    FRESH,
    HALF,
    MEASURE,
    METHODS,
    OTHER,
    PULL,
    QUARTER,
    SAMPLERS,
    SHUFFLED,
    row_of,
)
from gnivo_edu.studies.results import Results, Run
from gnivo_edu.studies.tables import write_table

LAB_ALPHA = 0.3
LIMITS = (-0.15, 0.15)  # of the forest plot: of Online DPO seeds differ by more
# Which end of the laboratory stands beside a mixture.
ENDS = {FRESH: "old.0", QUARTER: "old.25", HALF: "old.50", OTHER: "stranger"}


def report(results: Results) -> None:
    """Who takes which answers, the table, the forest plot and the ends of the laboratory."""
    write_table(results.folder, _rows(results), _text(results))
    takes = (
        "# Who takes whose answers\n\n"
        f"{_of_refusals(results)} Ends in the laboratory: total variation from the optimum as old "
        "answers, of the reference, take the place of new ones, and where a stranger writes all; "
        "none is given where the published form has no rest or runs off. Pull: how much of "
        "the step that new answers make old ones make, 1 all of it; after a tenth (near) and a "
        "quarter (far) of the way from the reference, which wrote the old ones, to the optimum. "
        "Beside it the share of the gain that was kept in training."
    )
    write_table(results.folder, _takes(results), takes, name="takes")
    if len(results.of(row_of("GVPO", FRESH))) > 1:
        (results.folder / "forest.png").write_bytes(forest(results).png())
        (results.folder / "exact.png").write_bytes(curves(results).png())


def forest(results: Results) -> Any:
    """What a method gains or loses when some of each group is not its own and new."""
    ran = mixed(results)
    samplers = [sampler for sampler in SAMPLERS if sampler in {one for _, one in ran}]
    # Of a study that is not done, those that are: the same names in every panel.
    methods = [name for name in METHODS if all((name, sampler) in ran for sampler in samplers)]
    panels = {
        sampler: {name: change(results, name, sampler) for name in methods} for sampler in samplers
    }
    count = len(results.of(row_of("GVPO", FRESH)))
    return forest_plot(
        panels,
        "mean Pass@1, less the same method on fresh answers alone",
        f"mean over {count} seeds, paired; 95% intervals, corrected for {len(ran)} "
        "comparisons; panels: historical to current",
        limits=LIMITS,
    )


def curves(results: Results) -> Any:
    """Where methods end in the laboratory as their answers grow old; those at 0 as one line."""
    old = {name: run["old"] for name, run in laboratory(results).items() if "old" in run}
    shares = [int(share) / 100 for share in next(iter(old.values()))]
    moved = {name: list(ends.values()) for name, ends in old.items() if max(ends.values()) > 0}
    level = [name for name, ends in old.items() if max(ends.values()) == 0]
    together = {"at the optimum": [0.0] * len(shares)} if level else {}
    return distance_curves(
        shares,
        together | moved,
        LAB_ALPHA,
        reference="random habits",
        x_label="share of old answers",
        note=f"groups of 2; at the optimum: {'; '.join(level)}",
    )


def _rows(results: Results) -> list[dict[str, Any]]:
    ends = laboratory(results)
    table = []
    for row in [row for row in results.rows if not row.startswith((EXACT, PULL))]:
        cells: dict[str, Any] = {
            "row": row,
            "Pass@1": results.mean(row, MEASURE),
            "Pass@1, tier 4": results.mean(row, "pass@1.4"),
            "KL": results.mean(row, "kl_to_initial"),
        }
        method, _, sampler = row.rpartition(", ")
        pair = (method, sampler) in mixed(results)
        cells["against 0:8"] = change(results, method, sampler) if pair else ""
        cells["kept"] = (share_kept(results, method, sampler) or "") if pair else ""
        cells["written"] = written(results, row)
        cells["end in the laboratory"] = _end(ends.get(method, {}), sampler)
        table.append(cells)
    return table


def _end(run: Run, sampler: str) -> float | str:
    if sampler not in ENDS or "old" not in run:
        return ""
    name, _, share = ENDS[sampler].partition(".")
    return float(run[name][share] if share else run[name])


def _takes(results: Results) -> list[dict[str, Any]]:
    rows = []
    for name, run in laboratory(results).items():
        taken, why = "takes", "reads no ratio to the writer"
        if run["asks_writer"]:
            taken, why = "refuses", "weighs an answer by a ratio to its writer"
        row: dict[str, Any] = {
            "method": name,
            "its own old answers": "takes",
            "another model's, without its log-probabilities": taken,
            "why": why,
        }
        for share in ("0", "25", "50", "100"):
            row[f"end, {share}% old"] = run.get("old", {}).get(share, "")
        row["end, a stranger's"] = run.get("stranger", "")
        pull = results.of(PULL + name)[0]["pull"]
        row |= {f"pull, {way}": x for way, x in pull.items()}
        trained = (name, HALF) in mixed(results)
        row["kept at 4:4, trained"] = (share_kept(results, name, HALF) or "") if trained else ""
        rows.append(row)
    return rows


def _of_refusals(results: Results) -> str:
    ends = laboratory(results)
    refuse = [name for name, run in ends.items() if run["asks_writer"]]
    take = [name for name in ends if name not in refuse]
    return (
        "All take their own old answers, whose log-probabilities were noted when they were "
        f"written. Another model's answers without them are taken by {'; '.join(take)}. "
        f"Those that would not know how to weigh them refuse: {'; '.join(refuse) or 'none'}. They "
        "are given them here, and learn from the same answers."
    )


def _text(results: Results) -> str:
    first = row_of("GVPO", FRESH)
    seeds, answers = len(results.of(first)), results.mean(first, "responses").mean
    ran = {sampler for _, sampler in mixed(results)}
    lines = [f"- **{name}**: {_of_mixture(results, name)}" for name in SAMPLERS if name in ran]
    other = results.mean("the other model", MEASURE).mean
    base, placebo = results.mean(BASE, MEASURE).mean, gain(results, SHUFFLED)
    return (
        "# Old answers, and another model's\n\n"
        f"Every row learns from {answers:,.0f} answers, over {seeds} paired seeds, with the model "
        "at the start as its reference; names end with historical to current answers of each "
        "group. Mean Pass@1 over tiers 2, 3 and 4; intervals are 95%, those of differences "
        f"corrected for {len(mixed(results))} comparisons. `kept`: the gain over the base, over "
        "that on fresh answers, its interval not corrected; empty where the gain on fresh answers "
        "may be none. `written`: answers that the policy had to write. The other model has "
        f"{other:.3f}, the base {base:.3f}; GVPO with shuffled rewards moves by "
        f"{100 * placebo:+.1f} points. The last column is exact, of a small tree, and another "
        f"problem: see takes.md. {_of_refusals(results)}\n\n"
        "What came out:\n\n" + "\n".join(lines)
    )


def _of_mixture(results: Results, sampler: str) -> str:
    """Which methods a mixture moves, and what share of their gain they keep."""
    methods = [method for method, one in mixed(results) if one == sampler]
    changes = {method: change(results, method, sampler) for method in methods}
    worse = [method for method, x in changes.items() if x.high < 0]
    better = [method for method, x in changes.items() if x.low > 0]
    shares = {method: share_kept(results, method, sampler) for method in methods}
    told = {method: share.mean for method, share in shares.items() if share}
    said = "; ".join(f"{method} {share:.2f}" for method, share in told.items()) or "none"
    return (
        f"of {len(methods)} methods {len(worse)} do worse than on fresh answers alone, corrected "
        f"({'; '.join(worse) or 'none'}), and {len(better)} better "
        f"({'; '.join(better) or 'none'}). Share of the gain that is kept: {said}."
    )
