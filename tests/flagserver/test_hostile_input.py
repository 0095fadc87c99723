"""Whatever was said or written before, a flag can be turned off."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.launchdarkly import SEMANTIC, Speaker, speaking

KEY = "lora-x"
ON, OFF = {"kind": "turnFlagOn"}, {"kind": "turnFlagOff"}


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    with speaking(tmp_path) as speaker:
        speaker.create(KEY)
        speaker.patch(KEY, ON).raise_for_status()
        yield speaker


def assert_turns_off(speaker: Speaker) -> None:
    answer = speaker.patch(KEY, OFF)
    assert answer.status_code == 200, answer.text
    assert json.loads(speaker.path.read_text())["flags"][KEY]["on"] is False


@pytest.mark.parametrize(
    "said",
    [
        r'{"default": "\ud800"}',
        '{"default": %s}' % ("[" * 900 + "]" * 900),
        '{"default": %s}' % ("1" + "0" * 30),
        '{"default": NaN}',
        '{"default": 1e999}',
        '{"default": "%s"}' % ("x" * 2000),
        r'{"contextKinds": ["\ud800"]}',
        json.dumps({"contextKinds": [f"kind-{n}" for n in range(5000)]}),
        '{"contextKinds": [[], 1, null]}',
    ],
    ids=lambda said: said[:24],
)
def test_nothing_that_an_sdk_says_was_evaluated_keeps_a_flag_from_being_turned_off(
    speaker: Speaker, said: str
) -> None:
    events = f'[{{"kind": "summary", "features": {{"{KEY}": {said}}}}}]'
    httpx.post(f"{speaker.url}/bulk", headers={"Authorization": speaker.sdk_key}, content=events)
    assert_turns_off(speaker)
    record = json.loads(speaker.path.read_text())["x-launchdarkly"]["records"][KEY]
    assert len(json.dumps(record["evaluated"])) < 3000
    status = speaker.ask("GET", f"/flag-statuses/default/production/{KEY}")
    assert (status.status_code, status.json()["name"]) == (200, "active"), "that it was evaluated is known"


@pytest.mark.parametrize(
    "own",
    [
        {"approvals": [{}]},
        {"approvals": [{"flag": KEY, "status": "pending"}]},
        {"scheduled": [{}]},
        {"scheduled": [{"flag": KEY, "executionDate": "soon", "id": "x", "instructions": []}]},
        {"audit": [{}]},
        {"gone": {KEY: 2**60}},
    ],
    ids=str,
)
def test_malformed_entries_of_our_own_member_are_dropped_and_said(
    tmp_path: Path, own: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    _edited(tmp_path, lambda document: document["x-launchdarkly"].update(own))
    with speaking(tmp_path) as speaker:
        assert_turns_off(speaker)
        assert speaker.ask("GET", "/auditlog").status_code == 200
    assert f"{next(iter(own))}" in caplog.text
    assert "is dropped" in caplog.text


@pytest.mark.parametrize("name", ["version", "highest", "tags", "variations", "evaluated", "creationDate"])
def test_a_malformed_member_of_a_record_is_dropped_and_said(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    _edited(tmp_path, lambda document: document["x-launchdarkly"]["records"][KEY].update({name: "x"}))
    with speaking(tmp_path) as speaker:
        assert_turns_off(speaker)
    assert f"records/{KEY}/{name} is malformed and is dropped" in caplog.text


def test_a_flag_at_the_highest_version_is_turned_off_and_streamed_whole(tmp_path: Path) -> None:
    _edited(tmp_path, lambda document: document["flags"][KEY].update(version=2**53))
    headers = {"Authorization": ""}
    with speaking(tmp_path) as speaker:
        headers["Authorization"] = speaker.sdk_key
        with httpx.stream("GET", f"{speaker.url}/all", headers=headers) as stream:
            chunks = stream.iter_text()
            assert f'"version": {2**53}' in next(chunks)
            assert_turns_off(speaker)
            news = next(chunks)
            assert news.startswith("event: put"), "an SDK would ignore a patch with a lower version"
            assert '"on": false' in news
        assert speaker.config(KEY)["version"] == 1


def _edited(root: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    with speaking(root) as speaker:
        speaker.create(KEY)
        speaker.patch(KEY, ON).raise_for_status()
    document = json.loads(speaker.path.read_text())
    edit(document)
    speaker.path.write_text(json.dumps(document))


def test_what_is_nested_too_deeply_to_be_copied_is_refused_before_it_is_kept(speaker: Speaker) -> None:
    deep = json.loads("[" * 400 + "]" * 400)
    kept = speaker.patch(KEY, {"kind": "addVariation", "value": deep})
    assert (kept.status_code, "nested" in kept.json()["message"]) == (400, True)
    assert speaker.patch(KEY, {"kind": "addVariation", "value": 1, "name": {}}).status_code == 400
    assert_turns_off(speaker)


@pytest.mark.parametrize("seed", range(4))
def test_after_whatever_anybody_sends_a_flag_can_be_turned_off(speaker: Speaker, seed: int) -> None:
    dice = random.Random(seed)
    flag = f"/projects/default/flags/{KEY}/environments/production"
    for _ in range(25):
        value = _anything(dice)
        kind = dice.choice(["addTags", "updateDescription", "updateName", "addVariation", "addTargets"])
        instructions = [{"kind": kind, "values": value, "value": value, "name": _anything(dice)}]
        body = {"description": "x", "comment": _anything(dice), "instructions": instructions}
        speaker.ask("POST", f"{flag}/approval-requests", content=json.dumps(body))
        speaker.ask(
            "POST",
            f"{flag}/scheduled-changes",
            content=json.dumps({**body, "executionDate": 4_000_000_000_000}),
        )
        patch = json.dumps({"environmentKey": "production", "instructions": instructions})
        speaker.ask("PATCH", f"/flags/default/{KEY}", headers={"Content-Type": SEMANTIC}, content=patch)
        seen = [{"kind": "summary", "features": {KEY: {"default": value, "contextKinds": value}}}]
        for page in ("bulk", "diagnostic"):
            headers = {"Authorization": speaker.sdk_key}
            httpx.post(f"{speaker.url}/{page}", headers=headers, content=json.dumps(seen))
    answer = speaker.patch(KEY, OFF, token=speaker.rollback_token, ignoreConflicts="true")
    assert answer.status_code == 200, answer.text
    assert_turns_off(speaker)


def _anything(dice: random.Random, depth: int = 3) -> Any:
    plain = [None, True, -1, 2**63, 1e308, "", "stable", "\ud800", "\x00", "x" * 3000]
    if depth and dice.random() < 0.5:
        parts = [_anything(dice, depth - 1) for _ in range(dice.randrange(3))]
        return parts if dice.random() < 0.5 else {str(n): part for n, part in enumerate(parts)}
    return dice.choice(plain)
