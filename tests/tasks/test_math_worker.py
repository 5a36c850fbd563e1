"""What a grader's process reads, and what it is: silent, and light to start."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gnivo_edu.tasks.math_worker import clean, judge, reply

RIGHT = [
    (r"\frac{H}{h}", "H/h"),
    ("W=w", "w=W"),
    ("W=w", "w"),
    (r"\frac{d u}{d s}=a u", r"\frac{du}{ds}-au=0"),
    ("u''=-u", "u''+u=0"),
    ("DCAB", r"\text{DCAB}"),
    ("MC=LRAC", "LRAC=MC"),
    (r"\text{west}", "West"),
    ("2.5%", "2.5"),
    ("2.5%", "0.025"),
    ("1", r"100\%"),
    (r"\emptyset", r"\varnothing"),
    ("9", "18/2=9"),
    (r"x \in [-2,7]", r"x\in[-2,7]"),
    ("5.14", r"\frac{36}{7}=5.14"),
    ("7", r"7\%"),
    (r"8\text{ cm}^3", r"8\text{ cubic cm}"),
    (r"8\text{ cm}", "8cm"),
    (r"8\text{ cm}", r"8\text{ centimetres}"),
    ("111222333", "111,222,333"),
    ("E_{1},E_{2}", "E_2, E_1"),
    (r"\gamma^{2}-1", r"(\gamma-1)(\gamma+1)"),
    ("1+i", r"\frac{2}{1-i}"),
    (r"\sqrt{2}\cos(t-\pi/4)", r"\cos t+\sin t"),
    ("9", r"\angle ABC = 9"),
    ("(6,5)", r"\left(6,5\right)"),
]
WRONG = [
    (r"\frac{H}{h}", "1"),
    ("W=w", "q=q"),
    ("W=w", "0=0"),
    (r"g'(0)=1", "g(0)=1"),
    ("i^2 R", "I^2 R"),
    ("C_{1}", "c_{1}"),
    (r"\frac{d u}{d s}=a u", "au=0"),
    (r"\frac{d^2 u}{d s^2}=0", r"\frac{d u}{d s}=0"),
    ("DCAB", "ABCD"),
    ("MC=LRAC", "CM=LRAC"),
    ("2.5%", "25"),
    ("0.4", r"0.4\%"),
    (r"8\text{ cm}^3", r"8\text{ cm}^2"),
    (r"8\text{ cm}", r"8\text{ cm}^2"),
    (r"8\text{ cm}", r"8\text{ m}"),
    (r"8\text{ cm}", "8m"),
    ("8^\\circ", r"8\text{ rad}"),
    ("(1,4,9)", "[1,4,9]"),
    ("111,222,333", "111222333"),
    ("5", "5\\"),
    ("u+v=9", "9"),
    ("9", r"9\pmod{10}"),
    ("9", "8=9"),
    ("9", r"4+4=9"),
    ("9", r"9\text{ excluded}"),
    ("9", r"9\%\%"),
    ("(6,5)", "[6,5]"),
    (r"\lfloor\sqrt{n}\rfloor", r"\lfloor\sqrt{n-1}\rfloor"),
    (r"\{0,1\}", r"\{10^{-40},1\}"),
    ("z=0", "z=1e-400"),
]


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_other_writings_are_right(gold: str, answer: str) -> None:
    assert judge(gold, answer) == "right"


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_other_meanings_are_wrong(gold: str, answer: str) -> None:
    assert judge(gold, answer) == "wrong"


def test_a_gold_that_makes_sympy_raise_is_not_the_answers_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raises(gold: str, answer: str | None) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("gnivo_edu.tasks.math_worker.judge", raises)
    assert reply({"gold": "1", "answer": "1"}) == "unparsable gold"


def test_what_stands_around_the_mathematics_is_removed() -> None:
    assert clean(r"\$32,\!348") == "32348"
    assert clean("$a=2$, $a=-6$.") == "a=2, a=-6"
    assert clean(r"\left\{1, \left(2, 3\right]\right\}") == r"\{1, (2, 3]\}"
    assert clean(r"\left.x\right|_{0}") == "x|_{0}"
    assert clean(r"a \leftarrow b \rightarrow c") == r"a \leftarrow b \rightarrow c"


def test_a_worker_starts_without_anything_large() -> None:
    code = (
        "import sys, gnivo_edu.tasks.math_worker\n"
        "print(sorted({'torch', 'transformers', 'sympy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_prints_nothing_and_answers_whatever_sympy_raises() -> None:
    code = (
        "import os\n"
        "from gnivo_edu.tasks import math_worker\n"
        "math_worker.prepare()\n"
        "print('to standard output', flush=True); os.write(2, b'to standard error')\n"
        "judge = math_worker.judge\n"
        "math_worker.judge = lambda gold, answer: 1 / 0 if answer else judge(gold, answer)\n"
        "os._exit(7 if math_worker.reply({'gold': '1', 'answer': '2'}) == 'wrong' else 8)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
