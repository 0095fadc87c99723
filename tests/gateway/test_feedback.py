"""What users say of answers: taken, joined to the version that answered, bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.gateway import feedback as page
from tests.support.gateway import CANDIDATE, NAME, STABLE, World, eventually, running

PATH = "/v1/rollout/feedback"
NOBODY = "0123456789abcdef" * 2


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path) as found:
        yield found


def series(world: World, name: str) -> list[str]:
    text = world.client.get("/metrics").text
    return sorted(line for line in text.splitlines() if line.startswith(f"rollout_gateway_{name}"))


def test_what_users_say_is_joined_to_the_version_that_answered(world: World) -> None:
    stable = world.ask("ann").headers["x-rollout-request"]
    world.dial("100%")
    candidate = world.ask("ann").headers["x-rollout-request"]
    for said in (
        {"request_id": stable, "thumbs": 1},
        {"request_id": candidate, "thumbs": -1, "score": 0.25},
        {"request_id": candidate, "conversion": "ticket-closed"},
        {"request_id": NOBODY, "thumbs": -1},
    ):
        answer = world.client.post(PATH, json=said)
        assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    eventually(lambda: len(world.log.feedback(NAME)) == 2 and world.log.feedback(NAME)[CANDIDATE].conversions)
    found = world.log.feedback(NAME)
    assert (found[STABLE].thumbs_up, found[STABLE].thumbs_down) == (1, 0)
    assert (found[CANDIDATE].thumbs_up, found[CANDIDATE].thumbs_down) == (0, 1)
    assert (found[CANDIDATE].mean_score, found[CANDIDATE].conversions) == (0.25, {"ticket-closed": 1})
    adapter = f'name="{NAME}",served="{CANDIDATE}",shadow="0",slot="candidate"'
    assert series(world, f"feedback_total{{{adapter}") == [
        f'rollout_gateway_feedback_total{{{adapter},kind="{kind}"}} 1.0'
        for kind in ("conversion", "down", "score")
    ]
    assert series(world, "feedback_score_total") == [
        f"rollout_gateway_feedback_score_total{{{adapter}}} 0.25"
    ]
    assert series(world, "feedback_unmatched_total") == ["rollout_gateway_feedback_unmatched_total 1.0"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"request_id": NOBODY}, "needs thumbs, a score or a conversion"),
        ({"thumbs": 1}, "request_id"),
        ({"request_id": NOBODY[:-1], "thumbs": 1}, "request_id"),
        ({"request_id": NOBODY.upper(), "thumbs": 1}, "request_id"),
        ({"request_id": f"{NOBODY}\n", "thumbs": 1}, "request_id"),
        ({"request_id": NOBODY, "thumbs": 0}, "thumbs"),
        ({"request_id": NOBODY, "thumbs": True}, "thumbs"),
        ({"request_id": NOBODY, "thumbs": 1.0}, "thumbs"),
        ({"request_id": NOBODY, "score": 1.01}, "score"),
        ({"request_id": NOBODY, "score": "1"}, "score"),
        ({"request_id": NOBODY, "conversion": ""}, "conversion"),
        ({"request_id": NOBODY, "conversion": "x" * 65}, "conversion"),
        ({"request_id": NOBODY, "conversion": "a b"}, "conversion"),
        ({"request_id": NOBODY, "thumbs": 1, "comment": "I live at ..."}, "unknown field"),
        ([], "object"),
    ],
)
def test_what_is_no_feedback_is_refused_and_says_why(world: World, body: Any, why: str) -> None:
    answer = world.client.post(PATH, json=body)
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]
    assert world.log.feedback(NAME) == {}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"request_id": NaN}', b"[" * 4000])
def test_what_is_no_json_is_refused(world: World, body: bytes) -> None:
    answer = world.client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("This is not feedback")


def test_the_size_the_type_and_the_method_are_bounded(world: World) -> None:
    said = json.dumps({"request_id": NOBODY, "thumbs": 1}).encode()
    typed = {"content-type": "application/json"}
    assert world.client.post(PATH, content=said + b" " * 5000, headers=typed).status_code == 413
    assert world.client.post(PATH, content=said, headers={"content-type": "text/plain"}).status_code == 415
    asked = world.client.get(PATH)
    assert (asked.status_code, asked.headers["allow"]) == (405, "POST")
    assert [line.rpartition(" ")[2] for line in series(world, "feedback_refused_total")] == ["1.0"] * 3


def test_a_flood_is_told_to_wait_and_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_AT_ONCE", 5.0)
    monkeypatch.setattr(page, "_A_SECOND", 0.0)
    said = {"request_id": NOBODY, "thumbs": 1}
    answers = [world.client.post(PATH, json=said) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [202] * 5 + [429] * 3
    assert answers[-1].headers["retry-after"] == "1"
    assert series(world, "feedback_refused_total") == [
        'rollout_gateway_feedback_refused_total{status="429"} 3.0'
    ]
    assert world.ask("ann").status_code == 200, "who asks for answers is not held up by it"
