import pytest

import toy_envs
from gnivo_edu import exact, policies
from gnivo_edu.population import Answers
from tests.population.problems import REFERENCE, small_mdp

ALPHA = 0.5


@pytest.fixture(scope="session")
def tree():
    """A tree of 8 answers, a writer that is not its reference, and the best policy."""
    mdp = toy_envs.RandomTree(vocab_size=2, horizon=3)
    reference = policies.TabularLM.from_mdp(mdp, seed=4)
    key = exact.solve(exact.enumerate_tree(mdp, policies.tabulate(reference, mdp)), ALPHA)
    best = policies.TabularLM.from_tables(mdp, key.optimal_step_logps)
    return mdp, reference, policies.TabularLM.from_mdp(mdp, seed=7), best, key


@pytest.fixture(scope="session")
def brackets():
    mdp = toy_envs.Brackets(horizon=4)
    return mdp, policies.TabularLM.from_mdp(mdp, seed=2), policies.TabularLM.from_mdp(mdp)


@pytest.fixture(scope="session")
def answers() -> Answers:
    return Answers.of(exact.enumerate_tree(small_mdp(), REFERENCE))
