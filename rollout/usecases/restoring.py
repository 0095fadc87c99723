"""Where stable itself is bad: what takes its place, by somebody's explicit choice, and whether the servers are ready."""

from __future__ import annotations

from pydantic import JsonValue

from rollout.core.lifecycle import (
    Adopted,
    LedgerEntry,
    Promoted,
    Restored,
    RolloutState,
    Settled,
    Version,
    apply,
)
from rollout.errors import RolloutError, ServingUnavailable, Usage
from rollout.ports import World
from rollout.usecases.book import Book
from rollout.usecases.coverage import cover
from rollout.usecases.ledgercheck import archived
from rollout.usecases.release import read_manifest, read_policy

BASE = "base"
"""How the base model is called where a version is asked for."""


def good_versions(world: World, book: Book) -> tuple[Version, ...]:
    """Every version that everybody had, and that was neither taken back nor is stable now; the newest last."""
    state = book.state
    current = state.stable.identity if state.stable else None
    found = {each.identity: each for each in _served_by_all(_whole_history(world, book))}
    return tuple(
        each for key, each in found.items() if key != current and not state.is_quarantined(each.identity)
    )


def choose(world: World, book: Book, wanted: str) -> Restored | None:
    """What `wanted` means: a version's number, its served name, or BASE; None if that is stable already.

    Raises Usage for what was never served to everybody, or was taken back.
    """
    stable, good = book.state.stable, good_versions(world, book)
    if wanted in (BASE if stable is None else stable.version, stable and stable.served_name):
        return None
    if stable is not None and wanted == BASE:
        return Restored(version=None, replaced=stable)
    for version in reversed(good):
        if stable is not None and wanted in (version.version, version.served_name):
            return Restored(version=version, replaced=stable)
    choices = ", ".join([*(each.version for each in reversed(good)), BASE])
    raise Usage(
        f"{wanted} is no version of {book.name} to go back to{_why_not(book.state, wanted)}",
        advice=f"Choose one of: {choices}. A repaired version goes forward instead: name it in a pull request, then"
        f" `rollout promote {book.name} -e {world.environment.name} --reason TEXT`.",
    )


def make_ready(world: World, restored: Restored) -> str:
    """Have it on every server, with an effect that is measured; the answer says so.

    Raises what stands against it; nobody was sent to it until then.
    """
    if restored.version is None:
        return f"{world.environment.server.base} is what every server has"
    manifest = read_manifest(world, restored.version).value
    policy = read_policy(world, manifest, restored.version.commit)
    coverage = cover(world, [manifest], prove=manifest, golden=policy.golden)
    if not coverage.complete:
        raise ServingUnavailable(
            coverage.complaint, advice="Look at the servers, then run the command again."
        )
    return f"{restored.version.served_name} is on {coverage.replicas} of {coverage.replicas} servers, with an effect"


def form_of(world: World, restored: Restored) -> dict[str, JsonValue] | None:
    """The JSON Schema of its answers; None where they are free text, and for the base model."""
    if restored.version is None:
        return None
    manifest = read_manifest(world, restored.version).value
    return read_policy(world, manifest, restored.version.commit).golden.response_schema


def _whole_history(world: World, book: Book) -> tuple[LedgerEntry, ...]:
    """With what was archived, as far as the evidence can be read: what is missing is only less to choose from."""
    try:
        return world.ledger.verify(book.name, before=archived(book.entries, world.evidence))
    except RolloutError:
        return book.entries


def _served_by_all(entries: tuple[LedgerEntry, ...]) -> list[Version]:
    state, found = RolloutState(), []
    for entry in entries:
        before, state = state, apply(state, entry)
        match entry.event:
            case Adopted(stable=version):
                found.append(version)
            case Promoted() | Settled() if before.candidate is not None:
                found.append(before.candidate)
            case _ if state.stable is not None and not found:
                found.append(state.stable)  # The beginning of what is remembered.
    return found


def _why_not(state: RolloutState, wanted: str) -> str:
    for version in state.quarantined:
        if wanted in (version.version, version.served_name):
            return f": it was taken back on {state.quarantine[version.identity].at:%Y-%m-%d}"
    return ""
