"""A browser for the tests of pages, where one is installed."""

import pytest

from tests.helpers.chromium import BrowserPage, chromium_program, running_chromium


@pytest.fixture(scope="module")
def browser():
    """A headless browser for all tests of a module."""
    program = chromium_program()
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with running_chromium(program) as running:
        yield running


@pytest.fixture
def opened(browser):
    """Open a file in a window and return its page, drawn; afterwards it must have made no complaint and no request."""
    pages = []

    def open_page(path, width, height, **more):
        pages.append(BrowserPage(browser, path, width, height, **more))
        return pages[-1].drawn()

    yield open_page
    for page in pages:
        assert page.complaints() == []
        assert page.requests() == []
        page.close()
