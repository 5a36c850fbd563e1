"""Random batches and settings through every objective: see `fuzz`."""

from __future__ import annotations

import pytest

from tests.objectives.fuzz import fuzz

LAST_OF_THE_SHORT_FORM = 10**6


@pytest.mark.parametrize(
    ("seconds", "start"),
    [
        pytest.param(6, 0, marks=pytest.mark.slow),
        pytest.param(120, LAST_OF_THE_SHORT_FORM, marks=pytest.mark.nightly),
    ],
)
def test_random_batches_keep_every_promise(seconds: float, start: int) -> None:
    counts = fuzz(seconds, start)
    # Some hundreds a second where nothing else runs.
    assert counts["trials"] > seconds
    assert counts["directions"] > seconds
    assert sum(n for kind, n in counts.items() if kind.startswith("extreme, finite")) > seconds / 4
