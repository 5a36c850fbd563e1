import pytest

from gnivo_edu.population.judge import judge
from tests.population.judge.subjects import leaks_padding, mean_over_length, reinforce


@pytest.fixture(scope="session")
def cards():
    asked = {
        "gvpo": ("gvpo", {}),
        "softmax": ("gnivo", {"weights": "softmax"}),
        "dr_grpo": ("dr_grpo", {}),
        "mean_over_length": (mean_over_length, {}),
        "leaks_padding": (leaks_padding, {"seconds": 3.0}),  # the contract needs no more
        "reinforce": (reinforce, {}),
    }
    # Minutes that no machine needs: what is left out for want of time must not decide a test.
    plenty = {"seconds": 600.0}
    return {
        name: judge(objective, **plenty | settings) for name, (objective, settings) in asked.items()
    }
