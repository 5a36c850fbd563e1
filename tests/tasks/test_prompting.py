"""Prompts of chat templates: the same whatever the day; the tokens and texts that end a turn."""

from __future__ import annotations

import contextlib
import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gnivo_edu.tasks.grading import Grade, Problem
from gnivo_edu.tasks.prompting import chat_prompt, end_tokens, turn_end
from gnivo_edu.tasks.text_task import TextTask

TURNS = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|stop|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


@pytest.fixture
def tokenizer(byte_tokenizer):
    """The same one for all tests, without the template that a test gave it."""
    if "<|stop|>" not in byte_tokenizer.get_vocab():
        byte_tokenizer.add_tokens(["<|stop|>"])
    yield byte_tokenizer
    byte_tokenizer.chat_template = None


def prompt(tokenizer, template, **options):
    tokenizer.chat_template = template
    return tokenizer.decode(chat_prompt(tokenizer, "2+2?", "", options))


LONG = "2024-07-26 00:00:00 07/26/24 Jul 20, 12 AM, 2024-W30-5, %d%26 2+2?"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Today: {{ strftime_now('%d %b %Y') }}. ", "Today: 26 Jul 2024. 2+2?"),
        ("{{ strftime_now('%Y-%m-%d').split('-')[0] }} ", "2024 2+2?"),
        ("{{ strftime_now('%B %-d, %A %H:%M, 5%%') }} ", "July 26, Friday 00:00, 5% 2+2?"),
        ("{{ strftime_now('%F %T %D %h %C, %I %p, %G-W%V-%u, %%d%%%d') }} ", LONG),
        ("{% set f = '%' ~ 'e' %}{{ strftime_now(f) | int + 1 }} ", "27 2+2?"),
        # Blanks and line ends at the beginning of a template stay as it means them.
        ("\n  {% if true %}\n{{ strftime_now('%y') }} {% endif %}", "\n24 2+2?"),
        (
            "{% macro day() %}{{ strftime_now('%j') }}{% endmacro %}"
            "{% if strftime_now is defined %}{{ day() }} {% endif %}",
            "208 2+2?",
        ),
    ],
)
def test_a_template_prints_one_date_whatever_the_day(tokenizer, monkeypatch, template, expected):
    template += "{{ messages[0].content }}"
    assert prompt(tokenizer, template) == expected
    later = type("Later", (datetime.datetime,), {"now": classmethod(lambda cls: cls(2031, 5, 6))})
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", later)
    assert prompt(tokenizer, template) == expected


def test_the_clock_runs_again_for_others_also_where_a_template_refuses(tokenizer):
    for template in ("{{ strftime_now('%Y') }} {{ messages[0].content }}", "{% if %}"):
        with contextlib.suppress(ValueError):
            prompt(tokenizer, template)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": ""}],
        tokenize=False,
        chat_template="{{ strftime_now('%Y') }}",
    )
    assert int(text) == datetime.datetime.now().year > 2024


CONTENT = "{{ messages[0].content }}"
PARTS = "{% for p in messages[0].content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (PARTS + "{% endfor %}", "2+2?"),
        ("{{ messages[0].content[0]['text'] + '' }}", "2+2?"),
        ("{{ messages[0].content | replace('+', ' plus ') }}", "2 plus 2?"),
    ],
)
def test_a_question_is_asked_in_the_way_that_the_template_reads(tokenizer, template, expected):
    assert prompt(tokenizer, template) == expected


@pytest.mark.parametrize(
    ("template", "options", "says"),
    [
        ("Hello!", {}, "leaves out the question: pass chat=False"),
        ("", {}, "leaves out the question"),
        ("{{ raise_exception('one\ntwo') }}", {}, "the chat template fails: .*: one two$"),
        ("{{ nothing.at.all }}", {}, "fails: UndefinedError: 'nothing' is undefined"),
        ("{% if %}", {}, "fails: TemplateSyntaxError: "),
        ("{{ strftime_now(3) }}", {}, "fails: TypeError: "),
        (CONTENT, {"tokenize": True}, "fails: TypeError: .* argument 'tokenize'"),
        ({"a": CONTENT, "b": CONTENT}, {}, "fails: ValueError: .* no default"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_line(tokenizer, template, options, says):
    with pytest.raises(ValueError, match=says) as error:
        prompt(tokenizer, template, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("ends", "more"),
    [
        (None, ()),
        (-1, ()),
        ([7, None, 8, 7], (7, 8)),
        (np.array([7]), (7,)),
        (torch.tensor([7, 8]), (7, 8)),
        ([7, -1], (7,)),
    ],
)
def test_end_tokens_of_a_generation_config_of_any_kind(tokenizer, ends, more):
    assert end_tokens(tokenizer, SimpleNamespace(eos_token_id=ends)) == (
        tokenizer.eos_token_id,
        *more,
    )


@pytest.mark.parametrize("ends", ["</s>", 2.5, [[2], [3, 4]], {2}])
def test_end_tokens_that_are_no_numbers_are_one_line(tokenizer, ends):
    with pytest.raises(ValueError, match="eos_token_id of the generation config must be whole"):
        end_tokens(tokenizer, SimpleNamespace(eos_token_id=ends))


def test_options_may_name_another_date(tokenizer):
    template = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d') %}{% endif %}"
        "{{ date_string }} {{ messages[0].content }}"
    )
    assert prompt(tokenizer, template) == "26 2+2?"
    assert prompt(tokenizer, template, date_string="1 May") == "1 May 2+2?"


def test_a_template_among_several_is_chosen_as_ever(tokenizer):
    several = {"default": "{{ strftime_now('%d') }} {{ messages[0].content }}", "tool_use": "!"}
    assert prompt(tokenizer, several) == "26 2+2?"


@pytest.mark.parametrize(
    ("template", "token", "text"),
    [
        (TURNS, "<|stop|>", ""),
        (TURNS.replace("<|stop|>\n", " <|stop|><|end|>"), "<|stop|>", ""),  # the first of them
        # Nothing ends the last turn; a further one begins with a token (GLM).
        (TURNS.replace("<|stop|>\n", "\n"), "<|turn|>", ""),
        # Words that are no token of the tokenizer.
        (TURNS.replace("<|stop|>", "<|im_end|>"), None, "<|im_end|>"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", None, "\nuser:"),
        ("{{ messages[0].content }}", None, ""),  # shows no answer at all
        ("{{ raise_exception('no') }}", None, ""),
        (None, None, ""),
    ],
)
def test_what_ends_a_turn_is_read_off_the_template(tokenizer, template, token, text):
    tokenizer.chat_template = template
    ids = [] if token is None else [tokenizer.convert_tokens_to_ids(token)]
    assert turn_end(tokenizer) == (ids, text)


def test_a_template_whose_assistant_writes_more_at_the_end_of_all(tokenizer):
    # As gpt-oss: another token ends the last answer than one in the middle.
    tokenizer.chat_template = (
        "{% for m in messages %}<|turn|>{{ m.content }}"
        "{% if loop.last %}<|end|>{% else %}<|stop|>{% endif %}{% endfor %}"
    )
    assert turn_end(tokenizer)[0] == [tokenizer.eos_token_id]


def test_the_end_of_a_turn_is_an_end_token_once(tokenizer):
    stop, eos = tokenizer.convert_tokens_to_ids("<|stop|>"), tokenizer.eos_token_id
    assert end_tokens(tokenizer) == (eos,)
    tokenizer.chat_template = TURNS
    assert end_tokens(tokenizer) == (eos, stop)
    assert end_tokens(tokenizer, SimpleNamespace(eos_token_id=[stop, 7])) == (eos, stop, 7)


def words(texts, problems):
    return [
        Grade(text=t, answer=t, gold="", status="scored", reward=float(t.strip() == "4"))
        for t in texts
    ]


@pytest.mark.parametrize("ends", ["<|stop|>", "<|im_end|>"])
def test_what_a_model_writes_behind_its_turn_is_not_graded(tokenizer, ends):
    tokenizer.chat_template = TURNS.replace("<|stop|>", ends)
    task = TextTask("sums", [Problem(question="2+2?", gold="4")], tokenizer, words, horizon=64)
    ids = tokenizer(f"4{ends}\n<|turn|>user\n5?", add_special_tokens=False)["input_ids"]
    assert task.reward(np.array([ids]), np.array([len(ids)])) == [1.0]
