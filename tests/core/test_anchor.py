"""An anchor stands for what came before it, exactly, wherever it is put."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.lifecycle import (
    Anchored,
    BrokenChain,
    IllegalHistory,
    LedgerEntry,
    LedgerEvent,
    apply,
    fold,
    next_entry,
    verify_chain,
)
from tests.core.factories import OLD, SHA, chain, evaluated, event, looked, rolled_back, shift, started
from tests.core.test_lifecycle import ADOPTED, EVENTS


def anchored(entries: tuple[LedgerEntry, ...]) -> LedgerEntry:
    state = fold(entries)
    anchor = event(Anchored, entries=len(entries), archive=SHA, state=state)
    return next_entry(entries[-1], anchor)


def legal(events: list[LedgerEvent]) -> tuple[LedgerEntry, ...]:
    """Those that may stand where they stand."""
    kept: list[LedgerEvent] = [ADOPTED]
    for each in events:
        try:
            fold(chain(*kept, each))
        except IllegalHistory:
            continue
        kept.append(each)
    return chain(*kept)


@given(st.lists(EVENTS, max_size=25), st.data())
def test_an_anchor_and_the_rest_lead_where_everything_led(
    events: list[LedgerEvent], data: st.DataObject
) -> None:
    whole = legal(events)
    count = data.draw(st.integers(1, len(whole)))
    entries = [LedgerEntry.parse(anchored(whole[:count]).line)]
    for entry in whole[count:]:
        entries.append(next_entry(entries[-1], entry.event))
    verify_chain(entries)
    assert replace(fold(entries), head=None) == replace(fold(whole), head=None)


@given(st.lists(EVENTS, max_size=25))
def test_one_entry_at_a_time_leads_where_all_at_once_do(events: list[LedgerEvent]) -> None:
    whole = legal(events)
    state = fold(whole[:1])
    for entry in whole[1:]:
        state = apply(state, entry)
    assert state == fold(whole)


def test_an_anchor_can_only_be_the_first_entry() -> None:
    whole = chain(ADOPTED, evaluated())
    with pytest.raises(IllegalHistory, match="cannot hold the event Anchored"):
        fold((*whole, anchored(whole)))


def test_an_anchor_that_stands_for_other_entries_breaks_the_chain() -> None:
    whole, other = chain(ADOPTED, evaluated()), chain(ADOPTED, evaluated(), looked())
    forged = anchored(whole).model_copy(update={"previous": other[-1].hash})
    with pytest.raises(BrokenChain, match="entry 2 does not follow entry 1"):
        verify_chain([forged])
    later = anchored(whole).model_copy(update={"seq": 3})
    with pytest.raises(BrokenChain, match="entry 3 does not follow entry 2"):
        verify_chain([later])


def test_an_anchor_of_a_later_version_is_refused_and_not_half_understood() -> None:
    line = anchored(chain(ADOPTED)).line.replace('"cleared":-1', '"cleared":-1,"later":1')
    with pytest.raises(ValueError, match="Unexpected keyword argument"):
        LedgerEntry.parse(line)


def test_only_what_is_over_is_at_rest() -> None:
    def rests(*events: LedgerEvent) -> bool:
        return fold(chain(ADOPTED, evaluated(), *events)).at_rest

    assert rests()
    assert not rests(started())
    assert not rests(started(), *shift(0, "10%"))
    assert not rests(started(), rolled_back()), "its manifest is not reverted yet"


def test_a_changed_copy_of_an_entry_has_another_hash() -> None:
    entry = chain(ADOPTED)[0]
    assert entry.hash == LedgerEntry.parse(entry.line).hash
    changed = entry.model_copy(update={"event": ADOPTED.model_copy(update={"stable": OLD, "actor": "eve"})})
    assert changed.hash != entry.hash
    assert '"eve"' in changed.line
