"""One environment: where its servers, gateways, flags, metrics and ledger are, and what the servers can hold."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Discriminator, Field, StringConstraints, Tag, model_validator

from rollout.core.alert import AlertSettings, PrometheusLabel
from rollout.core.duration import Duration
from rollout.core.manifest import Document, Dtype, Line, Name, Quantization
from rollout.core.occasion import Occasion
from rollout.core.plan import Share

ENVIRONMENT_SCHEMA: Literal["adapter-rollout/environment/v1"] = "adapter-rollout/environment/v1"

HttpUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?$", max_length=300)
]
EnvironmentVariable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
# Where a request says who asks: `header:x-user-id`, `body:metadata.user`, `jwt:sub`, `jwt:sub@x-forwarded-jwt`.
KeySource = Annotated[
    str,
    StringConstraints(
        pattern=r"^(header:[A-Za-z0-9-]{1,100}"
        r"|body:[A-Za-z0-9_-]{1,100}(\.[A-Za-z0-9_-]{1,100}){0,5}"
        r"|jwt:[A-Za-z0-9_:/.-]{1,200}(@[A-Za-z0-9-]{1,100})?)$"
    ),
]
# `{name}` is the only placeholder; everything else is a legal flag key.
KeyPattern = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]*\{name\}[A-Za-z0-9._-]*$")]
# What LaunchDarkly allows in the key of a project or an environment.
FlagScope = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

BranchName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}(/[A-Za-z0-9_-]{1,100}){0,4}$")
]

Repository = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9._-]{1,100}$")
]
_HERE = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/|$)")


class Stage(StrEnum):
    """How much depends on an environment; rules may ask for more where users are."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class Reach(StrEnum):
    """How a tick comes to what gateways write and read."""

    FILES = "files"
    GATEWAYS = "gateways"


class Endpoint(Document):
    """A gateway, or whatever else is asked over HTTP."""

    name: Name
    url: HttpUrl
    token_env: EnvironmentVariable | None = Field(
        default=None, description="Name of the environment variable that holds its token; never the token."
    )


class ReplicaEndpoint(Endpoint):
    """A server of models. `agent` is the URL of the `rollout agent` beside it, if adapters get there through one."""

    agent: HttpUrl | None = None
    agent_token_env: EnvironmentVariable | None = Field(
        default=None, description="Name of the environment variable that holds the agent's token."
    )


class ServerLimits(Document):
    """What every replica was started with."""

    base: Line = Field(description="Served name of the base model.")
    base_path: Line | None = Field(
        default=None, description="Folder of the base model, for the checks that read it."
    )
    max_lora_rank: int = Field(ge=1)
    max_loras: int = Field(ge=1)
    dtype: Dtype
    quantization: Quantization
    lora_target_modules: tuple[Line, ...] | None = Field(
        default=None, description="Modules that get LoRA, if the servers were started with fewer than all."
    )
    inference_code: Line | None = Field(
        default=None, description="Version of the inference code that the servers run."
    )


_SLOWEST_HEARTBEAT_S = 200.0


class _Flags(Document):
    key_pattern: KeyPattern = "lora-{name}"
    max_age_s: float | None = Field(
        default=300.0,
        gt=0,
        description="Gateways whose flag data were not confirmed for so long serve stable; null: never mind.",
    )


class FileFlags(_Flags):
    """Flags in one JSON file in LaunchDarkly's own model: the embedded default."""

    kind: Literal["file"]
    path: Line


class LaunchDarklyFlags(_Flags):
    """Flags at LaunchDarkly: written over its REST API, streamed to the gateways. Tokens are named, never given."""

    kind: Literal["launchdarkly"]
    project: FlagScope
    environment: FlagScope
    api: HttpUrl = "https://app.launchdarkly.com"
    stream: HttpUrl = "https://stream.launchdarkly.com"
    events: HttpUrl = "https://events.launchdarkly.com"
    token_env: EnvironmentVariable = Field(
        default="LD_ACCESS_TOKEN",
        description="Environment variable with the access token that reads and writes.",
    )
    rollback_token_env: EnvironmentVariable | None = Field(
        default=None,
        description="Environment variable with a token that may bypass approvals: used to take back, and for nothing else.",
    )
    sdk_key_env: EnvironmentVariable = Field(
        default="LD_SDK_KEY", description="Environment variable with the SDK key of the gateways."
    )
    last_good: Line = Field(
        default=".rollout/flags-last-good.json",
        description="File in which gateways keep the last sound flags, to start with while LaunchDarkly is away.",
    )
    send_events: bool = Field(
        default=True,
        description="Whether gateways tell LaunchDarkly that a flag was evaluated, with the users' keys. Without it"
        " nobody can see there whether a flag is used.",
    )
    strict_cas: bool = Field(
        default=False,
        description="Write by JSON patch with a test of the version, which LaunchDarkly compares itself.",
    )
    patience_s: float = Field(
        default=30.0, gt=0, le=300, description="Longest time for one change with its retries."
    )

    @model_validator(mode="after")
    def _ages_by_heartbeats(self) -> LaunchDarklyFlags:
        hosted = re.search(r"//[^/]*\.launchdarkly\.", self.stream)
        if hosted and self.max_age_s is not None and self.max_age_s < _SLOWEST_HEARTBEAT_S:
            raise ValueError(
                f"max_age_s is below {_SLOWEST_HEARTBEAT_S:.0f}: LaunchDarkly gives a sign of life every three minutes"
            )
        return self


class FlagdFlags(_Flags):
    """Flags in a file of flagd's, which gateways read through OpenFeature (extra `openfeature`)."""

    kind: Literal["flagd"]
    path: Line


class FlagProvider(Document):
    """An OpenFeature provider that gateways read flags through (extra `openfeature`). OpenFeature cannot write."""

    provider: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,199}:[A-Za-z_][A-Za-z0-9_]{0,99}$")
    ] = Field(description="`module:Class` of the provider.")
    options: dict[Line, str | int | float | bool] = Field(
        default_factory=dict, max_length=32, description="Arguments of the class by name."
    )


class KeptTexts(StrEnum):
    """What the traffic log keeps of questions and answers."""

    OFF = "off"
    REDACTED = "redacted"
    FULL = "full"


class TrafficLogMetrics(Document):
    """Metrics from the gateways' SQLite request log: the embedded default. Rows beyond either limit are removed."""

    kind: Literal["traffic-log"]
    path: Line
    keep_days: int = Field(default=30, ge=1, le=3650)
    max_mb: int = Field(default=4096, ge=16)
    texts: KeptTexts = Field(
        default=KeptTexts.OFF,
        description="Whether questions and answers are kept, for `rollout shadow`; redacted: without personal data.",
    )
    texts_share: Share = Field(default=Share.FULL, description="Share of requests whose texts are kept.")


class _Provider(Document):
    """`lag` is how late the newest data are: a look ends that long before now."""

    lag: Duration = timedelta(seconds=30)
    timeout_s: float = Field(default=10.0, gt=0, le=300)


class PrometheusProvider(_Provider):
    """A Prometheus, or what speaks its HTTP API. `labels` select the gateways of this environment."""

    kind: Literal["prometheus"]
    url: HttpUrl
    token_env: EnvironmentVariable | None = Field(
        default=None, description="Environment variable with its bearer token; never the token."
    )
    labels: dict[PrometheusLabel, Line] = Field(default_factory=dict, max_length=16)


class HttpProvider(_Provider):
    """A service that answers JSON. A metric's `ask` is the path behind `url`."""

    kind: Literal["http"]
    url: HttpUrl
    token_env: EnvironmentVariable | None = Field(
        default=None, description="Environment variable with its bearer token; never the token."
    )


class SqlProvider(_Provider):
    """A database, by the environment variable that holds its SQLAlchemy URL, or files that DuckDB reads.

    Files are Parquet, CSV or JSON lines below `folder`; a metric's statement calls them by their paths there.
    """

    kind: Literal["sql"]
    url_env: EnvironmentVariable | None = None
    folder: Line | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> SqlProvider:
        if (self.url_env is None) == (self.folder is None):
            raise ValueError("name either `url_env` (a database) or `folder` (files)")
        return self


class CommandProvider(_Provider):
    """A program that prints JSON. It gets the question as JSON on its standard input, and never a shell."""

    kind: Literal["command"]
    command: tuple[Line, ...] = Field(min_length=1, max_length=64)
    environment: tuple[EnvironmentVariable, ...] = Field(
        default=(), max_length=32, description="Variables that it may see, besides PATH and HOME."
    )


Provider = Annotated[
    PrometheusProvider | HttpProvider | SqlProvider | CommandProvider, Field(discriminator="kind")
]


class _Ledger(Document):
    signing_key_env: EnvironmentVariable | None = Field(
        default=None, description="Environment variable with the Ed25519 key (PEM) that signs every event."
    )
    verify_keys: tuple[Line, ...] = Field(
        default=(),
        max_length=16,
        description="Public keys (base64) of which one must have signed every event.",
    )
    signed_from: AwareDatetime | None = Field(
        default=None,
        description="Events from before may be unsigned, as long as no signed one comes before them.",
    )


class FolderLedger(_Ledger):
    """A ledger of hash-chained JSON lines in a folder: the embedded default."""

    kind: Literal["folder"]
    path: Line


class BranchLedger(_Ledger):
    """A ledger on an orphan branch of the repository's remote: appended by pushes that are never forced."""

    kind: Literal["branch"]
    branch: BranchName = "rollout-ledger"
    path: Line = Field(
        default=".rollout/ledger",
        description="Folder of this machine's leases, and of nothing that is needed.",
    )


class BranchEvidence(Document):
    """Evidence on an orphan branch of the repository's remote, for machines that keep nothing between runs."""

    kind: Literal["branch"]
    branch: BranchName = "rollout-evidence"


def _kind_of_evidence(given: object) -> str:
    """So that what is wrong is told of the one form that was meant."""
    return "a-branch" if isinstance(given, dict | BranchEvidence) else "a-folder"


Evidence = Annotated[
    Annotated[Line, Tag("a-folder")] | Annotated[BranchEvidence, Tag("a-branch")],
    Discriminator(_kind_of_evidence),
]


class Merging(StrEnum):
    """How a revert comes to the branch: pushed, proposed, or pushed where the remote takes it and proposed elsewhere."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"
    AUTO = "auto"


class GitHubForge(Document):
    """The repository at GitHub in which a revert is proposed where its branch is protected."""

    kind: Literal["github"]
    repository: Repository = Field(
        description="`owner/name`, of the same repository as the environment's remote."
    )
    api: HttpUrl = Field(
        default="https://api.github.com",
        description="Address of the REST API; `https://HOST/api/v3` for GitHub Enterprise Server.",
    )
    token_env: EnvironmentVariable = Field(
        default="GITHUB_TOKEN", description="Environment variable that holds the token; never the token."
    )
    merge: Merging = Field(default=Merging.AUTO, description="How a revert comes to the branch.")
    patience_s: float = Field(
        default=15.0,
        gt=0,
        le=300,
        description="Longest time for one thing that is asked of it, with retries.",
    )

    @model_validator(mode="after")
    def _keeps_its_token_secret(self) -> GitHubForge:
        if not self.api.startswith("https://") and not _HERE.match(self.api):
            raise ValueError("api: a token goes to another machine over https:// alone")
        return self


class Fleet(Document):
    """How many releases may be under way here at once."""

    max_releases: int | None = Field(default=None, ge=1, description="Adapters in shadow or canary at once.")


class WebhookBody(StrEnum):
    """How a notice is written: as JSON with all its fields, or as the text that Slack, Mattermost and Teams show."""

    JSON = "json"
    SLACK = "slack"


class WebhookNotifier(Document):
    """Somebody who is told by a webhook. The address is a secret, so that only its variable is named."""

    name: Name
    url_env: EnvironmentVariable = Field(
        description="Environment variable that holds the address; never the address."
    )
    token_env: EnvironmentVariable | None = Field(
        default=None, description="Environment variable with a bearer token that is sent along."
    )
    body: WebhookBody = WebhookBody.JSON
    occasions: tuple[Occasion, ...] = Field(
        default=tuple(Occasion), min_length=1, description="What they want to be told of."
    )


class ContextKey(Document):
    """What makes a request sticky: the first source that it holds, and what ties requests to one conversation.

    A conversation is bucketed by the key that its first request had, so that it changes version as seldom as a
    user does. A JWT's claim is read without checking its signature: it chooses a bucket and nothing else.
    """

    sources: tuple[KeySource, ...] = ("header:x-user-id", "body:user")
    conversation: tuple[KeySource, ...] = ("header:x-conversation-id", "body:conversation")


class Examination(Document):
    """Shares of answers that are looked at off the hot path, and by what."""

    refusals: Share = Share.FULL
    personal_data: Share = Share.ZERO
    toxicity: Share = Share.ZERO
    toxicity_model: Line | None = Field(
        default=None, description="Folder of a sequence classifier; without it toxicity is not measured."
    )


class MirrorSettings(Document):
    """What shadow copies may cost. They are the first to be dropped."""

    concurrency: int = Field(default=8, ge=1, le=1024)
    waiting: int = Field(default=64, ge=0, le=100_000)
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Prompt and answer tokens that copies may use in a minute."
    )
    pause_above_in_flight: int | None = Field(
        default=None, ge=1, description="No copy starts while more requests of users than this are under way."
    )
    max_tokens: int | None = Field(default=None, ge=1, description="Longest answer of a copy.")
    timeout_s: float = Field(default=120.0, gt=0, le=3600)
    priority: int | None = Field(
        default=None,
        description="`priority` of copies, for servers with priority scheduling: larger is later.",
    )


class GatewaySettings(Document):
    """How the gateways of an environment treat requests."""

    max_body_mb: int = Field(default=50, ge=1, le=1024)
    max_in_flight: int = Field(default=2048, ge=1, description="Requests under way; more are told to wait.")
    max_bodies_mb: int = Field(
        default=2048, ge=1, description="Bytes of requests under way; what does not fit is told to wait."
    )
    body_timeout_s: float = Field(default=30.0, gt=0, description="Longest pause while a request is sent.")
    read_timeout_s: float = Field(default=600.0, gt=0, description="Longest silence of a server.")
    retry_on_stable: bool = Field(
        default=True, description="Ask stable once where the candidate fails before its first byte."
    )
    restore_model: bool = Field(
        default=False, description="Answers name the logical model instead of the version that answered."
    )
    mirror: MirrorSettings = MirrorSettings()
    examine: Examination = Examination()


_OnBranch = (BranchLedger, BranchEvidence)


class Environment(Document):
    """One place where adapters serve (`policies/environments/<name>.yaml`).

    Paths are relative to the repository root unless they are absolute.
    """

    schema_: Literal["adapter-rollout/environment/v1"] = Field(alias="schema")
    name: Name
    stage: Stage = Field(default=Stage.PRODUCTION, description="What is not said to be less is production.")
    replicas: tuple[ReplicaEndpoint, ...] = Field(min_length=1)
    gateways: tuple[Endpoint, ...] = Field(min_length=1)
    adapter_folder: Line = Field(
        description="Where verified adapters are laid down for the servers, by digest."
    )
    server: ServerLimits
    flags: Annotated[FileFlags | LaunchDarklyFlags | FlagdFlags, Field(discriminator="kind")]
    flag_provider: FlagProvider | None = Field(
        default=None,
        description="What gateways read flags through, instead of what belongs to the kind of `flags`.",
    )
    metrics: TrafficLogMetrics
    providers: dict[Name, Provider] = Field(
        default_factory=dict, max_length=32, description="Where metrics with a `source` come from."
    )
    counted_by: Name | None = Field(
        default=None,
        description="A provider of kind prometheus that counts requests instead of the traffic log.",
    )
    ledger: Annotated[FolderLedger | BranchLedger, Field(discriminator="kind")]
    fleet: Fleet = Fleet()
    notify: tuple[WebhookNotifier, ...] = Field(
        default=(),
        max_length=16,
        description="Who is told of rollbacks, of promotions, and of what waits for people.",
    )
    routes: Line = Field(description="The routes document that the gateways read.")
    evidence: Evidence = Field(
        description="Folder of the evidence, addressed by digest; or a branch of the remote that holds it."
    )
    context_key: ContextKey = ContextKey()
    gateway: GatewaySettings = GatewaySettings()
    alerts: AlertSettings = AlertSettings()
    reach: Reach = Field(
        default=Reach.FILES,
        description="Where ticks find traffic log and routes: in these files, or over the gateways' own pages.",
    )
    branch: Line = Field(default="main", description="The branch whose manifests are the desire.")
    remote: Name | None = Field(
        default="origin", description="The git remote; null for a repository of its own."
    )
    forge: GitHubForge | None = Field(
        default=None, description="Where a revert is proposed that may not be pushed to the branch."
    )

    @model_validator(mode="after")
    def _a_forge_has_a_remote(self) -> Environment:
        if self.forge is not None and self.remote is None:
            raise ValueError("forge: without a `remote` there is nothing to propose a revert in")
        return self

    @model_validator(mode="after")
    def _branches_are_different(self) -> Environment:
        named = [self.branch]
        named += [each.branch for each in (self.ledger, self.evidence) if isinstance(each, _OnBranch)]
        if len(set(named)) != len(named):
            raise ValueError("manifests, ledger and evidence need a branch each: two of them name the same")
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Environment:
        for kind, endpoints in (("replicas", self.replicas), ("gateways", self.gateways)):
            names = [endpoint.name for endpoint in endpoints]
            if len(set(names)) != len(names):
                raise ValueError(f"two {kind} have the same name")
        return self

    @model_validator(mode="after")
    def _a_prometheus_counts(self) -> Environment:
        if self.counted_by is None:
            return self
        counting = self.providers.get(self.counted_by)
        if not isinstance(counting, PrometheusProvider):
            raise ValueError(f"counted_by: there is no provider {self.counted_by!r} of kind prometheus")
        return self

    @property
    def holds(self) -> str:
        """Where gateways keep which adapters are held: beside the routes."""
        folder, slash, _ = self.routes.rpartition("/")
        return f"{folder}{slash}holds.json"

    @property
    def flag_files(self) -> tuple[str, ...]:
        """The files of this environment that hold flags."""
        match self.flags:
            case LaunchDarklyFlags(last_good=path) | FileFlags(path=path) | FlagdFlags(path=path):
                return (path,)

    def flag_key(self, name: str) -> str:
        """The key of the flag that dials the adapter `name`."""
        return self.flags.key_pattern.replace("{name}", name)
