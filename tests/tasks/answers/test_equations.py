"""What an equation says, and what it does not say."""

from __future__ import annotations

import pytest

from gnivo_edu.tasks.math_worker import judge

NAMES = (
    "n",
    "g(4)",
    "T_k",
    r"\angle PQR",
    r"m\angle PQR",
    r"P(C\mid D)",
    r"\lim_{t\to 0}h(t)",
    "PQ",
    "|PQ|",
    r"\text{Volume}",
    "Total cost",
    "2^3+1",
)
NO_NAMES = ("n^2", "4n", "-n", "n+k", "2k+1", r"\cos n", "pq")


@pytest.mark.parametrize("left", NAMES)
def test_the_value_of_a_name_is_the_answer(left: str) -> None:
    assert judge("9", f"{left}=9") == "right"


@pytest.mark.parametrize("left", NO_NAMES)
def test_the_right_side_of_another_equation_is_not(left: str) -> None:
    assert judge("9", f"{left}=9") == "wrong"
    assert judge(f"{left}=9", "9") == "wrong"
    assert judge(f"{left}=9", f"{left}=9") == "right"


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("t^2", "s^2=t^2", "wrong"),
        ("9", "n=9+n", "wrong"),
        ("t^2-4", "(t-2)(t+2)=t^2-4", "right"),
        ("9", "m+n=4+5=9", "right"),
        ("V=IR+c", "IR+c", "right"),
        ("PV=nRT", "nRT", "wrong"),
        ("f(t)=3t", "3t", "right"),
    ],
)
def test_identities_and_laws(gold: str, answer: str, verdict: str) -> None:
    assert judge(gold, answer) == verdict


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("p=4,q=9", "(4,9)", "right"),
        ("p=4,q=9", "q=9, p=4", "right"),
        ("p=4,q=9", "(9,4)", "wrong"),
        ("p=4,q=9", "9,4", "wrong"),
        ("p=4,q=9", "p=9,q=4", "wrong"),
        ("p=1,q=2,r=3", "(3,2,1)", "wrong"),
        ("(p,q)=(4,9)", "q=9,p=4", "right"),
        ("(p,q)=(4,9)", "q=4,p=9", "wrong"),
        ("(p,q)=(4,9)", "(4,9)", "right"),
        ("p=4,p=9", "9,4", "right"),
    ],
)
def test_values_belong_to_their_names(gold: str, answer: str, verdict: str) -> None:
    assert judge(gold, answer) == verdict


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("6", "6,6", "wrong"),
        ("6", "n=6, n=6", "wrong"),
        ("6", r"6\pm 0", "wrong"),
        ("n=6", "6,6", "wrong"),
        ("n=6,6", "6", "wrong"),
        ("3,3,8", "8,3,3", "right"),
        ("3,3,8", "3,8,8", "wrong"),
        ("3,3,8", "3,8", "wrong"),
        ("3,8", "3,8,16/2", "wrong"),
        ("3,3,8", r"\{3,8,3\}", "right"),
        (r"\{3,8\}", r"\{3,3,8\}", "right"),
        (r"\{3,8\}", "3,3,8", "wrong"),
        (r"\pm 3", "n=-3, n=3", "right"),
    ],
)
def test_a_list_says_each_as_often(gold: str, answer: str, verdict: str) -> None:
    assert judge(gold, answer) == verdict


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("h(t)=t^2", "y=t^2", "right"),
        ("y=t^2", "h(t)=t^2", "right"),
        ("h(t)=t^2", "y=t^3", "wrong"),
        ("h(t)=t^2", "z=t^2", "wrong"),
        ("h(3)=9", "y=9", "wrong"),
    ],
)
def test_the_graph_of_a_function(gold: str, answer: str, verdict: str) -> None:
    assert judge(gold, answer) == verdict


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        (r"3\pmod{8}", "3", "right"),
        (r"3\pmod{8}", r"11 \pmod 8", "right"),
        (r"3\pmod{8}", r"t\equiv 3\pmod{8}", "right"),
        (r"3\pmod{8}", "11", "wrong"),
        (r"3\pmod{8}", r"3\pmod{9}", "wrong"),
        (r"3\pmod{8}", r"4\pmod{8}", "wrong"),
        (r"t\equiv 3\pmod{8}", r"s\equiv 3\pmod{8}", "wrong"),
        (r"t\equiv 3\pmod{8}", r"t\equiv -5 \pmod{8}", "right"),
        ("3", r"3\pmod{8}", "wrong"),
    ],
)
def test_residues(gold: str, answer: str, verdict: str) -> None:
    assert judge(gold, answer) == verdict
