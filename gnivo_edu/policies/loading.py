"""Load a policy by its name: a model of the hub or a folder, one that ships, or a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from gnivo_edu.machine import hub_answers
from gnivo_edu.names import home
from gnivo_edu.policies.fetch import MODELS, fetched
from gnivo_edu.policies.tabular import TabularLM
from gnivo_edu.policies.weights import UnfitWeights, check_size, check_weights, folder_of
from toy_envs import TokenMDP

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"


def load_policy(
    name: str, dtype: torch.dtype = torch.float32, task: TokenMDP | None = None
) -> tuple[Any, Any]:
    """(policy, tokenizer) of any name that a command or a configuration takes; dropout off, CPU.

    "table": a `TabularLM` for `task`; "shipped": the small transformer for arithmetic; "smollm2":
    the small real model that `gnivo-edu fetch smollm2` brings; the folder of a model that was
    trained here; any other folder or hub id (`load_model`). The tokenizer is
    None where the tokens are those of a toy environment. In float64 the norms keep float64. Raises
    ValueError, in one line, on what cannot be loaded.

    >>> policy, tokenizer = load_policy("table", torch.float64, TokenMDP(2, 3))
    >>> type(policy).__name__, tokenizer
    ('TabularLM', None)
    """
    folder = home(name) if name else Path()
    has_config = (folder / "config.json").is_file()
    if name == "table":
        if task is None:
            raise ValueError("a table holds a row for each prefix of its task: give the task too")
        return TabularLM.from_mdp(task, dtype=dtype), None
    if name == "shipped":
        return load_checkpoint("arithmetic", dtype), None
    if (folder / "adapter_config.json").is_file() and not has_config:
        raise ValueError(
            f"{name!r} holds adapters alone: a run's whole model is in model/, merged with them"
        )
    if name and folder.is_dir() and not any(folder.glob("tokenizer*")):
        return _transformer(folder, dtype), None
    policy, tokenizer = load_model(name, dtype)
    if dtype == torch.float64:
        precise_norms(policy)
    return policy, tokenizer


def load_model(
    path_or_id: str | PathLike[str], dtype: torch.dtype = torch.float32
) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder or a Hugging Face hub id, in `dtype`, dropout off, CPU.

    Raises ValueError, in one line, on a folder that is missing or holds no causal language model,
    on weights that do not fit the configuration or hold nan, on an id that the hub does not have,
    and where the hub cannot be reached.
    """
    source, name, local = _place(path_or_id)
    model, tokenizer = _read(source, name, local=local, dtype=dtype, tokenizer=True)
    return model.eval(), tokenizer


def load_tokenizer(path_or_id: str | PathLike[str]) -> Any:
    """The tokenizer of a model, without its weights; raises ValueError as `load_model` does."""
    source, name, local = _place(path_or_id)
    with _telling(name, local):
        return AutoTokenizer.from_pretrained(source)


def load_config(name: str) -> Any:
    """The configuration of a model that `load_policy` takes, without its weights; not of a table.
    Raises ValueError as `load_model` does.

    >>> load_config("shipped").hidden_size
    96
    """
    if name == "shipped":
        return AutoConfig.from_pretrained(CHECKPOINTS / "arithmetic")
    source, name, local = _place(name)
    with _telling(name, local):
        return AutoConfig.from_pretrained(source)


def load_words(name: str) -> Any:
    """The tokenizer that `load_policy` would give beside the model, None where it gives none."""
    folder = home(name) if name else Path()
    own_tokens = folder.is_dir() and not any(folder.glob("tokenizer*"))
    return None if name == "shipped" or own_tokens else load_tokenizer(name)


def _place(path_or_id: str | PathLike[str]) -> tuple[str, str, bool]:
    """(folder or hub id to read, what errors call it, whether it is a folder of the user's)."""
    name = fspath(path_or_id)
    if name in MODELS and not home(name).is_dir():
        name = str(fetched(name))
    if name == "PATH_OR_HUB_ID":
        raise ValueError(
            "PATH_OR_HUB_ID stands for a model: give its folder or hub id, "
            "with train by --set model=..."
        )
    folder = home(name) if name else Path()
    local = bool(name) and folder.exists()
    if not local and (name.startswith(("/", ".", "~")) or name.count("/") > 1 or not name):
        raise ValueError(
            f"there is no folder {name!r}: give the folder of a model, or a hub id such as "
            "owner/name"
        )
    if local:
        _check_config(folder)
    source = str(folder) if local else name
    if not local and not hub_answers(name):
        try:
            source = snapshot_download(name, local_files_only=True)
        except LocalEntryNotFoundError as error:
            raise ValueError(
                f"there is no folder {name!r}, and the hub cannot be reached: a hub id needs a "
                "connection, or the files in the cache"
            ) from error
    return source, name, local


def load_transformer(
    folder: str | PathLike[str], dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A transformer that `save_pretrained` wrote, with norms that keep float64, dropout off.

    Raises ValueError, in one line, on a folder that holds no model, and on weights that do not fit
    the configuration or hold nan.
    """
    return _transformer(home(folder, what="the folder"), dtype)


def _transformer(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    _check_config(folder)
    model, _ = _read(str(folder), str(folder), local=True, dtype=dtype, tokenizer=False)
    return precise_norms(model).eval()


def load_checkpoint(
    name: str = "arithmetic", dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A pretrained small transformer that ships with the package; how it was made lies beside it,
    in recipe.json.

    "arithmetic": for `toy_envs.ArithmeticChain(base=10, digits=2)` with any number of operations.
    It has learned the bad habit of its demonstrations, so that there is something to mend. Raises
    ValueError on an unknown name."""
    known = sorted(
        folder.name for folder in CHECKPOINTS.iterdir() if (folder / "config.json").is_file()
    )
    if name not in known:
        raise ValueError(f"there is no checkpoint {name!r}; known: {', '.join(known)}")
    return _transformer(CHECKPOINTS / name, dtype)


def _read(
    source: str, name: str, local: bool, dtype: torch.dtype, tokenizer: bool
) -> tuple[Any, Any]:
    """(model, tokenizer or None) from a folder, all of whose weights fit all of its configuration;
    `name`: what errors call it.
    """
    with _telling(name, local):
        config = None
        if local:
            config = AutoConfig.from_pretrained(source)
            check_size(config, Path(source), name=name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are named below
        )
        words = AutoTokenizer.from_pretrained(source) if tokenizer else None
        model, info = loaded
        check_weights(model, info, folder_of(source), name=name)
    return model, words


@contextmanager
def _telling(name: str, local: bool) -> Iterator[None]:
    """Quiet inside, and whatever a loader raises on files that it cannot read is one line."""
    try:
        with quiet(local):
            yield
    except UnfitWeights:
        raise
    except Exception as error:
        lines = (str(error).strip() or type(error).__name__).splitlines()
        # Where the first line only announces the reason, it is the second.
        reason = " ".join(lines[: 2 if lines[0].endswith(":") else 1]).strip()
        hint = "" if local else " (a hub id needs a connection, or the files in the cache)"
        raise ValueError(
            f"{name!r} could not be loaded as a causal language model{hint}: {reason}"
        ) from error


def _check_config(folder: Path) -> None:
    """Raise ValueError on a folder without a model; that of a run has one inside."""
    if (folder / "config.json").is_file():
        return
    hint = "give one that save_pretrained or pretrain wrote"
    if (folder / "model" / "config.json").is_file():
        hint = f"did you mean {str(folder / 'model')!r}?"
    raise ValueError(f"the folder {str(folder)!r} holds no config.json: {hint}")


@contextmanager
def quiet(local: bool) -> Iterator[None]:
    """No progress bars for files that are here already, and no warnings: what matters is raised."""
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.set_verbosity_error()
    if local:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


# --- norms that keep float64 inside a model of float64 --------------------------------------------


class PreciseRMSNorm(nn.Module):
    """x / sqrt(mean x^2 + eps) times `offset` + weight, in the precision of x, at least float32.

    The library's own norm computes in float32 whatever x is: inside a float64 model it leaves
    errors of 1e-7, which no gradient check to 1e-12 and no exact fit survives. The weight keeps its
    name, so that saving and loading do not see the difference. `offset` 1: weights that are stored
    less 1 (Gemma). Source: Zhang and Sennrich (2019), arXiv:1910.07467, Eq. 4.
    """

    def __init__(self, weight: Tensor, eps: float, offset: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.eps = eps
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        if self.offset:
            return ((self.offset + self.weight.to(wide.dtype)) * (wide * scale)).to(x.dtype)
        return self.weight * (wide * scale).to(x.dtype)


def precise_norms(model: PreTrainedModel) -> PreTrainedModel:
    """Replace every RMSNorm of a transformer, in place, by one that keeps float64; returns the
    model.

    A norm that computes something else (without a weight, with a gate) is left as it is. In float64
    mixtures of experts take one expert after the other, since the fused kernel knows no float64.
    """
    for name, module in list(model.named_modules()):
        is_norm = type(module).__name__.endswith("RMSNorm")
        if not is_norm or isinstance(module, PreciseRMSNorm):
            continue
        if (twin := _precise_twin(module)) is not None:
            model.set_submodule(name, twin)
    if model.dtype == torch.float64 and hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    return model


@torch.no_grad()
def _precise_twin(norm: Any) -> PreciseRMSNorm | None:
    """The norm that keeps float64 and agrees with one of the library on a vector, None if there is
    none.
    """
    names = ("variance_epsilon", "eps", "epsilon")
    eps = next((getattr(norm, name) for name in names if hasattr(norm, name)), None)
    weight = getattr(norm, "weight", None)
    # A buffer is no weight: what holds one may normalise vectors of any length (Falcon Mamba).
    if eps is None or not isinstance(weight, nn.Parameter) or weight.ndim != 1:
        return None
    x = torch.linspace(-1, 2, len(weight), dtype=weight.dtype, device=weight.device)[None]
    try:
        expected = norm(x)
    except TypeError:  # it takes a gate as well
        return None
    half = weight.dtype not in (torch.float32, torch.float64)
    tolerance = 2e-2 if half else 1e-5
    for offset in (0.0, 1.0):
        twin = PreciseRMSNorm(weight, eps, offset)
        if torch.allclose(twin(x), expected, rtol=tolerance, atol=tolerance):
            return twin
    return None
