"""The demo page: one self-contained HTML file, six screens, made from the numbers of one run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnivo_edu.exact import Certificate, Control, Solution
from gnivo_edu.figures.page import render
from toy_envs import PosterProblem

TEMPLATE = Path(__file__).with_name("page.html")
PARTS = (
    "problem",
    "tree",
    "alpha",
    "parity",
    "certificates",
    "controls",
    "training",
    "model",
    "footer",
)
SENTENCES = {
    "Theorem 1": "At every prefix, π* = reference × e^V / Z.",
    "Theorem 2": "Groups alone give V, up to one constant per depth.",
    "softmax weights": "Normalised within the group, the weights lose V.",
    "stale samples": "Another policy's answers give another V.",
}


def render_page(data: dict[str, Any]) -> str:
    """The page as one HTML string: inline style, script and data; it asks for nothing from any
    network.

    `data`: the parts named in PARTS, as plain values or numpy arrays; `model` may be None, and may
    name its own `alpha` (by default the page's) and its `reward`. Values and credits are in nats,
    rewards 0 or 1 (the page shows the chance of ending right), tables flattened as in
    `poster_data`. The page recomputes every soft value from `tree`. Raises ValueError if a part is
    missing, a number is not finite or a reward is neither 0 nor 1.

    >>> render_page({"alpha": 0.5})
    Traceback (most recent call last):
    ...
    ValueError: the demo page needs data['problem']: give all of problem, tree, ..., model, footer
    """
    for part in PARTS:
        if part not in data:
            raise ValueError(f"the demo page needs data[{part!r}]: give all of {', '.join(PARTS)}")
    plain = json.loads(json.dumps(data, default=lambda array: array.tolist()))
    for where, number in _numbers(plain, "data"):
        if not math.isfinite(number):
            raise ValueError(
                f"the demo page needs finite numbers, and {where} is {number}: mend the run it "
                "came from"
            )
    if not set(plain["tree"]["rewards"]) <= {0, 1}:
        raise ValueError(
            "the demo page shows chances of ending right: data['tree']['rewards'] must be 0 or 1"
        )
    return render(TEMPLATE, data=plain)


def poster_data(problem: PosterProblem, solutions: Sequence[Solution]) -> dict[str, Any]:
    """The parts `problem`, `tree` and `parity`, from exact solutions of one tree at several alphas.

    `tree.step_logps[t]`: the 2**t * 2 reference log-probabilities after t steps, row by row, nats;
    `tree.rewards`: 128; `parity.values[i]`: V of every prefix at alpha i, depth after depth, nats.
    Raises ValueError on no solutions.

    >>> from gnivo_edu import exact
    >>> problem = PosterProblem()
    >>> part = poster_data(problem, [exact.solve(exact.enumerate_tree(problem), alpha=0.5)])
    >>> len(part["tree"]["rewards"]), len(part["parity"]["values"][0])
    (128, 255)
    """
    if not solutions:
        raise ValueError("the demo page compares itself with Python: give at least one solution")
    tree = solutions[0].tree
    examples = {
        label: {
            "tokens": list(tokens),
            "steps": problem.decode(tokens).split("\n"),
            "reward": int(tree.rewards[tree.index(tokens)[1]]),
        }
        for label, tokens in problem.examples.items()
    }
    return {
        "problem": {
            "question": problem.question,
            "step_names": list(problem.step_names),
            "vocabulary": list(problem.vocabulary),
            "examples": examples,
        },
        "tree": {
            "step_logps": [table.ravel().tolist() for table in tree.step_logps],
            "rewards": tree.rewards.tolist(),
        },
        "parity": {
            "alphas": [solution.alpha for solution in solutions],
            "values": [np.concatenate(solution.values).tolist() for solution in solutions],
        },
    }


def certificate_data(name: str, certificate: Certificate) -> dict[str, Any]:
    """One card of `certificates`: "Theorem 1" or "Theorem 2", its sentence, and its numbers in
    nats.

    >>> certificate_data("Theorem 1", Certificate("", False, 0.25, 1e-10, prefixes=255))["error"]
    0.25
    """
    return {
        "name": name,
        "sentence": SENTENCES[name],
        "error": certificate.max_abs_error,
        "limit": certificate.limit,
        "prefixes": certificate.prefixes,
        "passed": certificate.passed,
    }


def control_data(name: str, control: Control) -> dict[str, Any]:
    """One card of `controls`: "softmax weights" or "stale samples", its sentence, and its numbers
    in nats.

    >>> control_data("stale samples", Control("", [0.5, 0.25, 1e-12], None))["violation"]
    0.5
    """
    return {
        "name": name,
        "sentence": SENTENCES[name],
        "violation": control.violation,
        "at_complete_answers": control.at_complete_answers,
        "behaves": control.behaves,
    }


def _numbers(value: Any, where: str) -> Iterator[tuple[str, float]]:
    """Every number inside plain data, with the way to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{where}[{key!r}]")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _numbers(inner, f"{where}[{i}]")
    elif isinstance(value, int | float):
        yield where, value
