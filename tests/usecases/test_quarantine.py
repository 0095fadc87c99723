"""What was taken back stays out, under whatever version, until two people want it to begin once more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.approval import are_two
from rollout.core.lifecycle import (
    IllegalHistory,
    LiftAsked,
    Rejected,
    Retried,
    Started,
    apply,
    fold,
    next_entry,
)
from rollout.demo.scratch import NAME
from rollout.errors import Usage
from rollout.usecases.book import Book, Signature
from rollout.usecases.quarantine import STANDS, lift, quarantined
from rollout.usecases.rollback import rollback
from rollout.usecases.steer import retry
from rollout.usecases.tick import Move
from tests.support.commands import everything, in_site
from tests.support.site import SIGNATURE, Site

BOB = replace(SIGNATURE, actor="bob")
EVE = replace(SIGNATURE, actor="eve")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """1.1.0 was taken back."""
    site = Site.create(tmp_path_factory.mktemp("quarantine"))
    site.propose("1.1.0")
    site.tick()
    site.walk_to("10%")
    assert rollback(site.world, NAME, reason="it swears", signature=SIGNATURE, incident="INC-7").complete
    return site


@pytest.fixture
def site(walked: Site, tmp_path: Path) -> Iterator[Site]:
    yield walked.copy(tmp_path / "site")
    shutil.rmtree(tmp_path / "site", ignore_errors=True)


def asked(site: Site, *people: Signature) -> list[bool]:
    return [lift(site.world, NAME, reason="a false alarm", signature=each).done for each in people]


def test_one_person_is_never_enough_however_often_they_ask(site: Site) -> None:
    assert asked(site, BOB, BOB, BOB) == [False] * 3
    assert sum(isinstance(entry.event, LiftAsked) for entry in site.world.ledger.read(NAME)) == 1
    (left,) = quarantined(site.state)
    assert left.asked is not None
    assert (left.asked.actor, left.event.reason) == ("bob", "it swears")


def test_a_second_person_lets_it_begin(site: Site) -> None:
    assert asked(site, BOB, EVE) == [False, True]
    assert quarantined(site.state) == ()
    event = site.world.ledger.read(NAME)[-1].event
    assert isinstance(event, Retried)
    assert (event.asked_by, event.actor) == ("bob", "eve")
    entries = site.world.ledger.read(NAME)
    assert asked(site, EVE) == [True], "whoever died behind the ledger's word runs it again"
    assert site.world.ledger.read(NAME) == entries
    with pytest.raises(Usage, match="nothing of support-triage is quarantined"):
        asked(site, BOB)


@pytest.mark.parametrize("again", ["@Bob", "BOB ", "\uff42ob", "b\u200bob"])
def test_another_way_to_write_a_name_is_no_second_person(site: Site, again: str) -> None:
    assert asked(site, BOB, replace(SIGNATURE, actor=again)) == [False, False]
    assert len(quarantined(site.state)) == 1


@pytest.mark.parametrize("nobody", ["github-actions[bot]", "unknown", "@"])
def test_who_is_no_person_can_neither_ask_nor_second(site: Site, nobody: str) -> None:
    asked(site, BOB)
    before = site.world.ledger.read(NAME)
    with pytest.raises(Usage, match="is nobody who could answer for it: two people have to want it"):
        asked(site, replace(SIGNATURE, actor=nobody))
    assert site.world.ledger.read(NAME) == before


def test_bytes_that_were_also_rejected_are_let_back_by_no_retry_of_one_person(site: Site) -> None:
    """They came again, under another version, while another release was under way whose plan rejects newer ones."""
    (out,) = site.state.quarantined
    again = out.model_copy(update={"version": "1.3.0", "served_name": "again"})
    fix = out.model_copy(update={"version": "1.2.0", "identity": "d" * 64, "served_name": "fix"})
    book = Book(site.world.ledger, NAME, SIGNATURE)
    now = site.clock.now()
    fields = {"plan": "p", "policy_commit": "d" * 40, "phase": "canary", "flag_version": 1, "edge": "0"}
    book.add(Started, now, candidate=fix, report="a" * 64, **fields)
    book.add(Rejected, now, rejected=again, reason="fix is under way")
    with pytest.raises(Usage, match="again was taken back here: one person alone cannot let it begin"):
        retry(site.world, NAME, reason="please", signature=BOB)
    assert site.state.is_quarantined(out.identity)
    assert asked(site, BOB, EVE) == [False, True]
    assert site.state.rejected is None


def test_what_was_asked_long_ago_counts_no_more(site: Site) -> None:
    asked(site, BOB)
    site.clock.time += STANDS + timedelta(seconds=1)
    assert asked(site, EVE, BOB) == [False, True]


def test_another_rollback_of_the_same_bytes_forgets_who_asked(site: Site) -> None:
    asked(
        site,
        BOB,
        EVE,
    )
    site.propose("1.1.0", evaluate=False)
    assert site.tick_after(7200).move is Move.BEGUN
    rollback(site.world, NAME, reason="again", signature=SIGNATURE)
    assert asked(site, BOB) == [False], "the word of before is used up"


PEOPLE = st.sampled_from(["ann", "bob", "eve", "@Bob", "EVE", "@"])


@given(asks=st.lists(PEOPLE, max_size=4), asked_by=PEOPLE, actor=PEOPLE)
def test_by_the_ledgers_own_rules_nobody_seconds_themselves(
    walked: Site, asks: list[str], asked_by: str, actor: str
) -> None:
    entries = walked.world.ledger.read(NAME)
    (subject,) = fold(entries).quarantined
    fields = {
        "at": walked.clock.now(),
        "environment": "demo",
        "name": NAME,
        "tool": "0.7.0",
        "identity": subject.identity,
        "reason": "x",
    }
    last, state = entries[-1], fold(entries)
    for each in asks:
        last = next_entry(last, LiftAsked(actor=each, **fields))
        state = apply(state, last)
    lifted = next_entry(last, Retried(actor=actor, asked_by=asked_by, **fields))
    if asks and asks[-1] == asked_by and are_two(asked_by, actor):
        assert not apply(state, lifted).is_quarantined(subject.identity)
    else:
        with pytest.raises(IllegalHistory):
            apply(state, lifted)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--version", "9.9.9"), "that was not taken back in demo"),
        (("--digest", "abc"), "too short to name bytes"),
        (("--digest", "0" * 12), "that was not taken back in demo"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(site: Site, words: tuple[str, ...], why: str) -> None:
    before = everything(site)
    ended = in_site(site, "quarantine", NAME, *words, "--reason", "x", name="lift")
    assert (ended.status, everything(site)) == (2, before)
    assert why in ended.err


def test_the_command_is_run_by_one_and_by_another(site: Site) -> None:
    words = (NAME, "--reason", "a false alarm", "--actor")
    first = in_site(site, "quarantine", *words, "bob", name="lift")
    assert (first.status, first.err) == (0, "")
    assert "a second person has to run the same command within 7 days" in first.out
    listed = in_site(site, "quarantine", NAME, name="list")
    assert "it swears" in listed.out
    assert "(INC-7)" in listed.out
    assert "by bob: a false alarm" in listed.out
    second = in_site(site, "quarantine", *words, "eve", "--format", "json", name="lift")
    assert json.loads(second.out)["lifted"] is True
    told = json.loads(in_site(site, "quarantine", NAME, "--format", "json", name="list").out)
    assert told["quarantined"] == []


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_looking_and_rehearsing_change_nothing(site: Site, form: str) -> None:
    before = everything(site)
    assert "1.1.0" in in_site(site, "quarantine", NAME, "--format", form, name="list").out
    ended = in_site(site, "quarantine", NAME, "--reason", "x", "--dry-run", "--format", form, name="lift")
    assert (ended.status, everything(site)) == (0, before)


def test_what_a_restored_stable_replaced_can_be_lifted_too(site: Site) -> None:
    assert rollback(site.world, NAME, reason="both", signature=SIGNATURE, to="base").complete
    assert {each.version.version for each in quarantined(site.state)} == {"1.0.0", "1.1.0"}
    with pytest.raises(Usage, match="several of support-triage were taken back"):
        asked(site, BOB)
    for each in (BOB, EVE):
        lift(site.world, NAME, reason="x", signature=each, version="1.0.0")
    assert [each.version.version for each in quarantined(site.state)] == ["1.1.0"]
