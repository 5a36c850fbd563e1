"""Implicit against exact values: equal for the optimal policy, counted by brute force, and learned
from samples.
"""

import itertools
import json

import numpy as np
import pytest
import torch

from gnivo_edu import exact
from gnivo_edu.evaluation.agreement import value_agreement
from gnivo_edu.policies import TabularLM, load_transformer, small_transformer, tabulate
from gnivo_edu.training import fine_tune, load_config
from toy_envs import ArithmeticChain, Brackets, PosterProblem, RandomTree

ALPHA = 0.5


def far_from_uniform(mdp, seed):
    return small_transformer(mdp, "tiny", dtype=torch.float64, seed=seed, initializer_range=0.4)


def test_the_values_are_those_of_a_sum_over_answers():
    """V = log E_ref[e^{R/alpha} | s] and log pi/pi_ref, from the answers one by one: no recursion,
    no tables.
    """
    mdp = Brackets(3)
    policy, reference = far_from_uniform(mdp, 1), far_from_uniform(mdp, 2)
    laws = []
    for model in (policy, reference):
        tables, law = tabulate(model, mdp), {}
        for answer in itertools.product(range(mdp.vocab_size), repeat=mdp.horizon):
            end = (
                next(
                    (t for t, token in enumerate(answer) if token == mdp.eos_token_id),
                    mdp.horizon - 1,
                )
                + 1
            )
            number, logp = 0, 0.0
            for t, token in enumerate(answer[:end]):
                logp += tables[t][number, token]
                number = number * mdp.vocab_size + token
            law[answer[:end]] = np.exp(logp)
        laws.append(law)
    ours, theirs = laws
    tilt = {
        y: p * np.exp(mdp.reward(np.array([y]), np.array([len(y)]))[0] / ALPHA)
        for y, p in theirs.items()
    }
    log_z = np.log(sum(tilt.values()))
    wanted = {}
    for prefix in {y[:t] for y in theirs for t in range(1, len(y) + 1)}:
        own, base, tilted = (
            sum(law[y] for y in law if y[: len(prefix)] == prefix) for law in (ours, theirs, tilt)
        )
        wanted[prefix] = np.log(own / base) + log_z, np.log(tilted / base), np.log(base)
    found = value_agreement(policy, reference, mdp, ALPHA)
    assert len(found.exact) == len(wanted)
    for t, number, *values in zip(
        found.depth, found.prefix, found.implicit, found.exact, found.logp, strict=True
    ):
        prefix = tuple(int(x) for x in np.base_repr(number, mdp.vocab_size).zfill(t))
        np.testing.assert_allclose(values, wanted[prefix], atol=1e-10)


def test_the_optimal_policy_agrees_and_its_shuffled_values_do_not():
    mdp = ArithmeticChain()
    reference = TabularLM.from_mdp(mdp, seed=0)
    keys = [
        exact.solve(exact.enumerate_tree(mdp, tabulate(reference, mdp, i), i), ALPHA)
        for i in range(4)
    ]
    optimal = TabularLM.from_mdp(mdp)
    for i, key in enumerate(keys):
        own = TabularLM.from_tables(mdp, key.optimal_step_logps)
        found = value_agreement(own, reference, mdp, ALPHA, prompts=[i])
        assert found.rms < 1e-12
        assert found.rank_correlation == pytest.approx(1, abs=1e-12)
        assert sorted(found.shuffled.round(9)) == sorted(found.implicit.round(9))
        for t in set(found.depth):  # dealt out within a depth
            same = found.depth == t
            assert sorted(found.shuffled[same]) == sorted(found.implicit[same])
        assert found.shuffled_rank_correlation < 0.3  # what the depth alone explains
        assert found.shuffled_rms > 0.1
    everything = value_agreement(optimal, reference, mdp, ALPHA)
    assert set(everything.prompt) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"prompts": [1]}, "prompts must be in 0..0"),
        ({"prompts": []}, "prompts must be"),
        ({"alpha": 0}, "alpha"),
    ],
)
def test_what_cannot_be_compared_is_refused(asked, message):
    mdp = RandomTree(vocab_size=2, horizon=2)
    policy = TabularLM.from_mdp(mdp)
    with pytest.raises(ValueError, match=message):
        value_agreement(policy, policy, mdp, **{"alpha": ALPHA, **asked})


@pytest.mark.slow
def test_a_transformer_trained_on_samples_ranks_the_steps_as_enumeration_does(tmp_path):
    """Sampled groups, Adam and a network that shares its weights: 0.95 and better, beside the
    shuffled control.
    """
    torch.set_num_threads(1)
    base = tmp_path / "base"
    small_transformer(PosterProblem(), "tiny", seed=1, initializer_range=0.2).save_pretrained(base)
    config = load_config(
        model=str(base),
        task="toy_envs/PosterProblem-v0",
        objective_options={"alpha": ALPHA, "reward_max": 1.0},
        reference="initial",
        sampler="reference",
        steps=800,
        prompts_per_step=4,
        group_size=32,
        learning_rate=3e-3,
        schedule="cosine",
        max_grad_norm=1e9,
        completions_every=400,
        save_every=10_000,
        out=str(tmp_path / "run"),
    )
    trained = fine_tune(config)
    found = value_agreement(
        trained.policy.double(), load_transformer(base, torch.float64), PosterProblem(), ALPHA
    )
    assert found.rank_correlation >= 0.95
    assert found.rms < 0.08
    assert found.shuffled_rank_correlation < 0.3
    assert found.shuffled_rms > 5 * found.rms
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    logged = {row["step"]: row["value/exact_error"] for row in rows if "value/exact_error" in row}
    assert list(logged) == [0, 400, 799]
    assert logged[0] > logged[400] > logged[799] == pytest.approx(found.rms, rel=1e-3)
