from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from gnivo_edu.training import trouble
from toy_envs import ArithmeticChain


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small models on one thread: more of them only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def alone_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run says that it waits for cores, whatever else this machine does."""
    monkeypatch.setattr(trouble, "WATCHED", float("inf"))


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it with the numbers of those questions of ArithmeticChain that cannot be graded."""

    def these(*numbers: int) -> None:
        gradable = np.setdiff1d(np.arange(4), numbers).astype(np.int64)
        monkeypatch.setattr(ArithmeticChain, "gradable", lambda self: gradable)

    return these
