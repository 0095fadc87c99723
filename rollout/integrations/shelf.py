"""Shelf over a folder: each adapter under its served name, verified, never changed again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from rollout.core.manifest import AdapterManifest, Artifact
from rollout.digests import require_sha256, sha256_of
from rollout.durable import exclusive, sync_file, sync_folder
from rollout.errors import Unavailable, Unreadable


class AdapterShelf:
    """Copies adapters from the repository to `<folder>/<served name>/`.

    A served name holds the digest of its bytes, so a folder that stands is right or was tampered with; it is
    verified again each time it is laid down.
    """

    def __init__(self, folder: Path, *, locate: Callable[[Artifact], Path]) -> None:
        """`locate` gives the folder of an artifact, fetched if it lies outside, and refuses what it must not read."""
        self._folder = folder.resolve()
        self._locate = locate

    def folder(self, served_name: str) -> Path:
        """Where a served name lies, or would lie."""
        return self._folder / served_name

    def lay_down(self, manifest: AdapterManifest) -> Path:
        """The verified folder; copied first if it is not there.

        Raises Unreadable for bytes that are not the manifest's, and Unavailable for a disk that is full or refuses.
        """
        target = self.folder(manifest.served_name)
        if target.is_symlink():
            raise Unreadable(
                f"{target} is a symbolic link: what it leads to can be changed behind its back",
                advice="Remove it; what belongs there is copied then.",
            )
        try:
            self._stand(manifest, target)
        except OSError as error:
            raise Unavailable(
                f"{manifest.served_name} cannot be laid down in {self._folder}: {error.strerror or error}"
            ) from error
        for name, digest in manifest.artifact.files.items():
            require_sha256(target / name, digest, name=name)
        return target

    def _stand(self, manifest: AdapterManifest, target: Path) -> None:
        # Fetching may take long: whoever waits for the lock should not have to wait for that.
        source = None if target.is_dir() else self._locate(manifest.artifact)
        with exclusive(target):
            if source is not None and not target.is_dir():
                self._copy(manifest, source, target)

    def _copy(self, manifest: AdapterManifest, source: Path, target: Path) -> None:
        """Into a folder beside it, verified, synced, then renamed: all of it or nothing.

        That folder has a fixed name: what a killed process left in it is cleared away by the next one.
        """
        if not source.is_dir():
            raise Unreadable(
                f"there is no adapter folder {manifest.artifact.uri!r}",
                advice="Fetch it, or correct `artifact.uri`.",
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.laying")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        try:
            for name, digest in manifest.artifact.files.items():
                if (source / name).is_symlink():
                    raise Unreadable(f"{name} of {manifest.served_name} is a symbolic link")
                # An address may lead to files that are no adapter's: what they hold is told nobody, in no form.
                if sha256_of(source / name) != digest:
                    raise Unreadable(
                        f"{name} in {manifest.artifact.uri} is not there or has another sha256 than the manifest says",
                        advice="Give changed bytes a new version.",
                    )
                shutil.copyfile(source / name, aside / name, follow_symlinks=False)
                require_sha256(aside / name, digest, name=name)
                sync_file(aside / name)
            aside.chmod(0o755)
            aside.rename(target)
            sync_folder(self._folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
