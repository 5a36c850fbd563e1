"""Load a pretrained causal language model, or say in one line why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from gnivo_edu.machine import hub_answers


def load_model(
    path_or_id: str | PathLike[str], dtype: torch.dtype = torch.float32
) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder or a Hugging Face hub id; the model in `dtype`, dropout off,
    on the CPU.

    Raises ValueError, in one line, on a folder that is missing or holds no causal language model,
    on an id that the hub does not have, and where the hub cannot be reached.
    """
    name = fspath(path_or_id)
    if name == "PATH_OR_HUB_ID":
        raise ValueError(
            "PATH_OR_HUB_ID stands for a model: give its folder or hub id, with train by --set "
            "model=..."
        )
    folder = Path(name).expanduser()
    local = bool(name) and folder.exists()
    if not local and (name.startswith(("/", ".", "~")) or name.count("/") > 1 or not name):
        raise ValueError(
            f"there is no folder {name!r}: give the folder of a model, or a hub id such as "
            "owner/name"
        )
    if local and not (folder / "config.json").is_file():
        raise ValueError(no_config(folder))
    source = str(folder) if local else name
    if not local and not hub_answers(name):
        try:
            source = snapshot_download(name, local_files_only=True)
        except LocalEntryNotFoundError as error:
            raise ValueError(
                f"there is no folder {name!r}, and the hub cannot be reached: a hub id needs a "
                "connection, or the "
                f"files in the cache"
            ) from error
    try:
        with quiet(local):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:  # whatever a loader raises on files it cannot read
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        hint = "" if local else " (a hub id needs a connection, or the files in the cache)"
        raise ValueError(
            f"{name!r} could not be loaded as a causal language model{hint}: {reason}"
        ) from error
    model, info = loaded
    if info["missing_keys"]:
        raise ValueError(
            f"{name!r} is no causal language model: it lacks weights, such as "
            f"{sorted(info['missing_keys'])[0]}"
        )
    return model.eval(), tokenizer


def no_config(folder: Path) -> str:
    """What to say of a folder without a model; that of a run has one inside."""
    inner = folder / "model"
    known = (inner / "config.json").is_file()
    hint = (
        f"did you mean {str(inner)!r}?"
        if known
        else "give one that save_pretrained or pretrain wrote"
    )
    return f"the folder {str(folder)!r} holds no config.json: {hint}"


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
