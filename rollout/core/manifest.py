"""The manifest: what one version of one adapter is, where it comes from and who answers for it.

A manifest is environment-independent. Two digests are derived from it and they must not be confused: the
`Identity` speaks of what is served (weights, adapter config, tokenizer, template, base, quantization) and
names caches, served models and quarantines; the digest of the manifest's own bytes serves the audit trail.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, NewType

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from rollout.core.share import Share

MANIFEST_SCHEMA: Literal["adapter-rollout/manifest/v1"] = "adapter-rollout/manifest/v1"

Identity = NewType("Identity", str)
"""64 hex digits: what is served, independent of its name and version."""

# A DNS label: it becomes part of a file name, a flag key and a served model name.
NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Semver = Annotated[str, StringConstraints(pattern=r"^(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
GitSha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000, strip_whitespace=True)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\r\n\x00]+$")]
MetricId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\r\n\x00]+$")]
# One path component, so that a manifest can never point outside its own artifact.
FILE_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"
FileName = Annotated[str, StringConstraints(pattern=FILE_NAME_PATTERN)]


class Document(BaseModel):
    """A document that arrives as bytes: immutable, and any field it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=8000)


class Quantization(StrEnum):
    """Precision of the base weights, in training and in serving."""

    NONE = "none"
    NF4 = "nf4"
    FP4 = "fp4"
    INT8 = "int8"
    FP8 = "fp8"
    AWQ = "awq"
    GPTQ = "gptq"


class Dtype(StrEnum):
    """Type of the activations and of the unquantized weights."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Tier(StrEnum):
    """How much harm a bad answer of this adapter can do."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Base(Document):
    """The base model that the adapter was trained on and must be served on."""

    name: Name = Field(description="Short name, the first part of the release name.")
    repo: Line = Field(description="Hub repository or folder of the base model.")
    revision: GitSha = Field(description="40 hex digits: a commit, never a branch or a tag.")
    quantization: Quantization
    dtype: Dtype
    tokenizer_sha256: Sha256 = Field(description="sha256 of tokenizer.json.")
    chat_template_sha256: Sha256 = Field(description="sha256 of the chat template text.")


class Artifact(Document):
    """The adapter's bytes."""

    uri: Line = Field(
        description="Folder of the adapter: relative to the repository root, file://, or where "
        "policies/sources.yaml admits it, https://, s3://, hf:// and oci://."
    )
    format: Literal["safetensors"] = "safetensors"
    files: dict[FileName, Sha256] = Field(min_length=1, max_length=64, description="sha256 of each file.")
    rank: int = Field(ge=1, le=4096, description="LoRA rank r.")
    alpha: float = Field(gt=0, le=65536, description="LoRA alpha.")
    target_modules: tuple[Line, ...] = Field(min_length=1, max_length=256)
    signature: FileName | None = Field(default=None, description="Detached OpenSSF model signature.")


class Dataset(Document):
    """The training data, by name and digest."""

    name: Line
    sha256: Sha256


class Lineage(Document):
    """Where the adapter comes from."""

    parent: Semver | None = Field(description="The version that this one replaces; null for the first.")
    dataset: Dataset
    training_commit: GitSha
    run_url: Line | None = None
    inference_code: Line = Field(
        description="Version of the inference code that the adapter was tested with."
    )


# What policy expressions count with has 64 bits.
Count = Annotated[int, Field(ge=0, le=10**15)]


class TokenRange(Document):
    """The shortest and the longest text, in tokens of the base's tokenizer."""

    min: Count
    max: Count

    @model_validator(mode="after")
    def _in_order(self) -> TokenRange:
        if self.min > self.max:
            raise ValueError("min is larger than max")
        return self


class DataCard(Document):
    """What is known of the training data: measured by its owner, declared here, judged by the rules."""

    examples: Count = Field(ge=1, description="Number of training examples.")
    duplicates: float = Field(ge=0, le=1, description="Share of examples that are there more than once.")
    personal_data: Count = Field(description="Examples in which a scan found personal data.")
    license: Line = Field(description="SPDX identifier of the data's licence.")
    language: Line = Field(description="BCP 47 tag of the target language, e.g. en.")
    language_share: float = Field(ge=0, le=1, description="Share of examples in the target language.")
    instruction_tokens: TokenRange
    output_tokens: TokenRange
    evaluation_overlap: Count = Field(description="Training examples that are also in the evaluation suite.")


class Evaluation(Document):
    """Which suite proves it, and what the trainer claims.

    `reported` is shown beside what we measure and never trusted.
    """

    suite: Name
    reported: dict[MetricId, float] = Field(default_factory=dict, max_length=64)
    human: Text | None = Field(default=None, description="Summary of the human evaluation.")


class Brake(Document):
    """How far a release may go, by a pull request. `at` is a share; without it, no further than it is."""

    at: Share | None = None
    reason: Line


class Skip(Document):
    """Steps of the plan that are left out, by their shares. What comes before 100 % cannot be left out."""

    shares: tuple[Share, ...] = Field(min_length=1, max_length=32)
    reason: Line


class Release(Document):
    """How it is released: the plan, by name, and what somebody wants of this one release.

    `hold` and `skip` are taken from the newest commit of the branch, so that a pull request steers a release under way.
    """

    plan: Name
    hold: Brake | None = None
    skip: Skip | None = None


class SafetyIncident(Document):
    """Harm that an earlier version did; open until somebody closes it."""

    id: Line
    closed_on: date | None = None


class Risk(Document):
    """The risk profile."""

    tier: Tier
    bias_assessment: Line | None = None
    safety_incidents: tuple[SafetyIncident, ...] = Field(default=(), max_length=64)
    data_fresh_until: date = Field(description="The day after which the training data counts as stale.")
    license: Line = Field(description="SPDX identifier.")


class Owner(Document):
    """Who answers for it."""

    team: Name
    escalation: Line
    review_every_days: int = Field(ge=1, le=730)
    reviewed_on: date | None = None


class Approval(Document):
    """One named approval."""

    by: Line
    role: Line
    on: date


class Change(Document):
    """Why this version exists."""

    purpose: Text
    ticket: Line | None = None
    approvals: tuple[Approval, ...] = Field(default=(), max_length=32)


class AdapterManifest(Document):
    """One version of one adapter (`manifests/<team>/<name>.yaml`)."""

    model_config = ConfigDict(title="Adapter manifest v1")

    schema_: Literal["adapter-rollout/manifest/v1"] = Field(alias="schema")
    name: Name = Field(description="Logical name: what clients put into `model`.")
    use_case: Name
    task: Name
    version: Semver = Field(
        description="major: the input or output contract breaks; minor: data or quality; patch: a fix."
    )
    base: Base
    artifact: Artifact
    lineage: Lineage
    data: DataCard | None = Field(default=None, description="The data card of lineage.dataset.")
    evaluation: Evaluation
    rollout: Release
    risk: Risk
    owner: Owner
    change: Change

    @model_validator(mode="after")
    def _served_name_fits(self) -> AdapterManifest:
        if len(self.served_name) > 120:
            raise ValueError(
                "name and version together are too long for a served model name (120 characters)"
            )
        return self

    @property
    def identity(self) -> Identity:
        """Digest of what is served: 64 hex digits, equal for equal weights in an equal setting."""
        served = {
            "files": dict(sorted(self.artifact.files.items())),
            "base_repo": self.base.repo,
            "base_revision": self.base.revision,
            "quantization": self.base.quantization.value,
            "tokenizer": self.base.tokenizer_sha256,
            "chat_template": self.base.chat_template_sha256,
        }
        canonical = json.dumps(served, sort_keys=True, separators=(",", ":"))
        return Identity(hashlib.sha256(canonical.encode()).hexdigest())

    @property
    def served_name(self) -> str:
        """The name under which servers know these very bytes, e.g. `support-bot-1.3.0-3f9a2c1b04de`."""
        return f"{self.name}-{self.version}-{self.identity[:12]}"

    @property
    def release_name(self) -> str:
        """The registry's name, `{base}/{use_case}/{task}/v{version}`."""
        return f"{self.base.name}/{self.use_case}/{self.task}/v{self.version}"


_SERVED = re.compile(r"(.+)-\d+\.\d+\.\d+-[0-9a-f]{12}")


def adapter_of(served: str) -> str | None:
    """The adapter of which a served name is some version; None for a name of another make."""
    found = _SERVED.fullmatch(served)
    return None if found is None else found[1]


def is_version_of(served: str, name: str) -> bool:
    """Whether a served name is that of some version of an adapter."""
    return adapter_of(served) == name
