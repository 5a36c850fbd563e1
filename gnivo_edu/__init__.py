"""Learn, see and check critic-free, implicit-value reinforcement learning for language models."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "__version__":  # of the installed package: pyproject.toml says it, once
        from importlib.metadata import version

        return version("gnivo-edu")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
