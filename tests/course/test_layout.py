"""Where the course lies, and what writing it to a folder leaves alone."""

from pathlib import Path

import pytest

from gnivo_edu.course import layout

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def package(monkeypatch, tmp_path):
    """An installed package, its course of three files; no clone, and an empty current folder."""
    shipped, here = tmp_path / "site" / "gnivo_edu" / "data", tmp_path / "here"
    for name in ("notebooks/src/00_which_step.py", "notebooks/00.ipynb", "recipes/deep/a.yaml"):
        (shipped / name).parent.mkdir(parents=True, exist_ok=True)
        (shipped / name).write_text(f"ours: {name}")
    for junk in ("notebooks/.ipynb_checkpoints/00.ipynb", "notebooks/src/__pycache__/x.py"):
        (shipped / junk).parent.mkdir()
        (shipped / junk).write_text("left behind")
    (shipped / "notebooks" / "notes.txt").write_text("left behind")
    here.mkdir()
    monkeypatch.setattr(layout, "SHIPPED", shipped)
    monkeypatch.setattr(layout, "CLONE", tmp_path / "site")
    monkeypatch.chdir(here)
    return shipped


def test_in_a_clone_it_is_the_clone_s_from_wherever(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert layout.course_root() == layout.course_root(to_write=True) == ROOT
    assert layout.working_root() == ROOT


def test_an_installed_course_is_read_and_never_written_to(package, tmp_path):
    assert layout.course_root() == package
    with pytest.raises(ValueError, match=r"gnivo-edu start FOLDER"):
        layout.course_root(to_write=True)
    assert layout.working_root() == tmp_path / "here" / "gnivo_course"


def test_the_current_folder_s_own_course_comes_first(package, tmp_path, monkeypatch):
    folder, _, _ = layout.lay_out(tmp_path / "mine")
    monkeypatch.chdir(folder)
    assert layout.course_root(to_write=True) == layout.working_root() == folder


def test_without_any_course_it_is_said_how_to_mend_it(package):
    (package / "notebooks" / "src" / "00_which_step.py").unlink()
    with pytest.raises(ValueError, match="pip install gnivo-edu once more"):
        layout.course_root()


def test_only_the_course_is_laid_out_and_nothing_is_overwritten(package, tmp_path):
    target = tmp_path / "mine"
    (target / "notebooks").mkdir(parents=True)
    (target / "notebooks" / "00.ipynb").write_text("a reader's")
    (target / "recipes" / "deep").mkdir(parents=True)
    outside = tmp_path / "not there yet"
    (target / "recipes" / "deep" / "a.yaml").symlink_to(outside)
    _, written, kept = layout.lay_out(target)
    assert written == ["notebooks/src/00_which_step.py"]
    assert kept == ["notebooks/00.ipynb", "recipes/deep/a.yaml"]
    assert (target / "notebooks" / "00.ipynb").read_text() == "a reader's"
    assert not outside.exists()
    names = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert names == {"notebooks/00.ipynb", "notebooks/src/00_which_step.py"}


def test_a_file_that_could_not_be_finished_does_not_stay(package, tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def write(self, data):
            raise OSError(28, "No space left on device", "full")

    opened = Path.open

    def open_full(path, mode="r", *rest, **options):
        file = opened(path, mode, *rest, **options)
        return Full() if mode == "xb" else file

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OSError, match="No space left"):
        layout.lay_out(tmp_path / "mine")
    assert [p for p in (tmp_path / "mine").rglob("*") if p.is_file()] == []


def test_lab_lays_an_installed_course_out_before_it_opens_it(
    package, tmp_path, monkeypatch, capsys
):
    from gnivo_edu.commands.learn import lab

    opened = []
    monkeypatch.setattr("os.execv", lambda program, command: opened.append(command))
    folder = tmp_path / "here" / "gnivo_course"
    for said in (f"Notebooks and recipes are in {folder}\n", ""):  # the second time they are there
        lab(browser=True, port=None, dry_run=False)
        assert capsys.readouterr().out == said
    assert (folder / "notebooks" / "00.ipynb").is_file()
    assert [str(folder / "notebooks") in command for command in opened] == [True, True]


def test_start_names_what_it_kept_in_one_line(package, tmp_path, monkeypatch, capsys):
    from gnivo_edu.commands import maintain

    target = tmp_path / "mine"
    layout.lay_out(target)
    for name in ("notebooks/00.ipynb", "recipes/deep/a.yaml"):
        (target / name).write_text("a reader's")
    monkeypatch.setattr(maintain, "NAMED", 1)
    maintain.start(target)
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "Kept as they were, with another text than ours: notebooks/00.ipynb and 1 more"
