"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from textwrap import shorten
from typing import Any

from gnivo_edu.names import visible

# rich is imported where it draws: `gnivo-edu --help` does without it.


def print_verification(report: dict[str, Any]) -> None:
    """The results of `gnivo_edu.verify` as a table of at most 80 columns, and why a control cannot
    bite, if so.
    """
    notices = {f"{r['target']}: {r['notice']}" for r in report["results"] if "notice" in r}
    for notice in sorted(notices):
        print(visible(notice))
    columns = ("alpha", "K", "answers", "thm 1", "thm 2", "softmax", "stale", "holds")
    title = "Both theorems and two controls, in nats"
    table = _ruleless(title, left=["target"], right=columns, no_wrap=True)
    for target, results in groupby(report["results"], key=_short_target):
        for number, result in enumerate(results):
            # The name stands in the first row of its target only.
            table.add_row(_cell(target if number == 0 else ""), *_verification_cells(result))
    _draw(table)
    print("thm 1, thm 2: largest errors; softmax, stale: two controls (t < T) that must miss.")
    words = {"soft_value_theorem": "not decided", "constant_shift": "not decided"}
    reasons = {
        f"{words.get(name, 'cannot bite')}: {result['target']}, {name}: {why}"
        for result in report["results"]
        for name, why in result["not_applicable"].items()
    }
    for reason in sorted(reasons):
        print(visible(reason))
    if "tree" in report:
        _print_tree(report["tree"])
    if "fit" in report:
        fit = report["fit"]
        print(
            f"A transformer of {fit['parameters']:,} parameters, fitted to the exact loss over all "
            f"groups of {fit['group_size']} (alpha {fit['alpha']:g}, {fit['sequences']} answers): "
            f"spread {fit['spread']:.0e}, KL(pi*||pi) {fit['kl']:.0e}, {fit['steps']} steps: "
            f"{'holds' if fit['passed'] else 'MISSES'}."
        )
    print("All hold." if report["passed"] else "Not everything holds: see the rows with NO.")


def _print_tree(tree: dict[str, Any]) -> None:
    """How much of a model's own probability its tree keeps, and what its texts earn."""
    kept, rewards = tree["kept_mass"], tree["rewards"]
    masses = ", ".join(f"{mass:.3f}" for mass in kept["by_depth"])
    print(
        f"kept of the model's own probability: {masses} after 0, 1, ... tokens (means over the "
        f"tree; at least {kept['least']:.3f}); it stays in the tree with chance "
        f"{kept['whole']:.3f}."
    )
    print(
        f"{visible(tree['reward'])}: {rewards['different']} different rewards, "
        f"{rewards['least']:.3g} to {rewards['most']:.3g}, on average {rewards['mean']:.3f}."
    )


def _short_target(result: dict[str, Any]) -> str:
    """The name of an environment or a model, without what is the same for all."""
    name = Path(result["target"].removesuffix(" (small transformer)")).name
    return name.removesuffix("-v0")[:17]


def _verification_cells(result: dict[str, Any]) -> list[str]:
    violations = [
        # A control that can do no harm on a target is absent from the report.
        f"{result['controls'][name]['violation']:.2g}" if name in result["controls"] else "cannot"
        for name in ("softmax_weights", "off_policy_samples")
    ]
    return [
        f"{result['alpha']:g}",
        str(result["constant_shift"]["group_size"]),
        f"{result['sequences']:,}",
        f"{result['soft_value_theorem']['max_abs_error']:.0e}",
        f"{result['constant_shift']['spread']:.0e}",
        *violations,
        "yes" if result["passed"] else "NO",
    ]


def print_atlas(report: dict[str, Any]) -> None:
    """The rows of the atlas, grouped by objective, and the rows where theory and computation
    disagree.
    """
    from rich.markup import escape

    table = _ruleless(
        "Where each objective comes to rest",
        left=["objective, variant", "samples", "ends"],
        right=["TV to pi*", "off theory"],
    )
    for objective, rows in groupby(report["rows"], key=lambda row: row["objective"]):
        table.add_row(f"[bold]{objective}[/bold]")
        for row in rows:
            # Where the end is pi* itself, the distance is rounding: its size says enough.
            form = ".1g" if row["verdict"] == "exact" else ".4f"
            distance = f"{row['tv_from_optimum']:{form}}"
            disagreement = "" if row["agrees"] else " (theory: another)"
            error = "" if row["theory_error"] is None else f"{row['theory_error']:.0e}"
            starts = [start for start in row["starts"] if start["end"] == 0]
            some = f", {len(starts)} of {len(row['starts'])} starts" if row["share"] < 1 else ""
            end = row["verdict"] + some + disagreement
            table.add_row(f"  {escape(row['variant'])}", row["sampling"], end, distance, error)
    _draw(table)
    print(
        "off theory: total variation from the law that theory states, where it states one; --json "
        "gives the statements. Where the starts lead to several ends, the worst is shown."
    )
    wrong = [row for row in report["rows"] if not row["agrees"]]
    for row in wrong:
        print(f"disagrees: {row['objective']}, {row['variant']}: theory says {row['theory']}")
    summary = f"{len(wrong)} disagree." if wrong else "all agree with theory."
    print(f"{len(report['rows'])} rows; {summary}")


def print_claims(report: dict[str, Any]) -> None:
    """The claim ledger on one page: verdict, claim, what its counterfactual changes, source, what
    was read, and both numbers.
    """
    from rich.markup import escape

    says = "claim; its source (and what was read of it)"
    title = "What is said, and what is so"
    table = _ruleless(title, left=["verdict", says], right=["error"], overflow="fold")
    for claim in report["claims"]:
        word = "only if" if claim["condition"] else "counterfactual:"
        where = (
            f"{claim['name']}, {claim['kind']}: {claim['source']} ({claim['read']}); error: "
            f"{claim['unit']}; {claim['where']}"
        )
        lines = [
            escape(claim["claim"]),
            f"[italic]{word} {escape(claim['counterfactual'])}[/italic]",
            *(_point_of_curve(point) for point in claim["curve"] or ()),
            f"[dim]{escape(where)}[/dim]",
        ]
        mark = "" if claim["passed"] else " (!)"
        verdict = (claim["verdict"] or "unclear") + mark
        numbers = f"{claim['number']:.2g} ({claim['counterfactual_number']:.2g})"
        table.add_row(verdict, "\n".join(lines), numbers)
    _draw(table)
    print(
        "error: zero if the claim is true as said; in brackets, under its counterfactual, which "
        "must come out the other way. `--only NAME` recomputes one."
    )
    wrong = ", ".join(claim["name"] for claim in report["claims"] if not claim["passed"])
    summary = f"the ledger is wrong on {wrong}." if wrong else "all as stated."
    print(f"{len(report['claims'])} claims; {summary}")


def _point_of_curve(point: dict[str, float]) -> str:
    """One setting of a claim and what it gives there: alpha 0.2: nats 0.98, chances 0."""
    first, *others = (f"{name} {value:.3g}" for name, value in point.items())
    return f"  {first}: {', '.join(others)}"


def print_evaluation(report: dict[str, Any]) -> None:
    """Pass@k, maj@k and mean reward with their intervals."""
    # By the key of its interval: interval@1 for pass@1, interval_maj@3, interval_reward.
    measures = {
        f"interval_{name}".replace("_pass", ""): name
        for name in report
        if name.startswith(("pass@", "maj@")) or name == "reward"
    }
    rows = [
        {"measure": name, "mean": report[name], "95% interval": _interval(report[key], form=".3f")}
        for key, name in measures.items()
    ]
    print_rows(f"{report['model']} on {report['task']}", rows)
    print(
        f"{report['problems']} problems, {report['samples']} samples each; "
        f"{report['truncated']:.1%} cut off, {report['mean_length']:.1f} tokens on average; "
        f"{report['skipped']} problems left out. Intervals: bootstrap over problems."
    )


def print_benchmarks(rows: list[dict[str, Any]]) -> None:
    """The rows of `evaluation.benchmark_table`, as many columns side by side as the terminal has
    room for.
    """
    from rich.console import Console

    # On two lines each: "amc23-40 pass@1" and "42.5 [27.5, 57.5]".
    rows = [
        {name.replace(" ", "\n"): text.replace(" ", "\n", 1) for name, text in row.items()}
        | {"model": row["model"]}
        for row in rows
    ]
    width = {
        name: max(len(line) for row in rows for line in f"{name}\n{row[name]}".split("\n")) + 3
        for name in rows[0]
    }
    names = [name for name in width if name != "model"]
    room = (Console().width - width["model"]) // max(width[name] for name in names)
    at_once = max(2, room // 2 * 2)  # an even number: the columns of one benchmark come in twos
    for start in range(0, len(names), at_once):
        shown = ("model", *names[start : start + at_once])
        print_rows("", [{name: row[name] for name in shown} for row in rows])
    print(
        "Percent, mean over problems [95% interval: bootstrap over problems]; a blank: not tried."
    )


def print_comparison(comparison: dict[str, Any]) -> None:
    """Second minus first, paired, and what the interval would be without the pairs."""
    # What ends the names of a measure's five numbers: @1 in difference@1, interval@1, ...
    keys = [name.removeprefix("difference") for name in comparison if name.startswith("difference")]
    rows = [
        {
            "measure": f"pass{key}".replace("pass_", ""),
            "difference": f"{comparison[f'difference{key}']:+.3f}",
            "95% interval": _interval(comparison[f"interval{key}"], form="+.3f"),
            "if unpaired": _interval(comparison[f"unpaired_interval{key}"], form="+.3f"),
            "better / worse on": f"{comparison[f'better{key}']} / {comparison[f'worse{key}']}",
        }
        for key in keys
    ]
    pair = f"{comparison['second']} minus {comparison['first']}"
    print_rows(f"{pair}, {comparison['task']}, {comparison['problems']} problems", rows)


def print_training(report: dict[str, Any]) -> None:
    """The summary of a run, what it has changed, and texts before and after."""
    print_rows("trained", [report["summary"]])
    change = report.get("change")
    if change is None:
        return
    ends = _interval(change["interval"], form="+.3f")
    interval = f" (95% interval over questions, paired: {ends})" if ends else ""
    print(
        f"Mean reward on {change['questions']} of the training questions, {change['answers']} "
        f"answers: {change['before']:.3f} before, {change['after']:.3f} after, "
        f"{change['difference']:+.3f}{interval}."
    )
    for pair in change["texts"]:
        print("\n" + visible(pair["prompt"], lines=True))
        for when in ("before", "after"):
            text = shorten(pair[when]["text"], 400, placeholder=" ...")
            print(f"  {when:<6} {pair[when]['reward']:.2f}  {visible(text)}")


def _interval(ends: tuple[float, float] | None, form: str) -> str:
    """Nothing where there is no interval: of one problem there is none."""
    return "" if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"


def print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """Plain rows, all with the same keys, as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    table = Table(*(Column(_cell(name)) for name in rows[0]), title=_cell(title), box=SIMPLE_HEAD)
    for row in rows:
        values = row.values()
        table.add_row(*(_cell(f"{v:.3g}" if isinstance(v, float) else str(v)) for v in values))
    _draw(table)


def _cell(text: str) -> Any:
    """A text from outside for a table: as it is written, and whatever a terminal would obey written
    out. Line breaks stay.
    """
    from rich.text import Text

    return Text(visible(text, lines=True))


def _ruleless(title: str, left: Iterable[str], right: Iterable[str], **column: Any) -> Any:
    """A table without rules, with columns flush left and then columns flush right; `column`: more
    of what rich says of a column.
    """
    from rich.table import Table

    table = Table(title=title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in left:
        table.add_column(heading, **column)
    for heading in right:
        table.add_column(heading, justify="right", **column)
    return table


def _draw(table: Any) -> None:
    from rich.console import Console

    Console().print(table)
