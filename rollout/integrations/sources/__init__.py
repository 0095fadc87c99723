"""Brings the files of an artifact here from outside: whole and verified, or not at all.

Each artifact has a folder of its own below the cache, named for its address and its declared digests. The folder
appears under that name at once, when every file is there and right. Until then a hidden folder beside it keeps
what has come so far, so that the next try, of a process that was killed too, goes on instead of beginning anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.core.manifest import Artifact
from rollout.core.signing import MAX_SIGNATURE
from rollout.core.source import RemoteUri, Scheme
from rollout.digests import require_sha256, sha256_of
from rollout.durable import exclusive, sync_file, sync_folder
from rollout.errors import Unavailable, Unreadable
from rollout.integrations.sources.bucket import BucketSource
from rollout.integrations.sources.hub import HubSource
from rollout.integrations.sources.registry import RegistrySource
from rollout.integrations.sources.transfer import Patience, Progress, Transfer, size_of
from rollout.integrations.sources.web import WebSource
from rollout.ports import ArtifactSource

__all__ = ["Patience", "Progress", "fetch", "open_source"]

_SOURCES: dict[Scheme, Callable[..., ArtifactSource]] = {
    Scheme.HTTPS: WebSource,
    Scheme.HTTP: WebSource,
    Scheme.S3: BucketSource,
    Scheme.HF: HubSource,
    Scheme.OCI: RegistrySource,
}


def open_source(uri: RemoteUri, *, stall_s: float) -> ArtifactSource:
    """What reads from there. Nothing is connected to yet."""
    return _SOURCES[uri.scheme](uri, stall_s=stall_s)


def _silently(name: str, here: int, size: int | None) -> None:
    """Tell nobody."""


def fetch(
    uri: RemoteUri,
    artifact: Artifact,
    *,
    cache: Path,
    max_file_bytes: int,
    patience: Patience = Patience(),  # noqa: B008 - a value that never changes
    progress: Progress | None = None,
) -> Path:
    """The folder below `cache` that holds exactly the artifact's files and its signature, if it names one.

    It is fetched first if it is not there, or no longer right. Raises Unreadable if it cannot be had with the
    declared digests, Unavailable if a retry may help: that one goes on where this one ended.
    """
    target = cache / _key(uri, artifact)
    if target.is_symlink():
        raise Unreadable(f"{target} is a link, which is refused", advice="Remove it.")
    with _writing(target), exclusive(target, wait_s=patience.deadline_s):
        if not _is_right(target, artifact):
            _remove(target)
            source = open_source(uri, stall_s=patience.stall_s)
            _gather(Transfer(source, patience, progress or _silently), artifact, target, max_file_bytes)
    return target


def _key(uri: RemoteUri, artifact: Artifact) -> str:
    """Another address or another digest is another folder."""
    described = {
        "uri": str(uri),
        "files": dict(sorted(artifact.files.items())),
        "signature": artifact.signature,
    }
    canonical = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{target.parent} cannot be written: {error.strerror}") from None


def _gather(transfer: Transfer, artifact: Artifact, target: Path, limit: int) -> None:
    """Into the hidden folder, then under the name. What can never be right is not kept."""
    aside = target.with_name(f".{target.name}.fetching")
    if aside.is_symlink() or not aside.is_dir():
        _remove(aside)
        aside.mkdir(mode=0o700)
    try:
        for name, digest in artifact.files.items():
            _bring_verified(transfer, aside, name, digest, limit)
        if artifact.signature is not None:
            _bring_signature(transfer, aside, artifact.signature)
    except Unreadable:
        _remove(aside)
        raise
    for name in {path.name for path in aside.iterdir()} - _names(artifact):
        _remove(aside / name)
    aside.chmod(0o755)
    sync_folder(aside)
    aside.rename(target)
    sync_folder(target.parent)


def _bring_verified(transfer: Transfer, aside: Path, name: str, digest: str, limit: int) -> None:
    if sha256_of(aside / name) == digest:
        return
    _remove(aside / name)
    part = aside / f".{name}.part"
    if part.is_symlink():
        _remove(part)
    had_begun = size_of(part) > 0
    transfer.bring(name, part, limit=limit)
    if had_begun and sha256_of(part) != digest:
        # The file may have changed between the two halves, so it has one chance as a whole.
        _remove(part)
        transfer.bring(name, part, limit=limit)
    require_sha256(part, digest, name=name)
    _settle(part, aside / name)


def _bring_signature(transfer: Transfer, aside: Path, name: str) -> None:
    """Whole each time: no digest would tell two halves of different signatures apart."""
    part = aside / f".{name}.part"
    _remove(part)
    transfer.bring(name, part, limit=MAX_SIGNATURE)
    _settle(part, aside / name)


def _settle(part: Path, final: Path) -> None:
    sync_file(part)
    part.rename(final)


def _names(artifact: Artifact) -> set[str]:
    return {*artifact.files, *([artifact.signature] if artifact.signature else [])}


def _is_right(folder: Path, artifact: Artifact) -> bool:
    """Whether a folder holds the declared bytes and nothing else."""
    if not folder.is_dir() or {entry.name for entry in os.scandir(folder)} != _names(artifact):
        return False
    if artifact.signature is not None and sha256_of(folder / artifact.signature) is None:
        return False
    return all(sha256_of(folder / name) == digest for name, digest in artifact.files.items())


def _remove(path: Path) -> None:
    """Whatever stands there; a link itself and not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
