"""The course: exercises, their checks, and the builder of the notebooks. Imports neither torch nor
jupyter.
"""

from gnivo_edu.machine import is_static

__all__ = ["is_static"]
