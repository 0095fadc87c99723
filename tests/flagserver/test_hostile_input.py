"""Whatever was said or written before, a flag can be turned off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.launchdarkly import Speaker, speaking

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
