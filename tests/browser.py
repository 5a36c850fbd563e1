"""A real browser for the tests of pages: what a page says on the console, or asks of a network,
fails its test.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium found: install chromium or google-chrome to run the page tests")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def open_file(browser: Any) -> Iterator[Any]:
    """Opens a file; it may say nothing, and ask for nothing but itself."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_page(file: Path, **options: Any) -> Any:
        contexts.append(browser.new_context(**{"reduced_motion": "reduce", **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(180_000)  # other work may have the machine
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url in (file.resolve().as_uri(), "data:,")
                or request.url.startswith("data:image/")
                or complaints.append(request.url)
            ),
        )
        page.goto(file.resolve().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def serious_faults(page: Any) -> list[tuple[str, str]]:
    """What axe calls serious or critical, with the first element that has it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    found = axe.Axe().run(page).response["violations"]
    return [
        (fault["id"], fault["nodes"][0]["html"])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
