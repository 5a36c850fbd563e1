"""Pretraining: a small transformer learns to write as demonstrations do, bad habits included."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup

from gnivo_edu.names import output_folder
from gnivo_edu.policies.loading import quiet
from gnivo_edu.policies.sampling import sample_groups
from gnivo_edu.policies.scoring import evaluating, next_token_logps
from gnivo_edu.policies.small import Architecture, small_transformer
from gnivo_edu.training.demonstrations import NO_TARGET, demonstrating, demonstration_rows
from toy_envs import TokenMDP


@dataclass(frozen=True)
class Pretrained:
    """The model, the loss of every step in nats per token, and how it was made."""

    model: PreTrainedModel
    losses: list[float]
    recipe: dict[str, Any]

    def save(self, out: str | PathLike[str]) -> None:
        """Write the model as `save_pretrained` does, and `recipe.json` beside it."""
        folder = output_folder(out)
        with quiet(True):
            self.model.save_pretrained(folder)
        (folder / "recipe.json").write_text(
            json.dumps(self.recipe, indent=2) + "\n", encoding="utf-8"
        )


def pretrain(
    env: Any,
    out: str | PathLike[str] | None = None,
    steps: int = 2400,
    wrong_rate: float = 0.55,
    right_first: float = 0.5,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    warmup: int = 100,
    weight_decay: float = 0.01,
    size: str = "small",
    architecture: Architecture = "qwen2",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Pretrained:
    """Next-token training on demonstrations; the cross-entropy counts the tokens of answers, not
    those of prompts.

        L = - sum_i sum_t log pi(y_t^i | x^i, y_<t^i) / sum_i T_i,   nats per token

    over the V actions. `env`: a token MDP that writes demonstrations: with a method
    `demonstrations` that knows of slips, as `gnivo_edu.tasks.arithmetic.Arithmetic` has, or with
    `demonstration`, the right answer to a prompt, as `toy_envs.ArithmeticChain` has (see
    `TokenMDP.demonstrations`). They are fresh at every step, and `wrong_rate`, 0..1, is what the
    task makes of it; in the first `right_first` of the steps it is 0, since a pupil who first
    learns how to calculate picks up a bad habit sooner than one who has to learn both at once.
    AdamW, gradients clipped at norm 1; the learning rate rises over `warmup` steps and falls along
    half a cosine. float32, on the CPU; the same seed, machine and number of threads give the same
    model. With `out`, the model goes there, and `recipe.json` beside it. Raises ValueError, before
    the first step, on fewer than one step or row, a share outside 0..1, an environment that writes
    no demonstrations, and an `out` that holds a model or cannot be written.

    >>> from gnivo_edu.tasks.arithmetic import Arithmetic
    >>> run = pretrain(Arithmetic(tiers=(2,), num_prompts=10), steps=3, batch_size=4, size="tiny")
    >>> len(run.losses), run.model.dtype
    (3, torch.float32)
    """
    task: TokenMDP = env.unwrapped
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps and batch_size must be at least 1, got {steps} and {batch_size}")
    if not 0 <= right_first <= 1 or not 0 <= wrong_rate <= 1:
        raise ValueError(
            f"wrong_rate and right_first must be in 0..1, got {wrong_rate} and {right_first}"
        )
    model = small_transformer(task, size, architecture=architecture, seed=seed)
    if out is not None:
        make_room(out)
    optimiser = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=weight_decay)
    schedule = get_cosine_schedule_with_warmup(optimiser, min(warmup, steps // 2), steps)
    prompts = [ids[mask] for ids, mask in zip(task.prompts(), task.prompt_mask(), strict=True)]
    losses: list[float] = []
    start = time.perf_counter()
    model.train()
    for step in range(steps):
        rate = wrong_rate if step >= right_first * steps else 0.0
        # A seed of its own for every step.
        seed_of_step = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
        tokens, lengths, index = task.demonstrations(batch_size, rate, seed=seed_of_step)
        inputs, targets = demonstration_rows(
            [prompts[i] for i in index], tokens, lengths=lengths, pad_token_id=task.pad_token_id
        )
        logits = model(input_ids=inputs, use_cache=False).logits[..., : task.vocab_size]
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if progress:
            progress(f"step {step + 1} of {steps}: {losses[-1]:.3f} nats a token")
    recipe = {
        "task": task.name,
        "prompts": len(prompts),
        "steps": steps,
        "wrong_rate": wrong_rate,
        "right_first": right_first,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "warmup": warmup,
        "weight_decay": weight_decay,
        "size": size,
        "architecture": architecture,
        "seed": seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "nats_per_token": float(np.mean(losses[-100:])),
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    run = Pretrained(model.eval(), losses, recipe=recipe)
    if out is not None:
        run.save(out)
    return run


def pretrain_arithmetic(
    out: str | PathLike[str] | None = None,
    tiers: Sequence[int] = (2, 3, 4),
    test_tiers: Sequence[int] = (2, 4, 8),
    num_prompts: int = 20_000,
    progress: Callable[[str], None] | None = None,
    **settings: Any,
) -> Pretrained:
    """The recipe of the checkpoint that ships: chains of sums, and a pupil that drops carries and
    forgets to borrow.

    Trains on `num_prompts` questions of each of the `tiers`, and puts on record the share of right
    answers to the test questions of `test_tiers` (`success_rates`). `settings` go to `pretrain`.
    """
    from gnivo_edu.tasks.arithmetic import Arithmetic

    run = pretrain(Arithmetic(tiers, num_prompts), out, progress=progress, **settings)
    rates = {}
    for tier in test_tiers:
        if progress:
            progress(f"answering the test questions of tier {tier}")
        rates[str(tier)] = success_rates(run.model, Arithmetic((tier,), split="test"))
    return _with_recipe(run, out, tiers=list(tiers), right_answers=rates)


def pretrain_task(
    name: str,
    out: str | PathLike[str] | None = None,
    task_options: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
    **settings: Any,
) -> Pretrained:
    """`pretrain` on a task or toy environment by its name, with its success rates on its own
    prompts on record.

    `task_options` go to the task, `settings` to `pretrain`. Raises ValueError, in one line that
    lists those that do, on a task that writes no demonstrations.
    """
    env = demonstrating(name, task_options)
    run = pretrain(env, out, progress=progress, **settings)
    rates, options = success_rates(run.model, env), dict(task_options or {})
    return _with_recipe(run, out, task=name, task_options=options, right_answers=rates)


def _with_recipe(run: Pretrained, out: str | PathLike[str] | None, **more: Any) -> Pretrained:
    """The run with more on record, written once again."""
    run = replace(run, recipe=run.recipe | more)
    if out is not None:
        run.save(out)
    return run


def make_room(out: str | PathLike[str]) -> None:
    """Make the folder a model will go to; ValueError where one is there already, or nothing can be
    written.
    """
    folder = output_folder(out)
    files = ("config.json", "recipe.json", "model.safetensors")
    try:
        if any((folder / name).exists() for name in files):
            raise ValueError(f"{str(out)!r} holds a model: choose another folder, or delete it")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{str(out)!r} cannot hold a model ({error.strerror}): choose another folder"
        ) from error


def success_rates(
    policy: nn.Module, mdp: TokenMDP, samples: int = 4, seed: int = 0
) -> dict[str, float]:
    """Mean reward over all prompts: `sampled`, of `samples` answers each at temperature 1; and
    `greedy`.

    `sampled_error` is the standard error of `sampled` over prompts. Raises ValueError on prompts of
    unequal length.

    >>> from gnivo_edu.tasks.arithmetic import Arithmetic
    >>> task = Arithmetic(tiers=(2,), num_prompts=3)
    >>> sorted(success_rates(small_transformer(task, "tiny"), task))
    ['greedy', 'sampled', 'sampled_error']
    """
    if not mdp.prompt_mask().all():
        raise ValueError("the prompts are of unequal length: measure one tier at a time")
    every = torch.arange(len(mdp.prompts()))
    generator = torch.Generator().manual_seed(seed)
    groups = sample_groups(policy, mdp, group_size=samples, prompt_index=every, generator=generator)
    by_prompt = groups.rewards(mdp).numpy().mean(1)
    greedy = _greedy(policy, mdp, prompts=every).numpy()
    return {
        "sampled": float(by_prompt.mean()),
        "sampled_error": float(by_prompt.std() / len(every) ** 0.5),
        "greedy": float(mdp.reward(greedy, [mdp.horizon] * len(every), every.numpy()).mean()),
    }


@torch.no_grad()
def _greedy(policy: nn.Module, mdp: TokenMDP, prompts: Tensor) -> Tensor:
    """The most probable token at every step, [N, T]; rewards ignore what follows the
    end-of-sequence token.
    """
    tokens = torch.zeros(len(prompts), 0, dtype=torch.long)
    with evaluating(policy):
        for _ in range(mdp.horizon):
            best = next_token_logps(policy, mdp, prefixes=tokens, prompt_index=prompts)[
                :, -1
            ].argmax(-1)
            tokens = torch.cat([tokens, best[:, None]], 1)
    return tokens
