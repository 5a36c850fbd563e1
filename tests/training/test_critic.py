"""The critic: 0 at the start, one number per state, and no gradient into the policy."""

from __future__ import annotations

import pytest
import torch

from gnivo_edu.policies import TabularLM
from gnivo_edu.training.critic import Critic
from tests.training.small_transformer import small_transformer
from tests.training.two_pass_world import MDP

IDS = torch.tensor([[4, 0, 1, 2], [4, 1, 2, 2]])
SEEN = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]], dtype=torch.bool)


@pytest.mark.parametrize("kind", ["table", "qwen2"])
def test_it_knows_nothing_at_the_start_and_learns_beside_the_policy(kind: str) -> None:
    policy = TabularLM.from_mdp(MDP, seed=1) if kind == "table" else small_transformer(MDP, kind)
    critic = Critic(policy)
    # With two tokens of prompt, the states from the second position on are those before an answer's
    # tokens.
    value = critic(policy, IDS[:1], SEEN[:1], first=1)
    assert value.shape == (1, 3)
    assert value.dtype == torch.float64
    assert not value.any()
    (value - 1).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())
    assert all(p.grad is None for p in policy.parameters())


def test_of_a_transformer_it_is_linear_in_the_hidden_states() -> None:
    policy = small_transformer(MDP)
    critic = Critic(policy)
    torch.nn.init.constant_(critic.head.weight, 0.5)
    torch.nn.init.constant_(critic.head.bias, 2.0)
    value = critic(policy, IDS, SEEN, first=2)
    hidden = policy.model(input_ids=IDS, attention_mask=SEEN).last_hidden_state[:, 2:]
    torch.testing.assert_close(value, 0.5 * hidden.sum(-1) + 2, rtol=0, atol=1e-12)


def test_of_a_table_it_has_an_entry_for_each_prefix() -> None:
    policy = TabularLM.from_mdp(MDP, seed=1).float()
    critic = Critic(policy)
    assert critic.table is not None
    assert critic.table.logits.dtype == torch.float32
    with torch.no_grad():
        critic.table.logits[0, 2, 0] = 3.0  # after the answer's first token, which was a 1
    value = critic(policy, IDS[:1], SEEN[:1], first=1)
    assert value.tolist() == [[0.0, 3.0, 0.0]]
