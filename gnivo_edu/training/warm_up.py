"""Warm-up: a model that reads text learns to write as a task's demonstrations do, through low-rank
adapters.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from gnivo_edu import tasks
from gnivo_edu.names import output_folder
from gnivo_edu.policies.loading import quiet
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.critic import merged
from gnivo_edu.training.demonstrations import NO_TARGET, demonstration_rows
from gnivo_edu.training.pretrain import make_room
from gnivo_edu.training.setup import with_adapters


def warm_up(
    model: str,
    task: str,
    out: str | PathLike[str],
    task_options: Mapping[str, Any] | None = None,
    steps: int = 60,
    batch_size: int = 8,
    learning_rate: float = 2e-4,
    lora_rank: int = 16,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Supervised steps on right demonstrations, and the recipe of what was done.

        L = - sum_i sum_t log pi(y_t^i | x^i, y_<t^i) / sum_i T_i,   nats per token,

    over the whole vocabulary; y ends with its end token, so that the model learns where to stop.
    Each step draws fresh demonstrations (`TokenMDP.demonstrations`); AdamW on the adapters alone at
    a constant rate, gradients clipped at norm 1, float32, dropout off. The model goes to `out`,
    adapters merged, in float32, with its tokenizer and `recipe.json`. Raises ValueError, in one
    line, on a model or task that cannot be loaded, on a task that writes no demonstrations, and on
    an `out` that holds a model or cannot be written.
    """
    if steps < 1 or batch_size < 1 or lora_rank < 1:
        raise ValueError("steps, batch_size and lora_rank must be at least 1")
    start = time.perf_counter()
    policy, asked = tasks.load(model, task, options=task_options)
    if asked.tokenizer is None:
        raise ValueError(f"the task {task!r} is not in words: warm up on one that is, such as sums")
    asked.demonstrations(1, 0.0, seed=seed)  # says so where there are none
    make_room(out)
    config = TrainConfig(model=model, lora_rank=lora_rank, seed=seed)
    policy = with_adapters(policy, config).eval()
    learning = [p for p in policy.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, learning_rate)
    prompts = [ids[mask] for ids, mask in zip(asked.prompts(), asked.prompt_mask(), strict=True)]
    losses: list[float] = []
    for step in range(steps):
        # A seed of its own for every step.
        seed_of_step = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
        tokens, lengths, index = asked.demonstrations(batch_size, 0.0, seed=seed_of_step)
        inputs, targets = demonstration_rows(
            [prompts[i] for i in index], tokens, lengths=lengths, pad_token_id=asked.pad_token_id
        )
        logits = policy(input_ids=inputs, use_cache=False).logits
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), ignore_index=NO_TARGET
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        losses.append(loss.item())
        progress(f"step {step + 1} of {steps}: {losses[-1]:.3f} nats a token")
    recipe = {
        "model": model,
        "task": task,
        "task_options": dict(task_options or {}),
        "prompts": len(prompts),
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "lora_rank": lora_rank,
        "seed": seed,
        "nats_per_token": {
            name: float(np.mean(some))
            for name, some in (("first 10 steps", losses[:10]), ("last 10 steps", losses[-10:]))
        },
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    folder = output_folder(out)
    with quiet(True):
        merged(policy).save_pretrained(folder)
        asked.tokenizer.save_pretrained(folder)
    text = json.dumps(recipe, indent=2) + "\n"
    (folder / "recipe.json").write_text(text, encoding="utf-8")
    return recipe
