"""A flag as the REST API shows it, in the model that SDKs evaluate: so that one judge knows when a dial is sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from rollout.core.flagmodel import FlagData, UnsoundFlagError

_Object = dict[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFlag:
    """A flag in one environment. `model` is what an SDK would get; `variation_ids` are LaunchDarkly's, in its order.

    `kinds` are the kinds of context that evaluated it in the last 30 days, None if that was not asked.
    """

    key: str
    model: FlagData
    variation_ids: tuple[str, ...]
    archived: bool
    deprecated: bool
    experiments: int
    tags: tuple[str, ...]
    kinds: tuple[str, ...] | None

    @property
    def version(self) -> int:
        """The version of its configuration in this environment; 0 if it has none."""
        version = self.model.get("version")
        return version if isinstance(version, int) and not isinstance(version, bool) else 0


def remote_flag(environment: str, body: JsonValue) -> RemoteFlag:
    """Read an answer about a flag. Raises UnsoundFlagError if it does not show the flag in this environment."""
    flag = _object(body, "is no object")
    configurations = _object(flag.get("environments"), "has no environments")
    here = _object(configurations.get(environment), f"is not shown in the environment {environment}")
    variations = [_object(each, "has a variation that is no object") for each in _list(flag, "variations")]
    key = flag.get("key")
    return RemoteFlag(
        key=key if isinstance(key, str) else "",
        model=_model(flag, here, variations),
        variation_ids=tuple(str(each.get("_id")) for each in variations),
        archived=_is_set(flag, "archived") or _is_set(here, "archived"),
        deprecated=_is_set(flag, "deprecated"),
        experiments=_experiments(flag, environment),
        tags=tuple(tag for tag in _list(flag, "tags") if isinstance(tag, str)),
        kinds=_kinds(here),
    )


def _model(flag: _Object, here: _Object, variations: Sequence[_Object]) -> _Object:
    return {
        "key": flag.get("key"),
        "version": here.get("version"),
        "on": here.get("on"),
        "salt": here.get("salt"),
        "variations": [each.get("value") for each in variations],
        "offVariation": here.get("offVariation"),
        "fallthrough": bare(here.get("fallthrough")),
        "prerequisites": _list(here, "prerequisites"),
        "targets": _aimed(here, "targets"),
        "contextTargets": _aimed(here, "contextTargets"),
        "rules": _list(here, "rules"),
    }


def bare(value: JsonValue) -> JsonValue:
    """Without what is null, and without what LaunchDarkly tells about a part (`_untracked`, `_id`).

    A rollout by the attribute `key` is the one that we mean, said aloud; any other attribute stays and is judged.
    """
    match value:
        case dict():
            return {
                name: bare(part)
                for name, part in value.items()
                if part is not None and not name.startswith("_") and (name, part) != ("bucketBy", "key")
            }
        case list():
            return [bare(part) for part in value]
        case _:
            return value


def _aimed(here: _Object, part: str) -> list[JsonValue]:
    """Targets with somebody in them: LaunchDarkly also lists empty ones."""
    return [each for each in _list(here, part) if not isinstance(each, dict) or each.get("values") != []]


def _experiments(flag: _Object, environment: str) -> int:
    """How many experiments run on it here, or may: one that does not say where counts."""
    listed = flag.get("experiments")
    items = listed.get("items") if isinstance(listed, dict) else None
    return sum(_runs_in(each, environment) for each in items) if isinstance(items, list) else 0


def _runs_in(experiment: JsonValue, environment: str) -> bool:
    where = experiment.get("environments") if isinstance(experiment, dict) else None
    return environment in where if isinstance(where, list) and where else True


def _kinds(here: _Object) -> tuple[str, ...] | None:
    evaluation = here.get("evaluation")
    kinds = evaluation.get("contextKinds") if isinstance(evaluation, dict) else None
    return tuple(kind for kind in kinds if isinstance(kind, str)) if isinstance(kinds, list) else None


def _is_set(holder: _Object, name: str) -> bool:
    """A mark that is anything but absent, null or false is set."""
    return holder.get(name) not in (None, False)


def _list(holder: _Object, name: str) -> list[JsonValue]:
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnsoundFlagError(f"has {name} that are no list")
    return value


def _object(value: JsonValue, otherwise: str) -> _Object:
    if not isinstance(value, dict):
        raise UnsoundFlagError(otherwise)
    return value
