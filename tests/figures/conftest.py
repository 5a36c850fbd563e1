import pytest
from matplotlib.text import Text

import toy_envs
from gnivo_edu import exact


@pytest.fixture(scope="session")
def problem():
    return toy_envs.PosterProblem()


@pytest.fixture(scope="session")
def key(problem):
    return exact.solve(exact.enumerate_tree(problem), alpha=0.5)


@pytest.fixture(scope="session")
def brackets():
    return toy_envs.Brackets()


@pytest.fixture(scope="session")
def bracket_key(brackets):
    return exact.solve(exact.enumerate_tree(brackets), alpha=0.2)


@pytest.fixture(scope="session")
def words():
    """All texts that a matplotlib figure draws."""
    return lambda figure: [
        t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()
    ]
