"""What an objective asks of its batch beyond log-probabilities and rewards: found out by asking
it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gnivo_edu.batch import GroupBatch, MissingField
from gnivo_edu.objectives import LossOutput


def needs(
    objective: Callable[..., LossOutput], options: dict[str, Any], group_size: int
) -> set[str]:
    """Names of the optional fields of GroupBatch without which the objective raises, with these
    settings.

    It is run on a small batch; the field that it misses is added, until it runs. Raises its error,
    in one line, where nothing more can be added: settings that do not exist, groups of one.

    >>> from gnivo_edu import objectives
    >>> sorted(needs(objectives.vimpo, {}, 2)), sorted(needs(objectives.ppo, {"alpha": 0.1}, 1))
    (['policy_kl'], ['values'])
    """
    shape = (1, group_size, 2)
    zeros = torch.zeros(shape, dtype=torch.float64)
    available = {name: zeros for name in ("policy_kl", "prefix_values", "values", "entropy")}
    available |= {"step_ids": torch.tensor([0, 1]).expand(shape), "log_z": zeros[:, 0, 0]}
    given: dict[str, torch.Tensor] = {}
    while True:
        batch = GroupBatch(
            policy_logps=zeros - 0.7,
            behaviour_logps=zeros - 0.7,
            # Small rewards, so that no weight exp(R/alpha) overflows.
            rewards=torch.linspace(0, 1e-3, group_size, dtype=torch.float64)[None],
            mask=zeros == 0,
            **given,
        )
        try:
            objective(batch, **options)
            return set(given)
        except MissingField as error:
            if error.field not in available:
                raise
            given[error.field] = available.pop(error.field)
        except TypeError as error:
            raise ValueError(f"objective_options do not fit the objective: {error}") from error
