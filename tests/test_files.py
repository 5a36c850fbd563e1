"""Values as people write them, in a file and on every command line; records; what is none."""

import json

import pytest

from gnivo_edu.commands.app import key_values
from gnivo_edu.files import read_changes, read_object, read_records, read_settings, read_text
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
        ("---", "---"),
        ("&a", "&a"),
        ("*a", "*a"),
        ("|", "|"),
        (">", ">"),
        ("%", "%"),
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


def refused(read, path, *words):
    """The one line in which a file is refused, which names it."""
    with pytest.raises(ValueError) as error:  # noqa: PT011  # its words follow
        read(path)
    message = str(error.value)
    assert message.isprintable()
    assert all(word in message for word in (path.name, *words)), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nsteps: 2\nseed: 3\n", ["line 3", "'seed'", "second time"]),
        ("a:\n  b: 1\n  b: 2\n", ["line 3", "'b'"]),
        ("a: {b: 1, b: 2}\n", ["line 1", "'b'"]),
        ("a: [&x {b: 1}, {b: 2, b: 1}]\n", ["'b'"]),
        ("a: " + "[" * 3000 + "]" * 3000, ["nested"]),
        ("a: " + "[" * 60 + "]" * 60, ["nested more than"]),
        ("a: &a [*a]", ["holds itself"]),
        ("a: !!python/object/apply:os.system [ls]", ["no plain value"]),
        ("a: !!binary aGVsbG8=", ["no plain value"]),
        ("a: " + "9" * 5000, ["digits"]),
        ("a: [1", ["line 1"]),
        ("- a\n- b\n", ["`key: value` a line"]),
        ("seed", ["`key: value` a line"]),
        ("a: \x1b", ["special characters"]),
        ("a: 1\n---\nb: 2\n", ["another document"]),
    ],
)
def test_settings_that_cannot_be_read_are_one_line(text, words, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    refused(read_settings, path, *words)


def test_aliases_are_read_unless_they_explode(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("a: &a [1, 2]\nb: *a\nc: &c {d: 1}\ne: {<<: *c, d: 2}\n")
    assert read_settings(path) == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}, "e": {"d": 2}}
    lines = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30))]
    path.write_text("\n".join(lines))
    refused(read_settings, path, "more than 100,000 values")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("seed: 1".encode("utf-16"), ["UTF-16", "save it as UTF-8"]),
        ("seed: 1".encode("utf-16-le"), ["UTF-16", "save it as UTF-8"]),
        ("seed: 1\nout: Käse".encode("latin-1"), ["line 2", "not UTF-8"]),
        (b"a" * (5 * 2**20), ["larger than 4 MiB"]),
    ],
)
def test_another_encoding_is_one_line(data, words, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(data)
    refused(read_settings, path, *words)


def test_the_mark_of_utf8_is_no_letter(tmp_path):
    for name, text in {"run.yaml": "seed: 1\n", "some.jsonl": '{"seed": 1}\r\n\n'}.items():
        (tmp_path / name).write_bytes(text.encode("utf-8-sig"))
    assert read_settings(tmp_path / "run.yaml") == {"seed": 1}
    assert read_records(tmp_path / "some.jsonl") == [{"seed": 1}]


def test_a_device_is_no_file():
    with pytest.raises(ValueError, match="is a device, and no file"):
        read_text("/dev/zero")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('["a"]', ["line 2", "is no record"]),
        ("null", ["line 2", "is no record", "None"]),
        ("3", ["line 2", "is no record"]),
        ('"prompt"', ["line 2", "is no record"]),
        ('[{"prompt": "Once"}]', ["line 2", "is no record"]),
        ('{"a": 1, "b": 2, "a": 3}', ["line 2", "'a'", "twice"]),
        ('{"a": {"b": 1, "b": 1}}', ["line 2", "'b'", "twice"]),
        ('{"a"', ["line 2", "is not JSON"]),
        ("[" * 100_000, ["line 2", "nested"]),
        ('{"a": ' + "9" * 5000 + "}", ["line 2", "digits"]),
    ],
)
def test_a_row_that_is_no_record_is_one_line(line, words, tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text(f'{{"prompt": "a"}}\n{line}\n')
    refused(read_records, path, *words)
    path = tmp_path / "one.json"
    path.write_text(line)
    refused(read_object, path)


def test_one_list_of_records_is_a_file_of_json(tmp_path):
    path = tmp_path / "some.json"
    path.write_text(json.dumps([{"a": 1}, {"a": 2}]))
    assert read_records(path) == [{"a": 1}, {"a": 2}]
    path.write_text(json.dumps([{"a": 1}, ["a"]]))
    refused(read_records, path, "record 2", "is no record")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["seed=1", "seed=2"], "--set has seed twice"),
        (["x.y=1", "x={}"], "--set has x.y and x twice"),
        (["=1"], "--set takes key=value, got '=1'"),
        (["x=" + "[" * 3000], "nested too deep"),
        (["x={a: 1, a: 2}"], "the key 'a' a second time"),
        (["x={a: \x1b[31m}"], "the value is not YAML"),
    ],
)
def test_a_change_that_cannot_be_read_is_one_line(changes, says):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # its words follow
        key_values(changes)
    assert says in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "changes", [("a={b: 2}", "a.b=1"), ("a.b=1", "a={b: 2}"), ("a=1", "a=2"), ("a.b=1", "a.b.c=2")]
)
def test_no_setting_is_given_twice_in_either_order(changes):
    with pytest.raises(ValueError, match="twice"):
        read_changes(changes)


def test_settings_whose_names_begin_alike_are_two():
    assert read_changes(["a=1", "ab.c=2", "abc=3"]) == {"a": 1, "ab.c": 2, "abc": 3}
