"""What an objective asks of its batch beyond log-probabilities and rewards: found out by asking
it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput

ASKED_FOR = ("policy_kl", "prefix_values", "values", "log_z", "step_ids", "entropy")


def needs(
    objective: Callable[..., LossOutput], options: dict[str, Any], group_size: int
) -> set[str]:
    """Names of the optional fields of GroupBatch without which the objective raises, with these
    settings.

    It is run on a small batch; whatever its error names is added, until it runs. Raises its error,
    in one line, where nothing more can be added: settings that do not exist, groups of one.

    >>> from gnivo_edu import objectives
    >>> sorted(needs(objectives.vimpo, {}, 2)), sorted(needs(objectives.ppo, {"alpha": 0.1}, 1))
    (['policy_kl'], ['values'])
    """
    shape = (1, group_size, 2)
    logps = torch.full(shape, 0.5, dtype=torch.float64).log()
    available = {
        "step_ids": torch.tensor([0, 1]).expand(shape),
        "log_z": torch.zeros(1, dtype=torch.float64),
        **{
            name: torch.zeros(shape, dtype=torch.float64)
            for name in ASKED_FOR
            if name not in ("step_ids", "log_z")
        },
    }
    given: dict[str, torch.Tensor] = {}
    while True:
        batch = GroupBatch(
            policy_logps=logps,
            behaviour_logps=logps,
            rewards=torch.linspace(0, 1e-3, group_size, dtype=torch.float64)[
                None
            ],  # small: no weight overflows
            mask=torch.ones(shape, dtype=torch.bool),
            **given,
        )
        try:
            objective(batch, **options)
        except TypeError as error:
            raise ValueError(f"objective_options do not fit the objective: {error}") from error
        except ValueError as error:
            missing = [name for name in ASKED_FOR if name in str(error) and name not in given]
            if not missing:
                raise
            given[missing[0]] = available[missing[0]]
            continue
        return set(given)
