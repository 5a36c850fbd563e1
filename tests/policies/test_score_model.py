"""Scores of given answers under every kind of policy are those of their logits, padding or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnivo_edu import objectives
from gnivo_edu.policies import (
    TabularLM,
    load_model,
    make_group_batch,
    next_token_logps,
    sample_groups,
)
from gnivo_edu.policies.dense import FIELDS
from gnivo_edu.policies.score_model import score_rows, two_pass_scorers, weighted_rows
from gnivo_edu.training import two_pass_step
from tests.policies.head_laws import gap
from tests.training.small_transformer import small_transformer
from toy_envs import TokenMDP

MDP = TokenMDP(
    4, 4, reward=lambda tokens, lengths: tokens[:, 0] / 3, eos_token_id=3, prompts=[[4, 0], [4, 1]]
)
TOKENS = torch.tensor([[0, 1, 3, 5], [1, 2, 0, 2], [3, -100, 9, 9]])
LENGTHS, INDEX = torch.tensor([3, 4, 1]), torch.tensor([0, 1, 1])


def by_logits(policy: nn.Module, reference: nn.Module) -> dict[str, Tensor]:
    """The definition, token by token."""
    out = {name: torch.zeros(3, 4, dtype=torch.float64) for name in FIELDS}
    for i, t in (LENGTHS[:, None] > torch.arange(4)).nonzero().tolist():
        p, q = (
            next_token_logps(model, MDP, TOKENS[i : i + 1, :t], INDEX[i])[0, -1]
            for model in (policy, reference)
        )
        own = (p[TOKENS[i, t]], -(p.exp() * p).sum(), (p.exp() * (p - q.detach())).sum())
        for name, value in zip(FIELDS, own, strict=True):
            out[name] = out[name].index_put((torch.tensor(i), torch.tensor(t)), value)
    return out


@pytest.mark.parametrize("kind", ["table", "qwen2", "llama", "qwen2 and table"])
def test_one_function_scores_every_kind_of_policy(kind: str) -> None:
    policy = (
        TabularLM.from_mdp(MDP, seed=0)
        if kind == "table"
        else small_transformer(MDP, kind.split()[0]).eval()
    )
    table = kind.endswith("table")
    reference = TabularLM.from_mdp(MDP, seed=5) if table else small_transformer(MDP, seed=5).eval()
    expected = by_logits(policy, reference)
    g = torch.Generator().manual_seed(0)
    cs = {name: torch.randn(3, 4, generator=g, dtype=torch.float64) for name in FIELDS}
    parameters = list(policy.parameters())
    true = torch.autograd.grad(sum((cs[k] * expected[k]).sum() for k in FIELDS), parameters)
    for chunk in (None, 1, 3):
        ours = score_rows(policy, MDP, TOKENS, LENGTHS, INDEX, reference, chunk=chunk)
        assert list(ours) == list(FIELDS)
        assert gap(ours.values(), [expected[name] for name in FIELDS]) < 1e-12
        assert ours["entropy"].dtype == torch.float64
        assert (
            gap(torch.autograd.grad(sum((cs[k] * ours[k]).sum() for k in FIELDS), parameters), true)
            < 1e-12
        )
        total = weighted_rows(policy, MDP, TOKENS, LENGTHS, INDEX, cs, reference, chunk=chunk)
        assert gap(torch.autograd.grad(total, parameters), true) < 1e-12
    law = [policy, MDP, TOKENS, LENGTHS, INDEX]
    rough = score_rows(*law, reference, kl_top_k=2)
    assert gap([rough["policy_kl"]], [expected["policy_kl"]]) > 1e-3
    slopes = torch.autograd.grad((cs["policy_kl"] * rough["policy_kl"]).sum(), parameters)
    known = {"policy_kl": cs["policy_kl"]}
    total = weighted_rows(*law, known, reference, kl_top_k=2)
    assert gap(torch.autograd.grad(total, parameters), slopes) < 1e-12
    without = score_rows(policy, MDP, TOKENS, LENGTHS, INDEX, fields=("policy_logps",))
    assert list(without) == ["policy_logps"]


@pytest.mark.parametrize("kind", ["table", "qwen2"])
def test_temperature_is_that_of_both_laws(kind: str) -> None:
    policy = TabularLM.from_mdp(MDP, seed=0) if kind == "table" else small_transformer(MDP).eval()
    ours = score_rows(policy, MDP, TOKENS, LENGTHS, INDEX, policy, temperature=0.5)
    law = (2 * next_token_logps(policy, MDP, TOKENS[:2, :3], INDEX[:2])).log_softmax(-1)
    assert (
        float((ours["policy_logps"][1] - law[1].gather(1, TOKENS[1, :, None])[:, 0]).abs().max())
        < 1e-12
    )
    assert float(ours["policy_kl"].abs().max()) < 1e-12


def test_the_second_pass_needs_no_score() -> None:
    policy, reference = small_transformer(MDP, dropout=0.3).train(), small_transformer(MDP, seed=1)
    samples = sample_groups(policy, MDP, 4, [0, 1], torch.Generator().manual_seed(0))
    batch = make_group_batch(policy, MDP, samples, reference)
    score, weighted_sum = two_pass_scorers(policy, MDP, samples, reference)
    assert gap([score(torch.arange(8))["policy_logps"]], [samples.logps.view(8, 4)]) < 1e-12
    gradients = []
    for own in (None, weighted_sum):
        policy.zero_grad()
        out = two_pass_step(
            objectives.grpo, batch, score, 3, weighted_sum=own, kl="exact", scale="none"
        )
        gradients.append([p.grad.clone() for p in policy.parameters()])
    assert float(out.loss) != 0
    assert gap(*gradients) < 1e-12
    with pytest.raises(ValueError, match="depends on values, which is not scored here"):
        weighted_sum(torch.tensor([0]), {"values": torch.ones(1, 4)})
    with pytest.raises(ValueError, match="policy_kl, which is not scored here: give a reference"):
        two_pass_scorers(policy, MDP, samples)[1](
            torch.tensor([0]), {"policy_kl": torch.ones(1, 4)}
        )


class Padded:
    """A task of prompts of different lengths, padded on the left."""

    vocab_size, pad_token_id = 4, 5

    def __init__(self, prompts: list[list[int]], width: int) -> None:
        self.rows, self.width = prompts, width

    def prompts(self) -> np.ndarray:
        return np.array([[5] * (self.width - len(row)) + row for row in self.rows])

    def prompt_mask(self) -> np.ndarray:
        return np.array([[0] * (self.width - len(row)) + [1] * len(row) for row in self.rows])


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_left_padding_does_not_change_scores(kind: str) -> None:
    policy, reference = small_transformer(MDP, kind).eval(), small_transformer(MDP, seed=2).eval()
    prompts = [[4, 0, 1, 2], [4], [4, 2]]
    together = score_rows(policy, Padded(prompts, 6), TOKENS, LENGTHS, torch.arange(3), reference)
    for i, prompt in enumerate(prompts):
        row = slice(i, i + 1)
        alone = score_rows(
            policy, Padded([prompt], len(prompt)), TOKENS[row], LENGTHS[row], 0, reference
        )
        assert gap([together[name][row] for name in FIELDS], alone.values()) < 1e-12
    by_hand = policy(torch.tensor([[4, 2]])).logits[0, -1, :4].log_softmax(-1)[3]
    assert abs(float(together["policy_logps"][2, 0] - by_hand)) < 1e-12


def test_eager_attention_which_gives_nan_on_padding_is_run_without_padding() -> None:
    asked = Padded([[4, 0], [4]], 2), TOKENS[:2], LENGTHS[:2], torch.arange(2)
    plain = small_transformer(MDP)
    eager = small_transformer(MDP)
    eager.set_attn_implementation("eager")
    scores, expected = (score_rows(model, *asked)["policy_logps"] for model in (eager, plain))
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)  # its softmax is float32


def test_padding_that_would_go_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Padded([[4, 0, 1], [4]], 3)
    for last in ([1, 1, 0], [1, 0, 1]):
        monkeypatch.setattr(task, "prompt_mask", lambda last=last: np.array([[1, 1, 1], last]))
        with pytest.raises(ValueError, match="padded on the left"):
            score_rows(small_transformer(MDP), task, TOKENS[:2], LENGTHS[:2], torch.arange(2))
    with pytest.raises(ValueError, match="6 rows; the task has 9 actions"):
        score_rows(small_transformer(MDP), TokenMDP(9, 4), TOKENS, LENGTHS)


def test_a_pretrained_model_scores_as_its_logits_do(shared_model: str) -> None:
    model, tokenizer = load_model(shared_model, torch.float64)
    texts = ["Once upon a time", "Lily", "One day, a big dog"]
    ids = [
        [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        for text in texts
    ]
    answer = tokenizer(" there was a little girl named Lily.", add_special_tokens=False)[
        "input_ids"
    ]

    class Stories:
        vocab_size, pad_token_id = 512, 0
        width = max(map(len, ids))

        def prompts(self) -> np.ndarray:
            return np.array([[0] * (self.width - len(row)) + row for row in ids])

        def prompt_mask(self) -> np.ndarray:
            return np.array([[0] * (self.width - len(row)) + [1] * len(row) for row in ids])

    tokens, T = torch.tensor([answer] * 3), len(answer)
    found = score_rows(
        model, Stories(), tokens, torch.tensor([T, T, T]), torch.arange(3), model, chunk=5
    )
    for i, row in enumerate(ids):
        law = model(torch.tensor([row + answer])).logits[0, len(row) - 1 : -1].log_softmax(-1)
        # The library's norms work in float32.
        assert (
            float((found["policy_logps"][i] - law.gather(1, tokens[i, :, None])[:, 0]).abs().max())
            < 5e-6
        )
        assert float((found["entropy"][i] + (law.exp() * law).sum(-1)).abs().max()) < 5e-6
    assert float(found["policy_kl"].abs().max()) < 1e-12
    assert found["entropy"].dtype == torch.float64
