"""Sites for the verbs that work on an environment: each test gets a copy of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.site import Site


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Site]:
    """One release before it begins, and at 10 %."""
    folder = tmp_path_factory.mktemp("walked")
    (folder / "site").mkdir()
    site = Site.create(folder / "site")
    site.propose("1.1.0")
    kept = {"adopted": site.copy(folder / "adopted")}
    site.tick()
    site.walk_to("10%")
    return kept | {"ramping": site}


@pytest.fixture
def adopted(walked: dict[str, Site], tmp_path: Path) -> Iterator[Site]:
    """1.0.0 is stable, 1.1.0 merged and evaluated; nothing runs."""
    yield walked["adopted"].copy(tmp_path / "site")
    shutil.rmtree(tmp_path / "site", ignore_errors=True)


@pytest.fixture
def ramping(walked: dict[str, Site], tmp_path: Path) -> Iterator[Site]:
    """1.1.0 has 10 %, and its server and its gateway have gone."""
    yield walked["ramping"].copy(tmp_path / "site")
    shutil.rmtree(tmp_path / "site", ignore_errors=True)
