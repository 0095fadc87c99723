"""Where the bytes of an artifact may come from: addresses in one form only, and the policy that admits them.

Whoever writes a manifest names an address, and a machine with credentials goes there: nothing is fetched that
the policy of the judging tree does not admit by a prefix. Prefixes are compared as text, which is safe because
an address that could be written in two ways (upper case, `%2e`, `..`, a second slash) is refused, not repaired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from rollout.core.manifest import Document
from rollout.errors import Unreadable

SOURCES_SCHEMA: Literal["adapter-rollout/sources/v1"] = "adapter-rollout/sources/v1"


class Scheme(StrEnum):
    """What is spoken there."""

    HTTPS = "https"
    HTTP = "http"
    S3 = "s3"
    HF = "hf"
    OCI = "oci"


_HOST = r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?"
_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._~+=-]{1,255}"
_PATH = rf"{_SEGMENT}(?:/{_SEGMENT})*"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPOSITORY = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
_LOOPBACK = r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?"

_FORMS: dict[Scheme, tuple[re.Pattern[str], str]] = {
    Scheme.HTTPS: (re.compile(rf"(?P<authority>{_HOST})(?:/(?P<path>{_PATH}))?"), "https://host/folder"),
    Scheme.HTTP: (re.compile(rf"(?P<authority>{_LOOPBACK})(?:/(?P<path>{_PATH}))?"), "https://host/folder"),
    Scheme.S3: (
        re.compile(rf"(?P<authority>[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9])(?:/(?P<path>{_PATH}))?"),
        "s3://bucket/folder",
    ),
    Scheme.HF: (
        re.compile(
            rf"(?P<authority>{_NAME})/(?P<path>{_NAME})@(?P<pin>[0-9a-f]{{40}})(?:/(?P<below>{_PATH}))?"
        ),
        "hf://organisation/repository@commit (40 hex digits), and a folder behind it if there is one",
    ),
    Scheme.OCI: (
        re.compile(rf"(?P<authority>{_HOST})/(?P<path>{_REPOSITORY})@(?P<pin>sha256:[0-9a-f]{{64}})"),
        "oci://registry/repository@sha256:digest (64 hex digits)",
    ),
}
_PINNED = frozenset({Scheme.HF, Scheme.OCI})
_LONGEST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteUri:
    """The folder of an artifact outside, as `scheme://authority/path@pin/below`.

    `authority` is a host with its port, a bucket, a registry, or the Hub's organisation. `pin` is the commit or
    the digest where the scheme has one, else empty; so are `path` and `below` where there is none.
    """

    scheme: Scheme
    authority: str
    path: str = ""
    pin: str = ""
    below: str = ""

    def __str__(self) -> str:
        pinned = f"{self.path}@{self.pin}" if self.pin else self.path
        return f"{self.scheme}://" + "/".join(part for part in (self.authority, pinned, self.below) if part)


def is_remote(uri: str) -> bool:
    """Whether an artifact's uri names a place outside, in whatever form: not a folder here, not file://."""
    return not uri.startswith("file://") and ":" in uri.split("/", 1)[0]


def parse_remote(uri: str) -> RemoteUri:
    """The parts of an address. Raises Unreadable, with advice, for one that is not in the one form of its scheme.

    What might be a secret (user, password, query) is never repeated in the error.
    """
    name, _, rest = uri.partition("://")
    if name not in set(Scheme):
        known = ", ".join(f"{scheme}://" for scheme in Scheme if scheme is not Scheme.HTTP)
        raise Unreadable(
            f"artifacts are not fetched by {name.split(':')[0]!r}", advice=f"There are: {known}."
        )
    scheme = Scheme(name)
    pattern, form = _FORMS[scheme]
    match = pattern.fullmatch(rest.removesuffix("/")) if len(uri) <= _LONGEST else None
    if match is None:
        raise Unreadable(_what_is_wrong(scheme, rest), advice=f"Write {form}.")
    return RemoteUri(scheme=scheme, **{key: value or "" for key, value in match.groupdict().items()})


def _what_is_wrong(scheme: Scheme, rest: str) -> str:
    """Why an address is refused, without the parts in which secrets are found."""
    authority = re.sub(r"[^!-~]", "?", rest.split("/", 1)[0])[:100]
    bare = rest.split("?", 1)[0].split("#", 1)[0]
    if "@" in authority:
        return (
            f"the {scheme}:// address carries a user name or password; credentials come from the environment"
        )
    if bare != rest:
        return (
            f"{scheme}://{authority}/… carries a query or a fragment; credentials come from the environment"
        )
    if "%" in rest or "\\" in rest or ".." in rest.split("/") or "." in rest.split("/") or "//" in rest:
        return f"{scheme}://{authority}/… is not in its plain form: no %, no backslash, no . or .., no //"
    if authority != authority.lower() and scheme is not Scheme.HF:
        return f"{scheme}://{authority}/… has upper-case letters in its host"
    if scheme in _PINNED:
        return f"{scheme}://{authority}/… is not pinned: branches, tags and names of versions can be moved"
    if scheme is Scheme.HTTP:
        return f"http://{authority}/… is not encrypted; plain http is for this machine itself"
    return f"{scheme}://{authority}/… is not an address of that scheme"


def _is_prefix(prefix: str) -> str:
    name, _, rest = prefix.partition("://")
    if name not in set(Scheme):
        raise ValueError("begin it with https://, s3://, hf:// or oci://")
    if not rest.endswith(("/", "@")):
        raise ValueError("end it with / or @: s3://team would admit s3://team-evil as well")
    scheme = Scheme(name)
    authority, slash, path = rest[:-1].partition("/")
    if scheme is Scheme.HTTP and not re.fullmatch(_LOOPBACK, authority):
        raise ValueError("plain http is admitted for localhost, 127.0.0.1 and [::1] only")
    if rest.endswith("@") and (scheme not in _PINNED or not path):
        raise ValueError("@ stands behind a repository of hf:// or oci://")
    host = _NAME if scheme is Scheme.HF else _HOST
    if not re.fullmatch(host, authority) or (slash and not re.fullmatch(_PATH, path)):
        raise ValueError("not in its plain form: lower-case host, no %, no . or .., no //, no user, no query")
    return prefix


# The pattern is for editors; the words are for whoever wrote another form.
Prefix = Annotated[
    str,
    StringConstraints(max_length=_LONGEST),
    AfterValidator(_is_prefix),
    Field(json_schema_extra={"pattern": r"^(https|http|s3|hf|oci)://[^/@?#%\\\s][^@?#%\\\s]*[/@]$"}),
]


AbsoluteFolder = Annotated[
    str, StringConstraints(pattern=r"^(/\.?[A-Za-z0-9_][A-Za-z0-9._~+=-]*)+$", max_length=_LONGEST)
]


class Sources(Document):
    """From where artifacts are fetched (`policies/sources.yaml`). Without it, nothing is.

    Folders of the repository need no entry; others of this machine, file://, need one under `folders`.
    """

    model_config = ConfigDict(title="Sources v1")

    schema_: Literal["adapter-rollout/sources/v1"] = Field(alias="schema")
    allowed: tuple[Prefix, ...] = Field(
        default=(), max_length=256, description="What an address must begin with; each ends with / or @."
    )
    folders: tuple[AbsoluteFolder, ...] = Field(
        default=(), max_length=64, description="Folders of this machine below which file:// may point."
    )
    max_file_bytes: int = Field(
        default=16 << 30, ge=1, le=1 << 40, description="The largest file that is fetched."
    )

    def admits(self, uri: RemoteUri) -> bool:
        """Whether artifacts may be fetched from there."""
        return any(f"{uri}/".startswith(prefix) for prefix in self.allowed)


def require_folder(folder: str, sources: Sources | None) -> str:
    """The folder of the policy that an absolute, plain one lies in. Raises Unreadable if there is none."""
    for admitted in sources.folders if sources else ():
        if folder == admitted or folder.startswith(f"{admitted}/"):
            return admitted
    raise Unreadable(
        f"file://{folder} is not read: policies/sources.yaml does not admit it",
        advice="Put the adapter into the repository, or have its folder added to `folders` on the branch that judges.",
    )


def require_admitted(uri: RemoteUri, sources: Sources | None) -> Sources:
    """The policy that admits this address. Raises Unreadable if there is none, or it does not."""
    if sources is None:
        raise Unreadable(
            f"{uri} is not fetched: no policy says from where artifacts may come",
            advice="List the prefix in `allowed` of policies/sources.yaml, on the branch that judges.",
        )
    if not sources.admits(uri):
        raise Unreadable(
            f"{uri} is not fetched: policies/sources.yaml does not admit it",
            advice="Publish the adapter where it does, or have its prefix added on the branch that judges.",
        )
    return sources
