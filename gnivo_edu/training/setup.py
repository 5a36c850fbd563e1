"""The policy and the task that a configuration names."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from gnivo_edu.policies import TabularLM, load_model
from gnivo_edu.policies.heads import has_hidden_states
from gnivo_edu.policies.loading import quiet
from gnivo_edu.policies.small import load_checkpoint, load_transformer, precise_norms
from gnivo_edu.training.config import TrainConfig

DTYPES = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}


def make_policy_and_task(config: TrainConfig, device: torch.device) -> tuple[nn.Module, Any]:
    """Load the model and bind the task to its tokenizer; dropout off. ValueError, in one line, on
    what is not there.
    """
    dtype, folder = DTYPES[config.precision], Path(config.model)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ValueError(
            f"{config.model!r} holds adapters alone: a run's whole model is in model/, merged with "
            "them"
        )
    if config.model == "table":
        task = make_task(config, None)
        policy: Any = TabularLM.from_mdp(task, dtype=dtype)
    elif config.model == "shipped":
        policy, task = load_checkpoint("arithmetic", dtype), make_task(config, None)
    elif folder.is_dir() and not any(folder.glob("tokenizer*")):
        policy, task = load_transformer(config.model, dtype), make_task(config, None)
    else:
        policy, tokenizer = load_model(config.model, dtype)
        policy = precise_norms(policy) if dtype == torch.float64 else policy
        task = make_task(config, tokenizer, policy)
    if config.lora_rank:
        policy = _with_adapters(policy, config)
    return policy.to(device).eval(), task


def make_task(config: TrainConfig, tokenizer: Any, model: Any = None) -> Any:
    """A toy environment by its gymnasium id, or a task of `gnivo_edu.tasks`; a model says where its
    answers end.
    """
    if config.task.startswith("toy_envs/"):
        import gymnasium

        import toy_envs  # noqa: F401  # registers the environments

        try:
            return gymnasium.make(config.task, **config.task_options).unwrapped
        except (gymnasium.error.Error, TypeError) as error:
            raise ValueError(
                f"task {config.task!r} cannot be made: {' '.join(str(error).split())}"
            ) from error
    from gnivo_edu import tasks

    options, made_here = dict(config.task_options), config.task == "arithmetic"
    if tokenizer is not None and made_here:
        raise ValueError(
            f"the task 'arithmetic' has a vocabulary of its own, and {config.model!r} a tokenizer: "
            "take the model "
            f"'shipped' or one that `pretrain` made, or a task in words"
        )
    if tokenizer is None and not made_here and config.task in tasks.names():
        raise ValueError(
            f"the task {config.task!r} is answered in words, and the model {config.model!r} comes "
            "without a tokenizer: "
            f"save its tokenizer into that folder, or take another model"
        )
    if tokenizer is not None:
        from gnivo_edu.tasks.prompting import end_tokens

        options.setdefault(
            "eos_token_ids", end_tokens(tokenizer, getattr(model, "generation_config", None))
        )
    return tasks.get(config.task, tokenizer=tokenizer, **options)


def _with_adapters(policy: Any, config: TrainConfig) -> Any:
    """The policy with a low-rank adapter on every linear layer but the head; only the adapters
    learn.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ValueError(
            "lora_rank needs peft: install the extra, pip install -e '.[llm]'"
        ) from error
    if not has_hidden_states(policy):
        raise ValueError(
            f"model {config.model!r} has no layers to adapt: lora_rank needs a transformer, or set "
            "it to 0"
        )
    adapters = LoraConfig(
        r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear"
    )
    with (
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
    ):  # adapters start at random; all later draws have streams of their own
        warnings.simplefilter("ignore", FutureWarning)  # what peft asks of transformers
        torch.manual_seed(config.seed)
        return get_peft_model(policy, adapters)


def save_policy(policy: Any, task: Any, folder: Path) -> None:
    """Write the trained model to `folder`/model, with the task's tokenizer: whole, adapters merged
    into its weights.

    Adapters are written to `folder`/adapter as well, as peft reads them. Raises ValueError, in one
    line, where they cannot be written.
    """
    try:
        with quiet(True):
            whole = policy
            if hasattr(policy, "merge_and_unload"):
                policy.save_pretrained(folder / "adapter", save_embedding_layers=False)
                # Of a copy, in main memory: merging rounds, and the run's own weights are to stay
                # as they are.
                every = {
                    id(p): nn.Parameter(p.detach().to("cpu", copy=True))
                    for p in policy.parameters()
                }
                whole = copy.deepcopy(policy, every).merge_and_unload()
            whole.save_pretrained(folder / "model")
            if getattr(task, "tokenizer", None) is not None:
                task.tokenizer.save_pretrained(folder / "model")
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"the model could not be written to {folder / 'model'} "
            f"({' '.join(str(error).split())}): make room and run "
            f"again with --resume"
        ) from error
