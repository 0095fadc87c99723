"""Findings in SARIF for code scanning, which shows them at the lines of a pull request and keeps those of a branch."""

from __future__ import annotations

import base64
import gzip
from typing import Final

from rollout.errors import ForgeDenied
from rollout.integrations.github.client import Client

MOST: Final = 10_000_000
"""Bytes, compressed, as GitHub says."""


def upload(client: Client, repository: str, sarif: bytes, *, commit: str, ref: str) -> str:
    """Hand in the findings of a commit; the answer is the upload's id. Writing needs `security-events: write`.

    Raises ForgeDenied where there is no code scanning, or the token may not, and ForgeUnavailable.
    """
    packed = gzip.compress(sarif, mtime=0)
    if len(packed) > MOST:
        raise ForgeDenied(
            f"the findings have {len(packed):,} bytes, more than the {MOST:,} that code scanning takes",
            advice="Check fewer manifests at once.",
        )
    wanted = {"commit_sha": commit, "ref": ref, "sarif": base64.b64encode(packed).decode()}
    # The same findings twice are the same findings: it may be sent again.
    answer = client.ask("POST", f"/repos/{repository}/code-scanning/sarifs", wanted)
    if not answer.ok or not isinstance(answer.body, dict):
        raise client.unexpected("findings for code scanning", answer)
    return str(answer.body.get("id", ""))
