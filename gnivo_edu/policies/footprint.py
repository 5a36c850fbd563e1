"""What a causal LM takes, from its configuration alone: its layers are run on tensors that have
shapes and hold no numbers, and what would have been allocated, multiplied and moved is counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from transformers import AutoModelForCausalLM

from gnivo_edu.policies.loading import quiet
from gnivo_edu.policies.recompute import recomputing


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a piece of work takes: most bytes alive at a time beyond those before it, bytes that
    stay; products (two operations each), bytes that are read and written, calls of a kernel.
    """

    peak: int = 0
    kept: int = 0
    flops: int = 0
    moved: int = 0
    calls: int = 0

    def times(self, count: float) -> Work:
        """The same, so often one after the other."""
        flops, moved, calls = (int(count * x) for x in (self.flops, self.moved, self.calls))
        return Work(peak=self.peak, kept=self.kept, flops=flops, moved=moved, calls=calls)


class Meter(TorchDispatchMode):
    """Counts what is done inside.

    >>> with FakeTensorMode(), Meter() as meter:
    ...     x = torch.ones(1000, 10) @ torch.ones(10, 10)
    >>> meter.flops, meter.work.kept  # float32: 4 bytes each
    (200000, 40000)
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.flops = self.moved = self.calls = 0
        self._known: set[int] = set()

    def knows(self, model: nn.Module) -> None:
        """Weights, buffers and gradients, which were there before, are not counted."""
        weights = list(model.parameters())
        gradients = [p.grad for p in weights if p.grad is not None]
        for x in (*weights, *model.buffers(), *gradients):
            self._known.add(x.untyped_storage()._cdata)

    @property
    def work(self) -> Work:
        """What was done so far."""
        counts = {"flops": self.flops, "moved": self.moved, "calls": self.calls}
        return Work(peak=self.peak, kept=self.live, **counts)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation of torch and count it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.calls += 1
        packet = func._overloadpacket
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **kwargs, out_val=out)
        new = [x for x in tree_leaves(out) if isinstance(x, Tensor) and self._note(x)]
        if new or func._schema.is_mutable:
            touched = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            self.moved += sum(x.numel() * x.element_size() for x in touched)
        return out

    def _note(self, x: Tensor) -> bool:
        """Whether a tensor has memory of its own, that was not there before."""
        storage = x.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return False
        self._known.add(key)
        weakref.finalize(storage, self._gone, key, size)
        self.live += size
        self.peak = max(self.peak, self.live)
        return True

    def _gone(self, key: int, size: int) -> None:
        self.live -= size
        self._known.discard(key)


class Shapes:
    """A causal LM without numbers, made from its configuration; `adapt` may put adapters on it.

    `bf16`: forward passes in bfloat16, as training does with float32 weights. Raises ValueError,
    in one line, on a model that decides by numbers what it computes, which nothing can count.
    """

    def __init__(
        self,
        config: Any,
        dtype: torch.dtype = torch.float32,
        bf16: bool = False,
        adapt: Callable[[Any], Any] = lambda model: model,
    ) -> None:
        self.bf16 = bf16
        self.mode = FakeTensorMode()
        self.name = str(getattr(config, "model_type", "model"))
        with self._counting(), quiet(True):
            with torch.device("meta"):
                model = adapt(AutoModelForCausalLM.from_config(config, dtype=dtype))
            with self.mode:
                _on_cpu(model)
        self.model: Any = model.eval()
        inner: Any = getattr(model, "get_base_model", lambda: model)()
        self.body: Any = inner.base_model
        self.head: Any = inner.get_output_embeddings()

    @property
    def weights(self) -> int:
        """Bytes of all weights."""
        return sum(p.nbytes for p in self.model.parameters())

    @property
    def trained(self) -> int:
        """Bytes of the weights that learn."""
        return sum(p.nbytes for p in self.model.parameters() if p.requires_grad)

    def forward(self, rows: int, length: int, masked: bool = False) -> Work:
        """Last hidden states of so many rows; `masked`: under a mask that is given, as packed rows
        have.
        """
        with self._counted() as meter, torch.no_grad():
            self._states(rows, length, masked=masked)
        return meter.work

    def backward(self, rows: int, length: int, masked: bool = False) -> tuple[Work, Work]:
        """The same with their graph; and with the way back through it, the gradients of the weights
        there already.
        """
        self.model.zero_grad(set_to_none=True)
        works: list[Work] = []
        for _ in range(2):  # the first one makes the gradients
            with self._counted() as meter, recomputing(self.model):
                states = self._states(rows, length, masked=masked)
                works.append(meter.work)
                if states.requires_grad:
                    states.sum().backward()
                del states
                works.append(meter.work)
        self.model.zero_grad(set_to_none=True)
        return works[2], works[3]

    def prompts(self, rows: int, length: int) -> tuple[Work, int, Any]:
        """Prompts run once, as sampling does; bytes of their keys and values; the cache."""
        with self._counted() as meter, torch.no_grad():
            ids = torch.zeros(rows, length, dtype=torch.int64)
            past = self.body(input_ids=ids, use_cache=True).past_key_values
            layers = getattr(past, "layers", ())
            kept = [x for layer in layers for x in vars(layer).values() if isinstance(x, Tensor)]
            cache = sum(x.numel() * x.element_size() for x in kept)
            work = meter.work
        return work, cache, past

    def token(self, rows: int, length: int) -> Work:
        """One more token to each of so many rows, behind `length` tokens in a cache."""
        _, _, past = self.prompts(rows, length)
        with self._counted() as meter, torch.no_grad():
            ids = torch.zeros(rows, 1, dtype=torch.int64)
            self.body(input_ids=ids, past_key_values=past, use_cache=True)
        return meter.work

    def _states(self, rows: int, length: int, masked: bool) -> Tensor:
        inputs: dict[str, Any] = {"input_ids": torch.zeros(rows, length, dtype=torch.int64)}
        if masked:
            inputs["attention_mask"] = torch.ones(rows, 1, length, length, dtype=torch.bool)
            inputs["position_ids"] = torch.zeros(rows, length, dtype=torch.int64)
        states: Tensor = self.body(**inputs, use_cache=False).last_hidden_state
        return states

    @contextmanager
    def _counted(self) -> Iterator[Meter]:
        meter = Meter()
        meter.knows(self.model)
        with (
            self._counting(),
            self.mode,
            meter,
            torch.autocast("cpu", torch.bfloat16, enabled=self.bf16),
        ):
            yield meter

    @contextmanager
    def _counting(self) -> Iterator[None]:
        try:
            yield
        except ValueError:
            raise
        except Exception as error:  # whatever a model raises where a number is asked for
            reason = " ".join(str(error).split())[:160]
            raise ValueError(
                f"what {self.name} takes cannot be counted from its configuration ({reason}): run "
                "a few steps and look at the memory"
            ) from error


def _on_cpu(model: nn.Module) -> None:
    """Weights and buffers of a model on the meta device as those on a CPU, still without numbers:
    kernels are chosen by the device. What is tied stays so.
    """
    twins: dict[int, Any] = {}
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            empty = twins.get(id(p))
            if empty is None:
                empty = nn.Parameter(torch.empty(p.shape, dtype=p.dtype), p.requires_grad)
            twins[id(p)] = empty
            setattr(module, name, empty)
        for name, x in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(x.shape, dtype=x.dtype))
