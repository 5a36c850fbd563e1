"""The loop of tokens: which rows go on, and how often a device is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies import TabularLM, sample_completions
from gnivo_edu.policies.drawn import Drawn, going_first, look_every
from gnivo_edu.policies.one_law import way_of
from toy_envs import TokenMDP

WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "bincount")
WAITING += ("masked_select", "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave")


@pytest.mark.parametrize("ends", ["", "0", "4", "034", "12", "01234", "0123"])
def test_the_last_rows_take_the_places_of_those_that_ended(ends: str) -> None:
    ended = torch.zeros(5, dtype=torch.bool)
    ended[[int(row) for row in ends]] = True
    order = going_first(ended, torch.zeros(5)).tolist()
    assert sorted(order) == [row for row in range(5) if str(row) not in ends]
    stayed = [row for row in range(len(order)) if not ended[row]]
    assert all(order[row] == row for row in stayed)


class Waits(TorchDispatchMode):
    """Counts the operations for which a device would be waited for."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.count += name in WAITING or (name.startswith("index") and chosen_by_mask(args))
        return func(*args, **(kwargs or {}))


def chosen_by_mask(args: Any) -> bool:
    """Whether a tensor is indexed by ones and zeros, of which the ones have to be counted."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else []
    return any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in indices)


@pytest.mark.parametrize(
    ("asking", "count"),
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: bool(x.any()), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x.index_put((x > 0,), x[0]), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x.masked_select(x > 0), 1),
        (lambda x: x.unique(), 1),
        (lambda x: x[x.long()], 0),
        (lambda x: x.masked_fill(x > 0, 2.0).cumsum(0), 0),
    ],
)
def test_what_waits_is_counted(asking: Any, count: int) -> None:
    with Waits() as waits:
        asking(torch.tensor([0.0, 1.0, 1.0]))
    assert waits.count == count


@contextmanager
def waits_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often each loop of tokens asks for numbers of a tensor."""
    counts: list[int] = []
    fill = Drawn.fill

    def counted(*args: Any, **kwargs: Any) -> None:
        with Waits() as waits, monkeypatch.context() as patched:
            for name in ("cpu", "numpy", "tolist"):
                original = getattr(Tensor, name)

                def asked(self: Tensor, original: Any = original, name: str = name) -> Any:
                    # `.cpu().numpy()` is one wait.
                    waits.count += name != "numpy"
                    return original(self)

                patched.setattr(Tensor, name, asked)
            fill(*args, **kwargs)
        counts.append(waits.count)

    monkeypatch.setattr(Drawn, "fill", counted)
    yield counts


@pytest.mark.parametrize("family", ["qwen2", "olmo2"])
def test_a_device_is_waited_for_once_in_every_few_tokens(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family)
    way_of(model)
    for looks in (7, 100):
        monkeypatch.setattr("gnivo_edu.policies.drawn.look_every", lambda device, n=looks: n)
        with waits_in_the_loop(monkeypatch) as counts:
            for horizon in (7, 14, 21):
                task = TokenMDP(3, horizon, prompts=[[3, 0], [3, 1]])
                sample_completions(model, task, 4, [0, 1])
        # Behind the tokens 1, 8, 15 and the last; behind the first and the last.
        assert counts == ([2, 3, 4] if looks == 7 else [2, 2, 2])


def test_how_often_is_looked_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look_every(torch.device("cpu")) == 1
    assert look_every(torch.device("cuda")) > 1
    task = TokenMDP(3, 7, eos_token_id=2, prompts=[[3, 0], [3, 1]])
    for model in (tiny_model("llama"), tiny_model("gpt2"), TabularLM.from_mdp(task, seed=1)):
        drawn = []
        for every in (1, 3, 100):
            monkeypatch.setattr("gnivo_edu.policies.drawn.look_every", lambda device, n=every: n)
            drawn.append(sample_completions(model, task, 8, [0, 1]))
        assert len(drawn[0].lengths.unique()) > 2
        for other in drawn[1:]:
            for name in ("tokens", "lengths", "truncated"):
                assert torch.equal(getattr(other, name), getattr(drawn[0], name))
            torch.testing.assert_close(other.logps, drawn[0].logps, rtol=0, atol=1e-5)


@pytest.mark.parametrize("every", [1, 100])
def test_nan_is_told_wherever_it_comes(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnivo_edu.policies.drawn.look_every", lambda device: every)
    task = TokenMDP(6, 12, eos_token_id=2, prompts=[[6, 0]])
    model = tiny_model("llama")
    way_of(model)
    embeddings = model.get_input_embeddings()

    def broken(_: nn.Module, args: Any, out: Tensor) -> Tensor:
        return out.masked_fill((args[0] == 4)[..., None], torch.nan)

    hook = embeddings.register_forward_hook(broken)
    with pytest.raises(ValueError, match="the policy gives nan"):
        sample_completions(model, task, 20)
    hook.remove()
    sample_completions(model, task, 20)


def test_an_end_that_is_no_action_and_padding_that_is_an_end() -> None:
    task = TokenMDP(6, 5, eos_token_id=2)
    task.eos_token_ids = (2, 90)
    task.pad_token_id = 2
    drawn = sample_completions(tiny_model("llama"), task, 40)
    for tokens, length, truncated in zip(
        drawn.tokens[0].tolist(),
        drawn.lengths[0].tolist(),
        drawn.truncated[0].tolist(),
        strict=True,
    ):
        end = tokens.index(2) if 2 in tokens else 5
        assert length == min(end + 1, 5)
        assert truncated == (end == 5)
        assert tokens[length:] == [2] * (5 - length)
