"""Which promises of our own gateway another one does not keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rollout.core.split import Split

_COMMON = (
    "the split is a picture of this moment: it follows neither flag nor routes until it is rendered and applied anew",
    "the stale-flag guard is gone: nobody compares the flag's version and age with the route when a request comes",
    "requests without a key get the candidate too, below 100 %",
    "a candidate that fails is not asked again on stable",
    "nothing is mirrored",
    "no request is recorded, so that `rollout advance` has no samples to judge by and takes no step",
)


def losses(*own: str) -> tuple[str, ...]:
    """What is lost with a gateway: what is said of it, and what is so with any."""
    return (*own, *_COMMON)


def commented(
    document: str, *, title: str, revision: int, splits: Sequence[Split], lost: Iterable[str]
) -> str:
    """A rendered document under a head of comments: where it comes from, and what it does not keep."""
    head = [
        f"{title}, rendered by adapter-rollout from routes revision {revision}. Do not edit: render it anew.",
        *(f"  {split.name}: candidate {split.share} ({split.reason})" for split in splits),
        "Not kept, compared with adapter-rollout's own gateway:",
        *(f"  - {each}" for each in lost),
    ]
    return "".join(f"# {line}\n" for line in head) + document
