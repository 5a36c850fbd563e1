"""Both theorems and both controls on one tree, and on all alphas and group sizes asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gnivo_edu import exact
from gnivo_edu.exact.solution import check_alpha

if TYPE_CHECKING:
    from toy_envs import TokenMDP

ALPHAS = (0.1, 0.5, 1.0)
GROUP_SIZES = (2, 3, 4)
SAMPLER_SEED = 2

Result = dict[str, Any]
Report = dict[str, Any]
Progress = Callable[[str], None]


def verify_mdp(
    mdp: TokenMDP,
    reference: exact.Tables,
    target: str,
    alphas: Sequence[float],
    group_sizes: Sequence[int],
    prompt_index: int,
    progress: Progress | None,
) -> Iterator[Result]:
    """One entry of `results` per alpha and group size."""
    check_request(alphas, group_sizes)
    tree = exact.enumerate_tree(mdp, reference, prompt_index=prompt_index)
    sampler = exact.random_reference(mdp.vocab_size, mdp.horizon, seed=SAMPLER_SEED)
    for alpha in alphas:
        for group_size in group_sizes:
            if progress:
                progress(f"{target}  alpha {alpha:g}  groups of {group_size}")
            yield verify_tree(tree, alpha, group_size=group_size, sampler=sampler, target=target)


def verify_tree(
    tree: exact.TokenTree,
    alpha: float,
    group_size: int,
    sampler: exact.Tables | None = None,
    target: str = "tree",
) -> Result:
    """One entry of `results`: both theorems and both controls on one tree, at one alpha and group
    size.

    `not_applicable` holds the controls that cannot bite, and under the name of a theorem what
    float64 cannot decide of it; neither changes `passed`. `notice`, on a tree of one reward, says
    that there is nothing to verify.
    """
    start = time.perf_counter()
    first = exact.verify_soft_value_theorem(tree, alpha)
    second = exact.verify_constant_shift(tree, alpha, group_size=group_size)
    controls = [
        exact.softmax_weights(tree, alpha, group_size=group_size),
        exact.off_policy_samples(tree, alpha, group_size=group_size, sampler=sampler),
    ]
    theorems = {"soft_value_theorem": first, "constant_shift": second}
    undecided = {
        name: "; ".join(theorem.undecided)
        for name, theorem in theorems.items()
        if theorem.undecided
    }
    result: Result = {
        "target": target,
        "alpha": alpha,
        "sequences": tree.num_sequences,
        "prefixes": tree.num_prefixes,
        "seconds": time.perf_counter() - start,
        "soft_value_theorem": {"max_abs_error": first.max_abs_error},
        "constant_shift": {
            "group_size": group_size,
            "spread": second.max_abs_error,
            "gradient_norm_at_shifted_optimum": second["gradient_norm_at_shifted_optimum"],
            "pinned_error": second["pinned_error"],
            "credit_error": second["credit_error"],
        },
        "controls": {
            control.name: {
                "violation": control.violation,
                "at_complete_answers": control.at_complete_answers,
            }
            for control in controls
            if control.why_not is None
        },
        "not_applicable": {control.name: control.why_not for control in controls if control.why_not}
        | undecided,
        "passed": first.passed and second.passed and all(control.behaves for control in controls),
    }
    rewards = tree.rewards[tree.reachable(tree.horizon)]
    if rewards.min() == rewards.max():
        result["notice"] = (
            f"all {len(rewards):,} continuations are rewarded {rewards[0]:g}: nothing to verify; "
            "take another prompt or reward"
        )
    return result


def check_request(alphas: Sequence[float], group_sizes: Sequence[int]) -> None:
    """Raise ValueError, in one line, on alphas and group sizes that cannot be verified."""
    if not alphas or not group_sizes:
        raise ValueError("nothing to verify: give at least one alpha and one group size")
    for alpha in alphas:
        check_alpha(alpha)
    if min(group_sizes) < 2:
        raise ValueError(f"a group has at least 2 answers, got group size {min(group_sizes)}")
