"""Ledgers that earlier versions wrote: still one chain, byte for byte, and still the same state.

Each `tests/golden/ledgers/<version>.jsonl` was written by the code of that version, the state beside it recorded once.
They are never written anew: a change that breaks one of them breaks the ledgers of everybody who upgrades.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from rollout.core.lifecycle import Anchored, LedgerEntry, RolloutState, fold, next_entry, verify_chain

GOLDEN = Path(__file__).parents[1] / "golden" / "ledgers"
LEDGERS = sorted(GOLDEN.glob("*.jsonl"))
STATE = TypeAdapter(RolloutState)


def read(path: Path) -> list[LedgerEntry]:
    return [LedgerEntry.parse(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def holds(recorded: object, now: object) -> bool:
    """Whether all that was recorded is still so; what later versions know beside it is their business."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        return all(key in now and holds(value, now[key]) for key, value in recorded.items())
    return recorded == now


def test_there_is_a_ledger_of_every_version() -> None:
    assert {path.stem for path in LEDGERS} >= {
        "0.1.0",
        "0.2.0",
        "0.3.0",
        "0.4.0",
        "0.5.0",
        "0.5.0-canary",
        "0.6.0",
        "0.7.0",
    }


@pytest.mark.parametrize("path", LEDGERS, ids=lambda path: path.stem)
def test_an_old_ledger_is_one_chain_and_folds_to_what_it_folded_to(path: Path) -> None:
    entries = read(path)
    verify_chain(entries)
    recorded = json.loads(path.with_suffix(".state.json").read_text())
    state = fold(entries)
    assert holds(recorded, json.loads(STATE.dump_json(state)))
    assert state.head == recorded["head"] == entries[-1].hash


@pytest.mark.parametrize("path", LEDGERS, ids=lambda path: path.stem)
def test_an_old_entry_is_written_again_as_it_was(path: Path) -> None:
    """Also by whoever lost the line: what an entry says, and only what it says, gives the same bytes."""
    for entry in read(path):
        said = entry.model_dump(mode="json", exclude_unset=True)
        again = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert again == entry.line


@pytest.mark.parametrize("path", LEDGERS, ids=lambda path: path.stem)
def test_an_old_ledger_goes_on_with_entries_of_today(path: Path) -> None:
    entries = read(path)
    longer = [*entries, next_entry(entries[-1], entries[-1].event)]
    verify_chain([LedgerEntry.parse(entry.line) for entry in longer])


@pytest.mark.parametrize("path", LEDGERS, ids=lambda path: path.stem)
def test_an_anchor_in_the_place_of_any_beginning_leads_to_the_same_state(path: Path) -> None:
    whole = read(path)
    if isinstance(whole[0].event, Anchored):
        return
    for count in range(1, len(whole)):
        before = whole[:count]
        last = before[-1]
        anchor = Anchored(
            at=last.event.at, actor="ann", environment="prod", name="bot", tool="0",
            entries=count, archive="5e" * 32, state=fold(before),
        )  # fmt: skip
        entries = [LedgerEntry.parse(next_entry(last, anchor).line)]
        for entry in whole[count:]:
            entries.append(next_entry(entries[-1], entry.event))
        verify_chain(entries)
        assert replace(fold(entries), head=None) == replace(fold(whole), head=None)
