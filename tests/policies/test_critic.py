"""Critics: 0 at the start, one number per state, and where their gradient goes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from gnivo_edu.policies import Critic, TabularLM, load_critic, score_rows, weighted_rows
from gnivo_edu.policies.critic import CONFIG, write_critic
from tests.training.small_transformer import small_transformer
from tests.training.two_pass_world import MDP, V

TOKENS = torch.tensor([[1, 2, 3, 0, 0], [2, 2, 0, 1, 1]])
LENGTHS, PROMPTS = torch.tensor([3, 5]), torch.tensor([0, 1])
ANSWERS = (MDP, TOKENS, LENGTHS, PROMPTS)


def policy_of(kind: str, seed: int = 1) -> Any:
    return TabularLM.from_mdp(MDP, seed=seed) if kind == "table" else small_transformer(MDP, kind)


def taught(critic: Critic) -> Critic:
    """With other weights than 0."""
    for p in critic.trained().values():
        torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(3))
    return critic


@pytest.mark.parametrize(
    ("policy", "kind", "reaches"),
    [
        ("table", "probe", False),
        ("table", "network", False),
        ("qwen2", "probe", False),
        ("qwen2", "network", False),
        ("qwen2", "head", True),
    ],
)
def test_it_knows_nothing_at_the_start_and_its_gradient_goes_where_it_says(
    policy: str, kind: Any, reaches: bool
) -> None:
    model = policy_of(policy)
    critic = Critic(model, kind)
    value = critic(model, *ANSWERS)
    assert value.shape == TOKENS.shape
    assert value.dtype == torch.float64
    assert not value.any()
    taught(critic)(model, *ANSWERS).square().sum().backward()
    # The last layers of a body have one thing that no value moves: nothing else may.
    moved = [p.grad is not None and bool(p.grad.any()) for p in critic.trained().values()]
    assert all(moved)
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.parameters()) == reaches


@pytest.mark.parametrize("kind", ["probe", "head", "network"])
def test_of_a_transformer_it_is_linear_in_the_hidden_states_of_its_body(kind: Any) -> None:
    policy = policy_of("qwen2")
    critic = Critic(policy, kind)
    torch.nn.init.constant_(critic.head.weight, 0.5)
    torch.nn.init.constant_(critic.head.bias, 2.0)
    body = policy.model
    if kind == "network":
        # A copy: it may go elsewhere, and the policy stays.
        assert critic.body is not None
        body = critic.body
        with torch.no_grad():
            body.embed_tokens.weight += 0.1
        assert not torch.equal(body.embed_tokens.weight, policy.model.embed_tokens.weight)
    value = critic(policy, *ANSWERS)
    for row, (length, prompt) in enumerate(zip((3, 5), ([V, 0], [V, 1]), strict=True)):
        ids = torch.tensor([prompt + TOKENS[row, : length - 1].tolist()])
        hidden = body(input_ids=ids).last_hidden_state[0, 1:]
        expected = torch.zeros(5, dtype=torch.float64)
        expected[:length] = 0.5 * hidden.sum(-1) + 2
        torch.testing.assert_close(value[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["probe", "head"])
def test_on_the_policys_body_it_needs_no_pass_of_its_own(kind: Any) -> None:
    policy = policy_of("llama")
    critic = taught(Critic(policy, kind))
    value = critic(policy, *ANSWERS)  # the first time that a model is seen it is looked at
    passes: list[object] = []
    hook = policy.model.register_forward_hook(lambda *call: passes.append(call))
    scored = score_rows(policy, *ANSWERS, read=critic.read)
    passes_of_one = len(passes)
    hook.remove()
    torch.testing.assert_close(scored["values"], value, rtol=0, atol=1e-12)
    coefficients = {"policy_logps": TOKENS.double(), "values": TOKENS.double() + 1}
    total = weighted_rows(policy, *ANSWERS, coefficients, read=critic.read)
    terms = [(c * scored[name]).sum() for name, c in coefficients.items()]
    torch.testing.assert_close(total, terms[0] + terms[1], rtol=0, atol=1e-12)
    assert passes_of_one == 1


def test_of_a_table_it_has_an_entry_for_each_prefix() -> None:
    policy = policy_of("table").float()
    critic = Critic(policy)
    assert critic.table is not None
    assert critic.table.logits.dtype == torch.float32
    with torch.no_grad():
        critic.table.logits[0, 2, 0] = 3.0  # after the answer's first token, which was a 1
    assert critic(policy, *ANSWERS).tolist() == [[0.0, 3.0, 0.0, 0.0, 0.0], [0.0] * 5]


@pytest.mark.parametrize(
    ("policy", "kind"),
    [("table", "probe"), ("qwen2", "probe"), ("qwen2", "head"), ("qwen2", "network")],
)
def test_what_is_written_is_what_is_loaded(policy: str, kind: Any, tmp_path) -> None:
    model = policy_of(policy)
    critic = taught(Critic(model, kind))
    write_critic(critic, tmp_path)
    loaded = load_critic(tmp_path, model)
    assert loaded.kind == kind
    assert torch.equal(loaded(model, *ANSWERS), critic(model, *ANSWERS))
    assert not any(p.requires_grad for p in loaded.parameters())


def test_what_is_no_critic_or_another_policys_is_said_in_one_line(tmp_path) -> None:
    table, qwen2 = policy_of("table"), policy_of("qwen2")
    with pytest.raises(ValueError, match="set critic=probe, which is a table here"):
        Critic(table, "head")
    with pytest.raises(ValueError, match="critic must be one of network, head, probe, got 'body'"):
        Critic(qwen2, "body")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hidden states, and Linear has a head over none"):
        Critic(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}' holds no critic"):
        load_critic(tmp_path, qwen2)
    write_critic(Critic(table), tmp_path)
    with pytest.raises(ValueError, match=r"its head.bias is absent there and \[1\] here"):
        load_critic(tmp_path, qwen2)
    (tmp_path / CONFIG).write_text("[1]")
    with pytest.raises(ValueError, match="holds no critic") as error:
        load_critic(tmp_path, table)
    assert "\n" not in str(error.value)
