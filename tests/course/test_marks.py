"""The table of marks: each row is kept as it comes, and no cell is a formula or moves another."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

from gnivo_edu.course.grade import Grade, write_csv
from gnivo_edu.course.marks import Marks, defused
from gnivo_edu.course.remote import Verdict
from tests.course.test_grade import CALL, RIGHT, body, notebook

ODD = ["\n=cmd|calc!A1", "a,b;\t\"c\"", "\u202egnp.exe", "\x1b[31mred", "=1+1", "+1", "-1", "@x",
       " =1", "＝1", "é" * 300, ""]  # fmt: skip


def grades(*students):
    return [Grade(s, seed=0, verdicts={"log_z": Verdict("failed", s)}) for s in students]


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("odd", ODD)
def test_odd_texts_are_one_printable_cell(tmp_path, odd):
    write_csv(grades(odd, "ann"), tmp_path / "m.csv")
    head, first, second = rows(tmp_path / "m.csv")
    assert len(head) == len(first) == len(second) == 5
    assert all(cell.isprintable() for cell in first)
    assert first[0][:1] not in tuple("=+-@＝")
    assert len((tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_rows_are_on_the_disk_as_they_come_and_sorted_at_the_end(tmp_path):
    path = tmp_path / "m.csv"
    (tmp_path / "m.csv.sorted").mkdir()  # somebody else's
    bob, ann = grades("bob", "ann")
    with Marks(path, ["log_z"]) as marks:
        assert len(rows(path)) == 1
        marks.add(bob)
        assert rows(path)[1][0] == "bob"
        marks.add(ann)
        marks.sort([ann, bob])
    assert [row[0] for row in rows(path)[1:]] == ["ann", "bob"]
    assert sorted(os.listdir(tmp_path)) == ["m.csv", "m.csv.sorted"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device elsewhere")
def test_a_full_disk_names_the_file():
    with pytest.raises(OSError, match="/dev/full"), Marks("/dev/full", ["log_z"]) as marks:
        marks.add(grades("bob")[0])


@pytest.mark.skipif(os.name != "posix", reason="no such pipes elsewhere")
def test_a_pipe_gets_each_row_once():
    command = (
        "from gnivo_edu.course.marks import *; from tests.course.test_marks import grades\n"
        "b, a = grades('bob', 'ann')\n"
        "with Marks('/dev/stdout', ['log_z']) as m:\n    m.add(b); m.add(a); m.sort([a, b])"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["student", "bob", "ann"]


def test_a_minus_inside_stays():
    assert defused("x = -1") == "x = -1"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="no such signal elsewhere")
def test_what_is_known_when_the_grader_is_killed_is_kept(tmp_path):
    notebook(tmp_path / "s" / "ann.ipynb", RIGHT)
    notebook(tmp_path / "s" / "bob.ipynb", body("while True: pass"), CALL)
    table = tmp_path / "m.csv"
    command = [sys.executable, "-m", "gnivo_edu.cli", "check", tmp_path / "s", "--csv", table]
    grader = subprocess.Popen(
        [*map(str, command), "--timeout", "300"], stderr=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    end = time.monotonic() + 60
    while not (table.exists() and len(rows(table)) == 2):
        assert time.monotonic() < end
        time.sleep(0.05)
    grader.send_signal(signal.SIGKILL)
    grader.communicate()
    assert rows(table)[1][:3] == ["ann", "0", "1"]
