"""TokenMDP itself: one object that rewards a batch and an episode alike."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike

from toy_envs import TokenMDP


def seen(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """A reward that gives away exactly what the reward function was shown."""
    return tokens @ 10.0 ** np.arange(tokens.shape[1]) + lengths / 10


@pytest.fixture
def mdp() -> TokenMDP:
    return TokenMDP(vocab_size=3, horizon=4, reward=seen, eos_token_id=2)


def test_reward_ignores_what_follows_the_end(mdp: TokenMDP) -> None:
    padded = mdp.reward([[0, 1, 2, 4], [0, 1, 2, 0], [0, 1, 2, -7]], [3, 3, 3])
    absorbed = mdp.reward(
        [[0, 1, 2, 2], [0, 1, 2, 1]], [4, 4]
    )  # the answer repeats EOS, or talks on
    short = mdp.reward([[0, 1, 2]], [3])
    assert len({*padded, *absorbed, *short}) == 1
    assert mdp.reward([[0, 1, 1, 2]], [4])[0] != short[0]


def test_step_shows_the_reward_function_what_a_batch_does(mdp: TokenMDP) -> None:
    mdp.reset(seed=0)
    rewards = [mdp.step(token)[1] for token in (0, 1, 2)]
    assert rewards == [0.0, 0.0, mdp.reward([[0, 1, 2, 0]], [3])[0]]


def test_the_reward_function_may_see_the_prompt() -> None:
    mdp = TokenMDP(
        2, 1, reward=lambda tokens, lengths, prompt: prompt + 0.0, prompts=[[2, 0], [2, 1]]
    )
    assert mdp.reward([[0], [0]], [1, 1], [1, 0]).tolist() == [1.0, 0.0]
    assert mdp.reset(options={"prompt_index": 1})[0].tolist() == [2, 1, 3]
    assert mdp.step(0)[1] == 1.0


def test_prompts_are_drawn_from_the_seed() -> None:
    mdp = TokenMDP(2, 1, reward=seen, prompts=[[2, 0], [2, 1]])
    draws = [mdp.reset(seed=s)[1]["prompt_index"] for s in range(40)]
    assert draws == [mdp.reset(seed=s)[1]["prompt_index"] for s in range(40)]
    assert set(draws) == {0, 1}
    prompts = mdp.prompts()
    prompts[:] = 0  # a copy: the caller cannot spoil the problem
    assert mdp.prompts().tolist() == [[2, 0], [2, 1]]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda mdp: mdp.reward([0, 1], [2]), r"tokens \[B, T\]"),
        (lambda mdp: mdp.reward([[0] * 5], [5]), "at most 4 tokens"),
        (lambda mdp: mdp.reward([[0, 1]], [3]), r"lengths must be in 0\.\.2"),
        (lambda mdp: mdp.reward([[0, 1]], [-1]), r"lengths must be in 0\.\.2"),
        (lambda mdp: mdp.reward([[0, 3]], [2]), "token 3 is not an action"),
        (lambda mdp: mdp.reward([[0, -1]], [2]), "token -1 is not an action"),
        (lambda mdp: mdp.reward([[0, 1]], [2], 1), "prompt_index"),
        (lambda mdp: mdp.reset(options={"prompt_index": 1}), "prompt_index"),
        (lambda mdp: mdp.reset(options={"prompt_index": 0.5}), "prompt_index must be a whole"),
        (lambda mdp: mdp.reset(options={"prompt_index": "0"}), "prompt_index must be a whole"),
        (lambda mdp: mdp.reward([[0, 1]], [2], [0.5]), "prompt_index must be whole numbers"),
        (lambda mdp: mdp.reward([[0, 1]], [2], [0, 0]), r"one per answer, \(1,\), got \(2,\)"),
        (lambda mdp: mdp.reward([[0, 1]], [2], [[0]]), "prompt_index must be a number or one per"),
        (lambda mdp: mdp.reward([[0, 1.5]], [2]), r"tokens must be whole numbers, got 1\.5"),
        (lambda mdp: mdp.reward([[0, 1]], [np.nan]), "lengths must be whole numbers, got nan"),
        (lambda mdp: TokenMDP(3, 2).reward([[0]], [1]), "has no reward"),
        (lambda mdp: TokenMDP(2.5, 2), r"vocab_size must be a whole number, got 2\.5"),
        (lambda mdp: TokenMDP(3, "2"), "horizon must be a whole number, got '2'"),
        (lambda mdp: TokenMDP(3, 2, eos_token_id=1.5), "eos_token_id must be a whole number"),
        (lambda mdp: TokenMDP(3, 2, prompts=[[3.5]]), "prompts must be whole numbers"),
        (lambda mdp: TokenMDP(3, 2, prompts=[[]]), "bos_token_id=3"),
        (lambda mdp: TokenMDP(3, 2, eos_token_id=3), "eos_token_id"),
        (lambda mdp: TokenMDP(3, 2, vocabulary="ab"), "vocabulary"),
        (lambda mdp: TokenMDP(3, 2, prompts=[[0]]), "bos_token_id=3"),
        (lambda mdp: TokenMDP(3, 2, reward=lambda y, n: np.zeros(7)).reward([[0]], [1]), "shape"),
        (
            lambda mdp: TokenMDP(3, 2, reward=lambda y, n: n / 0.0).reward([[0]], [1]),
            "must be finite",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_errors_are_one_clear_line(mdp: TokenMDP, call, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        call(mdp)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("token", [-1, 3, 99])
def test_an_illegal_token_ends_the_answer_and_never_raises(mdp: TokenMDP, token: int) -> None:
    mdp.reset(seed=0)
    mdp.step(1)
    _, reward, terminated, truncated, info = mdp.step(token)
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert info["illegal_action"] is True
    assert info["prefix"] == (1,)
    assert mdp.step(2)[1] == 0.0  # nothing can be collected after it


class Unreadable:
    def __index__(self) -> int:
        raise RuntimeError("no number today")

    def __repr__(self) -> str:
        raise RuntimeError("no name either")


@pytest.mark.parametrize(
    ("action", "token"),
    [
        *[(number, 1) for number in (1, True, np.int8(1), np.uint64(1), np.array(1))],
        (torch.tensor(1), 1),
        *[(x, None) for x in (1.0, 1.7, np.float32(1), math.nan, -math.inf, None, "1", b"1", [1])],
        *[(x, None) for x in (np.array([1]), np.array([0, 1]), np.array(1.0), np.True_, {}, 1j)],
        *[(x, None) for x in (-1, 3, 10**40, -(10**40), np.int64(-1), Unreadable(), object())],
    ],
)
def test_an_action_is_a_whole_number_of_the_actions_and_none_raises(
    mdp: TokenMDP, action: Any, token: int | None
) -> None:
    mdp.reset(seed=0)
    _, reward, terminated, truncated, info = mdp.step(action)
    assert info["prefix"] == (() if token is None else (token,))
    assert info["illegal_action"] is (token is None)
    assert (reward, terminated, truncated) == (0.0, token is None, False)
    assert (mdp.step(action)[-1]["prefix"] == ()) is (token is None)


def test_decode_leaves_out_bos_and_pad() -> None:
    mdp = TokenMDP(3, 4, vocabulary=("one", "two", "end"))
    assert mdp.decode([3, 0, 1, 2, 4, 4]) == "one two end"
    assert TokenMDP(3, 4, vocabulary="abc").decode([3, 0, 1, 2, 4]) == "abc"


def test_what_a_task_says_of_itself_unless_told_otherwise() -> None:
    mdp = TokenMDP(3, 4, eos_token_id=2, vocabulary=("one", "two", "end"), prompts=[[3, 0], [3, 1]])
    assert (mdp.name, mdp.eos_token_ids, mdp.tokenizer) == ("TokenMDP", (2,), None)
    assert TokenMDP(3, 4).eos_token_ids == ()
    assert mdp.prompt_mask().tolist() == [[True, True], [True, True]]
    assert mdp.gradable().tolist() == [0, 1]
    assert [mdp.prompt_text(i) for i in (0, 1)] == ["one", "two"]
    assert mdp.question_text(1) == "two"
    assert mdp.asked([1, 0]) == [[3, 1], [3, 0]]
    tokens, lengths = np.array([[0, 1, 2], [1, 2, 4]]), np.array([3, 2])
    assert mdp.step_ids(tokens, lengths).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert mdp.pieces([0, 2]) == mdp.token_texts([0, 2]) == ["one", "end"]
    assert mdp.grade(tokens, lengths) is None
    assert mdp.statuses(tokens, lengths) == [None, None]
    assert mdp.demonstration(0) is None
    with pytest.raises(ValueError, match=r"^TokenMDP writes no demonstrations"):
        mdp.demonstrations(1)


def test_any_of_the_end_tokens_ends_an_answer(mdp: TokenMDP) -> None:
    mdp.eos_token_ids = (0, 2)
    assert [mdp.is_finished(prefix) for prefix in ((), (1,), (1, 0), (1, 2))] == [0, 0, 1, 1]


class Shows(TokenMDP):
    """Writes one right answer, and spells out the verdict on any."""

    def demonstration(self, prompt_index: int) -> np.ndarray:
        return np.array([0, 1, 0, 2])

    def grade(self, tokens: ArrayLike, lengths: ArrayLike, prompt_index: ArrayLike = 0) -> list:
        return [SimpleNamespace(status=f"{length} tokens") for length in np.asarray(lengths)]


def test_statuses_are_those_of_the_grades() -> None:
    assert Shows(3, 4).statuses(np.zeros((2, 4)), [1, 4]) == ["1 tokens", "4 tokens"]


def test_demonstrations_slip_as_often_as_asked_but_never_at_the_end() -> None:
    mdp = Shows(4, 5, eos_token_id=2, prompts=[[4, 0], [4, 1]])
    tokens, lengths, index = mdp.demonstrations(2000, wrong_rate=0.25, seed=1)
    assert (tokens.shape, set(lengths)) == ((2000, 5), {4})
    assert abs(index.mean() - 0.5) < 0.05
    wrong = tokens[:, :4] != mdp.demonstration(0)
    assert not wrong[:, 3].any()
    assert abs(wrong[:, :3].mean() - 0.25) < 0.03
    assert set(tokens[:, :3][wrong[:, :3]]) == {0, 1, 3}  # another token, and none that ends
    again = mdp.demonstrations(2000, wrong_rate=0.25, seed=1)[0]
    assert (again == tokens).all()
    for count, rate in ((0, 0.5), (1, 1.5)):
        with pytest.raises(ValueError, match="must be at least 1 and wrong_rate in"):
            mdp.demonstrations(count, rate)
