"""What the settings of a run mean together: the learning rate of a step, the loss, what the
objective asks of its batch, alpha, and what does not fit.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.batch import GroupBatch, MissingField
from gnivo_edu.objectives import LossOutput
from gnivo_edu.training.answer_file import check_file
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.depths import takes_depths
from gnivo_edu.training.kl_penalty import kl_of_answers


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


def loss_of(
    objective: Callable[..., LossOutput], config: TrainConfig
) -> Callable[[GroupBatch], LossOutput]:
    """The loss that a run minimises, by the objective's name: the objective at the level asked for,
    plus `kl_to_initial` times the KL to the initial model (`kl_of_answers`). It takes what is drawn
    for the objective, `depths`, as a keyword.
    """

    @wraps(objective)
    def loss(batch: GroupBatch, **drawn: Tensor) -> LossOutput:
        acted = batch.by_step() if config.level == "step" else batch
        out = objective(acted, **config.objective_options, **drawn)
        if not config.kl_to_initial:
            return out
        kl = kl_of_answers(batch, config.kl_gradient)
        return LossOutput(
            out.loss + config.kl_to_initial * kl, {**out.metrics, "kl_to_initial": kl.detach()}
        )

    return loss


def needs(
    objective: Callable[..., LossOutput], options: dict[str, Any], group_size: int
) -> set[str]:
    """Names of the optional fields of GroupBatch without which the objective raises, with these
    settings; "depths" where they are to be drawn for it; and "behaviour_values" where it reads them
    beside `values`.

    It is run on a small batch; the field that it misses is added, until it runs. Raises its error,
    in one line, where nothing more can be added: settings that do not exist, groups of one.

    >>> from gnivo_edu import objectives
    >>> sorted(needs(objectives.vimpo, {}, 2)), sorted(needs(objectives.ppo, {"alpha": 0.1}, 1))
    (['policy_kl'], ['behaviour_values', 'values'])
    """
    batch, fields, drawn = _small_batch(objective, options, group_size)
    noted: set[str] = set()
    if "values" in fields and _reads_old_values(objective, options | drawn, batch):
        noted = {"behaviour_values"}
    return {*fields, *drawn, *noted}


def reads_writers(
    objective: Callable[..., LossOutput], options: dict[str, Any], group_size: int
) -> bool:
    """Whether the gradient depends on `behaviour_logps`, the writers' log-probabilities, other than
    through a reference that is the writer: as in a ratio pi/pi_writer, or a KL that is paid for
    with it.

    >>> from gnivo_edu import objectives
    >>> [reads_writers(objectives.get(name), {}, 2) for name in ("gnivo", "gvpo", "grpo", "rloo")]
    [False, False, True, True]
    """
    batch, _, drawn = _small_batch(objective, options, group_size)
    # Of another size for each token of each answer, so that no mean of a group takes it out, and
    # within any clip.
    spread = torch.linspace(0.0, 0.05, batch.mask.numel(), dtype=torch.float64).view(
        batch.mask.shape
    )
    rewards = batch.rewards + 1e-3
    gradients: list[Tensor] = []
    for gap in (torch.zeros_like(spread), spread):
        logps = batch.policy_logps.clone().requires_grad_()
        other = {"policy_logps": logps, "behaviour_logps": batch.behaviour_logps - gap}
        out = objective(replace(batch, rewards=rewards, **other), **options, **drawn)
        if not out.loss.requires_grad:
            return False
        gradients += torch.autograd.grad(out.loss, [logps], materialize_grads=True)
    return not torch.equal(*gradients)


def _small_batch(
    objective: Callable[..., LossOutput], options: dict[str, Any], group_size: int
) -> tuple[GroupBatch, set[str], dict[str, Tensor]]:
    """A batch that the objective takes, the names of the optional fields that it has to have, and
    what is drawn for it. See `needs`.
    """
    shape = (1, group_size, 2)
    zeros = torch.zeros(shape, dtype=torch.float64)
    available = {name: zeros for name in ("policy_kl", "prefix_values", "values", "entropy")}
    available |= {"step_ids": torch.tensor([0, 1]).expand(shape), "log_z": zeros[:, 0, 0]}
    fields: dict[str, torch.Tensor] = {}
    drawn = {"depths": torch.ones(1, dtype=torch.int64)} if takes_depths(objective, options) else {}
    while True:
        batch = GroupBatch(
            policy_logps=zeros - 0.7,
            behaviour_logps=zeros - 0.7,
            # Small rewards, so that no weight exp(R/alpha) overflows.
            rewards=torch.linspace(0, 1e-3, group_size, dtype=torch.float64)[None],
            mask=zeros == 0,
            **fields,
        )
        try:
            objective(batch, **options, **drawn)
            return batch, {*fields}, drawn
        except MissingField as error:
            if error.field not in available:
                raise
            fields[error.field] = available.pop(error.field)
        except TypeError as error:
            raise ValueError(f"objective_options do not fit the objective: {error}") from error


def _reads_old_values(
    objective: Callable[..., LossOutput], options: dict[str, Any], batch: GroupBatch
) -> bool:
    """Whether the loss depends on what the critic said of the answers when they were drawn: then a
    number shows that is too large to go unseen, or the objective refuses it.
    """
    huge = replace(batch, behaviour_values=torch.full_like(batch.policy_logps, 1e200))
    try:
        losses = [objective(noted, **options).loss for noted in (batch, huge)]
    except ValueError:
        return True
    return not torch.equal(*losses)


def check_settings(config: TrainConfig, fields: set[str], world: int) -> None:
    """ValueError, in one line, on settings that exclude each other; `fields`: what the objective
    needs of its batch.
    """
    if "prefix_values" in fields:
        raise ValueError(
            f"{config.objective} fits an explicit V_theta and moves no policy: train with gnivo "
            "instead"
        )
    if config.kl_to_initial and "policy_kl" in fields and config.reference != "initial":
        raise ValueError(
            f"{config.objective} has a KL of its own: with kl_to_initial, set reference=initial"
        )
    if config.kl_top_k and (config.kl_to_initial or "policy_kl" not in fields):
        raise ValueError(
            "kl_to_initial is an exact KL: leave kl_top_k at null"
            if config.kl_to_initial
            else f"{config.objective} takes no KL of whole laws: leave kl_top_k at null"
        )
    if config.kl_gradient != "states" and not config.kl_to_initial:
        raise ValueError(
            f"kl_gradient={config.kl_gradient} is the gradient of kl_to_initial, which is 0: set "
            "kl_to_initial, or leave kl_gradient out"
        )
    if config.critic != "probe" and not {"values", "log_z"} & fields:
        raise ValueError(f"{config.objective} has no critic: leave critic={config.critic} out")
    if config.data is not None:
        check_file(config.data)
    if config.prompts_per_step < world:
        raise ValueError(
            f"prompts_per_step={config.prompts_per_step} leaves some of the {world} processes "
            "without a prompt: raise it, or launch fewer"
        )


def option_of(objective: Callable[..., Any], config: TrainConfig, name: str) -> float | None:
    """A number that the objective takes, such as alpha: as it is set, else its default; None if it
    takes none.

    >>> from gnivo_edu import objectives
    >>> config = TrainConfig(objective_options={"alpha": 0.3})
    >>> [option_of(objectives.rloo, config, name) for name in ("alpha", "clip_low", "horizon")]
    [0.3, 0.2, None]
    """
    parameter = inspect.signature(objective).parameters.get(name)
    default = parameter.default if parameter else None
    value = config.objective_options.get(name, default)
    return None if value is None else float(value)


def reward_name(config: TrainConfig) -> str:
    """What the reward is called in `rewards/<name>/mean`: its own name where the task is given one,
    else the task's.

    >>> reward_name(TrainConfig(task="toy_envs/Brackets-v0"))
    'Brackets-v0'
    >>> reward_name(TrainConfig(task="stories", task_options={"reward": "my:own"}))
    'own'
    """
    reward = config.task_options.get("reward")
    name = reward if isinstance(reward, str) else config.task
    return name.rpartition("/")[2].rpartition(":")[2]
