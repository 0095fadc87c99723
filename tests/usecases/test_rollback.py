"""A rollback works with anything down, can be repeated, and says what is not yet true."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from rollout.core.lifecycle import LedgerEntry, RolledBack, Settling, Verified
from rollout.core.plan import Share
from rollout.core.routes import Routes
from rollout.demo.scratch import MANIFEST, NAME
from rollout.errors import ServingUnavailable, Unavailable
from rollout.ports import Ledger
from rollout.usecases.book import Book, Signature
from rollout.usecases.publish import publish
from rollout.usecases.rollback import PhaseDone, RollbackReport, rollback
from rollout.usecases.tick import Move
from tests.support.site import SIGNATURE, Site, manifest_on_main


@pytest.fixture(scope="module")
def ramping(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.1.0 at 10 %."""
    folder = tmp_path_factory.mktemp("ramping") / "site"
    folder.mkdir()
    site = Site.create(folder)
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    return site


@pytest.fixture
def site(ramping: Site, tmp_path: Path) -> Iterator[Site]:
    copied = ramping.copy(tmp_path / "site")
    yield copied
    shutil.rmtree(copied.folder, ignore_errors=True)


def take_back(site: Site, reason: str = "worse") -> RollbackReport:
    return rollback(site.world, NAME, reason=reason, signature=SIGNATURE)


def failed(report: RollbackReport) -> dict[str, str]:
    return {phase.phase: phase.detail for phase in report.phases if not phase.ok}


def safe(site: Site) -> bool:
    flag = site.world.flags.read(site.key)
    assert flag is not None
    return flag.effective == Share.ZERO and site.world.routes.read().routes[NAME].candidate is None


def test_everything_is_put_back_in_the_right_order(site: Site) -> None:
    report = take_back(site)
    assert [phase.phase for phase in report.phases] == ["flag", "ledger", "routes", "git", "verify", "unload"]
    assert report.complete
    assert safe(site)
    message = site.world.manifests.at(report.commit or "")._repository.run(  # type: ignore[attr-defined]
        "log", "-1", "--format=%B", report.commit or ""
    )
    assert message.decode().startswith("Roll back support-triage to 1.0.0\n")
    assert b"Rollback-Of: support-triage-1.1.0-" in message
    assert b"Reason: worse" in message


def test_doing_it_again_changes_nothing(site: Site) -> None:
    first = take_back(site)
    entries, flag = site.world.ledger.read(NAME), site.world.flags.read(site.key)
    again = take_back(site, "another reason")
    assert again.complete
    assert site.world.ledger.read(NAME) == entries
    after = site.world.flags.read(site.key)
    assert after is not None
    assert flag is not None
    assert after.version == flag.version
    assert again.bad == first.bad


def test_where_nothing_is_under_way_the_flag_is_made_sure_of_and_nothing_is_recorded(site: Site) -> None:
    take_back(site)
    site.tick()
    entries = site.world.ledger.read(NAME)
    assert take_back(site).complete
    assert site.world.ledger.read(NAME) == entries


def test_a_remote_that_is_gone_is_named_and_made_up_for_later(site: Site) -> None:
    origin = site.folder / "origin.git"
    origin.rename(site.folder / "gone")
    report = take_back(site)
    assert "fetching main from origin failed" in failed(report)["git"]
    assert (report.safe, report.complete, safe(site)) == (True, False, True)
    (site.folder / "gone").rename(origin)
    tick = site.tick()
    assert tick.move is Move.ROLLED_BACK
    assert tick.reason == "finished the rollback"
    assert b'version: "1.0.0"' in manifest_on_main(site)


def test_a_flag_that_cannot_be_written_leaves_the_routes_as_the_way_to_safety(site: Site) -> None:
    flags = site.repository.state / "flags.json"
    content = flags.read_bytes()
    flags.write_bytes(b"{")
    report = take_back(site)
    assert set(failed(report)) >= {"flag", "verify"}
    assert (report.safe, report.complete) == (True, False)
    assert site.world.routes.read().routes[NAME].candidate is None
    flags.write_bytes(content)
    assert take_back(site).complete
    assert safe(site)


@pytest.mark.parametrize("way", ["hold", "routes"])
def test_a_flag_service_that_hangs_is_not_waited_for(site: Site, way: str) -> None:
    """Users are safe before it has answered, by whichever of the two other ways there is."""
    site.gateway.without_token = way == "routes"
    if way == "hold":
        site.world = replace(site.world, routes=Refusing())
    answered = threading.Event()
    seen: list[str] = []
    take_back_flag = site.world.flags.take_back

    def hanging(*words: object, **rest: object) -> object:
        assert answered.wait(60), "the gateways were never told"
        return take_back_flag(*words, **rest)  # type: ignore[arg-type]

    def see(phase: PhaseDone) -> None:
        seen.append(phase.phase)
        if phase.phase == "gateways":
            assert phase.ok, phase.detail
            answered.set()

    site.world.flags.take_back = hanging  # type: ignore[method-assign]
    report = rollback(site.world, NAME, reason="it hangs", signature=SIGNATURE, on_phase=see)
    assert seen[:2] == ["gateways", "flag"]
    assert report.safe
    if way == "hold":
        assert site.gateway.held == (report.bad and report.bad.served_name,)
        assert "no routes today" in failed(report)["routes"]
    else:
        assert report.complete


def test_a_flag_service_that_never_answers_ends_the_flags_phase_and_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.usecases.rollback._FLAG_LONGEST_S", 0.2)
    ever = threading.Event()
    site.world.flags.take_back = lambda *_, **__: ever.wait()  # type: ignore[method-assign]
    report = take_back(site)
    assert failed(report)["flag"] == "the flag service has not answered within 0 s"
    assert [phase.phase for phase in report.phases] == [
        "gateways", "flag", "ledger", "routes", "git", "verify", "unload",
    ]  # fmt: skip
    assert report.safe
    assert site.world.routes.read().routes[NAME].candidate is None
    ever.set()


class Refusing:
    """Routes that cannot be had."""

    def read(self) -> Routes:
        raise ServingUnavailable("no routes today")

    def update(self, change: object) -> Routes:
        raise ServingUnavailable("no routes today")


@pytest.mark.parametrize("actor", ["a" * 301, "ann\nadmin", "ann\udcff", "\x1b[31m"])
def test_nobodys_name_or_reason_keeps_a_rollback_from_being_recorded(site: Site, actor: str) -> None:
    signature = Signature(actor=actor, environment=SIGNATURE.environment)
    report = rollback(site.world, NAME, reason="worse\n\udcff" * 1000, signature=signature)
    assert report.complete, failed(report)
    assert site.state.rolled_back is not None
    assert site.state.rolled_back.reason.startswith("worse worse")
    assert site.state.rolled_back.actor.isprintable()


def test_a_flag_service_that_answers_is_the_only_way_that_is_gone(site: Site) -> None:
    report = take_back(site)
    assert "gateways" not in [phase.phase for phase in report.phases]
    assert site.gateway.held == ()


def test_a_ledger_that_cannot_be_read_does_not_stop_the_flag(site: Site) -> None:
    ledger = site.repository.state / "ledger" / "demo" / f"{NAME}.jsonl"
    content = ledger.read_bytes()
    ledger.write_bytes(content.replace(b'"ann"', b'"eve"', 1))
    report = take_back(site)
    assert "chain is broken" in failed(report)["ledger"]
    assert report.safe
    assert safe(site)
    ledger.write_bytes(content)
    assert take_back(site).complete


def test_a_gateway_that_has_not_heard_is_not_verified(site: Site) -> None:
    site.gateway.deaf = True
    report = take_back(site)
    assert failed(report) == {"verify": "after 30 s not every gateway has read the flag and the routes"}
    assert report.verified is None
    site.gateway.deaf = False
    assert take_back(site).complete


def test_answers_under_way_are_waited_for_and_told_apart(site: Site) -> None:
    bad = site.state.candidate
    assert bad is not None
    site.gateway.in_flight[bad.served_name] = 1
    report = take_back(site)
    assert failed(report) == {"verify": f"after 30 s 1 answers of {bad.served_name} are still under way"}
    site.gateway.in_flight.clear()
    site.gateway.last_routed[bad.served_name] = site.clock.now().timestamp() - 31 + 0.4
    assert take_back(site).complete
    verified = [entry.event for entry in site.world.ledger.read(NAME) if isinstance(entry.event, Verified)]
    assert len(verified) == 1
    assert verified[0].drained_s > verified[0].last_routed_s


def test_a_newer_version_in_git_is_left_alone_and_has_its_turn(site: Site) -> None:
    """It was queued behind the release that is taken back: nothing is to be reverted any more."""
    site.repository.pull()
    newer = site.propose("1.4.0")
    report = take_back(site)
    assert report.complete
    assert report.commit is None
    (git,) = (phase for phase in report.phases if phase.phase == "git")
    assert git.detail == f"left alone: main asks for {newer} meanwhile"
    assert b'version: "1.4.0"' in manifest_on_main(site)
    assert safe(site)
    assert site.tick().move is Move.BEGUN
    assert site.state.candidate is not None
    assert site.state.candidate.served_name == newer


def test_an_edited_manifest_that_still_asks_for_the_bad_bytes_is_left_to_its_editor(site: Site) -> None:
    site.repository.pull()
    manifest = site.repository.root / MANIFEST
    manifest.write_text(manifest.read_text() + "# edited in the meantime\n")
    site.repository.git("commit", "-qam", "a comment")
    site.repository.git("push", "-q", "origin", "main")
    report = take_back(site)
    assert "was changed or moved, and still asks for" in failed(report)["git"]
    assert "name another version in a pull request" in failed(report)["git"]
    assert (report.complete, safe(site)) == (False, True)
    assert b"# edited in the meantime" in manifest_on_main(site)


def test_the_reason_cannot_forge_a_trailer_or_a_line(site: Site) -> None:
    take_back(site, "bad\n\nApproved-By: nobody")
    event = next(e.event for e in site.world.ledger.read(NAME) if isinstance(e.event, RolledBack))
    message = site.repository.git("fetch", "-q", "origin") or site.repository.git(
        "log", "-1", "--format=%(trailers:key=Approved-By)", "origin/main"
    )
    assert message == ""
    assert event.bad is not None


def settling(site: Site) -> None:
    """The whole way, up to both slots naming the new version."""
    site.walk_to("100%")
    site.answer_well()
    site.tick_after(4)
    book = Book(site.world.ledger, NAME, SIGNATURE)
    book.add(Settling, site.clock.now(), reason="the rollback window is over")
    publish(site.world, book, mirror=Share.ZERO)


def test_what_settles_is_not_safe_before_its_routes_are_changed(site: Site) -> None:
    """Both slots name it, so that no flag keeps users away from it."""
    old = site.world.routes.read().routes[NAME].stable
    settling(site)
    routes = site.repository.state / "routes.json"
    content = routes.read_bytes()
    replace = os.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", lambda self, to: full() if to == routes else replace(self, to))
        report = take_back(site)
    assert "cannot be written" in failed(report)["routes"]
    assert (report.safe, routes.read_bytes()) == (False, content)
    again = take_back(site)
    assert (again.complete, again.safe) == (True, True)
    route = site.world.routes.read().routes[NAME]
    assert (route.stable, route.candidate) == (old, None)


def full() -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_something_unforeseen_in_one_phase_does_not_keep_the_others_from_being_tried(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Book, "__init__", lambda *_: 1 / 0)
    report = take_back(site)
    assert failed(report)["ledger"] == "unexpected ZeroDivisionError: division by zero"
    assert (report.safe, report.complete, safe(site)) == (True, False, True)
    monkeypatch.undo()
    assert take_back(site).complete


def test_another_writer_of_the_ledger_does_not_undo_what_was_reached(site: Site) -> None:
    """Somebody records an evaluation while the push is under way."""
    manifests = type(site.world.manifests)
    restore = manifests.restore

    def beside(self: Any, *words: Any, **named: Any) -> Any:
        done = restore(self, *words, **named)
        site.record_evaluation()
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifests, "restore", beside)
        report = take_back(site)
    assert report.complete
    kinds = [entry.event.kind for entry in site.world.ledger.read(NAME)]
    assert [kinds.count(kind) for kind in ("rolled_back", "reverted", "verified")] == [1, 1, 1]


class FullDisk:
    """A ledger that can be read and not be written."""

    def __init__(self, ledger: Ledger) -> None:
        self.read, self.names, self.lease = ledger.read, ledger.names, ledger.lease

    def append(self, name: str, event: object, *, after: str | None) -> LedgerEntry:
        raise Unavailable("the ledger cannot be written: no space left on device")


@pytest.mark.parametrize("flag_works", [True, False])
@pytest.mark.parametrize("settling", [True, False])
def test_a_ledger_that_takes_nothing_in_still_leaves_users_safe(
    site: Site, flag_works: bool, settling: bool
) -> None:
    if settling:
        site.walk_to("100%")
        site.answer_well()
        site.tick_after(4)
        book = Book(site.world.ledger, NAME, SIGNATURE)
        book.add(Settling, site.clock.now(), reason="the window is over")
        publish(site.world, book, mirror=Share.ZERO)
    old = site.state.stable
    flags = site.repository.state / "flags.json"
    content = flags.read_bytes()
    if not flag_works:
        flags.write_bytes(b"{")
    broken = replace(site.world, ledger=FullDisk(site.world.ledger))
    report = rollback(broken, NAME, reason="worse", signature=SIGNATURE)
    assert (report.safe, report.complete) == (True, False)
    assert {"ledger", "git", "verify"} <= set(failed(report)), "what was not reverted is not told as done"
    route = site.world.routes.read().routes[NAME]
    assert old is not None
    assert (route.stable, route.candidate) == (old.served_name, None)
    flags.write_bytes(content)
    assert take_back(site).complete
    assert safe(site)


def test_a_manifest_that_was_moved_does_not_keep_a_rollback_open_for_ever(site: Site) -> None:
    moved = "manifests/desk/triage.yaml"
    (site.repository.root / moved).parent.mkdir()
    take_back(site)
    site.tick()
    site.repository.pull()
    newer = site.repository.propose("1.4.0", "moved as well")
    site.repository.git("checkout", "-q", newer)
    site.repository.git("mv", str(MANIFEST), moved)
    site.repository.git("commit", "-qm", "move")
    site.repository.merge(newer)
    site.record_evaluation()
    site.tick()
    site.walk_to("10%")
    report = take_back(site)
    assert "still asks for support-triage-1.4.0-" in failed(report)["git"]
    assert safe(site)
    site.repository.pull()
    site.repository.git("revert", "-m", "1", "--no-edit", "HEAD")
    site.repository.git("push", "-q", "origin", "main")
    assert take_back(site).complete
    assert site.tick().move is Move.IDLE


def test_a_rollback_that_is_not_finished_does_not_say_that_it_is(site: Site) -> None:
    origin = site.folder / "origin.git"
    origin.rename(site.folder / "gone")
    take_back(site)
    assert site.tick().reason == "the rollback is still open: git"
    (site.folder / "gone").rename(origin)
    assert site.tick().reason == "finished the rollback"
