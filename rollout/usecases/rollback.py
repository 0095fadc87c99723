"""Take an adapter back: flag first, then ledger, routes, git, and the proof that it is gone.

A flag service that does not answer at once is not waited for: the gateways are told themselves in the meantime.
Every phase is tried whatever became of the one before it, each can be repeated at any time, and running the
whole again converges: what is done is seen and left alone. Nothing here waits for a tick's lease.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue

from rollout.core.alert import AlertMark
from rollout.core.flag import FlagState
from rollout.core.lifecycle import (
    IllegalHistory,
    Phase,
    Restored,
    Reverted,
    RolledBack,
    RolloutState,
    Verified,
    Version,
)
from rollout.core.notice import notice_of_unrecorded
from rollout.core.plan import Share
from rollout.core.pullrequest import PullRequest
from rollout.core.routes import Routes, with_route
from rollout.core.runbook import Decision
from rollout.core.unrecorded import Unrecorded, still_to_be_recorded
from rollout.errors import (
    FlagUnavailable,
    LedgerConflict,
    NotifyUnavailable,
    RemoteUnavailable,
    RevertAwaitsMerge,
    RolloutError,
    ServingUnavailable,
    Unavailable,
    Unreadable,
    WorldChanged,
)
from rollout.ports import World
from rollout.usecases.beside import begun
from rollout.usecases.book import Book, Signature
from rollout.usecases.gone import see_that_it_is_served, wait_until_gone
from rollout.usecases.hold import hold
from rollout.usecases.lost import why_lost
from rollout.usecases.notify import tell, tell_of_state
from rollout.usecases.publish import publish
from rollout.usecases.restoring import choose, form_of, make_ready
from rollout.usecases.reverting import Reversal, revert
from rollout.usecases.unloading import unload

_APPENDS = 20
_FLAG_ALONE_S = 0.5
"""How long the flag is given before the gateways are told without it."""
_FLAG_LONGEST_S = 15.0
_GIT_ALONE_S = 2.0
"""How long git is given before the proof begins beside it."""
_GIT_LONGEST_S = 180.0
_NOT_YET = "the ledger does not know of the rollback yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDone:
    """One phase of a rollback: what came of it, and its seconds since the command began.

    One that is not `ok` and `waits` has done all that it can: what is left is up to others. `advice` is what a person
    can do about one that is not `ok`, and `code` the page that says more; both are empty where only the next run helps.
    """

    phase: str
    ok: bool
    detail: str
    began_s: float
    ended_s: float
    waits: bool = False
    advice: str = ""
    code: str = ""


@dataclass(slots=True, kw_only=True)
class RollbackReport:
    """What a rollback did. `bad` is None where nothing was under way; `known` tells whether ledger or flag knew it.

    `settling` tells that both slots named the bad version when it began.
    """

    name: str
    environment: str
    reason: str
    bad: Version | None = None
    stable: Version | None = None
    phases: list[PhaseDone] = field(default_factory=list)
    verified: Verified | None = None
    commit: str | None = None
    pull: PullRequest | None = None
    known: bool = True
    settling: bool = False

    @property
    def complete(self) -> bool:
        """Whether every phase succeeded."""
        return all(phase.ok for phase in self.phases)

    @property
    def safe(self) -> bool:
        """Whether the flag, the gateways or the routes keep traffic away from the bad version.

        While it was settling both slots named it, so that only the routes can.
        """
        ways = ("routes",) if self.settling else ("flag", "gateways", "routes")
        return any(phase.ok for phase in self.phases if phase.phase in ways)

    @property
    def runbook(self) -> Decision | None:
        """The page for whoever has to act now; None where nothing was taken back and nothing is open."""
        if not self.complete:
            return Decision.ROLLBACK_OPEN
        return None if self.bad is None else Decision.ROLLED_BACK


def rollback(
    world: World,
    name: str,
    *,
    reason: str,
    signature: Signature,
    to: str | None = None,
    incident: str | None = None,
    automatic: bool = False,
    detail: str | None = None,
    alert: AlertMark | None = None,
    only: str | None = None,
    on_phase: Callable[[PhaseDone], None] = lambda _: None,
) -> RollbackReport:
    """Take back whatever is under way for `name`, and put `to` in the place of stable where that is bad as well.

    `to` is an earlier version that everybody had, or `base`; raises Usage, before anything is done, where it is
    neither. Otherwise it never raises: a failed phase is in the report. `only` is the served name that is meant: if
    another version began meanwhile, that one stays in ledger and routes.
    """
    taking_back = _TakingBack(world, name, reason, signature, to, incident, automatic, detail, on_phase)
    taking_back.alert, taking_back.only = alert, only
    return taking_back.run()


class _TakingBack:
    def __init__(
        self,
        world: World,
        name: str,
        reason: str,
        signature: Signature,
        to: str | None,
        incident: str | None,
        automatic: bool,
        detail: str | None,
        on_phase: Callable[[PhaseDone], None],
    ) -> None:
        self._world = world
        self._key = world.environment.flag_key(name)
        self._signature = signature
        self._to = to
        self._restored: Restored | None = None
        self._incident = incident
        self._automatic = automatic
        self._detail = detail
        self._on_phase = on_phase
        self.alert: AlertMark | None = None
        self.only: str | None = None
        self._began = world.clock.now()
        self._flag: FlagState | None = None
        self._flag_written_at: datetime = self._began
        self._book: Book | None = None
        self.report = RollbackReport(name=name, environment=world.environment.name, reason=reason)

    def run(self) -> RollbackReport:
        if self._to is not None:
            self._see_what_is_wanted()
        self._make_users_safe()
        if self._to is not None:
            self._try("servers", self._get_ready)
        self._try("ledger", self._record)
        if not self.report.phases[-1].ok:
            self._try("queue", self._remember)
        self._try("routes", self._close_the_routes)
        began, reverting = self._seconds(), begun(self._revert_the_manifest)
        in_time = bool(wait([reverting], timeout=_GIT_ALONE_S).done)
        if in_time:
            self._try("git", lambda: self._remember_the_revert(reverting), began=began)
        self._try("verify", self._verify)
        self._try("unload", self._unload)
        if not in_time:
            self._try("git", lambda: self._remember_the_revert(reverting), began=began)
        if self._world.notifiers:
            self._try("notify", self._tell)
        return self.report

    def _see_what_is_wanted(self) -> None:
        """Raises Usage. A ledger that cannot be read now keeps nobody from taking the candidate back."""
        with suppress(Unavailable, LedgerConflict):
            choose(self._world, self._open(), str(self._to))

    def _get_ready(self) -> str:
        """Nothing is recorded of what is to serve before every server has it; nobody is sent to it until then."""
        book = self._open()
        restored = choose(self._world, book, str(self._to))
        if restored is None:
            return f"{self._to} is stable already"
        said = make_ready(self._world, restored)
        self._restored = restored
        return said

    def _open(self) -> Book:
        """The ledger as it is now."""
        self._book = Book(self._world.ledger, self.report.name, self._signature)
        return self._book

    def _make_users_safe(self) -> None:
        """The flag; and where it fails, or has not answered within a moment, the gateways without it."""
        written = begun(self._take_the_flag_back)
        if not wait([written], timeout=_FLAG_ALONE_S).done or written.exception() is not None:
            self._try("gateways", self._tell_the_gateways)
        self._try("flag", lambda: _result(written), began=0.0)

    def _tell_the_gateways(self) -> str:
        """Both ways at once: hold the candidate at every gateway, and take it out of the routes."""
        with ThreadPoolExecutor(2) as threads:
            holding = threads.submit(self._hold)
            routes = threads.submit(self._world.routes.update, self._without_candidate)
        complaint = holding.result()
        if (error := routes.exception()) is not None:
            if complaint is not None:
                raise ServingUnavailable(f"{complaint}; routes: {error}", advice="Run the command again.")
            return "the candidate is held at every gateway"
        return "the routes name no candidate" + (
            f" ({complaint})" if complaint else "; it is held everywhere"
        )

    def _hold(self) -> str | None:
        """Why the candidate is not held at every gateway, or None."""
        by, reason = self._signature.actor, f"rollback: {self.report.reason}"[:300]
        found = hold(self._world.gateways, self.report.name, by=by, reason=reason)
        complaints = [f"not held at {each.gateway}: {each.complaint}" for each in found if each.complaint]
        return "; ".join(complaints) or (None if found else "there is no gateway to hold it at")

    def _try(self, phase: str, act: Callable[[], str], *, began: float | None = None) -> None:
        began = self._seconds() if began is None else began
        waits, advice, code = False, "", ""
        try:
            ok, detail = True, act()
        except RolloutError as error:
            ok, detail, waits = False, error.message, isinstance(error, RevertAwaitsMerge)
            advice, code = error.advice, error.code
        except (
            Exception
        ) as error:  # Whatever is broken here must not keep the next phase from making users safe.
            ok, detail = False, f"unexpected {type(error).__name__}: {error}"
        ended = self._seconds()
        done = PhaseDone(
            phase=phase,
            ok=ok,
            detail=detail,
            began_s=began,
            ended_s=ended,
            waits=waits,
            advice=advice,
            code=code,
        )
        self.report.phases.append(done)
        self._on_phase(done)

    def _seconds(self) -> float:
        return (self._world.clock.now() - self._began).total_seconds()

    def _take_the_flag_back(self) -> str:
        comment = f"rollback of {self.report.name}: {self.report.reason}"
        self._flag_written_at = self._world.clock.now()
        self._flag = self._world.flags.take_back(self._key, by=self._signature.actor, comment=comment[:500])
        return f"off, and stable for everyone (version {self._flag.version})"

    def _record(self) -> str:
        book = self._open()
        self.report.known = bool(book.entries) or self._flag is not None
        for _ in range(_APPENDS):
            state = book.state
            self.report.settling |= state.settling
            restored = self._restored if self._restored and self._restored.replaced == state.stable else None
            if state.candidate is None and restored is None:
                if (lost := why_lost(self._world, self.report.name, state)) is not None:
                    raise WorldChanged(lost)
                self._world.unrecorded.forget(self.report.name)
                return self._recognise(state)
            if self._is_another(state.candidate):
                raise WorldChanged(f"another version than {self.only} began meanwhile")
            try:
                book.add(RolledBack, self._world.clock.now(), **self._event(state, restored))
            except LedgerConflict:
                book.reread()  # A tick was faster; what it did is taken back as well.
            else:
                self._world.unrecorded.forget(self.report.name)
                self._recognise(book.state)
                return f"recorded; {' and '.join(self._bad_ones())} is quarantined"
        raise LedgerConflict(f"{_APPENDS} writers in a row were faster", advice="Run the command again.")

    def _remember(self) -> str:
        """What the ledger does not know yet it is told by the next tick on this machine, or by this command."""
        told = Unrecorded(
            name=self.report.name,
            environment=self.report.environment,
            at=self._world.clock.now(),
            actor=self._signature.actor,
            reason=self.report.reason,
            automatic=self._automatic,
            incident=self._incident,
            flag_written_at=self._flag_written_at if self._flag else None,
        )
        self._world.unrecorded.keep(told)
        return "kept on this machine, until the ledger can take it in"

    def _what_waited(self, state: RolloutState) -> Unrecorded | None:
        """What was done before, of the same release, while the ledger could not take it in."""
        with suppress(Unreadable):
            told = self._world.unrecorded.find(self.report.name)
            return told if told is not None and still_to_be_recorded(told, state) else None
        return None

    def _is_another(self, candidate: Version | None) -> bool:
        """Whether what is under way is not what was meant."""
        return candidate is not None and self.only not in (None, candidate.served_name)

    def _recognise(self, state: RolloutState) -> str:
        self.report.stable = state.stable
        if state.phase is not Phase.TAKEN_BACK or state.rolled_back is None:
            return "nothing was under way"
        self.report.bad = state.rolled_back.bad
        self._flag_written_at = state.rolled_back.flag_written_at
        return "recorded before"

    def _event(self, state: RolloutState, restored: Restored | None) -> dict[str, object]:
        told = self._what_waited(state)
        first = told.flag_written_at if told else None
        return {
            "reason": self.report.reason,
            "automatic": self._automatic,
            "waited_since": told.at if told else None,
            "bad": state.candidate or state.stable,
            "restored": restored,
            "incident": self._incident,
            "from_share": state.intent.share if state.intent else state.share,
            "flag_version": self._flag.version if self._flag else state.flag_version,
            "flag_written_at": first or self._flag_written_at,
            "detail": self._detail,
            "alert": self.alert,
        }

    def _close_the_routes(self) -> str:
        """The gateways' second way to safety: it holds even where the flag could not be written."""
        route = self._world.routes.read().routes.get(self.report.name)
        self.report.settling |= route is not None and route.stable == route.candidate
        if self._known is not None and self._is_another(self._known.candidate):
            return "left alone: another version began meanwhile"
        if self._known is None or self._known.candidate is not None:
            self._world.routes.update(self._without_candidate)
        else:
            assert self._book is not None
            publish(self._world, self._book, mirror=Share.ZERO, response_schema=self._form())
        return self._what_the_routes_say()

    def _form(self) -> dict[str, JsonValue] | None:
        """How answers of a restored version are formed; None: as what is in force says."""
        event = self._known.rolled_back if self._known else None
        with suppress(RolloutError):
            return form_of(self._world, event.restored) if event and event.restored else None
        return None

    @property
    def _known(self) -> RolloutState | None:
        """What the ledger says, if it could be read and knows of a beginning."""
        return self._book.state if self._book is not None and self._book.state.began else None

    def _without_candidate(self, routes: Routes) -> Routes:
        """The way where the ledger could not be read, or could not take the rollback in."""
        route = routes.routes.get(self.report.name)
        if route is None:
            return routes
        stable = route.stable
        if self._known is not None:
            known = self._known.stable
            stable = known.served_name if known else self._world.environment.server.base
        elif route.stable == route.candidate:
            raise WorldChanged(
                "the release was settling: without the ledger the older version is not known",
                advice="Name it by hand as `stable` in the routes document, then run the command again.",
            )
        closed = route.model_copy(update={"stable": stable, "candidate": None})
        return with_route(routes, self.report.name, closed)

    def _what_the_routes_say(self) -> str:
        """Read back: only what stands there keeps anybody safe."""
        routes = self._world.routes.read()
        route = routes.routes.get(self.report.name)
        if route is None:
            return "there is no route"
        if route.candidate is not None:
            raise WorldChanged(f"the routes still name {route.candidate}", advice="Run the command again.")
        return f"{route.stable} and no candidate (revision {routes.revision})"

    def _revert_the_manifest(self) -> Reversal | str:
        """What became of the manifest; or why there is nothing to revert. Records nothing, for it runs beside others."""
        if self._book is None:
            raise WorldChanged(
                "what to restore is not known without the ledger", advice="Run the command again."
            )
        state = self._book.state
        if state.candidate is not None:
            raise WorldChanged(_NOT_YET, advice="Run the command again.")
        event = state.rolled_back
        if state.phase is not Phase.TAKEN_BACK or event is None or event.bad is None:
            return "nothing to revert"
        return "reverted before" if state.reverted else revert(self._world, event, event.bad, state.stable)

    def _remember_the_revert(self, reverting: Future[Reversal | str]) -> str:
        try:
            reversal = reverting.result(timeout=_GIT_LONGEST_S)
        except FutureTimeout:
            raise RemoteUnavailable(
                f"git and its forge have not answered within {_GIT_LONGEST_S:.0f} s", advice="Run it again."
            ) from None
        if isinstance(reversal, str):
            return reversal
        self.report.pull = reversal.pull
        self.report.commit = None if reversal.newer else reversal.commit
        if reversal.commit is None:
            raise RevertAwaitsMerge(
                reversal.said, advice="Once it is merged, a tick or the same command says so."
            )
        fields = {"commit": reversal.commit, "branch": reversal.branch}
        if not self._add_once(Reverted, lambda state: state.reverted, **fields):
            return f"another rollback was faster: {reversal.commit[:12]} on {reversal.branch}"
        return reversal.said

    def _verify(self) -> str:
        """Wait until no gateway can route to the bad version any more and none of its answers is under way, and see
        that every server has what everybody is sent to instead."""
        flag = self._world.flags.read(self._key)
        if flag is not None and not flag.reach.is_nobody:
            # A late tick had turned it on, and will not do so twice; or the service is there by now.
            _result(begun(self._take_the_flag_back))
        if self._book is not None and self._book.state.candidate is not None:
            raise WorldChanged(_NOT_YET, advice="Run the command again.")
        if not (served := self._bad_ones()):
            return "the flag gives nothing to a candidate" if flag is not None else "there is no flag"
        state = self._book.state if self._book else None
        if state is not None and state.verified:
            return "verified before"
        if self._flag is None:
            raise FlagUnavailable(
                "the flag was not written, so nothing can be verified", advice="Run it again."
            )
        gone = wait_until_gone(self._world, self._flag, served, since=self._flag_written_at)
        see_that_it_is_served(self._world, self._known.stable if self._known else None)
        fields = {
            "last_routed_s": round(gone.last_routed_s, 3),
            "drained_s": round(gone.drained_s, 3),
            "verified_s": round(self._since_flag(), 3),
        }
        if self._book is not None and not self._add_once(Verified, lambda state: state.verified, **fields):
            return "another rollback was faster, and verified it"
        return (
            f"last request to {' or '.join(served)} routed {gone.last_routed_s:.3f} s after the flag write, "
            f"its last answer finished after {gone.drained_s:.3f} s"
        )

    def _bad_ones(self) -> tuple[str, ...]:
        """Served names of what was taken back: the candidate, and stable where that was replaced."""
        event = self._known.rolled_back if self._known else None
        replaced = event.restored.replaced if event and event.restored else None
        return tuple(dict.fromkeys(each.served_name for each in (self.report.bad, replaced) if each))

    def _unload(self) -> str:
        """What is gone from the gateways leaves the servers' memory; a version that begins anew stays."""
        state = self._book.reread() if self._book is not None else None
        if state is None or state.phase is not Phase.TAKEN_BACK or not state.verified:
            return "nothing: it is not verified yet that all is gone"
        served = self._bad_ones()
        if left := unload(self._world, served):
            raise ServingUnavailable("; ".join(left), advice="Run the command again, or let a tick do it.")
        return f"{' and '.join(served)} no server has any more" if served else "nothing"

    def _tell(self) -> str:
        """Whoever is to know is told, of what the ledger could not take in as well."""
        book = self._book
        if book is not None and book.state.phase is Phase.TAKEN_BACK:
            untold = tell_of_state(self._world, book)
        elif (told := self._world.unrecorded.find(self.report.name)) is not None:
            untold = tell(self._world, None, notice_of_unrecorded(told))
        else:
            return "nothing to tell"
        if untold:
            raise NotifyUnavailable("; ".join(untold), advice="Run the command again.")
        return ", ".join(each.name for each in self._world.notifiers)

    def _add_once(
        self, kind: type[Reverted] | type[Verified], known: Callable[[RolloutState], bool], **fields: object
    ) -> bool:
        """Record it, whoever else writes meanwhile; False if another rollback of the same release has it already."""
        book = self._book
        assert book is not None
        generation = book.state.generation
        for _ in range(_APPENDS):
            if known(book.state):
                return False
            try:
                event = book.add(kind, self._world.clock.now(), **fields)
            except LedgerConflict as error:
                if book.reread().generation != generation or isinstance(error, IllegalHistory):
                    raise
            else:
                if isinstance(event, Verified):
                    self.report.verified = event
                return True
        raise LedgerConflict(f"{_APPENDS} writers in a row were faster", advice="Run the command again.")

    def _since_flag(self) -> float:
        return (self._world.clock.now() - self._flag_written_at).total_seconds()


def _result(done: Future[str]) -> str:
    try:
        return done.result(timeout=_FLAG_LONGEST_S)
    except FutureTimeout:
        raise FlagUnavailable(
            f"the flag service has not answered within {_FLAG_LONGEST_S:.0f} s", advice="Run it again."
        ) from None
