"""Where a policy gradient with a KL in the loss rests: the laws against what defines them."""

from __future__ import annotations

from itertools import product

import torch

from gnivo_edu.population import laws, state_laws, total_variation
from gnivo_edu.population.atlas import problem


def test_with_rewards_for_scores_it_is_the_laws_that_are_known():
    answers, temperature = problem("tree"), 0.5
    rewards = answers.rewards[:, None].expand_as(answers.mask)
    ends = {
        whole: state_laws.self_tilt_by_state(answers, lambda _: rewards, temperature, whole)
        for whole in (False, True)
    }
    assert total_variation(ends[False], laws.vimpo_law(answers, temperature)) < 1e-12
    assert total_variation(ends[True], laws.tilt(answers, temperature)) < 1e-12
    assert total_variation(ends[False], ends[True]) > 0.01


def test_the_scores_of_gnivo_are_means_over_all_groups():
    answers, alpha, K = problem("tree"), 0.5, 2
    law = answers.law(answers.reference)
    n, T = answers.mask.shape
    by_hand = {last: torch.zeros(n, T, dtype=torch.float64) for last in (False, True)}
    for i, j in product(range(n), repeat=K):
        first, second = (float((answers.rewards[k] / alpha).exp()) for k in (i, j))
        excess = K * first / (first + second) - 1
        longest = max(int(answers.lengths[k]) for k in (i, j))
        for depth in range(T):
            by_hand[False][i, depth] += float(law[j]) * (longest - depth) * excess
            by_hand[True][i, depth] += float(law[j]) * excess
    for last, expected in by_hand.items():
        ours = state_laws.gnivo_scores(answers, alpha, K, last)(law)
        torch.testing.assert_close(ours.expand(n, T), expected, rtol=0, atol=1e-13)


def test_one_score_an_answer_and_whole_answers_make_the_tilt_by_it():
    answers, alpha, K = problem("tree"), 0.5, 3
    scores = state_laws.gnivo_scores(answers, alpha, K, last=True)
    ours = state_laws.self_tilt_by_state(answers, scores, 0.5, whole=True)
    known = laws.self_tilt(answers, K, lambda R: K * (R / alpha).softmax(1), temperature=0.5)
    assert total_variation(ours, known) < 1e-12
