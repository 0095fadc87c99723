"""`rollout resume` says what it did, or what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.core.plan import Share
from tests.support.commands import in_site
from tests.support.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    return site


def test_a_release_that_was_turned_down_goes_on_from_there(site: Site) -> None:
    site.world.flags.write(
        site.key, Share.parse("5%"), turn_on=False, expect_version=None, by="eve", comment=""
    )
    site.tick()
    ended = in_site(site, "resume", "--reason", "it was another service")
    assert (ended.status, ended.err) == (0, "")
    assert "goes on from 5% in demo with the next tick" in ended.out
    rollback = in_site(site, "rollback", "--reason", "enough")
    assert rollback.status in (0, 4)
    again = in_site(site, "resume", "--reason", "once more")
    assert again.status == 2
    assert "there is nothing to resume" in again.err


@pytest.mark.parametrize("reason", ["", "  \t", "\x1b"])
def test_a_release_is_not_resumed_without_a_reason(site: Site, reason: str) -> None:
    ended = in_site(site, "resume", "--reason", reason)
    assert ended.status == 2
    assert "say why, in words" in ended.err
