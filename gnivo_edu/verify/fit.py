"""A transformer that minimises the exact population loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnivo_edu.verify.one_tree import Progress

if TYPE_CHECKING:
    from gnivo_edu.policies.small import Architecture

FIT_ALPHA, FIT_GROUP_SIZE = 0.5, 2
FIT_TOKENS, FIT_STEPS = 3, 4
SPREAD_LIMIT, KL_LIMIT = 1e-6, 1e-10  # nats; the fit ends at about 1e-10 and 1e-16
SEED = 1
# Standard deviation of a random transformer's weights: far from uniform, dependent on the prefix.
WEIGHTS = 0.4


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
