"""Both theorems and their controls on toy environments, and with a transformer as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gnivo_edu import exact, tasks
from gnivo_edu.verify.fit import SEED, WEIGHTS, fit_transformer
from gnivo_edu.verify.one_tree import (
    ALPHAS,
    GROUP_SIZES,
    Progress,
    Report,
    Result,
    verify_mdp,
)

if TYPE_CHECKING:
    from gnivo_edu.policies.small import Architecture

REFERENCE_SEED = 1


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
        results += verify_mdp(
            mdp,
            reference,
            target=mdp.spec.id,
            alphas=alphas,
            group_sizes=group_sizes,
            prompt_index=prompt_index,
            progress=progress,
        )
    return {"passed": all(result["passed"] for result in results), "results": results}


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
        results += verify_mdp(
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
