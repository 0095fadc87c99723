"""Failures of other release tools, tried on whole releases: `docs/failure-modes.md` has them all, with their tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.core.lifecycle import Looked, Phase, Rejected, RolledBack, Shifted, Started
from rollout.core.plan import Share
from rollout.core.routes import with_route
from rollout.core.verdict import Outcome
from rollout.demo.scratch import MANIFEST, NAME
from rollout.errors import LoadRefused, Usage, WorldChanged
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.report import statuses
from rollout.usecases.adopt import adopt
from rollout.usecases.advance import advance
from rollout.usecases.resume import resume
from rollout.usecases.rollback import rollback
from rollout.usecases.status import status
from rollout.usecases.steer import hasten, pause, retry
from rollout.usecases.tick import Move
from tests.support.mortal import Death, mortal
from tests.support.site import SIGNATURE, Site, record, users_of


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


def begin(site: Site, share: str = "10%") -> str:
    """A release at this share; the answer is what stable is served as."""
    old = site.served
    site.propose("1.1.0")
    site.tick()
    site.walk_to(share)
    return old


def answer(site: Site, *, stable: tuple[int, int], candidate: tuple[int, int]) -> None:
    """Pairs are (all, malformed): unlike `Site.answer`, stable may fail as well."""
    state, log = site.state, TrafficLogRecorder(site.repository.state / "traffic.sqlite")
    crowds = users_of(state.share.fraction, stable[0], candidate[0])
    for version, (total, bad), users in zip(
        (state.stable, state.candidate), (stable, candidate), crowds, strict=True
    ):
        assert version is not None
        for number in range(total):
            log.record(
                record(
                    f"{version.version}-{number}-{id(log)}",
                    version.served_name,
                    valid=number >= bad,
                    key=f"{version.version}-{number % users}",
                    flag_version=state.flag_version,
                )
            )
    log.close()


def tick_that_dies(site: Site, *, at: int, before: bool) -> None:
    with suppress(Death):
        advance(
            mortal(site.world, at=at, before=before), NAME, signature=SIGNATURE, gatekeeper=lambda *_: None
        )


def remove_the_manifest(site: Site) -> None:
    site.repository.pull()
    site.repository.git("rm", "-q", str(MANIFEST))
    site.repository.git("commit", "-q", "-m", "nobody needs it any more")
    site.repository.git("push", "-q", "origin", "main")


def lose_the_ledger(site: Site) -> None:
    (site.repository.state / "ledger" / "demo" / f"{NAME}.jsonl").unlink()


def never_adopted(site: Site) -> None:
    lose_the_ledger(site)
    site.world.routes.update(lambda routes: with_route(routes, NAME, None))


def cannot_be_loaded(site: Site, served: str) -> None:
    """A server that has forgotten this adapter, and refuses it from now on."""
    site.replica.unload(served)
    load = site.replica.load

    def refusing(served_name: str, folder: Path) -> None:
        if served_name == served:
            raise LoadRefused(f"{served_name} is damaged")
        load(served_name, folder)

    site.replica.load = refusing  # type: ignore[method-assign]


def test_a_look_that_was_cut_short_counts_neither_as_a_pass_nor_twice(site: Site) -> None:
    """F2: whoever is cancelled has found out nothing."""
    begin(site)
    site.answer_well()
    site.clock.time += timedelta(seconds=4)
    before = site.state
    tick_that_dies(site, at=0, before=True)
    assert site.state == before
    site.clock.time -= timedelta(seconds=2)  # Too early to go on, late enough for a look.
    assert site.tick().move is Move.HELD
    evidence = site.state.evidence["format_failures"]
    assert (evidence.stable, evidence.candidate) == (400, 120)


def test_proof_of_before_does_not_carry_a_release_on_whose_traffic_has_gone(site: Site) -> None:
    """F9: how much is asked, and whether at all, is seen again with every tick."""
    begin(site)
    pause(site.world, NAME, reason="a fair is on", signature=SIGNATURE)
    site.answer_well()
    tick = site.tick_after(4)
    assert (tick.move, tick.analysis.outcome) == (Move.HELD, Outcome.PASS)
    site.tick_after(3600)
    resume(site.world, NAME, reason="it is over", signature=SIGNATURE)
    tick = site.tick()
    assert tick.move is Move.ROLLED_BACK, "the plan takes back what is not proven by its deadline"
    assert "nothing was heard of stable and the candidate for more than 30 minutes" in tick.reason


def test_proof_of_before_does_not_carry_a_release_whose_stable_is_asked_no_more(site: Site) -> None:
    """F9, F15: without a control at the same time nothing is compared."""
    begin(site)
    pause(site.world, NAME, reason="a fair is on", signature=SIGNATURE)
    site.answer_well()
    site.tick_after(4)
    for _ in range(2):
        site.answer(candidate=120)
        tick = site.tick_after(1200)
    assert tick.move is Move.OVERDUE
    assert tick.analysis.outcome is Outcome.NO_DATA
    assert "nothing was heard of stable for more than 30 minutes" in tick.analysis.reasons[0]


def test_after_an_outage_of_hours_only_one_step_is_taken_and_the_next_is_judged(site: Site) -> None:
    """F25, F26, F36: no tick that was left out is made up for, and no step is passed by its time alone."""
    begin(site)
    site.answer_well()
    tick = site.tick_after(6 * 3600)
    assert (tick.move, str(site.state.share)) == (Move.ADVANCED, "50%")
    for _ in range(3):
        assert site.tick().move is Move.HELD
    assert "to go" in site.tick().reason
    shares = [str(e.event.share) for e in site.world.ledger.read(NAME) if isinstance(e.event, Shifted)]
    assert shares == ["10%", "50%"]


def test_an_outage_without_traffic_takes_no_step_at_all(site: Site) -> None:
    """F26, F36: a runner that was away for weeks has seen nothing, and promotes nothing."""
    begin(site)
    tick = site.tick_after(21 * 86_400)
    assert tick.move is Move.ROLLED_BACK
    assert "passed without proof" in tick.reason
    assert site.state.share == Share.ZERO


def test_the_look_that_failed_is_the_one_that_the_rollback_names(site: Site) -> None:
    """F30: what was found and what was done of it stand side by side, with the same evidence."""
    begin(site)
    site.answer(stable=400, candidate=200, bad=120)
    assert site.tick_after(4).move is Move.ROLLED_BACK
    events = [entry.event for entry in site.world.ledger.read(NAME)]
    place = next(place for place, event in enumerate(events) if isinstance(event, RolledBack))
    found, done = events[place - 1], events[place]
    assert isinstance(found, Looked)
    assert isinstance(done, RolledBack)
    assert found.outcome is Outcome.FAIL
    assert done.detail == found.detail
    assert found.reasons
    assert done.reason == found.reasons[0]


def test_a_look_that_failed_is_acted_on_whoever_dies_in_between(site: Site) -> None:
    """F30: the tick dies behind its verdict; before the next one an outage of both hides it again."""
    begin(site)
    site.clock.time += timedelta(seconds=4)
    answer(site, stable=(400, 4), candidate=(120, 20))
    tick_that_dies(site, at=1, before=False)
    last = site.world.ledger.read(NAME)[-1].event
    assert isinstance(last, Looked)
    assert last.outcome is Outcome.FAIL
    pause(site.world, NAME, reason="what is that?", signature=SIGNATURE)
    answer(site, stable=(400, 40), candidate=(120, 4))
    tick = site.tick_after(4)
    assert tick.move is Move.ROLLED_BACK
    assert tick.reason == last.reasons[0]
    taken_back = next(e.event for e in site.world.ledger.read(NAME) if isinstance(e.event, RolledBack))
    assert taken_back.detail == last.detail


def test_a_version_without_a_ledger_does_not_go_live(site: Site) -> None:
    """F21: git asks for the newer one, and nobody knows any more that it is under way: it gets no user."""
    begin(site)
    lose_the_ledger(site)
    for _ in range(3):
        assert site.tick_after(4).move is Move.HALTED
    assert site.world.routes.read().routes[NAME].candidate is None
    assert not [e for e in site.world.ledger.read(NAME) if isinstance(e.event, Started)]


def test_a_stable_whose_ledger_is_lost_stays_stable_and_loaded(site: Site) -> None:
    """F21: what is not known any more is left as it is, above all what serves everybody."""
    old = begin(site)
    lose_the_ledger(site)
    tick = site.tick_after(4)
    assert tick.move is Move.HALTED
    assert f"but its route names {old} as stable" in tick.reason
    assert "restore the ledger from its backup" in tick.reason
    site.record_evaluation()
    assert site.tick_after(4).move is Move.HALTED, "an evaluation alone is no history"
    assert site.world.routes.read().routes[NAME].stable == old
    assert old in {model.name for model in site.replica.models()}


def test_a_rollback_without_its_ledger_leaves_stable_and_says_what_it_could_not_do(site: Site) -> None:
    """F21: users are safe, and nobody is told that nothing was under way."""
    old = begin(site)
    lose_the_ledger(site)
    report = rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
    failed = {phase.phase: phase.detail for phase in report.phases if not phase.ok}
    assert set(failed) == {"ledger"}
    assert "knows of no release" in failed["ledger"]
    assert report.safe
    route = site.world.routes.read().routes[NAME]
    assert (route.stable, route.candidate) == (old, None)


def test_only_what_serves_is_adopted_where_the_ledger_was_lost(site: Site) -> None:
    """F21: git asks for the version that was still being proven; adopting it would be a release without proof."""
    old = begin(site)
    lose_the_ledger(site)
    rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
    with pytest.raises(WorldChanged, match="is what serves, and git asks for"):
        adopt(site.world, NAME, signature=SIGNATURE)
    site.propose("1.0.0", evaluate=False)
    assert adopt(site.world, NAME, signature=SIGNATURE).stable.served_name == old
    assert site.tick().move is Move.IDLE


def test_an_adapter_stays_loaded_while_an_answer_of_it_is_under_way(site: Site) -> None:
    """F41: only what nobody waits for any more is unloaded."""
    begin(site)
    assert site.state.candidate is not None
    bad = site.state.candidate.served_name
    site.gateway.in_flight[bad] = 1
    assert not rollback(site.world, NAME, reason="by hand", signature=SIGNATURE).complete
    site.tick()
    assert bad in {model.name for model in site.replica.models()}
    site.gateway.in_flight.clear()
    site.tick()
    assert bad not in {model.name for model in site.replica.models()}


def test_what_a_rollback_leads_to_is_loaded_again_once_users_are_away(site: Site) -> None:
    """F28: users are sent away from harm first, and nothing waits for anything in a circle."""
    old = begin(site)
    site.replica.unload(old)
    report = rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
    assert report.complete
    assert old in {model.name for model in site.replica.models()}


def test_a_server_that_cannot_be_given_stable_yet_gets_it_from_a_later_tick(site: Site) -> None:
    """F28: until then the rollback is told to be open, with what it waits for."""
    old = begin(site)
    site.replica.unload(old)
    dead = site.repository.state / "r0.dead"
    dead.touch()
    report = rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
    failed = {phase.phase: phase.detail for phase in report.phases if not phase.ok}
    assert set(failed) == {"verify"}
    assert failed["verify"].startswith("not verified yet: ")
    assert report.verified is None
    assert site.world.routes.read().routes[NAME].stable == old
    dead.unlink()
    assert site.tick().reason == "finished the rollback"
    assert old in {model.name for model in site.replica.models()}


def test_a_rollback_onto_what_no_replica_has_does_not_say_that_all_is_well(site: Site) -> None:
    """F28: traffic that arrives where nothing is loaded is an outage."""
    old = begin(site)
    cannot_be_loaded(site, old)
    report = rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
    assert report.safe
    failed = {phase.phase: phase.detail for phase in report.phases if not phase.ok}
    assert failed == {"verify": f"not verified yet: {old} is damaged"}
    assert report.verified is None


def test_a_share_rises_only_where_both_versions_are_on_every_replica(site: Site) -> None:
    """F28: before anybody is sent there, and while the way back is open."""
    old = begin(site)
    cannot_be_loaded(site, old)
    site.answer_well()
    tick = site.tick_after(4)
    assert (tick.move, str(site.state.share)) == (Move.HELD, "10%")
    without = "without it, `rollout promote` goes forward"
    assert tick.reason == f"not on every replica: {old} is damaged; {without}"


def test_a_stable_that_is_damaged_does_not_keep_a_person_from_going_forward(site: Site) -> None:
    """F17: bad bytes behind us must not block the way out of them."""
    old = begin(site)
    cannot_be_loaded(site, old)
    hasten(site.world, NAME, reason="stable is damaged", signature=SIGNATURE)
    tick = site.tick()
    assert (tick.move, str(site.state.share)) == (Move.ADVANCED, "100%")
    assert tick.reason.endswith(f"on to 100%; not on every replica: {old} is damaged")
    tick = site.tick_after(365 * 86_400)
    assert tick.move is Move.OVERDUE, "time takes nobody back to what no server can load"
    assert f"{old} is damaged; without it, `rollout promote` goes forward" in tick.reason
    hasten(site.world, NAME, reason="and on", signature=SIGNATURE)
    assert site.tick().move is Move.PROMOTED
    assert site.tick_after(8 * 86_400).move is Move.SETTLED
    assert site.tick().move is Move.IDLE


def test_a_hotfix_begins_over_a_damaged_stable_once_a_person_says_so(site: Site) -> None:
    """F17: what was taken back and what is stable are both bad: the way forward is a newer version."""
    old = begin(site)
    cannot_be_loaded(site, old)
    assert not rollback(site.world, NAME, reason="by hand", signature=SIGNATURE).complete
    fixed = site.propose("1.2.0")
    tick = site.tick()
    assert tick.reason == "the rollback is still open: verify"
    hasten(site.world, NAME, reason="1.2.0 is the way out", signature=SIGNATURE)
    tick = site.tick()
    assert tick.move is Move.BEGUN
    assert tick.reason == f"{fixed} enters shadow; not on every replica: {old} is damaged"
    tick = site.tick()
    assert (tick.move, str(site.state.share)) == (Move.ADVANCED, "100%")


def test_nobody_hastens_what_git_does_not_ask_for_or_what_was_taken_back(site: Site) -> None:
    """F17, F18: haste is a word about one version, and no way around the quarantine."""
    with pytest.raises(Usage, match="no release of"):
        hasten(site.world, NAME, reason="on", signature=SIGNATURE)
    site.propose("1.2.0")
    hasten(site.world, NAME, reason="on", signature=SIGNATURE)
    site.propose("1.1.0")
    assert site.tick().move is Move.BEGUN
    assert site.state.hastened is None
    rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
    site.propose("1.1.0", evaluate=False)
    with pytest.raises(Usage, match="was taken back here"):
        hasten(site.world, NAME, reason="on", signature=SIGNATURE)


def test_a_first_release_whose_manifest_is_removed_is_taken_back(site: Site) -> None:
    """F37: nobody asks for it any more, and before it there was nothing."""
    never_adopted(site)
    site.record_evaluation()
    assert site.tick().move is Move.BEGUN
    remove_the_manifest(site)
    tick = site.tick()
    assert tick.move is Move.ROLLED_BACK
    assert "asks for no adapter again" in tick.reason
    assert site.state.phase is Phase.TAKEN_BACK


def test_a_release_whose_manifest_is_removed_goes_no_further(site: Site) -> None:
    """F37: deletion must not leave a release walking that nobody asks for."""
    begin(site)
    remove_the_manifest(site)
    site.answer_well()
    assert site.tick_after(4).move is not Move.ADVANCED
    assert site.state.share <= Share.parse("10%")


def let_newer_versions(site: Site, policy: str) -> None:
    plan = site.repository.root / "policies/plans/demo.yaml"
    site.repository.pull()
    plan.write_text(plan.read_text().replace("on_new_version: queue", f"on_new_version: {policy}"))
    site.repository.git("commit", "-qam", f"newer versions: {policy}")
    site.repository.git("push", "-q", "origin", "main")


def test_a_newer_version_that_the_plan_rejects_is_not_told_to_wait(site: Site) -> None:
    """F16: whoever merged it must hear that it was refused; and it never begins by itself."""
    let_newer_versions(site, "reject")
    begin(site)
    assert site.state.candidate is not None
    under_way = site.state.candidate.served_name
    rejected = site.propose("1.2.0")
    for _ in range(2):
        told = f"{rejected} is rejected: {under_way} is under way, and its plan rejects newer versions"
        assert (site.tick().waiting or "").startswith(told)
    events = [entry.event for entry in site.world.ledger.read(NAME)]
    found = [event for event in events if isinstance(event, Rejected)]
    assert [event.rejected.served_name for event in found] == [rejected], "once, with its digest"
    assert rejected in statuses.render([status(site.world, NAME)], site.clock.now(), 0, "text")
    rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
    for _ in range(2):
        tick = site.tick()
    assert tick.move is Move.BLOCKED
    assert "rejected on" in tick.reason
    assert "`rollout retry`, or a newer change, lets it begin" in tick.reason
    retry(site.world, NAME, version="1.2.0", reason="now it may", signature=SIGNATURE)
    assert site.tick().move is Move.BEGUN
    assert site.served == rejected


def test_a_newer_change_than_the_rejected_one_may_begin(site: Site) -> None:
    """F16: what is rejected is the change that came too early, not whatever comes after it."""
    let_newer_versions(site, "reject")
    begin(site)
    site.propose("1.2.0")
    site.tick()
    rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
    site.propose("1.3.0")
    assert site.tick().move is Move.BEGUN
    assert site.state.candidate is not None
    assert site.state.candidate.version == "1.3.0"


def test_only_what_may_begin_itself_supersedes(site: Site) -> None:
    """F16: to end a release for one that is refused then would leave nothing under way."""
    let_newer_versions(site, "supersede")
    begin(site)
    assert site.state.candidate is not None
    under_way = site.state.candidate.served_name
    newer = site.propose("1.2.0", evaluate=False)
    kept = f"{newer} does not supersede {under_way}: "
    assert site.tick().waiting == f"{kept}no evaluation of {newer} is recorded"
    site.record_evaluation()
    tick = advance(site.world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: "a rule denies it")
    assert tick.waiting == f"{kept}a rule denies it"
    shutil.move(site.repository.state / "evidence", site.repository.state / "elsewhere")
    tick = site.tick()
    assert (tick.waiting or "").startswith(kept)
    assert (site.state.candidate.served_name, str(site.state.share)) == (under_way, "10%")
    shutil.rmtree(site.repository.state / "evidence", ignore_errors=True)
    shutil.move(site.repository.state / "elsewhere", site.repository.state / "evidence")
    assert site.tick().move is Move.SUPERSEDED


def test_a_settling_that_never_ends_is_told_to_a_person(site: Site) -> None:
    """F20: every state has an end, and says so when it does not come."""
    begin(site, "100%")
    site.answer_well()
    assert site.tick_after(4).move is Move.PROMOTED
    site.gateway.deaf = True
    assert site.tick_after(8 * 86_400).move is Move.HELD
    tick = site.tick_after(365 * 86_400)
    assert tick.move is Move.OVERDUE
    assert tick.reason.endswith("passed: gateway g0 has not read the latest flag and routes yet")
    site.gateway.deaf = False
    assert site.tick().move is Move.SETTLED


def test_a_promoted_release_that_somebody_paused_is_told_to_a_person_in_the_end(site: Site) -> None:
    """F20: it waits as long as it must, and not in silence."""
    begin(site, "100%")
    site.answer_well()
    assert site.tick_after(4).move is Move.PROMOTED
    pause(site.world, NAME, reason="an audit", signature=SIGNATURE)
    assert site.tick().move is Move.HELD
    tick = site.tick_after(8 * 86_400)
    assert tick.move is Move.OVERDUE
    assert "an audit" in tick.reason
