"""Flags through any OpenFeature provider: what the product can read wherever flags live, and never write.

A provider is somebody else's code. Whatever it answers, and however late, a request is served: stable on any doubt.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from rollout.core.flag import HIGHEST, Slot
from rollout.integrations.evaluator.asker import Asker
from rollout.integrations.evaluator.reader import is_key
from rollout.ports import FlagDataStatus, SlotDecision

if TYPE_CHECKING:
    from openfeature.provider import AbstractProvider

PATIENCE_S = 0.1
"""Longest wait of one request for a provider."""

_START_S = 2.0
# The standard's own, and those that LaunchDarkly's provider hands through.
_REASONS = frozenset(
    {
        "CACHED",
        "DEFAULT",
        "DISABLED",
        "SPLIT",
        "STALE",
        "STATIC",
        "TARGETING_MATCH",
        "UNKNOWN",
        "FALLTHROUGH",
        "RULE_MATCH",
        "PREREQUISITE_FAILED",
    }
)
_CODES = frozenset(
    {
        "FLAG_NOT_FOUND",
        "GENERAL",
        "INVALID_CONTEXT",
        "PARSE_ERROR",
        "TARGETING_KEY_MISSING",
        "TYPE_MISMATCH",
        "PROVIDER_NOT_READY",
        "PROVIDER_FATAL",
    }
)
_DOMAINS = itertools.count()


class OpenFeatureReader:
    """FlagReader over an OpenFeature provider, in a domain of its own beside whatever else the process evaluates.

    `make` makes the provider, once in each process. A version is what the provider gives as the flag's metadata
    `version`; without one no candidate is ever served. `keys` tells which flags to report when nobody has asked for
    them yet. `patience_s` bounds how long a request waits, and None asks at once, for a provider that is known to
    answer from memory.
    """

    source = "openfeature"

    def __init__(
        self,
        make: Callable[[], AbstractProvider],
        *,
        keys: Callable[[], Collection[str]] = tuple,
        patience_s: float | None = PATIENCE_S,
    ) -> None:
        self._make = make
        self._keys = keys
        self._patience_s = patience_s
        self._versions: dict[str, int | None] = {}
        self._ready_at = float("-inf")
        self._begin().join(_START_S)
        self._await_start(time.monotonic() + _START_S)
        _OPEN.add(self)

    def slot(self, key: str, context_key: str | None) -> SlotDecision:
        """The slot for a request; `stable` on any doubt, with the reason."""
        if (doubt := self._doubt()) is not None:
            return self._stable(key, None, f"ERROR:{doubt}")
        try:
            details = self._asker.ask(lambda: self._details(key, context_key))
        except TimeoutError:
            return self._stable(key, None, "ERROR:TIMEOUT")
        except Exception:
            return self._stable(key, None, "ERROR:EXCEPTION")
        return self._decision(key, details)

    def age_s(self, key: str) -> float:  # noqa: ARG002 - a provider is ready for all flags or for none
        """Seconds since the provider was last seen ready."""
        self._doubt()
        return time.monotonic() - self._ready_at

    def seen(self, key: str) -> int | None:
        """The version by which a flag was last evaluated."""
        return self._versions.get(key)

    def status(self) -> FlagDataStatus:
        """Whether the provider is ready, and the versions that it evaluates by now."""
        for key in {*self._versions, *self._keys()}:
            self.slot(key, None)
        versions = {key: version for key, version in sorted(self._versions.items()) if version is not None}
        state = self._state()
        return FlagDataStatus(
            ready=self._ready_at > float("-inf"),
            age_s=self.age_s(""),
            error=self._failure
            or (None if state == "READY" else f"the provider is {state}")
            or self._unversioned(),
            versions=versions,
            source=self.source,
        )

    def close(self) -> None:
        """Let the provider go."""
        from openfeature import api
        from openfeature.provider.no_op_provider import NoOpProvider

        _OPEN.discard(self)
        self._asker.stop()
        # There is no way to remove a domain. Setting another provider shuts the old one down.
        api.set_provider(NoOpProvider(), self._domain)

    def begin_again(self) -> None:
        """A fork left the provider's threads in the parent: make another provider. Stable until it is ready."""
        self._begin()

    def _begin(self) -> threading.Thread:
        from openfeature import api

        self._failure: str | None = None
        self._domain = f"adapter-rollout-{os.getpid()}-{next(_DOMAINS)}"
        self._client = api.get_client(self._domain)
        self._asker = Asker(self._patience_s)
        self._mine: AbstractProvider | None = None
        # In a thread, for a provider may take its time to start, and a lock of the SDK's may not survive a fork.
        thread = threading.Thread(target=self._provide, name="openfeature start", daemon=True)
        thread.start()
        return thread

    def _provide(self) -> None:
        from openfeature import api

        try:
            provider = self._make()
            api.set_provider(provider, self._domain)
            self._mine = provider
        except Exception as error:
            self._failure = f"the provider could not be started: {type(error).__name__}"

    def _await_start(self, deadline: float) -> None:
        while self._failure is None and self._state() == "NOT_READY" and time.monotonic() < deadline:
            time.sleep(0.005)
        self._doubt()

    def _state(self) -> str:
        """The provider's own state. Before it is set, the SDK would answer for its own provider that does nothing."""
        return "NOT_READY" if self._mine is None else str(self._client.get_provider_status().name)

    def _doubt(self) -> str | None:
        state = self._state()
        if state == "READY":
            self._ready_at = time.monotonic()
        return None if state in ("READY", "STALE") else f"PROVIDER_{state}"

    def _details(self, key: str, context_key: str | None) -> Any:
        from openfeature.evaluation_context import EvaluationContext

        context = EvaluationContext(targeting_key=context_key) if is_key(context_key) else EvaluationContext()
        return self._client.get_string_details(key, Slot.STABLE.value, context)

    def _decision(self, key: str, details: Any) -> SlotDecision:
        version = _version(details.flag_metadata)
        if details.error_code is not None:
            return self._stable(key, version, f"ERROR:{_among(details.error_code, _CODES)}")
        reason = _among(details.reason, _REASONS)
        match details.value:
            case Slot.CANDIDATE.value:
                self._versions[key] = version
                return SlotDecision(slot=Slot.CANDIDATE, version=version, reason=reason)
            case Slot.STABLE.value:
                return self._stable(key, version, reason)
            case _:
                return self._stable(key, version, "ERROR:NOT_A_SLOT")

    def _stable(self, key: str, version: int | None, reason: str) -> SlotDecision:
        self._versions[key] = version
        return SlotDecision(slot=Slot.STABLE, version=version, reason=reason)

    def _unversioned(self) -> str | None:
        without = sorted(key for key, version in self._versions.items() if version is None)
        return (
            f"flag {without[0]} is not there, or has no version: its candidate is not served"
            if without
            else None
        )


def _version(metadata: Mapping[str, object] | None) -> int | None:
    """A whole number; over the wire a provider may have got it as a floating point one."""
    version = metadata.get("version") if isinstance(metadata, Mapping) else None
    if isinstance(version, float) and version.is_integer():
        version = int(version)
    whole = isinstance(version, int) and not isinstance(version, bool) and 1 <= version <= HIGHEST
    return version if whole and isinstance(version, int) else None


def _among(name: object, known: Collection[str]) -> str:
    """A provider may give any text as a reason, and each would be a series of its own."""
    text = str(getattr(name, "value", name))
    return text if text in known else "OTHER"


_OPEN: weakref.WeakSet[OpenFeatureReader] = weakref.WeakSet()


def _begin_again() -> None:
    for reader in list(_OPEN):
        reader.begin_again()


os.register_at_fork(after_in_child=_begin_again)
