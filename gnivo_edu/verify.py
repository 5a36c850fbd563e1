"""Both theorems and their controls: on every environment, with a transformer as the reference,
inside a language model; and a transformer that minimises the exact population loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gnivo_edu import exact, tasks
from gnivo_edu.exact.solution import check_alpha

if TYPE_CHECKING:
    from gnivo_edu.policies.small import Architecture
    from toy_envs import TokenMDP

ALPHAS = (0.1, 0.5, 1.0)
GROUP_SIZES = (2, 3, 4)
REFERENCE_SEED, SAMPLER_SEED = 1, 2
FIT_ALPHA, FIT_GROUP_SIZE = 0.5, 2
FIT_TOKENS, FIT_STEPS = 3, 4
SPREAD_LIMIT, KL_LIMIT = 1e-6, 1e-10  # nats; the fit ends at about 1e-10 and 1e-16
SEED = 1
# Standard deviation of a random transformer's weights: far from uniform, dependent on the prefix.
WEIGHTS = 0.4

Result = dict[str, Any]
Report = dict[str, Any]
Progress = Callable[[str], None]


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
    for env_id in env_ids or tasks.environments():
        mdp = tasks.environment(env_id)
        reference = mdp.reference(prompt_index)
        if reference is None:
            reference = exact.random_reference(mdp.vocab_size, mdp.horizon, seed=REFERENCE_SEED)
        results += _verify_mdp(
            mdp,
            reference,
            target=mdp.spec.id,
            alphas=alphas,
            group_sizes=group_sizes,
            prompt_index=prompt_index,
            progress=progress,
        )
    return _report(results)


def verify_transformer(
    env_ids: Sequence[str] | None = None,
    alphas: Sequence[float] = ALPHAS,
    group_sizes: Sequence[int] = GROUP_SIZES,
    prompt_index: int = 0,
    size: str = "tiny",
    architecture: Architecture = "qwen2",
    progress: Progress | None = None,
) -> Report:
    """Both theorems and both controls on toy environments, with a random float64 transformer as the
    reference.

    The transformer is enumerated (`policies.tabulate`), and takes the place of any reference that
    the environment states. The record of `verify_environments`, and an entry `fit` of
    `fit_transformer`. Raises ValueError on an unknown name, size or architecture, alpha <= 0 or K <
    2.

    >>> report = verify_transformer(["RandomTree"], alphas=[0.5], group_sizes=[2])
    >>> report["passed"], report["results"][0]["target"], report["fit"]["spread"] < 1e-6
    (True, 'toy_envs/RandomTree-v0 (small transformer)', True)
    """
    import torch

    from gnivo_edu.policies import small_transformer, tabulate

    results: list[Result] = []
    for env_id in env_ids or tasks.environments():
        mdp = tasks.environment(env_id)
        model = small_transformer(
            mdp,
            size,
            architecture=architecture,
            dtype=torch.float64,
            seed=SEED,
            initializer_range=WEIGHTS,
        )
        results += _verify_mdp(
            mdp,
            tabulate(model, mdp, prompt_index=prompt_index),
            target=f"{mdp.spec.id} (small transformer)",
            alphas=alphas,
            group_sizes=group_sizes,
            prompt_index=prompt_index,
            progress=progress,
        )
    fit = fit_transformer(size=size, architecture=architecture, progress=progress)
    passed = fit["passed"] and all(result["passed"] for result in results)
    return {"passed": passed, "results": results, "fit": fit}


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
    from gnivo_edu.policies import load_policy, tree_from_model
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
    model, tokenizer = load_policy(model_path)
    if tokenizer is None:
        raise ValueError(
            f"the model {model_path!r} has no tokenizer, so it reads no prompt: give a model that "
            "reads text, or environments to verify, --env"
        )
    if progress:
        progress(f"growing the tree of {prompt!r}")
    mdp, tables = tree_from_model(
        model, tokenizer, prompt=prompt, top_k=top_k, horizon=horizon, reward=score
    )
    results = _verify_mdp(
        mdp,
        tables,
        target=str(model_path),
        alphas=alphas,
        group_sizes=group_sizes,
        prompt_index=0,
        progress=progress,
    )
    return _report(list(results))


def _verify_mdp(
    mdp: TokenMDP,
    reference: exact.Tables,
    target: str,
    alphas: Sequence[float],
    group_sizes: Sequence[int],
    prompt_index: int,
    progress: Progress | None,
) -> Iterator[Result]:
    _check_request(alphas, group_sizes)
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


def _check_request(alphas: Sequence[float], group_sizes: Sequence[int]) -> None:
    if not alphas or not group_sizes:
        raise ValueError("nothing to verify: give at least one alpha and one group size")
    for alpha in alphas:
        check_alpha(alpha)
    if min(group_sizes) < 2:
        raise ValueError(f"a group has at least 2 answers, got group size {min(group_sizes)}")


def _report(results: list[Result]) -> Report:
    return {"passed": all(result["passed"] for result in results), "results": results}


def fit_transformer(
    alpha: float = FIT_ALPHA,
    group_size: int = FIT_GROUP_SIZE,
    size: str = "tiny",
    architecture: Architecture = "qwen2",
    seed: int = SEED,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A transformer that minimises the exact GN-IVO loss over all pairs of the 81 answers of four
    ternary tokens.

    It starts at its own reference, a random transformer. `spread` of its implicit value log
    pi_theta/pi_ref around V over the prefixes of one depth (Theorem 2), `value_error` of that plus
    log Z, and `kl`, KL(pi* || pi_theta): nats, from enumeration. A smaller alpha makes the raw
    weights steeper and the fit slower.
    """
    import torch

    from gnivo_edu.policies import small_transformer
    from gnivo_edu.training.population_fit import fit_population
    from toy_envs import RandomTree

    mdp = RandomTree(vocab_size=FIT_TOKENS, horizon=FIT_STEPS)
    model = small_transformer(
        mdp,
        size,
        architecture=architecture,
        dtype=torch.float64,
        seed=seed,
        initializer_range=WEIGHTS,
    )
    fit = fit_population(model, mdp, alpha=alpha, group_size=group_size, progress=progress)
    first, last = fit.records[0], fit.records[-1]
    return {
        "target": f"RandomTree(vocab_size={FIT_TOKENS}, horizon={FIT_STEPS}) (small transformer)",
        "alpha": alpha,
        "group_size": group_size,
        "sequences": fit.key.tree.num_sequences,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": len(fit.records) - 1,
        "seconds": fit.seconds,
        "gradient_norm": last.gradient_norm / first.gradient_norm,
        "spread_at_start": first.spread,
        "spread": last.spread,
        "value_error": last.value_error,
        "kl": last.kl,
        "passed": last.spread <= SPREAD_LIMIT and last.kl <= KL_LIMIT,
    }
