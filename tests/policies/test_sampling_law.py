"""Temperature, top-k and top-p, and draws by the inverse of the cumulative distribution."""

from __future__ import annotations

import pytest
import torch

from gnivo_edu.policies.sampling_law import SamplingLaw, inverse_cdf


def test_top_k_keeps_that_many_and_ties() -> None:
    logits = torch.tensor([[0.2, 0.5, 0.1, 0.2]], dtype=torch.float64).log()
    for top_k, kept in ((1, [1]), (2, [0, 1, 3]), (3, [0, 1, 3]), (9, [0, 1, 2, 3])):
        law = SamplingLaw(top_k=top_k).log_probabilities(logits)
        assert (law[0] > -torch.inf).nonzero()[:, 0].tolist() == kept


def test_top_p_keeps_the_fewest_actions_that_reach_it() -> None:
    logits = torch.tensor([[0.2, 0.5, 0.1, 0.2]], dtype=torch.float64).log()
    for top_p, kept in ((0.4, [1]), (0.6, [0, 1]), (0.8, [0, 1, 3]), (0.95, [0, 1, 2, 3])):
        law = SamplingLaw(top_p=top_p).log_probabilities(logits)
        assert (law[0] > -torch.inf).nonzero()[:, 0].tolist() == kept
        assert law.exp().sum().item() == pytest.approx(1)


def test_the_inverse_of_the_cumulative_distribution() -> None:
    logps = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0], dtype=torch.float64).log().expand(4, 5)
    draws = inverse_cdf(
        logps, torch.tensor([0.0, 0.25 - 1e-15, 0.25, 1 - 2**-53], dtype=torch.float64)
    )
    assert draws.tolist() == [1, 1, 3, 3]
    short = (
        logps[:1] - 1e-3
    )  # rounding in low precision leaves a sum below 1: still an action is drawn
    assert inverse_cdf(short, torch.tensor([1 - 2**-53], dtype=torch.float64)).tolist() == [3]
