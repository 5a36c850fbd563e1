"""What was handed in: no file ends the grading of the others, and none belongs to somebody else."""

import json
import os
import socket

import pytest

from gnivo_edu.course import handed_in as module
from gnivo_edu.course.handed_in import handed_in, read
from tests.course.test_grade import notebook

posix = pytest.mark.skipif(os.name != "posix", reason="no such files elsewhere")


def problems(folder):
    return {name: [n.problem for n in books] for name, books in handed_in(folder).items()}


@posix
def test_files_that_are_no_files(tmp_path, monkeypatch):
    good = notebook(tmp_path / "ann.ipynb", "x = 1")
    os.mkfifo(tmp_path / "pipe.ipynb")
    (tmp_path / "zero.ipynb").symlink_to("/dev/zero")
    (tmp_path / "thief.ipynb").symlink_to(good)
    (tmp_path / "lost.ipynb").symlink_to("nowhere")
    (tmp_path / "folder.ipynb").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path)
    notebook(tmp_path / "filled.ipynb" / "hw.ipynb", "x = 1")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        listener.bind("sock.ipynb")
        found = problems(tmp_path)
    assert found["ann"] == [""]
    assert found["filled"] == [""]
    for name, word in [
        ("pipe", "no regular file"), ("sock", "no regular file"), ("zero", "is a link"),
        ("thief", "is a link"), ("lost", "is a link"), ("folder", "is a folder"),
        ("linked", "is a link"),
    ]:  # fmt: skip
        assert len(found[name]) == 1
        assert word in found[name][0], name


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(tmp_path):
    notebook(tmp_path / "ann.ipynb", "x = 1").chmod(0)
    notebook(tmp_path / "bob" / "hw.ipynb", "x = 1").parent.chmod(0)
    found = problems(tmp_path)
    (tmp_path / "bob").chmod(0o700)
    assert "cannot be read" in found["ann"][0]
    assert "cannot be opened" in found["bob"][0]


def test_folders_of_the_course_are_no_students(tmp_path):
    notebook(tmp_path / "00_which_step.ipynb", "x = 1")
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "centred.py").write_text("EXERCISE = 1")
    assert [*handed_in(tmp_path)] == ["00_which_step"]
    notebook(tmp_path / "exercises" / "mine.ipynb", "x = 1")
    assert [*handed_in(tmp_path)] == ["00_which_step", "exercises"]


def test_every_student_has_a_row(tmp_path):
    notebook(tmp_path / "ann" / "a.ipynb", "x = 1")
    notebook(tmp_path / "bob" / "week 2" / "B.IPYNB", "x = 1")
    (tmp_path / "carol").mkdir()
    (tmp_path / "carol" / "answers.txt").write_text("I forgot the notebook")
    notebook(tmp_path / "__MACOSX" / "ann" / "a.ipynb", "x = 1")
    notebook(tmp_path / "ann" / ".ipynb_checkpoints" / "a-checkpoint.ipynb", "x = 2")
    found = handed_in(tmp_path)
    assert {name: len(books) for name, books in found.items()} == {"ann": 1, "bob": 1, "carol": 0}
    assert found["bob"][0].place.folder == (tmp_path / "bob").resolve()
    assert str(found["bob"][0].place.inside) == "week 2"
    notebook(tmp_path / "teacher.ipynb", "x = 1")
    assert set(handed_in(tmp_path)) == {"ann", "bob", "carol", "teacher"}


def test_an_empty_folder_beside_notebooks_is_no_student(tmp_path):
    notebook(tmp_path / "dave.ipynb", "x = 1")
    (tmp_path / "feedback").mkdir()
    assert set(handed_in(tmp_path)) == {"dave"}
    (tmp_path / "erin").mkdir()
    (tmp_path / "erin" / "hw.zip").write_bytes(b"PK")
    assert handed_in(tmp_path)["erin"] == []


@posix
@pytest.mark.parametrize("target", ["loop.ipynb", "n" * 300, "/etc/passwd/x", "nowhere"])
@pytest.mark.parametrize("name", ["loop.ipynb", "loop"])
def test_a_broken_link_is_one_bad_row(tmp_path, name, target):
    notebook(tmp_path / "ann.ipynb", "x = 1")
    notebook(tmp_path / "bob" / "hw.ipynb", "x = 1")
    (tmp_path / name).symlink_to(target if target != "loop.ipynb" else name)
    (tmp_path / "bob" / name).symlink_to(target if target != "loop.ipynb" else name)
    told = problems(tmp_path)
    assert told["ann"] == [""]
    assert "" in told["bob"]
    assert "is a link that leads nowhere" in told["loop"][0]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no JSON"),
        (b"PK\x03\x04", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no list of cells"),
        (b"3", "no list of cells"),
        (b'{"cells": 3}', "no list of cells"),
        (b'{"cells": ["x"]}', "no list of cells"),
        (b'{"cells": [{"cell_type": "code", "source": 3}]}', "no list of cells"),
        (b'{"cells": "\x1b[31m', "no JSON"),
        (b'{"cells": [], "cells": []}', "twice"),
    ],
)
def test_what_is_no_notebook_is_told_in_one_printable_line(tmp_path, content, word):
    (tmp_path / "a.ipynb").write_bytes(content)
    problem = read(tmp_path / "a.ipynb").problem
    assert problem.startswith("a.ipynb is not a notebook")
    assert word in problem
    assert problem.isprintable()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_and_formats_that_jupyter_reads(tmp_path, encoding):
    cell = {"cell_type": "code", "source": ["x = 'é'\n", "y"]}
    for whole in (
        {"cells": [cell, {"cell_type": "code"}, {"cell_type": "markdown", "source": "#"}]},
        {"worksheets": [{"cells": [{"cell_type": "code", "input": cell["source"]}]}]},
    ):
        text = json.dumps(whole, ensure_ascii=False)
        (tmp_path / "a.ipynb").write_bytes(text.encode(encoding))
        assert read(tmp_path / "a.ipynb").cells[0] == "x = 'é'\ny"


def test_what_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 10)
    assert "is larger than" in read(notebook(tmp_path / "a.ipynb", "x = 1")).problem


def test_a_link_to_the_notebook_or_folder_that_is_named_is_followed(tmp_path):
    notebook(tmp_path / "class" / "ann.ipynb", "x = 1")
    (tmp_path / "link").symlink_to(tmp_path / "class")
    (tmp_path / "mine.ipynb").symlink_to(tmp_path / "class" / "ann.ipynb")
    assert problems(tmp_path / "link") == {"ann": [""]}
    assert problems(tmp_path / "mine.ipynb") == {"mine": [""]}


def test_nothing_to_grade_is_an_error(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"no notebook in|there is no"):
            handed_in(path)
