"""The course: exercises, their checks, and the builder of the notebooks. Imports neither torch nor
jupyter.
"""

from __future__ import annotations

import os
import sys

__all__ = ["is_static"]


def is_static() -> bool:
    """Whether a figure should be a still picture (PNG) rather than something to drag and click.

    True where the environment variable `GNIVO_STATIC` is set (to anything but 0), as it is while
    the course is built, and where no notebook kernel is running, as in a script or a terminal.

    >>> is_static()
    True
    """
    if os.environ.get("GNIVO_STATIC", "0") not in ("", "0"):
        return True
    if "IPython" not in sys.modules:  # a kernel has imported it; nothing else need
        return True
    return getattr(sys.modules["IPython"].get_ipython(), "kernel", None) is None
