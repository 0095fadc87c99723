"""Where stable itself is bad, an earlier version or the base model takes its place: chosen, loaded, proven, and in git."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.core.lifecycle import Phase, Version
from rollout.core.manifest import AdapterManifest
from rollout.core.plan import Share
from rollout.demo.scratch import NAME
from rollout.errors import ServingUnavailable, Usage
from rollout.usecases.rollback import RollbackReport, rollback
from rollout.usecases.tick import Move
from tests.support.site import SIGNATURE, Site, manifest_on_main


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.1.0 is stable, and 1.0.0 was before it."""
    folder = tmp_path_factory.mktemp("settled") / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    site.tick()
    site.walk_to("100%")
    site.answer_well()
    while site.state.phase is not Phase.PROMOTED:
        site.tick_after(60)
    assert site.tick_after(8 * 86_400).move is Move.SETTLED
    return site


@pytest.fixture
def site(settled: Site, tmp_path: Path) -> Iterator[Site]:
    copied = settled.copy(tmp_path / "site")
    yield copied
    shutil.rmtree(copied.folder, ignore_errors=True)


def go_back(site: Site, to: str) -> RollbackReport:
    return rollback(site.world, NAME, reason="it makes laws up", signature=SIGNATURE, to=to)


def phases(report: RollbackReport) -> dict[str, bool]:
    return {phase.phase: phase.ok for phase in report.phases}


def version_in_git(site: Site) -> str:
    found = site.world.documents.read(manifest_on_main(site), AdapterManifest, source="x").value
    return found.version


def loaded(site: Site) -> list[str]:
    return sorted(model.name for replica in site.world.replicas for model in replica.models())


def stable_of(site: Site) -> Version:
    assert site.state.stable is not None
    return site.state.stable


def test_an_earlier_version_takes_the_place_of_stable_everywhere(site: Site) -> None:
    bad = stable_of(site)
    report = go_back(site, "1.0.0")
    assert report.complete, report.phases
    assert list(phases(report)) == ["flag", "servers", "ledger", "routes", "git", "verify", "unload"]
    good = stable_of(site)
    assert (bad.version, good.version) == ("1.1.0", "1.0.0")
    assert site.world.routes.read().routes[NAME].stable == good.served_name
    assert version_in_git(site) == "1.0.0"
    assert good.served_name in loaded(site)
    assert bad.served_name not in loaded(site)
    assert site.state.is_quarantined(bad.identity)
    assert site.state.verified
    assert site.state.reverted


def test_what_was_replaced_does_not_come_back_by_itself(site: Site) -> None:
    go_back(site, "1.0.0")
    tick = site.tick_after(60)
    assert (tick.move, stable_of(site).version) == (Move.IDLE, "1.0.0")


def test_doing_it_again_changes_nothing(site: Site) -> None:
    go_back(site, "1.0.0")
    head, commit = site.state.head, site.world.manifests.tree().commit
    again = go_back(site, "1.0.0")
    assert again.complete
    assert (site.state.head, site.world.manifests.tree().commit) == (head, commit)


def test_the_base_model_takes_the_place_of_stable(site: Site) -> None:
    report = go_back(site, "base")
    assert report.complete, report.phases
    assert site.state.stable is None
    assert site.world.routes.read().routes[NAME].stable == site.world.environment.server.base
    assert site.tick_after(60).move is Move.IDLE
    assert go_back(site, "base").complete


def test_candidate_and_stable_are_taken_back_at_once(site: Site) -> None:
    stable = stable_of(site)
    site.propose("1.4.0")
    site.tick()
    site.walk_to("10%")
    candidate = site.state.candidate
    assert candidate is not None
    report = go_back(site, "1.0.0")
    assert report.complete, report.phases
    assert stable_of(site).version == "1.0.0"
    assert all(site.state.is_quarantined(each.identity) for each in (stable, candidate))
    assert version_in_git(site) == "1.0.0"
    flag = site.world.flags.read(site.key)
    assert flag is not None
    assert flag.effective == Share.ZERO
    assert site.world.routes.read().routes[NAME].candidate is None


@pytest.mark.parametrize(("wanted", "why"), [("9.9.9", "to go back to"), ("1.0", "to go back to")])
def test_what_never_served_everybody_is_refused_before_anything_is_done(
    site: Site, wanted: str, why: str
) -> None:
    head, flag = site.state.head, site.world.flags.read(site.key)
    assert flag is not None
    with pytest.raises(Usage, match=why) as raised:
        go_back(site, wanted)
    assert "1.0.0, base" in raised.value.advice
    assert "rollout promote" in raised.value.advice
    after = site.world.flags.read(site.key)
    assert after is not None
    assert (site.state.head, after.version) == (head, flag.version)


def test_what_was_taken_back_is_no_way_back(site: Site) -> None:
    go_back(site, "1.0.0")
    with pytest.raises(Usage, match=r"1\.1\.0 is no version .* it was taken back on"):
        go_back(site, "1.1.0")


class Refusing:
    """A server that gets nothing new."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def load(self, served_name: str, folder: Path) -> None:
        raise ServingUnavailable("replica r0 did not answer")


def test_nobody_is_sent_to_what_a_server_lacks(site: Site) -> None:
    served = stable_of(site).served_name
    if "1.0.0" in " ".join(loaded(site)):
        for replica in site.world.replicas:
            for model in replica.models():
                if "-1.0.0-" in model.name:
                    replica.unload(model.name)
    whole = site.world.replicas
    lame: Sequence[object] = [Refusing(each) for each in whole]
    site.world = replace(site.world, replicas=tuple(lame))  # type: ignore[arg-type]
    report = go_back(site, "1.0.0")
    assert not phases(report)["servers"]
    assert not report.complete
    assert stable_of(site).served_name == served
    assert site.world.routes.read().routes[NAME].stable == served
    site.world = replace(site.world, replicas=whole)
    assert go_back(site, "1.0.0").complete
    assert stable_of(site).version == "1.0.0"


def test_a_reader_of_the_ledger_learns_what_took_its_place(site: Site) -> None:
    go_back(site, "1.0.0")
    event = site.state.rolled_back
    assert event is not None
    assert event.restored is not None
    assert event.restored.version == site.state.stable
    assert event.restored.replaced == event.bad
