"""What an incident's record says, in sentences and rows that every form shows alike. All of it is text, never markup."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rollout.core.incident import Incident, Skew, Span
from rollout.core.lifecycle import (
    Hastened,
    LedgerEvent,
    Lowered,
    Notified,
    Paused,
    Resumed,
    RolledBack,
    Shifted,
    Version,
)
from rollout.core.traces import Answered
from rollout.report.spans import span
from rollout.usecases.incident import IncidentRecord

UNKNOWN = "unknown"
QUESTIONS = (
    "What made it possible?",
    "Why did no check before the release show it?",
    "What would have shown it sooner, or to fewer users?",
    "Who was affected, and have they been told?",
    "What changes because of it: who does it, and by when?",
)
_SPAN_NAMES = {"detect": "To detect", "decide": "To decide", "mitigate": "To mitigate", "verify": "To verify"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A name, what is known of it, and from what; `known` is False where nothing is."""

    name: str
    value: str
    note: str = ""
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Something that was tried. `worked` is None where nobody can say."""

    what: str
    worked: bool | None
    told: str


def title(record: IncidentRecord) -> str:
    """What happened, in one line."""
    called = record.incident.event.incident
    return f"{_gone(record)} taken back in {record.environment}" + (f" ({called})" if called else "")


def summary(record: IncidentRecord) -> tuple[str, str, str]:
    """What and why; who was hit; and how things stand."""
    return _what(record), _impact(record), _standing(record)


def time_rows(record: IncidentRecord) -> list[Row]:
    """The four times, and how late the ledger knew."""
    times = record.times
    rows = [_time(_SPAN_NAMES[name], each) for name, each in times.spans.items()]
    if times.began_at is not None and times.verified_at is not None and times.verified_at >= times.began_at:
        whole = (times.verified_at - times.began_at).total_seconds()
        rows.append(Row(name="In all", value=seconds(whole), note="from the beginning to the proof"))
    if times.late_s is not None:
        rows.append(
            Row(
                name="Recorded late",
                value=seconds(times.late_s),
                note="the ledger could not take the rollback in when it was done;"
                f" it was done {moment(times.decided_at)} and recorded {moment(times.recorded_at)}",
            )
        )
    return rows


def impact_rows(record: IncidentRecord) -> list[Row]:
    """Requests and users of what was taken back, and what was wrong with their answers; unknown where nobody knows."""
    traffic, gone = record.traffic, [each.served_name for each in record.incident.gone]
    names = (
        "Requests that it answered",
        "Users that it answered",
        "Requests without a user's key",
        "Failed",
        "Failed, and answered by stable instead",
        "Of the wrong form",
    )
    if traffic is None:
        return [
            Row(name=name, value=UNKNOWN, note="the traffic log cannot be read here", known=False)
            for name in names
        ]
    answered = [traffic.answered[name] for name in gone if name in traffic.answered]
    least = "" if traffic.whole else "at least "
    return [
        Row(name=name, value=f"{least}{number:,}")
        for name, number in zip(names, _sums(answered), strict=True)
    ]


def fact_rows(record: IncidentRecord) -> list[Row]:
    """Names, places and digests, for whoever looks further."""
    incident, event = record.incident, record.incident.event
    rows = [
        (
            "Incident",
            f"{incident.number} of {record.of}" + (f", called {event.incident}" if event.incident else ""),
        ),
        ("Adapter", f"{record.name} in {record.environment}"),
        ("Taken back", ", ".join(each.served_name for each in incident.gone) or "nothing"),
        ("Serves since", _serving(record, incident.stable)),
        ("By", _by(event)),
        ("Reason", event.reason),
        ("Share it had", str(event.from_share)),
        ("Ledger entry", f"{incident.entry.seq}, {incident.entry.hash}"),
    ]
    if event.alert is not None:
        rows.append(
            ("Alert", f"{event.alert.name}, since {moment(event.alert.began)} ({event.alert.fingerprint})")
        )
    if event.detail is not None:
        rows.append(("Evidence", f"sha256:{event.detail}"))
    for version in incident.gone:
        if (commit := record.commits.get(version.commit)) is not None:
            pull = f", pull request #{commit.pull}" if commit.pull is not None else ""
            rows.append(
                (
                    f"Merged ({version.version})",
                    f"{commit.id[:12]} by {commit.author}{pull}: {commit.subject}",
                )
            )
    if record.pull is not None:
        rows.append(("Revert proposed", f"{record.pull}, {record.pull.state}"))
    if event.run_url is not None:
        rows.append(("Run", event.run_url))
    return [Row(name=name, value=value) for name, value in rows]


def tried(record: IncidentRecord) -> list[Done]:
    """What was done about it, in its order, and what came of it."""
    incident = record.incident
    return [*_steered(incident), *_taken_back(record), *_told(incident)]


def open_items(record: IncidentRecord) -> list[str]:
    """What is not true yet, or not known."""
    incident, event = record.incident, record.incident.event
    found = []
    if not incident.gone:
        found.append("It is not known what was taken back: nothing was under way.")
    if incident.verified is None:
        found.append(
            "Not verified: nobody has seen that every gateway and server left it. "
            f"`rollout rollback {event.name} -e {event.environment} --reason TEXT` looks again."
        )
    if incident.reverted is None and incident.gone:
        waits = f" {record.pull} waits for {record.pull.waits_for}." if record.pull else ""
        found.append(f"Not reverted: the manifest may still ask for it.{waits}")
    for each in incident.retried:
        found.append(f"{each.actor} has let it begin once more: {each.reason}")
    return found


def gap_lines(record: IncidentRecord) -> list[str]:
    """What no source tells, and where clocks contradict each other."""
    return [*(f"{gap.source}: {gap.why}." for gap in record.gaps), *map(skew_line, record.skews)]


def skew_line(skew: Skew) -> str:
    """Two moments in an order that their clocks deny."""
    return (
        f"clocks: {skew.first.what} ({skew.first.source}) came before {skew.then.what} ({skew.then.source}), "
        f"and its clock says {seconds(skew.seconds)} later."
    )


def seconds(length: float) -> str:
    """A length of time: to the millisecond below a minute, in its two largest units above."""
    if abs(length) < 10:
        return f"{length:.3f} s"
    return f"{length:.1f} s" if abs(length) < 60 else span(timedelta(seconds=length))


def moment(at: datetime) -> str:
    """In UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _time(name: str, each: Span) -> Row:
    if each.seconds is None:
        return Row(name=name, value=UNKNOWN, note=each.note, known=False)
    return Row(name=name, value=seconds(each.seconds), note=each.note)


def _gone(record: IncidentRecord) -> str:
    versions = " and ".join(each.version for each in record.incident.gone)
    return f"{record.name} {versions}".strip()


def _by(event: RolledBack) -> str:
    if event.alert is not None:
        return f"the alert {event.alert.name}"
    return f"the judge ({event.actor})" if event.automatic else event.actor


def _serving(record: IncidentRecord, stable: Version | None) -> str:
    return record.base if stable is None else stable.served_name


def _what(record: IncidentRecord) -> str:
    event, decided = record.incident.event, record.times.decided_at
    return (
        f"{_gone(record)} was taken back in {record.environment} by {_by(event)}, {moment(decided)}, "
        f"at {event.from_share} of the traffic: {event.reason}"
    )


def _impact(record: IncidentRecord) -> str:
    incident, times = record.incident, record.times
    if not incident.was_exposed:
        return "No user ever got it: it was compared in the shadow only."
    told = "Users got it"
    if times.mitigated_at is not None and incident.exposed_at is not None:
        length = (times.mitigated_at - incident.exposed_at).total_seconds()
        if length >= 0:
            told = f"Users could get it for {seconds(length)}"
    shares = [each.share for each in incident.before if isinstance(each, Shifted)]
    if shares:
        told += f", up to {max(shares)} of them"
    if record.traffic is None:
        return f"{told}; how many requests it answered is not known, for the traffic log cannot be read here."
    names = [each.served_name for each in incident.gone]
    answered = [record.traffic.answered[name] for name in names if name in record.traffic.answered]
    requests, users, unkeyed, failed, _, malformed = _sums(answered)
    least = "" if record.traffic.whole else "at least "
    without = f" and {unkeyed:,} without a key" if unkeyed else ""
    return (
        f"{told}: it answered {least}{requests:,} requests of {users:,} users{without}; {failed:,} of them failed "
        f"and {malformed:,} had the wrong form."
    )


def _standing(record: IncidentRecord) -> str:
    incident = record.incident
    parts = [f"{_serving(record, incident.stable)} serves since"]
    verified = incident.verified
    if verified is not None:
        parts.append(f"verified {seconds(verified.verified_s)} after the flag write")
    else:
        parts.append("NOT verified")
    if incident.reverted is not None:
        parts.append(f"git says so in {incident.reverted.commit[:12]}")
    elif incident.gone:
        parts.append("NOT reverted in git")
    return "; ".join(parts) + "."


def _sums(answered: list[Answered]) -> tuple[int, int, int, int, int, int]:
    """Requests, users, without key, failed, rescued, malformed. A user of two versions is one of each."""
    return (
        sum(each.requests for each in answered),
        sum(each.users for each in answered),
        sum(each.unkeyed for each in answered),
        sum(each.failed for each in answered),
        sum(each.rescued for each in answered),
        sum(each.malformed for each in answered),
    )


def _steered(incident: Incident) -> Iterator[Done]:
    """What people did to the release before it was taken back."""
    for each in incident.before:
        what = _steering(each)
        if what is not None:
            told = f"{each.reason}" if isinstance(each, Paused | Lowered | Resumed | Hastened) else ""
            yield Done(what=what, worked=None, told=told)


def _steering(event: LedgerEvent) -> str | None:
    match event:
        case Paused(actor=actor):
            return f"paused by {actor}"
        case Lowered(by=by):
            return f"turned down to {event.reach} by {by}"
        case Resumed(actor=actor):
            return f"resumed by {actor}"
        case Hastened(actor=actor):
            return f"sent to everybody by {actor}, without waiting for proof"
    return None


def _taken_back(record: IncidentRecord) -> Iterator[Done]:
    incident, event, verified = record.incident, record.incident.event, record.incident.verified
    late = event.waited_since is not None
    yield Done(
        what="flag off and stable",
        worked=True if verified is not None else None,
        told=f"version {event.flag_version}; written {moment(event.flag_written_at)}",
    )
    if event.restored is not None:
        put = event.restored.version
        yield Done(
            what=f"{put.served_name if put else record.base} put in the place of {event.restored.replaced.served_name}",
            worked=True if verified is not None else None,
            told="every server had it, with an effect, before it was recorded"
            if put
            else "every server has it",
        )
    yield Done(
        what="recorded, and its bytes quarantined",
        worked=True,
        told=f"{seconds(record.times.late_s or 0.0)} late, when the ledger could take it in"
        if late
        else "at once",
    )
    yield Done(
        what="manifest reverted",
        worked=incident.reverted is not None,
        told=f"{incident.reverted.commit[:12]} on {incident.reverted.branch}"
        if incident.reverted
        else "open",
    )
    yield Done(
        what="proof at gateways and servers",
        worked=verified is not None,
        told=f"last request after {verified.last_routed_s:.3f} s, last answer after {verified.drained_s:.3f} s, "
        f"verified after {verified.verified_s:.3f} s"
        if verified
        else "open",
    )


def _told(incident: Incident) -> Iterator[Done]:
    for each in incident.after:
        if isinstance(each, Notified):
            yield Done(what=f"{each.to} told", worked=True, told=f"{each.notice}, {moment(each.at)}")
