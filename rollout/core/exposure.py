"""Who was really served: users and requests of each version at one step, as the gateways recorded them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What was dealt at random by a flag version or a newer one, in one window.

    `stable_users` and `candidate_users` are distinct keys (a user's hash) that were served by one version only;
    `both` were served by each. Requests that a tester pinned, copies, and what stable answered in the candidate's
    place after its failure are in none of these. `keyed` and `unkeyed` are requests.
    """

    stable_users: int
    candidate_users: int
    both: int
    keyed: int
    unkeyed: int
