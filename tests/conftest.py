"""The order of the whole suite."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules with browser tests last.

    Playwright's synchronous interface keeps an event loop running in the main thread until the session ends; a test
    that comes after it could not run one of its own.
    """
    with_browser = {item.path for item in items if "page" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path in with_browser)
