"""One tick for all adapters: what rests is left alone, what stops one stops no other, and safety comes first."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.demo.scratch import ENVIRONMENT, MANIFEST, NAME
from rollout.errors import LedgerConflict, Unreadable
from rollout.ports import Ledger
from rollout.report import fleets, statuses
from rollout.usecases.fleet import Ended, advance_all, muster
from rollout.usecases.overview import Untold, overview
from rollout.usecases.rollback import rollback
from rollout.usecases.status import Status
from rollout.usecases.tick import Move
from tests.support.commands import rollout as rollout_command
from tests.support.site import SIGNATURE, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    yield Site.create(folder)
    shutil.rmtree(folder, ignore_errors=True)


def all_of(site: Site) -> list[Ended]:
    return list(advance_all(muster(site.world), signature=SIGNATURE, gatekeeper=lambda *_: None))


def moves(site: Site) -> dict[str, Move | str]:
    return {each.name: each.tick.move if each.tick else type(each.error).__name__ for each in all_of(site)}


def at_rest(site: Site) -> bool:
    return NAME in muster(site.world).at_rest


def test_what_rests_is_seen_to_rest_and_left_alone(site: Site) -> None:
    assert at_rest(site)  # adoption has loaded it and written its route
    before = site.world.ledger.read(NAME)
    assert at_rest(site)
    (ended,) = all_of(site)
    assert ended.tick is not None
    assert (ended.tick.move, ended.tick.reason) == (Move.IDLE, site.tick().reason)
    assert site.world.ledger.read(NAME) == before


def test_nothing_rests_that_a_tick_would_touch(site: Site) -> None:
    site.tick()
    served = site.served
    site.replica.unload(served)
    assert not at_rest(site)  # a server has forgotten it
    site.tick()
    assert at_rest(site)
    site.replica.load(f"{NAME}-9.9.9-0123456789ab", site.folder)
    assert not at_rest(site)  # a leftover is to be unloaded
    site.tick()
    assert at_rest(site)
    site.world.routes.update(
        lambda routes: routes.model_copy(update={"routes": {}, "revision": routes.revision + 1})
    )
    assert not at_rest(site)
    site.tick()
    site.replica._file.with_suffix(".dead").touch()
    assert not at_rest(site)
    site.replica._file.with_suffix(".dead").unlink()
    site.propose("1.1.0")
    assert not at_rest(site)
    assert moves(site) == {NAME: Move.BEGUN}
    assert not at_rest(site)


def test_a_second_manifest_of_the_same_name_is_no_rest(site: Site) -> None:
    site.tick()
    site.repository.pull()
    copied = site.repository.root / "manifests" / "other" / "copy.yaml"
    copied.parent.mkdir()
    shutil.copyfile(site.repository.root / MANIFEST, copied)
    site.repository._commit("a copy")
    site.repository.git("push", "-q", "origin", "main")
    assert moves(site) == {NAME: "Unreadable"}


def test_a_broken_ledger_stops_only_its_own_adapter(site: Site) -> None:
    site.tick()
    ledger = site.repository.state / "ledger" / "demo"
    (ledger / "broken.jsonl").write_text("{}\n")
    ended = {each.name: each for each in all_of(site)}
    assert isinstance(ended["broken"].error, LedgerConflict)
    assert ended[NAME].tick is not None
    assert list(ended) == ["broken", NAME]  # what may need to be taken back comes first


class _Buggy:
    """A ledger that is asked about one adapter in a way that nobody foresaw, and holds what nobody must see."""

    def __init__(self, inner: Ledger, bad: str) -> None:
        self._inner, self._bad = inner, bad

    def read(self, name: str) -> object:
        if name == self._bad:
            raise KeyError("token-of-ours")
        return self._inner.read(name)

    def still(self) -> _Buggy:
        return self

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_a_bug_with_one_adapter_stops_no_other_and_is_told_without_its_words(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.propose("1.1.0")
    (site.repository.state / "ledger" / "demo" / "aaa.jsonl").touch()
    world = replace(site.world, ledger=_Buggy(site.world.ledger, "aaa"))  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG):
        fleet = advance_all(muster(world), signature=SIGNATURE, gatekeeper=lambda *_: None)
        ended = {each.name: each for each in fleet}
    assert list(ended) == ["aaa", NAME]
    bug = ended["aaa"].error
    assert bug is not None
    assert (bug.code, bug.exit_status) == ("bug", 70)
    assert re.fullmatch(r"a bug in rollout: KeyError at usecases/\w+\.py:\d+", bug.message)
    assert bug.advice == "`rollout advance aaa -e demo` shows all of it; please report that."
    (logged,) = [each for each in caplog.records if each.exc_info is not None]
    assert (logged.levelno, logged.exc_info and logged.exc_info[0]) == (logging.DEBUG, KeyError)
    assert ended[NAME].tick is not None
    assert ended[NAME].tick.move is Move.BEGUN
    assert fleets.exit_status(list(ended.values())) == 70


def test_a_bug_of_one_adapter_hides_no_other_in_the_overview(site: Site) -> None:
    (site.repository.state / "ledger" / "demo" / "aaa.jsonl").touch()
    found = overview(replace(site.world, ledger=_Buggy(site.world.ledger, "aaa")))  # type: ignore[arg-type]
    assert [type(each) for each in found] == [Untold, Status]
    assert statuses.exit_status(found) == 70


def test_a_server_with_a_bug_lets_nothing_rest_and_everybody_be_told(site: Site) -> None:
    site.tick()
    assert at_rest(site)
    world = replace(site.world, replicas=(_BuggyReplica(),))  # type: ignore[arg-type]
    fleet = muster(world)
    assert not fleet.at_rest
    (ended,) = advance_all(fleet, signature=SIGNATURE, gatekeeper=lambda *_: None)
    assert ended.error is not None
    assert ended.error.message.startswith("a bug in rollout: ZeroDivisionError at ")


class _BuggyReplica:
    name = "r0"

    def models(self) -> object:
        raise ZeroDivisionError


def test_a_neighbour_that_cannot_be_read_stops_no_release(site: Site) -> None:
    site.propose("1.1.0")
    site.repository.pull()
    (site.repository.root / "manifests" / "support" / "broken.yaml").write_text("name: [")
    site.repository._commit("broken")
    site.repository.git("push", "-q", "origin", "main")
    assert site.tick().move is Move.BEGUN


def test_only_what_is_known_can_be_named(site: Site) -> None:
    assert list(muster(site.world).only([NAME]).names) == [NAME]
    with pytest.raises(Unreadable, match="neither the manifests nor the ledger know nobody"):
        muster(site.world).only(["nobody"])


def test_an_unfinished_rollback_is_finished_by_the_tick_of_all(site: Site) -> None:
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    deaf = replace(site.world, manifests=_NoGit())  # type: ignore[arg-type]
    assert not rollback(deaf, NAME, reason="by hand", signature=SIGNATURE).complete
    assert moves(site) == {NAME: Move.ROLLED_BACK}
    assert site.state.unfinished_rollback is None


class _NoGit:
    def __getattr__(self, name: str) -> object:
        raise Unreadable("git is away")


def test_the_command_takes_all_or_one(site: Site) -> None:
    where = ("-e", ENVIRONMENT, "--root", str(site.repository.root))
    for words in ((), (NAME, "--all")):
        ended = rollout_command("advance", *words, *where)
        assert ended.status == 2
        assert "name one adapter, or --all" in ended.err


def test_the_command_tells_each_and_sums_them_up(site: Site) -> None:
    (site.repository.state / "ledger" / "demo" / "broken.jsonl").write_text("{}\n")
    where = ("--all", "-e", ENVIRONMENT, "--root", str(site.repository.root))
    ended = rollout_command("advance", *where)
    assert ended.status == 5
    assert re.match(r"broken: failed: .* of the ledger of broken cannot be read", ended.out)
    assert ended.out.splitlines()[-1].startswith("2 adapters: ")
    data = json.loads(rollout_command("advance", *where, "--format", "json").out)
    assert next((each["name"], each["exit_status"]) for each in data["adapters"]) == ("broken", 5)
    assert data["exit_status"] == 5
    assert "| broken | **failed** |" in rollout_command("advance", *where, "--format", "markdown").out
