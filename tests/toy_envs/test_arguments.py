"""Rewards are called by the names of their parameters, and numbers are whole or refused."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch

from toy_envs import TokenMDP
from toy_envs.arguments import read_reward, read_rewards, whole_number, whole_numbers

TOKENS, LENGTHS, INDEX = np.array([[2, 0, 1], [0, 1, 2]]), np.array([3, 1]), np.array([1, 0])


def passes_on(function: Any) -> Any:
    """A decorator that says nothing of what it wraps."""
    return lambda *args, **options: function(*args, **options)


class Scorer:
    """A reward that is an object with a method, and one that is called itself."""

    def method(self, tokens: Any, lengths: Any, *, index: Any = None) -> Any:
        return ("tokens", tokens), ("lengths", lengths), ("prompt_index", index)

    def __call__(self, tokens: Any) -> Any:
        return (("tokens", tokens),)


def keyword_only(tokens, lengths, *, scale=2.0):
    return ("tokens", tokens), ("lengths", lengths), ("scale", scale)


def all_by_keyword(*, prompt_index, lengths, tokens):
    return ("tokens", tokens), ("lengths", lengths), ("prompt_index", prompt_index)


def third(tokens, lengths, scale):
    return ("tokens", tokens), ("lengths", lengths), ("scale", scale)


@pytest.mark.parametrize(
    "reward",
    [
        lambda y, n: (("tokens", y), ("lengths", n)),
        lambda tokens: (("tokens", tokens),),
        lambda lengths: (("lengths", lengths),),
        lambda lengths, tokens: (("tokens", tokens), ("lengths", lengths)),
        lambda lengths, y: (("tokens", y), ("lengths", lengths)),
        lambda y, n, prompt: (("tokens", y), ("lengths", n), ("prompt_index", prompt)),
        lambda prompt_index, y, n: (("tokens", y), ("lengths", n), ("prompt_index", prompt_index)),
        lambda tokens, lengths, scale=2.0: (("tokens", tokens), ("scale", scale)),
        lambda tokens, scale=2.0, lengths=None: (("lengths", lengths), ("scale", scale)),
        lambda tokens, scale=2.0, index=None: (("prompt_index", index), ("scale", scale)),
        keyword_only,
        all_by_keyword,
        lambda tokens, lengths, **options: tuple({"tokens": tokens, **options}.items()),
        lambda **options: tuple(options.items()),
        functools.partial(third, scale=2.0),
        passes_on(lambda y, n: (("tokens", y), ("lengths", n))),
        passes_on(keyword_only),
        Scorer().method,
        Scorer(),
    ],
)
def test_each_parameter_takes_what_its_name_says(reward: Any) -> None:
    given = {"tokens": TOKENS, "lengths": LENGTHS, "prompt_index": INDEX, "scale": 2.0}
    for name, value in read_reward(reward)(TOKENS, LENGTHS, INDEX):
        assert value is given[name], name


def test_options_take_what_no_parameter_names() -> None:
    call = read_reward(lambda tokens, lengths, **options: sorted(options))
    assert call(TOKENS, LENGTHS, INDEX) == ["prompt_index"]


def test_compiled_functions_take_tokens_and_lengths() -> None:
    # numpy does not say what its ufuncs take.
    assert read_reward(np.add).places == ("tokens", "lengths")


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        (third, "needs 'scale', which is none of tokens, lengths, prompt_index"),
        (lambda y, n, scale: n, "needs 'scale'"),
        (lambda tokens, *, scale: tokens, "needs 'scale'"),
        (0.5, r"reward must be a function of \(tokens, lengths\), got float"),
    ],
)
def test_a_parameter_without_a_value_is_named(reward: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        TokenMDP(3, 3, reward=reward)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "scores",
    [
        [0.5, 1],
        (np.float32(0.5), np.int64(1)),
        torch.tensor([0.5, 1.0], requires_grad=True),
        torch.tensor([0.5, 1.0], dtype=torch.bfloat16),
        [torch.tensor(0.5, requires_grad=True), torch.tensor(1)],
    ],
)
def test_rewards_are_numbers_of_any_kind(scores: Any) -> None:
    rewards = read_rewards(scores)
    assert rewards.dtype == np.float64
    assert rewards.tolist() == [0.5, 1.0]
    assert TokenMDP(3, 3, reward=lambda y: scores).reward(TOKENS, LENGTHS).tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    "scores",
    ["high", ["1", "2"], [1j, 2j], [[1.0], [1.0, 2.0]], object(), [10**400, 1]],
)
def test_what_is_no_number_is_no_reward(scores: Any) -> None:
    with pytest.raises(ValueError, match=r"^the reward function must return numbers") as error:
        read_rewards(scores)
    assert "\n" not in str(error.value)


def test_a_reward_that_is_missing_is_not_made_up() -> None:
    with pytest.raises(ValueError, match="the reward function returns nothing"):
        read_rewards(None)
    masked = np.ma.masked_array([0.5, 1.0], [True, False])
    with pytest.raises(ValueError, match="is nan; rewards must be finite"):
        TokenMDP(3, 3, reward=lambda y: masked).reward(TOKENS, LENGTHS)


def test_a_reward_may_write_into_what_it_is_given() -> None:
    def reward(tokens: Any, lengths: Any, prompt_index: Any) -> Any:
        for given in (tokens, lengths, prompt_index):
            given[:] = 0
        return lengths

    tokens, lengths = TOKENS.copy(), LENGTHS.copy()
    TokenMDP(3, 3, reward=reward).reward(tokens, lengths)
    assert (tokens == TOKENS).all()
    assert (lengths == LENGTHS).all()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([[0, 1], [1]], "it must be whole numbers: setting an array"),
        ([1e300], r"it must be whole numbers below 2\*\*63, got 1e\+300"),
        (np.array([2**64 - 1], dtype=np.uint64), "it must be .* below .* got 18446744073709551615"),
    ],
)
def test_what_does_not_fit_is_not_cut_to_size(values: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}") as error:
        whole_numbers(values, "it")
    assert "\n" not in str(error.value)


def test_whole_numbers_are_read_whole() -> None:
    assert whole_numbers([[1.0, 2.0]], "tokens").tolist() == [[1, 2]]
    assert whole_numbers(np.array([3], dtype=np.uint8), "tokens").dtype == np.int64
    assert [whole_number(x, "n") for x in (3, np.int8(3), np.array(3), torch.tensor(3))] == [3] * 4
    for bad in ([1.7], [math.nan], [math.inf], ["1"], [None], [1j]):
        with pytest.raises(ValueError, match=r"^lengths must be whole numbers, got"):
            whole_numbers(bad, "lengths")
    for bad in (1.0, math.nan, None, "1", np.array([1, 2]), np.zeros((30, 30))):
        with pytest.raises(ValueError, match=r"^n must be a whole number, got") as error:
            whole_number(bad, "n")
        assert "\n" not in str(error.value)
