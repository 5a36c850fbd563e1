"""The shell of whole pages: what its policy allows, and texts that cannot leave their place."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from gnivo_edu.pages import island, render, seen, with_policy

TEMPLATE = """{% extends "base.html" %}
{% block title %}{{ title|visible }}{% endblock %}
{% block body %}<p>{{ title|seen }}</p>{% endblock %}
{% block script %}<script type="application/json" id="data">{{ data|island }}</script>
<script>
let x = 1;
</script>{% endblock %}
"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "page.html").write_text(TEMPLATE)
    odd = "</title><script>pwned=1</script>\u202e\n\u200b"
    return render(tmp_path / "page.html", title=odd, data={"odd": odd})


def test_the_policy_allows_its_own_parts_and_nothing_else(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert re.search(rf"{kind}-src [^;]*'sha256-{re.escape(digest)}'", policy)
    assert not re.search(r"\sstyle=|\son\w+=", page)


def test_a_text_cannot_leave_its_place(page):
    assert page.count("<script") == 2
    assert not {"\u202e", "\u200b"} & set(page)
    data = page.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["odd"].startswith("</title>")


def test_numbers_are_finite_and_texts_are_seen():
    with pytest.raises(ValueError, match="JSON"):
        island({"x": float("nan")})
    assert str(seen("a\n b")) == "<bdi>a</bdi><br><bdi>␣b</bdi>"
    assert with_policy("no place for it") == "no place for it"
