"""What a submission is given of its student's folder, and what is below a process."""

import os
import subprocess
import sys

import pytest

from gnivo_edu.course import supervisor
from gnivo_edu.course.supervisor import below, copy_files, kill_below


def copied(tmp_path):
    copy_files(str(tmp_path / "own"), tmp_path / "home")
    home = tmp_path / "home"
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())


@pytest.fixture
def own(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("another's")
    for name in ("helper.py", "data/k.csv", "hw.ipynb", ".hidden"):
        (tmp_path / "own" / name).write_text("x" * 10)
    return tmp_path / "own"


@pytest.mark.skipif(os.name != "posix", reason="no such files elsewhere")
def test_regular_files_of_the_student_are_copied_and_nothing_else(own, tmp_path):
    os.mkfifo(own / "pipe")
    (own / "link.txt").symlink_to(tmp_path / "secret.txt")
    (own / "up").symlink_to(tmp_path)
    assert copied(tmp_path) == ["data/k.csv", "helper.py"]


def test_there_is_an_end_to_copying(own, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "MOST", 15)
    assert len(copied(tmp_path)) == 1
    monkeypatch.setattr(supervisor, "MOST_FILES", 0)
    (tmp_path / "home" / "helper.py").unlink()
    assert copied(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such tables")
def test_what_is_below_a_process_is_found_and_killed():
    sleep = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    nested = f"import subprocess; subprocess.run({sleep!r})"
    with subprocess.Popen([sys.executable, "-S", "-c", nested]) as child:
        while len(below(child.pid)) < 1:
            pass
        assert child.pid in below(os.getpid())
        kill_below(child.pid)
        assert below(child.pid) == []
        child.kill()
