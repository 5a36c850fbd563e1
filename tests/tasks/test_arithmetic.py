"""Arithmetic: tiers of ArithmeticChain, their rewards, and demonstrations with a mistake that does
not cancel.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gnivo_edu.tasks import get
from gnivo_edu.tasks.arithmetic import TEST_QUESTIONS, Arithmetic
from toy_envs.arithmetic_chain import ArithmeticChain


def encode(task: Arithmetic, *answers: str) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.full((len(answers), task.horizon), task.pad_token_id)
    for row, answer in zip(tokens, answers, strict=True):
        row[: len(answer)] = [task.vocabulary.index(character) for character in answer]
    return tokens, np.array([len(answer) for answer in answers])


def test_one_tier_is_the_environment() -> None:
    task, chain = (
        Arithmetic(tiers=(4,), num_prompts=50, split="test"),
        ArithmeticChain(4, 10, 2, 50),
    )
    np.testing.assert_array_equal(task.prompts(), chain.prompts())
    assert (task.vocabulary, task.horizon, task.eos_token_id) == (
        chain.vocabulary,
        chain.horizon,
        chain.eos_token_id,
    )
    tokens, lengths, index = task.demonstrations(200, wrong_rate=0.7, seed=3)
    np.testing.assert_array_equal(
        task.reward(tokens, lengths, index), chain.reward(tokens, lengths, index)
    )
    assert task.totals(0) == [59, 64, 56, 55, 63]


def test_tiers_stand_below_each_other_and_keep_their_answers() -> None:
    task = get("arithmetic", tiers=(2, 4, 8), num_prompts=30)
    assert task.prompts().shape[0] == task.prompt_mask().shape[0] == len(task.tier) == 90
    assert (task.prompts()[:, 0] == task.bos_token_id).all()
    assert task.tier.tolist() == [2] * 30 + [4] * 30 + [8] * 30
    for n in (0, 29, 30, 89):
        row = task.prompts()[n][task.prompt_mask()[n]]
        assert row[0] == task.bos_token_id
        assert task.decode(row[1:]) == task.question(n)
        assert eval(task.question(n)[:-1]) == task.totals(n)[-1]
        assert len(task.totals(n)) == task.tier[n] + 1
    tokens, lengths, index = task.demonstrations(300, wrong_rate=0.0)
    assert task.reward(tokens, lengths, index).all()
    assert not task.reward(tokens, lengths, (index + 1) % 90).all()
    # An answer may take more steps than its tier has: only its last field counts, up to the horizon
    # of all tiers.
    last = task.totals(0)[-1]
    assert task.reward(*encode(task, f"1;2;3;{last}.", f"{last}.", f"{last}"), 0).tolist() == [
        1,
        1,
        0,
    ]


def test_the_splits_share_no_question() -> None:
    def questions(split: str) -> set[str]:
        task = Arithmetic(tiers=(1, 2), split=split)  # type: ignore[arg-type]
        return {task.question(n) for n in range(len(task.prompts()))}

    test, train = questions("test"), questions("train")
    assert (len(test), len(train)) == (2 * TEST_QUESTIONS, 2000)
    assert not test & train


def test_the_mistake_is_the_stated_one() -> None:
    task = Arithmetic(tiers=(1,), num_prompts=1000)
    tokens, lengths, index = task.demonstrations(500, wrong_rate=1.0)
    wrong = {}
    for row, length, number in zip(tokens, lengths, index.tolist(), strict=True):
        if int(task.decode(row[:length]).strip(".")) != task.totals(number)[-1]:
            wrong[task.question(number)] = int(task.decode(row[:length]).strip("."))
    assert len(wrong) > 100
    for question, total in wrong.items():
        a, sign, b = question[:2], question[2], question[3]
        tens = int(a[0]) * 10
        if sign == "+":
            assert int(a[1]) + int(b) >= 10
            assert total == tens + (int(a[1]) + int(b)) % 10  # the carry is dropped
        else:
            assert int(b) > int(a[1])
            assert total == tens + int(b) - int(a[1])  # the smaller digit from the larger
    # Every step that carries is done wrongly, unless the wrong total would leave 0..99.
    right = {n for n in set(index.tolist()) if task.question(n) not in wrong}
    assert not any(task.carries(n)[0] for n in right)


@pytest.mark.parametrize("tiers", [(2,), (4,), (8,), (2, 3, 4)])
def test_an_answer_with_a_wrong_step_ends_wrong(tiers: tuple[int, ...]) -> None:
    task = Arithmetic(tiers=tiers, num_prompts=200)
    tokens, lengths, index = task.demonstrations(2000, wrong_rate=0.6, seed=1)
    first = task.first_wrong_step(tokens, lengths, index)
    np.testing.assert_array_equal(task.reward(tokens, lengths, index), first == -1)
    assert 0.1 < (first >= 0).mean() < 0.95
    for row, step, number in zip(tokens, first.tolist(), index.tolist(), strict=True):
        if step >= 0:
            assert task.carries(number)[step]
        fields = task.decode(row).strip(".").split(";")
        assert all(0 <= int(one) <= 99 and one == str(int(one)) for one in fields)


def test_mistakes_grow_with_their_rate_and_repeat_with_their_seed() -> None:
    task = Arithmetic(tiers=(4,), num_prompts=200)
    right = [
        task.reward(*task.demonstrations(2000, wrong_rate=rate, seed=2)).mean()
        for rate in (0.0, 0.3, 0.6, 1.0)
    ]
    assert right[0] == 1
    assert all(more > less for more, less in pairwise(right))
    for once, twice in zip(
        task.demonstrations(9, seed=4), task.demonstrations(9, seed=4), strict=True
    ):
        np.testing.assert_array_equal(once, twice)


def test_the_first_wrong_step() -> None:
    task = Arithmetic(tiers=(4, 6), num_prompts=1, split="test")  # 59+5-8-1+8: 64;56;55;63
    answers = {
        "64;56;55;63.": -1,
        "64;56;55;63": -1,
        "54;46;45;53.": 0,
        "64;56;54;63.": 2,
        "64;56;55.": 3,
        "64;56;55;63;1.": 4,
        "": 0,
    }
    tokens, lengths = encode(task, *answers)
    assert task.first_wrong_step(tokens, lengths).tolist() == list(answers.values())
    assert task.carries(0) == [True, True, False, True]


def test_grades_and_steps() -> None:
    task = Arithmetic(tiers=(4,), num_prompts=1, split="test")
    tokens, lengths = encode(task, "64;56;55;63.", "64;62.", "64;56;55;63", "63.")
    grades = task.grade(tokens, lengths)
    assert [(own.answer, own.status, own.reward) for own in grades] == [
        ("63", "right", 1.0),
        ("62", "wrong", 0.0),
        (None, "no answer", 0.0),
        ("63", "right", 1.0),
    ]
    assert {own.gold for own in grades} == {"63"}
    np.testing.assert_array_equal(
        task.step_ids(tokens, lengths)[0], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    )
    np.testing.assert_array_equal(task.step_ids(tokens, lengths)[1], [0, 0, 0] + [1] * 9)


def test_other_bases_and_bad_input() -> None:
    small = Arithmetic(tiers=(2,), num_prompts=4, base=3, digits=1, split="test")
    tokens, lengths, index = small.demonstrations(50, wrong_rate=1.0)
    assert small.reward(tokens, lengths, index).all()  # one digit: nothing carries
    ternary = Arithmetic(tiers=(3,), num_prompts=50, base=3, digits=3)
    tokens, lengths, index = ternary.demonstrations(400, wrong_rate=1.0)
    assert 0 < ternary.reward(tokens, lengths, index).mean() < 1
    for options, message in (
        ({"tiers": ()}, "at least one tier"),
        ({"tiers": 2}, r"tiers lists numbers of operations.*got 2$"),
        ({"tiers": [2.5]}, r"such as \[2, 3\], got \[2.5\]"),
        ({"tiers": [2, 0]}, "tiers lists"),
        ({"tiers": "23"}, "tiers lists"),
        (
            {"num_prompts": 0},
            "num_prompts, the questions of a tier, is a whole number from 1 on, got 0",
        ),
        ({"num_prompts": -3}, "from 1 on, got -3"),
        ({"num_prompts": 2.5}, "from 1 on, got 2.5"),
        ({"base": 3.5}, "base, digits and prompt_seed are whole numbers"),
        ({"split": "dev"}, "'train' or 'test'"),
        ({"split": "test", "num_prompts": 201}, "the test split has 200"),
        ({"tiers": (1,), "num_prompts": 5000}, "such questions exist"),
    ):
        with pytest.raises(ValueError, match=message):
            Arithmetic(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wrong_rate in"):
        small.demonstrations(5, wrong_rate=1.5)


def test_a_small_transformer_answers_and_is_rewarded() -> None:
    torch = pytest.importorskip("torch")
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from gnivo_edu.policies import make_group_batch, sample_groups

    task = Arithmetic(tiers=(3,), num_prompts=10)
    config = Qwen2Config(
        vocab_size=task.vocab_size + 2,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    torch.manual_seed(0)
    policy = Qwen2ForCausalLM(config)
    samples = sample_groups(policy, task, 3, [0, 9], torch.Generator().manual_seed(0))
    batch = make_group_batch(policy, task, samples)
    assert batch.rewards.shape == (2, 3)
    assert (batch.policy_logps - batch.behaviour_logps).abs().max() < 1e-4


def test_padded_prompts_are_refused_where_no_mask_is_read() -> None:
    torch = pytest.importorskip("torch")
    from gnivo_edu.policies import load_checkpoint, next_token_logps, tabulate

    task, policy = Arithmetic(tiers=(2, 3), num_prompts=5), load_checkpoint()
    with pytest.raises(ValueError, match="padded to the length of others"):
        next_token_logps(policy, task, torch.zeros(1, 0, dtype=torch.int64), 0)
    assert next_token_logps(policy, task, torch.zeros(1, 0, dtype=torch.int64), 9).shape == (
        1,
        1,
        task.vocab_size,
    )
    with pytest.raises(ValueError, match="above the limit"):
        tabulate(policy, task, 9)
