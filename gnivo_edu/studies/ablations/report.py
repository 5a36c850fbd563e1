"""What came out of `ablations`: tables, figures, and the order of training beside theory's."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from gnivo_edu.figures.bars import bar_panels
from gnivo_edu.figures.forest import forest_plot
from gnivo_edu.statistics import Interval
from gnivo_edu.studies.ablations.rows import (
    BASE,
    EXACT,
    FACTORS,
    MEASURE,
    OURS,
    PLACEBOS,
    PUBLISHED,
    SHUFFLED,
    STAYING,
    K,
)
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.tables import write_table


def exact(results: Results, row: str, name: str) -> float:
    """A number of the laboratory for a row."""
    return results.values(EXACT + row, name).popitem()[1]


def pairs(results: Results, factor: str) -> list[tuple[str, str]]:
    """Pairs of rows of a factor that were run."""
    return list(combinations([row for row in FACTORS[factor] if row in results.rows], 2))


def report(results: Results) -> None:
    """Two tables, the forest plot and the bars of what alpha does where the reference stays."""
    write_table(results.folder, _rows(results), _text(results))
    alone = [row for row in STAYING if row in results.rows]
    text = (
        "# A reference that stays\n\n"
        "The same method with the model at the start as its reference, which is what its theorem "
        "is about. KL, nats an answer, of the trained model; beside it, in the laboratory, the KL "
        "of the optimum and how far from it softmax weights end.\n\n" + _of_staying(results)
    )
    table: list[dict[str, Any]] = [
        {
            "row": row,
            "Pass@1": results.mean(row, MEASURE),
            "KL": results.mean(row, "kl_to_initial"),
            "against alpha = 0.1": ""
            if row == alone[0]
            else results.difference(
                row, alone[0], "kl_to_initial", comparisons=max(1, len(alone) - 1)
            ),
            "KL of the optimum": exact(results, row, "kl"),
            "distance from it": exact(results, row, "away"),
        }
        for row in alone
    ]
    write_table(results.folder, table, text, name="reference_stays")
    if len(results.of(OURS)) > 1:
        (results.folder / "forest.png").write_bytes(forest(results).png())
        kls = {
            "KL, trained": {row: results.mean(row, "kl_to_initial").mean for row in alone},
            "KL of the optimum, laboratory": {row: exact(results, row, "kl") for row in alone},
        }
        bars = bar_panels(kls, "nats an answer", "the reference is the model at the start")
        (results.folder / "reference_stays.png").write_bytes(bars.png())


def compared(results: Results) -> list[str]:
    """Rows that differ from GN-IVO in one thing."""
    apart = (OURS, BASE, *STAYING)
    return [row for row in results.rows if row not in apart and not row.startswith(EXACT)]


def forest(results: Results) -> Any:
    """Trained and exact differences from GN-IVO, side by side; the placebo is in the table."""
    rows = [row for row in compared(results) if row not in PLACEBOS]
    count = len(compared(results))
    panels = {
        "trained: mean Pass@1": {
            row: results.difference(row, OURS, MEASURE, comparisons=count) for row in rows
        }
    }
    for name, title in (("uphill", "uphill signal"), ("cosine", "cosine with uphill")):
        gaps = {row: exact(results, row, name) - exact(results, OURS, name) for row in rows}
        panels[f"laboratory: {title}"] = {row: Interval(x, x, x) for row, x in gaps.items()}
    return forest_plot(
        panels,
        f"less that of {OURS}: K = {K}, alpha = 0.2, all depths, softmax",
        f"mean over {len(results.of(OURS))} seeds, paired; 95% intervals, corrected for "
        f"{count} comparisons; the laboratory's numbers are exact, in units of their own",
    )


def _rows(results: Results) -> list[dict[str, Any]]:
    others = compared(results)
    table = []
    for row in (BASE, OURS, *others):
        trained = row != BASE
        cells: dict[str, Any] = {
            "row": row,
            "Pass@1": results.mean(row, MEASURE),
            "Pass@1, tier 4": results.mean(row, "pass@1.4"),
            "Pass@3": results.mean(row, "pass@3.mean"),
            "KL": results.mean(row, "kl_to_initial") if trained else "",
            "against GN-IVO": "",
        }
        if row in others:
            cells["against GN-IVO"] = results.difference(
                row, OURS, MEASURE, comparisons=len(others)
            )
        asked = results.of(EXACT + row)
        for title, name in (
            ("uphill", "uphill"),
            ("noise", "noise"),
            ("cosine", "cosine"),
            ("distance from the optimum", "away"),
        ):
            cells[title] = asked[0].get(name, "") if asked else ""
        table.append(cells)
    return table


def _text(results: Results) -> str:
    seeds, answers = len(results.of(OURS)), int(results.mean(OURS, "responses").mean)
    gain = results.mean(OURS, MEASURE).mean - results.mean(BASE, MEASURE).mean
    placebo = results.mean(SHUFFLED, MEASURE).mean - results.mean(BASE, MEASURE).mean
    changed = [row for row in compared(results) if row not in PLACEBOS]
    count = len(compared(results))
    gaps = {row: results.difference(row, OURS, MEASURE, comparisons=count) for row in changed}
    apart = [row for row, gap in gaps.items() if gap.low > 0 or gap.high < 0]
    said = "\n".join(
        f"- {_of_factor(results, factor)}" for factor in FACTORS if pairs(results, factor)
    )
    return (
        "# GN-IVO, one factor at a time\n\n"
        f"{OURS} here: groups of {K}, alpha 0.2, all depths, tokens, softmax weights, the "
        f"reference being the policy itself. Every row draws {answers:,} answers, as many in a "
        f"step, over {seeds} paired seeds; trained on tiers 2 and 3, Pass@1 and Pass@3 are means "
        "over tiers 2, 3 and 4. Differences from it have 95% intervals, corrected for "
        f"{len(compared(results))} comparisons. It moves by {100 * gain:+.1f} points from the "
        f"base; with shuffled rewards, by {100 * placebo:+.1f}. Of {len(changed)} rows that change "
        f"something, {len(apart)} are apart from it: {'; '.join(apart) or 'none'}.\n\n"
        "The last four columns are exact, from three questions of four steps. `noise`: answers "
        "that a batch needs for its noise to be as large as its mean gradient; `cosine` of that "
        "mean and the gradient of the mean reward; `uphill`: cosine over root noise, the signal of "
        "one answer, which decides where batches are small beside their noise; where they are "
        "large, the cosine does. (Predictions were made from `uphill`; the cosine was read "
        "beside training afterwards.) `distance from the optimum`: where GN-IVO ends while its "
        "reference stays, total variation from the optimum.\n\n"
        f"What came out, factor by factor:\n\n{said}"
    )


def _of_factor(results: Results, factor: str) -> str:
    """The two orders of the laboratory beside that of training, in whole sentences."""
    rows = [row for row in FACTORS[factor] if row in results.rows]
    several = pairs(results, factor)
    theory = {
        name: {row: exact(results, row, name) for row in rows} for name in ("uphill", "cosine")
    }
    trained = {row: results.mean(row, MEASURE).mean for row in rows}

    def order(values: dict[str, float]) -> str:
        ranked = sorted(rows, key=lambda row: -values[row])
        return "; ".join(f"{row} ({values[row]:.3f})" for row in ranked)

    apart, alike = 0, dict.fromkeys(theory, 0)
    for first, second in several:
        gap = results.difference(first, second, MEASURE, comparisons=len(several))
        if gap.low > 0 or gap.high < 0:
            apart += 1
            for name, values in theory.items():
                alike[name] += (values[first] - values[second]) * gap.mean > 0
    judged = "None of the trained pairs is apart from 0, corrected."
    if apart:
        judged = (
            f"Of {len(several)} trained pairs {apart} are apart from 0, corrected: "
            f"{alike['uphill']} of these in the order of the uphill signal, {alike['cosine']} in "
            "that of the cosine."
        )
    published = PUBLISHED.get(factor, "")
    quoted = f" Published, second-hand: {published}." if published else ""
    return (
        f"**{factor}**. Trained, mean Pass@1: {order(trained)}. In the laboratory, uphill signal: "
        f"{order(theory['uphill'])}; cosine: {order(theory['cosine'])}. {judged}{quoted}"
    )


def _of_staying(results: Results) -> str:
    rows = [row for row in STAYING if row in results.rows]
    first, last = rows[0], rows[-1]
    kls = {row: results.mean(row, "kl_to_initial").mean for row in rows}
    same = sorted(rows, key=lambda row: -kls[row]) == sorted(
        rows, key=lambda row: -exact(results, row, "kl")
    )
    gap = results.difference(first, last, "kl_to_initial", comparisons=max(1, len(rows) - 1))
    apart = "apart from" if gap.low > 0 or gap.high < 0 else "not apart from"
    return (
        f"The order of the trained KLs is {'the same as' if same else 'another one than'} that of "
        f"the optima. With {last.split(', ')[1]} the trained model ends {kls[last]:.2f} nats from "
        f"its start, with {first.split(', ')[1]} {kls[first]:.2f}; their difference is {apart} 0, "
        "corrected."
    )
