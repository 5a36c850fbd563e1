"""From which index do the sums of the poster run?"""

from __future__ import annotations

import itertools

import numpy as np

from gnivo_edu.exact.certificate import Certificate, Row
from gnivo_edu.exact.measures import greatest, normalised, spread
from gnivo_edu.exact.solution import solve
from gnivo_edu.exact.tree import Array, TokenTree

INDEX_LIMIT = 1e-12  # of each measure of `index_question`
MAX_GROUPS = 10**6


def index_question(tree: TokenTree, alpha: float, t: int, group_size: int) -> Certificate:
    """The poster sums its targets from j = 1 and its model from j = 0: which is meant?

    Answered on every group of K prefixes of depth t, for each reading of the targets p_i = e^{V_i}
    / sum_j e^{V_j} and of the model q_i = e^{V_theta,i} / sum_j e^{V_theta,j}:

    - `targets sum to`: the mean over groups of sum_i p_i, which must be 1 for p = q to have a
      solution;
    - `spread of log C`: of log(sum_j e^{V_theta,j} / sum_j e^{V_j}) over groups at V_theta = V.
      Theorem 2 needs one constant, that is 0;
    - `gradient at V`: of the loss, relative to V_theta = 0. The factor sum_j e^{V_j} in front
      cancels the targets' denominator, so the targets' index does not move the minimiser; the
      model's index does.

    The certificate passes if j = 0 in both, and no other reading, meets all three. Refuses more
    than a million groups."""
    reachable = tree.reachable(t)
    value = solve(tree, alpha).values[t][reachable]
    law = np.exp(normalised(tree.prefix_logps[t][reachable]))
    if len(value) ** group_size > MAX_GROUPS:
        raise ValueError(
            f"{len(value)}**{group_size} groups are too many to list: take a smaller t or group"
        )
    groups = np.array(list(itertools.product(range(len(value)), repeat=group_size)))
    probability = law[groups].prod(axis=1)
    weights = np.exp(value - value.max())[groups]

    def gradient(v: Array, model_from: int) -> float:
        """Largest entry of the gradient of E[-sum_i w_i (v_i - log sum_{j >= model_from} e^{v_j})].

        Of one group, entry i is w's sum times q_i, minus w_i; a prefix may be drawn more than once.
        """
        exponentials = np.exp(v)[groups]
        q = exponentials / exponentials[:, model_from:].sum(axis=1, keepdims=True)
        q[:, :model_from] = 0.0
        entries = probability[:, None] * (weights.sum(axis=1, keepdims=True) * q - weights)
        return greatest(np.bincount(groups.ravel(), entries.ravel()).astype(np.float64))

    rows: list[Row] = []
    for target_from, model_from in ((0, 0), (1, 0), (1, 1), (0, 1)):
        target_sum = weights[:, target_from:].sum(axis=1)
        model_sum = weights[:, model_from:].sum(axis=1)
        gradient_at_zero = gradient(np.zeros_like(value), model_from)
        rows.append(
            {
                "targets from j": target_from,
                "model from j": model_from,
                "targets sum to": float(probability @ (weights.sum(axis=1) / target_sum)),
                "spread of log C": spread(np.log(model_sum / target_sum)),
                "gradient at V": gradient(value, model_from) / gradient_at_zero,
            }
        )
    consistent = [
        abs(row["targets sum to"] - 1) < INDEX_LIMIT
        and row["spread of log C"] < INDEX_LIMIT
        and row["gradient at V"] < INDEX_LIMIT
        for row in rows
    ]
    return Certificate(
        claim=(
            f"The sums run from j = 0 in the targets and in the model (t = {t}, groups of "
            f"{group_size})"
        ),
        passed=consistent == [True, False, False, False],
        max_abs_error=rows[0]["gradient at V"],
        limit=INDEX_LIMIT,
        prefixes=len(value),
        table=rows,
    )
