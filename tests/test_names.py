"""Names that nobody knows are answered with the nearest; functions come from the current folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gnivo_edu.names import (
    UnknownName,
    check_keywords,
    home,
    load_function,
    nearest,
    output_folder,
    shown,
    visible,
)


def test_the_nearest_name_is_found_in_any_case_and_shown_as_it_is_written() -> None:
    assert nearest("randomtre", ["RandomTree", "Brackets"]) == "did you mean 'RandomTree'?"
    assert nearest("GNIVO", ["grpo", "gnivo"]) == "did you mean 'gnivo'?"


def test_a_name_far_from_all_is_answered_with_all_of_them_or_as_the_caller_says() -> None:
    assert nearest("zzz", ["grpo", "gnivo"]) == "known: grpo, gnivo"
    assert nearest("zzz", ["grpo", "gnivo"], otherwise="see the list") == "see the list"
    assert nearest(1, ["grpo"]) == "known: grpo"  # a key of a YAML file need not be text
    assert nearest("zzz", []) == "known: "


def test_a_keyword_is_answered_by_what_it_means_then_by_the_nearest() -> None:
    synonyms = {"beta": "alpha", "clip": "clip_low"}
    known = ["batch", "alpha", "lam"]
    check_keywords(["alpha", "batch"], known, of="f", synonyms=synonyms)
    for name, hint in (
        ("beta", "did you mean 'alpha'?"),
        ("Beta", "did you mean 'alpha'?"),
        ("bet", "did you mean 'alpha'?"),
        ("alhpa", "did you mean 'alpha'?"),
        ("clip", "known: batch, alpha, lam"),  # what it means elsewhere is not known here
    ):
        with pytest.raises(UnknownName) as error:
            check_keywords(["lam", name], known, of="f", synonyms=synonyms)
        assert str(error.value) == f"f takes no {name!r}; {hint}"
        # As Python's own error on a call, and as every refusal of a value.
        assert isinstance(error.value, TypeError)
        assert isinstance(error.value, ValueError)


def test_a_function_of_the_current_folder_is_loaded_and_the_path_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named_functions.py").write_text("def two():\n    return 2\nnumber = 3\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert load_function("named_functions:two")() == 2
    assert load_function("named_functions.py:two")() == 2
    with pytest.raises(
        ValueError, match=r"module 'named_functions' has no function 'number'; it has \w+"
    ):
        load_function("named_functions:number")
    assert sys.path == path


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise OSError('one\\ntwo')", "OSError: one two"),
        ("exit(3)", "SystemExit: 3"),
        ("def f(:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    (tmp_path / "broken_functions.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    with pytest.raises(ValueError, match="cannot be imported") as error:
        load_function("broken_functions:f")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert sys.path == path


def test_only_the_standard_library_is_imported() -> None:
    code = "import sys, gnivo_edu.names; print({'numpy', 'torch', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    hostile = "a\x1b[31m\r\n\x07\x9b\u202eb\u2066\u200f\ud800\u2028"
    assert visible(hostile).isprintable()
    assert visible(hostile).startswith(r"a\x1b[31m\r\n\x07\x9b\u202eb\u2066")
    assert visible("one\ntwo\x1b", lines=True) == "one\ntwo\\x1b"
    for harmless in ("李雷, Łukasz", "e\u0301", "👩\u200d🎓", "\u00a0", "\u3000", r"C:\x1b"):
        assert visible(harmless) == harmless


def test_a_value_is_shown_in_one_short_line() -> None:
    assert shown("a\nb\u202e") == r"'a\nb\u202e'"
    assert len(shown("a" * 1000)) == 80
    assert "hex digits" in shown(10**5000)


def test_home_is_home_and_nothing_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("USERPROFILE", "/somewhere")
    assert home("~/a") == Path("/somewhere/a")
    assert home("a/~") == Path("a/~")
    for path, says in {
        "": "out is empty",
        " ": "out is empty",
        "a\0b": "zero byte",
        "~nobody-at-all/a": "there is no home folder for '~nobody-at-all/a'",
    }.items():
        with pytest.raises(ValueError, match=says):
            home(path, what="out")


def test_results_go_into_a_folder_inside_the_file_system(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.symlink_to("/")
    for path in ("/", "//", "/..", str(whole)):
        with pytest.raises(ValueError, match=r"out is .*, all of the file system"):
            output_folder(path)
    assert output_folder(tmp_path) == tmp_path


def test_home_is_home_wherever_python_is_given_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gnivo_edu import demo
    from gnivo_edu.course import build, grade, marks, objectives_page, pictures, release
    from gnivo_edu.evaluation.step_values import page
    from gnivo_edu.policies import loading
    from gnivo_edu.training import TrainConfig, load_config

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "occupied").touch()

    monkeypatch.setattr(page, "render_page", str)
    monkeypatch.setattr(objectives_page, "objectives_page", lambda: "text")
    values: Any = "text"
    page.write_page(values, "~/new/page.html")
    objectives_page.write_objectives_page("~/objectives.md")
    pictures.draw_pictures("~/pictures")
    marks.Marks("~/marks.csv", ()).__exit__(None, None, None)
    told = TrainConfig(out="~/run", data="~/rows.jsonl", sampler="data", reference="initial")
    assert (told.out, told.data) == (str(tmp_path / "run"), str(tmp_path / "rows.jsonl"))
    names = {path.name for path in tmp_path.iterdir() if path.name[0] != "."}
    assert names == {"occupied", "new", "objectives.md", "pictures", "marks.csv"}
    for refused in (
        lambda: demo.run_demo("~/occupied"),
        lambda: loading.load_transformer("~/missing"),
        lambda: load_config("~/missing.yaml"),
        lambda: grade.grade("~/missing"),
        lambda: build.course_sources("~/missing", None),
        lambda: build.build("~/missing.py", "~/missing.ipynb"),
        lambda: release.release("~/missing.py", "~/missing.ipynb", "student"),
        lambda: release.release_course("~/x", root="~/missing"),
    ):
        with pytest.raises((ValueError, OSError, build.BuildError)) as error:
            refused()
        assert str(tmp_path) in str(error.value)
