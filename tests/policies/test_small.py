"""Small transformers on a token MDP, exact in float64 too."""

import copy

import numpy as np
import pytest
import torch

from gnivo_edu.policies import tabulate, token_logps
from gnivo_edu.policies.small import small_transformer
from toy_envs import Brackets, TokenMDP

MDP = TokenMDP(3, 4, eos_token_id=2)
INPUT = torch.tensor([[3, 0, 1, 1]])


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_the_probabilities_of_all_answers_sum_to_one(size, architecture):
    model = small_transformer(MDP, size, architecture, torch.float64, initializer_range=0.4)
    logps = np.zeros(1)
    for table in tabulate(model, MDP):
        logps = (logps[:, None] + table).ravel()
    assert abs(np.exp(logps).sum() - 1) < 1e-12
    assert logps[np.isfinite(logps)].std() > 0.1  # and it is not the uniform policy


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_in_float64_a_directional_derivative_is_exact_norms_included(architecture):
    model = small_transformer(MDP, "tiny", architecture, torch.float64, initializer_range=0.4)
    tokens, lengths = torch.tensor([[0, 1, 1, 0], [1, 0, 2, 4]]), torch.tensor([4, 3])
    parameters = list(model.parameters())
    direction = [
        torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(1))
        for p in parameters
    ]
    gradient = torch.autograd.grad(token_logps(model, MDP, tokens, lengths).sum(), parameters)
    slope = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))

    def value(step):
        moved = copy.deepcopy(model)
        for p, d in zip(moved.parameters(), direction, strict=True):
            p.data += step * d
        return float(token_logps(moved, MDP, tokens, lengths).sum().detach())

    h = 1e-4  # errors: h^4 of the five-point rule, and 1e-15 / h of rounding
    measured = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
    assert abs(measured - slope) < 1e-8 * (1 + abs(slope))


def test_weights_depend_on_the_seed_alone():
    state = torch.get_rng_state()
    single, double, other = (
        small_transformer(MDP, "tiny", dtype=dtype, seed=seed)(input_ids=INPUT)
        .logits.detach()
        .double()
        for dtype, seed in ((torch.float32, 0), (torch.float64, 0), (torch.float32, 1))
    )
    assert float((single - double).abs().max()) < 1e-5 < float((single - other).abs().max())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_vocabulary_is_the_actions_bos_and_pad_of_the_environment():
    import gymnasium

    env = gymnasium.make("toy_envs/Brackets-v0")
    config = small_transformer(env, "tiny").config
    mdp = Brackets()
    assert (config.vocab_size, config.bos_token_id, config.pad_token_id, config.eos_token_id) == (
        mdp.vocab_size + 2,
        mdp.bos_token_id,
        mdp.pad_token_id,
        mdp.eos_token_id,
    )


def test_wrong_names_are_refused_in_one_line():
    with pytest.raises(ValueError, match="size must be one of tiny, small, medium"):
        small_transformer(MDP, "huge")
    with pytest.raises(ValueError, match="qwen2, llama"):
        small_transformer(MDP, architecture="gpt")
