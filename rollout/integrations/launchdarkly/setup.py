"""What keeps a flag as it was made: a Terraform resource that leaves the dial alone, and the least roles."""

from __future__ import annotations

import json

from pydantic import JsonValue

from rollout.core.environment import LaunchDarklyFlags
from rollout.integrations.launchdarkly.flags import TAG

_DIAL = ["updateOn", "updateFallthrough", "updateOffVariation", "updateTargets"]
_ASK = ["createApprovalRequest", "updateApprovalRequest", "deleteApprovalRequest", "applyApprovalRequest"]
_THERE = (
    "The flag is at LaunchDarkly now. These two let the first apply take it over instead of making it again."
)
_NOT_YET = "The flag would be made by `rollout flag setup`: apply after that. These two then take it over."


def terraform(settings: LaunchDarklyFlags, key: str, *, there: bool) -> str:
    """The flag as Terraform resources. Terraform must not undo a step: it ignores the dial.

    `there` says whether the flag is known to be there: what is not cannot be imported.
    """
    when = _THERE if there else _NOT_YET
    name = "flag_" + key.replace(".", "_").replace("-", "_")
    environment = f"{name}_{settings.environment}".replace(".", "_").replace("-", "_")
    return f"""\
# {when}
import {{
  to = launchdarkly_feature_flag.{name}
  id = "{settings.project}/{key}"
}}
import {{
  to = launchdarkly_feature_flag_environment.{environment}
  id = "{settings.project}/{settings.environment}/{key}"
}}

resource "launchdarkly_feature_flag" "{name}" {{
  project_key    = "{settings.project}"
  key            = "{key}"
  name           = "{key}"
  variation_type = "string"
  temporary      = false
  tags           = ["{TAG}"]

  # The order says who is drawn: stable is first for ever.
  variations {{
    value = "stable"
    name  = "stable"
  }}
  variations {{
    value = "candidate"
    name  = "candidate"
  }}
  defaults {{
    on_variation  = 0
    off_variation = 0
  }}
}}

resource "launchdarkly_feature_flag_environment" "{environment}" {{
  flag_id       = launchdarkly_feature_flag.{name}.id
  env_key       = "{settings.environment}"
  on            = false
  off_variation = 0

  fallthrough {{
    variation = 0
  }}

  # The dial is rollout's: an apply in the middle of a release would throw users off the candidate, or onto it.
  lifecycle {{
    ignore_changes = [on, fallthrough, targets, context_targets]
  }}
}}
"""


def roles(settings: LaunchDarklyFlags) -> dict[str, JsonValue]:
    """The least custom roles: `writer` for `token_env`, `rollback` for `rollback_token_env`."""
    ours = f"proj/{settings.project}:env/{settings.environment}:flag/*;{TAG}"
    view = _allow(["viewProject"], f"proj/{settings.project}")
    return {
        "writer": _role(
            "adapter-rollout-writer",
            view,
            _allow(["createFlag"], f"proj/{settings.project}:env/*:flag/*"),
            _allow([*_DIAL, *_ASK], ours),
        ),
        "rollback": _role(
            "adapter-rollout-rollback",
            view,
            _allow([*_DIAL, "bypassRequiredApproval", "deleteApprovalRequest"], ours),
        ),
    }


def roles_text(settings: LaunchDarklyFlags) -> str:
    """The roles as JSON, as `POST /api/v2/roles` takes each."""
    return json.dumps(roles(settings), indent=2)


def _role(key: str, *statements: JsonValue) -> JsonValue:
    return {"key": key, "name": key, "basePermissions": "no_access", "policy": list(statements)}


def _allow(actions: list[str], resource: str) -> JsonValue:
    named: list[JsonValue] = list(actions)
    return {"effect": "allow", "actions": named, "resources": [resource]}
