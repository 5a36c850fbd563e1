"""Whether a model gives in packed rows what it gives in plain ones, with a beginning computed once
and without: looked at once a model, on two tiny prompts and their answers, states and gradients.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnivo_edu.policies.cached_rows import window_of
from gnivo_edu.policies.heads import find_head
from gnivo_edu.policies.modes import device_of, evaluating
from gnivo_edu.policies.one_law import (
    COARSE,
    in_full_precision,
    precisely,
    probe_ids,
    state_of,
    way_of,
)
from gnivo_edu.policies.packed import Answers, Layout, Packed, packed_rows

# Largest difference, as a share of the largest value, in float32 and float64.
STATES, GRADIENTS = 1e-5, 1e-4
SHARED = 2  # tokens that the two prompts begin with, where that is looked at
# What was seen of each model, with so many shared tokens, and the state in which it was.
_known: weakref.WeakKeyDictionary[nn.Module, dict[int, tuple[Any, bool]]]
_known = weakref.WeakKeyDictionary()


def takes_packed_rows(policy: nn.Module, beginning: bool = False) -> bool:
    """Whether packed rows are exact, those behind a `beginning` that is computed once or those
    without: last hidden states, and the gradient of the embedded tokens.

    The first time that it sees a model it runs, packed and apart, three answers to a prompt of four
    tokens and two to one of three. In float32 and float64 the states must agree to 1e-5 of the
    largest, the gradients to 1e-4; in half precisions (of models too large for a copy) on average.
    False for models that take no such mask or no positions, that look back by other means
    (recurrences, convolutions, ALiBi), and that raise.

    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> takes_packed_rows(GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2)))
    True
    """
    state, shared = state_of(policy), SHARED if beginning else 0
    known = _known.setdefault(policy, {})
    if shared in known and known[shared][0] == state:
        return known[shared][1]
    exact = way_of(policy).together and _is_exact(policy, shared)
    known[shared] = state, exact
    return exact


def as_known(policy: nn.Module, original: nn.Module) -> None:
    """What was seen of a model goes for a copy of it, with whatever weights."""
    if original in _known:
        _known[policy] = dict(_known[original])


def _is_exact(policy: nn.Module, shared: int) -> bool:
    with (
        torch.inference_mode(False),
        evaluating(policy),
        precisely(device_of(policy)),
        torch.enable_grad(),
    ):
        try:
            model, coarse = in_full_precision(policy)
            answers = _probe(model, shared)
            backbone = find_head(model)[0]
            rows = packed_rows(answers, device_of(model), Layout(shared=shared))
            embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
            truth = _apart(backbone, answers, embedding, shared=shared)
            packed = _together(backbone, rows, embedding)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whatever a model raises on a mask or on positions that it cannot take
            return False
        return all(
            _same(given, true, bound=bound, coarse=coarse)
            for given, true, bound in zip(packed, truth, (STATES, GRADIENTS), strict=True)
        )


def _probe(policy: nn.Module, shared: int) -> Answers:
    """Three answers to a prompt of four tokens, two to one of three, which begin with the same."""
    if (window_of(policy) or 6) < 6:
        raise ValueError("no room for the probe")
    ids = probe_ids(policy)[0].cpu().numpy()
    ids[1, 1 : 1 + shared] = ids[0, :shared]
    owner = np.array([0, 0, 0, 1, 1])
    mask = np.array([[1, 1, 1, 1], [0, 1, 1, 1]], dtype=bool)
    return Answers(
        prompts=ids[:2, :4][owner],
        mask=mask[owner],
        tokens=ids[:, 4:].flatten()[:15].reshape(5, 3),
        lengths=np.array([3, 2, 3, 1, 3]),
        owner=owner,
    )


def _apart(
    backbone: nn.Module, answers: Answers, embedding: nn.Module, shared: int
) -> tuple[Tensor, Tensor]:
    """States before each token and gradients of the embedded tokens, prompt by prompt, from plain
    rows that hold nothing but ids; the gradients of a prompt summed over its rows, those of the
    beginning, which come first, over all rows.
    """
    states: list[Tensor] = []
    beginning: Tensor | float = 0.0
    gradients: list[Tensor] = []
    device = device_of(backbone)
    for owner in np.unique(answers.owner):
        own = answers.owner == owner
        prompts = answers.prompts[own][:, answers.mask[own][0]]
        start = prompts.shape[1]
        ids = np.concatenate([prompts, answers.tokens[own][:, :-1]], 1)
        with _leaf(embedding) as leaves:
            out = backbone(input_ids=torch.from_numpy(ids).to(device), use_cache=False)
        steps = np.arange(answers.tokens.shape[1])
        scored = torch.from_numpy(steps < answers.lengths[own, None]).to(device)
        read = torch.from_numpy(steps[:-1] < answers.written[own, None]).to(device)
        before = out.last_hidden_state[:, start - 1 :][scored]
        (gradient,) = _gradients(before, leaves, first=sum(len(x) for x in states))
        states.append(before.detach())
        prompt = gradient[:, :start].sum(0)
        beginning = beginning + prompt[:shared]
        gradients += [prompt[shared:], gradient[:, start:][read]]
    return torch.cat(states), torch.cat([torch.as_tensor(beginning), *gradients])


def _together(backbone: nn.Module, rows: Packed, embedding: nn.Module) -> tuple[Tensor, Tensor]:
    """The same from packed rows."""
    with _leaf(embedding) as leaves:
        states = rows.states(backbone)
    *beginning, within = _gradients(states, leaves)
    return states.detach(), torch.cat([*(x[0] for x in beginning), within[rows.block >= 0]])


def _gradients(
    states: Float[Tensor, "M H"], leaves: list[Tensor], first: int = 0
) -> tuple[Tensor, ...]:
    """Gradients of a fixed sum over states, of which these are those from number `first` on."""
    numbers = torch.arange(states.numel(), device=states.device) + first * states.shape[1]
    weights = numbers.double().sin().to(states.dtype).view_as(states)
    return torch.autograd.grad((weights * states).sum(), leaves)


@contextmanager
def _leaf(embedding: nn.Module) -> Iterator[list[Tensor]]:
    """Embedded tokens as leaves of the graph: a gradient is there, whatever parameters train."""
    leaves: list[Tensor] = []

    def cut(module: nn.Module, args: Any, out: Tensor) -> Tensor:
        leaves.append(out.detach().requires_grad_())
        return leaves[-1]

    handle = embedding.register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()


def _same(given: Tensor, truth: Tensor, bound: float, coarse: bool) -> bool:
    gap, truth = (given.double() - truth.double()).abs(), truth.double()
    if coarse:
        return float(gap.mean()) <= COARSE * float((truth - truth.mean()).abs().mean())
    return float(gap.max()) <= bound * float(truth.abs().max())
