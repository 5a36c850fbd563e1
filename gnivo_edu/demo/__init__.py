"""The first five minutes: count every answer, verify, break, learn; four lines in the terminal and
one page.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import toy_envs
from gnivo_edu import exact
from gnivo_edu.demo.page import certificate_data, control_data, poster_data, render_page
from gnivo_edu.names import output_folder

ALPHA, GROUP_SIZE = 0.5, 3
SEED = 0
LEARNING_ALPHA, LEARNING_GROUP = 0.3, 8
STRIP_AFTER = (1, 10, 100, 1000)


def run_demo(
    out: Path | str = "runs/demo", model: str | None = None, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Run the demo, write `out/index.html`, and return everything that the page shows.

    `model`: a pretrained causal LM, path or hub id, to verify inside as well. `say` receives the
    terminal's lines. Raises ValueError or OSError, in one line, if the folder cannot be written or
    the model cannot be read.
    """
    # A path that is not a model and a folder that cannot be written fail now, not at the end.
    loaded = _load(model) if model else None
    start = time.perf_counter()
    page = output_folder(out) / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=page.parent):
        pass
    parts = 5 if loaded else 4
    problem = toy_envs.PosterProblem()
    tree = exact.enumerate_tree(problem)
    say(
        f"1/{parts} Counting every answer: {tree.num_sequences} answers, "
        f"{time.perf_counter() - start:.1f} s"
    )
    certificates, controls = _checks(tree)
    first, second = certificates
    holds = "holds" if first.passed else "FAILS"
    also = "and so does Theorem 2" if second.passed else "and Theorem 2 FAILS"
    error = f"{exact.below(first.max_abs_error, 1e-12)} nats over {first.prefixes} prefixes"
    say(f"2/{parts} Theorem 1 {holds}: largest error {error}, {also}")
    softmax, stale = controls
    predicted = "as predicted" if softmax.behaves and stale.behaves else "NOT as predicted"
    say(
        f"3/{parts} Breaking it on purpose: softmax weights miss by {softmax.violation:.2f} nats, "
        f"stale samples by {stale.violation:.1f}, {predicted}"
    )
    curve, strips = _learn(problem)
    say(
        f"4/{parts} Learning from {LEARNING_GROUP} answers at a time, on a random tree: "
        f"KL to the optimum {curve['kl'][0]:.2f} -> {curve['kl'][-1]:.4f}"
    )
    inside = _inside_a_model(Path(str(model)).name, *loaded) if loaded else None
    if inside:
        errors = max(c["error"] for c in inside["certificates"])
        say(
            f"5/5 Inside {inside['name']}: {inside['sequences']:,} continuations, "
            f"largest error {exact.below(errors, 1e-9)} nats"
        )
    data = {
        **poster_data(problem, [exact.solve(tree, alpha) for alpha in (0.1, ALPHA, 2.0)]),
        "alpha": ALPHA,
        "certificates": _certificates(certificates),
        "controls": _controls(controls),
        "training": {**curve, "strips": strips},
        "model": inside,
        "footer": {
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "versions": {
                "gnivo_edu": version("gnivo-edu"),
                "python": platform.python_version(),
                "numpy": version("numpy"),
                "torch": version("torch"),
            },
            "seconds": time.perf_counter() - start,
            "seed": SEED,
            "not_shown": "the other 124 answers, noisy rewards, training a transformer",
        },
        "passed": all(c.passed for c in certificates)
        and all(c.behaves for c in controls)
        and (inside is None or inside["passed"]),
    }
    page.write_text(render_page(data), encoding="utf-8")
    say("")
    say(f"Open {page}")
    by_make = Path("Makefile").exists() and not shutil.which("gnivo-edu")
    say(f"Next: {'make' if by_make else 'gnivo-edu'} lab")
    return data


def _checks(tree: exact.TokenTree) -> tuple[list[exact.Certificate], list[exact.Control]]:
    """Both theorems, and both ways to break them."""
    return (
        [
            exact.verify_soft_value_theorem(tree, ALPHA),
            exact.verify_constant_shift(tree, ALPHA, group_size=GROUP_SIZE),
        ],
        [
            exact.softmax_weights(tree, ALPHA, group_size=GROUP_SIZE),
            exact.off_policy_samples(tree, ALPHA, group_size=GROUP_SIZE),
        ],
    )


def _certificates(certificates: list[exact.Certificate]) -> list[dict[str, Any]]:
    return [certificate_data(f"Theorem {i}", c) for i, c in enumerate(certificates, start=1)]


def _controls(controls: list[exact.Control]) -> list[dict[str, Any]]:
    names = {"softmax_weights": "softmax weights", "off_policy_samples": "stale samples"}
    return [control_data(names[c.name], c) for c in controls]


def _learn(problem: toy_envs.PosterProblem) -> tuple[dict[str, Any], dict[str, Any]]:
    """Algorithm 1 with sampled groups: the curve on a random tree, and the strip of one answer as
    groups come in.
    """
    from gnivo_edu.training import train

    run = train(
        toy_envs.RandomTree(),
        LEARNING_ALPHA,
        group_size=LEARNING_GROUP,
        record_at=[2**n for n in range(4, 14)],
        seed=SEED,
    )
    curve = {
        "alpha": LEARNING_ALPHA,
        "group_size": LEARNING_GROUP,
        "environment": "a random tree of 4 tokens and 4 steps",
        "groups": [r.groups for r in run.records],
        "kl": [r.kl for r in run.records],
        "value_error": [r.value_error for r in run.records],
    }
    answer = problem.examples["wrong at 3"]
    poster = train(
        problem,
        ALPHA,
        group_size=LEARNING_GROUP,
        steps=STRIP_AFTER[-1],
        groups_per_step=1,
        learning_rate=0.02,
        record_at=STRIP_AFTER,
        seed=SEED,
    )
    strips = {
        "answer": "wrong at 3",
        "alpha": ALPHA,
        "rows": [
            {"groups": r.groups, "credits": poster.credits(i, answer)}
            for i, r in enumerate(poster.records)
            if r.groups
        ],
        "exact": poster.key.step_credit(answer).tolist(),
    }
    return curve, strips


def _load(model: str) -> tuple[Any, Any]:
    from gnivo_edu.policies import load_model

    return load_model(model)


def _inside_a_model(name: str, model: Any, tokenizer: Any) -> dict[str, Any]:
    from gnivo_edu.policies import tree_from_model
    from gnivo_edu.tasks import get_reward

    start = time.perf_counter()
    prompt = "Once upon a time"
    mdp, tables = tree_from_model(
        model, tokenizer, prompt=prompt, top_k=4, horizon=6, reward=get_reward("sentiment")
    )
    tree = exact.enumerate_tree(mdp, tables)
    certificates, controls = _checks(tree)
    # The example: the likeliest of the continuations with the largest reward.
    best = int((tree.prefix_logps[-1] - 1e9 * (tree.rewards < tree.rewards.max())).argmax())
    answer = tree.prefix(tree.horizon, best)
    texts = [mdp.decode(answer[:t]) for t in range(len(answer) + 1)]
    return {
        "name": name,
        "prompt": prompt,
        "sequences": tree.num_sequences,
        "alpha": ALPHA,
        "reward": "sentiment",
        "certificates": _certificates(certificates),
        "controls": _controls([c for c in controls if c.why_not is None]),
        "seconds": time.perf_counter() - start,
        "example": {
            "tokens": [after.removeprefix(before) for before, after in pairwise(texts)],
            "credits": exact.solve(tree, ALPHA).step_credit(answer).tolist(),
        },
        "passed": all(c.passed for c in certificates) and all(c.behaves for c in controls),
    }
