"""A recorded look is judged again to the byte-same verdicts, and what was tampered with shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.demo.scratch import NAME
from rollout.usecases.replay import replay
from tests.support.site import Site


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three releases: one promoted, one taken back by the judge, one under way."""
    folder = tmp_path_factory.mktemp("walked") / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    site.tick()
    site.walk_to("100%")
    site.answer_well()
    site.tick_after(4)
    site.propose("1.2.0")
    for _ in range(3):
        site.tick_after(4)
    site.walk_to("10%")
    site.answer(stable=400, candidate=200, bad=100)
    site.tick_after(4)
    yield site
    shutil.rmtree(folder, ignore_errors=True)


def test_every_look_is_judged_again_to_the_same_bytes(walked: Site) -> None:
    again = list(replay(walked.world, NAME))
    assert len(again) >= 6
    assert [each.complaint for each in again] == [None] * len(again)
    assert {str(each.looked.outcome) for each in again} >= {"pass", "fail"}


def test_evidence_that_was_lost_or_is_another_shows(walked: Site, tmp_path: Path) -> None:
    class Evidence:
        def __init__(self, change: dict[str, bytes]) -> None:
            self._change = change

        def get(self, digest: str) -> bytes:
            return self._change.get(digest) or walked.world.evidence.get(digest)

    first = next(iter(replay(walked.world, NAME)))
    assert first.looked.detail is not None
    detail = json.loads(walked.world.evidence.get(first.looked.detail))
    detail["samples"][0]["candidate"]["total"] += 1
    other = {first.looked.detail: json.dumps(detail).encode()}
    found = list(replay(replace(walked.world, evidence=Evidence(other)), NAME))  # type: ignore[arg-type]
    metric = detail["samples"][0]["metric"]
    assert found[0].complaint == f"other sums of {metric}"
    empty = {first.looked.detail: b"{}"}
    lost = list(replay(replace(walked.world, evidence=Evidence(empty)), NAME))  # type: ignore[arg-type]
    assert lost[0].complaint is not None
    assert lost[0].complaint.startswith("cannot be judged again: its evidence")
