"""Text rewards, by name or as a function of one's own."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from gnivo_edu.tasks import get_reward
from gnivo_edu.tasks.stories import sentiment


def test_rewards_by_name_and_by_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_reward("sentiment") is sentiment
    (tmp_path / "my_text_rewards.py").write_text(
        "def short(texts):\n    return [-len(t) for t in texts]\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert get_reward("my_text_rewards:short")(["ab"]) == [-2]
    assert sys.path == path
    for name, message in {
        "sentimental": "there is no reward 'sentimental'; did you mean 'sentiment'",
        "zzz": "there is no reward 'zzz'; known: sentiment",
        "no_such_module:f": "module 'no_such_module' cannot be imported",
        "my_text_rewards:long": "module 'my_text_rewards' has no function 'long'",
        "my_text_rewards:number": "has no function 'number'",
        ":f": "cannot be imported",
    }.items():
        with pytest.raises(ValueError, match=message) as error:
            get_reward(name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(:", "cannot be imported: SyntaxError: invalid syntax"),
        ("x = undefined_name", "cannot be imported: NameError: name 'undefined_name'"),
        ("raise SystemExit(0)", "cannot be imported: SystemExit: 0"),
        ("raise OSError('one\\ntwo')", "cannot be imported: OSError: one two"),
        ("def f(texts): raise SystemExit(0)", "the reward broken_rewards:f raised SystemExit: 0"),
        (
            "def f(texts): raise RuntimeError('one\\ntwo')",
            "the reward broken_rewards:f raised RuntimeError: one two",
        ),
    ],
)
def test_a_reward_that_fails_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    (tmp_path / "broken_rewards.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_rewards", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match=message) as error:
        get_reward("broken_rewards:f")(["a"])
    assert "\n" not in str(error.value)
    sys.modules.pop("broken_rewards", None)
