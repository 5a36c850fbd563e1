"""A certificate prints, renders and serialises what it holds."""

import html
import json
from dataclasses import replace

import pytest

import toy_envs
from gnivo_edu import exact
from gnivo_edu.exact.certificate import below

CERTIFICATE = exact.Certificate(
    "1 < 2",
    False,
    0.5,
    limit=1e-6,
    prefixes=1234,
    table=[{"t": 1, "error": 0.25}, {"t": 10, "error": 1e-7}],
    measures={"group_size": 2, "credit_error": 3.21e-9},
)


def test_certificates_print_render_and_serialise():
    certificate = exact.verify_constant_shift(
        exact.enumerate_tree(toy_envs.PosterProblem()), 0.2, 2
    )
    assert str(certificate).startswith("HOLDS  Theorem 2")
    assert "credit error" in str(certificate)
    assert "<table>" in certificate._repr_html_()
    again = json.loads(certificate.to_json())
    assert again["passed"] is True
    assert again["measures"]["group_size"] == 2
    assert len(again["table"]) == 7


def test_a_certificate_is_one_table_as_text_as_html_and_as_json():
    assert str(CERTIFICATE).splitlines() == [
        "FAILS  1 < 2",
        "       largest error 5.0e-01 nats over 1,234 prefixes (limit 1e-06)",
        "       group size: 2",
        "       credit error: 3.2e-09",
        "       t   error",
        "       1   0.25",
        "       10  1.0e-07",
    ]
    assert CERTIFICATE._repr_html_() == (
        "<div><b>FAILS</b> 1 &lt; 2<br>largest error 5.0e-01 nats over 1,234 prefixes "
        "(limit 1e-06)<br>group size: 2<br>credit error: 3.2e-09<table>"
        "<tr><th>t</th><th>error</th></tr><tr><td>1</td><td>0.25</td></tr>"
        "<tr><td>10</td><td>1.0e-07</td></tr></table></div>"
    )
    assert json.loads(CERTIFICATE.to_json()) == {
        "claim": "1 < 2",
        "passed": False,
        "max_abs_error": 0.5,
        "limit": 1e-6,
        "prefixes": 1234,
        "measures": {"group_size": 2, "credit_error": 3.21e-9},
        "table": [{"t": 1, "error": 0.25}, {"t": 10, "error": 1e-7}],
    }
    assert CERTIFICATE["credit_error"] == 3.21e-9


def test_a_certificate_may_have_no_table():
    bare = replace(CERTIFICATE, table=[], measures={}, passed=True)
    largest = "largest error 5.0e-01 nats over 1,234 prefixes (limit 1e-06)"
    assert str(bare) == f"HOLDS  1 < 2\n       {largest}"
    assert bare._repr_html_() == f"<div><b>HOLDS</b> 1 &lt; 2<br>{largest}<table></table></div>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1e-3, "0.001"),
        (9.9e-4, "9.9e-04"),
        (-0.5, "-0.5"),
        (1.0, "1"),
        (99999.0, "1e+05"),
        (1e5, "1.0e+05"),
        (1234567, "1,234,567"),
        ("a<b", "a<b"),
    ],
)
def test_numbers_are_written_short(value, text):
    certificate = replace(CERTIFICATE, table=[{"x": value}])
    assert str(certificate).splitlines()[-2:] == ["       x", f"       {text}"]
    assert certificate._repr_html_().count(f"<tr><td>{html.escape(text)}</td></tr>") == 1
    assert certificate._repr_html_().count("<tr><th>x</th></tr>") == 1


@pytest.mark.parametrize(
    ("x", "bound", "text"),
    [
        (3.6e-14, 1e-9, "below 1e-9"),
        (0.0, 1e-12, "below 1e-12"),
        (1e-9, 1e-9, "1e-09"),
        (0.256, 1e-9, "0.26"),
    ],
)
def test_what_rounding_makes_is_written_as_below_a_bound(x, bound, text):
    assert below(x, bound) == text
