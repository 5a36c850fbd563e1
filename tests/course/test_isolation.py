"""What a submission can reach, and what is left of it, in both forms."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gnivo_edu.course import check, isolation
from gnivo_edu.course.grade import grade
from gnivo_edu.course.remote import grade_exercise
from tests.course.test_grade import CALL, RIGHT, body, notebook

VALUE = "np.diff(np.append(values, reward / alpha))"
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such processes")


@pytest.fixture
def strong():
    """The strong form, where this machine has it."""
    isolation.start(isolation.Place(), seconds=5).stop()
    if isolation.form() != "strong":
        pytest.skip("no namespaces here: unshare(1) is missing or forbidden")


@pytest.fixture(params=["strong", "weak"])
def either_form(request, monkeypatch):
    """Both forms, one after the other."""
    if request.param == "weak":
        monkeypatch.setenv("GNIVO_ISOLATION", "weak")
    else:
        request.getfixturevalue("strong")
    return request.param


def tried(lines, **options):
    """What a function gets that does something and then returns the right value."""
    return grade_exercise(
        check.step_credit, [body(f"{lines}\n    return {VALUE}")], timeout=20, **options
    )


def alive(mark):
    """Processes whose command line holds a text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


@linux
def test_the_strong_form_sees_no_process_file_or_network_but_its_own(strong, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "secret")
    (tmp_path / "other.txt").write_text("the answers of another")
    lines = f"""import os, socket, glob
    assert not os.path.exists({str(tmp_path)!r}), "a file of ours"
    assert os.getppid() == 1, "its supervisor is the first process"
    others = [p for p in glob.glob("/proc/[0-9]*") if int(p[6:]) not in (1, os.getpid())]
    assert not others, others
    try:
        told = open("/proc/1/environ", "rb").read()
    except PermissionError:
        told = b""
    assert b"SOME_TOKEN" not in told and "SOME_TOKEN" not in os.environ
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    for place in ("/etc/passwd", "/root", "/home", os.path.expanduser("~root")):
        assert not os.path.isfile(place) and not glob.glob(place + "/*.txt"), place"""
    assert tried(lines).reason == ""


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    "lines",
    [
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(1, 9); os.kill(1, 19)",
        "import os\n    for p in range(2, 400):\n        if p != os.getpid():\n"
        "            try: os.kill(p, 9)\n            except OSError: pass",
        "import os\n    try: os.umask(0); open('/usr/mine', 'w')\n    except OSError: pass",
        "import ctypes; c = ctypes.CDLL(None)\n"
        "    assert c.mount(b'none', b'/tmp', b'tmpfs', 0, None) == -1\n"
        "    assert c.umount2(b'/usr', 2) == -1",
    ],
    ids=["parent", "first process", "everybody", "write to the system", "mount"],
)
def test_nothing_that_it_does_to_others_has_an_effect_in_the_strong_form(strong, lines):
    assert tried(lines).status == "passed"


@pytest.mark.slow
@linux
def test_the_answer_key_is_not_there_in_the_strong_form(strong):
    folder = isolation.PACKAGE / "course"
    for lines in (
        f"import runpy; s = runpy.run_path({str(folder / 'exercises' / 'step_credit.py')!r})",
        f"import glob; s = glob.glob({str(folder / 'exercises')!r} + '/*')[0]",
        f"s = open({str(folder / 'check.py')!r}).read()[0]",
    ):
        assert tried(lines).status == "failed", lines


@pytest.mark.slow
@linux
def test_the_others_cannot_be_read_even_inside_a_folder_that_is_shown(strong, tmp_path):
    """The folder of the class is hidden where it lies inside Python's own."""
    secret = tmp_path / "library" / "class" / "anna.txt"
    secret.parent.mkdir(parents=True)
    secret.write_text("hers")
    (tmp_path / "library" / "module.txt").write_text("seen")
    shown = isolation._shown
    isolation_shown = lambda: [*shown(), str(tmp_path / "library")]  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolation, "_shown", isolation_shown)
        lines = (
            f"assert open({str(tmp_path / 'library' / 'module.txt')!r}).read() == 'seen'\n"
            f"    import os; assert not os.listdir({str(secret.parent)!r})"
        )
        place = isolation.Place(hidden=(secret.parent,))
        assert tried(lines, place=place).reason == ""
        assert "AssertionError" in tried(lines).reason, "or this test proves nothing"


@linux
@pytest.mark.slow
@pytest.mark.parametrize("detach", ["", "os.setsid()", "os.setsid(); os.fork() and os._exit(0)"])
def test_no_process_outlives_it(either_form, detach, tmp_path):
    mark = f"outlives-{os.getpid()}-{either_form}-{len(detach)}"
    lines = f"""import os, sys
    if os.fork() == 0:
        {detach or "pass"}
        sleep = [sys.executable, "-c", "import time; time.sleep(60)", {mark!r}]
        os.execve(sleep[0], sleep, {{}})
    import time; time.sleep(0.3)"""
    assert tried(lines).status == "passed"
    assert not alive(mark)
    # Where its process has ended before it was asked to, too.
    assert "exit status 3" in tried(f"{lines}\n    os._exit(3)").reason
    assert not alive(mark)


@pytest.mark.slow
@linux
def test_a_flood_of_processes_is_ended(either_form):
    mark = f"flood-{os.getpid()}-{either_form}"
    lines = f"""import os, subprocess, sys
    for _ in range(30):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", {mark!r}],
                         start_new_session=True, env={{}})
    while True: pass"""
    found = grade_exercise(check.step_credit, [body(lines)], timeout=2)
    assert found.reason == "took longer than 2 s"
    assert not alive(mark)


@pytest.mark.slow
@linux
@pytest.mark.parametrize("caught", ["OSError: pass", "ValueError: pass"])
def test_a_fork_bomb_is_ended_at_once_in_the_strong_form(strong, caught):
    lines = f"import os\n    while True:\n        try: os.fork()\n        except {caught}"
    found = grade_exercise(check.step_credit, [body(lines)], timeout=30)
    assert found.reason == "it started more than 200 processes"


@linux
def test_its_limits_are_not_its_own_to_set_in_the_strong_form(strong):
    lines = """import resource
    assert resource.getrlimit(resource.RLIMIT_NPROC)[1] < 1000
    try:
        open("/proc/sys/kernel/pid_max", "w")
    except OSError:
        pass
    else:
        raise AssertionError("it may")"""
    assert tried(lines).reason == ""


@pytest.mark.slow
@linux
def test_a_weak_submission_that_kills_its_supervisor_is_found_by_its_mark(monkeypatch):
    monkeypatch.setenv("GNIVO_ISOLATION", "weak")
    mark = f"orphan-{os.getpid()}"
    lines = f"""import os, subprocess, sys
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", {mark!r}],
                     start_new_session=True)
    os.kill(os.getppid(), 9)
    while True: pass"""
    grade_exercise(check.step_credit, [body(lines)], timeout=2)
    assert not alive(mark)


@pytest.mark.slow
@linux
def test_it_ends_with_the_grader(either_form, tmp_path):
    mark = f"widow-{os.getpid()}-{either_form}"
    lines = f"""import os, subprocess, sys
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", {mark!r}],
                     start_new_session=True, env={{}}).wait()"""
    notebook(tmp_path / "a.ipynb", body(lines), CALL)
    command = [sys.executable, "-m", "gnivo_edu.cli", "check", str(tmp_path)]
    grader = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: alive(mark))
    grader.kill()
    grader.wait()
    wait_until(lambda: not alive(mark))


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_the_files_of_a_student_are_there_and_nobody_elses(either_form, tmp_path):
    notebook(
        tmp_path / "anna" / "week 1" / "hw.ipynb",
        "from factor import one",
        f"import numpy as np\ndef step_credit(values, reward, alpha):\n    return one * {VALUE}",
        CALL,
    )
    (tmp_path / "anna" / "week 1" / "factor.py").write_text("one = float(open('../k.txt').read())")
    (tmp_path / "anna" / "k.txt").write_text("1")
    notebook(
        tmp_path / "bob" / "hw.ipynb",
        body(f"one = float(open('k.txt').read())\n    return one * {VALUE}"),
        CALL,
    )
    before = sorted(tmp_path.rglob("*"))
    anna, bob = grade(tmp_path)
    assert anna.points == 1, anna
    assert "FileNotFoundError" in bob.verdicts["step_credit"].reason
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_it_is_said_which_form_ran(monkeypatch, tmp_path):
    monkeypatch.setenv("GNIVO_ISOLATION", "weak")
    done = subprocess.run(
        [sys.executable, "-m", "gnivo_edu.cli", "check", notebook(tmp_path / "a.ipynb", RIGHT)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "weak form" in " ".join(done.stdout.split())


def test_where_the_strong_form_cannot_be_set_up_the_weak_one_runs(monkeypatch):
    monkeypatch.setattr(isolation, "_strong", [])
    monkeypatch.setattr(isolation, "UNSHARE", ("false",))
    started = isolation.start(isolation.Place(), seconds=5)
    started.stop()
    assert started.form == isolation.form() == "weak"


def test_a_notebook_alone_in_its_folder_reads_what_lies_beside_that(either_form, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "d.csv").write_text("1")
    place = isolation.Place(folder=tmp_path, inside=Path("nb"))
    assert tried('    assert open("../data/d.csv").read() == "1"'.strip(), place=place).reason == ""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no root here")
def test_the_weak_form_says_that_it_runs_as_root(monkeypatch):
    for user, warned in ((0, True), (1000, False)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert ("ended every process" in isolation.said("weak")) == warned
        assert "ended every process" not in isolation.said("strong")
