"""Which requests belong to a sample."""

from __future__ import annotations

import hashlib

from rollout.core.plan import WHOLE, Share


def is_sampled(request_id: str, share: Share) -> bool:
    """Whether a request belongs to the sample: the same answer wherever and whenever it is asked.

    Samples lie within each other: what belongs to one of 5 % belongs to every larger one.
    """
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % WHOLE < share.thousandths
