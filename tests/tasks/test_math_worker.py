"""What a grader's process reads, and what it is: silent, and light to start."""

from __future__ import annotations

import subprocess
import sys

from gnivo_edu.tasks.math_worker import clean


def test_what_stands_around_the_mathematics_is_removed() -> None:
    assert clean(r"\$32,\!348") == "32,348"
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
