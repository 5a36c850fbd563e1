"""What this machine has: versions, devices, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from typing import Any

REQUIRED = (
    "numpy",
    "gymnasium",
    "matplotlib",
    "seaborn",
    "torch",
    "transformers",
    "accelerate",
    "jupyter",
    "rich",
)
INSTALL = "pip install -c constraints.txt -e"
OPTIONAL = {"trl": "trl", "datasets": "llm", "peft": "llm", "math-verify": "llm", "pytest": "dev"}


def examine() -> dict[str, Any]:
    """Findings as rows `{"what", "found", "mend"}`; `passed` is False if something required is
    missing.
    """
    missing = False
    findings = [
        _row("gnivo-edu", importlib.metadata.version("gnivo-edu")),
        _row("python", platform.python_version()),
        _row("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
    ]
    for package in REQUIRED:
        version = _version(package)
        missing |= version is None
        findings.append(_row(package, version, f"run: {INSTALL} ."))
    for package, extra in OPTIONAL.items():
        findings.append(
            _row(package, _version(package), f'optional; for it: {INSTALL} ".[{extra}]"')
        )
    findings.append(_row("devices", _devices()))
    browser = next(
        (path for path in map(shutil.which, ("chromium", "google-chrome")) if path), None
    )
    findings.append(_row("browser for page tests", browser, "optional; install chromium"))
    shared = os.environ.get("GNIVO_SHARED")
    if shared:
        findings.append(_row("GNIVO_SHARED", shared))
    return {"passed": not missing and sys.version_info >= (3, 11), "findings": findings}


def _row(what: str, found: str | None, mend: str = "") -> dict[str, str]:
    return {"what": what, "found": found or "not found", "mend": "" if found else mend}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> str:
    if _version("torch") is None:
        return "unknown: torch is missing"
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return f"CPU ({torch.get_num_threads()} threads)"
