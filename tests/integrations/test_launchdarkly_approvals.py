"""Where changes have to be approved: asked for once, applied when approved, withdrawn when the world has moved."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.core.flag import FlagState
from rollout.core.plan import Share
from rollout.errors import FlagAwaitsApproval, FlagConflict, FlagDenied, FlagPendingChange, FlagUnavailable
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from tests.support.launchdarkly import Speaker, speaking
from tests.support.patience import Waits

KEY = "lora-support-bot"
QUARTER, HALF = Share.parse("25%"), Share.parse("50%")


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    with speaking(tmp_path) as it:
        yield it


@pytest.fixture
def store(speaker: Speaker) -> LaunchDarklyStore:
    """A store whose flag is on at 25 %, in an environment that asks for approvals from now on."""
    made = LaunchDarklyStore(
        speaker.flags,
        token=Token(speaker.token, "LD_ACCESS_TOKEN"),
        rollback_token=Token(speaker.rollback_token, "LD_ROLLBACK_TOKEN"),
        pace=Waits().pace,
    )
    made.create(KEY, by="ann")
    made.write(KEY, QUARTER, turn_on=True, expect_version=None, by="ann", comment="begin")
    require_approval(speaker)
    speaker.requests.clear()
    return made


def require_approval(speaker: Speaker) -> None:
    patch = [{"op": "replace", "path": "/approvalSettings/required", "value": True}]
    path = f"/projects/{speaker.project}/environments/{speaker.environment}"
    assert speaker.ask("PATCH", path, json=patch).status_code == 200


def write(
    store: LaunchDarklyStore, share: Share = HALF, expect: int | None = None, release: str = "bot-1.1.0/7"
) -> FlagState:
    return store.write(
        KEY, share, turn_on=False, expect_version=expect, by="ann", comment="step 2", release=release
    )


def requests_of(speaker: Speaker) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = speaker.ask("GET", path_of(speaker)).json()["items"]
    return items


def path_of(speaker: Speaker) -> str:
    return f"/projects/{speaker.project}/flags/{KEY}/environments/{speaker.environment}/approval-requests"


def review(speaker: Speaker, kind: str) -> None:
    (one,) = [each for each in requests_of(speaker) if each["status"] == "pending"]
    path = f"{path_of(speaker)}/{one['_id']}/reviews"
    answer = speaker.ask("POST", path, token=speaker.reviewer_token, json={"kind": kind})
    assert answer.status_code == 200, answer.text


def applied(speaker: Speaker) -> int:
    return sum(each.path.endswith("/apply") for each in speaker.requests)


def test_a_change_waits_and_says_for_whom(speaker: Speaker, store: LaunchDarklyStore) -> None:
    with pytest.raises(FlagAwaitsApproval, match="50%") as caught:
        write(store)
    (one,) = requests_of(speaker)
    assert one["_id"] in str(caught.value)
    assert speaker.url in str(caught.value)
    assert one["instructions"][0]["kind"] == "updateFallthroughVariationOrRollout"
    assert speaker.config(KEY)["version"] == 2


def test_it_is_asked_for_once_however_often_it_is_wanted(speaker: Speaker, store: LaunchDarklyStore) -> None:
    for _ in range(3):
        with pytest.raises(FlagAwaitsApproval):
            write(store)
    assert len(requests_of(speaker)) == 1
    assert sum(each.method == "POST" for each in speaker.writes) == 1


def test_the_same_write_applies_it_once_it_is_approved(speaker: Speaker, store: LaunchDarklyStore) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store, expect=2)
    review(speaker, "approve")
    state = write(store, expect=2)
    assert (state.version, state.share, state.changed_by) == (3, HALF, "ann")
    assert applied(speaker) == 1
    assert write(store).version == 3
    assert applied(speaker) == 1


def test_a_strict_store_asks_for_the_same_approval(speaker: Speaker, store: LaunchDarklyStore) -> None:
    flags = speaker.flags.model_copy(update={"strict_cas": True})
    strict = LaunchDarklyStore(flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"))
    with pytest.raises(FlagAwaitsApproval):
        write(strict, expect=2)
    review(speaker, "approve")
    assert write(strict, expect=2).share == HALF
    assert len(requests_of(speaker)) == 1


def test_what_a_reviewer_applied_is_done(speaker: Speaker, store: LaunchDarklyStore) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store, expect=2)
    review(speaker, "approve")
    path = f"{path_of(speaker)}/{requests_of(speaker)[0]['_id']}/apply"
    assert speaker.ask("POST", path, token=speaker.reviewer_token, json={}).status_code == 200
    speaker.requests.clear()
    assert write(store, expect=2).version == 3
    assert speaker.writes == []


def test_the_same_share_by_another_hand_is_still_a_conflict(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    speaker.serve(KEY, HALF.thousandths, token=speaker.rollback_token)
    with pytest.raises(FlagConflict, match="version 3, not 2"):
        write(store, expect=2)


def test_another_machine_finds_the_request_again(speaker: Speaker, store: LaunchDarklyStore) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store)
    review(speaker, "approve")
    other = LaunchDarklyStore(speaker.flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"))
    assert write(other).share == HALF


def test_a_declined_change_is_denied_and_not_asked_for_again(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store)
    review(speaker, "decline")
    for _ in range(2):
        with pytest.raises(FlagDenied, match="declined approval request"):
            write(store)
    assert len(requests_of(speaker)) == 1
    assert speaker.config(KEY)["version"] == 2


def test_an_approval_for_a_flag_that_has_moved_since_is_asked_for_anew(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store)
    (old,) = requests_of(speaker)
    review(speaker, "approve")
    speaker.serve(KEY, 1000, token=speaker.rollback_token)
    with pytest.raises(FlagAwaitsApproval):
        write(store)
    (new,) = requests_of(speaker)
    assert new["_id"] != old["_id"]
    assert new["reviewStatus"] == "pending"
    assert applied(speaker) == 0


def test_a_caller_that_knows_the_version_is_told_that_it_moved(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store, expect=2)
    review(speaker, "approve")
    speaker.serve(KEY, 1000, token=speaker.rollback_token)
    with pytest.raises(FlagConflict, match="version 3, not 2: changed by rollback"):
        write(store, expect=2)
    assert applied(speaker) == 0


def test_another_share_takes_the_place_of_what_was_asked_for(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store, HALF)
    with pytest.raises(FlagAwaitsApproval):
        write(store, Share.FULL)
    (one,) = requests_of(speaker)
    assert "100%" in one["description"]


@pytest.mark.parametrize("other", ["bot-1.1.0/8", "bot-1.2.0/7", "", "a name, (odd)" * 30])
def test_what_was_approved_for_one_release_is_never_applied_for_another(
    speaker: Speaker, store: LaunchDarklyStore, other: str
) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store, expect=2)
    (old,) = requests_of(speaker)
    assert "release bot-1.1.0/7, flag version 2" in old["description"]
    review(speaker, "approve")
    for _ in range(2):
        with pytest.raises(FlagAwaitsApproval):
            write(store, expect=2, release=other)
    (new,) = requests_of(speaker)
    assert (new["_id"] == old["_id"], new["reviewStatus"], applied(speaker)) == (False, "pending", 0)
    review(speaker, "approve")
    assert write(store, expect=2, release=other).share == HALF


def test_what_a_reviewer_applied_for_another_release_is_a_conflict(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store, expect=2)
    review(speaker, "approve")
    path = f"{path_of(speaker)}/{requests_of(speaker)[0]['_id']}/apply"
    assert speaker.ask("POST", path, token=speaker.reviewer_token, json={}).status_code == 200
    with pytest.raises(FlagConflict, match="version 3, not 2"):
        write(store, expect=2, release="bot-1.1.0/8")


def test_an_approval_of_another_release_that_cannot_be_withdrawn_stops_everything(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store)
    review(speaker, "approve")
    (old,) = requests_of(speaker)
    speaker.fault("405", times=1)
    speaker.fault("403")
    with pytest.raises(
        FlagUnavailable, match=f"request {old['_id']} .* out of date and could not be withdrawn"
    ):
        write(store, release="bot-1.1.0/8")
    speaker.no_faults()
    assert [each["_id"] for each in requests_of(speaker)] == [old["_id"]]
    assert (applied(speaker), speaker.config(KEY)["version"]) == (0, 2)


def test_a_request_of_somebody_else_is_never_applied(speaker: Speaker, store: LaunchDarklyStore) -> None:
    instructions = [
        {
            "kind": "updateFallthroughVariationOrRollout",
            "rolloutContextKind": "user",
            "rolloutWeights": dict(zip(speaker.variation_ids(KEY), (50_000, 50_000), strict=True)),
        }
    ]
    body = {"description": "my own idea", "instructions": instructions}
    speaker.ask("POST", path_of(speaker), token=speaker.rollback_token, json=body)
    review(speaker, "approve")
    with pytest.raises(FlagAwaitsApproval):
        write(store)
    assert applied(speaker) == 0
    assert len(requests_of(speaker)) == 2


def test_taking_back_needs_no_approval_and_withdraws_what_we_asked_for(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store)
    state = store.take_back(KEY, by="bob", comment="bad answers")
    assert (state.on, state.share, state.changed_by) == (False, Share.ZERO, "bob")
    assert requests_of(speaker) == []


def test_a_withdrawal_that_fails_does_not_fail_the_taking_back(
    speaker: Speaker, store: LaunchDarklyStore, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(FlagAwaitsApproval):
        write(store)
    store.take_back(KEY, by="bob", comment="")
    with pytest.raises(FlagAwaitsApproval):
        write(store)
    speaker.fault("403", on="write")
    with caplog.at_level(logging.WARNING):
        assert store.take_back(KEY, by="bob", comment="").on is False
    speaker.no_faults()
    assert f"approval request {requests_of(speaker)[0]['_id']} of flag {KEY} is still there" in caplog.text
    assert len(requests_of(speaker)) == 1


def test_a_preview_needs_no_approval(store: LaunchDarklyStore) -> None:
    assert store.preview(KEY, HALF, turn_on=False).share == HALF


def test_a_change_that_would_break_what_is_scheduled_names_it(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    import time

    patch = [{"op": "replace", "path": "/approvalSettings/required", "value": False}]
    speaker.ask("PATCH", f"/projects/{speaker.project}/environments/{speaker.environment}", json=patch)
    path = path_of(speaker).replace("approval-requests", "scheduled-changes")
    body = {
        "executionDate": int((time.time() + 3600) * 1000),
        "instructions": [{"kind": "turnFlagOff"}],
    }
    answer = speaker.ask("POST", path, json=body)
    assert answer.status_code == 201, answer.text
    speaker.fault("400-pending")
    with pytest.raises(FlagPendingChange, match=f"scheduled change {answer.json()['_id']} at 20"):
        write(store)
    assert speaker.config(KEY)["version"] == 2
