"""The rows of the implicit-value objectives: GN-IVO, GVPO, the poster's two steps before.

`read_in` says what was read of a source.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact.tree import Tables
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.groups import Weights
from gnivo_edu.population import Answers, laws, sampling_policy, state_laws
from gnivo_edu.population.atlas.row import (
    Row,
    biased,
    collapses,
    exact,
    family,
    other,
    prefixes,
    tilt_at,
)

HALF_UNIFORM = {"reference": 0.5, "uniform": 0.5}
# 490,314 multisets, in parts that fit into memory. Pairs have the same root at a small share of the
# cost: their search goes first, and the large population only has to confirm it.
EIGHT_OF_SIXTEEN: dict[str, Any] = {
    "group_size": 8,
    "problem": "16 answers",
    "parts": 64,
    "warm": {"group_size": 2, "parts": 1},
}


def at_depth(batch: GroupBatch, alpha: float, t: int, weights: Weights = "raw") -> LossOutput:
    """GN-IVO at the single depth t, the same for every group."""
    depths = torch.full((len(batch.rewards),), t)
    return objectives.gnivo(batch, alpha, weights=weights, prefixes="given", depths=depths)


def group_maximum(batch: GroupBatch, alpha: float) -> LossOutput:
    """Raw weights less the group's largest reward: safe from overflow, and another objective."""
    largest = batch.rewards.amax(1, keepdim=True)
    return objectives.gnivo(replace(batch, rewards=batch.rewards - largest), alpha)


def follow(batch: GroupBatch, name: str, **settings: Any) -> LossOutput:
    """An objective whose reference is the policy that samples, refreshed at every step."""
    moved = replace(batch, reference_logps=batch.behaviour_logps)
    return objectives.get(name)(moved, **settings)


def uniform_then_reference(answers: Answers, depth: int) -> Tables:
    """A sampler, as tables, of `depth` uniform tokens; it completes them with the reference."""
    uniform = sampling_policy(answers, "uniform", current=None)
    first = (answers.depths < depth)[:, None]
    return answers.to_tables(torch.where(first, uniform, answers.reference))


ROWS: list[Row] = [
    *family(
        "gnivo",
        "GN-IVO (ICLR 2026), Eq. 9, Theorem 2",
        read_in="poster",
        rows=[
            exact("raw weights, all depths, K=2", group_size=2),
            exact("raw weights, all depths, K=4", group_size=4),
            exact("raw weights, all depths, K=8, 16 answers", **EIGHT_OF_SIXTEEN),
            exact("raw weights, last depth", settings={"prefixes": "last"}),
            exact(
                "raw weights, depth 1", function=partial(at_depth, t=1), depth=1, law=prefixes(1)
            ),
            exact(
                "raw weights, depth 2", function=partial(at_depth, t=2), depth=2, law=prefixes(2)
            ),
            exact("lengths: mean over the horizon", settings={"lengths": "horizon", "horizon": 3}),
            exact("lengths: sum to the shortest", settings={"lengths": "sum_min"}),
            biased("lengths: mean to the longest", settings={"lengths": "mean_max"}),
            biased("lengths: mean to the shortest", settings={"lengths": "mean_min"}),
            biased("lengths: each its own 1/T", settings={"lengths": "own"}),
            biased("the group's largest reward subtracted", function=group_maximum),
            biased(
                "softmax weights, all depths, K=2", settings={"weights": "softmax"}, group_size=2
            ),
            biased(
                "softmax weights, all depths, K=4", settings={"weights": "softmax"}, group_size=4
            ),
            exact(
                "softmax weights, last depth", settings={"weights": "softmax", "prefixes": "last"}
            ),
            other(
                "softmax weights, depth 1",
                "the v that E[softmax weight | prefix] fits (integral form)",
                law=lambda c: laws.gnivo_softmax_prefixes(c.answers, c.alpha, K=c.K, depth=1),
                function=partial(at_depth, t=1, weights="softmax"),
                depth=1,
            ),
            biased("raw weights, stale samples", sampling=HALF_UNIFORM),
            other(
                "raw weights, stale samples, depth 1",
                "pi_ref(s) E_sampler[e^{R/alpha} | s]",
                law=lambda c: laws.gnivo_stale_prefixes(
                    c.answers, c.alpha, depth=1, sampler=c.sampler
                ),
                function=partial(at_depth, t=1),
                sampling="uniform",
                depth=1,
            ),
            exact(
                "raw weights, stale samples, last depth",
                settings={"prefixes": "last"},
                sampling="uniform",
            ),
            exact(
                "raw weights, stale prefixes, fresh completions, depth 2",
                function=partial(at_depth, t=2),
                sampling=partial(uniform_then_reference, depth=2),
                sampling_name="uniform, then reference",
                depth=2,
                law=prefixes(2),
            ),
            exact(
                "completion weights, stale samples",
                settings={"weights": "completion"},
                sampling=HALF_UNIFORM,
            ),
            exact(
                "completion weights, the policy's own samples",
                settings={"weights": "completion"},
                sampling="current",
            ),
            biased(
                "softmax weights, the policy's own samples",
                settings={"weights": "softmax"},
                sampling="current",
            ),
            exact(
                "softmax of completion weights, the policy's own samples",
                settings={"weights": "completion_softmax"},
                sampling="current",
            ),
            biased(
                "softmax of completion weights, stale samples",
                settings={"weights": "completion_softmax"},
                sampling=HALF_UNIFORM,
            ),
            other(
                "3 refreshes of the reference",
                "pi_0 e^{3R/alpha}/Z",
                law=tilt_at(1 / 3),
                refreshes=3,
            ),
            collapses(
                "reference refreshed at every step",
                function=partial(follow, name="gnivo"),
                sampling="current",
            ),
            other(
                "reference refreshed, KL to pi_0 (kl_gradient=answers), softmax, last depth",
                "pi_0 e^{f/beta}/Z, f = K E[softmax(R/alpha)_i | y_i = y], beta = 0.5",
                law=lambda c: laws.self_tilt(
                    c.answers,
                    c.K,
                    statistic=lambda R: c.K * (R / c.alpha).softmax(1),
                    temperature=0.5,
                ),
                function=partial(follow, name="gnivo"),
                settings={"weights": "softmax", "prefixes": "last"},
                sampling="current",
                anchor=0.5,
            ),
            other(
                "reference refreshed, KL to pi_0 (kl_gradient=states), softmax, last depth",
                "pi_0 e^{Q/beta} in every state, Q the expected f under itself, beta = 0.5",
                law=lambda c: state_laws.self_tilt_by_state(
                    c.answers, state_laws.gnivo_scores(c.answers, c.alpha, c.K, last=True), 0.5
                ),
                function=partial(follow, name="gnivo"),
                settings={"weights": "softmax", "prefixes": "last"},
                sampling="current",
                anchor=0.5,
                anchor_gradient="states",
            ),
            other(
                "reference refreshed, KL to pi_0 (kl_gradient=states), softmax: the recipes",
                "pi_0 e^{Q/beta} in every state, Q the expected n_l (K w - 1) of the l-th token",
                law=lambda c: state_laws.self_tilt_by_state(
                    c.answers, state_laws.gnivo_scores(c.answers, c.alpha, c.K), 2.0
                ),
                function=partial(follow, name="gnivo"),
                settings={"weights": "softmax"},
                sampling="current",
                anchor=2.0,
                anchor_gradient="states",
            ),
            other(
                "reference refreshed, KL to pi_0 (kl_gradient=answers), softmax",
                "the same, Q less beta times the expected KL of later tokens",
                law=lambda c: state_laws.self_tilt_by_state(
                    c.answers, state_laws.gnivo_scores(c.answers, c.alpha, c.K), 2.0, whole=True
                ),
                function=partial(follow, name="gnivo"),
                settings={"weights": "softmax"},
                sampling="current",
                anchor=2.0,
            ),
            other(
                "reference refreshed, KL to pi_0 (kl_gradient=answers), raw, last depth",
                "pi_0 e^{(K - 1) e^{R/alpha}/beta}/Z, beta = 10",
                law=lambda c: laws.tilt_by(
                    c.answers, (c.K - 1) * (c.answers.rewards / c.alpha).exp() / 10
                ),
                function=partial(follow, name="gnivo"),
                settings={"prefixes": "last"},
                sampling="current",
                anchor=10.0,
            ),
        ],
    ),
    *family(
        "gvpo",
        "GVPO, arXiv 2504.19599, Theorem 3.1 and Corollary 3.2",
        read_in="code",
        rows=[
            exact("reference samples, K=2", group_size=2),
            exact("any sampler: uniform", sampling="uniform"),
            exact("any sampler: a mixture", sampling=HALF_UNIFORM),
            exact("any sampler: the policy itself", sampling="current"),
            exact("K=8, 16 answers", **EIGHT_OF_SIXTEEN),
            other(
                "3 refreshes of the reference",
                "pi_0 e^{3R/alpha}/Z",
                law=tilt_at(1 / 3),
                refreshes=3,
            ),
            collapses(
                "reference refreshed at every step",
                function=partial(follow, name="gvpo"),
                sampling="current",
            ),
        ],
    ),
    *family(
        "value_mse",
        "poster of GN-IVO, the step before Eq. 7",
        read_in="poster",
        rows=[
            exact("log Z known, complete answers", settings={"prefixes": "last"}, group_size=1),
            biased("log Z known, all depths against R/alpha", group_size=1),
            other(
                "log Z wrong, complete answers",
                "alpha h = R - V - (pi/mu)(V^pi - V), V = alpha log Z + shift",
                law=lambda c: laws.dro_wrong_value(
                    c.answers, c.alpha, value=c.value, sampler=c.sampler
                ),
                settings={"prefixes": "last"},
                group_size=1,
                shift=-0.2,
            ),
        ],
    ),
    *family(
        "group_value",
        "poster of GN-IVO, Eq. 7",
        read_in="poster",
        rows=[
            exact("an explicit V_theta, raw weights", free=("prefix_values",)),
            biased(
                "an explicit V_theta, softmax weights",
                settings={"weights": "softmax"},
                free=("prefix_values",),
            ),
        ],
    ),
]
