"""Manifests in git: trees at a commit, and the commit that brings a manifest back.

Only plumbing is used, on a bare level: no working copy, no index and no checked-out branch of the user is
touched. Every argument goes to git as its own word, never through a shell.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from rollout.core.plain import plain
from rollout.errors import PushRefused, RemoteUnavailable, Unavailable, Unreadable, Usage, WorldChanged

if TYPE_CHECKING:
    from rollout.ports import Revert

T = TypeVar("T")

PATIENCE = "ROLLOUT_GIT_TIMEOUT_S"
_LONGEST_S = 86_400
_LAST_WORDS_S = 2.0
_REMOTE = frozenset({"fetch", "push", "ls-remote"})
_QUIETLY = (
    *("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
    "--refmap=",  # Only what is asked for: no reference of the user's moves.
)
# How a shallow clone gets what it lacks: a little, then all that there is (git-fetch(1), --unshallow).
_DEEPER = ("--deepen=100", "--depth=2147483647")
_OWN_SSH = frozenset({"GIT_SSH", "GIT_SSH_COMMAND"})
_ATTEMPTS = 5
_NOTHING_IN_COMMON = 1  # The exit status of `git merge-base`.
_STALE_AFTER = 5.0
# Listed files up to this size are read together, up to so many bytes in all.
_SMALL = 1 << 20
_MEMORY = 256 << 20
# Whatever a user or a repository has configured, the same question gets the same answer, and runs no program.
_SETTINGS = tuple(
    word
    for setting in (
        "core.hooksPath=/dev/null",
        "core.quotePath=false",
        "core.fsmonitor=false",
        "core.attributesFile=/dev/null",
        "advice.graftFileDeprecated=false",
        "color.ui=false",
        "diff.relative=false",
        "log.showSignature=false",
        "log.showRoot=true",
        "log.follow=false",
        "log.mailmap=false",
        "i18n.logOutputEncoding=UTF-8",
    )
    for word in ("-c", setting)
)
_DIFF = (
    "diff",
    "--name-only",
    "-z",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--ignore-submodules=none",
)
# Refuse to wait for a password; take paths literally; see commits as they are, without grafts or replacements.
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": "/dev/null",
    "GIT_LITERAL_PATHSPECS": "1",
}
# A hook of git runs with these set: they would lead to another repository, index or set of objects.
_FOREIGN = frozenset(
    f"GIT_{name}"
    for name in (
        *("DIR", "WORK_TREE", "COMMON_DIR", "INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES"),
        *("SHALLOW_FILE", "NAMESPACE", "PREFIX", "REPLACE_REF_BASE", "EXTERNAL_DIFF", "DIFF_OPTS"),
        *("GLOB_PATHSPECS", "NOGLOB_PATHSPECS", "ICASE_PATHSPECS", "IMPLICIT_WORK_TREE", "ATTR_SOURCE"),
    )
)
# Where git looks for a name, in its order (gitrevisions(7)).
_PLACES = ("refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}", "refs/remotes/{}/HEAD")
_COMMIT = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
# How a push ends that somebody else was faster than, and one that the remote's own rules or hooks do not let through.
_LOST = (
    *("non-fast-forward", "fetch first", "cannot lock ref", "stale info", "but expected"),
    *("reference already exists", "incorrect old value"),
)
_REFUSED = re.compile(r"(?m)^ ! \[remote rejected\] .*\((?P<why>.*)\)$")
_SAID = re.compile(r"(?m)^remote:[ \t]*(?:error:[ \t]*)?(\S.*)$")
_MADE_BY = re.compile(r"(?im)^[ \t]*co-authored-by[ \t]*:[ \t]*([^<\r\n]*)(?:<([^>\r\n]*))?")


class GitFailed(Unavailable):
    """A git command ended with an error; `reason` is the line that says why: advice follows it on others."""

    def __init__(self, words: tuple[str, ...], returncode: int, stderr: str) -> None:
        lines = [line for line in stderr.splitlines() if line.strip()]
        told = (line for line in lines if line.startswith(("error:", "fatal:")))
        self.reason = next(told, lines[-1] if lines else "no message")
        super().__init__(f"git {words[0]} ended with {returncode}: {self.reason}")
        self.stderr = stderr
        self.returncode = returncode


class GitTimedOut(GitFailed):
    """A remote gave no answer for as long as git may wait for one; git was ended, with all that it had started."""

    def __init__(self, words: tuple[str, ...], seconds: float) -> None:
        told = f"no answer within {seconds:g} s ({PATIENCE} gives it more)"
        super().__init__(words, -signal.SIGTERM, f"fatal: {told}\n")


class _CutOff(Unreadable):
    """A shallow clone ends at `commits`, and what was asked for is behind them."""

    def __init__(self, root: Path, commits: frozenset[str]) -> None:
        super().__init__(
            f"the history in {root} is cut off here: it is a shallow clone",
            advice="Fetch all of it: fetch-depth: 0 in a checkout, or git fetch --unshallow.",
        )
        self.commits = commits


def patience_s() -> float:
    """Seconds that one git command may take to reach a remote: 60, or what ROLLOUT_GIT_TIMEOUT_S says. Raises Usage."""
    told = os.environ.get(PATIENCE) or "60"
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_S:
        raise Usage(
            f"{PATIENCE} is {told[:40]!r}, which is no number of seconds up to {_LONGEST_S}",
            advice="Give a number such as 60, or leave it unset.",
        )
    return seconds


def _end(process: subprocess.Popen[bytes], *, group: bool) -> None:
    """End git and, where it leads a group, all that it has started: first so that it removes its locks."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM) if group else process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LAST_WORDS_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of a tree: its mode, the id of its content, and its size in bytes."""

    mode: str
    blob: str
    size: int

    @property
    def is_plain(self) -> bool:
        return self.mode.startswith("100")


class CommitTree:
    """The files of one commit, read from the object database.

    A commit never changes, so what was listed is remembered, and listed files are read many at a time: one
    process of git for each file would take minutes for thousands of manifests.
    """

    def __init__(self, repository: GitRepository, commit: str) -> None:
        self._repository = repository
        self._commit = commit
        self._entries: dict[PurePosixPath, _Entry] = {}
        self._listed: set[PurePosixPath] = set()
        self._awaited: dict[str, int] = {}
        self._contents: dict[str, bytes] = {}

    @property
    def commit(self) -> str:
        """40 hex digits."""
        return self._commit

    def read(self, path: PurePosixPath) -> bytes:
        """One plain file. Raises Unreadable if it is not there or is a link or a folder."""
        entry = self._entry(path)
        if not entry.is_plain:
            raise Unreadable(f"{path} at {self._commit[:12]} is not a plain file")
        if entry.blob not in self._contents and entry.blob in self._awaited:
            self._read_awaited()
        if entry.blob not in self._contents:
            content = self._repository.run("cat-file", "blob", entry.blob)
            if len(content) > _SMALL:
                return content
            self._contents[entry.blob] = content
        return self._contents[entry.blob]

    def exists(self, path: PurePosixPath) -> bool:
        """Whether there is such a plain file."""
        try:
            return self._entry(path).is_plain
        except Unreadable:
            return False

    def files(self, folder: PurePosixPath, suffix: str) -> Iterator[PurePosixPath]:
        """The plain files below a folder whose names end so, sorted."""
        if folder not in self._listed:
            self._entries.update(self._list("-r", f"{folder}/"))
            self._listed.add(folder)
        for path in sorted(self._entries):
            entry = self._entries[path]
            if entry.is_plain and path.is_relative_to(folder) and str(path).endswith(suffix):
                if entry.size <= _SMALL and entry.blob not in self._contents:
                    self._awaited[entry.blob] = entry.size
                yield path

    def _entry(self, path: PurePosixPath) -> _Entry:
        if path.is_absolute() or ".." in path.parts:
            raise Unreadable(f"{path} lies outside the repository")
        if path not in self._entries and not self._listed.intersection(path.parents):
            self._entries.update(self._list(str(path)))
        if path not in self._entries:
            raise Unreadable(f"{path} does not exist at {self._commit[:12]}")
        return self._entries[path]

    def _list(self, *words: str) -> Iterator[tuple[PurePosixPath, _Entry]]:
        listing = self._repository.run(
            "ls-tree", "-z", "-l", "--full-tree", *words[:-1], self._commit, "--", words[-1]
        )
        for record in os.fsdecode(listing).split("\0"):
            if record:
                meta, path = record.split("\t", 1)
                mode, _, blob, size = meta.split()
                yield PurePosixPath(path), _Entry(mode, blob, int(size) if size.isdigit() else 0)

    def _read_awaited(self) -> None:
        """Read what was listed and not read yet, as far as it fits into the memory set aside for it."""
        budget, wanted = _MEMORY - sum(map(len, self._contents.values())), []
        for blob, size in self._awaited.items():
            budget -= size
            if budget < 0:
                break
            wanted.append(blob)
        self._awaited = {}
        if wanted:
            self._contents.update(self._repository.contents(wanted))


class GitRepository:
    """One clone, its remote and the branch that holds the desire."""

    def __init__(self, root: Path, *, branch: str = "main", remote: str | None = "origin") -> None:
        self._root = root
        self._branch = branch
        self._remote = remote

    def run(
        self, *words: str, content: bytes | None = None, environment: Mapping[str, str] | None = None
    ) -> bytes:
        """Run git in the clone. Raises GitFailed; a remote that does not answer in time is one (`patience_s`)."""
        away = not _REMOTE.isdisjoint(words)
        command = ("git", "-C", str(self._root), *_SETTINGS, *(self._unasked if away else ()), *words)
        with subprocess.Popen(  # noqa: S603 - a list of words, no shell
            command,
            stdin=subprocess.DEVNULL if content is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_own_environment(), **_ENVIRONMENT, **(environment or {})},
            # Whatever git starts to reach a remote ends with it, and has no terminal to ask a person at.
            start_new_session=away,
        ) as process:
            try:
                output, told = process.communicate(content, timeout=patience_s() if away else None)
            except BaseException as error:
                _end(process, group=away)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise GitTimedOut(words, error.timeout) from None
                raise
        if process.returncode != 0:
            raise GitFailed(words, process.returncode, told.decode(errors="replace"))
        return output

    @cached_property
    def _unasked(self) -> tuple[str, ...]:
        """The setting that keeps ssh from asking, unless somebody has said how ssh is to be called."""
        if not _OWN_SSH.isdisjoint(os.environ) or self._is_configured("core.sshCommand"):
            return ()
        return ("-c", "core.sshCommand=ssh -oBatchMode=yes")

    def _is_configured(self, setting: str) -> bool:
        try:
            return bool(self.run("config", setting))
        except GitFailed:
            return False

    def contents(self, blobs: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The contents of many blobs by one process of git."""
        output = self.run("cat-file", "--batch", content="".join(f"{blob}\n" for blob in blobs).encode())
        at = 0
        for blob in blobs:
            end = output.index(b"\n", at)
            size = int(output[at:end].split()[2])
            yield blob, output[end + 1 : end + 1 + size]
            at = end + size + 2

    def _word(self, *words: str) -> str:
        return os.fsdecode(self.run(*words)).strip()

    def _records(self, *words: str) -> tuple[str, ...]:
        """What a command with -z lists. A path that is no UTF-8 stays what the file system calls it."""
        return tuple(record for record in os.fsdecode(self.run(*words)).split("\0") if record)

    def resolve(self, reference: str) -> str:
        """The commit that a name stands for. Raises Unreadable if there is none, or if it could be another.

        What a narrow clone lacks is fetched: a commit by its id, or the remote's branch of a name like origin/main.
        """
        name = re.split(r"[~^:]|@\{", reference, maxsplit=1)[0]
        try:
            return self._resolved(reference, name)
        except Unreadable:
            if not self._is_missing(name) or not self._brought(name):
                raise
        return self._in_full(lambda: self._resolved_whole(reference, name))

    def _resolved(self, reference: str, name: str) -> str:
        whole, rest = self._whole_name(name), reference.removeprefix(name)
        # Only a short name can be looked up in a branch's configuration and in the log of its moves.
        meant = reference if rest.startswith("@") else f"{whole}{rest}"
        try:
            return self._word("rev-parse", "--verify", "--quiet", "--end-of-options", f"{meant}^{{commit}}")
        except GitFailed:
            raise self._unknown(reference) from None

    def _resolved_whole(self, reference: str, name: str) -> str:
        """The same of what was brought by itself, whose parents may have been left behind."""
        try:
            return self._resolved(reference, name)
        except Unreadable:
            self._check_whole("--no-walk", self._resolved(name, name))
            raise

    def _is_missing(self, name: str) -> bool:
        try:
            self._resolved(name, name)
        except Unreadable:
            return not self._references(*(place.format(name) for place in _PLACES))
        return False

    def _brought(self, name: str) -> bool:
        """Whether the remote had what a name stands for, of names that say where it is."""
        name = name.removeprefix("refs/remotes/")
        branch = name.removeprefix(f"{self._remote}/")
        if self._remote is None or (branch == name and not _COMMIT.fullmatch(name)):
            return False
        wanted = name if branch == name else f"+refs/heads/{branch}:refs/remotes/{name}"
        return self._bring("--depth=1" if self._shallow_file.is_file() else None, wanted)

    def _bring(self, extent: str | None, *wanted: str) -> bool:
        """Fetch commits, or what refspecs say; whether that was possible."""
        try:
            self.run("fetch", *_QUIETLY, *([extent] if extent else []), str(self._remote), *wanted)
        except GitFailed:
            return False
        return True

    def _in_full(self, ask: Callable[[], T]) -> T:
        """What `ask` finds. Where a shallow clone ends before it, more of its history is fetched, if somebody has it."""
        for extent in _DEEPER:
            try:
                return ask()
            except _CutOff as error:
                if self._remote is None or not self._bring(extent, *sorted(error.commits)):
                    raise
        return ask()

    def _whole_name(self, name: str) -> str:
        """The one reference of that name, or what git alone gives a meaning to: a commit's id, HEAD.

        Git takes the first that it finds, and so a tag that anybody may push for the branch that is meant.
        """
        if name in {"", "@", "HEAD"} or _COMMIT.fullmatch(name):
            return name
        if name.startswith("refs/"):
            if not self._references(name):
                raise self._unknown(name)
            return name
        found = self._references(*(place.format(name) for place in _PLACES))
        if found and self._has_another_meaning(name):
            found = (name, *found)
        if len(found) > 1:
            raise Unreadable(
                f"{name!r} could be {' or '.join(found)}",
                advice="Give the full name of the one that is meant.",
            )
        return found[0] if found else name

    def _references(self, *names: str) -> tuple[str, ...]:
        """Those that exist, in the order given."""
        listing = self._word("for-each-ref", "--format=%(refname)", "--", *names).split("\n")
        return tuple(name for name in names if name in listing)

    def _has_another_meaning(self, name: str) -> bool:
        """Whether a name is also the beginning of a commit's id, or a file of git's own such as FETCH_HEAD."""
        if re.fullmatch(r"[0-9a-fA-F]{4,}", name):
            return bool(self._word("rev-parse", f"--disambiguate={name}"))
        return Path(self._root, self._word("rev-parse", "--git-path", name)).is_file()

    def _unknown(self, reference: str) -> Unreadable:
        return Unreadable(
            f"git knows no commit {reference!r} in {self._root}", advice="Fetch it first, or name another."
        )

    @cached_property
    def _shallow_file(self) -> Path:
        return Path(self._root, self._word("rev-parse", "--git-path", "shallow"))

    def _check_whole(self, *walk: str) -> None:
        """Raise _CutOff if a walk comes to where a shallow clone ends.

        A commit there seems to have no parent, and to have made every file that it holds.
        """
        try:
            cut = frozenset(self._shallow_file.read_text().split())
        except FileNotFoundError:
            return
        met = cut.intersection(self._word("rev-list", *walk, "--").split())
        # A first commit may be listed there too; a commit itself says what git no longer shows: its parents.
        found = (
            each for each in met if "\nparent " in self._word("cat-file", "commit", each).split("\n\n")[0]
        )
        if ends := frozenset(found):
            raise _CutOff(self._root, ends)

    def at(self, reference: str) -> CommitTree:
        """The tree at a commit or a name."""
        return CommitTree(self, self.resolve(reference))

    def bring(self, commit: str) -> None:
        """Have a commit here, from the remote if need be: what was squashed is on no branch any more.

        Raises Unreadable where nobody has it.
        """
        try:
            self.resolve(commit)
        except Unreadable:
            if self._remote is None:
                raise
            try:
                self.run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", self._remote, commit)
            except GitFailed:
                raise self._unknown(commit) from None

    def tree(self) -> CommitTree:
        """The tree at the tip of the branch, fetched from the remote if there is one."""
        return CommitTree(self, self._tip())

    def last_change(self, path: PurePosixPath) -> str:
        """The commit of the branch's own line that last changed a file: the merge, where a pull request did.

        Its first parent therefore is the branch as it was before, without anything of the pull request.
        """
        return self._in_full(lambda: self._last_change(path, self._tip_known()))

    def _last_change(self, path: PurePosixPath, tip: str) -> str:
        commit = self._word("log", "-1", "--first-parent", "--format=%H", tip, "--", str(path))
        if not commit:
            self._check_whole("--first-parent", tip)
            raise Unreadable(f"{path} has no history on {self._branch}")
        self._check_whole("--no-walk", commit)
        return commit

    def first_parent(self, commit: str) -> str | None:
        """The commit before it, or None for the first. Raises Unreadable where a shallow clone is cut off."""
        meant = self.resolve(commit)
        self._in_full(lambda: self._check_whole("--no-walk", meant))
        parents = self._word("rev-list", "--parents", "-n", "1", meant).split()[1:]
        return parents[0] if parents else None

    def history(self, path: PurePosixPath, reference: str) -> Iterator[str]:
        """The blob ids of every content that a file had on the branch's own line, newest first.

        What only ever stood in the middle of a pull request was never there. Raises Unreadable when it comes
        to where a shallow clone is cut off.
        """
        words = (
            "log",
            "--diff-merges=first-parent",
            "--first-parent",
            "--format=",
            "--raw",
            "--no-abbrev",
            "-z",
        )
        told = 0
        for extent in (*_DEEPER, None):
            records = self._records(*words, reference, "--", str(path))
            found = [record.split(" ")[3] for record in records if record.startswith(":")]
            yield from found[told:]  # A longer history only adds to the end.
            told = len(found)
            try:
                return self._check_whole("--first-parent", reference)
            except _CutOff as error:
                if extent is None or self._remote is None or not self._bring(extent, *sorted(error.commits)):
                    raise

    def changed_since(self, reference: str) -> frozenset[PurePosixPath]:
        """The files that this side has changed since it left a commit's line, those that git does not track too."""
        commit = self.resolve(reference)
        left = self._in_full(lambda: self._parting(commit))
        return _paths(
            self._records(*_DIFF, left, "--"),
            self._records("ls-files", "--others", "--exclude-standard", "-z"),
        )

    def _parting(self, commit: str) -> str:
        """Where this side has left a commit's line; the commit itself, where the two have nothing in common."""
        try:
            left = self._word("merge-base", commit, "HEAD")
        except GitFailed as error:
            if error.returncode != _NOTHING_IN_COMMON:
                raise
            self._check_whole(commit, "HEAD")
            return commit
        self._check_whole(commit, "HEAD", f"^{left}")
        return left

    def contains(self, descendant: str, ancestor: str) -> bool:
        """Whether a commit is part of the history of another. Raises Unreadable if that is cut off before it."""
        younger, older = self.resolve(descendant), self.resolve(ancestor)
        return self._in_full(lambda: self._contains(younger, older))

    def _contains(self, younger: str, older: str) -> bool:
        try:
            if self._word("merge-base", younger, older) == older:
                return True
        except GitFailed as error:
            if error.returncode != _NOTHING_IN_COMMON:
                raise
        self._check_whole(younger)
        return False

    def changed_between(self, before: str, after: str) -> frozenset[PurePosixPath]:
        """The files that differ between two commits."""
        return _paths(self._records(*_DIFF, before, after, "--"))

    def authors(
        self, *paths: PurePosixPath, since: str, until: str = "HEAD", committers: bool = True
    ) -> tuple[str, ...]:
        """All names of all who changed files or folders between two commits: authors, co-authors, committers.

        Whoever merges by a rebase becomes the committer of what others wrote: where a forge says who wrote it,
        `committers` are better left out. Names and addresses, and of an address also what stands before the @.
        Raises Unreadable if the history between them is cut off.
        """
        self._in_full(lambda: self._check_whole(f"{since}..{until}"))
        # Everybody in the form of the trailer: a name cannot hold a line's end, and a message not a NUL.
        people = "Co-authored-by: %an <%ae>%n%B" + ("%nCo-authored-by: %cn <%ce>" if committers else "")
        listing = self.run("log", f"--format={people}", f"{since}..{until}", "--", *map(str, paths))
        found = _MADE_BY.findall(listing.decode(errors="replace"))
        return tuple(sorted({word for name, address in found for word in _names(name, address) if word}))

    def blob_id(self, content: bytes) -> str:
        """The id that git gives to a content, without storing it."""
        return self.run("hash-object", "--no-filters", "--stdin", content=content).decode().strip()

    def restore(self, path: PurePosixPath, *, content: bytes | None, bad: bytes, message: str) -> Revert:
        """Bring a file back in a commit of its own and push it; a lost race starts again on the new tip."""
        from rollout.ports import Revert

        for _ in range(_ATTEMPTS):
            tip = self._tip()
            if self._is_back(tip, path, content, bad):
                return Revert(commit=None, branch=self._branch, pushed=True)
            commit = self._commit(tip, path, content, message)
            if self._push(commit, tip):
                return Revert(commit=commit, branch=self._branch, pushed=self._remote is not None)
        raise self._outrun(self._branch)

    def propose(
        self, path: PurePosixPath, *, content: bytes | None, bad: bytes, message: str, branch: str
    ) -> Revert:
        """The same on a branch of its own, which is built upon and never overwritten; one that has it is left alone.

        A branch that the tip has moved away from gets a commit that joins both, so that merging it changes this one
        file and nothing else.
        """
        from rollout.ports import Revert

        for _ in range(_ATTEMPTS):
            tip = self._tip()
            if self._is_back(tip, path, content, bad):
                return Revert(commit=None, branch=self._branch, pushed=True)
            before = self.proposed(branch)
            if before is not None and self._proposes(before, tip, path, (content, bad), message):
                return Revert(commit=before, branch=branch, pushed=True)
            joined = () if before is None or self.contains(tip, before) else (before,)
            commit = self._commit(tip, path, content, message, *joined)
            if self._push_aside(commit, branch, before):
                return Revert(commit=commit, branch=branch, pushed=True)
        raise self._outrun(branch)

    def proposed(self, branch: str) -> str | None:
        """The tip of another branch at the remote, with all that it needs here; None if it has no such branch."""
        reference, remote = f"refs/heads/{branch}", self._remote
        if remote is None:
            raise Unreadable(f"there is no remote that {branch} could be on")
        try:
            listing = self._word("ls-remote", "--quiet", remote, reference)
            found = [line.split("\t") for line in listing.splitlines()]
            tip = next((commit for commit, name in found if name == reference), None)
            if tip is not None:
                self.run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", remote, reference)
        except GitFailed as error:
            raise self._unfetched(branch, error) from None
        return tip

    def _is_back(self, tip: str, path: PurePosixPath, content: bytes | None, bad: bytes) -> bool:
        """Whether nothing is left to be done. Raises WorldChanged for a file that is neither good nor bad."""
        now = self._content(tip, path)
        if now not in (content, bad):
            raise WorldChanged(
                f"{path} was changed on {self._branch} since the rollback began; it is left alone",
                advice="Read the newer change; revert it in a pull request if it is not wanted.",
            )
        return now == content

    def _content(self, commit: str, path: PurePosixPath) -> bytes | None:
        tree = CommitTree(self, commit)
        return tree.read(path) if tree.exists(path) else None

    def _proposes(
        self,
        commit: str,
        tip: str,
        path: PurePosixPath,
        change: tuple[bytes | None, bytes],
        message: str,
    ) -> bool:
        """Whether merging a commit into the tip would do exactly this, for this reason."""
        content, bad = change
        try:
            parted = self._word("merge-base", tip, commit)
        except GitFailed:
            return False
        return (
            parted != commit
            and self.changed_between(parted, commit) == {path}
            and self._content(commit, path) == content
            and self._content(parted, path) == bad
            and self._word("log", "-1", "--format=%B", commit) == message.strip()
        )

    def _outrun(self, branch: str) -> RemoteUnavailable:
        return RemoteUnavailable(
            f"the push to {branch} lost {_ATTEMPTS} races in a row", advice="Run the command again."
        )

    def _commit(
        self, tip: str, path: PurePosixPath, content: bytes | None, message: str, *joined: str
    ) -> str:
        """A commit on top of `tip` that changes one file, built beside every index. It may join other branches."""
        with tempfile.TemporaryDirectory(prefix="rollout-index-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            self.run("read-tree", tip, environment=index)
            if content is None:
                self.run("update-index", "--force-remove", "--", str(path), environment=index)
            else:
                stored = self.run("hash-object", "-w", "--no-filters", "--stdin", content=content)
                blob = stored.decode().strip()
                self.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environment=index)
            tree = self.run("write-tree", "--missing-ok", environment=index).decode().strip()
        parents = (word for parent in (tip, *joined) for word in ("-p", parent))
        words = ("commit-tree", tree, *parents, "-F", "-")
        told = message.encode(errors="backslashreplace")
        return self.run(*words, content=told, environment=self._identity()).decode().strip()

    def _identity(self) -> dict[str, str]:
        """Whoever git is configured as; a machine without a name commits as rollout."""
        if self._is_configured("user.email"):
            return {}
        return {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", "rollout"), ("EMAIL", "rollout@localhost"))
        }

    def _push(self, commit: str, tip: str) -> bool:
        """Move the branch from `tip` to `commit`, never by force; False if somebody was faster."""
        try:
            if self._remote is None:
                self.run("update-ref", f"refs/heads/{self._branch}", commit, tip)
            else:
                self.run("push", self._remote, f"{commit}:refs/heads/{self._branch}")
                self.run("update-ref", f"refs/remotes/{self._remote}/{self._branch}", commit)
        except GitFailed as error:
            if self._was_lost(error, lambda: self._tip() != tip):
                return False
            raise _failed_push(self._branch, error) from None
        return True

    def _push_aside(self, commit: str, branch: str, before: str | None) -> bool:
        """Move another branch of the remote from `before` to `commit`, never by force; False if somebody was faster."""
        try:
            self.run("push", str(self._remote), f"{commit}:refs/heads/{branch}")
        except GitFailed as error:
            if self._was_lost(error, lambda: self.proposed(branch) != before):
                return False
            raise _failed_push(branch, error) from None
        return True

    def _was_lost(self, error: GitFailed, moved: Callable[[], bool]) -> bool:
        if any(sign in error.stderr for sign in _LOST):
            return True
        try:
            return moved()
        except RemoteUnavailable:
            return False

    def _tip(self) -> str:
        """The branch's tip, as the remote has it now."""
        if self._remote is not None:
            reference = f"refs/remotes/{self._remote}/{self._branch}"
            words = ("fetch", "--quiet", "--no-tags", self._remote, f"+refs/heads/{self._branch}:{reference}")
            try:
                try:
                    self.run(*words)
                except GitFailed as error:
                    if "cannot lock ref" not in error.stderr:
                        raise
                    self._outlast_lock(reference)
                    self.run(*words)
            except GitFailed as error:
                raise self._unfetched(self._branch, error) from None
        return self._tip_known()

    def _unfetched(self, branch: str, error: GitFailed) -> RemoteUnavailable:
        return RemoteUnavailable(
            f"fetching {branch} from {self._remote} failed: {error.reason}",
            advice="Check the remote and run the command again.",
        )

    def _outlast_lock(self, reference: str) -> None:
        """Wait for another git to release a reference; what a killed one has left is removed.

        A reference is locked for milliseconds. Without this a rollback could not go on after a machine had failed.
        """
        lock = self._root / self._word("rev-parse", "--git-common-dir") / f"{reference}.lock"
        deadline = time.monotonic() + 2 * _STALE_AFTER
        while time.monotonic() < deadline:
            try:
                if time.time() - lock.stat().st_mtime > _STALE_AFTER:
                    lock.unlink()
            except OSError:
                return
            time.sleep(0.05)

    def _tip_known(self) -> str:
        if self._remote is None:
            return self.resolve(f"refs/heads/{self._branch}")
        return self.resolve(f"refs/remotes/{self._remote}/{self._branch}")


def _failed_push(branch: str, error: GitFailed) -> RemoteUnavailable | PushRefused:
    """Why a push failed that was no race: a rule or a hook of the remote, or something that may be gone next time."""
    refused = _REFUSED.search(error.stderr)
    if refused is None:
        return RemoteUnavailable(
            f"the push to {branch} failed: {error.reason}",
            advice="Check the remote and run the command again.",
        )
    told = "; ".join(each.strip() for each in (refused["why"], *_SAID.findall(error.stderr)))
    return PushRefused(
        f"the remote does not take a push to {branch}: {plain(told, 400, nothing='without a word')}",
        advice="Let whoever runs rollout push there, or have reverts proposed in pull requests:"
        " `forge` of the environment (docs/github.md).",
    )


def _own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN}


def _paths(*listings: Iterable[str]) -> frozenset[PurePosixPath]:
    return frozenset(PurePosixPath(path) for listing in listings for path in listing)


def _names(name: str, address: str) -> Iterator[str]:
    """What a forge may know somebody by: 4711+ann@users.noreply.github.com is its ann."""
    local = address.strip().split("@")[0]
    yield from (name.strip(), address.strip(), local, local.split("+")[0])
    yield re.sub(r"\A\d+[+-]", "", local)
