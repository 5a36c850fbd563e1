"""results.md of the sums, from results.json: `run_all.py` writes both."""

from __future__ import annotations

from hits import CONTROL, Row


def ends(row: Row, *, sign: str = "", places: int = 2) -> str:
    """A mean with its interval."""
    if row["low"] is None:
        return f"{row['mean']:{sign}.{places}f}"
    mean, low, high = (f"{row[name]:{sign}.{places}f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def table(report: Row) -> str:
    """The whole file."""
    lines = [
        "# Sums in words, with SmolLM2-135M-Instruct on two cores",
        "",
        "`python recipes/sums/run_all.py` and `python recipes/sums/where.py` wrote this, and "
        "results.json, which holds every number of it.",
        "",
        *of_warm_up(report["warm_up"]),
        "",
        *of_runs(report),
        "",
        *verdicts(report["runs"]),
        "",
        *costs(report["runs"]),
    ]
    if "steps" in report:
        lines += ["", *of_steps(report["steps"])]
    return "\n".join([*lines, ""])


def of_warm_up(warm: Row) -> list[str]:
    """Where every run starts."""
    by_tier = ", ".join(f"{tier} {ends(row)}" for tier, row in warm["by_tier"].items())
    return [
        f"**The warm-up.** `{warm['command']}`: {warm['demonstrations']} demonstrations teach the "
        "format, not the sums. With the question alone as the prompt, at temperature 1, the model "
        f"is then right in {ends(warm['pass@1'])} of its answers to unseen questions ({by_tier}); "
        f"{warm['truncated']:.1%} of them do not end. A tier 3x2 is three numbers of two digits."
    ]


def of_runs(report: Row) -> list[str]:
    """What each run changed."""
    test, tiers = report["test"], list(report["warm_up"]["by_tier"])
    first = next(iter(report["runs"].values()))
    counts = [row["samples"] for row in (test, *report["runs"].values())]
    samples = " to ".join(map(str, sorted({min(counts), max(counts)})))
    lines = [
        f"**The methods from there**, rank-16 adapters, {first['steps']} steps, "
        f"{first['answers']} answers each, learning rate {first['learning_rate']:g} for all, the "
        "project's default and not searched, one seed, one thread a run. Settings are published "
        "ones, by the names of `gnivo_edu/objectives/published.yaml`; of GVPO and VIMPO there are "
        "several. GVPO's own, `gvpo`, makes four updates a draw, which were too many for the time "
        "of a run here: `gvpo/initial` makes one, as the others do, and has the warm-up for its "
        "anchor. VIMPO's own is for long answers, and failed on the short ones of "
        "recipes/arithmetic/results.md: `vimpo/short` has another weight of the actor. In the "
        "shuffled run, the placebo, each reward is turned round with chance one half: a fair coin, "
        "which knows nothing of the answer.",
        "",
        f"Pass@1 on the {test['questions']} unseen questions of the test set, "
        f"{samples} answers each (the column says how many), with 95% bootstrap intervals over "
        "questions, the change paired by question; "
        "exact KL of the trained model to the warm-up, nats an answer; the share of right answers "
        "in the first and the last ten steps of training, which ask other questions: the same of "
        "every run, so that rows may be compared.",
        "",
        "| run | setting | answers | Pass@1 | change | "
        + " | ".join(f"change, {tier}" for tier in tiers)
        + " | KL | in training | cut off |",
        "| --- | --- | --- | --- | --- |" + " --- |" * (len(tiers) + 3),
    ]
    for name, row in report["runs"].items():
        cells = [
            f"`{name}`",
            f"`{row['setting']}`",
            str(row["samples"]),
            ends(row["pass@1"]),
            ends(row["change"], sign="+"),
            *(ends(row["change_by_tier"][tier], sign="+") for tier in tiers),
            ends(row["kl"]),
            "{:.2f}, {:.2f}".format(*row["right_in_training"]),
            f"{row['truncated']:.1%}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def verdicts(runs: dict[str, Row]) -> list[str]:
    """Who gained, in words that the numbers choose."""
    said: dict[str, list[str]] = {"gains": [], "loses": [], "neither": []}
    for name, row in runs.items():
        change = row["change"]
        key = "gains" if change["low"] > 0 else "loses" if change["high"] < 0 else "neither"
        said[key].append(f"`{name}`")
    words = {
        "gains": "The interval of the change lies above 0 for",
        "loses": "It lies below 0 for",
        "neither": "No gain and no loss is shown (the interval holds 0) for",
    }
    told = [f"{words[key]} {', '.join(names)}." for key, names in said.items() if names]
    held = [
        f"`{name}` minus its placebo, paired by question: {ends(row['beyond_placebo'], sign='+')}"
        for name, row in runs.items()
        if "beyond_placebo" in row
    ]
    if held:
        told.append(
            "The placebo shows what steps of this size do without a reward that tells anything: "
            f"{'; '.join(held)}."
        )
    told.append("One seed ranks nothing: differences between methods may be those of a draw.")
    return [" ".join(told)]


def costs(runs: dict[str, Row]) -> list[str]:
    """Time and memory."""
    times = [
        f"`{name}` {row['minutes']:.0f} ({row['cpu_minutes']:.0f} of processor)"
        for name, row in runs.items()
    ]
    peak = max(row["peak_gib"] for row in runs.values())
    return [
        f"Minutes a run, two at a time on a machine with other work: {', '.join(times)}. The "
        f"largest peak memory of a run was {peak:.1f} GiB."
    ]


def of_steps(steps: Row) -> list[str]:
    """The two tables about single steps."""
    counts = "; ".join(
        f"{tier}: {', '.join(map(str, row))}" for tier, row in steps["first_wrong"].items()
    )
    lines = [
        f"**Where did it go wrong?** The first answers of the warmed-up model to "
        f"{steps['answers']} of the test questions; {steps['wrong']} are wrong, and the first "
        f"wrong step of {steps['judged']} is one of their steps (by number of that step: "
        f"{counts}; the answer line counts as a step). A method names the step with the largest "
        "drop; how often that is the first wrong one, with its 95% interval over answers (ties "
        "count as a draw among them). Monte-Carlo values continue every state "
        f"{steps['continuations']} times with the warmed-up model (nats at alpha "
        f"{steps['alpha']:g}); for {steps['never_right']} of these answers no continuation was "
        "ever right, from the question on, so that they see no drop. Implicit "
        "values are log pi/pi_warm of the trained models, summed over the tokens of a step. "
        "`gvpo/initial` and `vimpo/short` fit them, with the warm-up as their reference. GN-IVO as "
        "published has the policy that drew the answers for its reference, and GRPO fits no value: "
        "of these two the log-ratio to the warm-up says no more than where the run went.",
        "",
        f"| method | first wrong step found | minus: {CONTROL} | "
        + " | ".join(steps["first_wrong"])
        + " |",
        "| --- | --- | --- |" + " --- |" * len(steps["first_wrong"]),
    ]
    for name, rate in steps["hit_rates"].items():
        beyond = ends(rate["beyond_control"], sign="+")
        cells = [name, ends(rate), beyond, *(ends(row) for row in rate["by_tier"].values())]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", beyond_control(steps["hit_rates"])]
    correlated = steps["correlations"]
    count = next(iter(correlated.values()))["steps"]
    lines += [
        "",
        f"**Implicit step values beside Monte-Carlo ones.** Spearman's correlation over {count} "
        "steps of these answers, right ones too, resampled by answer. The first row is what "
        "Monte-Carlo itself reaches with half of the continuations against the other half, the "
        "last what needs no training.",
        "",
        "| implicit credits of | correlation with Monte-Carlo credits |",
        "| --- | --- |",
        *(f"| {name} | {ends(row)} |" for name, row in correlated.items()),
    ]
    return lines


def beyond_control(rates: dict[str, Row]) -> str:
    """Whether a method beats what needs neither training nor continuations."""
    better = [name for name, rate in rates.items() if (rate["beyond_control"]["low"] or 0) > 0]
    worse = [name for name, rate in rates.items() if (rate["beyond_control"]["high"] or 0) < 0]
    told = [
        f"The {CONTROL} needs neither training nor continuations. It is beaten, by the interval of "
        f"the paired difference, by: {'; '.join(better) or 'none of these'}."
    ]
    if worse:
        told.append(f"It beats: {'; '.join(worse)}.")
    return " ".join(told)
