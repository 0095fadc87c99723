"""Whole releases, tick by tick, over real git, flag file, ledger, routes and traffic log."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from rollout.core.evaluation import Case, EvalReport, Side
from rollout.core.gate import judged_again
from rollout.core.lifecycle import Evaluated, Looked, Phase, RolledBack, Settled, Settling, Started
from rollout.core.plan import Share
from rollout.core.routes import with_route
from rollout.core.verdict import Outcome
from rollout.demo.scratch import MANIFEST, NAME
from rollout.errors import (
    Busy,
    FlagAwaitsApproval,
    FlagConflict,
    LedgerConflict,
    MetricsUnavailable,
    ServingUnavailable,
    Unreadable,
    Usage,
    WorldChanged,
)
from rollout.usecases.advance import advance
from rollout.usecases.book import Book
from rollout.usecases.resume import resume
from rollout.usecases.rollback import rollback
from rollout.usecases.status import status
from rollout.usecases.tick import Move, Ticking
from tests.core.factories import OLD as OTHER
from tests.support.site import SIGNATURE, Site, manifest_on_main


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


def flag(site: Site) -> tuple[bool, str]:
    state = site.world.flags.read(site.key)
    assert state is not None
    return state.on, str(state.share)


def route(site: Site) -> tuple[str, str | None]:
    found = site.world.routes.read().routes[NAME]
    return found.stable, found.candidate


def test_a_good_version_walks_from_the_manifest_to_stable(site: Site) -> None:
    old, new = site.served, site.propose("1.1.0")
    assert site.tick().move is Move.BEGUN
    assert (site.state.phase, flag(site), route(site)) == (Phase.SHADOW, (False, "0%"), (old, new))
    site.walk_to("10%")
    assert flag(site) == (True, "10%")
    site.walk_to("50%")
    site.walk_to("100%")
    assert flag(site) == (True, "100%")
    site.answer_well()
    assert site.tick_after(4).move is Move.PROMOTED
    assert (route(site), flag(site)) == ((old, new), (True, "100%"))
    assert site.tick().reason == "promoted; the previous version stays one flag write away"
    settled = site.tick_after(8 * 86_400)
    assert (settled.move, settled.reason) == (Move.SETTLED, f"{new} is stable")
    assert (route(site), flag(site)) == ((new, None), (True, "0%"))
    assert site.tick().move is Move.IDLE
    assert {model.name for model in site.replica.models()} == {"base", new}


def test_a_tick_without_anything_new_changes_nothing(site: Site) -> None:
    before = site.world.ledger.read(NAME), site.world.routes.read(), flag(site)
    assert site.tick().move is Move.IDLE
    assert (site.world.ledger.read(NAME), site.world.routes.read(), flag(site)) == before


def test_without_an_evaluation_nothing_begins(site: Site) -> None:
    site.propose("1.1.0", evaluate=False)
    tick = site.tick()
    assert (tick.move, site.state.phase) == (Move.BLOCKED, Phase.IDLE)
    assert tick.reason.startswith("no evaluation of support-triage-1.1.0-")


def test_what_the_gatekeeper_denies_does_not_begin(site: Site) -> None:
    site.propose("1.1.0")
    tick = advance(site.world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: "license-known: no")
    assert (tick.move, tick.reason) == (Move.BLOCKED, "license-known: no")


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (lambda _: b"{}", "cannot be read"),
        (lambda report: report.content.replace(b'"outcome":"fail"', b'"outcome":"pass"'), None),
        (lambda report: of_another(report).content, "speaks of bot-1.0.0"),
        (lambda report: worsened(report).content, "does not have the"),
        (
            lambda report: halved(report).content,
            "holds 57 of the 114 items of its suite: a release needs the whole",
        ),
        (lambda report: planned_less(report).content, "holds 57 of the 114 items of its suite"),
        (lambda report: by_other_rules(report).content, "was not judged by the rules of its gate file"),
        (lambda report: with_suite(report, "9" * 64).content, "is about another suite or other gates"),
        (lambda report: asked_otherwise(report).content, "is not the item of the suite"),
        (lambda report: less_finite(report).content, "do not pass when they are judged again"),
    ],
    ids=[
        "empty",
        "unchanged",
        "of another adapter",
        "with other scores than its answers have",
        "of a part of the suite",
        "of a part that calls itself the whole",
        "by weaker rules",
        "on another suite",
        "with other questions",
        "with other measurements",
    ],
)
def test_a_forged_report_opens_no_door(
    site: Site, forge: Callable[[EvalReport], bytes], reason: str | None
) -> None:
    site.propose("1.1.0", evaluate=False)
    site.record_evaluation()
    honest = site.world.ledger.read(NAME)[-1].event
    assert isinstance(honest, Evaluated)
    report = EvalReport.model_validate_json(site.world.evidence.get(honest.report), strict=True)
    forged = honest.model_copy(update={"report": site.world.evidence.put(forge(report))})
    site.world.ledger.append(NAME, forged, after=site.state.head)
    tick = site.tick()
    assert tick.move is (Move.BEGUN if reason is None else Move.BLOCKED)
    assert reason is None or reason in tick.reason


def worsened(report: EvalReport) -> EvalReport:
    """The same conclusions over other measurements."""
    cases = tuple(
        case.model_copy(
            update={
                "scores": {**case.scores, Side.CANDIDATE: dict.fromkeys(case.scores[Side.CANDIDATE], 0.0)}
            }
        )
        for case in report.measured.cases
    )
    return measuring(report, cases)


def of_another(report: EvalReport) -> EvalReport:
    named = {"version": OTHER.version, "served_name": OTHER.served_name, "identity": OTHER.identity}
    candidate = report.subject.candidate.model_copy(update=named)
    return about(report, candidate=candidate)


def halved(report: EvalReport) -> EvalReport:
    """An honest report, judged on half of its suite."""
    return judged_again(measuring(report, report.measured.cases[::2]))


def planned_less(report: EvalReport) -> EvalReport:
    half = measuring(report, report.measured.cases[::2])
    measured = half.measured.model_copy(update={"planned": len(half.measured.cases)})
    quality = half.quality.model_copy(update={"measured": measured})
    return judged_again(half.model_copy(update={"quality": quality}))


def by_other_rules(report: EvalReport) -> EvalReport:
    rules = report.subject.rules
    gates = {name: gate.model_copy(update={"required": False}) for name, gate in rules.gates.items()}
    return judged_again(about(report, rules=rules.model_copy(update={"gates": gates})))


def with_suite(report: EvalReport, digest: str) -> EvalReport:
    return judged_again(about(report, suite_digest=digest))


def asked_otherwise(report: EvalReport) -> EvalReport:
    first, *others = report.measured.cases
    easier = first.messages[0].model_copy(update={"content": "What is asked of nobody?"})
    return judged_again(measuring(report, (first.model_copy(update={"messages": (easier,)}), *others)))


def less_finite(report: EvalReport) -> EvalReport:
    measured = report.measured.model_copy(update={"not_finite": {Side.CANDIDATE: 3}})
    return report.model_copy(update={"quality": report.quality.model_copy(update={"measured": measured})})


def measuring(report: EvalReport, cases: tuple[Case, ...]) -> EvalReport:
    measured = report.measured.model_copy(update={"cases": cases})
    return report.model_copy(update={"quality": report.quality.model_copy(update={"measured": measured})})


def about(report: EvalReport, **changes: object) -> EvalReport:
    subject = report.subject.model_copy(update=changes)
    return report.model_copy(update={"quality": report.quality.model_copy(update={"subject": subject})})


def test_a_report_that_is_missing_opens_no_door(site: Site) -> None:
    site.propose("1.1.0")
    shutil.rmtree(site.repository.state / "evidence")
    tick = site.tick()
    assert (tick.move, "is not in" in tick.reason) == (Move.BLOCKED, True)


def test_a_release_is_judged_while_git_is_down_but_goes_no_further(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    (site.folder / "origin.git").rename(site.folder / "gone")
    site.answer_well()
    tick = site.tick_after(4)
    assert tick.move is Move.HELD
    assert "git: fetching main from origin failed" in tick.reason
    site.answer(stable=90, candidate=40, bad=30)
    tick = site.tick_after(1)
    assert tick.move is Move.ROLLED_BACK
    assert flag(site) == (False, "0%")
    assert tick.rollback is not None
    assert [phase.phase for phase in tick.rollback.phases if not phase.ok] == ["git"]


def test_harm_is_taken_back_even_where_somebody_moved_the_flag(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.world.flags.write(
        site.key, Share.parse("60%"), turn_on=False, expect_version=None, by="eve", comment=""
    )
    site.answer(stable=90, candidate=40, bad=30)
    assert site.tick_after(1).move is Move.ROLLED_BACK
    assert flag(site) == (False, "0%")


def test_an_evaluation_that_failed_later_closes_the_door_again(site: Site) -> None:
    site.propose("1.1.0")
    site.record_evaluation(Outcome.FAIL)
    assert site.tick().reason == "its evaluation on support-triage ended with fail"


def test_no_traffic_at_all_never_advances(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    for _ in range(5):
        tick = site.tick_after(10)
        assert tick.move is Move.HELD
    assert "0 of 50 requests of the candidate judged" in tick.reason
    assert site.state.share == Share.ZERO


def test_a_silent_release_ends_at_its_deadline_as_the_plan_says(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    tick = site.tick_after(100)
    assert tick.move is Move.ROLLED_BACK
    assert "passed without proof" in tick.reason


def test_harm_in_the_canary_takes_everything_back(site: Site) -> None:
    old = site.served
    before = manifest_on_main(site)
    bad = site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.answer(stable=90, candidate=10, bad=6)
    site.answer(stable=90, candidate=10, bad=6)
    tick = site.tick_after(1)
    assert tick.move is Move.ROLLED_BACK
    assert tick.reason.startswith("format_failures: worse: 12/20 (60.0%) in the candidate")
    assert tick.rollback is not None
    assert tick.rollback.complete
    assert (flag(site), route(site)) == ((False, "0%"), (old, None))
    assert manifest_on_main(site) == before
    state = site.state
    assert (state.phase, state.reverted, state.verified) == (Phase.TAKEN_BACK, True, True)
    assert bad in {event.bad.served_name for event in state.quarantine.values() if event.bad}
    assert site.tick().move is Move.IDLE
    assert bad not in {model.name for model in site.replica.models()}


def test_quarantined_bytes_do_not_come_back_with_a_second_pull_request(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    rollback(site.world, NAME, reason="by hand", signature=SIGNATURE)
    site.propose("1.1.0")
    tick = site.tick()
    assert tick.move is Move.BLOCKED
    assert "these bytes were rolled back on" in tick.reason
    assert "by hand" in tick.reason


def test_harm_in_the_shadow_is_taken_back_before_any_user_sees_it(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.answer(stable=60, candidate=60, bad=40, shadow=True)
    assert site.tick_after(1).move is Move.ROLLED_BACK
    assert flag(site) == (False, "0%")


def test_harm_at_the_whole_share_is_taken_back(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("100%")
    site.answer(candidate=100, bad=60)
    tick = site.tick_after(1)
    assert tick.move is Move.ROLLED_BACK
    assert "above the limit" in tick.reason


def test_a_manifest_that_git_takes_back_is_taken_back(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.repository.pull()
    site.repository.git("revert", "-m", "1", "--no-edit", "HEAD")
    site.repository.git("push", "-q", "origin", "main")
    tick = site.tick()
    assert (tick.move, flag(site)) == (Move.ROLLED_BACK, (False, "0%"))
    assert "asks for support-triage-1.0.0-" in tick.reason


def test_a_newer_version_waits_for_the_one_under_way(site: Site) -> None:
    new = site.propose("1.1.0")
    site.tick()
    newer = site.propose("1.4.0", evaluate=False)
    tick = site.tick_after(1)
    assert tick.waiting == f"{newer} waits in git until {new} is done"
    assert site.state.candidate is not None
    assert site.state.candidate.served_name == new


def test_the_next_version_ends_the_window_of_the_promoted_one(site: Site) -> None:
    new = site.propose("1.1.0")
    site.tick()
    site.walk_to("100%")
    site.answer_well()
    assert site.tick_after(4).move is Move.PROMOTED
    newer = site.propose("1.4.0")
    assert site.tick().move is Move.SETTLED
    assert site.tick().move is Move.BEGUN
    assert route(site) == (new, newer)


def test_a_promoted_version_is_still_one_flag_write_away_from_being_taken_back(site: Site) -> None:
    old = site.served
    site.propose("1.1.0")
    site.tick()
    site.walk_to("100%")
    site.answer_well()
    site.tick_after(4)
    report = rollback(site.world, NAME, reason="a customer complained", signature=SIGNATURE)
    assert report.complete
    assert (flag(site), route(site)) == ((False, "0%"), (old, None))


def turned(site: Site, share: str) -> None:
    site.world.flags.write(
        site.key, Share.parse(share), turn_on=False, expect_version=None, by="eve", comment=""
    )


def at_ten(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")


def test_a_flag_that_somebody_turned_up_stops_the_release(site: Site) -> None:
    at_ten(site)
    turned(site, "25%")
    site.answer_well()
    tick = site.tick_after(4)
    assert tick.move is Move.HALTED
    assert "turned up by eve" in tick.reason
    assert flag(site) == (True, "25%")


def test_a_flag_that_somebody_turned_down_is_taken_over_and_the_release_waits(site: Site) -> None:
    at_ten(site)
    turned(site, "5%")
    site.answer_well()
    tick = site.tick_after(4)
    assert tick.move is Move.HELD
    assert "taken over: the flag was turned down by eve" in tick.reason
    assert (flag(site), str(site.state.share)) == ((True, "5%"), "5%")
    site.answer_well()
    again = site.tick_after(4)
    assert (again.move, "resume the release or take it back" in again.reason) == (Move.HELD, True)
    assert flag(site) == (True, "5%")


def test_a_flag_that_a_person_turned_off_stays_off(site: Site) -> None:
    at_ten(site)
    site.world.flags.take_back(site.key, by="eve", comment="kill switch")
    for _ in range(2):
        site.answer_well()
        assert site.tick_after(4).move is Move.HELD
        assert flag(site) == (False, "0%")


def toggle(site: Site, *, on: bool) -> None:
    """The switch in the flag's page, which leaves the share where it is."""
    file = site.repository.state / "flags.json"
    document = json.loads(file.read_text())
    flag = document["flags"][site.key]
    flag["on"], flag["version"] = on, flag["version"] + 1
    file.write_text(json.dumps(document))


@pytest.mark.parametrize("on_again", [False, True])
def test_the_switch_turned_off_is_waited_at_and_resumed_from(site: Site, on_again: bool) -> None:
    at_ten(site)
    toggle(site, on=False)
    for _ in range(3):
        site.answer_well()
        assert site.tick_after(4).move is Move.HELD
    assert flag(site) == (False, "10%")
    if on_again:
        toggle(site, on=True)
        assert site.tick().move is Move.HALTED, "nobody said that the release may go on"
    resume(site.world, NAME, reason="it was another service", signature=SIGNATURE)
    tick = site.tick()
    assert (tick.move, tick.reason) == (Move.ADVANCED, "resumed: up to 10% again")
    assert flag(site) == (True, "10%")


def test_a_release_that_is_resumed_and_turned_off_again_is_off(site: Site) -> None:
    at_ten(site)
    turned(site, "5%")
    site.tick()
    resume(site.world, NAME, reason="it was another service", signature=SIGNATURE)
    toggle(site, on=False)
    assert site.tick().move is Move.HELD
    assert site.tick().move is Move.HELD
    assert flag(site) == (False, "5%")


def test_a_step_that_is_not_taken_after_all_is_nobodys_to_confirm(site: Site) -> None:
    """Its flag write failed, then a gateway was held; a hand that goes there now is a foreign one."""
    at_ten(site)
    site.answer_well()
    write = type(site.world.flags).write

    def failing(self: object, *words: object, **rest: object) -> object:
        raise FlagAwaitsApproval("somebody has to approve it")

    type(site.world.flags).write = failing  # type: ignore[assignment,method-assign]
    try:
        assert site.tick_after(4).move is Move.HELD
    finally:
        type(site.world.flags).write = write  # type: ignore[method-assign]
    assert site.state.intent is not None
    assert site.state.candidate is not None
    site.gateway.held = (site.state.candidate.served_name,)
    assert site.tick().move is Move.HELD
    assert site.state.intent is None
    turned(site, "50%")
    tick = site.tick()
    assert tick.move is Move.HALTED
    assert "turned up by eve" in tick.reason


def test_whatever_a_hand_at_the_flag_calls_itself_its_stop_is_taken_over(site: Site) -> None:
    at_ten(site)
    site.world.flags.write(
        site.key,
        Share.parse("5%"),
        turn_on=False,
        expect_version=None,
        by="eve\x1b]0;x\x07\r\n" + "e" * 400,
        comment="",
    )
    tick = site.tick()
    assert tick.move is Move.HELD
    assert site.state.lowered is not None
    assert site.state.lowered.by.startswith("eve ]0;x eee")
    assert len(site.state.lowered.by) <= 300


def test_what_was_turned_down_and_then_up_again_by_hand_stops_the_release(site: Site) -> None:
    at_ten(site)
    turned(site, "5%")
    site.tick()
    turned(site, "10%")
    assert site.tick().move is Move.HALTED


@pytest.mark.parametrize("off", [False, True])
def test_a_resumed_release_goes_up_to_its_step_again_and_soaks_anew(site: Site, off: bool) -> None:
    at_ten(site)
    if off:
        site.world.flags.take_back(site.key, by="eve", comment="kill switch")
    else:
        turned(site, "5%")
    site.tick()
    resume(site.world, NAME, reason="it was another service", signature=SIGNATURE)
    tick = site.tick()
    assert (tick.move, tick.reason) == (Move.ADVANCED, "resumed: up to 10% again")
    assert flag(site) == (True, "10%")
    assert "to go" in site.tick().reason
    site.answer_well()
    assert site.tick_after(4).move is Move.ADVANCED
    assert flag(site) == (True, "50%")


def test_nothing_is_resumed_where_no_step_is_under_way(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    with pytest.raises(Usage, match="no step of support-triage is under way"):
        resume(site.world, NAME, reason="let us go on", signature=SIGNATURE)


def test_a_step_whose_users_were_not_served_as_the_flag_said_is_begun_anew_by_a_person(site: Site) -> None:
    at_ten(site)
    site.answer(stable=400, strangers=True)
    held = site.tick_after(4)
    assert (held.move, "the candidate served 0% of users" in held.reason) == (Move.HELD, True)
    resume(site.world, NAME, reason="a gateway had been held", signature=SIGNATURE)
    assert "to go" in site.tick().reason
    site.answer_well()
    assert site.tick_after(4).move is Move.ADVANCED


def test_a_promoted_version_that_somebody_turned_off_is_not_settled(site: Site) -> None:
    old, new = site.served, site.propose("1.1.0")
    site.tick()
    site.walk_to("100%")
    site.answer_well()
    assert site.tick_after(4).move is Move.PROMOTED
    site.world.flags.take_back(site.key, by="eve", comment="kill switch")
    assert site.tick().move is Move.HELD
    assert site.tick_after(8 * 86_400).move is Move.OVERDUE
    assert route(site) == (old, new)
    resume(site.world, NAME, reason="a false alarm", signature=SIGNATURE)
    assert (site.tick().move, flag(site)) == (Move.ADVANCED, (True, "100%"))


def test_a_flag_whose_users_are_drawn_anew_stops_the_release(site: Site) -> None:
    at_ten(site)
    file = site.repository.state / "flags.json"
    file.write_text(re.sub(r'"salt": "\w+"', '"salt": "another"', file.read_text()))
    site.answer_well()
    tick = site.tick_after(4)
    assert tick.move is Move.HALTED
    assert "changed what draws the users" in tick.reason


def test_a_step_soaks_from_where_every_gateway_has_heard_of_it(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.answer_well()
    write = type(site.world.flags).write

    def deafening(self: object, *words: object, **rest: object) -> object:
        site.gateway.deaf = True
        return write(site.world.flags, *words, **rest)  # type: ignore[arg-type]

    type(site.world.flags).write = deafening  # type: ignore[assignment,method-assign]
    try:
        assert site.tick_after(4).move is Move.ADVANCED
    finally:
        type(site.world.flags).write = write  # type: ignore[method-assign]
    assert not site.state.heard
    site.answer_well()
    held = site.tick_after(60)
    assert (held.move, "has not read the latest flag" in held.reason) == (Move.HELD, True)
    site.gateway.deaf = False
    site.answer_well()
    assert "to go" in site.tick().reason, "its time begins only now"
    assert site.state.heard
    site.answer_well()
    assert site.tick_after(4).move is Move.ADVANCED


def test_a_rollback_between_flag_write_and_ledger_stands_at_once(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.answer_well()
    site.clock.time += timedelta(seconds=4)
    ticking = Ticking(site.world, NAME, SIGNATURE)
    before = site.world.flags.read(site.key)
    assert before is not None
    book = Book(site.world.ledger, NAME, SIGNATURE)
    book.add(
        RolledBack,
        site.clock.now(),
        reason="by hand",
        automatic=False,
        bad=site.state.candidate,
        from_share=Share.ZERO,
        flag_version=before.version,
        flag_written_at=site.clock.now(),
    )
    with pytest.raises(WorldChanged, match="a rollback came in between"):
        ticking.write_flag(before, Share.parse("10%"), "late", turn_on=True)
    assert flag(site) == (False, "0%")


def test_a_tick_that_others_were_faster_than_leaves_the_flag_to_them(site: Site) -> None:
    site.propose("1.1.0")
    late = Ticking(site.world, NAME, SIGNATURE)
    site.tick()
    site.walk_to("10%")
    begun = site.state.started
    assert begun is not None
    told = set(type(begun).model_fields) - {"kind", "at", "actor", "environment", "name", "tool", "run_url"}
    before, entries = flag(site), site.world.ledger.read(NAME)
    with pytest.raises(LedgerConflict, match="another tick was faster"):
        late.record(Started, **{field: getattr(begun, field) for field in told})
    assert (flag(site), site.world.ledger.read(NAME)) == (before, entries)
    assert before == (True, "10%")


def test_a_tick_that_settles_after_another_did_speaks_of_no_rollback(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("100%")
    site.answer_well()
    assert site.tick_after(4).move is Move.PROMOTED
    late = Ticking(site.world, NAME, SIGNATURE)
    assert site.tick_after(8 * 86_400).move is Move.SETTLED
    before = site.state
    with pytest.raises(LedgerConflict, match="the release was ended in between"):
        late.record(Settled, flag_version=before.flag_version)
    assert site.state == before
    assert flag(site) == (False, "0%")


def test_a_flag_that_already_gives_a_share_stops_a_beginning(site: Site) -> None:
    site.propose("1.1.0")
    site.world.flags.write(
        site.key, Share.parse("5%"), turn_on=True, expect_version=None, by="eve", comment=""
    )
    assert site.tick().move is Move.HALTED
    assert site.state.candidate is None


def test_a_replica_that_does_not_answer_holds(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    (site.repository.state / "r0.dead").touch()
    site.answer_well()
    tick = site.tick_after(4)
    assert tick.move is Move.HELD
    assert tick.reason == "not on every replica: replica r0 did not answer"


def test_a_replica_that_lost_its_adapters_is_given_them_again(site: Site) -> None:
    new = site.propose("1.1.0")
    site.tick()
    (site.repository.state / "r0.json").write_text("{}")
    site.tick_after(1)
    assert new in {model.name for model in site.replica.models()}


def test_a_replica_that_serves_other_bytes_under_the_name_holds(site: Site) -> None:
    new = site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.replica.unload(new)
    site.replica.load(new, Path("/somewhere/else"))
    site.answer_well()
    tick = site.tick_after(4)
    assert (tick.move, "from /somewhere/else" in tick.reason) == (Move.HELD, True)


def test_an_adapter_that_does_nothing_does_not_begin(site: Site) -> None:
    site.propose("1.1.0")
    site.replica.effect = 0.0
    tick = site.tick()
    assert tick.move is Move.HELD
    assert "answers like the base model" in tick.reason
    assert site.state.candidate is None


def test_a_gateway_that_has_not_heard_holds(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.answer_well()
    site.gateway.deaf = True
    tick = site.tick_after(4)
    assert (tick.move, "gateway g0 has not read" in tick.reason) == (Move.HELD, True)


def test_gateways_of_different_flag_environments_hold(site: Site) -> None:
    """A gateway with the SDK key of another environment may well know a flag of that name and version."""
    at_ten(site)
    other = copy(site.gateway)
    site.gateway.flag_environment, other.flag_environment = "production", "staging"
    site.world = replace(site.world, gateways=(site.gateway, other))
    site.answer_well()
    tick = site.tick_after(4)
    assert tick.move is Move.HELD
    assert "gateways read the flags of different environments" in tick.reason
    other.flag_environment = "production"
    assert site.tick().move is Move.ADVANCED


def test_bytes_that_changed_under_the_version_do_not_begin(site: Site) -> None:
    site.propose("1.1.0")
    weights = site.repository.root / "adapters" / NAME / "1.1.0" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    tick = site.tick()
    assert tick.move is Move.BLOCKED
    assert "the manifest says" in tick.reason


def test_a_metric_source_that_is_down_is_no_pass_and_no_harm(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    log = site.repository.state / "traffic.sqlite"
    log.rename(log.with_suffix(".away"))
    with pytest.raises(MetricsUnavailable):
        site.world.metrics.edge()
    for _ in range(5):
        assert site.tick_after(1).move is Move.HELD
    tick = site.tick_after(1)
    assert tick.move is Move.HALTED
    assert "6 looks in a row could not be taken" in tick.reason


def test_every_request_is_judged_once(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.answer(stable=30, candidate=30, shadow=True)
    site.tick_after(0.5)
    site.tick_after(0.5)
    evidence = site.state.evidence["errors"]
    assert (evidence.stable, evidence.candidate) == (30, 30)
    looks = [entry.event for entry in site.world.ledger.read(NAME) if isinstance(entry.event, Looked)]
    assert len({look.edge for look in looks}) <= len(looks)


def test_only_one_tick_runs_at_a_time(site: Site) -> None:
    with site.world.ledger.lease(NAME), pytest.raises(Busy, match="another tick"):
        site.tick()


def test_a_late_tick_cannot_undo_a_rollback(site: Site) -> None:
    """The rollback comes in between the tick's announcement and its flag write."""
    site.propose("1.1.0")
    site.tick()
    site.answer_well()
    flags = site.world.flags
    write = type(flags).write

    def interrupted(self: object, key: str, share: Share, **rest: object) -> object:
        rollback(site.world, NAME, reason="at the same moment", signature=SIGNATURE)
        return write(flags, key, share, **rest)  # type: ignore[arg-type]

    type(flags).write = interrupted  # type: ignore[method-assign]
    try:
        with pytest.raises((WorldChanged, FlagConflict)):
            site.tick_after(4)
    finally:
        type(flags).write = write  # type: ignore[method-assign]
    assert flag(site) == (False, "0%")
    assert site.state.phase is Phase.TAKEN_BACK


def test_a_rollback_just_after_the_flag_write_wins(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.answer_well()
    flags = site.world.flags
    write = type(flags).write

    def followed(self: object, key: str, share: Share, **rest: object) -> object:
        written = write(flags, key, share, **rest)  # type: ignore[arg-type]
        rollback(site.world, NAME, reason="at the same moment", signature=SIGNATURE)
        return written

    type(flags).write = followed  # type: ignore[method-assign]
    try:
        with pytest.raises(WorldChanged, match="stood back"):
            site.tick_after(4)
    finally:
        type(flags).write = write  # type: ignore[method-assign]
    assert flag(site) == (False, "0%")
    assert route(site)[1] is None


def test_policies_of_the_release_are_those_before_its_merge(site: Site) -> None:
    """A pull request that widens the plan with its own manifest is held to the plan that was there before."""
    plan = site.repository.root / "policies/plans/demo.yaml"
    site.repository.propose("1.1.0", "and a wider plan")
    plan.write_text(plan.read_text().replace("{share: 10%", "{share: 90%").replace("50%, bake", "95%, bake"))
    site.repository.git("commit", "-qam", "widen the plan")
    site.repository.merge("release-1.1.0")
    site.record_evaluation()
    site.tick()
    started = [entry.event for entry in site.world.ledger.read(NAME) if isinstance(entry.event, Started)][-1]
    assert (
        "90%"
        not in site.world.manifests.at(started.policy_commit)
        .read(PurePosixPath("policies/plans/demo.yaml"))
        .decode()
    )
    site.walk_to("10%")


def test_a_first_release_has_the_base_as_its_stable(site: Site, tmp_path: Path) -> None:
    """Without an adoption, base serves until the release is done, and a rollback removes the manifest."""
    ledger = site.repository.state / "ledger" / "demo" / f"{NAME}.jsonl"
    ledger.unlink()
    site.world.routes.update(lambda routes: with_route(routes, NAME, None))
    site.record_evaluation()
    assert isinstance(site.world.ledger.read(NAME)[-1].event, Evaluated)
    assert site.tick().move is Move.BEGUN
    assert route(site)[0] == "base"
    assert rollback(site.world, NAME, reason="no", signature=SIGNATURE).complete
    assert route(site) == ("base", None)
    assert not site.world.manifests.tree().exists(PurePosixPath(MANIFEST))


def test_a_name_that_nothing_knows_is_an_error_and_leaves_no_route(site: Site) -> None:
    with pytest.raises(Unreadable, match="neither the manifests on main nor the ledger know 'nobody'"):
        advance(site.world, "nobody", signature=SIGNATURE, gatekeeper=lambda *_: None)
    report = rollback(site.world, "nobody", reason="?", signature=SIGNATURE)
    assert not report.known
    with pytest.raises(Unreadable, match="does not know 'nobody'"):
        status(site.world, "nobody")
    assert set(site.world.routes.read().routes) == {NAME}


def test_a_first_release_that_is_not_let_in_gets_no_route(site: Site) -> None:
    """Base must not begin to answer under a name whose first version was refused."""
    (site.repository.state / "ledger" / "demo" / f"{NAME}.jsonl").unlink()
    (site.repository.state / "routes.json").unlink()
    assert site.tick().move is Move.BLOCKED
    assert site.world.routes.read().routes == {}


def test_a_server_that_was_restarted_is_given_what_the_routes_name(site: Site) -> None:
    """Idle and promoted ticks look after the servers as well, or everybody would get 404."""
    old = site.served
    (site.repository.state / "r0.json").unlink()
    assert site.tick().move is Move.IDLE
    assert old in {model.name for model in site.replica.models()}
    new = site.propose("1.1.0")
    site.tick()
    site.walk_to("100%")
    site.answer_well()
    assert site.tick_after(4).move is Move.PROMOTED
    (site.repository.state / "r0.json").unlink()
    assert site.tick().move is Move.HELD
    assert {model.name for model in site.replica.models()} == {"base", old, new}


def test_an_idle_tick_says_what_a_replica_lacks(site: Site) -> None:
    (site.repository.state / "r0.dead").touch()
    with pytest.raises(ServingUnavailable, match="not on every replica: replica r0 did not answer"):
        site.tick()


def test_two_manifests_of_one_name_say_nothing(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    other = site.repository.root / "manifests" / "other"
    other.mkdir()
    (other / "copy.yaml").write_bytes(
        site.world.manifests.at(site.state.stable.commit).read(PurePosixPath(MANIFEST))
    )  # type: ignore[union-attr]
    site.repository.git("add", "-A")
    site.repository.git("commit", "-qm", "a copy of the stable manifest")
    site.repository.git("push", "-q", "origin", "main")
    tick = site.tick()
    assert (tick.move, "have the same name 'support-triage'" in tick.reason) == (Move.HELD, True)
    assert site.state.phase is Phase.SHADOW


def test_a_rollback_at_the_deadline_that_died_is_finished(site: Site) -> None:
    """It died behind its flag write: the flag is off, and the ledger knows nothing of it."""
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.world.flags.take_back(site.key, by="ann", comment="the deadline")
    assert site.tick_after(200).move is Move.ROLLED_BACK
    assert site.state.phase is Phase.TAKEN_BACK


@pytest.mark.parametrize("trouble", ["manifest", "twins", "shelf", "flag", "routes", "gateway", "replica"])
def test_shown_harm_is_taken_back_whatever_else_is_broken(site: Site, trouble: str) -> None:
    bad = site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.answer(stable=90, candidate=120, bad=110)
    if trouble in ("manifest", "twins"):
        other = site.repository.root / "manifests" / "other"
        other.mkdir()
        content = (
            b"not: a manifest" if trouble == "manifest" else (site.repository.root / MANIFEST).read_bytes()
        )
        (other / "bad.yaml").write_bytes(content)
        site.repository.git("add", "-A")
        site.repository.git("commit", "-qm", "trouble")
        site.repository.git("push", "-q", "origin", "main")
    elif trouble == "shelf":
        (site.world.shelf.folder(bad) / "adapter_model.safetensors").write_bytes(b"changed")
    elif trouble == "flag":
        flags = json.loads((site.repository.state / "flags.json").read_text())
        flags["flags"][site.key]["rules"] = [{"id": "x", "variation": 1, "clauses": []}]
        (site.repository.state / "flags.json").write_text(json.dumps(flags))
    elif trouble == "routes":
        (site.repository.state / "routes.json").write_text("{")
    elif trouble == "gateway":
        site.gateway.dead = True
    else:
        (site.repository.state / "r0.dead").touch()
    tick = site.tick_after(1)
    assert tick.move is Move.ROLLED_BACK
    assert flag(site) == (False, "0%")
    assert site.state.phase is Phase.TAKEN_BACK


def test_a_gateway_that_dies_behind_the_flag_write_does_not_blind_the_judge(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    site.answer_well()
    site.gateway.dead = True
    site.clock.time += timedelta(seconds=4)
    flag_before = flag(site)
    assert site.tick().move is Move.HELD
    assert flag(site) == flag_before
    site.gateway.dead = False
    write = type(site.world.flags).write

    def dying(self: object, *words: object, **rest: object) -> object:
        site.gateway.dead = True
        return write(site.world.flags, *words, **rest)  # type: ignore[arg-type]

    type(site.world.flags).write = dying  # type: ignore[assignment,method-assign]
    try:
        site.answer_well()
        assert site.tick_after(1).move is Move.ADVANCED
    finally:
        type(site.world.flags).write = write  # type: ignore[method-assign]
    site.answer(stable=90, candidate=120, bad=110)
    assert site.tick_after(1).move is Move.ROLLED_BACK


@pytest.mark.parametrize("share", ["30%", "0%", None])
def test_a_flag_that_was_changed_while_settling_halts_the_settling(site: Site, share: str | None) -> None:
    old = site.served
    site.propose("1.1.0")
    site.tick()
    site.walk_to("100%")
    site.answer_well()
    site.tick_after(4)
    Book(site.world.ledger, NAME, SIGNATURE).add(Settling, site.clock.now(), reason="the window is over")
    if share:
        site.world.flags.write(
            site.key, Share.parse(share), turn_on=False, expect_version=None, by="eve", comment=""
        )
    else:
        site.world.flags.take_back(site.key, by="eve", comment="")
    tick = site.tick()
    assert (tick.move, "while the release was settling" in tick.reason) == (Move.HALTED, True)
    assert site.state.stable is not None
    assert site.state.stable.served_name == old
