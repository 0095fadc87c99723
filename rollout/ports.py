"""The outside world, as the use cases and the gateway see it: one Protocol a system, and the values it returns.

Every method may raise `rollout.errors.Unavailable`; anything else that it raises is named in its docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol

from rollout.core import approval
from rollout.core.document import D, Located
from rollout.core.environment import Environment
from rollout.core.exposure import Exposure
from rollout.core.flag import FlagState, Slot
from rollout.core.flagcheck import FlagCheck
from rollout.core.lifecycle import Anchored, LedgerEntry, LedgerEvent, RolloutState
from rollout.core.manifest import AdapterManifest, Artifact
from rollout.core.metric import Comparison, Copies, Feedback, MetricSpec, Pair, RequestRecord, Samples, Texts
from rollout.core.notice import Notice
from rollout.core.occasion import Occasion
from rollout.core.plan import Share
from rollout.core.pullrequest import PullRequest
from rollout.core.revertproposal import RevertProposal
from rollout.core.ring import NOBODY
from rollout.core.routes import Routes
from rollout.core.shadow.question import Question
from rollout.core.traces import Commit, FlagAudit, Traffic
from rollout.core.unrecorded import Unrecorded
from rollout.errors import LedgerConflict


class Clock(Protocol):
    """The time of day."""

    def now(self) -> datetime:
        """The current time, in UTC and aware of it."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class FlagStore(Protocol):
    """The writing side of the dial. Shares are absolute, so that a replay is harmless.

    Every method may raise FlagUnavailable (nothing is known of what was asked for, or nothing was done), FlagDenied
    (refused for good) and WorldChanged (the flag is not as we write it).
    """

    def read(self, key: str) -> FlagState | None:
        """The flag now, or None if there is no such flag.

        Raises WorldChanged if the flag has other variations than `stable`, `candidate`, in this order.
        """
        ...

    def create(self, key: str, *, by: str) -> FlagState:
        """Make the flag: two slots, stable first, off. An existing flag is left as it is and returned."""
        ...

    def write(
        self,
        key: str,
        share: Share,
        *,
        turn_on: bool,
        expect_version: int | None,
        by: str,
        comment: str,
        release: str = "",
        ring: frozenset[str] = NOBODY,
    ) -> FlagState:
        """Set the fallthrough to `share` (100 % as the plain candidate, 0 % as the plain stable variation).

        The users of `ring`, by their keys, get the candidate whatever the share is; nobody else is named after it.
        A store that cannot tell them from users who are drawn raises WorldChanged for a ring.

        `turn_on` belongs to the first write of a release only. Raises FlagConflict if `expect_version` is
        given and the flag has moved past it, or if somebody else wrote while we did: then the flag was taken back,
        for nobody knows what they had said. Raises FlagAwaitsApproval where somebody has to approve it first (the same call
        later writes it, once approved), FlagPendingChange where it would break what somebody else has planned.
        `release` names what the share is for: what was approved for one release is never applied for another.
        """
        ...

    def preview(self, key: str, share: Share, *, turn_on: bool, ring: frozenset[str] = NOBODY) -> FlagState:
        """What `write` would make of the flag as it is now. Writes nothing."""
        ...

    def checks(self, key: str) -> Sequence[FlagCheck]:
        """Whether the flag can be trusted as a dial: never raises for what it finds, and finds at least one thing."""
        ...

    def take_back(self, key: str, *, by: str, comment: str) -> FlagState:
        """Off and fallthrough stable, in one patch, without a ring. Always allowed, never compared with a version.

        A flag that is already so is left alone (its version does not move). What we had asked others to approve is
        withdrawn.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotDecision:
    """What the flag says for one request. `version` is None if there is no such flag."""

    slot: Slot
    version: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagDataStatus:
    """How fresh the reader's flags are. `age_s` counts from the last successful load.

    `source` names where they come from (`file`, `stream`, `last-good`, `openfeature`); `environment` is the id that
    LaunchDarkly gives to the environment of an SDK key, None elsewhere or as long as it is not known.
    """

    ready: bool
    age_s: float
    error: str | None
    versions: Mapping[str, int]
    source: str = "file"
    environment: str | None = None


class FlagReader(Protocol):
    """The reading side of the dial, in the gateway: in memory, never blocking, never raising."""

    def slot(self, key: str, context_key: str | None) -> SlotDecision:
        """The slot for a request; `stable` on any doubt. Without a context key, the flag's unkeyed answer."""
        ...

    def age_s(self, key: str) -> float:
        """Seconds since what is in force was last confirmed to be what the flag says; infinite if never."""
        ...

    def status(self) -> FlagDataStatus:
        """How fresh the data is."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...


class TrafficRecorder(Protocol):
    """Where the gateway leaves one row a request. Never blocks the request."""

    def record(self, request: RequestRecord, texts: Texts | None = None) -> None:
        """Take one row, to be written soon, with its texts where they are to be kept."""
        ...

    def tell(self, feedback: Feedback) -> None:
        """Take what was said of an answer, to be joined to the row of that request."""
        ...

    def close(self) -> None:
        """Write what is left and stop."""
        ...


class TrafficReader(Protocol):
    """What a traffic log holds beside counts."""

    def records(self, *, after: int, limit: int) -> Sequence[tuple[int, RequestRecord]]:
        """Rows behind the id `after`, oldest first, at most `limit`, each with its id."""
        ...

    def pairs(self, comparison: Comparison, *, since: float, limit: int) -> Iterator[Pair]:
        """Complete pairs whose copy was routed at `since` (Unix seconds) or later, newest first."""
        ...


class ShadowTraffic(Protocol):
    """What was copied of an adapter's traffic, and what its users asked."""

    def pairs(self, comparison: Comparison, *, since: float, limit: int) -> Iterator[Pair]:
        """Complete pairs whose copy was routed at `since` (Unix seconds) or later, newest first."""
        ...

    def copies(self, comparison: Comparison, *, since: float) -> Copies:
        """What became of stable's requests that were routed at `since` or later."""
        ...

    def questions(self, name: str, *, since: float) -> Iterator[Question]:
        """What users asked under a logical name at `since` or later and whose texts were kept, oldest first."""
        ...


class MetricSource(Protocol):
    """Where samples come from. Edges are opaque strings of the source's own clock."""

    def edge(self) -> str:
        """The edge of now: the end of one look and the beginning of the next."""
        ...

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """Counts of both arms in (since, until]. An arm without any request has `Counts(total=0, bad=0)`."""
        ...

    def exposure(self, comparison: Comparison, *, since: str, until: str, flag_version: int) -> Exposure:
        """Who was served what in (since, until] by decisions of `flag_version` or a newer one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One entry of a replica's model list. `root` is the path it was loaded from."""

    name: str
    root: str | None
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """Greedy tokens of one completion with their log-probabilities (natural logarithm)."""

    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]


class Serving(Protocol):
    """One replica that serves the base and its adapters over the OpenAI protocol with vLLM's LoRA routes."""

    @property
    def name(self) -> str:
        """The replica's name in the environment document."""
        ...

    def models(self) -> Sequence[ServedModel]:
        """What it serves now."""
        ...

    def load(self, served_name: str, folder: Path) -> None:
        """Load an adapter. Loaded already from the same folder is success; LoadRefused is final."""
        ...

    def unload(self, served_name: str) -> None:
        """Forget an adapter. One that is not there is success."""
        ...

    def logprobs(self, model: str, messages: Sequence[Message], *, max_tokens: int) -> TokenLogprobs:
        """Greedy answer to a chat with log-probabilities, for the proof of effect.

        Raises LoadRefused if the model answers with values that are not finite.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One answer to be generated. `adapter` is a name given to `Engine.load`; None is the base.

    What is asked is a conversation, or a `prompt` to be continued as it is, without a chat template; then there are
    no messages. Temperature 0 is greedy; above it, the same seed gives the same answer on the same engine.
    """

    id: str
    messages: tuple[Message, ...]
    adapter: str | None
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One answer. `finish_reason` is `stop` or `length`; `completion_tokens` counts the end token too.

    `logprob_sum` is the natural log-probability of the chosen tokens together. An adapter whose outputs are
    not finite gives `nan` there, and its text means nothing.
    """

    id: str
    adapter: str | None
    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    logprob_sum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedGeneration:
    """One answer that was generated alone: `seconds` from the prompt's text to the answer's.

    `first_token_s` is the time to the first token, None where the engine cannot tell.
    """

    generation: Generation
    seconds: float
    first_token_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodRequest:
    """A fixed answer whose probability is asked for: `continuation` behind the conversation or prompt, teacher-forced."""

    id: str
    messages: tuple[Message, ...]
    continuation: str
    adapter: str | None
    prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """How an adapter reads a fixed answer, token by token.

    `logprobs` are the natural log-probabilities of the continuation's tokens. `top` holds, for each of them, the
    likeliest tokens at its place as (token id, log-probability), at most 20, likeliest first; it is empty where
    the engine cannot tell. Values are not finite where the adapter is not: the caller must check.
    """

    id: str
    adapter: str | None
    logprobs: tuple[float, ...]
    top: tuple[tuple[tuple[int, float], ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What generated the answers, for the report: two runs compare only where this is the same.

    `details` are further versions and settings that can change an answer (packages, adapter slots, seed of the
    engine); `hardware` names the processor or the GPU.
    """

    name: str
    version: str
    dtype: str
    quantization: str
    device: str
    hardware: str
    threads: int
    batch_size: int
    details: Mapping[str, str]


class Codec(Protocol):
    """The base's tokenizer and chat template: with the same one, all engines are given the same prompts."""

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokenizer's own end token; the model may have further ones."""
        ...

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Tokens of a conversation, up to where the assistant begins. Raises Unreadable if the template refuses it."""
        ...

    def encode_continuation(self, text: str) -> tuple[int, ...]:
        """Tokens of a text that follows others, without special tokens."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer, without special tokens."""
        ...


class Engine(Protocol):
    """Base and adapters side by side, for evaluation."""

    def load(self, adapters: Mapping[str, Path]) -> None:
        """Load adapters by name from their folders, beside those already loaded.

        The files must have been inspected: an engine may accept weights that spoil its other answers. Raises
        Unreadable if files are missing or damaged, LoadRefused if the engine does not take an adapter, or under
        a name that is taken by another folder.
        """
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Answer all requests in batches of mixed adapters, each yielded as soon as it is done, in any order.

        The same sequence of requests in a fresh or an idle engine gives the same answers. Raises Unreadable for
        an adapter that was not loaded, or a prompt that is longer than the context.
        """
        ...

    def time(self, requests: Sequence[GenerationRequest]) -> Iterator[TimedGeneration]:
        """Answer one request at a time, in order, each with the time that it took alone."""
        ...

    def likelihoods(self, requests: Sequence[LikelihoodRequest]) -> Iterator[Likelihood]:
        """Read fixed answers, in order. Raises Unsupported if the engine cannot score fixed texts."""
        ...

    def describe(self) -> EngineInfo:
        """Versions and settings."""
        ...

    def close(self) -> None:
        """Give back memory and whatever was loaded; closing twice is harmless."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """What a gateway says of itself. Times are Unix seconds."""

    routes_revision: int
    flag_versions: Mapping[str, int]
    flag_age_s: float
    in_flight: Mapping[str, int]
    last_routed: Mapping[str, float]
    held: tuple[str, ...] = ()
    flag_source: str = "file"
    flag_environment: str | None = None

    def has_heard(self, key: str, flag_version: int, revision: int) -> bool:
        """Whether it decides by this version of the flag and this revision of the routes, or newer ones."""
        return self.flag_versions.get(key, -1) >= flag_version and self.routes_revision >= revision


class Gateway(Protocol):
    """One gateway, asked over HTTP."""

    @property
    def name(self) -> str:
        """The gateway's name in the environment document."""
        ...

    def status(self) -> GatewayStatus:
        """Which routes and flags it uses, and when it last routed to each served adapter."""
        ...

    def hold(self, *, by: str, reason: str, served: str | None = None, name: str | None = None) -> str:
        """Send all traffic of an adapter, or of the candidate of a logical name, to stable; the answer is its served
        name. Raises RolloutError."""
        ...

    def lift(self, served: str) -> None:
        """Lift a hold. Raises NotHeld if there is none, RolloutError otherwise."""
        ...


class RoutesStore(Protocol):
    """The one routes document of an environment."""

    def read(self) -> Routes:
        """The document; an empty one (revision 0) if there is none yet."""
        ...

    def update(self, change: Callable[[Routes], Routes]) -> Routes:
        """Replace it atomically by what `change` makes of it, while nobody else can write; the answer is the result.

        A `change` that gives back the very same document writes nothing.
        """
        ...


class Ledger(Protocol):
    """What happened and why, per environment and adapter: append-only, hash-chained."""

    def read(self, name: str) -> tuple[LedgerEntry, ...]:
        """All entries of one adapter, oldest first, verified. Raises LedgerConflict if the chain is broken."""
        ...

    def append(self, name: str, event: LedgerEvent, *, after: str | None) -> LedgerEntry:
        """Add one event behind the entry whose hash is `after` (None: the first).

        Raises LedgerConflict if another entry came first.
        """
        ...

    def read_all(self) -> Iterator[tuple[str, tuple[LedgerEntry, ...] | LedgerConflict]]:
        """`read` of every adapter by name, from one look at the whole; a broken one is given as its error."""
        ...

    def states(self) -> Iterator[tuple[str, RolloutState | LedgerConflict]]:
        """The fold of every adapter's history by name, in any order, from one look at the whole.

        What has not changed since this machine folded it is not read again.
        """
        ...

    def verify(self, name: str, *, before: tuple[LedgerEntry, ...] = ()) -> tuple[LedgerEntry, ...]:
        """`read`, behind archived entries `before`, with the signature of each verified and not only the last."""
        ...

    def anchor(self, name: str, event: Anchored, *, after: str) -> LedgerEntry:
        """Put one entry in the place of all that it stands for, which end with the entry whose hash is `after`.

        Raises LedgerConflict if another entry came first.
        """
        ...

    def names(self) -> tuple[str, ...]:
        """The adapters that have a ledger."""
        ...

    def strays(self) -> Mapping[str, str]:
        """What is wrong where ledgers lie and shows in none of `names`, as it may be told to people, and why it is."""
        ...

    def still(self) -> Ledger:
        """The same as it is now, for readers of many: what is read there is of one moment, by one look at the whole."""
        ...

    def lease(self, name: str) -> AbstractContextManager[None]:
        """Be the only tick of this adapter. Raises Busy if another one runs; ends with the process."""
        ...


class UnrecordedRollbacks(Protocol):
    """Rollbacks of this machine that the ledger could not take in yet. Names are those of adapters."""

    def keep(self, told: Unrecorded) -> None:
        """Remember it; the first one of an adapter stays, for it says when users were made safe. Raises Unavailable."""
        ...

    def find(self, name: str) -> Unrecorded | None:
        """What waits of an adapter. Raises Unreadable for what is none."""
        ...

    def forget(self, name: str) -> None:
        """The ledger knows, or it does not matter any more."""
        ...


class Notifier(Protocol):
    """Somebody who is told of what happens."""

    @property
    def name(self) -> str:
        """Its name in the environment document."""
        ...

    @property
    def occasions(self) -> frozenset[Occasion]:
        """What it wants to be told of."""
        ...

    def send(self, notice: Notice) -> None:
        """Tell it; the same notice may come twice, with the same id. Raises NotifyUnavailable and NotifyDenied."""
        ...


class ArtifactStore(Protocol):
    """Evidence, addressed by its sha256."""

    def put(self, content: bytes) -> str:
        """Keep it where every machine finds it; the answer is its digest. Keeping it twice changes nothing.

        Raises Unavailable where that cannot be done now, and Unsupported for what is too large.
        """
        ...

    def queue(self, content: bytes) -> str:
        """Keep it on this machine, without waiting for anybody: every machine finds it after the next `put` or `flush`."""
        ...

    def flush(self) -> None:
        """Bring all that was queued on this machine where every other finds it. Raises Unavailable; it waits on then."""
        ...

    def get(self, digest: str) -> bytes:
        """The content. Raises Unreadable if it is missing or does not match its digest, Unavailable where nobody answers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One file on its way from outside.

    `start` is the offset of the first byte that comes: the one asked for, or 0 where the source cannot resume.
    `size` is that of the whole file in bytes, None where the source does not say.
    """

    start: int
    size: int | None
    chunks: Iterator[bytes] = field(repr=False)


class ArtifactSource(Protocol):
    """The folder of one artifact outside, read file by file."""

    def open(self, name: str, offset: int) -> AbstractContextManager[Download]:
        """Begin to read one file at `offset` bytes.

        Raises Unreadable if it is not there or must not be read: a retry will not help. Raises Unavailable
        where one may, also while the chunks are read.
        """
        ...


class ModelSigner(Protocol):
    """Whoever signs adapters in the form of OpenSSF model signing: a key, or an identity."""

    def require_in_order(self, folder: Path, artifact: Artifact) -> None:
        """Raise Unreadable unless the folder holds exactly the artifact's files, besides a signature."""
        ...

    def has_signed(self, folder: Path, artifact: Artifact) -> bool:
        """Whether the folder holds this signer's signature over exactly the artifact's files."""
        ...

    def sign(self, folder: Path, artifact: Artifact) -> bytes:
        """A detached signature over exactly the artifact's files.

        Raises Unreadable if they, the key or the identity are not in order.
        """
        ...


class AnswerCache(Protocol):
    """Answers that were generated before, under everything that they depend on (`core.answerkey`)."""

    def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Those of the keys that are there."""
        ...

    def put(self, records: Mapping[str, bytes]) -> None:
        """Keep all of them or, if the process dies, none; durable when this returns."""
        ...


class Documents(Protocol):
    """Reads YAML documents into core types, strictly, with the place of every field."""

    def read(self, content: bytes, model: type[D], *, source: str) -> Located[D]:
        """One document. Raises DocumentErrors with every problem; `source` names the file in them."""
        ...


class Shelf(Protocol):
    """Where verified adapters lie for the servers: one immutable folder a served name."""

    def lay_down(self, manifest: AdapterManifest) -> Path:
        """The folder of exactly the manifest's bytes, copied there and verified if it was not yet.

        Raises Unreadable if a file is missing or does not have its digest.
        """
        ...

    def folder(self, served_name: str) -> Path:
        """Where a served name lies, or would lie."""
        ...


class Tree(Protocol):
    """The files of the repository at one commit, or of a working folder."""

    @property
    def commit(self) -> str | None:
        """40 hex digits, or None for a working folder."""
        ...

    def read(self, path: PurePosixPath) -> bytes:
        """One file. Raises Unreadable if it is not there, is not a plain file or lies outside."""
        ...

    def exists(self, path: PurePosixPath) -> bool:
        """Whether there is such a plain file."""
        ...

    def files(self, folder: PurePosixPath, suffix: str) -> Iterator[PurePosixPath]:
        """The plain files below a folder whose names end so, sorted. No folder, no files."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """The commit that brought a manifest back. `commit` is None where nothing had to be changed."""

    commit: str | None
    branch: str
    pushed: bool


class Manifests(Protocol):
    """The manifests in git."""

    def tree(self) -> Tree:
        """The tree at the tip of the environment's branch, as the remote has it."""
        ...

    def at(self, commit: str) -> Tree:
        """The tree at a commit."""
        ...

    def last_change(self, path: PurePosixPath) -> str:
        """The commit that last touched a file, seen from the tip of the branch."""
        ...

    def first_parent(self, commit: str) -> str | None:
        """The commit before it, or None for the first."""
        ...

    def restore(self, path: PurePosixPath, *, content: bytes | None, bad: bytes, message: str) -> Revert:
        """Put `content` back in a commit of its own, pushed to the branch; None deletes the file.

        Only a file that still reads `bad` is touched: a newer change by someone else is left alone and is
        raised as WorldChanged. A lost race is tried again on the new tip, never forced. Raises PushRefused where
        the remote does not take it.
        """
        ...

    def propose(
        self, path: PurePosixPath, *, content: bytes | None, bad: bytes, message: str, branch: str
    ) -> Revert:
        """The same on another branch, to be merged; one that brings it back already is left as it is.

        What others have put on that branch is built upon, never overwritten. Nothing is done where the
        environment's branch reads `content` already.
        """
        ...

    def proposed(self, branch: str) -> str | None:
        """The tip of another branch, as the remote has it; None if there is no such branch."""
        ...


class Forge(Protocol):
    """Where pull requests are. Every method may raise ForgeUnavailable, and ForgeDenied for what is refused for good.

    Each can be repeated: what is so already is left alone.
    """

    def find(self, branch: str) -> PullRequest | None:
        """The pull request of a branch of the repository itself: the open one, else the newest. None if there is none."""
        ...

    def open(self, proposal: RevertProposal) -> PullRequest:
        """Open one of the proposal's branch, or find the one that somebody else has opened meanwhile."""
        ...

    def merge_when_ready(self, pull: PullRequest, proposal: RevertProposal) -> PullRequest:
        """Have it merged: now if nothing is left to wait for, else as soon as that is so.

        Where the forge does not do that, the answer says why. Nothing but its present head is ever merged.
        """
        ...

    def close(self, pull: PullRequest) -> None:
        """Close an open one without merging it."""
        ...

    def comment(self, pull: PullRequest, text: str, *, key: str) -> None:
        """Say something in Markdown, once for each `key`: a word of a-z, 0-9 and -, which is not shown."""
        ...

    def reviewed(self, commit: str, *, team: str) -> approval.PullRequest | None:
        """Who made and who approved what a commit brought to the branch; None where no one pull request did.

        `team` is the one of which the author may be a member.
        """
        ...


class CommitLog(Protocol):
    """What git tells of commits."""

    def commit(self, commit: str) -> Commit:
        """One commit, by its whole id. Raises Unreadable if it is not there."""
        ...


class FlagHistory(Protocol):
    """What a flag store tells of the past."""

    def audit(self, key: str, *, since: datetime, until: datetime) -> FlagAudit:
        """The flag's changes in that time, and what is not told of them. Raises WorldChanged for what cannot be read."""
        ...


class TrafficHistory(Protocol):
    """Requests of users in a time that is over."""

    def around(
        self,
        name: str,
        served: Sequence[str],
        *,
        since: datetime,
        until: datetime,
        counted_from: datetime,
        edge: str | None,
    ) -> Traffic:
        """What each of `served` answered under a logical name: from `counted_from` on, and by time from `since` on.

        `edge` is one of the metric source's from before `counted_from`: if it is of this log, and nothing behind it was
        removed, the log is whole. Raises MetricsUnavailable where there is no log.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside, for one environment: what a use case is given."""

    environment: Environment
    clock: Clock
    flags: FlagStore
    metrics: MetricSource
    replicas: tuple[Serving, ...]
    gateways: tuple[Gateway, ...]
    routes: RoutesStore
    ledger: Ledger
    evidence: ArtifactStore
    manifests: Manifests
    documents: Documents
    shelf: Shelf
    unrecorded: UnrecordedRollbacks
    notifiers: tuple[Notifier, ...] = ()
    forge: Forge | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredItem:
    """One item of a suite with what each side answered; sides are `base`, `champion` and `candidate`."""

    id: str
    prompt: str
    reference: str
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelScores:
    """What a scorer of the panel found: item id -> side -> metric -> value.

    A value that could not be had is left out, never filled in; `notes` say why, and how far the scorer can be
    trusted (the bias of a judge for a position, how much was unreadable). They contain no secrets.
    """

    values: Mapping[str, Mapping[str, Mapping[str, float]]]
    notes: Mapping[str, str] = field(default_factory=dict)


class PanelScorer(Protocol):
    """Scores answers with something outside: a model, a package, an endpoint. Never raises for its absence."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it gives."""
        ...

    def score(self, items: Sequence[AnsweredItem], progress: Callable[[str, int, int], None]) -> PanelScores:
        """Score every answer there is. `progress` is told what is being done, how much is done and how much there is."""
        ...

    def describe(self) -> Mapping[str, str]:
        """What decides the values, for the report: model, digest, settings."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSide:
    """One side of a public task: the base with an adapter's folder, or without.

    `served_name` is what a server calls it; it is None where no server is asked.
    """

    adapter: Path | None
    served_name: str | None = None


class TaskRunner(Protocol):
    """Runs public tasks that have items of their own, on base, champion and candidate. Never raises for its absence."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it gives: `task_<name>`."""
        ...

    def run(
        self, base: Path, sides: Mapping[str, TaskSide], progress: Callable[[str, int, int], None]
    ) -> PanelScores:
        """Values by `<task>/<document>`, paired over the sides; an adapter that was not applied gives none."""
        ...

    def describe(self) -> Mapping[str, str]:
        """What decides the values, for the report: versions, tasks and the number of their documents."""
        ...
