"""What stands in the way of a release, each by its own check."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.core.environment import LaunchDarklyFlags
from rollout.core.flagcheck import FlagCheck, Standing, why_not_ready
from rollout.core.plan import Share
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from tests.support.launchdarkly import Speaker, speaking
from tests.support.patience import Waits

KEY = "lora-support-bot"


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    with speaking(tmp_path) as it:
        yield it


def store_of(
    speaker: Speaker, *, sdk_key: str | None = "", bypass: bool = True, **changes: Any
) -> LaunchDarklyStore:
    flags: LaunchDarklyFlags = speaker.flags.model_copy(update=changes)
    return LaunchDarklyStore(
        flags,
        token=Token(speaker.token, "LD_ACCESS_TOKEN"),
        rollback_token=Token(speaker.rollback_token, "LD_ROLLBACK_TOKEN") if bypass else None,
        sdk_key=speaker.sdk_key if sdk_key == "" else sdk_key,
        pace=Waits().pace,
    )


def checked(store: LaunchDarklyStore) -> dict[str, FlagCheck]:
    found = store.checks(KEY)
    assert len({each.id for each in found}) == len(found)
    return {each.id: each for each in found}


def in_the_way(found: dict[str, FlagCheck]) -> set[str]:
    return {id_ for id_, each in found.items() if each.standing in (Standing.BLOCKED, Standing.UNKNOWN)}


def test_a_flag_that_we_made_is_ready_and_nothing_was_written(speaker: Speaker) -> None:
    store = store_of(speaker)
    made = store.create(KEY, by="ann")
    speaker.requests.clear()
    found = checked(store)
    assert why_not_ready(list(found.values())) is None
    assert speaker.writes == []
    assert speaker.config(KEY)["version"] == made.version
    assert set(found) == {
        "token",
        "environment",
        "sdk-key",
        "exists",
        "lifecycle",
        "variations",
        "off-variation",
        "in-front",
        "dial",
        "experiment",
        "context-kind",
        "managed",
        "schedule",
        "approval-requests",
        "release",
        "approvals",
        "evaluated",
        "preview",
    }


def test_a_missing_flag_blocks_and_says_who_makes_it(speaker: Speaker) -> None:
    found = checked(store_of(speaker))
    assert in_the_way(found) == {"exists"}
    assert "rollout flag setup" in found["exists"].advice


def test_a_refused_token_is_all_there_is_to_say(speaker: Speaker) -> None:
    store = LaunchDarklyStore(speaker.flags, token=Token("api-wrong", "LD_ACCESS_TOKEN"), pace=Waits().pace)
    assert in_the_way(checked(store)) == {"token"}


def test_launchdarkly_away_is_unknown_and_blocks(speaker: Speaker) -> None:
    store = store_of(speaker)
    store.create(KEY, by="ann")
    speaker.fault("503", on="any")
    (only,) = checked(store).values()
    assert (only.id, only.standing) == ("token", Standing.UNKNOWN)


def test_another_environment_blocks(speaker: Speaker) -> None:
    found = checked(store_of(speaker, environment="staging"))
    assert in_the_way(found) == {"environment", "exists"}


@pytest.mark.parametrize(
    ("key", "standing", "said"),
    [
        ("sdk-wrong", Standing.BLOCKED, "is not the key of default/production"),
        (None, Standing.WARNING, "is not set here"),
        ("", Standing.OK, "is the key of default/production"),
    ],
)
def test_the_gateways_key_must_be_that_of_the_environment(
    speaker: Speaker, key: str | None, standing: Standing, said: str
) -> None:
    store = store_of(speaker, sdk_key=key)
    store.create(KEY, by="ann")
    check = checked(store)["sdk-key"]
    assert check.standing is standing
    assert said in check.detail
    assert speaker.sdk_key not in str(check)


def test_slots_in_the_wrong_order_block(speaker: Speaker) -> None:
    variations = [{"value": "candidate", "name": "candidate"}, {"value": "stable", "name": "stable"}]
    speaker.create(KEY, variations=variations)
    assert in_the_way(checked(store_of(speaker))) == {"variations", "dial"}


def test_three_slots_block(speaker: Speaker) -> None:
    speaker.create(KEY, variations=[{"value": each} for each in ("stable", "candidate", "third")])
    assert in_the_way(checked(store_of(speaker))) == {"variations", "dial"}


def test_an_off_variation_of_the_candidate_blocks(speaker: Speaker) -> None:
    speaker.create(KEY, defaults={"onVariation": 0, "offVariation": 1})
    assert in_the_way(checked(store_of(speaker))) == {"off-variation", "dial"}


def test_targets_that_are_no_ring_block(speaker: Speaker) -> None:
    speaker.create(KEY)
    target = {"kind": "addTargets", "values": ["u1"], "variationId": speaker.variation_ids(KEY)[0]}
    speaker.patch(KEY, target)
    assert "in-front" in in_the_way(checked(store_of(speaker)))


def test_a_token_that_may_not_change_targets_turns_off_all_the_same(speaker: Speaker) -> None:
    store = LaunchDarklyStore(speaker.flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"))
    store.create(KEY, by="ann")
    ring = frozenset({"tenant-pilot"})
    store.write(KEY, Share.ZERO, turn_on=True, expect_version=None, by="ann", comment="", ring=ring)
    speaker.fault("403", on="write", times=1)
    back = store.take_back(KEY, by="bob", comment="")
    assert (back.on, back.reach.is_nobody, back.ring) == (False, True, ring)
    after = store.write(KEY, Share.ZERO, turn_on=True, expect_version=None, by="ann", comment="next")
    assert (after.on, after.ring) == (True, frozenset()), "the next release named somebody of the last one"


def test_a_write_without_a_ring_says_nothing_of_targets(speaker: Speaker) -> None:
    """Roles from before there were rings have no right to change them."""
    store = store_of(speaker)
    store.create(KEY, by="ann")
    store.write(KEY, Share.parse("5%"), turn_on=True, expect_version=None, by="ann", comment="")
    store.take_back(KEY, by="ann", comment="")
    assert not [each for each in speaker.requests if b"argets" in each.body]


def test_a_scheduled_change_blocks_by_name(speaker: Speaker) -> None:
    store = store_of(speaker)
    store.create(KEY, by="ann")
    path = f"/projects/default/flags/{KEY}/environments/production/scheduled-changes"
    at = int((time.time() + 3600) * 1000)
    body = {"executionDate": at, "instructions": [{"kind": "turnFlagOn"}]}
    id_ = speaker.ask("POST", path, json=body).json()["_id"]
    found = checked(store)
    assert in_the_way(found) == {"schedule"}
    assert id_ in found["schedule"].detail


def test_a_request_of_somebody_else_blocks_and_ours_does_not(speaker: Speaker) -> None:
    store = store_of(speaker)
    store.create(KEY, by="ann")
    path = f"/projects/default/flags/{KEY}/environments/production/approval-requests"
    instructions = [{"kind": "turnFlagOn"}]
    ours = f"adapter-rollout: {KEY} to 5% (flag version 1)"
    speaker.ask("POST", path, json={"description": ours, "instructions": instructions})
    assert in_the_way(checked(store)) == set()
    speaker.ask("POST", path, json={"description": "turn it on", "instructions": instructions})
    found = checked(store)
    assert in_the_way(found) == {"approval-requests"}
    assert "turn it on" in found["approval-requests"].detail


@pytest.mark.parametrize(("bypass", "standing"), [(True, Standing.WARNING), (False, Standing.BLOCKED)])
def test_approvals_block_only_where_nobody_can_take_back(
    speaker: Speaker, bypass: bool, standing: Standing
) -> None:
    store = store_of(speaker, bypass=bypass)
    store.create(KEY, by="ann")
    patch = [{"op": "replace", "path": "/approvalSettings/required", "value": True}]
    speaker.ask("PATCH", "/projects/default/environments/production", json=patch)
    found = checked(store)
    assert found["approvals"].standing is standing
    assert in_the_way(found) == (set() if bypass else {"approvals"})


def test_an_archived_flag_blocks(speaker: Speaker) -> None:
    store = store_of(speaker)
    store.create(KEY, by="ann")
    speaker.patch(KEY, {"kind": "archiveFlag"})
    assert "lifecycle" in in_the_way(checked(store))


def test_nobody_evaluating_it_warns_where_gateways_tell(speaker: Speaker) -> None:
    store = store_of(speaker)
    store.create(KEY, by="ann")
    assert checked(store)["evaluated"].standing is Standing.WARNING
    assert "evaluated" not in checked(store_of(speaker, send_events=False))


def test_a_flag_of_somebody_else_warns(speaker: Speaker) -> None:
    speaker.create(KEY)
    assert checked(store_of(speaker))["managed"].standing is Standing.WARNING


def test_a_check_that_cannot_be_made_blocks_by_itself(speaker: Speaker) -> None:
    store = store_of(speaker)
    store.create(KEY, by="ann")
    speaker.fault("422", on="write", times=None)
    assert in_the_way(checked(store)) == {"preview"}
