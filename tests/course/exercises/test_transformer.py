"""Exercises 32 and 33: they are what the library computes; each known mistake is named, and named
alone.
"""

import numpy as np
import pytest
import torch

import toy_envs
from gnivo_edu import policies
from gnivo_edu.course import check
from gnivo_edu.evaluation import agreement


def test_their_numbers():
    assert check.answer_logps.statement.startswith("Exercise 32: ")
    assert check.rank_correlation.statement.startswith("Exercise 33: ")


@pytest.mark.parametrize(
    "env", [toy_envs.Brackets(5), toy_envs.ArithmeticChain(), toy_envs.RandomTree(3, 4)]
)
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_answer_logps_is_the_librarys_reading_of_a_transformer(env, architecture):
    model = policies.small_transformer(
        env, "tiny", architecture, torch.float64, initializer_range=0.4
    )
    groups = policies.sample_completions(model, env, 6, [0])
    tokens, lengths = groups.tokens[0], groups.lengths[0]
    prompt = torch.from_numpy(env.prompts()[0]).expand(6, -1)
    with torch.no_grad():
        logits = model(input_ids=torch.cat([prompt, tokens], 1)).logits.numpy()
    found = check.answer_logps.reference(
        logits, tokens.numpy(), lengths.numpy(), prompt.shape[1], env.vocab_size
    )
    with torch.no_grad():
        library = policies.token_logps(model, env, tokens, lengths)
    np.testing.assert_allclose(found, library, atol=1e-13)
    np.testing.assert_allclose(found, groups.logps[0], atol=1e-13)


def test_rank_correlation_is_the_librarys():
    rng = np.random.default_rng(0)
    for ties in (3, 10, 10**9):
        x, y = rng.integers(ties, size=40) / 4, rng.standard_normal(40)
        for a, b in ((x, y), (y, x), (x, x + 0.1 * y)):
            library = agreement.rank_correlation(a, b)
            assert check.rank_correlation.reference(a, b) == pytest.approx(library, abs=1e-14)


def test_other_ways_to_write_them_are_right():
    def in_torch(logits, tokens, lengths, prompt_width, num_actions):
        z = torch.tensor(logits)[:, prompt_width - 1 : -1, :num_actions].log_softmax(-1)
        ids = torch.tensor(tokens).clamp(max=num_actions - 1)
        chosen = z.gather(-1, ids[..., None])[..., 0]
        return chosen.masked_fill(torch.arange(ids.shape[1]) >= torch.tensor(lengths)[:, None], 0.0)

    def by_sorting(x, y):
        def ranks(v):
            _, place, count = np.unique(v, return_inverse=True, return_counts=True)
            return (np.cumsum(count) - (count - 1) / 2)[place]

        return np.corrcoef(ranks(x), ranks(y))[0, 1]

    for seed in range(10):
        check.answer_logps.run(in_torch, seed)
        check.rank_correlation.run(by_sorting, seed)
