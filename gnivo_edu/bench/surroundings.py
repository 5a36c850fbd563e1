"""Where a benchmark ran: the machine, without its name, and versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("gnivo-edu", "numpy", "torch", "transformers", "trl")


def machine() -> str:
    """Processor, cores and threads of torch, and the accelerator if there is one.

    >>> "cores" in machine() and "threads" in machine()
    True
    """
    import torch

    parts = [_processor(), f"{os.cpu_count()} cores", f"{torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"{platform.system()} {platform.machine()}"])


def versions() -> dict[str, str]:
    """Of Python and of what is measured; "not installed" where it is not."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def _processor() -> str:
    """The processor as it calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
