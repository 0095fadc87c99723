"""A real browser for the tests of pages."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def missing() -> str:
    """What these tests need and do not have; empty if they have all."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed (extra `dev`)"
    return "" if any(map(shutil.which, BROWSERS)) else "there is no Chromium: apt-get install chromium"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if why := missing():
        required = os.environ.get("CI") == "true" or os.environ.get("ROLLOUT_REQUIRE_ALL") == "1"
        pytest.fail(why) if required else pytest.skip(why)
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)))
    # The sandbox needs rights that root in a container does not have.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()
