"""NoisyReward: how often it errs, who shares a decision, what is left on average, and that all but
the reward is the wrapped problem's.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest

from gnivo_edu import exact, tasks
from tests.toy_envs.answers import every_answer
from toy_envs import (
    ArithmeticChain,
    CriticalStep,
    DigitSum,
    NoisyReward,
    RandomTree,
    TokenMDP,
    check_token_mdp,
)
from toy_envs.noisy_reward import flipped, flips


def test_flips_have_their_chance_and_follow_from_the_key_alone() -> None:
    keys = [(seed, step, place) for seed in range(5) for step in range(40) for place in range(50)]
    for chance in (0.25, 0.7):
        struck = flips(keys, chance)
        # Five standard deviations of a share of 10,000 decisions.
        assert abs(struck.mean() - chance) < 5 * (chance * (1 - chance) / len(keys)) ** 0.5
        # Neighbours in each number of the key decide apart.
        cube = struck.reshape(5, 40, 50)
        for one, two in ((cube[1:], cube[:-1]), (cube[:, 1:], cube[:, :-1])):
            same = (one == two).mean()
            assert abs(same - (chance**2 + (1 - chance) ** 2)) < 0.05
        assert (flips(keys[::-1], chance) == struck[::-1]).all()
        assert (flips(keys[17:20], chance) == struck[17:20]).all()
    assert not flips(keys, 0.0).any()
    assert flips(keys, 1.0).all()


def test_a_group_shares_one_decision_and_answers_have_their_own() -> None:
    mdp = DigitSum()
    tokens, clean = every_answer(mdp)
    lengths = np.full(len(tokens), mdp.horizon)
    for chance in (0.25, 0.75):
        rounds = [
            NoisyReward(mdp, chance, seed=3, round=n).reward(tokens, lengths) for n in range(150)
        ]
        turned = [not np.array_equal(rewards, clean) for rewards in rounds]
        assert all(
            np.array_equal(rewards, 1 - clean)
            for rewards, turn in zip(rounds, turned, strict=True)
            if turn
        )
        assert abs(np.mean(turned) - chance) < 5 * (chance * (1 - chance) / 150) ** 0.5
    alone = NoisyReward(mdp, 0.25, of="answer").reward(tokens, lengths)
    struck = alone != clean
    # Where R is 1/2 turning changes nothing.
    assert (alone[struck] == 1 - clean[struck]).all()
    movable = clean != 0.5
    assert abs(struck[movable].mean() - 0.25) < 5 * (0.1875 / movable.sum()) ** 0.5


def test_prompts_decide_apart_and_an_answer_keeps_its_reward() -> None:
    mdp = TokenMDP(2, 2, reward=lambda tokens, lengths: np.ones(len(tokens)), prompts=[[2]] * 200)
    noisy = NoisyReward(mdp, 0.5)
    index = np.arange(200)
    rewards = noisy.reward(np.zeros((200, 2), dtype=int), np.full(200, 2), index)
    assert 60 < rewards.sum() < 140
    back = noisy.reward(np.ones((200, 2), dtype=int), np.full(200, 2), index[::-1])
    assert (back[::-1] == rewards).all()
    assert (noisy.at_round(1).reward([[0, 0]] * 200, [2] * 200, index) != rewards).any()


def test_on_average_over_rounds_the_reward_is_scaled_by_1_minus_2p() -> None:
    mdp = RandomTree(vocab_size=2, horizon=3)
    tokens, clean = every_answer(mdp)
    answers = tokens, np.full(len(tokens), mdp.horizon)
    for of in ("group", "answer"):
        noisy = NoisyReward(mdp, 0.3, of=of)
        mean = np.mean([noisy.at_round(n).reward(*answers) for n in range(1000)], axis=0)
        np.testing.assert_allclose(noisy.expected().reward(*answers), 0.4 * clean + 0.3)
        np.testing.assert_allclose(mean, 0.4 * clean + 0.3, atol=0.08)
        assert (noisy.clean.reward(*answers) == clean).all()


def test_what_is_expected_has_the_clean_optimum_at_a_larger_alpha() -> None:
    mdp = RandomTree(vocab_size=2, horizon=3)
    noisy = NoisyReward(mdp, 0.3)
    reference = exact.random_reference(2, 3, seed=0)
    clean, expected, drawn = (
        exact.enumerate_tree(problem, reference) for problem in (mdp, noisy.expected(), noisy)
    )
    one, two = exact.solve(expected, 0.2), exact.solve(clean, 0.2 / 0.4)
    for ours, theirs in zip(one.optimal_step_logps, two.optimal_step_logps, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert exact.verify_soft_value_theorem(drawn, 0.5).passed


def test_rewards_of_another_range_are_turned_round_in_it_and_others_are_refused() -> None:
    mdp = TokenMDP(4, 1, reward=lambda tokens, lengths: 2.0 * tokens[:, 0] - 1)
    answers = [[0], [1], [2], [3]], [1, 1, 1, 1]
    noisy = NoisyReward(mdp, 1.0, low=-1, high=5)
    assert noisy.reward(*answers).tolist() == [5.0, 3.0, 1.0, -1.0]
    halfway = NoisyReward(mdp, 0.5, low=-1, high=5).expected()
    assert halfway.reward(*answers).tolist() == [2.0] * 4
    for broken in (NoisyReward(mdp), NoisyReward(mdp, 0.0), NoisyReward(mdp).expected()):
        with pytest.raises(ValueError, match=r"from 0 to 1 round, this task pays from -1 to 5"):
            broken.reward(*answers)
    assert flipped(np.array([]), np.array([], dtype=bool)).tolist() == []


@pytest.mark.parametrize("of", ["group", "answer"])
@pytest.mark.parametrize(
    "mdp",
    [CriticalStep(), pytest.param(ArithmeticChain(num_prompts=3), marks=pytest.mark.slow)],
    ids=type,
)
def test_it_keeps_the_promises_of_a_token_mdp(mdp: TokenMDP, of: str) -> None:
    check_token_mdp(NoisyReward(mdp, 0.4, of=of))
    check_token_mdp(NoisyReward(mdp, 0.4, of=of).expected())


def test_all_but_the_reward_is_the_wrapped_problem_s() -> None:
    env = gymnasium.make("toy_envs/PosterProblem-v0")
    noisy = NoisyReward(env, 0.5)
    for one, two in zip(noisy.reference() or [], env.unwrapped.reference(), strict=True):
        assert (one == two).all()
    chain = ArithmeticChain(num_prompts=3)
    noisy = NoisyReward(chain)
    assert noisy.question(2) == chain.question(2)
    assert (noisy.demonstration(1) == chain.demonstration(1)).all()
    assert noisy.decode([1, 2]) == chain.decode([1, 2])
    assert (noisy.prompts() == chain.prompts()).all()
    assert copy.deepcopy(noisy).name == "NoisyReward(ArithmeticChain)"
    sums = tasks.get("arithmetic", tiers=(2, 3), num_prompts=2)
    assert (NoisyReward(sums).prompt_mask() == sums.prompt_mask()).all()
    with pytest.raises(AttributeError):
        _ = noisy.no_such_thing


def test_arguments_are_refused_in_a_line() -> None:
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"chance": 1.1}, "from 0 to 1"),
        ({"chance": float("nan")}, "from 0 to 1"),
        ({"of": "token"}, "'group' or 'answer'"),
        ({"low": 1.0}, "low must be below high"),
    )
    for given, words in refused:
        with pytest.raises(ValueError, match=words):
            NoisyReward(CriticalStep(), **given)
    with pytest.raises(ValueError, match="wraps a TokenMDP"):
        NoisyReward(gymnasium.make("CartPole-v1"))
