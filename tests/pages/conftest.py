"""The browser of the tests of pages."""

from tests.browser import browser, open_file

__all__ = ["browser", "open_file"]
