"""Every study in its quick form, of minutes, by hand (`make nightly`); that of `credit` has a
test of its own, which asks for more.
"""

from pathlib import Path

import pytest

from gnivo_edu import studies


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in studies.NAMES if name != "credit"])
def test_the_quick_form_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        done = studies.run(name, size="quick", out=tmp_path / "out")
    except ValueError as error:
        if "GNIVO_" not in str(error):
            raise
        pytest.skip(str(error))
    assert done.runs > 0
    assert (tmp_path / "out" / "table.md").stat().st_size > 0
