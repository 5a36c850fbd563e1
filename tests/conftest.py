import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_model():
    """The small pretrained model beside the project; skipped, with the reason, where it is not
    there.
    """
    folder = Path(os.environ.get("GNIVO_SHARED", ROOT.parent / "shared")) / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"needs the pretrained model in {folder}: set GNIVO_SHARED")
    return str(folder)
