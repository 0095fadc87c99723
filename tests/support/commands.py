"""`rollout` in a repository whose server and gateway do not run: what it says, and with what it ends."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from rollout.cli import run
from rollout.demo.scratch import ENVIRONMENT, NAME
from tests.support.site import Site


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


def rollout(*words: str) -> Ended:
    """Run it in this process, as the console script does."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = run(words)
    return Ended(status=status, out=out.getvalue(), err=err.getvalue())


def in_site(site: Site, verb: str, *words: str, name: str = NAME, environment: str = ENVIRONMENT) -> Ended:
    """A verb for the site's adapter, or for another name or environment."""
    return rollout(verb, name, "-e", environment, "--root", str(site.repository.root), *words)


def break_ledger(site: Site) -> None:
    """Change an entry that others build on."""
    ledger = site.repository.state / "ledger" / ENVIRONMENT / f"{NAME}.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"ann"', b'"eve"', 1))


def everything(site: Site) -> dict[str, bytes | str]:
    """All files of the state folder but for empty locks, and all references of the clone and of its remote."""
    state, git = site.repository.state, site.repository.git
    files: dict[str, bytes | str] = {
        str(path.relative_to(state)): path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }
    return files | {
        "refs": git("for-each-ref"),
        "remote": git("ls-remote", "origin"),
        "tree": git("status", "-s"),
    }


def lasting(site: Site) -> dict[str, bytes | str]:
    """The same without what SQLite leaves beside a log that somebody reads."""
    return {
        name: content for name, content in everything(site).items() if not name.endswith(("-shm", "-wal"))
    }
