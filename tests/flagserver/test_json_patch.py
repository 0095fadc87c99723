"""JSON patches: the documented way to compare before writing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.flagserver.refusal import TEST_FAILED
from tests.support.launchdarkly import Speaker, speaking

KEY = "lora-x"
_ENV = "/environments/production"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaker]:
    with speaking(tmp_path_factory.mktemp("flags")) as speaker:
        yield speaker


@pytest.fixture
def speaker(server: Speaker) -> Speaker:
    server.ask("DELETE", f"/flags/default/{KEY}")
    server.create(KEY, tags=["adapter"])
    return server


def patch(speaker: Speaker, *operations: Any, comment: str | None = None) -> httpx.Response:
    body: Any = list(operations) if comment is None else {"comment": comment, "patch": list(operations)}
    return speaker.ask("PATCH", f"/flags/default/{KEY}", json=body)


def dial(stable: Any, candidate: Any) -> dict[str, Any]:
    parts = [{"variation": 0, "weight": stable}, {"variation": 1, "weight": candidate}]
    return {
        "op": "replace",
        "path": f"{_ENV}/fallthrough",
        "value": {"rollout": {"contextKind": "user", "variations": parts}},
    }


def version(speaker: Speaker, expected: int) -> dict[str, Any]:
    return {"op": "test", "path": f"{_ENV}/version", "value": expected}


def test_a_write_whose_version_holds_is_made_with_its_comment(speaker: Speaker) -> None:
    current = speaker.config(KEY)["version"]
    answer = patch(speaker, version(speaker, current), dial(95_000, 5_000), comment="compared")
    assert answer.status_code == 200, answer.text
    assert answer.json()["environments"]["production"]["version"] == current + 1
    assert speaker.config(KEY)["fallthrough"]["rollout"]["variations"][1]["weight"] == 5_000
    assert speaker.ask("GET", "/auditlog").json()["items"][0]["comment"] == "compared"


def test_a_write_whose_version_has_moved_is_refused_as_a_conflict(speaker: Speaker) -> None:
    current = speaker.config(KEY)["version"]
    speaker.patch(KEY, {"kind": "turnFlagOn"}).raise_for_status()
    before = speaker.flag(KEY)
    answer = patch(speaker, version(speaker, current), dial(0, 100_000))
    assert (answer.status_code, answer.json()["code"]) == (TEST_FAILED, "optimistic_locking_error")
    assert "version" in answer.json()["message"]
    assert speaker.flag(KEY) == before


def test_a_test_tells_true_from_one(speaker: Speaker) -> None:
    path = f"{_ENV}/on"
    assert patch(speaker, {"op": "test", "path": path, "value": 0}).status_code == TEST_FAILED
    assert patch(speaker, {"op": "test", "path": path, "value": False}).status_code == 200


def test_a_replay_leaves_the_version(speaker: Speaker) -> None:
    patch(speaker, dial(99_000, 1_000)).raise_for_status()
    before = speaker.flag(KEY)
    patch(speaker, dial(99_000, 1_000)).raise_for_status()
    assert speaker.flag(KEY) == before


@pytest.mark.parametrize(
    ("operation", "status", "reason"),
    [
        (dial(50_000, 49_999), 400, "sum to 100000"),
        ({"op": "replace", "path": f"{_ENV}/salt", "value": "x"}, 400, "salt cannot be modified"),
        ({"op": "replace", "path": f"{_ENV}/version", "value": 9}, 400, "version cannot be changed"),
        ({"op": "replace", "path": f"{_ENV}/on", "value": "yes"}, 400, "another kind"),
        ({"op": "remove", "path": f"{_ENV}/fallthrough"}, 400, "another kind"),
        ({"op": "replace", "path": f"{_ENV}/offVariation", "value": 7}, 400, "no variation"),
        ({"op": "replace", "path": "/environments", "value": {}}, 400, "environment"),
        ({"op": "replace", "path": "/key", "value": "y"}, 400, "key cannot be changed"),
        ({"op": "replace", "path": f"{_ENV}/nowhere", "value": 1}, 422, "nothing at"),
        ({"op": "replace", "path": "/variations/7/value", "value": 1}, 422, "nothing at"),
        ({"op": "replace", "path": f"{_ENV}/on"}, 422, "needs a value"),
        ({"op": "move", "path": f"{_ENV}/on", "from": "/archived"}, 422, "no operation"),
        ({"op": "test", "path": 7}, 422, "path"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    speaker: Speaker, operation: dict[str, Any], status: int, reason: str
) -> None:
    before = speaker.flag(KEY)
    answer = patch(speaker, {"op": "replace", "path": f"{_ENV}/on", "value": True}, operation)
    assert (answer.status_code, reason in answer.json()["message"]) == (status, True), answer.text
    assert speaker.flag(KEY) == before


def test_lists_can_be_added_to_and_taken_from(speaker: Speaker) -> None:
    added = patch(
        speaker, {"op": "add", "path": "/tags/-", "value": "x"}, {"op": "remove", "path": "/tags/0"}
    )
    assert added.json()["tags"] == ["x"]


def test_the_file_holds_what_was_patched(speaker: Speaker, tmp_path: Path) -> None:
    patch(
        speaker, {"op": "replace", "path": f"{_ENV}/on", "value": True}, dial(90_000, 10_000)
    ).raise_for_status()
    from rollout.integrations.flagfile import FlagFile

    state = FlagFile(speaker.path).read(KEY)
    assert state is not None
    assert (state.on, str(state.share), state.changed_by) == (True, "10%", "writer")
