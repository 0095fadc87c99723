"""One environment: where its servers, gateways, flags, metrics and ledger are, and what the servers can hold."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from rollout.core.manifest import Document, Dtype, Line, Name, Quantization

ENVIRONMENT_SCHEMA: Literal["adapter-rollout/environment/v1"] = "adapter-rollout/environment/v1"

HttpUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?$", max_length=300)
]
# `{name}` is the only placeholder; everything else is a legal flag key.
KeyPattern = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]*\{name\}[A-Za-z0-9._-]*$")]


class Stage(StrEnum):
    """How much depends on an environment; rules may ask for more where users are."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class Endpoint(Document):
    """A replica or a gateway."""

    name: Name
    url: HttpUrl


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


class FileFlags(Document):
    """Flags in one JSON file in LaunchDarkly's own model: the embedded default."""

    kind: Literal["file"]
    path: Line
    key_pattern: KeyPattern = "lora-{name}"


class TrafficLogMetrics(Document):
    """Metrics from the gateways' SQLite request log: the embedded default."""

    kind: Literal["traffic-log"]
    path: Line


class FolderLedger(Document):
    """A ledger of hash-chained JSON lines in a folder: the embedded default."""

    kind: Literal["folder"]
    path: Line


class ContextKey(Document):
    """What makes a request sticky: the first of the headers that is present, else the body's `user`."""

    headers: tuple[Line, ...] = ("x-user-id",)
    body_user: bool = True


class Environment(Document):
    """One place where adapters serve (`policies/environments/<name>.yaml`).

    Paths are relative to the repository root unless they are absolute.
    """

    schema_: Literal["adapter-rollout/environment/v1"] = Field(alias="schema")
    name: Name
    stage: Stage = Field(default=Stage.PRODUCTION, description="What is not said to be less is production.")
    replicas: tuple[Endpoint, ...] = Field(min_length=1)
    gateways: tuple[Endpoint, ...] = Field(min_length=1)
    adapter_folder: Line = Field(
        description="Where verified adapters are laid down for the servers, by digest."
    )
    server: ServerLimits
    flags: FileFlags
    metrics: TrafficLogMetrics
    ledger: FolderLedger
    routes: Line = Field(description="The routes document that the gateways read.")
    evidence: Line = Field(description="Folder of the evidence, addressed by digest.")
    context_key: ContextKey = ContextKey()
    branch: Line = Field(default="main", description="The branch whose manifests are the desire.")
    remote: Name | None = Field(
        default="origin", description="The git remote; null for a repository of its own."
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Environment:
        for kind, endpoints in (("replicas", self.replicas), ("gateways", self.gateways)):
            names = [endpoint.name for endpoint in endpoints]
            if len(set(names)) != len(names):
                raise ValueError(f"two {kind} have the same name")
        return self

    def flag_key(self, name: str) -> str:
        """The key of the flag that dials the adapter `name`."""
        return self.flags.key_pattern.replace("{name}", name)
