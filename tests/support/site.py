"""A whole environment for tests of the use cases: real git, flag file, ledger, routes, shelf and traffic log.

Only the two things that need a network are stood in for, by honest implementations of their ports over files:
replicas that remember what they loaded, and a gateway that reads flag and routes as it is asked. Everything
lies in one folder, so that a test can copy it, let a child process die in it, and look again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import ClassVar

from rollout.core.evaluation import EvalReport
from rollout.core.lifecycle import Evaluated, RolloutState, Version, fold
from rollout.core.merging import conclude
from rollout.core.metric import RequestRecord
from rollout.core.ring import NAMED
from rollout.core.suite import Golden
from rollout.core.verdict import Outcome
from rollout.demo.scratch import ENVIRONMENT, MANIFEST, NAME, ScratchRepository
from rollout.errors import NotHeld, ServingUnavailable, Unreadable, Usage
from rollout.integrations.answercache import NoAnswers
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.git import CommitTree, GitRepository
from rollout.integrations.routesfile import RoutesFile
from rollout.integrations.shelf import AdapterShelf
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.ports import GatewayStatus, Message, ServedModel, TokenLogprobs, World
from rollout.usecases.adopt import adopt
from rollout.usecases.advance import advance
from rollout.usecases.book import Book, Signature
from rollout.usecases.contest import Contest, Means
from rollout.usecases.evaluate import evaluate
from rollout.usecases.release import find_desire, read_policy, version_of
from rollout.usecases.tick import Tick
from rollout.wiring import build_world, working_folder
from tests.support.recorded import RecordedEngine, SteppingClock, sound, write_adapter

SIGNATURE = Signature(actor="ann", environment=ENVIRONMENT)


class StillClock:
    """A clock that moves only when it is told to, or when somebody sleeps."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class PaperReplica:
    """A replica that writes down what it loaded. `refuses` and `dead` are files, so that children see them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.effect = 0.5

    @property
    def name(self) -> str:
        return self._file.stem

    def models(self) -> Sequence[ServedModel]:
        if self._file.with_suffix(".dead").exists():
            raise ServingUnavailable(f"replica {self.name} did not answer")
        base = ServedModel(name="base", root=None, parent=None)
        return [
            base,
            *(ServedModel(name=name, root=root, parent="base") for name, root in self._read().items()),
        ]

    def load(self, served_name: str, folder: Path) -> None:
        self._write({**self._read(), served_name: str(folder)})

    def unload(self, served_name: str) -> None:
        self._write({name: root for name, root in self._read().items() if name != served_name})

    def logprobs(self, model: str, messages: Sequence[Message], *, max_tokens: int) -> TokenLogprobs:
        shift = 0.0 if model == "base" else self.effect
        return TokenLogprobs(tokens=("a", "b"), logprobs=(-0.1 - shift, -0.2 - shift))

    def _read(self) -> dict[str, str]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def _write(self, models: dict[str, str]) -> None:
        temporary = self._file.with_suffix(f".{os.getpid()}.new")  # Two processes may write at once.
        temporary.write_text(json.dumps(models))
        temporary.replace(self._file)


class PaperGateway:
    """A gateway that has always just read flag and routes, unless it is `deaf`."""

    def __init__(self, flags: FlagFile, routes: RoutesFile, key: str) -> None:
        self._flags, self._routes, self._key = flags, routes, key
        self.deaf = False
        self.dead = False
        self.without_token = False
        self.flag_environment: str | None = None
        self.held: tuple[str, ...] = ()
        self.in_flight: dict[str, int] = {}
        self.last_routed: dict[str, float] = {}

    @property
    def name(self) -> str:
        return "g0"

    def hold(self, *, by: str, reason: str, served: str | None = None, name: str | None = None) -> str:
        self._answer()
        if self.without_token:
            raise Usage("gateway g0 does not take the token")
        served = served or (name and self._routes.read().routes[name].candidate)
        if served is None:
            raise Unreadable(f"there is no candidate of {name}")
        self.held = tuple(sorted({*self.held, served}))
        return served

    def lift(self, served: str) -> None:
        self._answer()
        if served not in self.held:
            raise NotHeld(f"{served} is not held")
        self.held = tuple(each for each in self.held if each != served)

    def _answer(self) -> None:
        if self.dead:
            raise ServingUnavailable("gateway g0 did not answer")

    def status(self) -> GatewayStatus:
        self._answer()
        flag = None if self.deaf else self._flags.read(self._key)
        return GatewayStatus(
            routes_revision=0 if self.deaf else self._routes.read().revision,
            flag_versions={} if flag is None else {self._key: flag.version},
            flag_age_s=0.0,
            in_flight=self.in_flight,
            last_routed=self.last_routed,
            held=self.held,
            flag_environment=self.flag_environment,
        )


class ReadOnce(CommitTree):
    """The files of a commit, each asked for once by all sites of a process: a commit is the same in every clone."""

    _bytes: ClassVar[dict[tuple[str, PurePosixPath], bytes]] = {}
    _there: ClassVar[dict[tuple[str, PurePosixPath], bool]] = {}
    _below: ClassVar[dict[tuple[str, PurePosixPath, str], tuple[PurePosixPath, ...]]] = {}

    def read(self, path: PurePosixPath) -> bytes:
        key = (self.commit, path)
        if key not in self._bytes:
            self._bytes[key] = super().read(path)
        return self._bytes[key]

    def exists(self, path: PurePosixPath) -> bool:
        key = (self.commit, path)
        if key not in self._there:
            self._there[key] = super().exists(path)
        return self._there[key]

    def files(self, folder: PurePosixPath, suffix: str) -> Iterator[PurePosixPath]:
        key = (self.commit, folder, suffix)
        if key not in self._below:
            self._below[key] = tuple(super().files(folder, suffix))
        return iter(self._below[key])


class ReadOnceRepository(GitRepository):
    """A clone whose commits are `ReadOnce`; which commit is meant, git is asked each time."""

    def at(self, reference: str) -> CommitTree:
        return ReadOnce(self, super().at(reference).commit)

    def tree(self) -> CommitTree:
        return ReadOnce(self, super().tree().commit)


class Site:
    """One environment in one folder."""

    def __init__(self, folder: Path, clock: StillClock | None = None) -> None:
        self.folder = folder
        self.repository = ScratchRepository(folder)
        self.clock = clock or StillClock()
        built = build_world(self.repository.root, ENVIRONMENT)
        key = built.environment.flag_key(NAME)
        self.key = key
        flags = FlagFile(self.repository.state / "flags.json")
        routes = RoutesFile(self.repository.state / "routes.json", ENVIRONMENT)
        self.gateway = PaperGateway(flags, routes, key)
        self.replica = PaperReplica(self.repository.state / "r0.json")
        self.world: World = replace(
            built,
            clock=self.clock,
            manifests=ReadOnceRepository(
                self.repository.root, branch=built.environment.branch, remote=built.environment.remote
            ),
            flags=flags,
            routes=routes,
            replicas=(self.replica,),
            gateways=(self.gateway,),
        )

    @classmethod
    def create(cls, folder: Path) -> Site:
        """A repository with 1.0.0 on main, adopted."""
        repository = ScratchRepository(folder)
        repository.create(server=1, gateway=1)
        # One file instead of five hundred, in five hundred folders, that each copy would take along.
        repository.git("repack", "-q", "-a", "-d")
        site = cls(folder)
        # The log must exist before the first edge is asked for.
        TrafficLogRecorder(site.repository.state / "traffic.sqlite").close()
        adopt(site.world, NAME, signature=SIGNATURE)
        return site

    def copy(self, folder: Path) -> Site:
        """The same environment in another folder: every path in its documents and its clone follows."""
        shutil.copytree(self.folder, folder, symlinks=True)
        copied = object.__new__(Site)
        moved = str(self.folder), str(folder)
        for path in (
            folder / "repo/policies/environments/demo.yaml",
            folder / "repo/.git/config",
            folder / "state/r0.json",
        ):
            path.write_text(path.read_text().replace(*moved))
        copied.__init__(folder, StillClock())  # type: ignore[misc]
        copied.clock.time = self.clock.time
        return copied

    @property
    def state(self) -> RolloutState:
        return fold(self.world.ledger.read(NAME))

    @property
    def served(self) -> str:
        return working_folder(self.repository.root).manifest_named(NAME).value.served_name

    def propose(self, version: str, *, evaluate: bool = True) -> str:
        """Merge a version, evaluated or not; the answer is its served name."""
        self.repository.pull()
        self.repository.merge(self.repository.propose(version, f"version {version}"))
        if evaluate:
            self.record_evaluation()
        return self.served

    def record_evaluation(self, outcome: Outcome = Outcome.PASS) -> None:
        """What `rollout evaluate --record` leaves in the ledger."""
        desire = find_desire(self.world, NAME)
        assert desire is not None
        policy = read_policy(self.world, desire.manifest.value, desire.policy_commit)
        book = Book(self.world.ledger, NAME, SIGNATURE)
        champion = book.state.champion
        version = version_of(desire.manifest, desire.version.commit)
        book.add(
            Evaluated,
            self.clock.now(),
            identity=version.identity,
            served_name=version.served_name,
            champion=champion.identity if champion else None,
            outcome=outcome,
            report=self.world.evidence.put(report_on(version, policy.golden, first=champion is None).content),
            suite_digest=policy.golden.suite_digest,
            gates_digest=policy.golden.gates_digest,
        )

    def tick(self) -> Tick:
        return advance(self.world, NAME, signature=SIGNATURE, gatekeeper=lambda *_: None)

    def tick_after(self, seconds: float = 0.0) -> Tick:
        self.clock.time += timedelta(seconds=seconds)
        return self.tick()

    def answer(
        self,
        *,
        stable: int = 0,
        candidate: int = 0,
        bad: int = 0,
        shadow: bool = False,
        strangers: bool = False,
        ring: bool = False,
        now: bool = False,
    ) -> None:
        """Let the gateway have answered: `bad` of the candidate's answers are malformed, and all are a `ring`'s.

        Its rows are as old as the site, or of `now`.

        Whoever asks often asks again: there are as many users of each version as the share says, at most; of
        `strangers` each asks once.
        """
        state = self.state
        crowds = users_of(0 if strangers else state.share.fraction, stable, candidate)
        log = TrafficLogRecorder(self.repository.state / "traffic.sqlite")
        old = state.stable.served_name if state.stable else "base"
        new = state.candidate.served_name if state.candidate else "none"
        version, at = state.flag_version, (self.clock if now else StillClock()).time.timestamp()
        for number in range(stable):
            key, request = f"s{number % crowds[0]}", f"s{number}-{id(log)}"
            log.record(record(request, old, mirrored=shadow, key=key, flag_version=version, routed_at=at))
        for number in range(candidate):
            pair = f"s{number}-{id(log)}" if shadow else None
            key = f"c{number % crowds[1]}"
            log.record(
                record(
                    f"c{number}-{id(log)}",
                    new,
                    valid=number >= bad,
                    shadow=shadow,
                    pair=pair,
                    key=key,
                    flag_version=version,
                    reason=NAMED if ring else "FALLTHROUGH",
                    routed_at=at,
                )
            )
        log.close()

    def walk_to(self, share: str) -> None:
        """Tick, with perfect answers of both arms, until the candidate has `share`."""
        for _ in range(30):
            if str(self.state.share) == share:
                return
            self.answer_well()
            self.tick_after(4)
        raise AssertionError(f"never reached {share}: {self.state}")

    def answer_well(self) -> None:
        """Enough perfect answers for whatever stage it is."""
        if self.state.phase == "shadow":
            self.answer(stable=120, candidate=120, shadow=True)
        else:
            alone = self.state.reach.is_ring_alone
            self.answer(stable=0 if str(self.state.share) == "100%" else 400, candidate=120, ring=alone)


_PASSING: dict[tuple[str, str, bool], EvalReport] = {}


def report_on(version: Version, golden: Golden, *, first: bool = False) -> EvalReport:
    """A real report on this suite that passes, made out to a version; `first` has no champion."""
    key = (golden.suite_digest, golden.gates_digest, first)
    if key not in _PASSING:
        _PASSING[key] = _passing(golden, first=first)
    passing = _PASSING[key]
    named = {"version": version.version, "served_name": version.served_name, "identity": version.identity}
    subject = passing.subject
    made_out = subject.model_copy(update={"candidate": subject.candidate.model_copy(update=named)})
    return passing.model_copy(update={"quality": passing.quality.model_copy(update={"subject": made_out})})


def _passing(golden: Golden, *, first: bool) -> EvalReport:
    """Champion and candidate that say what the references say, on the real suite."""
    right = {item.turns[-1].content: item.reference for item in golden.items}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        champion, candidate = write_adapter(root, "0.1.0"), write_adapter(root, "0.2.0")
        engine = RecordedEngine(
            {
                None: dict.fromkeys(right, "Thank you for your message."),
                champion.served_name: right,
                candidate.served_name: right,
            },
            milliseconds=5,
        )
        contest = Contest(
            candidate=candidate,
            champion=None if first else champion,
            golden=golden,
            command="rollout evaluate",
        )
        parts = evaluate(
            [contest],
            Means(
                open_engine=lambda: engine, cache=NoAnswers(), reference=lambda: replace(engine, loaded={})
            ),
            shelf=AdapterShelf(root / "shelf", locate=lambda artifact: root / artifact.uri),
            inspect=sound,
            clock=SteppingClock(),
            tool="0",
        )
    report = conclude(parts)
    assert report.outcome is Outcome.PASS, [
        verdict for verdict in report.verdicts if verdict.outcome != "pass"
    ]
    return report


def users_of(share: float, stable: int, candidate: int) -> tuple[int, int]:
    """How many users of each version there are behind so many requests, at this share; one at least."""
    if not 0 < share < 1:
        return max(1, stable), max(1, candidate)
    everybody = min(stable / (1 - share), candidate / share)
    return max(1, round(everybody * (1 - share))), max(1, round(everybody * share))


def record(
    request: str,
    served: str,
    *,
    valid: bool = True,
    shadow: bool = False,
    mirrored: bool = False,
    pair: str | None = None,
    key: str = "k",
    flag_version: int = 1,
    reason: str = "FALLTHROUGH",
    routed_at: float = 1_772_366_400.0,
) -> RequestRecord:
    """One answered request."""
    return RequestRecord(
        request_id=request,
        name=NAME,
        served=served,
        slot="stable",
        shadow=shadow,
        mirrored=mirrored,
        pair=pair,
        keyed=True,
        key_hash=key,
        flag_version=flag_version,
        flag_reason=reason,
        routed_at=routed_at,
        first_byte_ms=10.0,
        latency_ms=20.0,
        status=200,
        error=None,
        format_valid=valid,
        completion_tokens=10,
        output_chars=40,
    )


def manifest_on_main(site: Site) -> bytes:
    """The manifest as the remote has it."""
    return site.world.manifests.tree().read(PurePosixPath(MANIFEST))
