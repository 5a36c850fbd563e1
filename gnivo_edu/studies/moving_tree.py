"""The tree of notebooks/moving_reference.md, learned from samples: one reference after another,
each until the policy nearly rests, beside what enumeration says of the same question.

A refresh is a run of the trainer that begins at, and is held to, the policy that the last one left:
so the learning rate may fall to zero before each, as a rest asks for.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.policies import TabularLM, tabulate
from gnivo_edu.population import Answers, Population, expect, laws, point_at, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving import (
    Policy,
    along_answers,
    both_kls,
    change_by_token,
    refreshed,
    value_loss,
)
from gnivo_edu.population.moving.tables import ALPHA, SHARES, new_references, searched
from gnivo_edu.studies.study import Cell
from gnivo_edu.training import fine_tune, load_config
from toy_envs import TokenMDP

LAST = 20  # steps before a refresh that its loss is the mean of
SHUFFLE = 0x504C  # of the placebo's stream, which nothing else reads
# Objective, its options and who writes the answers: raw weights ask for the reference's own.
METHODS: dict[str, dict[str, Any]] = {
    "GVPO": {"objective": "gvpo", "sampler": "reference"},
    "GN-IVO": {
        "objective": "gnivo",
        "objective_options": {"weights": "raw", "prefixes": "all"},
        "sampler": "reference",
    },
    "GN-IVO, softmax": {
        "objective": "gnivo",
        "objective_options": {"weights": "softmax", "prefixes": "all"},
        "sampler": "reference",
    },
    "VIMPO": {
        "objective": "vimpo",
        "objective_options": {"actor": 0.0, "baseline": "leave_one_out"},
        "sampler": "policy",
    },
}
TRAINED: dict[str, Any] = {
    "reference": "initial",
    "inner_steps": 1,
    "level": "token",
    "kl_to_initial": 0.0,
    "learning_rate": 0.05,
    "schedule": "cosine",
    "max_grad_norm": 1e9,
    "precision": "float64",
    "report_questions": 0,
    "completions_every": 1_000_000,
    "save_every": 1_000_000,
}


class Tree(TokenMDP):
    """The atlas's tree of 15 answers as an environment; `shuffled`: its placebo, in which the
    rewards of all answers of a step are dealt out among them anew.
    """

    def __init__(self, shuffled: bool = False, seed: int = 0) -> None:
        answers = problem("tree")
        pairs = zip(answers.tokens.tolist(), answers.lengths.tolist(), strict=True)
        self.pay = {
            tuple(row[:length]): float(reward)
            for (row, length), reward in zip(pairs, answers.rewards, strict=True)
        }
        self.rng = np.random.default_rng([seed, SHUFFLE]) if shuffled else None
        tree = answers.tree
        super().__init__(
            tree.vocab_size, tree.horizon, reward=self._pay, eos_token_id=tree.eos_token_id
        )

    def _pay(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        rows = zip(tokens.tolist(), lengths.tolist(), strict=True)
        rewards = np.array([self.pay[tuple(row[:length])] for row, length in rows])
        return rewards if self.rng is None else self.rng.permutation(rewards)


def refresh_and_measure(cell: Cell, folder: Path) -> dict[str, Any]:
    """One run: `times` refreshes of a `method`, and after each how far it is from where theory
    says.

    Settings of the cell: `method` of METHODS; `alpha`; `times`; `steps`, `groups` and `K` of a
    refresh; `shuffled`, the placebo; `draws`, groups that jumps are measured on, and answers that
    swaps are (0: neither).
    """
    settings, seed = cell.settings, cell.seed
    method, alpha, draws = settings["method"], settings["alpha"], settings["draws"]
    answers = problem("tree")
    task = Tree(settings["shuffled"], seed)
    model = TabularLM.from_tables(task, answers.tree.step_logps)
    seen = answers
    measured: dict[str, Any] = {"after": {}, "jump": {}, "laws": {}, "value_loss": []}
    for n in range(1, settings["times"] + 1):
        model, losses = _train(model, task, settings, seed=1000 * seed + n, out=folder / "run")
        policy = answers.from_tables(tabulate(model, task))
        measured["laws"][str(n)] = answers.law(policy).tolist()
        measured["after"][str(n)] = place(seen, policy, method=method, alpha=alpha, n=n)
        if method == "VIMPO" and draws:
            jumps = jump(seen, policy, K=settings["K"], alpha=alpha, draws=draws, seed=seed)
            measured["jump"][str(n)] = jumps
            measured["value_loss"].append(losses)
            if n == 1:
                measured["swap"] = swaps(seen, policy, alpha=alpha, draws=8 * draws, seed=seed)
        seen = replace(seen, reference=policy)
    curves = measured.pop("value_loss")
    return measured | in_training(curves)


def _train(
    model: TabularLM, task: Tree, settings: Any, seed: int, out: Path
) -> tuple[Any, list[float]]:
    """The policy that one refresh leaves, and the loss at each step on the way."""
    method = METHODS[settings["method"]]
    options = method.get("objective_options", {}) | {"alpha": settings["alpha"]}
    given = {
        "steps": settings["steps"],
        "prompts_per_step": settings["groups"],
        "group_size": settings["K"],
        "seed": seed,
        "out": str(out),
    }
    config = load_config(**{**TRAINED, **method, **given, "objective_options": options})
    run = fine_tune(config, policy=model, task=task)
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    shutil.rmtree(out)
    return run.policy, [json.loads(line)["loss"] for line in lines]


def place(seen: Answers, policy: Policy, method: str, alpha: float, n: int) -> dict[str, float]:
    """Where a policy stands after n refreshes: total variation from the end at alpha/n (`lower`),
    from the exact end of n refreshes (`rest`) and from pi* of ALPHA (`star`); E[R], the gain of the
    last refresh and alpha times both KLs.
    """
    answers = problem("tree")
    law, old = answers.law(policy), answers.law(seen.reference)
    lower, rest = goal(method, alpha=alpha / n, n=1), goal(method, alpha=alpha, n=n)
    return {
        "lower": total_variation(law, lower),
        "rest": total_variation(law, rest),
        "star": total_variation(law, laws.tilt(answers, ALPHA)),
        "reward": float(law @ answers.rewards),
        "gain": float((law - old) @ answers.rewards),
        "kls": alpha * both_kls(answers, old=seen.reference, new=policy),
    }


def goal(method: str, alpha: float, n: int) -> laws.Law:
    """The exact law that n refreshes of a method end at. Softmax weights have no formula: their
    rest is searched, for pairs; at alpha/n theirs is compared with pi*, which they are taken for.
    """
    answers = problem("tree")
    if method == "VIMPO":
        return answers.law(refreshed(answers, alpha, times=n))
    if method == "GN-IVO, softmax" and alpha == ALPHA:
        return _softmax_ends()[n]
    return laws.tilt(answers, alpha / n)


@cache
def _softmax_ends() -> dict[int, laws.Law]:
    pairs = partial(objectives.gnivo, weights="softmax")
    return searched(pairs, problem("tree"), sampler="reference")


def jump(
    seen: Answers, policy: Policy, K: int, alpha: float, draws: int, seed: int
) -> dict[str, float]:
    """By what a refresh, and alpha to s alpha, multiply VIMPO's value loss on the same groups of
    the policy's answers; `unlearnt`, the share u of the rewards' variance that its log-ratios do
    not say; and K/(1 + (K - 1) u), what the factor of a refresh is to be.
    """
    at = partial(_loss, policy=policy, K=K, draws=draws, seed=seed)
    before = at(seen, alpha=alpha)
    u = unlearnt(seen, policy, alpha)
    return {
        "refresh": at(replace(seen, reference=policy), alpha=alpha) / before,
        **{f"anneal_{100 * s:.0f}": at(seen, alpha=s * alpha) / before for s in SHARES},
        "unlearnt": u,
        "gauge": K / (1 + (K - 1) * u),
    }


def _loss(seen: Answers, policy: Policy, K: int, alpha: float, draws: int, seed: int) -> float:
    drawn = Population.of(seen, K, sampler=seen.to_tables(policy), draws=draws, seed=seed)
    return expect(value_loss, drawn, point_at(seen, alpha, policy=policy), alpha=alpha).loss


def unlearnt(seen: Answers, policy: Policy, alpha: float) -> float:
    """u: of the variance of rewards under a policy, what alpha (log-ratio - KL) misses."""
    law = seen.law(policy)
    # The implied value of an answer is what a swap to the policy itself would take off it.
    learnt = -along_answers(seen, change_by_token(seen, policy, policy, alpha=alpha))[:, -1]
    centred = seen.rewards - law @ seen.rewards
    return float(law @ (learnt - centred).square() / (law @ centred.square()))


def swaps(
    seen: Answers, policy: Policy, alpha: float, draws: int, seed: int
) -> dict[str, dict[str, Any]]:
    """What new references do to the implied values along so many answers of the policy: `sd` by
    depth and the largest `mean`, on the sample and exactly; the mean on answers of the old
    reference; and by how much the value loss rises, beside half the last variance.
    """
    generator = torch.Generator().manual_seed(seed)
    law, old_law = seen.law(policy), seen.law(seen.reference)
    drawn, drawn_old = (
        torch.multinomial(x, draws, replacement=True, generator=generator) for x in (law, old_law)
    )
    at = partial(_loss, policy=policy, K=8, draws=draws // 8, seed=seed, alpha=alpha)
    before = at(seen)
    report: dict[str, dict[str, Any]] = {}
    for name, reference in new_references(seen, policy).items():
        change = along_answers(seen, change_by_token(seen, policy, reference, alpha=alpha))
        exact_sd = (law @ change.square()).sqrt()
        report[name] = {
            "mean": _largest_mean(change, drawn),
            "mean_old": _largest_mean(change, drawn_old),
            "sd": _by_depth(change[drawn].std(0)),
            "exact_sd": _by_depth(exact_sd),
            "rise": at(replace(seen, reference=reference)) - before,
            "half_variance": float(exact_sd[-1].square() / 2),
        }
    return report


def _largest_mean(change: Tensor, drawn: Tensor) -> float:
    return float(change[drawn].mean(0).abs().max())


def _by_depth(values: Tensor) -> dict[str, float]:
    return {str(t): value for t, value in enumerate(values.tolist(), start=1)}


def in_training(curves: list[list[float]]) -> dict[str, Any]:
    """The value loss of each refresh, step by step, and the jump as whoever reads the log sees it:
    the first step after a refresh over the mean of the last ones before it.
    """
    if len(curves) < 2:
        return {}
    factors = [new[0] / float(np.mean(old[-LAST:])) for old, new in pairwise(curves)]
    return {"value_loss": curves, "logged_jump": float(np.mean(factors))}
