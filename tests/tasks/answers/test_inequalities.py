"""Inequalities hold together, or apart."""

from __future__ import annotations

import pytest

from gnivo_edu.tasks.math_worker import judge


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        (r"t<1 \text{ or } t>4", r"t<1 \text{ and } t>4", "wrong"),
        (r"t<1 \text{ and } t>4", r"t<1 \text{ or } t>4", "wrong"),
        (r"t<1 \text{ or } t>4", "t>4 or t<1", "right"),
        (r"t\le1 \text{ or } t>4", r"(-\infty,1]\cup(4,\infty)", "right"),
        (r"t\le1 \text{ or } t>4", r"(-\infty,1)\cup(4,\infty)", "wrong"),
        ("1<t<4", "t>1 and t<4", "right"),
        ("1<t<4", "4>t>1", "right"),
        ("1<t<4", "1<s<4", "wrong"),
        ("1<t<4", "t>1 or t<4", "wrong"),
        ("t=1 or t=4", r"t=4 \text{ and } t=1", "right"),
    ],
)
def test_inequalities_hold_together_or_apart(gold: str, answer: str, verdict: str) -> None:
    assert judge(gold, answer) == verdict
