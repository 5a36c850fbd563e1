"""The critic of a run, written beside its policy; what it is: `gnivo_edu.policies.critic`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from torch import nn

from gnivo_edu.policies.critic import Critic, load_critic, write_critic
from gnivo_edu.policies.heads import find_head

__all__ = ["Critic", "load_critic", "merged", "save_critic"]


def save_critic(critic: Critic, policy: Any, folder: Path) -> None:
    """Write the critic to `folder`, for `load_critic` and the model that `save_policy` writes: that
    has no adapters any more, so those of the critic's body are merged too.
    """
    if critic.body is not None and hasattr(policy, "merge_and_unload"):
        whole = Critic(merged(policy, critic.body), "network", unit=critic.unit)
        whole.head.load_state_dict(critic.head.state_dict())
        critic = whole
    write_critic(critic, folder)


def merged(policy: Any, body: nn.Module | None = None) -> Any:
    """A copy of a policy, in main memory, with its adapters merged into its weights: its own, or
    those of another `body` of its kind. Merging rounds, and the run's own weights stay as they are.
    """
    weights = {id(p): p for p in policy.parameters()}
    if body is not None:
        backbone, _ = find_head(policy)
        pairs = zip(backbone.parameters(), body.parameters(), strict=True)
        weights |= {id(here): there for here, there in pairs}
    copies = {key: nn.Parameter(p.detach().to("cpu", copy=True)) for key, p in weights.items()}
    return copy.deepcopy(policy, copies).merge_and_unload()
