"""How the REST API shows what is kept: flags, the environment, approval requests, scheduled changes, the audit log."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rollout.flagserver.access import AccessToken
from rollout.flagserver.book import Book, Json

_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The one project and the one environment that are served."""

    project: str
    environment: str
    sdk_key: str = field(repr=False)

    def flag_link(self, key: str) -> str:
        """Where a flag is read."""
        return f"/api/v2/flags/{self.project}/{key}"

    def within_flag(self, key: str, part: str) -> str:
        """Where what belongs to a flag in this environment is read."""
        return f"/api/v2/projects/{self.project}/flags/{key}/environments/{self.environment}/{part}"

    def resource(self, key: str) -> str:
        """The flag as roles and the audit log name it."""
        return f"proj/{self.project}:env/{self.environment}:flag/{key}"


def link(href: str, type_: str = _JSON) -> Json:
    """One link."""
    return {"href": href, "type": type_}


def flag(
    scope: Scope, book: Book, key: str, *, environments: bool = True, evaluation: Json | None = None
) -> Json:
    """A FeatureFlag. `evaluation` is what was seen of it, where that was asked for."""
    kept, record = book.flag(key), book.record(key)
    assert kept is not None
    shown: Json = {
        "name": record["name"],
        "kind": _kind(kept["variations"]),
        "description": record["description"],
        "key": key,
        "_version": record.get("version", 1),
        "creationDate": record["creationDate"],
        "includeInSnippet": False,
        "clientSideAvailability": {"usingMobileKey": False, "usingEnvironmentId": False},
        "variations": [
            {**named, "value": value}
            for value, named in zip(kept["variations"], record["variations"], strict=True)
        ],
        "temporary": record["temporary"],
        "tags": record["tags"],
        "_links": {"self": link(scope.flag_link(key)), "parent": link(f"/api/v2/flags/{scope.project}")},
        "experiments": {"baselineIdx": 0, "items": []},
        "customProperties": record["customProperties"],
        "archived": key in book.archived,
        "deprecated": False,
        "defaults": record.get("defaults", {"onVariation": 0, "offVariation": len(kept["variations"]) - 1}),
    }
    if "archivedDate" in record and key in book.archived:
        shown["archivedDate"] = record["archivedDate"]
    if environments:
        shown["environments"] = {scope.environment: _config(scope, book, key, evaluation)}
    return shown


def flags(scope: Scope, book: Book, keys: Sequence[str], total: int, *, environments: bool) -> Json:
    """FeatureFlags: one page of them."""
    return {
        "items": [flag(scope, book, key, environments=environments) for key in keys],
        "_links": {"self": link(f"/api/v2/flags/{scope.project}")},
        "totalCount": total,
    }


def identity(book: Book, token: AccessToken) -> Json:
    """Whom a token belongs to."""
    return {
        "accountId": account(book),
        "authKind": "token",
        "tokenKind": "service",
        "tokenName": token.name,
        "tokenId": token.id,
        "serviceToken": True,
    }


def account(book: Book) -> str:
    """The id of the account."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"account/{book.environment['id']}").hex[:24]


def environment(scope: Scope, book: Book) -> Json:
    """The Environment."""
    shown: Json = {
        "_links": {"self": link(f"/api/v2/projects/{scope.project}/environments/{scope.environment}")},
        "_id": book.environment["id"],
        "key": scope.environment,
        "name": scope.environment.capitalize(),
        "apiKey": scope.sdk_key,
        "mobileKey": f"mob-{uuid.uuid5(uuid.NAMESPACE_URL, book.environment['id'])}",
        "color": "417505",
        "defaultTtl": 0,
        "secureMode": False,
        "defaultTrackEvents": False,
        "requireComments": False,
        "confirmChanges": False,
        "tags": [],
        "critical": False,
    }
    if "approvals" in book.environment:
        shown["approvalSettings"] = approval_settings(book)
    return shown


def approval_settings(book: Book) -> Json:
    """What has to be approved, and by how many."""
    return {
        "required": False,
        "bypassApprovalsForPendingChanges": False,
        "minNumApprovals": 1,
        "canReviewOwnRequest": False,
        "canApplyDeclinedChanges": False,
        "serviceKind": "launchdarkly",
        "serviceConfig": {},
        "requiredApprovalTags": [],
        **book.environment.get("approvals", {}),
    }


def _config(scope: Scope, book: Book, key: str, evaluation: Json | None) -> Json:
    kept, record = book.flag(key), book.record(key)
    assert kept is not None
    shown: Json = {
        "on": kept["on"],
        "archived": key in book.archived,
        "salt": kept["salt"],
        "sel": uuid.uuid5(uuid.NAMESPACE_URL, kept["salt"]).hex,
        "lastModified": record["lastModified"],
        "version": kept["version"],
        "targets": kept.get("targets") or [],
        "contextTargets": kept.get("contextTargets") or [],
        "rules": [_rule(rule) for rule in kept.get("rules") or []],
        "fallthrough": kept["fallthrough"],
        "prerequisites": kept.get("prerequisites") or [],
        "_site": link(f"/{scope.project}/{scope.environment}/features/{key}", "text/html"),
        "_environmentName": scope.environment.capitalize(),
        "trackEvents": bool(kept.get("trackEvents")),
        "trackEventsFallthrough": bool(kept.get("trackEventsFallthrough")),
    }
    if kept.get("offVariation") is not None:
        shown["offVariation"] = kept["offVariation"]
    if evaluation is not None:
        shown["evaluation"] = {"contextKinds": evaluation.get("kinds", [])}
    return shown


def _rule(rule: Json) -> Json:
    shown = {name: value for name, value in rule.items() if name not in ("id", "clauses")}
    id_ = str(rule.get("id", ""))
    clauses = [
        {"negate": False, **clause, "_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{id_}/{number}"))}
        for number, clause in enumerate(rule.get("clauses") or [])
    ]
    return {"trackEvents": False, **shown, "_id": id_, "clauses": clauses}


def _kind(variations: Sequence[Any]) -> str:
    return "boolean" if variations in ([True, False], [False, True]) else "multivariate"
