"""Both theorems with a transformer as the reference, and a transformer that minimises the exact
population loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gnivo_edu import exact
from gnivo_edu.verify import (
    ALPHAS,
    GROUP_SIZES,
    SAMPLER_SEED,
    Report,
    Result,
    environments,
    make_environment,
    verify_tree,
)

if TYPE_CHECKING:
    from gnivo_edu.policies.small import Architecture

FIT_ALPHA, FIT_GROUP_SIZE = 0.5, 2
FIT_TOKENS, FIT_STEPS = 3, 4
SPREAD_LIMIT, KL_LIMIT = 1e-6, 1e-10  # nats; the fit ends at about 1e-10 and 1e-16
SEED = 1
WEIGHTS = 0.4  # standard deviation of a random transformer's weights: far from uniform, and dependent on the prefix

Progress = Callable[[str], None]


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

    from gnivo_edu.policies import tabulate
    from gnivo_edu.policies.small import small_transformer

    results: list[Result] = []
    for env_id in env_ids or environments():
        mdp = make_environment(env_id)
        target = f"{mdp.spec.id} (small transformer)"
        model = small_transformer(mdp, size, architecture, torch.float64, SEED, WEIGHTS)
        tree = exact.enumerate_tree(mdp, tabulate(model, mdp, prompt_index), prompt_index)
        sampler = exact.random_reference(mdp.vocab_size, mdp.horizon, SAMPLER_SEED)
        for alpha in alphas:
            for group_size in group_sizes:
                if progress:
                    progress(f"{target}  alpha {alpha:g}  groups of {group_size}")
                results.append(verify_tree(tree, alpha, group_size, sampler, target))
    fit = fit_transformer(size=size, architecture=architecture, progress=progress)
    passed = fit["passed"] and all(result["passed"] for result in results)
    return {"passed": passed, "results": results, "fit": fit}


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

    from gnivo_edu.policies.small import small_transformer
    from gnivo_edu.training.population_fit import fit_population
    from toy_envs import RandomTree

    mdp = RandomTree(vocab_size=FIT_TOKENS, horizon=FIT_STEPS)
    model = small_transformer(mdp, size, architecture, torch.float64, seed, WEIGHTS)
    fit = fit_population(model, mdp, alpha, group_size, progress=progress)
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
