"""The policy and the task that a configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gnivo_edu.policies import TabularLM, load_model
from gnivo_edu.policies.small import load_checkpoint, load_transformer, precise_norms
from gnivo_edu.training.config import TrainConfig

DTYPES = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}


def make_policy_and_task(config: TrainConfig, device: torch.device) -> tuple[nn.Module, Any]:
    """Load the model and bind the task to its tokenizer; dropout off. ValueError, in one line, on what is not there."""
    dtype = DTYPES[config.precision]
    if config.model == "table":
        task = make_task(config, None)
        policy: Any = TabularLM.from_mdp(task, dtype=dtype)
    elif config.model == "shipped":
        policy, task = load_checkpoint("arithmetic", dtype), make_task(config, None)
    elif Path(config.model).is_dir() and not any(Path(config.model).glob("tokenizer*")):
        policy, task = load_transformer(config.model, dtype), make_task(config, None)
    else:
        policy, tokenizer = load_model(config.model, dtype)
        policy = precise_norms(policy) if dtype == torch.float64 else policy
        task = make_task(config, tokenizer, policy)
    if config.lora_rank:
        policy = _with_adapters(policy, config)
    return policy.to(device).eval(), task


def make_task(config: TrainConfig, tokenizer: Any, model: Any = None) -> Any:
    """A toy environment by its gymnasium id, or a task of `gnivo_edu.tasks`; a model says where its answers end."""
    if config.task.startswith("toy_envs/"):
        import gymnasium

        import toy_envs  # noqa: F401  # registers the environments

        try:
            return gymnasium.make(config.task, **config.task_options).unwrapped
        except (gymnasium.error.Error, TypeError) as error:
            raise ValueError(f"task {config.task!r} cannot be made: {' '.join(str(error).split())}") from error
    from gnivo_edu import tasks

    options = dict(config.task_options)
    if tokenizer is not None:
        from gnivo_edu.tasks.prompting import end_tokens

        options.setdefault("eos_token_ids", end_tokens(tokenizer, getattr(model, "generation_config", None)))
    return tasks.get(config.task, tokenizer=tokenizer, **options)


def _with_adapters(policy: Any, config: TrainConfig) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ValueError("lora_rank needs peft: install the extra, pip install -e '.[llm]'") from error
    adapters = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear")
    return get_peft_model(policy, adapters)


def save_policy(policy: Any, folder: Path) -> None:
    """Write the trained model (or its adapters) as `save_pretrained` does, without a progress bar."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        policy.save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()
