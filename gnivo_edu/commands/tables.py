"""Tables for the terminal."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

# rich is imported where it draws: `gnivo-edu --help` does without it.


def print_verification(report: dict[str, Any]) -> None:
    """The results of `gnivo_edu.verify` as a table of at most 80 columns, and why a control cannot
    bite, if so.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title="Both theorems and two controls, in nats",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for heading in (
        "target",
        "alpha",
        "K",
        "answers",
        "thm 1",
        "thm 2",
        "softmax",
        "stale",
        "holds",
    ):
        table.add_column(heading, justify="left" if heading == "target" else "right", no_wrap=True)
    previous = None
    for r in report["results"]:
        name = Path(r["target"].removesuffix(" (small transformer)")).name.removesuffix("-v0")[:17]
        if previous not in (None, name):
            table.add_section()
        table.add_row(
            "" if name == previous else name,
            f"{r['alpha']:g}",
            str(r["constant_shift"]["group_size"]),
            f"{r['sequences']:,}",
            f"{r['soft_value_theorem']['max_abs_error']:.0e}",
            f"{r['constant_shift']['spread']:.0e}",
            *(_violation(r, control) for control in ("softmax_weights", "off_policy_samples")),
            "yes" if r["passed"] else "NO",
        )
        previous = name
    Console().print(table)
    print("thm 1, thm 2: largest errors; softmax, stale: two controls (t < T) that must miss.")
    reasons = {
        f"{r['target']}, {name}: {why}"
        for r in report["results"]
        for name, why in r["not_applicable"].items()
    }
    for reason in sorted(reasons):
        print(f"cannot bite: {reason}")
    if "fit" in report:
        fit = report["fit"]
        print(
            f"A transformer of {fit['parameters']:,} parameters, fitted to the exact loss over all "
            "groups of "
            f"{fit['group_size']} (alpha {fit['alpha']:g}, {fit['sequences']} answers): spread "
            f"{fit['spread']:.0e}, "
            f"KL(pi*||pi) {fit['kl']:.0e}, {fit['steps']} steps: "
            f"{'holds' if fit['passed'] else 'MISSES'}."
        )
    print("All hold." if report["passed"] else "Not everything holds: see the rows with NO.")


def _violation(result: dict[str, Any], control: str) -> str:
    return (
        f"{result['controls'][control]['violation']:.2g}"
        if control in result["controls"]
        else "cannot"
    )


def print_atlas(report: dict[str, Any]) -> None:
    """The rows of the atlas, grouped by objective, and the rows where theory and computation
    disagree.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title="Where each objective comes to rest", box=None, padding=(0, 2, 0, 0), pad_edge=False
    )
    for heading in ("objective, variant", "samples", "ends", "TV to pi*", "off theory"):
        table.add_column(heading, justify="right" if heading.startswith(("TV", "off")) else "left")
    previous = None
    for r in report["rows"]:
        if r["objective"] != previous:
            table.add_section()
            table.add_row(f"[bold]{r['objective']}[/bold]")
        error = "" if r["theory_error"] is None else f"{r['theory_error']:.0e}"
        table.add_row(
            "  " + escape(r["variant"]),
            r["sampling"],
            r["verdict"] + ("" if r["agrees"] else " (theory: another)"),
            f"{r['tv_from_optimum']:.1g}"
            if r["verdict"] == "exact"
            else f"{r['tv_from_optimum']:.4f}",
            error,
        )
        previous = r["objective"]
    Console().print(table)
    print(
        "off theory: total variation from the law that theory states, where it states one; --json "
        "gives the statements."
    )
    wrong = [r for r in report["rows"] if not r["agrees"]]
    for r in wrong:
        print(f"disagrees: {r['objective']}, {r['variant']}: theory says {r['theory']}")
    print(
        f"{len(report['rows'])} rows; "
        + ("all agree with theory." if not wrong else f"{len(wrong)} disagree.")
    )


def print_claims(report: dict[str, Any]) -> None:
    """The claim ledger on one page: verdict, claim, condition, source, what was read, and the
    number.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title="What is said, and what is so", box=None, padding=(0, 2, 0, 0), pad_edge=False
    )
    for heading in ("verdict", "claim; its source (and what was read of it)", "error"):
        table.add_column(
            heading, justify="right" if heading == "error" else "left", overflow="fold"
        )
    for c in report["claims"]:
        condition = (
            f"\n[italic]only if {escape(c['condition'])}[/italic]"
            if c["verdict"] == "holds if"
            else ""
        )
        number = f"{c['number']:.2g}" + (
            f" ({c['number_under_condition']:.0e})" if condition else ""
        )
        verdict = (c["verdict"] or "unclear") + ("" if c["passed"] else " (!)")
        where = f"{c['name']}: {c['source']} ({c['read']}); error: {c['unit']}"
        says = f"{escape(c['claim'])}{condition}\n[dim]{escape(where)}[/dim]"
        table.add_row(verdict, says, number)
    Console().print(table)
    print(
        "error: zero if the claim is true as said; in brackets, under the condition. `--only NAME` "
        "recomputes one."
    )
    wrong = [c["name"] for c in report["claims"] if not c["passed"]]
    print(
        f"{len(report['claims'])} claims; "
        + (f"the ledger is wrong on {', '.join(wrong)}." if wrong else "all as stated.")
    )


def print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """Plain rows, all with the same keys, as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=SIMPLE_HEAD)
    for heading in rows[0]:
        table.add_column(heading)
    for row in rows:
        table.add_row(
            *(f"{v:.3g}" if isinstance(v, float) else escape(str(v)) for v in row.values())
        )
    Console().print(table)


def print_evaluation(report: dict[str, Any]) -> None:
    """Pass@k, maj@k and mean reward with their intervals."""
    rows = []
    for name, value in report.items():
        if name.startswith(("pass@", "maj@")) or name == "reward":
            ends = report[
                "interval" + (name.removeprefix("pass") if name.startswith("pass") else f"_{name}")
            ]
            shown = "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
            rows.append({"measure": name, "mean": value, "95% interval": shown})
    print_rows(f"{report['model']} on {report['task']}", rows)
    print(
        f"{report['problems']} problems, {report['samples']} samples each; "
        f"{report['truncated']:.1%} cut off, "
        f"{report['mean_length']:.1f} tokens on average; {report['skipped']} problems left out. "
        "Intervals: bootstrap over problems."
    )


def print_benchmarks(rows: list[dict[str, Any]]) -> None:
    """The rows of `evaluation.benchmark_table`, as many columns side by side as the terminal has
    room for.
    """
    from rich.console import Console

    # On two lines each: "amc23-40 pass@1" and "42.5 [27.5, 57.5]".
    rows = [
        {
            name.replace(" ", "\n"): text if name == "model" else text.replace(" ", "\n", 1)
            for name, text in row.items()
        }
        for row in rows
    ]
    width = {
        name: max(len(line) for row in rows for line in f"{name}\n{row[name]}".split("\n")) + 3
        for name in rows[0]
    }
    headings = [name for name in width if name != "model"]
    at_once = max(
        2, (Console().width - width["model"]) // max(width[name] for name in headings) // 2 * 2
    )
    for start in range(0, len(headings), at_once):
        print_rows(
            "",
            [
                {name: row[name] for name in ("model", *headings[start : start + at_once])}
                for row in rows
            ],
        )
    print(
        "Percent, mean over problems [95% interval: bootstrap over problems]; a blank: not tried."
    )


def print_training(report: dict[str, Any]) -> None:
    """The summary of a run, what it has changed, and texts before and after."""
    print_rows("trained", [report["summary"]])
    change = report.get("change")
    if change is None:
        return
    ends = change["interval"]
    shown = (
        ""
        if ends is None
        else f" (95% interval over questions, paired: {ends[0]:+.3f} to {ends[1]:+.3f})"
    )
    print(
        f"Mean reward on {change['questions']} of the training questions, {change['answers']} "
        "answers: "
        f"{change['before']:.3f} before, {change['after']:.3f} after, "
        f"{change['difference']:+.3f}{shown}."
    )
    for pair in change["texts"]:
        print(f"\n{pair['prompt']}")
        for when in ("before", "after"):
            print(
                f"  {when:<6} {pair[when]['reward']:.2f}  "
                f"{shorten(pair[when]['text'], 400, placeholder=' ...')}"
            )


def print_comparison(found: dict[str, Any]) -> None:
    """Second minus first, paired, and what the interval would be without the pairs."""

    def text(ends: list[float] | None) -> str:
        return "" if ends is None else f"{ends[0]:+.3f} to {ends[1]:+.3f}"

    rows = [
        {
            "measure": "reward" if key == "_reward" else f"pass{key}",
            "difference": f"{found[f'difference{key}']:+.3f}",
            "95% interval": text(found[f"interval{key}"]),
            "if unpaired": text(found[f"unpaired_interval{key}"]),
            "better / worse on": f"{found[f'better{key}']} / {found[f'worse{key}']}",
        }
        for key in (
            name.removeprefix("difference") for name in found if name.startswith("difference")
        )
    ]
    print_rows(
        f"{found['second']} minus {found['first']}, {found['task']}, {found['problems']} problems",
        rows,
    )
