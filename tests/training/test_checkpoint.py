"""Checkpoints: whole or passed over, whatever has happened to them; and a disk that is full, for
real: writes stop at a size. One line says which file, and what to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys

import pytest
import torch

from gnivo_edu.training import checkpoint, fine_tune, load_config
from gnivo_edu.training.manifest import read_checkpoint
from tests.training.training_runs import TINY, Stop, left, run, tiny

LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="forks, and sets a limit on files"
)
DISK = TINY | {"steps": 4, "completions_every": 20}


def test_records_past_the_checkpoint_are_cut_and_written_again(tmp_path):
    tiny(tmp_path / "whole", save_every=2)
    tiny(tmp_path / "again", save_every=2)
    newest = max((tmp_path / "again" / "checkpoints").iterdir())
    assert newest.name == "000006-000"
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    with (tmp_path / "again" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "rew')  # a line that a kill cut short
    tiny(tmp_path / "again", resume=True, save_every=2)
    assert left(tmp_path / "again") == left(tmp_path / "whole")


def test_a_damaged_checkpoint_is_passed_over_and_all_damaged_is_one_line(tmp_path):
    tiny(tmp_path / "whole", save_every=2)
    tiny(tmp_path / "hurt", save_every=2)
    newest = max((tmp_path / "hurt" / "checkpoints").iterdir())
    tensors = newest / checkpoint.TENSORS
    tensors.write_bytes(tensors.read_bytes()[:-20])
    said: list[str] = []
    tiny(tmp_path / "hurt", resume=True, progress=said.append, save_every=2)
    assert any("000006-000 is damaged and passed over" in line for line in said)
    assert left(tmp_path / "hurt") == left(tmp_path / "whole")
    for folder in (tmp_path / "hurt" / "checkpoints").iterdir():
        (folder / checkpoint.STATE).write_text("{")
    with pytest.raises(ValueError, match=r"no checkpoint in .* is whole"):
        tiny(tmp_path / "hurt", resume=True, save_every=2)


def rewrite(folder, **changes):
    """Give a checkpoint's manifest other values, and a hash that fits: None leaves one out."""
    record = json.loads((folder / checkpoint.STATE).read_text()) | changes
    record = {name: x for name, x in record.items() if name != "sha256" and x is not None}
    (folder / checkpoint.STATE).write_text(checkpoint.manifest_text(record))


def spoil_state(folder):
    rewrite(folder, lines=None)


def count_lines_below_zero(folder):
    rewrite(folder, lines={"metrics.jsonl": -1, "completions.jsonl": 0})


def name_another_log(folder):
    rewrite(folder, lines={"letrics.jsonl": 6, "completions.jsonl": 0})


def call_it_true(folder):
    rewrite(folder, inner=False)


def change_a_digit(folder):
    path = folder / checkpoint.STATE
    path.write_text(path.read_text().replace('"step": 6', '"step": 5'))


def add_a_space(folder):
    path = folder / checkpoint.STATE
    path.write_text(path.read_text().replace('"step": 6', '"step":  6'))


def take_a_file(folder):
    (folder / checkpoint.TENSORS).unlink()


def put_it_between_two_updates(folder):
    rewrite(folder, inner=1)
    folder.rename(folder.with_name("000006-001"))


def put_another_program_s_file(folder, content=b"not a zip, not a pickle"):
    (folder / checkpoint.TENSORS).write_bytes(content)
    rewrite(folder, files={checkpoint.TENSORS: hashlib.sha256(content).hexdigest()})


def put_a_lone_tensor(folder):
    torch.save(torch.zeros(2), folder.parent / "other.pt")
    put_another_program_s_file(folder, (folder.parent / "other.pt").read_bytes())


def put_another_version(folder):
    rewrite(folder, format=1)


def put_a_list(folder):
    (folder / checkpoint.STATE).write_text("[1]")


@pytest.mark.parametrize(
    ("hurt", "why"),
    [
        (spoil_state, "its state.json lacks one of lines"),
        (put_a_list, "its state.json is not that of a run"),
        (put_another_version, "its state.json is not that of a run, or of another version"),
        (put_another_program_s_file, "its tensors.pt is not that of a run"),
        (put_a_lone_tensor, "its tensors.pt is not that of a run"),
        (count_lines_below_zero, "its state.json counts lines that cannot be"),
        (name_another_log, "its state.json lacks one of lines"),
        (call_it_true, "its state.json lacks one of lines"),
        (change_a_digit, "its state.json is not what was written"),
        (add_a_space, "its state.json is not what was written"),
        (take_a_file, "it has not the files of a checkpoint: tensors.pt"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_checkpoint_of_another_kind_is_passed_over(hurt, why, tmp_path):
    tiny(tmp_path / "whole", save_every=2)
    tiny(tmp_path / "hurt", save_every=2)
    hurt(max((tmp_path / "hurt" / "checkpoints").iterdir()))
    said: list[str] = []
    tiny(tmp_path / "hurt", resume=True, progress=said.append, save_every=2)
    assert any(f"000006-000 is damaged and passed over: {why}" in line for line in said), said
    assert not any("\n" in line for line in said)
    assert left(tmp_path / "hurt") == left(tmp_path / "whole")


def test_a_file_that_no_run_writes_does_not_count(tmp_path):
    tiny(tmp_path, save_every=2)
    newest = max((tmp_path / "checkpoints").iterdir())
    for name in ("Thumbs.db", ".DS_Store"):
        (newest / name).write_text("mine")
    said: list[str] = []
    assert tiny(tmp_path, resume=True, progress=said.append, save_every=2) == []
    assert not any("damaged" in line for line in said)
    assert (newest / "Thumbs.db").read_text() == "mine"


@pytest.mark.parametrize("lost", ["metrics.jsonl", "checkpoints"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_run_without_its_configuration_is_not_begun_over(lost, resume, tmp_path):
    tiny(tmp_path, save_every=2)
    (tmp_path / "config.yaml").unlink()
    (tmp_path / lost).rename(tmp_path / "elsewhere")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"holds a run whose config\.yaml is lost") as error:
        tiny(tmp_path, resume=resume, save_every=2)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "as_folder", "why"),
    [
        ("model", False, "model is no folder"),
        ("checkpoints", False, "checkpoints is no folder"),
        ("checkpoints/.writing-000002-000", False, "is no folder"),
        ("checkpoints/000002-000", False, "000002-000 is no folder"),
        (".lock", True, r"\.lock is a folder"),
        ("metrics.jsonl", True, r"metrics\.jsonl is a folder"),
        ("config.yaml", True, r"config\.yaml is a folder"),
    ],
)
def test_a_name_that_a_run_could_not_write_is_one_line_before_the_first_step(
    name, as_folder, why, tmp_path
):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).mkdir() if as_folder else (tmp_path / name).touch()
    with pytest.raises(ValueError, match=why) as error:
        tiny(tmp_path)
    assert "\n" not in str(error.value)


@LINUX
@pytest.mark.parametrize("name", ["metrics.jsonl", "completions.jsonl", "config.yaml", ".lock"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/no/such/file")])
def test_what_is_no_plain_file_is_one_line_and_not_waited_for(make, name, tmp_path):
    make(tmp_path / name)
    with pytest.raises(ValueError, match="is no plain file, as a run needs it") as error:
        tiny(tmp_path)
    assert name in str(error.value)


@LINUX
def test_a_checkpoint_with_a_pipe_in_it_is_passed_over(tmp_path):
    tiny(tmp_path, steps=2, save_every=1)
    last = max((tmp_path / "checkpoints").iterdir())
    (last / "state.json").unlink()
    os.mkfifo(last / "state.json")
    with pytest.raises(ValueError, match=r"has not the files of a checkpoint: state\.json"):
        read_checkpoint(last)


def test_answers_that_do_not_fit_the_moment_are_passed_over(tmp_path):
    tiny(tmp_path, save_every=2)
    put_it_between_two_updates(max((tmp_path / "checkpoints").iterdir()))
    said: list[str] = []
    tiny(tmp_path, resume=True, progress=said.append, save_every=2)
    assert "000006-001 is damaged and passed over: its answers do not fit update 1" in said[0]


def test_a_log_that_is_not_what_was_written_is_one_line(tmp_path):
    tiny(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace('"step": 3', '"step": 2'))
    with pytest.raises(ValueError, match=r"metrics.jsonl is not what this run had logged by step"):
        tiny(tmp_path, resume=True)


def test_fewer_steps_than_are_done_are_refused_before_anything_is_written(tmp_path):
    tiny(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"gone beyond steps=3.*step 6; set steps to 6 or more"):
        tiny(tmp_path, resume=True, steps=3)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(Stop):
        tiny(tmp_path / "half", stop_at=2, inner_steps=2, save_every=3)
    with pytest.raises(ValueError, match=r"at step 1; set steps to 2 or more"):
        tiny(tmp_path / "half", resume=True, steps=1, inner_steps=2, save_every=3)


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path):
    def meddle(row):
        for resume in (False, True):
            with pytest.raises(ValueError, match=r"another run is at work in .*: wait") as error:
                tiny(tmp_path, resume=resume)
            assert "\n" not in str(error.value)

    fine_tune(load_config(**TINY, out=str(tmp_path)), on_step=meddle)
    assert tiny(tmp_path, resume=True) == []  # it has ended


@LINUX
def test_a_process_that_was_killed_holds_no_folder(tmp_path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        folder = checkpoint.RunFolder(tmp_path)
        folder.claim(load_config(**TINY), resume=False)
        os.write(writer, b"held")
        signal.pause()
    assert os.read(reader, 4) == b"held"
    with pytest.raises(ValueError, match="another run is at work"):
        tiny(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(tiny(tmp_path)) == TINY["steps"]


def test_a_damaged_checkpoint_is_none_of_those_that_are_kept(tmp_path):
    tiny(tmp_path, save_every=3)
    newest = max((tmp_path / "checkpoints").iterdir())
    assert newest.name == "000006-000"
    spoil_state(newest)

    with pytest.raises(Stop):
        tiny(
            tmp_path, resume=True, save_every=1, keep=1, stop_at=4
        )  # from step 3; step 3 is done and saved
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "000004-000",
        "000006-000",
    ]
    tiny(tmp_path, resume=True, save_every=1, keep=1)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["000006-000"]
    assert (
        tiny(tmp_path, resume=True, save_every=1, keep=1) == []
    )  # whole again, nothing left to do


@pytest.mark.parametrize("text", ["a: [", "- 1", "\x00"])
def test_a_configuration_that_cannot_be_read_is_one_line(text, tmp_path):
    tiny(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config.yaml is not the configuration of a run") as error:
        tiny(tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_one_line_and_the_previous_checkpoint_stays(tmp_path, monkeypatch):
    real, calls = torch.save, []

    def full(*arguments, **named):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(*arguments, **named)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        ValueError, match=r"No space left on device.*the last good checkpoint is 000002-000"
    ) as error:
        tiny(tmp_path / "run", save_every=1)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "run" / "checkpoints").glob(".writing*"))
    tiny(tmp_path / "run", resume=True, save_every=1)
    tiny(tmp_path / "whole", save_every=1)
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_nothing_that_is_there_is_overwritten_and_other_settings_are_not_resumed(tmp_path):
    tiny(tmp_path)
    with pytest.raises(ValueError, match=r"holds a run: --resume continues it"):
        tiny(tmp_path)
    with pytest.raises(ValueError, match=r"learning_rate was 0.1"):
        tiny(tmp_path, resume=True, learning_rate=0.2)
    with pytest.raises(ValueError, match=r"holds no run to resume"):
        tiny(tmp_path / "nowhere", resume=True)
    assert len(tiny(tmp_path, resume=True, steps=8)) == 2  # a run may be told to go on for longer


@pytest.fixture
def no_record(monkeypatch):
    """Runs without a record, whose parts would be the first files to grow too large."""
    monkeypatch.setattr("gnivo_edu.training.run_log.has_parquet", lambda: False)


def said_with_files_of_at_most(size, act):
    """What `act` raises in a process of its own whose files may have so many bytes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        import resource

        said = "nothing"
        try:
            torch.set_num_threads(1)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            act()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


@LINUX
@pytest.mark.parametrize(
    ("size", "changes", "words"),
    [
        (3_000, {"save_every": 1000}, ["metrics.jsonl could not be written (File too large)"]),
        (1_200, {"save_every": 1, "completions_every": 1000}, ["could not be written"]),
        (
            9_000,
            {"save_every": 1, "group_size": 64},
            ["the checkpoint of step", "is the disk full?", "last good"],
        ),
    ],
    ids=["log", "first row", "checkpoint"],
)
def test_it_is_one_line_that_names_the_file_and_the_run_goes_on_afterwards(
    size, changes, words, tmp_path, no_record
):
    settings = DISK | changes
    said = said_with_files_of_at_most(size, lambda: run(tmp_path / "full", **settings))
    assert said.startswith("ValueError: "), said
    assert "\n" not in said
    assert "inline_container" not in said
    assert all(
        word in said
        for word in [*words, str(tmp_path / "full"), "make room and run again with --resume"]
    ), said
    run(tmp_path / "full", resume=True, **settings)
    run(tmp_path / "whole", **settings)
    assert left(tmp_path / "full") == left(tmp_path / "whole")


@LINUX
def test_a_stop_says_why_also_where_its_answers_cannot_be_saved(tmp_path, no_record):
    settings = DISK | {
        "objective_options": {"alpha": 1e-4},
        "steps": 30,
        "group_size": 64,
        "save_every": 1000,
        "completions_every": 1000,
    }
    said = said_with_files_of_at_most(4_000, lambda: run(tmp_path, **settings))
    assert said.startswith("RunStoppedError: stopped at step"), said
    assert "\n" not in said
    assert "its answers could not be written to" in said
    assert not list(tmp_path.glob("stopped-at-step-*.pt"))
