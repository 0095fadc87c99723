"""LaunchDarkly's flags as a dial: what says nothing is let pass, what would draw other users is not."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.core.flagmodel import UnsoundFlagError, check_evaluable, fallthrough, fresh_flag, read_dial
from rollout.core.plan import Share

KEY = "lora-bot"
FIVE = Share.parse("5%")


def flag(**rollout: Any) -> dict[str, Any]:
    """On at 5 %, with more said of its rollout."""
    served = fallthrough(FIVE)
    assert isinstance(served["rollout"], dict)
    return {
        **fresh_flag(KEY, "salt"),
        "on": True,
        "fallthrough": {"rollout": {**served["rollout"], **rollout}},
    }


def weights(**more: Any) -> list[dict[str, Any]]:
    return [{"variation": 0, "weight": 95_000, **more}, {"variation": 1, "weight": 5_000, **more}]


@pytest.mark.parametrize(
    "said",
    [
        {"bucketBy": "key"},
        {"bucketBy": None},
        {"seed": None},
        {"kind": "rollout"},
        {"kind": None},
        {"variations": weights(untracked=False)},
        {"variations": weights(untracked=None)},
    ],
)
def test_what_is_the_same_said_aloud_changes_nothing(said: dict[str, Any]) -> None:
    """As LaunchDarkly streams it: both sides of the dial must take it."""
    dial = read_dial(KEY, flag(**said))
    assert (dial.share, dial.cohort) == (FIVE, read_dial(KEY, flag()).cohort)
    check_evaluable(KEY, flag(**said))


def test_a_null_beside_a_rollout_says_nothing() -> None:
    told = flag()
    told["fallthrough"]["variation"] = None
    assert read_dial(KEY, told).share == FIVE


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"bucketBy": "country"}, "bucketBy, which would draw the users anew"),
        ({"bucketBy": ""}, "bucketBy, which would draw the users anew"),
        ({"seed": 61}, "seed, which would draw the users anew"),
        ({"kind": "experiment"}, "kind, which would draw the users anew"),
        ({"contextKind": "tenant"}, "buckets contexts of kind 'tenant'"),
        ({"variations": weights()[::-1]}, "does not list stable first"),
        ({"variations": weights(untracked=True)}, "does not list the two slots with a weight each"),
        ({"variations": None}, "does not list the two slots with a weight each"),
        ({"variations": [*weights(), {"variation": 0, "weight": 0}]}, "does not list the two slots"),
    ],
)
def test_what_would_serve_others_is_refused(said: dict[str, Any], reason: str) -> None:
    for judge in (read_dial, check_evaluable):
        with pytest.raises(UnsoundFlagError, match=reason):
            judge(KEY, flag(**said))
