"""Verify both theorems, and their controls, on every environment or inside a language model: one
Python call each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gnivo_edu import exact
from gnivo_edu.exact.solution import check_alpha
from gnivo_edu.exact.tree import FiniteTokenMDP
from gnivo_edu.names import nearest

ALPHAS = (0.1, 0.5, 1.0)
GROUP_SIZES = (2, 3, 4)
REFERENCE_SEED, SAMPLER_SEED = 1, 2

Result = dict[str, Any]
Report = dict[str, Any]
Progress = Callable[[str], None]


def environments() -> list[str]:
    """Ids of all registered toy environments, in the order of their registration."""
    import gymnasium

    import toy_envs  # noqa: F401  (importing registers them)

    return [name for name, spec in gymnasium.registry.items() if spec.namespace == "toy_envs"]


def make_environment(env_id: str) -> Any:
    """`gymnasium.make(env_id).unwrapped`; accepts `RandomTree` for `toy_envs/RandomTree-v0`.

    Raises ValueError with the nearest name if there is none like it.
    """
    import gymnasium

    known = environments()
    short = {name.removeprefix("toy_envs/").rsplit("-v", 1)[0]: name for name in known}
    full = env_id if env_id in gymnasium.registry else short.get(env_id)
    if full is None:
        hint = nearest(env_id, [*short, *known], otherwise=f"known: {', '.join(short)}")
        raise ValueError(f"there is no environment {env_id!r}; {hint}")
    return gymnasium.make(full).unwrapped


def verify_environments(
    env_ids: Sequence[str] | None = None,
    alphas: Sequence[float] = ALPHAS,
    group_sizes: Sequence[int] = GROUP_SIZES,
    prompt_index: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Both theorems and both controls on toy environments (all of them unless named).

    The reference is the one that the environment states, else a random prefix-dependent policy; the
    off-policy control samples from a different random one. Returns the record of design section
    6.5: `passed` and one entry of `results` per target, alpha and group size. Raises ValueError on
    an unknown name, alpha <= 0 or K < 2.

    >>> report = verify_environments(["RandomTree"], alphas=[0.5], group_sizes=[2])
    >>> report["passed"], report["results"][0]["sequences"]
    (True, 256)
    """
    results: list[Result] = []
    for env_id in env_ids or environments():
        mdp = make_environment(env_id)
        reference = mdp.reference(prompt_index)
        if reference is None:
            reference = exact.random_reference(mdp.vocab_size, mdp.horizon, REFERENCE_SEED)
        results += _verify_mdp(
            mdp, reference, mdp.spec.id, alphas, group_sizes, prompt_index, progress
        )
    return _report(results)


def verify_model(
    model_path: str,
    prompt: str = "Once upon a time",
    top_k: int = 4,
    horizon: int = 6,
    reward: str = "sentiment",
    alphas: Sequence[float] = ALPHAS,
    group_sizes: Sequence[int] = GROUP_SIZES,
    progress: Progress | None = None,
) -> Report:
    """Both theorems inside a pretrained language model: the tree of its `top_k` tokens over
    `horizon` steps.

    `model_path`: a folder or a hub id of any causal LM; `reward`: a named reward, or
    `module:function` from a list of texts to a list of numbers. The probabilities are renormalised
    over the kept tokens, in float64. Returns the record of `verify_environments`. Raises ValueError
    on a path that is not a model and on sizes that do not fit."""
    from gnivo_edu.policies import load_model, tree_from_model
    from gnivo_edu.tasks import get_reward

    _check_request(alphas, group_sizes)
    if top_k >= 1 and horizon >= 1:
        try:
            exact.check_size(top_k, horizon)
        except exact.TreeTooLargeError as error:
            size = str(error).partition(":")[0]
            raise ValueError(f"{size}: take a smaller top_k or horizon") from error
    score = get_reward(reward)
    if progress:
        progress(f"reading {model_path}")
    model, tokenizer = load_model(model_path)
    if progress:
        progress(f"growing the tree of {prompt!r}")
    mdp, tables = tree_from_model(
        model, tokenizer, prompt, top_k=top_k, horizon=horizon, reward=score
    )
    return _report(
        list(_verify_mdp(mdp, tables, str(model_path), alphas, group_sizes, 0, progress))
    )


def _verify_mdp(
    mdp: FiniteTokenMDP,
    reference: exact.Tables,
    target: str,
    alphas: Sequence[float],
    group_sizes: Sequence[int],
    prompt_index: int,
    progress: Progress | None,
) -> Iterator[Result]:
    _check_request(alphas, group_sizes)
    tree = exact.enumerate_tree(mdp, reference, prompt_index)
    sampler = exact.random_reference(mdp.vocab_size, mdp.horizon, SAMPLER_SEED)
    for alpha in alphas:
        for group_size in group_sizes:
            if progress:
                progress(f"{target}  alpha {alpha:g}  groups of {group_size}")
            yield verify_tree(tree, alpha, group_size, sampler, target)


def verify_tree(
    tree: exact.TokenTree,
    alpha: float,
    group_size: int,
    sampler: exact.Tables | None = None,
    target: str = "tree",
) -> Result:
    """One entry of `results`: both theorems and both controls on one tree, at one alpha and group
    size.
    """
    start = time.perf_counter()
    first = exact.verify_soft_value_theorem(tree, alpha)
    second = exact.verify_constant_shift(tree, alpha, group_size)
    controls = [
        exact.softmax_weights(tree, alpha, group_size),
        exact.off_policy_samples(tree, alpha, group_size, sampler),
    ]
    return {
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
        "not_applicable": {
            control.name: control.why_not for control in controls if control.why_not
        },
        "passed": first.passed and second.passed and all(control.behaves for control in controls),
    }


def _check_request(alphas: Sequence[float], group_sizes: Sequence[int]) -> None:
    for alpha in alphas:
        check_alpha(alpha)
    if min(group_sizes) < 2:
        raise ValueError(f"a group has at least 2 answers, got group size {min(group_sizes)}")


def _report(results: list[Result]) -> Report:
    return {"passed": all(result["passed"] for result in results), "results": results}
