"""What the demo says that it showed, each claim checked against flag, ledger, git, gateway log and users."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from rollout.core.lifecycle import LedgerEntry, Promoted, Reverted, RolledBack, Started, Verified, fold
from rollout.core.plan import Share
from rollout.demo.journey import Journey
from rollout.demo.scratch import ENVIRONMENT, MANIFEST, NAME
from rollout.integrations.evaluator import FlagFileReader
from rollout.integrations.trafficlog import TrafficLog
from rollout.wiring import build_world

_ROUTED_LIMIT_S = 1.0
_KEYS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sentence, whether it is true, and what was found."""

    text: str
    holds: bool
    found: str


def check_claims(journey: Journey) -> list[Claim]:
    """Every claim of the story, asked of what the processes left behind."""
    return [
        *_of_the_releases(journey),
        *_of_the_rollbacks(journey),
        *_of_the_end(journey),
        *_of_the_users(journey),
    ]


def _of_the_releases(journey: Journey) -> Iterator[Claim]:
    entries, served = _entries(journey), journey.facts.served
    promoted = [entry.event for entry in entries if isinstance(entry.event, Promoted)]
    state = fold(entries)
    yield Claim(
        text="1.1.0 was promoted, and nothing else was",
        holds=len(promoted) == 1 and state.stable is not None and state.stable.served_name == served["1.1.0"],
        found=f"{len(promoted)} promotion, stable is {state.stable.served_name if state.stable else 'nothing'}",
    )
    begun = [entry.event.candidate.served_name for entry in entries if isinstance(entry.event, Started)]
    rows = _log(journey).requests(NAME)
    yield Claim(
        text="1.2.0 was stopped before it began: no release, no request, not on main; its slice was named",
        holds=served["1.2.0"] not in begun
        and served["1.2.0"] not in rows
        and "1.2.0" not in _versions_on_main(journey)
        and journey.facts.blocked_slice == "invoice"
        and "slice/invoice" in journey.facts.blocked_by,
        found=f"{begun.count(served['1.2.0'])} releases and "
        f"{rows[served['1.2.0']].total if served['1.2.0'] in rows else 0} requests of it, "
        f"blocked by {', '.join(journey.facts.blocked_by)}",
    )


def _of_the_rollbacks(journey: Journey) -> Iterator[Claim]:
    entries, served = _entries(journey), journey.facts.served
    state = fold(entries)
    by_name = {
        entry.event.bad.served_name: entry.event
        for entry in entries
        if isinstance(entry.event, RolledBack) and entry.event.bad
    }
    first = by_name.get(served["1.3.0"])
    yield Claim(
        text="1.3.0 was taken back by the judge, for its answers' form, and is quarantined",
        holds=first is not None
        and first.automatic
        and "format_failures" in first.reason
        and first.bad is not None
        and state.is_quarantined(first.bad.identity),
        found=first.reason[:160] if first else "no such rollback",
    )
    second = by_name.get(served["1.4.0"])
    yield Claim(
        text="1.4.0 was taken back by hand in the middle of its ramp",
        holds=second is not None and not second.automatic and second.from_share == Share.parse("50%"),
        found=f"at {second.from_share}" if second else "no such rollback",
    )
    for version, event in (("1.3.0", first), ("1.4.0", second)):
        yield _left_by(journey, version, served[version], event)
    reverted = [entry.event for entry in entries if isinstance(entry.event, Reverted)]
    commits = [event.commit for event in reverted if event.commit]
    yield Claim(
        text="git holds one revert commit for each, and the manifest reads byte for byte as it did for 1.1.0",
        holds=len(commits) == 2
        and all(_is_revert(journey, commit) for commit in commits)
        and (journey.repository.root / MANIFEST).read_bytes() == journey.facts.promoted_content,
        found=", ".join(commit[:12] for commit in commits),
    )


def _left_by(journey: Journey, version: str, served: str, event: RolledBack | None) -> Claim:
    """Asked of the gateway's log, not of the rollback's own report."""
    last = _log(journey).last_routed(NAME, served)
    late = None if event is None or last is None else last - event.flag_written_at.timestamp()
    return Claim(
        text=f"the last request to {version} was routed at most {_ROUTED_LIMIT_S:.0f} s after the flag write",
        holds=late is not None and late <= _ROUTED_LIMIT_S,
        found="it never had a request" if late is None else f"{max(0.0, late):.3f} s",
    )


def _of_the_end(journey: Journey) -> Iterator[Claim]:
    world = build_world(journey.repository.root, ENVIRONMENT)
    state = fold(world.ledger.read(NAME))
    flag = world.flags.read(world.environment.flag_key(NAME))
    yield Claim(
        text="the flag is off and stable",
        holds=flag is not None and not flag.on and flag.share == Share.ZERO,
        found=f"on={flag.on}, share={flag.share}" if flag else "there is no flag",
    )
    reader = FlagFileReader(journey.repository.state / "flags.json")
    try:
        slots = {reader.slot(world.environment.flag_key(NAME), f"user-{each}").slot for each in range(_KEYS)}
    finally:
        reader.close()
    yield Claim(
        text=f"LaunchDarkly's SDK gives stable to all of {_KEYS} users",
        holds={str(slot) for slot in slots} == {"stable"},
        found=", ".join(sorted(str(slot) for slot in slots)),
    )
    route = world.routes.read().routes[NAME]
    stable = state.stable.served_name if state.stable else None
    yield Claim(
        text="ledger, routes, gateways, servers and git name the same stable version",
        holds=route.stable == stable == journey.facts.served["1.1.0"]
        and route.candidate is None
        and stable in journey.facts.loaded
        and journey.facts.route_revisions == [world.routes.read().revision]
        and journey.repository.version_on("origin/main") == "1.1.0",
        found=f"{stable}; git says {journey.repository.version_on('origin/main')}, "
        f"gateways have routes {journey.facts.route_revisions}",
    )
    verified = [entry for entry in world.ledger.read(NAME) if isinstance(entry.event, Verified)]
    yield Claim(
        text="the ledger is whole, and says that both rollbacks were verified",
        holds=len(verified) == 2,
        found=f"{len(world.ledger.read(NAME))} entries in one chain, {len(verified)} rollbacks verified",
    )


def _of_the_users(journey: Journey) -> Iterator[Claim]:
    assert journey.crowd is not None
    tally, rows = journey.crowd.tally, _log(journey).requests(NAME)
    yield Claim(
        text="no request was lost",
        holds=not tally.failures and tally.answered == tally.sent > 0,
        found=f"{tally.answered} of {tally.sent} answered, {tally.streamed} as streams"
        + (f"; {tally.failures[:2]}" if tally.failures else ""),
    )
    logged = sum(counts.total for counts in rows.values())
    yield Claim(
        text="the gateway's log has one row for each request",
        holds=logged == tally.sent,
        found=f"{logged} rows, {tally.sent} requests",
    )
    changes = _changes(journey)
    yield Claim(
        text="no user made the same change of version twice",
        holds=len(changes) > 0 and max(changes.values()) == 1,
        found=f"{len({user for user, _, _ in changes})} users changed version, at most "
        f"{max(changes.values(), default=0)} time between the same two",
    )


def _changes(journey: Journey) -> Counter[tuple[str, str, str]]:
    """(user, from, to) -> how often, in the order in which the gateway decided."""
    log = f"{(journey.repository.state / 'traffic.sqlite').as_uri()}?mode=ro"
    with closing(sqlite3.connect(log, uri=True)) as connection:
        rows = connection.execute(
            "SELECT key_hash, served FROM requests WHERE shadow = 0 ORDER BY routed_at, id"
        ).fetchall()
    last: dict[str, str] = {}
    changes: Counter[tuple[str, str, str]] = Counter()
    for user, served in rows:
        before = last.setdefault(user, served)
        changes[(user, before, served)] += before != served
        last[user] = served
    return +changes


def _entries(journey: Journey) -> Sequence[LedgerEntry]:
    return build_world(journey.repository.root, ENVIRONMENT).ledger.read(NAME)


def _log(journey: Journey) -> TrafficLog:
    return TrafficLog(journey.repository.state / "traffic.sqlite")


def _versions_on_main(journey: Journey) -> set[str]:
    commits = journey.repository.git(
        "log", "--first-parent", "--format=%H", "origin/main", "--", str(MANIFEST)
    )
    return {journey.repository.version_on(commit) for commit in commits.splitlines()}


def _is_revert(journey: Journey, commit: str) -> bool:
    """One file, on main, with the trailers that say what and why."""
    git: Any = journey.repository.git
    files = git("show", "--name-only", "--format=", commit).splitlines()
    trailers = git("log", "-1", "--format=%(trailers:only,unfold)", commit)
    on_main = commit in git("log", "--format=%H", "origin/main").splitlines()
    return on_main and files == [str(MANIFEST)] and "Rollback-Of:" in trailers and "Reason:" in trailers
