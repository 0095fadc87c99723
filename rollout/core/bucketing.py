"""Who is drawn at a share, without asking anybody: LaunchDarkly's arithmetic in ten lines."""

from __future__ import annotations

import hashlib

from rollout.core.plan import WHOLE, Share

_DIGITS = 15
_LARGEST = 16**_DIGITS - 1


def in_share(flag_key: str, salt: str, user_key: str) -> float:
    """Where a user stands in a flag's draw, from 0 to 1: who stands low leaves stable last.

    Source: `variationIndexForContext` and `bucketContext` of LaunchDarkly's SDKs, whose cross-SDK contract tests
    (launchdarkly/sdk-test-harness, `server_side_eval_bucketing`) pin it: sha1 of `flag.salt.key`, its first 15
    hexadecimal digits over the largest such number. Only for flags without a seed, bucketed by the key.
    """
    digest = hashlib.sha1(f"{flag_key}.{salt}.{user_key}".encode(), usedforsecurity=False).hexdigest()
    return int(digest[:_DIGITS], 16) / float(_LARGEST)


def gets_candidate(flag_key: str, salt: str, user_key: str, share: Share) -> bool:
    """Whether a user is on the candidate at a share of a sound flag: stable is listed first, so it has the low end."""
    if share in (Share.ZERO, Share.FULL):
        return share == Share.FULL
    stable, _ = share.weights
    return in_share(flag_key, salt, user_key) >= stable / WHOLE
