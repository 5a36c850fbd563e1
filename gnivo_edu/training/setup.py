"""The policy, the task and the optimiser that a configuration names, and where a trained policy is
written.
"""

from __future__ import annotations

import copy
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from gnivo_edu import tasks
from gnivo_edu.policies.loading import load_policy, quiet
from gnivo_edu.policies.recompute import recompute_layers
from gnivo_edu.policies.weights import folder_of, precision_of
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.critic import Critic, merged, save_critic
from toy_envs import TokenMDP

DTYPES = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}
SAVED = DTYPES | {"bf16": torch.bfloat16}


def make_policy_and_task(
    config: TrainConfig,
    device: torch.device,
    policy: nn.Module | None = None,
    task: TokenMDP | None = None,
) -> tuple[nn.Module, Any]:
    """What the configuration names, or what is given in its place.

    The policy comes as it is trained: with adapters if the configuration asks for them, on its
    device, dropout off; of a given policy a copy. A task in words is bound to the tokenizer of its
    model. Raises ValueError, in one line, on what is not there.
    """
    dtype, options = DTYPES[config.precision], config.task_options
    if policy is not None:
        _check_policy(policy)
        policy = copy.deepcopy(policy)
        task = task or tasks.get(config.task, model=policy, **options)
    elif task is not None:
        policy, _ = load_policy(config.model, dtype, task=task)
    else:
        policy, task = tasks.load(config.model, config.task, dtype=dtype, options=options)
    if config.lora_rank:
        policy = with_adapters(policy, config)
    if config.gradient_checkpointing:
        recompute_layers(policy)
    return policy.to(device).eval(), task


def _check_policy(policy: Any) -> None:
    """ValueError, in one line, unless it can be trained, and saved at the end."""
    kind = type(policy).__name__
    if isinstance(policy, type):
        raise ValueError(
            f"the policy is the class {policy.__name__}: give a model, an instance of it"
        )
    if not isinstance(policy, nn.Module):
        raise ValueError(
            f"the policy is of type {kind}: give a causal LM of transformers, or its name or "
            "folder as text"
        )
    if not hasattr(policy, "save_pretrained") or not hasattr(policy, "config"):
        inside = [
            name for name, part in policy.named_children() if hasattr(part, "save_pretrained")
        ]
        hint = f": give the model inside it, its .{inside[0]}" if inside else ""
        raise ValueError(
            f"the policy is a {kind}, which is no causal LM of transformers: it has no "
            f"save_pretrained, or no config{hint}"
        )
    if any(p.is_meta for p in (*policy.parameters(), *policy.buffers())):
        raise ValueError(
            f"the policy, a {kind}, has no weights yet: its tensors are on the meta device; load "
            "them first"
        )


def make_optimizer(
    config: TrainConfig, policy: nn.Module, critic: nn.Module | None = None
) -> torch.optim.Optimizer:
    """What moves the policy's weights (of one with adapters, those alone), and the critic's at a
    rate of their own: its first group is the policy's.
    """
    learning = [p for p in policy.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": learning, "lr": config.learning_rate}]
    if critic is not None:
        values = [p for p in critic.parameters() if p.requires_grad]
        groups.append({"params": values, "lr": config.value_learning_rate})
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[config.optimizer]
    try:
        return kind(groups, weight_decay=config.weight_decay, fused=config.fused_optimizer)
    except RuntimeError as error:
        # Some devices and precisions have no such kernel.
        if "fused" not in str(error):
            raise
        return kind(groups, weight_decay=config.weight_decay)


def rate_factor(config: TrainConfig, step: int) -> float:
    """Factor of the learning rate at a step: a ramp, then constant, linear to 0, or half a cosine
    to 0.

    >>> config = TrainConfig(steps=6, warmup_steps=2, schedule="linear")
    >>> [rate_factor(config, step) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def with_adapters(policy: Any, config: TrainConfig) -> Any:
    """The policy with a low-rank adapter on every linear layer but the head; only the adapters
    learn.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ValueError(f"lora_rank needs peft ({error}): pip install 'gnivo-edu[llm]'") from error
    if not any(isinstance(layer, nn.Linear) for layer in policy.modules()):
        raise ValueError(
            f"model {config.model!r} has no layers to adapt: lora_rank needs a transformer, or set "
            "it to 0"
        )
    adapters = LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear"
    )
    # Adapters start at random; all later draws have streams of their own.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", FutureWarning)  # what peft asks of transformers
        torch.manual_seed(config.seed)
        return get_peft_model(policy, adapters)


def saved_dtype(config: TrainConfig, loaded: Any = None) -> torch.dtype | None:
    """In what the trained model is saved; None for the precision that it has. `loaded`: the policy
    that the configuration names, None where one is given in its place.

    >>> saved_dtype(TrainConfig(save_precision="bf16")), saved_dtype(TrainConfig())
    (torch.bfloat16, None)
    """
    if config.save_precision != "own":
        return SAVED[config.save_precision]
    # A table that is new came from nowhere.
    if loaded is None or not loaded.config.name_or_path or config.precision == "float64":
        return None
    folder = folder_of(loaded.config.name_or_path)
    return precision_of(folder) if folder is not None else None


def save_policy(
    policy: Any,
    task: Any,
    folder: Path,
    critic: Critic | None = None,
    dtype: torch.dtype | None = None,
    card: str | None = None,
) -> None:
    """Write the trained model to `folder`/model, with the task's tokenizer: whole, adapters merged
    into its weights, in `dtype` (None: that which it has); and its `card`, see `model_card`.

    Adapters are written to `folder`/adapter as well, as peft reads them, and a critic to
    `folder`/critic, as `load_critic` does. Raises ValueError, in one
    line, where they cannot be written.
    """
    try:
        with quiet(True):
            whole = policy
            if hasattr(policy, "merge_and_unload"):
                policy.save_pretrained(folder / "adapter", save_embedding_layers=False)
                whole = merged(policy)
            if dtype is not None and any(p.dtype != dtype for p in whole.parameters()):
                # Of a copy, in main memory: the run's own weights stay as they are.
                copies = {
                    id(p): nn.Parameter(p.detach().to("cpu", dtype)) for p in whole.parameters()
                }
                whole = copy.deepcopy(whole, copies)
            whole.save_pretrained(folder / "model")
            if critic is not None:
                save_critic(critic, policy, folder=folder / "critic")
            if task.tokenizer is not None:
                task.tokenizer.save_pretrained(folder / "model")
            if card is not None:
                (folder / "model" / "README.md").write_text(card, encoding="utf-8")
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"the model could not be written to {folder / 'model'} "
            f"({' '.join(str(error).split())}): make room and run again with --resume"
        ) from error
