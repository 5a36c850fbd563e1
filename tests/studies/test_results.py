"""Results: what a file holds, and intervals over seeds, against scipy-free sums by hand."""

from pathlib import Path

import numpy as np
import pytest

from gnivo_edu.studies.results import RUNS, Results, entry, rounded, write_completions, write_runs

RUN = {"row": "a", "seed": 0, "pass@1": {"4": 0.5}, "settings": {}}


def made(values: dict[str, list[float]]) -> Results:
    runs = [
        {"row": row, "seed": seed, "score": score}
        for row, scores in values.items()
        for seed, score in enumerate(scores)
    ]
    return Results(Path("nowhere"), runs)


def test_a_difference_is_paired_by_seed() -> None:
    # The rows differ by 0.1 at every seed, and from seed to seed by far more.
    results = made({"a": [0.1, 0.5, 0.9], "b": [0.2, 0.6, 1.0]})
    gain = results.difference("b", "a", "score")
    assert gain.ends == pytest.approx([0.1, 0.1])
    assert results.mean("b", "score").width > 1


def test_only_seeds_that_both_have_count() -> None:
    results = made({"a": [0.0, 0.0], "b": [1.0, 1.0, 7.0]})
    assert results.difference("b", "a", "score").mean == 1.0


def test_the_interval_is_student_s_and_wider_for_more_comparisons() -> None:
    scores = [0.1, 0.4, 0.2, 0.5, 0.3]
    results = made({"a": [0.0] * 5, "b": scores})
    error = np.std(scores, ddof=1) / np.sqrt(5)
    assert results.difference("b", "a", "score").high == pytest.approx(0.3 + 2.7764 * error, 1e-4)
    # Of t with 4 degrees of freedom the quantile at 1 - 0.05/10 is 5.5976.
    ten = results.difference("b", "a", "score", comparisons=10)
    assert ten.high == pytest.approx(0.3 + 5.5976 * error, 1e-4)


def test_a_line_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    write_runs(tmp_path, [RUN])
    with (tmp_path / RUNS).open("a") as file:
        file.write('{"row": "b", "se')
    before = (tmp_path / RUNS).read_bytes()
    assert [run["row"] for run in Results.read(tmp_path).runs] == ["a"]
    # Reading changes nothing: it may be a study at work that is writing the line.
    assert (tmp_path / RUNS).read_bytes() == before


def test_no_file_is_no_runs(tmp_path: Path) -> None:
    assert not Results.read(tmp_path).runs


def test_a_number_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"the run 'a' has no 'pass@1.5'"):
        entry(RUN, "pass@1.5")


def test_completions_come_back(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [{"row": "a", "seed": 0, "text": "64.", "reward": 1.0}]
    write_completions(tmp_path, "a-0", rows)
    assert list(Results.read(tmp_path).completions()) == rows


def test_floats_are_kept_to_six_digits() -> None:
    assert rounded({"x": [1 / 3, 12345678.9, 1]}) == {"x": [0.333333, 12345700.0, 1]}
