"""The gallery: every figure of the course on real data, as HTML, as PNG and as text, on one page;
`make gallery`.

Run `python -m gnivo_edu.demo.gallery [PATH]`; the page goes to runs/gallery/index.html unless told
otherwise.
"""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.exact.theorems import prefix_log_law
from gnivo_edu.figures.page import render
from gnivo_edu.figures.style import Shown
from gnivo_edu.names import home

TEMPLATE = Path(__file__).with_name("gallery.html")
ALPHA = 0.5
HOSTILE: tuple[str | bytes, ...] = (
    "<script>alert('x')</script>", "</td></table>", "\"double\" & 'single'", "line\nbreak",
    "\ttab", "  two spaces ",
    b"\xe2\x80", b"\xff", "שלום", "مرحبا", "\u202eevil", "🙂", "👩\u200d🚀", "日本",
    "\x00\x1b[31m", "$x^2$", "\\frac{1}{2}", "e\u0301", "\u0301", "", "a\u00a0b", "\ud800",
    "{{x}} %s {0}", "|", "`code`", "_*md*_", "<|endoftext|>",
)  # fmt: skip


def gallery_figures(training: bool = True) -> dict[str, Shown]:
    """Title -> figure, all computed now from enumerated trees; `training` runs Algorithm 1 for two
    more (torch).
    """
    problem = toy_envs.PosterProblem()
    tree = exact.enumerate_tree(problem)
    key = exact.solve(tree, ALPHA)
    star = key.optimal_step_logps
    names = problem.step_names
    wrong = problem.examples["wrong at 3"]
    brackets = toy_envs.Brackets()
    bracket_key = exact.solve(exact.enumerate_tree(brackets), alpha=0.2)
    closed = {
        brackets.decode(answer): answer
        for answer in [(0, 1, 2), (0, 0, 1, 1, 2), (0, 1, 1, 2), (0, 0, 1, 0, 1, 1, 2)]
    }
    wide = exact.solve(exact.enumerate_tree(toy_envs.RandomTree(4, 6)), alpha=0.1)
    sampled, errors = figures.sampled_values(key, wrong, samples=32, seed=0)
    lines: dict[str, Any] = {
        "free V, fitted to groups": _free_values(key, wrong),
        "Monte-Carlo, 32 samples": sampled,
    }
    only_third = [*tree.step_logps[:2], star[2], *tree.step_logps[3:]]
    shown: dict[str, Shown] = {
        "Credit strips": figures.credit_strips(
            key, problem.examples, vocabulary=problem.vocabulary, headings=names
        ),
        "Credit strips of unequal length": figures.credit_strips(
            bracket_key, closed, vocabulary=brackets.vocabulary, reference="uniform"
        ),
        "Step strip": figures.token_strip(
            [problem.step_text(wrong[:t]) for t in range(1, 8)],
            key.step_credit(wrong),
            alpha=ALPHA,
            unit="step",
        ),
        "Hostile tokens": _hostile_strip(),
        "Value along an answer": figures.value_lines(
            key, wrong, steps=names, others=lines, errors={"Monte-Carlo, 32 samples": errors}
        ),
        "Waterfall": figures.waterfall(key, wrong, labels=names),
        "Prefix tree": figures.prefix_tree(key, problem.vocabulary, nodes=22, keep=[wrong]),
        "Prefix tree of the best policy": figures.prefix_tree(
            bracket_key,
            brackets.vocabulary,
            policy=bracket_key.optimal_step_logps,
            colours="credit",
            nodes=18,
            reference="uniform",
            policy_name="π*",
        ),
        "Prefix tree, pruned from 4,096 answers": figures.prefix_tree(
            wide,
            "abcd",
            policy=wide.optimal_step_logps,
            nodes=18,
            reference="uniform",
            policy_name="π*",
        ),
        "Sample map": figures.sample_map(
            bracket_key,
            answers=_sampled_answers(bracket_key, count=14),
            vocabulary=brackets.vocabulary,
            reference="uniform",
        ),
        "Theory plot": _monte_carlo_error(key, wrong[:3]),
        "Reward-KL plane": figures.reward_kl_plane(
            tree, {"π* at step 3 only": only_third, "π*": star}
        ),
        "Reward-KL plane, far policies": figures.reward_kl_plane(
            tree, {"π*": star, "uniform": exact.uniform_reference(2, 7)}
        ),
    }
    if training:
        shown |= _trained(problem, key, answer=wrong)
    return shown


def _free_values(key: exact.Solution, answer: tuple[int, ...]) -> list[float]:
    """V_theta of every prefix, each depth fitted to groups of 3 from zero: V up to one constant per
    depth, nats.
    """
    values = [0.0]
    for t in range(1, len(answer) + 1):
        target = np.exp(key.values[t] - key.values[t].max())
        law = np.exp(key.tree.prefix_logps[t])
        fitted = exact.GroupObjective(law, target, 3, total=target).fit(np.zeros_like(target))
        values.append(float(fitted[key.tree.index(answer[:t])[1]]))
    return values


def _hostile_strip() -> figures.TokenStrip:
    """The credit of every hostile token as an answer of one token, each with a random reward of its
    own.
    """
    key = exact.solve(exact.enumerate_tree(toy_envs.RandomTree(len(HOSTILE), 1)), ALPHA)
    return figures.token_strip(
        HOSTILE,
        key.advantage(()).tolist(),
        alpha=ALPHA,
        reference="uniform",
        special=[len(HOSTILE) - 1],
    )


def _sampled_answers(key: exact.Solution, count: int) -> list[tuple[int, ...]]:
    """Answers drawn from the optimal policy."""
    law = np.exp(prefix_log_law(key.optimal_step_logps)[-1])
    rows = np.random.default_rng(0).choice(len(law), count, p=law / law.sum())
    return [key.tree.prefix(key.tree.horizon, int(row)) for row in rows]


def _monte_carlo_error(key: exact.Solution, prefix: tuple[int, ...]) -> figures.ScalingPlot:
    """Noise and bias of log mean e^{R/alpha} over n completions, exactly: n right ones are
    binomial.
    """
    chance, value = key.success_probability(prefix), key.soft_value(prefix)
    counts = [8, 16, 32, 64, 128, 256, 512]
    noise, bias = [], []
    for n in counts:
        right = np.arange(n + 1)
        ways = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in right]
        law = np.exp(np.array(ways) + right * np.log(chance) + (n - right) * np.log1p(-chance))
        error = np.log1p(right / n * np.expm1(1 / key.alpha)) - value
        noise.append(float(np.sqrt(law @ error**2)))
        bias.append(float(-law @ error))
    return figures.scaling_plot(
        counts,
        {"noise (RMS error)": noise, "bias (too low)": bias},
        predicted={"noise (RMS error)": -0.5, "bias (too low)": -1},
        x_label="completions per prefix",
        y_label="error of the Monte-Carlo value, nats",
        caption=(
            "value after a wrong step 3, PosterProblem; "
            f"reference: the initial model; alpha = {key.alpha:g}"
        ),
    )


def _trained(problem: Any, key: exact.Solution, answer: tuple[int, ...]) -> dict[str, Shown]:
    """GN-IVO with raw and with softmax weights: curves, and values of one answer and of all."""
    from gnivo_edu.evaluation.agreement import value_agreement
    from gnivo_edu.policies import TabularLM
    from gnivo_edu.training import train

    runs = {
        name: train(
            problem,
            ALPHA,
            group_size=8,
            steps=150,
            groups_per_step=4,
            record_at=[2**n for n in range(2, 10)],
            weights=weights,
        )
        for name, weights in (("raw weights", "raw"), ("softmax weights", "softmax"))
    }
    records = {name: run.to_dicts() for name, run in runs.items()}
    measures = {
        "kl": "KL(π* ‖ π), nats",
        "value_error": "largest value error, nats",
        "gradient_norm": "gradient norm",
    }
    after = runs["raw weights"].records
    lines = {
        f"implicit, {after[i].groups} groups": figures.implicit_values(
            key, runs["raw weights"].tables[i], answer=answer
        )
        for i in (3, 5, len(after) - 1)
    }
    note = "PosterProblem, groups of 8"
    reference = TabularLM.from_mdp(problem)
    raw, softened = (
        value_agreement(run.policy, reference, task=problem, alpha=ALPHA) for run in runs.values()
    )
    panels = {
        "raw weights": raw.implicit,
        "softmax weights": softened.implicit,
        "control: shuffled": raw.shuffled,
    }
    return {
        "Implicit value in training": figures.value_lines(
            key, answer, steps=problem.step_names, others=lines
        ),
        "Implicit against exact values": figures.agreement_plot(
            raw.exact, raw.depth, implicit=panels, alpha=ALPHA, note=note
        ),
        "Training": figures.training_curves(records, measures, alpha=ALPHA, note=note),
        "Training, one method": figures.training_curves(
            {"GN-IVO": records["raw weights"]}, measures, alpha=ALPHA, note=note
        ),
    }


def gallery_page(shown: Mapping[str, Shown]) -> str:
    """One self-contained page: every figure as HTML, as PNG and as text; light, dark, or as the
    reader's system is.
    """
    return render(TEMPLATE, figures=shown, base64=lambda png: base64.b64encode(png).decode("ascii"))


def main() -> None:
    """Write the page and say where it is."""
    path = home(sys.argv[1] if len(sys.argv) > 1 else "runs/gallery/index.html")
    shown = gallery_figures()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(gallery_page(shown), encoding="utf-8")
    print(f"{len(shown)} figures, each as HTML, PNG and text: open {path}")


if __name__ == "__main__":
    main()
