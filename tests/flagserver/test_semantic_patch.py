"""Semantic patches: all or nothing, absolute, exactly one version more or none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.launchdarkly import SEMANTIC, Speaker, speaking

KEY = "lora-x"
ON, OFF = {"kind": "turnFlagOn"}, {"kind": "turnFlagOff"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaker]:
    with speaking(tmp_path_factory.mktemp("flags")) as speaker:
        yield speaker


@pytest.fixture
def speaker(server: Speaker) -> Speaker:
    if server.ask("GET", f"/flags/default/{KEY}").status_code == 200:
        server.ask("DELETE", f"/flags/default/{KEY}").raise_for_status()
    server.create(KEY)
    server.requests.clear()
    return server


def _dial(speaker: Speaker, candidate: int, **more: Any) -> dict[str, Any]:
    stable_id, candidate_id = speaker.variation_ids(KEY)
    # Candidate first in the body: the stored order must not depend on it.
    weights = {candidate_id: candidate, stable_id: 100_000 - candidate}
    return {"kind": "updateFallthroughVariationOrRollout", "rolloutWeights": weights, **more}


def test_a_new_flag_is_off_and_serves_stable(speaker: Speaker) -> None:
    config = speaker.config(KEY)
    assert (config["on"], config["fallthrough"], config["offVariation"]) == (False, {"variation": 0}, 0)


def test_without_defaults_a_new_flag_turns_off_to_its_last_variation(speaker: Speaker) -> None:
    body = {"key": "plain", "name": "plain", "variations": [{"value": "stable"}, {"value": "candidate"}]}
    assert speaker.ask("POST", "/flags/default", json=body).status_code == 201
    assert speaker.config("plain")["offVariation"] == 1
    again = speaker.ask("POST", "/flags/default", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert "already exists" in again.json()["message"]


def test_weights_are_stored_in_the_order_of_the_variations(speaker: Speaker) -> None:
    assert speaker.patch(KEY, ON, _dial(speaker, 5_000)).status_code == 200
    assert speaker.config(KEY)["fallthrough"] == {
        "rollout": {
            "contextKind": "user",
            "variations": [{"variation": 0, "weight": 95_000}, {"variation": 1, "weight": 5_000}],
        }
    }


def test_a_patch_with_several_instructions_is_one_version(speaker: Speaker) -> None:
    before = speaker.config(KEY)["version"]
    answer = speaker.patch(KEY, ON, _dial(speaker, 1_000)).json()
    assert answer["environments"]["production"]["version"] == before + 1


def test_a_replay_changes_neither_version_nor_audit_log(speaker: Speaker) -> None:
    speaker.patch(KEY, ON, _dial(speaker, 1_000)).raise_for_status()
    flag, log = speaker.flag(KEY), _log(speaker)
    assert speaker.patch(KEY, ON, _dial(speaker, 1_000)).status_code == 200
    assert (speaker.flag(KEY), _log(speaker)) == (flag, log)


def test_tags_and_descriptions_leave_the_version_of_the_environment(speaker: Speaker) -> None:
    before = speaker.flag(KEY)
    patches = ({"kind": "addTags", "values": ["b", "a"]}, {"kind": "updateDescription", "value": "The dial."})
    after = speaker.patch(KEY, *patches).json()
    assert (after["tags"], after["description"]) == (["a", "b"], "The dial.")
    assert after["_version"] == before["_version"] + 1
    versions = [flag["environments"]["production"]["version"] for flag in (before, after)]
    assert versions[0] == versions[1]


def test_one_unknown_instruction_undoes_the_whole_patch(speaker: Speaker) -> None:
    before = speaker.flag(KEY)
    answer = speaker.patch(KEY, ON, {"kind": "turnFlagUpsideDown"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "turnFlagUpsideDown" in answer.json()["message"]
    assert speaker.flag(KEY) == before


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ((50_000, 49_999), "sum to 100000"),
        ((100_001, -1), "whole numbers"),
        ((50_000.0, 50_000), "whole numbers"),
        ((True, 99_999), "whole numbers"),
    ],
)
def test_weights_that_are_none_are_refused(speaker: Speaker, weights: tuple[Any, Any], reason: str) -> None:
    before = speaker.flag(KEY)
    dial = _dial(speaker, 0) | {"rolloutWeights": dict(zip(speaker.variation_ids(KEY), weights, strict=True))}
    answer = speaker.patch(KEY, dial)
    assert (answer.status_code, reason in answer.json()["message"]) == (400, True), answer.text
    assert speaker.flag(KEY) == before


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ({"kind": "updateFallthroughVariationOrRollout"}, "either variationId or rolloutWeights"),
        ({"kind": "updateFallthroughVariationOrRollout", "variationId": "nobody"}, "no variation"),
        ({"kind": "updateOffVariation", "variationId": None}, "no variation"),
        ({"kind": "removeRule", "ruleId": "nobody"}, "no rule"),
        ({"kind": "addRule", "clauses": []}, "needs clauses"),
        ({"kind": "addRule", "clauses": [{"op": "in"}]}, "attribute, op and values"),
        ({"kind": "addTargets", "values": "ann"}, "list of keys"),
        ({"kind": "addPrerequisite", "key": KEY, "variationId": "x"}, "another flag"),
        ({"kind": "removePrerequisite", "key": "other"}, "no prerequisite"),
        ({"kind": "addVariation", "value": "stable"}, "already"),
        ({"kind": ["turnFlagOn"]}, "unknown kind"),
        ("turnFlagOn", "unknown kind"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    speaker: Speaker, instruction: Any, reason: str
) -> None:
    before = speaker.flag(KEY)
    answer = speaker.patch(KEY, ON, instruction)
    assert (answer.status_code, reason in answer.json()["message"]) == (400, True), answer.text
    assert speaker.flag(KEY) == before


def test_rules_targets_and_prerequisites_come_and_go(speaker: Speaker) -> None:
    stable_id, candidate_id = speaker.variation_ids(KEY)
    clause = {"attribute": "email", "op": "endsWith", "values": ["@example.org"]}
    added = speaker.patch(
        KEY,
        {"kind": "addRule", "clauses": [clause], "variationId": candidate_id},
        {"kind": "addTargets", "values": ["ann", "bob"], "variationId": candidate_id},
        {"kind": "addPrerequisite", "key": _other(speaker), "variationId": speaker.variation_ids("other")[1]},
    ).json()["environments"]["production"]
    assert added["targets"] == [{"values": ["ann", "bob"], "variation": 1}]
    assert added["prerequisites"] == [{"key": "other", "variation": 1}]
    twice = speaker.patch(KEY, {"kind": "addTargets", "values": ["ann"], "variationId": stable_id})
    assert (twice.status_code, "another variation" in twice.json()["message"]) == (400, True)
    removed = speaker.patch(
        KEY,
        {"kind": "removeRule", "ruleId": added["rules"][0]["_id"]},
        {"kind": "removeTargets", "values": ["ann", "bob"], "variationId": candidate_id},
        {"kind": "removePrerequisite", "key": "other"},
    ).json()["environments"]["production"]
    assert (removed["rules"], removed["targets"], removed["prerequisites"]) == ([], [], [])


def test_targets_are_replaced_whole_and_cleared_by_variation(speaker: Speaker) -> None:
    stable_id, candidate_id = speaker.variation_ids(KEY)

    def targets(*instructions: dict[str, Any]) -> tuple[Any, Any]:
        shown = speaker.patch(KEY, *instructions).json()["environments"]["production"]
        return shown["targets"], shown["contextTargets"]

    here = {"variationId": candidate_id, "values": ["bob", "ann"]}
    org = {"contextKind": "org", "variationId": stable_id, "values": ["acme"]}
    old = {"kind": "addTargets", "values": ["eve"], "variationId": stable_id}
    ours = [{"values": ["bob", "ann"], "variation": 1}]
    theirs = [{"values": ["acme"], "variation": 0, "contextKind": "org"}]
    assert targets(old, {"kind": "replaceTargets", "targets": [here, org]}) == (ours, theirs)
    assert targets({"kind": "clearTargets", "variationId": candidate_id}) == ([], theirs)
    assert targets({"kind": "replaceTargets", "targets": []}) == ([], [])
    twice = {"kind": "replaceTargets", "targets": [here, here | {"variationId": stable_id}]}
    refused = speaker.patch(KEY, twice)
    assert (refused.status_code, "another variation" in refused.json()["message"]) == (400, True)
    assert speaker.patch(KEY, {"kind": "replaceTargets", "targets": "ann"}).status_code == 400


def test_a_prerequisite_of_another_flag_cannot_be_archived(speaker: Speaker) -> None:
    first = speaker.variation_ids(_other(speaker))[0]
    speaker.patch(KEY, {"kind": "addPrerequisite", "key": "other", "variationId": first}).raise_for_status()
    answer = speaker.patch("other", {"kind": "archiveFlag"})
    assert (answer.status_code, KEY in answer.json()["message"]) == (400, True)


def test_a_dry_run_shows_the_change_and_keeps_nothing(speaker: Speaker) -> None:
    before, log = speaker.path.read_bytes(), _log(speaker)
    preview = speaker.patch(KEY, ON, _dial(speaker, 5_000), dryRun="true").json()
    assert preview["environments"]["production"]["on"] is True
    assert preview["environments"]["production"]["version"] == speaker.config(KEY)["version"] + 1
    assert speaker.config(KEY)["on"] is False
    assert (speaker.path.read_bytes(), _log(speaker)) == (before, log)


def test_the_comment_is_in_the_audit_log_with_the_token(speaker: Speaker) -> None:
    speaker.patch(KEY, ON, comment="step 2 of run 17", token=speaker.rollback_token).raise_for_status()
    newest = _log(speaker)[0]
    assert newest["comment"] == "step 2 of run 17"
    assert newest["token"]["name"] == "rollback"
    assert newest["accesses"] == [
        {"action": "updateOn", "resource": "proj/default:env/production:flag/lora-x"}
    ]
    assert speaker.rollback_token not in str(_log(speaker))


def test_without_its_content_type_a_semantic_patch_is_taken_for_a_json_patch(speaker: Speaker) -> None:
    body = {"environmentKey": "production", "instructions": [ON]}
    answer = speaker.ask("PATCH", f"/flags/default/{KEY}", json=body)
    assert (answer.status_code, "content type" in answer.json()["message"]) == (400, True)
    assert speaker.config(KEY)["on"] is False


def test_an_instruction_for_an_environment_needs_its_key(speaker: Speaker) -> None:
    headers = {"Content-Type": SEMANTIC}
    body: dict[str, Any] = {"instructions": [ON]}
    nameless = speaker.ask("PATCH", f"/flags/default/{KEY}", json=body, headers=headers)
    assert (nameless.status_code, "environmentKey" in nameless.json()["message"]) == (400, True)
    body["environmentKey"] = "staging"
    other = speaker.ask("PATCH", f"/flags/default/{KEY}", json=body, headers=headers)
    assert (other.status_code, other.json()["code"]) == (404, "not_found")
    body = {"instructions": [{"kind": "addTags", "values": ["global"]}]}
    assert speaker.ask("PATCH", f"/flags/default/{KEY}", json=body, headers=headers).status_code == 200


def test_a_change_that_would_break_a_planned_one_needs_to_ignore_conflicts(speaker: Speaker) -> None:
    clause = {"attribute": "email", "op": "in", "values": ["a@example.org"]}
    _, candidate_id = speaker.variation_ids(KEY)
    made = speaker.patch(KEY, {"kind": "addRule", "clauses": [clause], "variationId": candidate_id})
    remove = {"kind": "removeRule", "ruleId": made.json()["environments"]["production"]["rules"][0]["_id"]}
    requests = f"/projects/default/flags/{KEY}/environments/production/approval-requests"
    asked = speaker.ask("POST", requests, json={"description": "no testers", "instructions": [remove]})
    assert asked.status_code == 201
    refused = speaker.patch(KEY, remove)
    assert (refused.status_code, "pending scheduled change or approval" in refused.json()["message"]) == (
        400,
        True,
    )
    assert speaker.patch(KEY, ON).status_code == 200  # harmless for what is planned
    assert speaker.patch(KEY, remove, ignoreConflicts="true").status_code == 200
    broken = speaker.ask("GET", f"{requests}/{asked.json()['_id']}").json()
    assert broken["conflicts"][0]["instruction"] == remove
    assert "no rule" in broken["conflicts"][0]["reason"]


def test_writers_at_the_same_time_lose_nothing(speaker: Speaker) -> None:
    before = speaker.flag(KEY)["_version"]
    tags = [f"tag-{number:02}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda tag: speaker.patch(KEY, {"kind": "addTags", "values": [tag]}), tags))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["_version"] for answer in answers) == list(range(before + 1, before + 25))
    assert speaker.flag(KEY)["tags"] == tags


def test_x_http_method_override_makes_a_patch_of_a_post(speaker: Speaker) -> None:
    body = {"environmentKey": "production", "instructions": [ON]}
    headers = {"Content-Type": SEMANTIC, "X-HTTP-Method-Override": "PATCH"}
    assert speaker.ask("POST", f"/flags/default/{KEY}", json=body, headers=headers).status_code == 200
    assert speaker.config(KEY)["on"] is True
    assert speaker.writes[-1].method == "PATCH"


def _other(speaker: Speaker) -> str:
    if speaker.ask("GET", "/flags/default/other").status_code == 404:
        speaker.create("other")
    return "other"


def _log(speaker: Speaker) -> list[dict[str, Any]]:
    query = {"spec": f"proj/default:env/production:flag/{KEY}", "limit": "20"}
    return speaker.ask("GET", "/auditlog", params=query).json()["items"]
