"""What an environment document may say of its flags."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.environment import LaunchDarklyFlags


def launchdarkly(**changes: Any) -> LaunchDarklyFlags:
    return LaunchDarklyFlags.model_validate(
        {"kind": "launchdarkly", "project": "default", "environment": "production", **changes}
    )


@pytest.mark.parametrize("changes", [{}, {"max_age_s": None}, {"max_age_s": 200.0}])
def test_flag_data_may_grow_as_old_as_a_heartbeat_takes(changes: dict[str, Any]) -> None:
    launchdarkly(**changes)


def test_flag_data_of_launchdarkly_cannot_be_younger_than_its_heartbeats() -> None:
    with pytest.raises(ValidationError, match="a sign of life every three minutes"):
        launchdarkly(max_age_s=60.0)
    assert launchdarkly(max_age_s=60.0, stream="http://127.0.0.1:8030").max_age_s == 60.0


@pytest.mark.parametrize(
    "changes",
    [{"project": "../other"}, {"environment": "a/b"}, {"token_env": "api-1234"}, {"api": "ftp://x"}],
)
def test_what_would_lead_elsewhere_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        launchdarkly(**changes)
