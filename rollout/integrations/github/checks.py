"""What ran on a commit: GitHub keeps check runs, and the older statuses beside them."""

from __future__ import annotations

from rollout.core.plain import plain
from rollout.core.pullrequest import Checks
from rollout.errors import ForgeDenied
from rollout.integrations.github.client import Client

_GOOD = frozenset({"success", "neutral", "skipped"})


def checks_of(client: Client, repository: str, commit: str) -> Checks | None:
    """Both together; None where the token may not read them: nothing depends on it but the words of a report."""
    path = f"/repos/{repository}/commits/{commit}"
    ended: list[tuple[str, str | None]] = []
    try:
        for run in client.pages(f"{path}/check-runs", {"filter": "latest"}, within="check_runs"):
            done = str(run.get("conclusion")) if run.get("status") == "completed" else None
            ended.append((_name(run.get("name")), done))
        for status in client.pages(f"{path}/status", {}, within="statuses"):
            state = str(status.get("state"))
            ended.append((_name(status.get("context")), None if state == "pending" else state))
    except ForgeDenied:
        return None
    return Checks(
        passed=sum(done in _GOOD for _, done in ended),
        pending=sum(done is None for _, done in ended),
        failed=tuple(sorted(name for name, done in ended if done is not None and done not in _GOOD)),
    )


def _name(name: object) -> str:
    return plain(str(name or ""), 80, nothing="without a name")
