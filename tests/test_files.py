"""Values as people write them, in a file and on every command line."""

import pytest

from gnivo_edu.commands.app import key_values
from gnivo_edu.training.config import load_config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E5", -2e5),
        (".5e2", 50.0),
        ("3", 3),
        ("0.25", 0.25),
        ("true", True),
        ("false", False),
        ("False", False),
        ("no", False),
        ("null", None),
        ("", None),
        ("[1e-3, two]", [0.001, "two"]),
        ("{a: 1e-3}", {"a": 0.001}),
        ("softmax", "softmax"),
        (" softmax ", "softmax"),
        ("'1e-3'", "1e-3"),
        ("1e-3 a", "1e-3 a"),
        ("###", "###"),
        ("three #4", "three #4"),
        ("7 # a comment", "7 # a comment"),
        ("Problem:", "Problem:"),
        ("- a", "- a"),
        ("\nQ: {question}\nA:", "\nQ: {question}\nA:"),
        ("\n\n", "\n\n"),
        ("*", "*"),
        ("2026-01-02", "2026-01-02"),
        ("a=b", "a=b"),
    ],
)
def test_one_reader_of_values_for_all_commands(text, value):
    for read in (
        key_values([f"x={text}"])["x"],
        load_config(changes=[f"task_options.x={text}"]).task_options["x"],
    ):
        assert read == value
        assert type(read) is type(value)


def test_a_number_of_a_file_is_one_wherever_it_stands(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("learning_rate: 1e-3\ntask_options: {rates: [1e-3, a1e-3]}\nsteps: 1e2\n")
    config = load_config(path)
    assert (config.learning_rate, config.steps) == (0.001, 100)
    assert config.task_options == {"rates": [0.001, "a1e-3"]}
