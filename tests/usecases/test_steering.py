"""People and pull requests steer a release under way: they make it wait, hurry, skip, end, or begin once more."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.core.environment import Fleet
from rollout.core.lifecycle import Intended, Phase
from rollout.core.plan import Share
from rollout.demo.scratch import MANIFEST, NAME
from rollout.errors import Usage
from rollout.report.liveview import screen
from rollout.usecases.advance import advance
from rollout.usecases.book import Signature
from rollout.usecases.quarantine import lift
from rollout.usecases.resume import resume
from rollout.usecases.rollback import rollback
from rollout.usecases.room import no_room
from rollout.usecases.status import status
from rollout.usecases.steady import steady
from rollout.usecases.steer import hasten, pause, retry
from rollout.usecases.tick import Move
from tests.support.aftermath import manifest_on_origin, reverts
from tests.support.site import SIGNATURE, Site

PLAN = Path("policies/plans/demo.yaml")
LEAD = Signature(actor="support-lead", environment="demo")


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("adopted") / "site"
    folder.mkdir()
    return Site.create(folder)


@pytest.fixture
def site(adopted: Site, tmp_path: Path) -> Iterator[Site]:
    copied = adopted.copy(tmp_path / "site")
    yield copied
    shutil.rmtree(copied.folder, ignore_errors=True)


def merge(site: Site, path: Path, change: Callable[[str], str]) -> None:
    """What a merged pull request does to one file."""
    repository = site.repository
    repository.pull()
    file = repository.root / path
    before = file.read_text() if file.exists() else ""
    file.write_text(change(before))
    assert file.read_text() != before
    repository.git("add", str(path))
    repository.git("commit", "-q", "-m", f"change {path}")
    repository.git("push", "-q", "origin", "main")


def begin(site: Site, share: str = "10%") -> None:
    site.propose("1.1.0")
    site.tick()
    if share != "0%":
        site.walk_to(share)


def steered(words: str) -> Callable[[str], str]:
    return lambda text: text.replace("  plan: demo\n", f"  plan: demo\n  {words}\n")


def passing_tick(site: Site) -> tuple[Move, str]:
    site.answer_well()
    tick = site.tick_after(4)
    return tick.move, tick.reason


def test_a_paused_release_goes_no_further_until_it_is_resumed(site: Site) -> None:
    begin(site)
    pause(site.world, NAME, reason="a fair is on", signature=SIGNATURE)
    assert passing_tick(site) == (
        Move.HELD,
        "paused by ann: a fair is on; resume the release or take it back",
    )
    assert str(site.state.share) == "10%"
    resume(site.world, NAME, reason="it is over", signature=SIGNATURE)
    assert passing_tick(site)[0] is Move.ADVANCED
    assert str(site.state.share) == "50%"


def test_a_paused_release_that_does_harm_is_taken_back(site: Site) -> None:
    begin(site)
    pause(site.world, NAME, reason="a fair is on", signature=SIGNATURE)
    site.answer(stable=400, candidate=200, bad=120)
    assert site.tick_after(4).move is Move.ROLLED_BACK
    assert site.state.paused is None


def test_a_pause_never_ends_in_a_rollback_for_lack_of_time(site: Site) -> None:
    begin(site)
    pause(site.world, NAME, reason="a fair is on", signature=SIGNATURE)
    tick = site.tick_after(30 * 86_400)
    assert (tick.move, site.state.phase) == (Move.OVERDUE, Phase.CANARY)
    assert "paused by ann" in tick.reason


def test_what_is_not_under_way_cannot_be_paused_or_hastened(site: Site) -> None:
    for ask in (pause, hasten):
        with pytest.raises(Usage, match=f"no release of {NAME} is under way"):
            ask(site.world, NAME, reason="because", signature=SIGNATURE)
    begin(site)
    pause(site.world, NAME, reason="first", signature=SIGNATURE)
    with pytest.raises(Usage, match=r"ann has paused .* already: first"):
        pause(site.world, NAME, reason="second", signature=SIGNATURE)


def test_a_hastened_release_goes_everywhere_without_proof_and_says_so(site: Site) -> None:
    begin(site)
    hasten(site.world, NAME, reason="stable answers nonsense", signature=SIGNATURE)
    with pytest.raises(Usage, match=r"ann has asked for .* everywhere already"):
        hasten(site.world, NAME, reason="hurry", signature=SIGNATURE)
    tick = site.tick()
    assert (tick.move, tick.reason) == (Move.ADVANCED, "ann does not wait for proof: on to 100%")
    intents = [e.event for e in site.world.ledger.read(NAME) if isinstance(e.event, Intended)]
    assert (intents[-1].step, intents[-1].skipped) == (2, "stable answers nonsense")
    assert site.tick().move is Move.HELD  # watched at 100 % as the plan says
    hasten(site.world, NAME, reason="it is fine", signature=SIGNATURE)
    assert site.tick().move is Move.PROMOTED


def test_a_rollback_beats_whoever_hastens_or_pauses(site: Site) -> None:
    begin(site)
    hasten(site.world, NAME, reason="hurry", signature=SIGNATURE)
    assert rollback(site.world, NAME, reason="no", signature=SIGNATURE).complete
    assert site.tick().move is not Move.ADVANCED
    assert (site.state.phase, str(site.state.share)) == (Phase.TAKEN_BACK, "0%")


def test_harm_beats_whoever_hastens(site: Site) -> None:
    begin(site)
    hasten(site.world, NAME, reason="hurry", signature=SIGNATURE)
    site.answer(stable=400, candidate=200, bad=120)
    assert site.tick_after(4).move is Move.ROLLED_BACK


def test_bytes_that_were_taken_back_begin_again_once_two_people_want_it(site: Site) -> None:
    begin(site)
    rollback(site.world, NAME, reason="a bad day", signature=SIGNATURE)
    site.propose("1.1.0", evaluate=False)
    tick = site.tick()
    assert tick.move is Move.BLOCKED
    assert "these bytes were rolled back" in tick.reason
    with pytest.raises(Usage, match="was taken back here: one person alone cannot let it begin"):
        retry(site.world, NAME, reason="it was the network", signature=SIGNATURE)
    assert not lift(site.world, NAME, reason="it was the network", signature=SIGNATURE).done
    assert site.tick().move is Move.BLOCKED
    lifted = lift(site.world, NAME, reason="so it was", signature=LEAD)
    assert (lifted.done, lifted.subject.event.reason) == (True, "a bad day")
    assert site.tick().move is Move.BEGUN
    with pytest.raises(Usage, match=r"nothing of version 9\.9\.9"):
        retry(site.world, NAME, reason="again", signature=SIGNATURE, version="9.9.9")


def test_the_plan_waits_for_the_person_whom_it_names(site: Site) -> None:
    merge(site, PLAN, lambda text: text.replace("{share: 10%,", "{share: 10%, pause: support-lead,"))
    begin(site)
    assert passing_tick(site) == (
        Move.HELD,
        "the plan pauses at 10%: support-lead has to resume the release",
    )
    with pytest.raises(Usage, match="the plan pauses here for support-lead, and you are ann"):
        resume(site.world, NAME, reason="go", signature=SIGNATURE)
    resume(site.world, NAME, reason="go", signature=LEAD)
    assert passing_tick(site)[0] is Move.ADVANCED


def test_a_manifest_holds_its_release_at_a_share(site: Site) -> None:
    begin(site)
    merge(site, MANIFEST, steered('hold: {at: 50%, reason: "until the audit"}'))
    assert passing_tick(site)[0] is Move.ADVANCED
    assert passing_tick(site) == (Move.HELD, "the manifest holds it at 50%: until the audit")
    merge(site, MANIFEST, lambda text: text.replace('  hold: {at: 50%, reason: "until the audit"}\n', ""))
    assert passing_tick(site)[0] is Move.ADVANCED


def test_a_manifest_stops_its_release_where_it_is(site: Site) -> None:
    begin(site)
    merge(site, MANIFEST, steered("hold: {reason: wait}"))
    assert passing_tick(site) == (Move.HELD, "the manifest holds it where it is: wait")


def test_a_manifest_skips_steps_but_never_the_proof(site: Site) -> None:
    merge(
        site,
        PLAN,
        lambda text: text.replace(
            "  - {share: 10%,", "  - {share: 5%, bake: 2s, min_samples: 20}\n  - {share: 10%,"
        ),
    )
    site.propose("1.1.0")
    merge(site, MANIFEST, steered('skip: {shares: [5%, 10%, 50%, 100%], reason: "a known fix"}'))
    site.tick()
    site.answer(stable=120, candidate=120, shadow=True)
    tick = site.tick_after(4)
    assert (tick.move, str(site.state.share)) == (Move.ADVANCED, "50%")
    intents = [e.event for e in site.world.ledger.read(NAME) if isinstance(e.event, Intended)]
    assert intents[-1].skipped == "a known fix"
    assert site.tick_after(4).move is Move.HELD


def test_a_rollback_reverts_a_manifest_that_was_steered(site: Site) -> None:
    begin(site)
    before = manifest_on_origin(site)
    merge(site, MANIFEST, steered("hold: {reason: wait}"))
    report = rollback(site.world, NAME, reason="enough", signature=SIGNATURE)
    assert report.complete, [phase.detail for phase in report.phases]
    assert len(reverts(site)) == 1
    assert b'version: "1.0.0"' in (manifest_on_origin(site) or b"")
    assert manifest_on_origin(site) != before


def test_a_freeze_keeps_a_share_from_rising_and_a_release_from_beginning(site: Site) -> None:
    freeze = (
        "schema: adapter-rollout/freezes/v1\nfreezes:\n"
        "  - {name: year-end, begins: 2026-02-01T00:00:00Z, ends: 2026-04-01T00:00:00Z, reason: closing}\n"
    )
    merge(site, Path("policies/freezes.yaml"), lambda _: freeze)
    site.propose("1.1.0")
    tick = site.tick()
    assert (tick.move, tick.reason) == (
        Move.HELD,
        "the freeze year-end ends at 2026-04-01 00:00 UTC: closing",
    )
    merge(site, Path("policies/freezes.yaml"), lambda text: text.replace("04-01", "03-02"))
    site.clock.time = site.clock.time.replace(day=3)
    assert site.tick().move is Move.BEGUN


def test_outside_the_plans_windows_nothing_rises_and_harm_is_taken_back(site: Site) -> None:
    window = 'windows: [{rule: "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", duration: 2h, time_zone: Europe/Berlin}]\n'
    merge(site, PLAN, lambda text: text + window)
    site.propose("1.1.0")
    site.tick()
    site.answer_well()
    tick = site.tick_after(4)  # a Sunday
    assert (tick.move, tick.reason) == (
        Move.HELD,
        "outside the plan's windows: the next one opens at Monday 2026-03-02 08:00 UTC",
    )
    site.clock.time = site.clock.time.replace(day=2, hour=9, minute=59, second=30, microsecond=0)
    site.answer_well()
    assert site.tick().move is Move.ADVANCED
    site.clock.time = site.clock.time.replace(hour=12)
    shown = status(site.world, NAME)
    assert (shown.left, shown.overdue) == (timedelta(seconds=60), False), "closed from 10:00 on"
    told = next(line for line in screen(shown, width=100, height=40, events=0) if "to its deadline" in line)
    assert told.endswith(" here (3 s at least), 1 min to its deadline"), told
    site.answer(stable=400, candidate=200, bad=120)
    assert site.tick().move is Move.ROLLED_BACK


def test_a_newer_version_supersedes_by_way_of_stable(site: Site) -> None:
    merge(site, PLAN, lambda text: text.replace("on_new_version: queue", "on_new_version: supersede"))
    begin(site)
    site.propose("1.2.0", evaluate=False)
    held = site.tick()
    assert (held.move, str(site.state.share)) == (Move.HELD, "10%")  # not evaluated: it might never begin
    site.record_evaluation()
    tick = site.tick()
    flag = site.world.flags.read(site.key)
    assert tick.move is Move.SUPERSEDED
    assert flag is not None
    assert (flag.on, flag.share, site.state.phase) == (False, Share.ZERO, Phase.IDLE)
    assert site.world.routes.read().routes[NAME].candidate is None
    assert not site.state.quarantine
    assert site.tick().move is Move.BEGUN
    assert site.state.candidate is not None
    assert site.state.candidate.version == "1.2.0"


def test_a_release_waits_for_room_in_the_fleet(site: Site) -> None:
    begin(site)
    one = replace(
        site.world, environment=site.world.environment.model_copy(update={"fleet": Fleet(max_releases=1)})
    )
    assert no_room(one, "another") == f"1 of 1 releases are under way: {NAME}"
    assert no_room(one, NAME) is None
    assert no_room(site.world, "another") is None
    server = site.world.environment.server.model_copy(update={"max_loras": 3})
    few = replace(site.world, environment=site.world.environment.model_copy(update={"server": server}))
    assert (
        no_room(few, "another") == f"the 3 adapter slots of the servers are taken by the releases of {NAME}"
    )


def test_an_old_view_of_git_takes_nothing_back(site: Site) -> None:
    """A tick over a whole fleet may have looked at git before the release was merged and begun by another."""
    old = steady(site.world)
    old.manifests.tree()
    begin(site)
    site.answer_well()
    site.clock.sleep(4)
    tick = advance(old, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None)
    assert tick.move in (Move.HELD, Move.ADVANCED)
    assert site.state.candidate is not None
    assert not site.state.quarantine


def test_a_release_whose_manifest_was_deleted_goes_no_further(site: Site) -> None:
    begin(site)
    site.repository.pull()
    site.repository.git("rm", "-q", str(MANIFEST))
    site.repository.git("commit", "-q", "-m", "retire it")
    site.repository.git("push", "-q", "origin", "main")
    move, reason = passing_tick(site)
    assert move is Move.HELD
    assert "git asks for no version of it any more" in reason


def test_harm_within_the_failure_budget_keeps_even_a_skipped_step_from_rising(site: Site) -> None:
    merge(site, PLAN, lambda text: text + "failure_budget: 2\n")
    site.propose("1.1.0")
    merge(site, MANIFEST, steered("skip: {shares: [10%], reason: a known fix}"))
    site.tick()
    site.answer(stable=120, candidate=120, bad=100, shadow=True)
    tick = site.tick_after(4)
    assert tick.move is Move.HELD
    assert "format_failures: worse" in tick.reason


def test_a_newer_version_with_a_plan_that_nobody_has_keeps_nothing_from_being_watched(site: Site) -> None:
    merge(site, PLAN, lambda text: text.replace("on_new_version: queue", "on_new_version: supersede"))
    begin(site)
    site.propose("1.2.0", evaluate=False)
    merge(site, MANIFEST, lambda text: text.replace("  plan: demo\n", "  plan: nowhere\n"))
    site.answer(stable=400, candidate=200, bad=120)
    assert site.tick_after(4).move is Move.ROLLED_BACK


def test_a_release_that_was_promoted_and_paused_says_so_until_it_is_resumed(site: Site) -> None:
    begin(site, "100%")
    site.answer_well()
    assert site.tick_after(4).move is Move.PROMOTED
    pause(site.world, NAME, reason="audit", signature=SIGNATURE)
    waits = "paused by ann: audit; resume the release or take it back"
    tick = site.tick()
    assert (tick.move, tick.reason) == (Move.HELD, waits)
    tick = site.tick_after(30 * 86_400)
    assert tick.move is Move.OVERDUE
    assert tick.reason.endswith(f"passed: {waits}")
    resume(site.world, NAME, reason="done", signature=SIGNATURE)
    assert site.tick().move is Move.SETTLED
