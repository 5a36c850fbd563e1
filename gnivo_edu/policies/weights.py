"""Whether a file of weights is one of its configuration: names, shapes, kinds, ties and numbers."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM

from gnivo_edu.policies.tabular import TabularLM

# Masks and angles that old versions of transformers saved beside the weights; no weight is lost.
CONSTANTS = re.compile(r"(\.(attn|attention)\.(masked_)?bias|\.inv_freq|\.?position_ids)$")
FILES = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)")
# What files of the two kinds call the floating types.
PRECISIONS = {
    **{"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32, "f64": torch.float64},
    **{"bfloat16": torch.bfloat16, "float16": torch.float16},
    **{"float32": torch.float32, "float64": torch.float64},
}
# A configuration of more weights than this many times those of the file was never theirs.
TOO_MANY = 2


class UnfitWeights(ValueError):
    """The files of a model and its configuration say different things, or hold no numbers."""


def folder_of(source: str) -> Path | None:
    """The folder of a model on this machine, also of a hub id that was loaded; None if there is
    none.
    """
    if Path(source).is_dir():
        return Path(source)
    config = try_to_load_from_cache(source, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def headers(folder: Path) -> Iterator[tuple[str, str, int]]:
    """(name, dtype, number of entries) of each tensor in the files of weights; none is read."""
    files = sorted(file for file in folder.iterdir() if FILES.fullmatch(file.name))
    kinds = {file.suffix for file in files}
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    header = tensors.get_slice(name)
                    yield name, header.get_dtype(), math.prod(header.get_shape())
        elif kinds == {".bin"} and zipfile.is_zipfile(file):
            for name, x in torch.load(file, mmap=True, weights_only=True).items():
                yield name, str(x.dtype).removeprefix("torch."), x.numel()


def precision_of(folder: Path) -> torch.dtype | None:
    """The floating type of most entries in the files of weights; None where they hold none, or are
    quantised.
    """
    entries: dict[str, int] = {}
    for _, kind, count in headers(folder):
        entries[kind.lower()] = entries.get(kind.lower(), 0) + count
    floating = {kind: count for kind, count in entries.items() if kind in PRECISIONS}
    if not floating or is_packed(folder):
        return None
    return PRECISIONS[max(floating, key=lambda kind: floating[kind])]


def check_size(config: Any, folder: Path, name: str) -> None:
    """Raise UnfitWeights on a configuration of many times the weights in the files, before a model
    of its size is made.
    """
    count = sum(entries for _, _, entries in headers(folder))
    text = config.get_text_config()
    names = ("hidden_size", "num_hidden_layers", "vocab_size")
    sizes: list[Any] = [getattr(text, name, None) for name in names]
    if not count or is_packed(folder) or not all(isinstance(size, int) for size in sizes):
        return
    width, layers, words = sizes
    # Most models have more than this. Those that have not are counted without being made.
    if words * width + layers * width**2 <= TOO_MANY * count:
        return
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    by_config = sum(parameter.numel() for parameter in model.parameters())
    if by_config > TOO_MANY * count:
        raise UnfitWeights(
            f"{name!r} does not fit its config.json: {by_config:,} weights by the configuration "
            f"(hidden_size {width}, {layers} layers, vocab_size {words}) and {count:,} in the file"
        )


def is_packed(folder: Path) -> bool:
    """Whether the configuration says that its weights are quantised, so that integers are right."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return not config.keys().isdisjoint(("quantization_config", "compression_config"))


def check_weights(model: Any, info: dict[str, Any], folder: Path | None, name: str) -> None:
    """Raise UnfitWeights, in one line that names a tensor, where the files of a model and its
    configuration say different things; `info`: what the loader says of them.
    """
    _check_names(info, name)
    if folder is not None and not is_packed(folder):
        _check_kinds(model, folder, name=name)
    _check_ties(model, name)
    _check_numbers(model, name)


def _check_names(info: dict[str, Any], name: str) -> None:
    for weight, in_file, by_config in sorted(info["mismatched_keys"]):
        raise UnfitWeights(
            f"{name!r} does not fit its config.json: {weight} is {list(in_file)} in the file and "
            f"{list(by_config)} by the configuration"
        )
    if info["missing_keys"]:
        raise UnfitWeights(
            f"{name!r} is no causal language model: it lacks weights, such as "
            f"{sorted(info['missing_keys'])[0]}"
        )
    if beyond := sorted(key for key in info["unexpected_keys"] if not CONSTANTS.search(key)):
        raise UnfitWeights(
            f"{name!r} does not fit its config.json: the configuration has no place for "
            f"{len(beyond)} of the weights in the file, such as {beyond[0]}"
        )


def _check_kinds(model: Any, folder: Path, name: str) -> None:
    """Integers in the place of weights lack the scales that they were divided by."""
    counters = {
        buffer.rpartition(".")[2]
        for buffer, x in model.named_buffers()
        if not x.is_floating_point()
    }
    for weight, dtype, _ in headers(folder):
        kind = dtype.lower()
        is_number = kind.startswith(("f", "bf"))
        if is_number or CONSTANTS.search(weight) or weight.rpartition(".")[2] in counters:
            continue
        raise UnfitWeights(
            f"{name!r} does not fit its config.json: {weight} holds integers ({kind}), and the "
            "configuration has no quantization_config that says what they stand for"
        )


def _check_ties(model: Any, name: str) -> None:
    """Versions of the library differ in what they do where the file holds two and says that they
    are one.
    """
    if getattr(model, "is_quantized", False):
        return
    ties = model.get_expanded_tied_weights_keys(all_submodels=True)
    for weight, source in sorted(ties.items()):
        if model.get_parameter_or_buffer(weight) is not model.get_parameter_or_buffer(source):
            raise UnfitWeights(
                f"{name!r} does not fit its config.json: tie_word_embeddings makes {weight} and "
                f"{source} one, and the file holds two; set it to false in config.json to keep both"
            )


def _check_numbers(model: Any, name: str) -> None:
    # A table has answers that are never given.
    free = isinstance(model, TabularLM)
    for weight, x in model.named_parameters():
        if x.is_floating_point() and not _is_finite(x.detach().clamp(min=-1) if free else x):
            raise UnfitWeights(
                f"{name!r} cannot be used: {weight} holds nan or inf (as {x.dtype}); take an "
                "earlier checkpoint, or a wider dtype"
            )
    for buffer, x in model.named_buffers():  # some masks are infinite
        if x.is_floating_point() and bool(x.isnan().any()):
            raise UnfitWeights(f"{name!r} cannot be used: {buffer} holds nan")


@torch.no_grad()
def _is_finite(x: Tensor) -> bool:
    """Whether no entry is nan or inf. A sum is, unless one is or it overflows: it is taken first,
    since it needs no memory.
    """
    return math.isfinite(float(x.sum(dtype=torch.float32))) or bool(x.isfinite().all())
