"""Small problems for the exact room: trees of random rewards, environments with given rewards."""

import numpy as np

import toy_envs
from gnivo_edu import exact
from tests.exact import brute


def random_tree(vocab_size=3, horizon=3, seed=0, binary=False):
    rewards = np.random.default_rng(seed).random(vocab_size**horizon)
    if binary:
        rewards = (rewards > 0.6).astype(float)
    return exact.enumerate_tree_from_rewards(
        rewards, vocab_size, exact.random_reference(vocab_size, horizon, seed)
    )


def mdp_with(reward_of, vocab_size, horizon, eos=None):
    def reward(tokens, lengths):
        return [
            reward_of[tuple(row[:n])]
            for row, n in zip(tokens.tolist(), lengths.tolist(), strict=True)
        ]

    return toy_envs.TokenMDP(vocab_size, horizon, reward=reward, eos_token_id=eos)


def problem(vocab_size, horizon, eos, seed):
    rng = np.random.default_rng(seed)
    all_answers = brute.answers(vocab_size, horizon, eos)
    rewards = dict(zip(all_answers, rng.random(len(all_answers)).tolist(), strict=True))
    tables = exact.random_reference(vocab_size, horizon, seed)
    tree = exact.enumerate_tree(mdp_with(rewards, vocab_size, horizon, eos), tables)
    return tree, all_answers, rewards, tables
