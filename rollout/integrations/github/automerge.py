"""Auto-merge, which GitHub has in GraphQL alone: merge a pull request as soon as nothing is left to wait for."""

from __future__ import annotations

from collections.abc import Mapping

from rollout.core.plain import plain
from rollout.integrations.github.client import Client

_ENABLE = """
mutation($input: EnablePullRequestAutoMergeInput!) {
  enablePullRequestAutoMerge(input: $input) { pullRequest { number } }
}
"""


def enable(client: Client, wanted: Mapping[str, str]) -> str | None:
    """Enable it; the answer is what GitHub says against it, None if it is enabled.

    `wanted` are the fields of GraphQL's `EnablePullRequestAutoMergeInput`. Raises ForgeUnavailable where GraphQL
    limits us, which it says with status 200.
    """
    body = {"query": _ENABLE, "variables": {"input": dict(wanted)}}
    answer = client.ask("POST", client.graphql, body)
    if not answer.ok:
        raise client.unexpected("auto-merge", answer)
    errors = answer.body.get("errors") if isinstance(answer.body, dict) else None
    listed = errors if isinstance(errors, list) else ()
    if any(isinstance(error, dict) and error.get("type") == "RATE_LIMITED" for error in listed):
        raise client.away(f"it limits us ({answer.message})")
    if errors:
        return plain(answer.message, 300, nothing="without a word")
    if not isinstance(answer.body, dict) or not isinstance(answer.body.get("data"), dict):
        raise client.away("its GraphQL answered with no data")
    return None
