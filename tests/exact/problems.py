"""Small problems for the exact room: trees of random rewards, environments with given rewards."""

import itertools
import math

import numpy as np

import toy_envs
from gnivo_edu import exact
from tests.exact import brute


def random_tree(vocab_size=3, horizon=3, seed=0, binary=False):
    rewards = np.random.default_rng(seed).random(vocab_size**horizon)
    if binary:
        rewards = (rewards > 0.6).astype(float)
    reference = exact.random_reference(vocab_size, horizon, seed=seed)
    return exact.enumerate_tree_from_rewards(rewards, vocab_size, reference=reference)


def mdp_with(reward_of, vocab_size, horizon, eos=None):
    def reward(tokens, lengths):
        rows = zip(tokens.tolist(), lengths.tolist(), strict=True)
        return [reward_of[tuple(row[:length])] for row, length in rows]

    return toy_envs.TokenMDP(vocab_size, horizon, reward=reward, eos_token_id=eos)


def problem(vocab_size, horizon, eos, seed):
    rng = np.random.default_rng(seed)
    all_answers = brute.answers(vocab_size, horizon, eos)
    rewards = dict(zip(all_answers, rng.random(len(all_answers)).tolist(), strict=True))
    tables = exact.random_reference(vocab_size, horizon, seed)
    tree = exact.enumerate_tree(mdp_with(rewards, vocab_size, horizon, eos), tables)
    return tree, all_answers, rewards, tables


def by_tuples(p, weights, targets, v, group_size):
    """Model and loss of GroupObjective from every K-tuple, in plain Python."""
    n, loss, model = len(p), 0.0, np.zeros(len(p))
    for group in itertools.product(range(n), repeat=group_size):
        probability = math.prod(p[i] for i in group)
        total = sum(weights[i] for i in group) if weights is not None else 1.0
        normaliser = sum(math.exp(v[i]) for i in group)
        loss += probability * total * math.log(normaliser)
        model[group[0]] += probability / p[group[0]] * total * math.exp(v[group[0]]) / normaliser
    return loss - group_size * sum(p * targets * v), model
