"""What this process runs in: its device, its threads, its notebook, its network, and what is
installed. Imports nothing heavy; torch and the hub's client only where a function needs them.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

HUB_TIMEOUT = 5.0  # seconds
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
    "jinja2",
)
OPTIONAL = {"trl": "trl", "datasets": "llm", "peft": "llm", "math-verify": "llm", "pytest": "dev"}


def is_static() -> bool:
    """Whether a figure should be a still picture (PNG) rather than something to drag and click.

    True where the environment variable `GNIVO_STATIC` is set (to anything but 0, false, no or off),
    as it is while the course is built, and where no notebook kernel is running, as in a script or a
    terminal.

    >>> is_static()
    True
    """
    if os.environ.get("GNIVO_STATIC", "").strip().lower() not in ("", "0", "false", "no", "off"):
        return True
    if "IPython" not in sys.modules:  # a kernel has imported it; nothing else need
        return True
    return getattr(sys.modules["IPython"].get_ipython(), "kernel", None) is None


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: on arrays this small, more only wait for each other, above all on a busy
    machine.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pick_device(exact: bool = False) -> torch.device:
    """CUDA where there is one, else the CPU. An Apple GPU (MPS) is taken only where `exact` work is
    not asked for.

    Exact work is float64, which MPS does not have.

    >>> pick_device(exact=True).type in ("cuda", "cpu")
    True
    """
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    if not exact and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use, where one is set


def memory_bytes() -> int | None:
    """Memory of the device that models run on: of the CUDA card, else of this machine or of the
    container; None where the system does not say.

    >>> memory = memory_bytes()
    >>> memory is None or memory > 2**28
    True
    """
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    sizes = []
    if hasattr(os, "sysconf"):  # Windows has none
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else ""
    if limit.isdigit():
        sizes.append(int(limit))
    return min(sizes, default=None)


def hub_answers(name: str, kind: Literal["model", "dataset"] = "model") -> bool:
    """Whether the Hugging Face hub can be asked about a model or a data set; asked once, at most
    `HUB_TIMEOUT` seconds. Its own loaders retry for a minute or more before they look into the
    cache.

    True also where it answers that there is none of that name, or that it is private: the loader
    says that better."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        if kind == "model":
            HfApi().model_info(name, timeout=HUB_TIMEOUT)
        else:
            HfApi().dataset_info(name, timeout=HUB_TIMEOUT)
    except (HfHubHTTPError, HFValidationError):
        return True
    except Exception:  # no network, no name for it, no answer in time, told to stay offline
        return False
    return True


def examine() -> dict[str, Any]:
    """What this machine has, for `gnivo-edu doctor`: versions, devices, and what is missing.

    Findings are rows `{"what", "found", "mend"}`; `passed` is False if something required is
    missing.
    """
    required = {package: _version(package) for package in REQUIRED}
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    shared = os.environ.get("GNIVO_SHARED")
    findings = [
        _row("gnivo-edu", _version("gnivo-edu")),
        _row("python", platform.python_version()),
        _row("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        *(_row(name, version, "run: pip install gnivo-edu") for name, version in required.items()),
        *(
            _row(package, _version(package), f'optional; for it: pip install "gnivo-edu[{extra}]"')
            for package, extra in OPTIONAL.items()
        ),
        _row("devices", _devices()),
        *_busy(),
        _row("browser for page tests", browser, "optional; install chromium"),
    ]
    if shared:
        findings.append(_row("GNIVO_SHARED", shared))
    complete = None not in required.values()
    return {"passed": complete and sys.version_info >= (3, 11), "findings": findings}


def _busy() -> list[dict[str, str]]:
    """How many processes share the cores; nothing where the system does not say."""
    if not hasattr(os, "getloadavg"):
        return []
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    hint = "others use the cores, and threads wait for each other: OMP_NUM_THREADS=1 may be faster"
    busy = f"{load:.1f} processes on {cores} cores"
    return [{"what": "load", "found": busy, "mend": hint if load > cores / 2 else ""}]


def _row(what: str, finding: str | None, mend: str = "") -> dict[str, str]:
    return {"what": what, "found": finding or "not found", "mend": "" if finding else mend}


def _version(package: str) -> str | None:
    from importlib import metadata  # takes a twentieth of a second, and few ask

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> str:
    if _version("torch") is None:
        return "unknown: torch is missing"
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return f"CPU ({torch.get_num_threads()} threads)"
