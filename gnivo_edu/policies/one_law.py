"""One law for each model: what is sampled with a cache, repeated and padded rows is what a plain
pass over one row scores. Looked at once a model; where a way of running it is another law, a
slower way is taken.
"""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gnivo_edu.policies.cached_rows import Rows, Way, window_of
from gnivo_edu.policies.heads import has_hidden_states
from gnivo_edu.policies.modes import device_of, evaluating

LENGTH, STEPS = 12, 2  # tokens of a probe, of them answer
# Largest difference, as a share of the largest logit, in float32 and float64.
ROUNDING = 1e-5
# Mean difference, as a share of the mean distance of a logit from the mean, in half precisions.
COARSE = 0.1
# Half-precision weights up to this size are looked at in float32, where a bound can be tight.
COPIED_BYTES = 2**30
# What each model was found to need, by whether rows are padded, and the state in which it was.
_known: weakref.WeakKeyDictionary[nn.Module, dict[bool, tuple[Any, Way]]]
_known = weakref.WeakKeyDictionary()


def way_of(policy: nn.Module, padded: bool = False) -> Way:
    """The fastest way to run a causal LM that gives the law of plain passes over single rows.

    The first time that it sees a model (and the first time that rows are `padded`) it runs a few
    tiny rows: whole, with a cache, chosen and put in another order, padded. In float32 and float64
    the logits must agree to 1e-5 of the largest. Tables and modules of logits only have no cache,
    and are not looked at. Raises ValueError, in one line that names the model, where even a single
    row is no law: a model that looks at later tokens, or that draws at random.

    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2))
    >>> way_of(model)
    Way(cache=True, positions=True, padding=True, together=True, direct=True)
    """
    if not has_hidden_states(policy):
        return Way()
    state = state_of(policy)
    known = _known.setdefault(policy, {})
    if padded in known and known[padded][0] == state:
        return known[padded][1]
    sound = way_of(policy) if padded else Way(positions=_takes_positions(policy))
    with evaluating(policy), precisely(device_of(policy)):
        probe = _Probe(policy)
        if not probe.readable(2 if padded else 0):
            return sound
        way = _padded_way(probe, sound) if padded else _plain_way(probe, sound)
    known[padded] = state, way
    return way


def _plain_way(probe: _Probe, fastest: Way) -> Way:
    """The first way in which rows of one length are as if alone."""
    ways = [
        fastest,
        replace(fastest, direct=False),
        replace(fastest, direct=False, positions=False),
        replace(fastest, direct=False, cache=False),
    ]
    for way in dict.fromkeys(ways):
        if probe.agrees(way, [1, 0]):
            return way
    if not probe.agrees(ways[-1], [0]):
        raise ValueError(
            f"{probe.name} has no law of the next token that could be sampled and scored: its "
            "logits at one token depend on the tokens that follow, or on chance; take a causal "
            f"language model{probe.trouble}"
        )
    return replace(ways[-1], together=False, padding=False)


def _padded_way(probe: _Probe, sound: Way) -> Way:
    """The same way, or the one without padding where a shorter row is not as if alone."""
    for way in (sound, replace(sound, direct=False)):
        if sound.together and probe.agrees(way, [0, 2]):
            return way
    return replace(sound, padding=False)


class _Probe:
    """Three tiny rows, two of one length and a shorter one, and their logits from plain passes over
    each.
    """

    def __init__(self, policy: nn.Module) -> None:
        self.name = type(getattr(policy, "get_base_model", lambda: policy)()).__name__
        self.policy, self.coarse = in_full_precision(policy)
        self.trouble = ""
        self.ids, self.prompts = probe_ids(policy)
        self._truth: dict[int, Tensor] = {}

    def readable(self, row: int) -> bool:
        """Whether there is something to see: where nothing fits there is not, and a model that
        gives nan is told so where it is used.
        """
        return min(self.prompts) > 0 and not bool(self.truth(row).isnan().any())

    def truth(self, row: int) -> Float[Tensor, "steps V"]:
        """Logits before each token of an answer, and behind the last: one row, nothing but ids."""
        if row in self._truth:
            return self._truth[row]
        prompt = self.prompts[row]
        ids = self.ids[row : row + 1, : prompt + STEPS]
        try:
            logits: Tensor = self.policy(input_ids=ids, use_cache=False).logits
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a model raises that wants more than tokens
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{self.name} cannot be run on plain rows of tokens ({reason[:200]}): take another "
                "model, or another precision"
            ) from error
        self._truth[row] = logits[0, prompt - 1 :]
        return self._truth[row]

    def _started(self, way: Way, rows: Sequence[int], tokens: Tensor | None = None) -> Rows:
        """The prompts of some rows, padded on the left where one is shorter."""
        width = max(self.prompts[row] for row in rows)
        prompts = self.ids.new_zeros(len(rows), width)
        mask = torch.zeros_like(prompts, dtype=torch.bool)
        for i, row in enumerate(rows):
            prompt = self.prompts[row]
            prompts[i, width - prompt :] = self.ids[row, :prompt]
            mask[i, width - prompt :] = True
        return Rows(self.policy, None, prompts=prompts, mask=mask, way=way, tokens=tokens)

    def _answers(self, rows: Sequence[int]) -> Int[Tensor, "B steps"]:
        return torch.stack(
            [self.ids[row, self.prompts[row] : self.prompts[row] + STEPS] for row in rows]
        )

    def agrees(self, way: Way, rows: Sequence[int]) -> bool:
        """Whether the last of some rows is as if alone: beside the others, and where they are
        repeated, put in another order, grown and chosen from.
        """
        truth = self.truth(rows[-1])
        watched = len(rows) - 1
        answers = torch.stack(
            [self.ids[row, self.prompts[row] : self.prompts[row] + STEPS] for row in rows]
        )
        try:
            started = self._started(way, rows)
            if not self._same(started.logits[watched], truth[0]):
                return False
            if self.prompts[rows[0]] != self.prompts[rows[-1]]:
                # Padded rows are run whole as well, as scoring runs them.
                whole = self._started(way, rows, tokens=answers).logits[watched]
                if not self._same(whole, truth[:-1]):
                    return False
            # Which row each stands for: all in reverse, the watched one again at the end.
            owner = torch.tensor([*reversed(range(len(rows))), watched])
            grown = started.repeated(owner, room=STEPS)
            for t in range(STEPS):
                grown.append(answers[owner, t].to(self.ids.device))
                for place in (owner == watched).nonzero()[:, 0].tolist():
                    if not self._same(grown.logits[place], truth[t + 1]):
                        return False
                going = torch.arange(len(owner)).flip(0)[:2]
                owner = owner[going]
                grown.keep(going.to(self.ids.device))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a model raises on a cache that it cannot reorder
            self.trouble = f" ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            return False
        return True

    def _same(self, given: Tensor, truth: Tensor) -> bool:
        gap = torch.where(given == truth, 0.0, (given.double() - truth.double()).abs())
        finite = truth[truth.isfinite()].double()
        if self.coarse:
            spread = float((finite - finite.mean()).abs().mean())
            return float(gap.mean()) <= COARSE * spread
        return float(gap.max()) <= ROUNDING * float(finite.abs().max())


def in_full_precision(policy: nn.Module) -> tuple[nn.Module, bool]:
    """(the model, in a copy of float32 if its weights are few and of a half precision; whether it
    still is of a half precision).
    """
    dtype = next(p.dtype for p in policy.parameters() if p.is_floating_point())
    if dtype in (torch.float32, torch.float64):
        return policy, False
    small = sum(p.nbytes for p in policy.parameters()) <= COPIED_BYTES
    if small and not getattr(policy, "is_quantized", False):
        return copy.deepcopy(policy).float(), False
    return policy, True


def probe_ids(policy: Any) -> tuple[Int[Tensor, "3 L"], list[int]]:
    """Ids of three rows, the same each time, and the lengths of their prompts; 0 where nothing fits
    the model's positions.
    """
    config = policy.config.get_text_config()
    longest = min(window_of(policy) or LENGTH, LENGTH) - STEPS
    width = policy.get_input_embeddings().weight.shape[0]
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    special = [getattr(config, name, None) for name in names]
    plain = [i for i in range(min(width, 1000)) if i not in special] or [0]
    ids = np.random.default_rng(0).choice(plain, (3, LENGTH))
    prompts = [longest, longest, max(longest - 4, 1)]
    pad = special[0]
    if isinstance(pad, int) and 0 <= pad < width:
        # Some count positions by the ids (RoBERTa): a padding token that was drawn has none.
        ids[:, prompts[-1] // 2] = pad
    return torch.from_numpy(ids).to(device_of(policy)), prompts if longest > 0 else [0]


@contextmanager
def precisely(device: torch.device) -> Iterator[None]:
    """No gradient, no half precision and no TF32 inside: rounding must not look like another
    law.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def _takes_positions(policy: Any) -> bool:
    """Whether positions can be given: to the model, or through it to what it wraps."""
    model = getattr(policy, "get_base_model", lambda: policy)()
    inner = getattr(model, "base_model", model)
    return any("position_ids" in inspect.signature(x.forward).parameters for x in (model, inner))


def state_of(policy: nn.Module) -> tuple[Any, ...]:
    """What the kernels of a model depend on; a change of it has the model looked at again."""
    parameter = next(policy.parameters())
    attention = getattr(getattr(policy, "config", None), "_attn_implementation", None)
    return parameter.dtype, parameter.device, attention


def parts_of(policy: nn.Module, lengths: Int[Tensor, " B"]) -> Iterator[tuple[Way, Tensor]]:
    """The way to run prompts of these lengths, with each set of rows that are run together."""
    way = way_of(policy, padded=bool((lengths != lengths[:1]).any()))
    for part in way.parts(lengths):
        yield way, part
