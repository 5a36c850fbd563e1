"""A slider over a figure where a kernel is live, or the same figure at a few values, one below the
other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from gnivo_edu import machine
from gnivo_edu.figures.style import Shown


def slide(
    draw: Callable[[float], Shown],
    values: Sequence[float],
    still: Sequence[float],
    name: str = "alpha",
) -> None:
    """Show `draw(value)` with a slider over `values`, starting at the first of `still`; `name` is
    draw's parameter.

    In a static build (`machine.is_static()`) the figures at the values in `still` are displayed
    instead, and printed as text outside a notebook. Give `draw` a fixed colour scale, so that what
    is compared is comparable.

    >>> from gnivo_edu import exact
    >>> from gnivo_edu.figures import token_strip
    >>> tree = exact.enumerate_tree_from_rewards([0, 1], vocab_size=2)
    >>> def draw(alpha):
    ...     return token_strip(["b"], exact.solve(tree, alpha).step_credit([1]), alpha)
    >>> slide(draw, [0.5, 1], still=[1])
    b ▲+0.38
    credit per token in nats, sum +0.38; reference: the initial model; alpha = 1; ... at ±0.38
    """
    if not machine.is_static():
        import ipywidgets

        slider = ipywidgets.SelectionSlider(
            options=[(f"{value:g}", value) for value in sorted({*values, still[0]})],
            value=still[0],
            description=name,
        )
        ipywidgets.interact(draw, **{name: slider})
        return
    for value in still:
        if "IPython" in sys.modules:
            from IPython.display import display

            display(draw(value))
        else:
            print(draw(value))
