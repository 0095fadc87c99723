"""Every answer is what LaunchDarkly publishes: it fits its model, holds all of it and nothing beside it."""

from __future__ import annotations

import json
import time
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import launchdarkly_api.models as models
import pytest
from pydantic import BaseModel

from rollout.core.plan import Share
from rollout.integrations.flagfile import FlagFile
from tests.support.launchdarkly import Speaker, speaking

_ON = {"kind": "turnFlagOn"}
_FLAG = "/projects/default/flags/lora-x/environments/production"


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaker]:
    with speaking(tmp_path_factory.mktemp("flags")) as speaker:
        speaker.create("lora-x", tags=["adapter"], description="The dial of x.")
        speaker.create("lora-y")
        _, candidate = speaker.variation_ids("lora-x")
        rule = {"attribute": "email", "op": "endsWith", "values": ["@example.org"]}
        speaker.patch(
            "lora-x",
            _ON,
            {"kind": "addRule", "clauses": [rule], "variationId": candidate, "description": "testers"},
            {"kind": "addTargets", "values": ["ann"], "variationId": candidate},
            {"kind": "addTargets", "values": ["acme"], "variationId": candidate, "contextKind": "tenant"},
            {"kind": "addPrerequisite", "key": "lora-y", "variationId": speaker.variation_ids("lora-y")[0]},
            comment="everything that a flag can have",
        ).raise_for_status()
        speaker.serve("lora-x", 5_000).raise_for_status()
        yield speaker


def test_a_flag_fits_its_model(speaker: Speaker) -> None:
    answer = speaker.ask("GET", "/flags/default/lora-x", params={"env": "production", "expand": "evaluation"})
    flag = _fits(answer, models.FeatureFlag)
    config = flag["environments"]["production"]
    assert all(config[part] for part in ("rules", "targets", "contextTargets", "prerequisites"))
    assert config["evaluation"] == {"contextKinds": []}


def test_a_list_of_flags_fits_its_model(speaker: Speaker) -> None:
    listed = _fits(speaker.ask("GET", "/flags/default"), models.FeatureFlags)
    assert [flag["key"] for flag in listed["items"]] == ["lora-x", "lora-y"]
    assert "environments" not in listed["items"][0]
    query = {"filter": "filterEnv:production,tags:adapter"}
    filtered = _fits(speaker.ask("GET", "/flags/default", params=query), models.FeatureFlags)
    assert [list(flag["environments"]) for flag in filtered["items"]] == [["production"]]


def test_a_created_and_a_patched_flag_fit_their_model(speaker: Speaker) -> None:
    body = {"key": "lora-new", "name": "New"}
    created = _fits(speaker.ask("POST", "/flags/default", json=body), models.FeatureFlag, status=201)
    assert created["kind"] == "boolean"
    _fits(speaker.patch("lora-new", _ON), models.FeatureFlag)
    archived = _fits(speaker.patch("lora-new", {"kind": "archiveFlag"}), models.FeatureFlag)
    assert archived["archived"]
    assert archived["archivedDate"] > 0
    _fits(speaker.patch("lora-new", {"kind": "turnFlagOff"}, dryRun="true"), models.FeatureFlag)


def test_the_identity_and_the_environment_fit_their_models(speaker: Speaker) -> None:
    assert _fits(speaker.ask("GET", "/caller-identity"), models.CallerIdentityRep)["tokenName"] == "writer"
    path = "/projects/default/environments/production"
    assert "approvalSettings" not in _fits(speaker.ask("GET", path), models.Environment)
    operations = [{"op": "replace", "path": "/approvalSettings/minNumApprovals", "value": 2}]
    changed = _fits(speaker.ask("PATCH", path, json=operations), models.Environment)
    assert changed["approvalSettings"]["minNumApprovals"] == 2
    operations[0]["value"] = 1
    _fits(speaker.ask("PATCH", path, json=operations), models.Environment)


def test_approval_requests_fit_their_models_through_their_whole_life(speaker: Speaker) -> None:
    one, many = models.FlagConfigApprovalRequestResponse, models.FlagConfigApprovalRequestsResponse
    body = {"description": "5 %", "comment": "step 2", "instructions": [{"kind": "turnFlagOff"}]}
    asked = _fits(speaker.ask("POST", f"{_FLAG}/approval-requests", json=body), one, status=201)
    path = f"{_FLAG}/approval-requests/{asked['_id']}"
    review = {"kind": "approve", "comment": "fine"}
    reviewed = speaker.ask("POST", f"{path}/reviews", json=review, token=speaker.reviewer_token)
    assert _fits(reviewed, one)["reviewStatus"] == "approved"
    assert _fits(speaker.ask("POST", f"{path}/apply", json={}), one)["status"] == "completed"
    assert _fits(speaker.ask("GET", path), one)["appliedByServiceTokenId"]
    assert len(_fits(speaker.ask("GET", f"{_FLAG}/approval-requests"), many)["items"]) == 1


def test_scheduled_changes_fit_their_models(speaker: Speaker) -> None:
    body = {"executionDate": round((time.time() + 3600) * 1000), "instructions": [_ON]}
    path = f"{_FLAG}/scheduled-changes"
    made = _fits(speaker.ask("POST", path, json=body), models.FeatureFlagScheduledChange, status=201)
    _fits(speaker.ask("GET", f"{path}/{made['_id']}"), models.FeatureFlagScheduledChange)
    assert len(_fits(speaker.ask("GET", path), models.FeatureFlagScheduledChanges)["items"]) == 1
    assert speaker.ask("DELETE", f"{path}/{made['_id']}").status_code == 204


def test_the_status_of_a_flag_fits_its_model_before_and_after_an_evaluation(speaker: Speaker) -> None:
    path = "/flag-statuses/default/production/lora-y"
    assert _fits(speaker.ask("GET", path), models.FlagStatusRep)["name"] == "new"
    seen = {"lora-y": {"default": "stable", "contextKinds": ["user"], "counters": []}}
    events = [{"kind": "summary", "startDate": 1, "endDate": 2, "features": seen}]
    headers = {"Authorization": speaker.sdk_key}
    assert httpx.post(f"{speaker.url}/bulk", json=events, headers=headers).status_code == 202
    status = _fits(speaker.ask("GET", path), models.FlagStatusRep)
    assert (status["name"], status["default"]) == ("active", "stable")


def test_the_audit_log_fits_its_models(speaker: Speaker) -> None:
    FlagFile(speaker.path).write(
        "lora-y",
        Share.FULL,
        turn_on=True,
        expect_version=None,
        by="ann@example.org",
        comment="beside the server",
    )
    newest = {}
    while newest.get("comment") != "beside the server":
        newest = speaker.ask("GET", "/auditlog").json()["items"][0]
    _compare(newest, models.AuditLogEntryListingRep, "entry")
    query = {"spec": "proj/default:env/production:flag/lora-x", "limit": "20"}
    listed = _fits(speaker.ask("GET", "/auditlog", params=query), models.AuditLogEntryListingRepCollection)
    assert "everything that a flag can have" in [entry["comment"] for entry in listed["items"]]
    _fits(speaker.ask("GET", f"/auditlog/{listed['items'][0]['_id']}"), models.AuditLogEntryRep)


def test_releases_fit_their_model_with_one_and_without(speaker: Speaker) -> None:
    beta = {"LD-API-Version": "beta"}
    empty = speaker.ask("GET", f"{_FLAG}/releases", headers=beta)
    assert _fits(empty, models.EnvironmentReleaseCollection)["items"] == []
    speaker.fault("active-release", on="read", times=1)
    listed = _fits(speaker.ask("GET", f"{_FLAG}/releases", headers=beta), models.EnvironmentReleaseCollection)
    assert listed["items"][0]["status"] == "in_progress"


_REFUSALS: dict[int, type[BaseModel]] = {
    400: models.InvalidRequestErrorRep,
    401: models.UnauthorizedErrorRep,
    403: models.ForbiddenErrorRep,
    404: models.NotFoundErrorRep,
    405: models.MethodNotAllowedErrorRep,
    409: models.StatusConflictErrorRep,
    422: models.PatchFailedErrorRep,
    429: models.RateLimitedErrorRep,
}


@pytest.mark.parametrize(
    ("fault", "status"),
    [("400-pending", 400), ("401", 401), ("403", 403), ("404", 404), ("405", 405), ("409", 409), ("422", 422)]
    + [(name, 429) for name in ("429-global", "429-route", "429-token", "429-ip", "429-past")],
)
def test_a_refusal_fits_its_model_but_for_the_id_that_the_overview_names(
    speaker: Speaker, fault: str, status: int
) -> None:
    speaker.fault(fault, times=1)
    answer = speaker.patch("lora-y", _ON)
    assert answer.status_code == status
    body = answer.json()
    assert body.pop("id")
    _compare(body, _REFUSALS[status], "refusal")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda flag: flag.update(surprise=1), "surprise"),
        (lambda flag: flag["environments"]["production"].update(surprise=1), "surprise"),
        (lambda flag: flag["environments"]["production"]["rules"][0]["clauses"][0].pop("op"), "op"),
        (lambda flag: flag.update(tags="none"), "tags"),
    ],
)
def test_the_comparison_would_notice(speaker: Speaker, spoil: Callable[[Any], None], complaint: str) -> None:
    flag = speaker.flag("lora-x")
    spoil(flag)
    with pytest.raises((AssertionError, ValueError), match=complaint):
        _compare(flag, models.FeatureFlag, "flag")


def _fits(answer: httpx.Response, model: type[BaseModel], *, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    _compare(answer.json(), model, model.__name__)
    return answer.json()


def _compare(value: Any, model: type[BaseModel], place: str) -> None:
    model.model_validate_json(json.dumps(value))
    _members(value, model, place)


def _members(value: Any, kind: Any, place: str) -> None:
    """No member that the model does not know, all the way down."""
    kind, inner = _plain(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        unknown = value.keys() - fields.keys()
        assert not unknown, f"{place} has {sorted(unknown)}, which {kind.__name__} does not know"
        for name, member in value.items():
            _members(member, fields[name].annotation, f"{place}.{name}")
    elif kind is list and inner:
        for number, item in enumerate(value):
            _members(item, inner[0], f"{place}[{number}]")
    elif kind is dict and inner:
        for name, item in value.items():
            _members(item, inner[1], f"{place}.{name}")


def _plain(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Without Optional and Annotated, with what it is a list or a dict of."""
    while True:
        origin = typing.get_origin(kind)
        if origin is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif origin in (typing.Union, types.UnionType):
            kind = next(each for each in typing.get_args(kind) if each is not type(None))
        else:
            return origin or kind, typing.get_args(kind)


def test_the_flag_file_of_all_this_is_one_that_the_embedded_store_reads(
    speaker: Speaker, tmp_path: Path
) -> None:
    state = FlagFile(speaker.path).read("lora-y")
    assert state is not None
    assert state.version == speaker.config("lora-y")["version"]
