"""Clones as `actions/checkout` makes them: one commit, no branch, perhaps few folders, credentials in a file beside."""

from __future__ import annotations

from pathlib import Path

from tests.support.ledgers import git

KINDS = ("shallow", "sparse")


def check_out(origin: Path, root: Path, *, kind: str, ref: str = "refs/heads/main") -> Path:
    """The tip of a reference, detached. A sparse one holds manifests and policies, and contents as they are needed."""
    root.mkdir(parents=True)
    git(root, "init", "-q", "-b", "unborn")
    credentials = root.with_name(f"{root.name}-credentials.config")
    # What a token is there: without it the remote cannot be reached at all.
    credentials.write_text(f'[url "file://{origin}"]\n\tinsteadOf = forge:owner/repository\n')
    git(root, "config", f"includeIf.gitdir:{root.resolve()}/.git.path", str(credentials))
    git(root, "remote", "add", "origin", "forge:owner/repository")
    for setting in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git(origin, "config", setting, "true")
    narrow = ("--filter=blob:none",) if kind == "sparse" else ()
    tip = git(origin, "rev-parse", ref).decode().strip()
    place = "refs/remotes/" + ref.removeprefix("refs/").replace("heads/", "origin/")
    words = ("--no-tags", "--prune", "--no-recurse-submodules", "--depth=1")
    git(root, "fetch", "-q", *words, *narrow, "origin", f"+{tip}:{place}")
    if kind == "sparse":
        git(root, "sparse-checkout", "set", "manifests", "policies")
    git(root, "checkout", "-q", "--force", "--detach", place)
    return root
