"""The page of an incident in a real browser: it shows what is known, asks for nothing, and takes no words for markup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rollout.demo.scratch import NAME
from rollout.usecases.rollback import rollback
from tests.support.commands import in_site
from tests.support.site import SIGNATURE, Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

HARM = "<img src=x onerror=alert(1)><script>alert(2)</script> [a](javascript:alert(3)) it's `bad`"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = Site.create(tmp_path_factory.mktemp("incident"))
    site.propose("1.1.0")
    site.tick()
    site.walk_to("50%")
    site.answer(stable=90, candidate=90, bad=60, now=True)
    assert rollback(site.world, NAME, reason=HARM, signature=SIGNATURE, incident="INC-<b>7").complete
    ended = in_site(site, "incident", NAME, "--folder", str(site.folder / "out"), name="export")
    assert (ended.status, ended.err) == (0, "")
    return next((site.folder / "out").glob("*.html"))


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1280) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message) or dialog.dismiss())
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert said == []
    assert len(asked) == 1, "the page asks for itself and for nothing else"


def test_it_says_first_what_was_taken_back_by_whom_and_why(browser: Browser, html: Path) -> None:
    with opened(browser, html) as page:
        assert page.locator("h1").inner_text().endswith(f"{NAME} 1.1.0 taken back in demo (INC-<b>7)")
        text = page.locator("body").inner_text()
        assert "To detect" in text
        assert "To verify" in text
        assert "60 had the wrong form" in text
        assert page.locator("svg").count() >= 3


def test_words_of_others_are_text(browser: Browser, html: Path) -> None:
    with opened(browser, html) as page:
        assert HARM in page.locator("body").inner_text()
        assert "INC-<b>7" in page.locator("body").inner_text()
        assert page.locator("img, script, a[href^=javascript]").count() == 0


def test_it_fits_a_phone(browser: Browser, html: Path) -> None:
    with opened(browser, html, width=380) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
