"""A card that is played by the CPU: tensors that say that they are on cuda and hold real numbers of
the CPU. An operation that mixes them with tensors of the CPU raises, as a real card would.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
CARD = torch.device("cuda")
# An index of a card's tensor may lie on the CPU.
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)


class Mixed(RuntimeError):
    """An operation got tensors of both devices."""


class OnCard(Tensor):
    """A tensor of the card; its numbers are `inner`. To torch itself it is one of the CPU, which
    has all kernels.
    """

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnCard:
        x: Any = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
        )
        x.inner = inner.detach()
        return x

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: CARD)
    is_cuda = property(lambda self: True)

    def __repr__(self, *_: Any, **__: Any) -> str:
        return f"OnCard({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    """What torch's own code calls."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What Python code calls: there the device is named."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda, torch.as_tensor):
            return _moved(func, args, kwargs)
        if func is Tensor.tolist and isinstance(args[0], OnCard):
            return args[0].inner.tolist()
        if func is Tensor.numpy and isinstance(args[0], OnCard):
            raise TypeError("a tensor of the card has no array: call .cpu() first")
        if _is_card(kwargs.get("device")):
            return OnCard(func(*args, **{**kwargs, "device": "cpu"}))
        return func(*args, **kwargs)


def _is_card(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _moved(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A tensor in another precision or on another device, with its gradient."""
    x, *rest = args
    if not isinstance(x, Tensor):
        device = kwargs.pop("device", None)
        made = func(x, *rest, **kwargs)
        return OnCard(made) if _is_card(device) else made
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    for way in rest:
        if isinstance(way, Tensor):
            device, dtype = way.device, way.dtype
        elif isinstance(way, torch.dtype):
            dtype = way
        elif isinstance(way, (str, torch.device)):
            device = way
    if func in (Tensor.cpu, Tensor.cuda):
        device = "cpu" if func is Tensor.cpu else "cuda"
    if dtype is not None:
        x = Tensor.to(x, dtype)
    if device is not None and _is_card(device) != isinstance(x, OnCard):
        moved: Any = (_Up if _is_card(device) else _Down).apply(x)
        return moved
    return x.clone() if kwargs.get("copy") else x


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return OnCard(x.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Tensor:
        inner: Tensor = gradient.inner
        return inner


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Tensor:
        inner: Tensor = x.inner
        return inner.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return OnCard(gradient)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    on_card = [x for x in tensors if isinstance(x, OnCard)]
    # A number of the CPU may be combined with anything, and anything may be copied over.
    beside = [x for x in tensors if not isinstance(x, OnCard) and x.dim() > 0]
    indexed = func in INDEXED and isinstance(args[0], OnCard)
    if on_card and beside and not indexed and func is not aten.copy_.default:
        shapes = [list(x.shape) for x in beside]
        raise Mixed(f"{func} got tensors of the card and of the CPU, the latter {shapes}")
    wrapped = {id(x.inner): x for x in on_card}
    to_card = bool(on_card)
    if func is aten.copy_.default:
        to_card = isinstance(args[0], OnCard)
    args, kwargs = tree_map(lambda x: x.inner if isinstance(x, OnCard) else x, (args, kwargs))
    out = func(*args, **kwargs)
    if not to_card:
        return out

    def on(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return wrapped[id(x)] if id(x) in wrapped else OnCard(x)

    return tree_map(on, out)


@contextmanager
def card() -> Iterator[None]:
    """Inside, tensors may be moved to cuda and made there, whether or not this torch knows it."""
    # Weights of a module that is moved become other parameters: theirs cannot change their class.
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Operations(), _Calls():
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
