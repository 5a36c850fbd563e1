"""Critics for the objectives that want one (PPO, DRO, OREO) and for an explicit log Z: small,
beside the policy.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from gnivo_edu.policies import TabularLM


class Critic(nn.Module):
    """One number per state, before each token: linear in the policy's own hidden states, which it
    does not train.

    Reward units for `values`, nats for log Z; 0 at the start. For a TabularLM, which has no hidden
    states, a table with one entry per prefix.
    """

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        inner: Any = policy.get_base_model() if hasattr(policy, "get_base_model") else policy  # type: ignore[operator]
        dtype = next(policy.parameters()).dtype
        self.table = TabularLM(inner.config) if isinstance(inner, TabularLM) else None
        if self.table is not None:
            self.table.logits.data = self.table.logits.data.to(dtype)
        else:
            assert isinstance(inner, PreTrainedModel)
            wide = torch.promote_types(dtype, torch.float32)
            self.head = nn.Linear(inner.config.hidden_size, 1, dtype=wide)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(
        self,
        policy: nn.Module,
        input_ids: Int[Tensor, "B L"],
        attention_mask: Bool[Tensor, "B L"],
        first: int,
    ) -> Float[Tensor, "B T"]:
        """Values at positions first..L-1: of the state after each of them."""
        if self.table is not None:
            out = self.table(input_ids=input_ids, attention_mask=attention_mask)
            return out.logits[:, first:, 0]
        inner: Any = policy.get_base_model() if hasattr(policy, "get_base_model") else policy  # type: ignore[operator]
        with torch.no_grad():
            out = inner.base_model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            )
        hidden: Tensor = out.last_hidden_state[:, first:]
        # Values are compared with rewards: not in bfloat16.
        with torch.autocast(hidden.device.type, enabled=False):
            value: Tensor = self.head(hidden.to(self.head.weight.dtype))[..., 0]
        return value
