"""Who was really served: users and requests of each version at one step, against what the flag was set to."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log

from rollout.core.plan import WHOLE, Share
from rollout.core.stats import as_odds, log_beta

PRIOR_USERS = 20
"""How many users the prior of the sample-ratio test is worth. Fewer find gross mistakes a little sooner, more find
small ones a little sooner: with 20, nobody on the candidate is found after 185 users at 5 %, a doubled share after 450,
a fifth too few after 9,000, each within a fifth of the best prior for it."""

_TOLERATED = Share.parse("1%")
_FEW = 2
_MOST = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What was dealt at random by a flag version or a newer one, in one window.

    `stable_users` and `candidate_users` are distinct keys (a user's hash) that were served by one version only;
    `both` were served by each. Requests that a tester pinned, copies, and what stable answered in the candidate's
    place after its failure are in none of these, and neither is what users of a ring got. What stable answered because
    a gateway holds the candidate or does not trust its flag data is stable's: the flag said otherwise, and that is to
    be seen. `keyed` and `unkeyed` are requests, and `unkeyed_on_candidate` those of them that the candidate answered.
    """

    stable_users: int
    candidate_users: int
    both: int
    keyed: int
    unkeyed: int
    unkeyed_on_candidate: int = 0

    def __post_init__(self) -> None:
        counts = (self.stable_users, self.candidate_users, self.both, self.keyed, self.unkeyed)
        if min(counts) < 0 or max(counts) > _MOST:
            raise ValueError("an exposure has a count below zero or beyond all counting")
        if self.stable_users + self.candidate_users + 2 * self.both > self.keyed:
            raise ValueError("an exposure has users without requests")
        if not 0 <= self.unkeyed_on_candidate <= self.unkeyed:
            raise ValueError("an exposure has more requests without a key on the candidate than at all")

    @property
    def users(self) -> int:
        """All users with a key."""
        return self.stable_users + self.on_candidate

    @property
    def on_candidate(self) -> int:
        """Users whom the flag gave the candidate: nobody gets it otherwise, whatever else they got."""
        return self.candidate_users + self.both

    @property
    def requests(self) -> int:
        """All requests, with a key or without."""
        return self.keyed + self.unkeyed


def sample_ratio(exposure: Exposure, share: Share) -> float:
    """Evidence (log of an e-value) that users are not given the candidate with probability `share`, each by himself.

    It may be looked at after every user: under the configured share its exponential exceeds 1 / alpha at any time
    with probability alpha at most. 0 or less is none, inf a proof: one user on the wrong version at 0 % or 100 %.

    Source: the Dirichlet-multinomial mixture of Lindon and Malek, "Anytime-Valid Inference for Multinomial Count
    Data", NeurIPS 2022, for two arms; its prior is centred on the configured share.
    """
    candidate, stable = exposure.on_candidate, exposure.stable_users
    if share in (Share.ZERO, Share.FULL):
        return inf if (candidate if share == Share.ZERO else stable) else 0.0
    p = share.fraction
    mixture = log_beta(PRIOR_USERS * p + candidate, PRIOR_USERS * (1 - p) + stable)
    prior = log_beta(PRIOR_USERS * p, PRIOR_USERS * (1 - p))
    return mixture - prior - candidate * log(p) - stable * log(1 - p)


def exposure_complaint(exposure: Exposure, *, share: Share, alpha: float, max_unkeyed: Share) -> str | None:
    """What is wrong with who was served at `share`, in one sentence; None if nothing is known to be.

    Whether users get a version is a function of their key, so that nobody should see both within one step. A gateway
    that distrusts its flag data for a moment makes some who do. They blur a comparison by their part of the
    candidate's users: up to 1 % (or two users) of them are let pass, and as many users of stable at 100 %.
    """
    if not exposure.requests:
        return "nobody was served yet by the flag as it was set"
    found = [_mismatch(exposure, share, alpha), _seen_both(exposure)]
    if share != Share.FULL:
        found += [_nobody(exposure), _unkeyed(exposure, max_unkeyed), _astray(exposure)]
    return "; ".join(complaint for complaint in found if complaint) or None


def percent(part: int, whole: int) -> str:
    """A part of a count, to three digits: `4.95%`."""
    return f"{100 * part / whole:.3g}%" if whole else "0%"


def _nobody(exposure: Exposure) -> str | None:
    if exposure.users:
        return None
    return f"none of {exposure.requests:,} requests had a key, so that no user was dealt a version"


def _mismatch(exposure: Exposure, share: Share, alpha: float) -> str | None:
    evidence = sample_ratio(exposure, share)
    if evidence < -log(alpha) or (share == Share.FULL and _is_few(exposure.stable_users, exposure.users)):
        return None
    served = percent(exposure.on_candidate, exposure.users)
    strength = "" if evidence == inf else f" (evidence of a mismatch: {as_odds(evidence)})"
    return (
        f"the candidate served {served} of users ({exposure.on_candidate:,} of {exposure.users:,})"
        f" where the flag says {share}{strength}"
    )


def _seen_both(exposure: Exposure) -> str | None:
    if _is_few(exposure.both, exposure.on_candidate):
        return None
    return (
        f"{exposure.both:,} of the candidate's {exposure.on_candidate:,} users were served by stable too,"
        f" above the tolerated {_TOLERATED}"
    )


def _is_few(users: int, of: int) -> bool:
    """Whether so many users are what a gateway's moment of distrust explains, and too few to blur anything."""
    return users <= _FEW or users * WHOLE <= _TOLERATED.thousandths * of


def _astray(exposure: Exposure) -> str | None:
    if not exposure.unkeyed_on_candidate:
        return None
    return f"the candidate answered {exposure.unkeyed_on_candidate:,} requests without a key, which below 100 % are stable's"


def _unkeyed(exposure: Exposure, most: Share) -> str | None:
    if exposure.unkeyed * WHOLE <= most.thousandths * exposure.requests:
        return None
    return (
        f"{percent(exposure.unkeyed, exposure.requests)} of requests"
        f" ({exposure.unkeyed:,} of {exposure.requests:,}) had no key, above the plan's {most}"
    )
