"""What the settings of a run mean together: the loss and the KL that it may have in it, what the
objective asks of its batch, alpha, and what does not fit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.batch import GroupBatch, MissingField
from gnivo_edu.names import one_line, shown
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.surrogate import average, needed, suffix_sums
from gnivo_edu.training.config import KLGradient, TrainConfig
from gnivo_edu.training.stock import unreadable
from toy_envs import TokenMDP


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


def kl_of_answers(batch: GroupBatch, gradient: KLGradient) -> Float[Tensor, ""]:
    """Mean over answers of sum_t D_t, nats; D_t = KL(pi || pi_0) of the law of token t, which is
    `policy_kl`.

        KL(pi || pi_0) of answers = E_pi sum_t D_t,
        its gradient = E_pi [ sum_t grad D_t + sum_l (sum_{t > l} D_t) grad log pi(y_l) ].

    The second sum is there because a token chooses the states that come after it. `gradient`:
    "answers" has both sums: on answers of the policy itself it is, on average, the gradient of that
    KL. "states" has the first alone: the states are held where they were met, and with a reward the
    run rests where no token pays for the KL of later ones (VIMPO's pi_V). Both have the same value.
    On answers of another policy (of the reference, of earlier steps, or after the first of several
    updates) both are means along its answers, without importance weights, and neither is the
    gradient of a KL of answers.

    >>> import torch
    >>> half = torch.full((1, 1, 2), 0.5).log()
    >>> batch = GroupBatch(
    ...     policy_logps=half.requires_grad_(), behaviour_logps=half.detach(), mask=half < 0,
    ...     rewards=torch.zeros(1, 1), policy_kl=torch.tensor([[[0.1, 0.3]]]),
    ... )
    >>> kl_of_answers(batch, "answers").backward()  # the first token pays for the second one's KL
    >>> half.grad
    tensor([[[0.3000, 0.0000]]])
    """
    kl = needed(batch, "policy_kl", name="kl_to_initial")
    if gradient == "answers":
        later = suffix_sums(kl.detach(), 1.0) - kl.detach()
        score = later * batch.policy_logps.masked_fill(batch.outside, 0.0)
        kl = kl + score - score.detach()  # a gradient, and no value
    # Of whole answers, so that its coefficient is a price per nat, like alpha.
    return average(batch, kl, normaliser="seq-mean-token-sum")


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
    _check_loss(objective, options | drawn, batch)
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


def takes_depths(objective: Callable[..., Any], options: Mapping[str, Any]) -> bool:
    """Whether an objective with these options is to be given depths: `prefixes` is "given", and
    nobody has given them yet.

    >>> from gnivo_edu import objectives
    >>> [takes_depths(objectives.gnivo, {"prefixes": kind}) for kind in ("given", "all")]
    [True, False]
    """
    parameters = inspect.signature(objective).parameters
    if "depths" not in parameters or "prefixes" not in parameters:
        return False
    prefixes = options.get("prefixes", parameters["prefixes"].default)
    return bool(prefixes == "given") and parameters["depths"].default is None


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
        except ValueError:
            raise
        except Exception as error:  # a loss of somebody's own may raise anything
            raise ValueError(
                f"{_name(objective)} raised {one_line(error)} on a record [N, K, T] = {list(shape)}"
            ) from error


def _check_loss(
    objective: Callable[..., LossOutput], options: dict[str, Any], batch: GroupBatch
) -> None:
    """ValueError, in one line, where a loss is no number, or nothing would be learned from it."""
    fields = {name: getattr(batch, name) for name in ("policy_logps", "policy_kl", "entropy")}
    live = {name: x.clone().requires_grad_() for name, x in fields.items() if x is not None}
    loss = objective(replace(batch, **live), **options).loss
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise ValueError(
            f"{_name(objective)} returns {shown(loss)}: return the loss as a tensor of one number, "
            "or a LossOutput"
        )
    if not loss.requires_grad and batch.prefix_values is None:
        raise ValueError(
            f"the loss of {_name(objective)} does not depend on policy_logps, so that nothing "
            "would be learned: leave out .detach(), .item() and torch.no_grad() on its way"
        )


def _name(objective: Callable[..., Any]) -> str:
    return getattr(objective, "__name__", "the objective")


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
        try:
            Path(config.data).stat()
        except OSError as error:
            raise unreadable(error) from error
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


def check_horizon(config: TrainConfig, task: TokenMDP) -> None:
    """ValueError, in one line, where answers of a task may be longer than the option `horizon` of
    the objective, in tokens. By steps of the task it may be smaller.
    """
    horizon = config.objective_options.get("horizon")
    if horizon is not None and config.level == "token" and horizon < task.horizon:
        raise ValueError(
            f"horizon={horizon}, but an answer to {task.name} may have {task.horizon} tokens: set "
            "it to that or more, or leave it out"
        )


def check_known(
    objective: Callable[..., LossOutput], config: TrainConfig, unknown: Sequence[str]
) -> None:
    """ValueError, in one line, where the objective weighs answers by their writer's
    log-probabilities, and nobody says what they are; `unknown`: whose are not known.
    """
    if not unknown or config.data_writer == "reference":
        return
    if reads_writers(objective, config.objective_options, group_size=config.group_size):
        give = "give logps in each row of the file, or " if unknown == ["data"] else ""
        raise ValueError(
            f"{config.objective} reads the log-probabilities of who wrote an answer, which "
            f"{' and '.join(unknown)} do not have: {give}set data_writer=reference to take the "
            "reference for their writer"
        )
