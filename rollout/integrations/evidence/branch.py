"""ArtifactStore on an orphan branch: what one machine keeps, every other one finds, by one push and never by force."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import groupby
from pathlib import Path

from rollout.errors import RemoteUnavailable, Unavailable, Unreadable, Unsupported
from rollout.integrations.evidence.folder import checked, place_of
from rollout.integrations.evidence.partial import PartialRepository, is_here
from rollout.integrations.evidence.waiting import Waiting
from rollout.orphan.branch import Branch
from rollout.orphan.objects import Change, Git, blob_id, commit, sizes

# Half of what GitHub takes as a file, and little beside what a machine has.
LARGEST = 50_000_000
_ATTEMPTS = 12
_TIP = "refs/rollout/evidence"
_PLAIN = "100644"
_MISSING = "couldn't find remote ref"


class EvidenceBranch:
    """`<first two digits>/<digest>` on a branch of a remote, or of the repository itself where `remote` is None.

    What is kept waits in the clone's git folder until the branch has it, so that nothing is lost while the remote is
    away. Only the newest commit and its folders are fetched, and of the contents those that are asked for: history
    means nothing here, since each content proves itself.
    """

    def __init__(self, git: Git, root: Path, *, branch: str, remote: str | None) -> None:
        self._clone = git
        self._git = git if remote is None else PartialRepository(git, root, remote)
        self._branch = Branch(self._git, root, branch=branch, remote=remote, what="evidence")
        self._place = f"rollout/evidence/{remote or '.'}/{branch}"
        self._here = Branch(git, root, branch=branch, remote=None, what="evidence")
        self._seen: str | None = None

    @cached_property
    def _waiting(self) -> Waiting:
        return Waiting(self._here.in_git_folder(self._place))

    def queue(self, content: bytes) -> str:
        """Keep it on this machine, to be pushed with what is kept next. Raises Unsupported for what is too large."""
        if len(content) > LARGEST:
            raise Unsupported(
                f"{len(content):,} bytes are too much for {self._branch}: evidence there has {LARGEST:,} at most",
                advice="Keep the evidence in a folder: `evidence: PATH` of the environment document.",
            )
        return self._waiting.add(content)

    def put(self, content: bytes) -> str:
        """Keep it where all machines see it. Raises RemoteUnavailable; then it waits here for the next try."""
        digest = self.queue(content)
        self.flush()
        return digest

    def flush(self) -> None:
        """Push all that waits. Raises RemoteUnavailable, and then it goes on waiting."""
        while batch := dict(self._batch()):
            self._push(batch)
            for digest in batch:
                self._waiting.remove(digest)

    def get(self, digest: str) -> bytes:
        """The content, checked against its digest. Raises Unreadable, and RemoteUnavailable where nobody answers."""
        place_of(digest)
        if (waiting := self._waiting.find(digest)) is not None:
            return waiting
        blob = self._blobs(self._seen, digest).get(digest) or self._blobs(self._newest(), digest).get(digest)
        if blob is None:
            raise Unreadable(f"evidence {digest[:12]} is not on {self._branch}")
        return checked(self._read(blob, digest), digest)

    def _batch(self) -> Iterator[tuple[str, bytes]]:
        """As much of what waits as is pushed at once."""
        room = LARGEST
        for digest, content in self._waiting.all():
            room -= len(content)
            if room < 0:
                return
            yield digest, content

    def _push(self, batch: Mapping[str, bytes]) -> None:
        """Build on what was seen last and push; whoever was faster is built upon. What is there is not pushed again."""
        refused = "no answer"
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, 0.05 * min(2**attempt, 32)))  # noqa: S311 - jitter
            tip = self._seen if self._seen and not attempt else self._newest()
            if not (lacking := self._lacking(tip, batch)):
                return
            made = commit(self._git, tip, list(_changes(lacking)), _told(lacking))
            try:
                refused = self._branch.move(made, tip) or ""
            except RemoteUnavailable:
                if not self._lacking(self._newest(), batch):
                    return  # The push had arrived, and its answer was lost.
                raise
            if not refused:
                self._seen = made
                return
        raise RemoteUnavailable(
            f"{self._branch} took no evidence in {_ATTEMPTS} attempts: {refused}",
            advice="If others write much, run it again; else look whether a rule protects the branch from us."
            " The evidence waits on this machine.",
        )

    def _newest(self) -> str | None:
        """The tip as it is now; None where there is no branch yet."""
        if self._branch.remote is None:
            self._seen = self._branch.resolve(self._branch.reference)
            return self._seen
        try:
            self._branch.fetch("--depth=1", "--filter=blob:none", into=_TIP)
        except RemoteUnavailable as error:
            if _MISSING not in error.message:
                raise
            self._seen = None
        else:
            self._seen = self._branch.resolve(_TIP)
        return self._seen

    def _lacking(self, tip: str | None, batch: Mapping[str, bytes]) -> dict[str, bytes]:
        """What a commit does not hold, or holds as something else than it is."""
        if tip is None:
            return dict(batch)
        there = self._blobs(tip, *batch)
        return {
            digest: content
            for digest, content in batch.items()
            if there.get(digest) != blob_id(content, like=tip)
        }

    def _blobs(self, tip: str | None, *digests: str) -> dict[str, str]:
        """The ids of contents, by digest, of those that a commit has as plain files."""
        if tip is None:
            return {}
        places = [str(place_of(digest)) for digest in digests]
        listing = self._git.run("ls-tree", "-z", "--full-tree", tip, "--", *places)
        records = (record.split("\t", 1) for record in listing.decode().split("\0") if record)
        told = ((*meta.split(), path.rpartition("/")[2]) for meta, path in records)
        return {digest: blob for mode, kind, blob, digest in told if (mode, kind) == (_PLAIN, "blob")}

    def _read(self, blob: str, digest: str) -> bytes:
        """A content, fetched by itself if it is not here; nothing that is too large is taken into memory."""
        if self._branch.remote is not None and not is_here(self._git, blob):
            self._branch.bring(blob, "--filter=blob:none")
        try:
            if (size := sizes(self._git, [blob])[blob]) > LARGEST:
                raise Unreadable(
                    f"evidence {digest[:12]} on {self._branch} has {size:,} bytes: it is not read"
                )
            return self._git.run("cat-file", "blob", blob)
        except (KeyError, Unavailable):
            raise Unreadable(f"evidence {digest[:12]} on {self._branch} cannot be read") from None


def _changes(contents: Mapping[str, bytes]) -> Iterator[Change]:
    """One a folder."""
    placed = sorted((place_of(digest), content) for digest, content in contents.items())
    for folder, files in groupby(placed, key=lambda one: one[0].parent):
        yield Change(folder=folder, files={place.name: content for place, content in files})


def _told(contents: Mapping[str, bytes]) -> str:
    [first, *others] = sorted(contents)
    return f"evidence {first[:12]}" + (f" and {len(others)} more" if others else "")
