"""Both theorems and their controls inside a pretrained language model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnivo_edu import exact
from gnivo_edu.verify.one_tree import (
    ALPHAS,
    GROUP_SIZES,
    Progress,
    Report,
    check_request,
    verify_mdp,
)

if TYPE_CHECKING:
    from gnivo_edu.policies import TextTree


def verify_model(
    model_path: str,
    prompt: str = "Once upon a time",
    top_k: int = 4,
    horizon: int = 6,
    reward: str = "sentiment",
    alphas: Sequence[float] = ALPHAS,
    group_sizes: Sequence[int] = GROUP_SIZES,
    progress: Progress | None = None,
    tree: str | Path | None = None,
) -> Report:
    """Both theorems inside a pretrained language model: the tree of its `top_k` tokens over
    `horizon` steps.

    `model_path`: a folder or a hub id of any causal LM; `reward`: a named reward, or
    `module:function` from a list of texts to a list of numbers. The probabilities are renormalised
    over the kept tokens, in float64. Returns the record of `verify_environments`, and under `tree`
    what `describe_tree` says of it; a file named `tree` gets the tree itself
    (`policies.write_tree`). Raises ValueError on a path that is not a model and on sizes that do
    not fit."""
    from gnivo_edu.policies import load_policy, tree_from_model
    from gnivo_edu.tasks import get_reward

    check_request(alphas, group_sizes)
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
    if tree is not None:
        _write(mdp, tree, model=model, name=model_path, reward=reward)
    results = list(
        verify_mdp(
            mdp,
            tables,
            target=str(model_path),
            alphas=alphas,
            group_sizes=group_sizes,
            prompt_index=0,
            progress=progress,
        )
    )
    passed = all(result["passed"] for result in results)
    return {"passed": passed, "results": results, "tree": describe_tree(mdp, reward)}


def describe_tree(mdp: TextTree, reward: str) -> dict[str, Any]:
    """What a tree is, and how much of the model's own probability it keeps, as plain values.

    `kept_mass`: `by_depth`, the mean over prefixes of 0, 1, ... tokens, drawn from the tree, of
    what the kept tokens have of the model's next-token probability; `least`, the smallest of all;
    `whole`, the chance that the model, left alone, stays inside the tree to its end. `rewards`: how
    many different ones, the least and the largest, and their mean under the tree's law.
    """
    tree = exact.enumerate_tree(mdp)
    depths = zip(tree.prefix_logps, mdp.kept_mass, strict=False)
    law, rewards = np.exp(tree.prefix_logps[-1]), tree.rewards
    return {
        "prompt": mdp.prompt,
        "top_k": mdp.vocab_size,
        "horizon": mdp.horizon,
        "reward": reward,
        "rewards": {
            "different": len(np.unique(rewards)),
            "least": float(rewards.min()),
            "mean": float(law @ rewards),
            "most": float(rewards.max()),
        },
        "kept_mass": {
            "by_depth": [float(np.exp(logps) @ mass) for logps, mass in depths],
            "least": min(float(mass.min()) for mass in mdp.kept_mass),
            "whole": float(np.exp(mdp.model_logps()[-1]).sum()),
        },
    }


def _write(mdp: TextTree, path: str | Path, model: Any, name: str, reward: str) -> None:
    """The tree's file, with the command that makes it, and which model and libraries did."""
    from importlib.metadata import version

    from gnivo_edu.policies import write_tree
    from gnivo_edu.training.origin import LIBRARIES, hash_of_weights

    size = f"--top-k {mdp.vocab_size} --horizon {mdp.horizon}"
    command = (
        f"gnivo-edu verify --model {shlex.quote(name)} --prompt {shlex.quote(mdp.prompt)} {size} "
        f"--reward {reward} --tree {shlex.quote(Path(path).name)}"
    )
    about = {
        "name": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": model.config.get_text_config().vocab_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "sha256 of the weights": hash_of_weights(model),
    }
    try:
        write_tree(
            mdp,
            path,
            command=command,
            model=about,
            versions={library: version(library) for library in LIBRARIES},
            reward=reward,
        )
    except OSError as error:
        raise ValueError(f"the tree could not be written to {str(path)!r}: {error}") from error
