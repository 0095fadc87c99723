"""Who was served what: the users of each version in one window, and the requests that came without a key."""

from __future__ import annotations

import sqlite3

from rollout.core.exposure import Exposure
from rollout.core.metric import Comparison
from rollout.integrations.trafficlog.counting import DEALT, NAMED

# One pass over the rows of both versions in the window, by an index; only keys are sorted. `least` and `most` say
# whether the candidate answered all and any of a user's requests; what came without a key is one group.
_COUNTS = f"""
    SELECT coalesce(sum(key_hash IS NOT NULL AND NOT most), 0),
           coalesce(sum(key_hash IS NOT NULL AND least), 0),
           coalesce(sum(key_hash IS NOT NULL AND most AND NOT least), 0),
           coalesce(sum(requests) FILTER (WHERE key_hash IS NOT NULL), 0),
           coalesce(sum(requests) FILTER (WHERE key_hash IS NULL), 0),
           coalesce(sum(candidates) FILTER (WHERE key_hash IS NULL), 0)
    FROM (
        SELECT r.key_hash AS key_hash, min(r.served = :candidate) AS least, max(r.served = :candidate) AS most,
               count(*) AS requests, sum(r.served = :candidate) AS candidates
        FROM requests AS r
        WHERE r.name = :name AND r.served IN (:stable, :candidate) AND r.shadow = 0
          AND r.id > :since AND r.id <= :until AND r.flag_version >= :flag_version AND {DEALT.format(row="r")}
          AND NOT {NAMED}
        GROUP BY r.key_hash
    )
"""  # noqa: S608 - built from constants


def count_exposure(
    connection: sqlite3.Connection, comparison: Comparison, window: tuple[int, int], flag_version: int
) -> Exposure:
    """Users and requests in (since, until] whose version was decided by `flag_version` or a newer one."""
    row = connection.execute(
        _COUNTS,
        {
            "name": comparison.name,
            "stable": comparison.stable,
            "candidate": comparison.candidate,
            "since": window[0],
            "until": window[1],
            "flag_version": flag_version,
        },
    ).fetchone()
    stable, candidate, both, keyed, unkeyed, astray = row
    return Exposure(
        stable_users=stable,
        candidate_users=candidate,
        both=both,
        keyed=keyed,
        unkeyed=unkeyed,
        unkeyed_on_candidate=astray,
    )
