"""TokenMDP itself: one object that rewards a batch and an episode alike."""

import numpy as np
import pytest

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
        (lambda mdp: TokenMDP(3, 2).reward([[0]], [1]), "has no reward"),
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


def test_decode_leaves_out_bos_and_pad() -> None:
    mdp = TokenMDP(3, 4, vocabulary=("one", "two", "end"))
    assert mdp.decode([3, 0, 1, 2, 4, 4]) == "one two end"
    assert TokenMDP(3, 4, vocabulary="abc").decode([3, 0, 1, 2, 4]) == "abc"
