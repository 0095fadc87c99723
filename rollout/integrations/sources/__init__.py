"""Brings the files of an artifact here from outside: whole and verified, or not at all."""

from __future__ import annotations

from pathlib import Path

from rollout.core.manifest import Artifact
from rollout.core.source import RemoteUri
from rollout.errors import Unavailable


def fetch(uri: RemoteUri, artifact: Artifact, *, cache: Path, max_file_bytes: int) -> Path:
    """The folder below `cache` that holds exactly the artifact's files; fetched first if it is not there."""
    raise Unavailable(f"{uri} cannot be fetched yet into {cache} ({len(artifact.files)}, {max_file_bytes})")
