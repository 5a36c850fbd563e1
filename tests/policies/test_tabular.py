"""TabularLM: a Hugging Face causal LM like any other, and exactly the tables it is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from gnivo_edu.exact import random_reference, uniform_reference
from gnivo_edu.policies import TabularConfig, TabularLM, tabulate
from toy_envs import TokenMDP

PROMPTS = [[3, 0, 1], [3, 1, 1]]


@pytest.fixture
def mdp() -> TokenMDP:
    return TokenMDP(
        3, 4, reward=lambda tokens, lengths: lengths / 4.0, eos_token_id=2, prompts=PROMPTS
    )


@pytest.fixture
def policy(mdp: TokenMDP) -> TabularLM:
    return TabularLM.from_mdp(mdp, seed=0)


def absorbing(tables: list[np.ndarray], eos: int) -> list[np.ndarray]:
    out = [table.copy() for table in tables]
    for t, table in enumerate(out):
        for number in range(len(table)):
            if eos in [number // 3**d % 3 for d in range(t)]:
                table[number] = [0.0 if a == eos else -np.inf for a in range(3)]
    return out


def test_tabulate_gives_the_tables_back(mdp: TokenMDP) -> None:
    tables = [random_reference(3, 4, seed) for seed in (5, 6)]
    policy = TabularLM.from_tables(mdp, tables)
    for i in (0, 1):
        for given, got in zip(
            absorbing(tables[i], 2), tabulate(policy, mdp, i, batch_size=7), strict=True
        ):
            np.testing.assert_allclose(got, given, rtol=0, atol=1e-13)
    one = TabularLM.from_tables(mdp, tables[0])
    assert torch.equal(one.logits[0], one.logits[1])
    # -inf is a log-probability like another.
    hard = [np.tile([0.0, -np.inf, -np.inf], (3**t, 1)) for t in range(4)]
    np.testing.assert_array_equal(
        tabulate(TabularLM.from_tables(mdp, hard), mdp)[1], absorbing(hard, 2)[1]
    )


def test_logits_position_by_position(mdp: TokenMDP, policy: TabularLM) -> None:
    V = 3
    answer = [0, 1, 1, 0]
    for i, prompt in enumerate(PROMPTS):
        logits = policy(torch.tensor([[4, 4, *prompt, *answer]])).logits[0]
        assert logits.shape == (9, V + 2)
        assert logits.dtype == torch.float64
        assert (logits[:, V:] == -torch.inf).all()
        row, number = 0, 0
        for t in range(4):
            assert torch.equal(logits[4 + t, :V], policy.logits[i, row + number])
            row, number = row + V**t, number * V + answer[t]
        uniform = torch.full((V,), 1 / 3, dtype=torch.float64)
        for position in (0, 1, 2, 3, 8):  # padding, inside the prompt, beyond the horizon
            assert torch.allclose(logits[position, :V].softmax(-1), uniform)
    # Finished: all mass on EOS, whatever follows. Not an action: uniform.
    logits = policy(
        torch.tensor([[*PROMPTS[0], 2, 4, 4], [*PROMPTS[0], 0, 2, 1], [*PROMPTS[0], 4, 0, 0]])
    ).logits
    law = logits[..., :V].softmax(-1)
    eos = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.equal(law[0, 3:], eos.expand(3, 3))
    assert torch.equal(law[1, 4], eos)
    assert torch.allclose(law[2, 3:], uniform.expand(3, 3))


def test_inputs_may_stop_anywhere_and_junk_under_the_mask_is_ignored(policy: TabularLM) -> None:
    whole = policy(torch.tensor([[*PROMPTS[1], 0, 1, 0]])).logits
    for length in range(1, 7):
        ids = torch.tensor([[*PROMPTS[1], 0, 1, 0]])[:, :length]
        assert torch.equal(policy(ids).logits, whole[:, :length])
    ids = torch.tensor([[3, 0, *PROMPTS[1], 0, 1, 0]])  # a BOS under the mask
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    assert torch.equal(policy(ids, attention_mask=mask).logits[:, 2:], whole)


def test_unknown_prompts_are_refused(policy: TabularLM) -> None:
    for ids in ([[3, 2, 2, 0]], [[0, 1, 1, 0]]):
        with pytest.raises(
            ValueError, match="row 0 of input_ids does not start with a prompt of this table"
        ):
            policy(torch.tensor(ids))
    with pytest.raises(ValueError, match="row 1"):
        policy(torch.tensor([[*PROMPTS[0], 0], [3, 2, 2, 0]]))


def test_generate_greedy_stops_at_eos_with_left_padding(mdp: TokenMDP) -> None:
    tables = uniform_reference(3, 4)
    favourite = [1, 0, 2]
    for t, number in ((0, 0), (1, 1), (2, 3)):
        tables[t][number] = np.log(np.where(np.arange(3) == favourite[t], 0.8, 0.1))
    policy = TabularLM.from_tables(mdp, [tables, uniform_reference(3, 4)])
    out = policy.generate(torch.tensor([PROMPTS[0]]), do_sample=False, max_new_tokens=4)
    assert out.tolist() == [[*PROMPTS[0], 1, 0, 2]]
    ids = torch.tensor([[4, 4, *PROMPTS[0]], [4, 4, *PROMPTS[0]]])
    mask = torch.tensor([[0, 0, 1, 1, 1]] * 2)
    out = policy.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=4)
    assert out.tolist() == [[4, 4, *PROMPTS[0], 1, 0, 2]] * 2


def test_generate_samples_the_law_of_the_tables(mdp: TokenMDP, policy: TabularLM) -> None:
    torch.manual_seed(0)
    ids = torch.tensor([PROMPTS[0]]).repeat(20_000, 1)
    ids = torch.cat([torch.full((len(ids), 2), 4), ids], 1)
    mask = (ids != 4).long()
    out = policy.generate(ids, attention_mask=mask, do_sample=True, max_new_tokens=4, top_k=0)[
        :, 5:
    ]
    ended = (out == 2).cumsum(1) > 0
    assert (out[:, 1:][ended[:, :-1]] == 4).all()  # padding after EOS, and only there
    assert (out[:, 1:][~ended[:, :-1]] < 3).all()
    law = np.exp(tabulate(policy, mdp)[0][0])
    seen = np.bincount(out[:, 0].numpy(), minlength=3) / len(out)
    assert np.abs(seen - law).max() < 5 * np.sqrt(0.25 / len(out))
    second = out[out[:, 0] == 1, 1].numpy()
    law = np.exp(tabulate(policy, mdp)[1][1])
    assert np.abs(np.bincount(second, minlength=3) / len(second) - law).max() < 5 * np.sqrt(
        0.25 / len(second)
    )


def test_save_and_load(policy: TabularLM, tmp_path: Path) -> None:
    policy.save_pretrained(tmp_path)
    for loaded in (
        TabularLM.from_pretrained(tmp_path),
        AutoModelForCausalLM.from_pretrained(tmp_path),
    ):
        assert isinstance(loaded, TabularLM)
        assert loaded.dtype == torch.float64
        assert torch.equal(loaded.logits, policy.logits)
        ids = torch.tensor([[*PROMPTS[1], 0, 1, 0]])
        assert torch.equal(loaded(ids).logits, policy(ids).logits)
    assert TabularLM.from_pretrained(tmp_path, dtype=torch.float32).logits.dtype == torch.float32


def test_from_mdp_uniform_or_the_environments_own_reference(
    mdp: TokenMDP, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.testing.assert_allclose(tabulate(TabularLM.from_mdp(mdp), mdp)[0], np.log([[1 / 3] * 3]))
    own = random_reference(3, 4, seed=1)
    monkeypatch.setattr(mdp, "reference", lambda prompt_index=0: own)
    np.testing.assert_allclose(tabulate(TabularLM.from_mdp(mdp), mdp)[0], own[0], atol=1e-13)
    assert not np.allclose(tabulate(TabularLM.from_mdp(mdp, seed=3), mdp)[0], own[0])


def test_gradient_reaches_the_rows_that_were_read_and_no_other(policy: TabularLM) -> None:
    policy(torch.tensor([[*PROMPTS[1], 0, 1, 0]])).logits[:, 2:, :3].log_softmax(-1)[
        ..., 0
    ].sum().backward()
    gradient = policy.logits.grad
    assert gradient is not None
    assert (gradient[0] == 0).all()
    assert gradient[1].abs().sum(1).nonzero()[:, 0].tolist() == [0, 1, 1 + 3 + 1, 1 + 3 + 9 + 3]
    assert torch.isfinite(gradient).all()


def test_wrong_tables_and_sizes_are_refused(mdp: TokenMDP) -> None:
    with pytest.raises(ValueError, match="one per step is needed: 4"):
        TabularLM.from_tables(mdp, uniform_reference(3, 3))
    with pytest.raises(ValueError, match=r"table 1 must be \(3, 3\)"):
        TabularLM.from_tables(mdp, [np.log([[1 / 3] * 3])] * 4)
    with pytest.raises(ValueError, match="table 0 does not sum to one"):
        TabularLM.from_tables(mdp, [np.full((3**t, 3), 1 / 3) for t in range(4)])
    with pytest.raises(ValueError, match="tables for 3 prompts; the environment has 2"):
        TabularLM.from_tables(mdp, [uniform_reference(3, 4)] * 3)
    with pytest.raises(ValueError, match="take a smaller vocabulary or horizon"):
        TabularLM(TabularConfig(num_actions=10, horizon=10))
