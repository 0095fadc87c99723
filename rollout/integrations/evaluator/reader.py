"""What every reader of flags does with LaunchDarkly's SDK, wherever its data come from."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from rollout.core.flag import Slot
from rollout.core.flagmodel import CONTEXT_KIND
from rollout.ports import FlagDataStatus, SlotDecision

if TYPE_CHECKING:
    from ldclient import Context, LDClient

    from rollout.integrations.evaluator.memory import FlagMemory

# A request without a key is evaluated as a context of another kind than the one that is bucketed. Below 100 %
# the SDK then gives it the first variation listed, which is stable; a plain variation it gets like everyone.
_UNKEYED_KIND = "request"
_UNKEYED = "unkeyed"


class Feed(Protocol):
    """Where a reader's flags come from."""

    @property
    def ready(self) -> bool:
        """Whether any data were ever good."""
        ...

    @property
    def age_s(self) -> float:
        """Seconds since they were last known to be what the flag says; infinite before the first time."""
        ...

    def age_of(self, key: str) -> float:
        """The same for one flag, which may be kept in an older form than the others."""
        ...

    @property
    def error(self) -> str | None:
        """Why newer data, or a single flag, are not in force."""
        ...

    @property
    def versions(self) -> dict[str, int]:
        """Versions in force of the flags that are dials."""
        ...

    @property
    def source(self) -> str:
        """Where what is in force came from, as `FlagDataStatus.source` names it."""
        ...

    @property
    def environment(self) -> str | None:
        """LaunchDarkly's id of the environment, if it is known."""
        ...


class FlagReader:
    """Flags in memory, a few tens of microseconds a decision, never an error.

    After a fork the child has what was in force, and gets what is new by itself.
    """

    def __init__(self, client: LDClient, store: FlagMemory, feed: Feed) -> None:
        from ldclient import Context
        from ldclient.versioned_data_kind import FEATURES

        self._features = FEATURES
        self._context = Context
        self._unkeyed: Context = Context.create(_UNKEYED, _UNKEYED_KIND)
        self._client, self._store, self._feed = client, store, feed
        _OPEN.add(self)

    def slot(self, key: str, context_key: str | None) -> SlotDecision:
        """The slot for a request; `stable` on any doubt, with the reason."""
        # The version is read before the flag is evaluated: if the flag changes in between, the decision goes
        # with the older version, and a gateway that must not use old data errs on the side of stable.
        version = self._version(key)
        if version is None:
            return _stable(None, "FLAG_NOT_FOUND" if self._feed.ready else "CLIENT_NOT_READY")
        context = self._context.create(context_key, CONTEXT_KIND) if is_key(context_key) else self._unkeyed
        try:
            detail = self._client.variation_detail(key, context, Slot.STABLE.value)
        except Exception as error:
            return _stable(version, f"ERROR:{type(error).__name__}")
        reason = _reason(detail.reason)
        match detail.value:
            case Slot.CANDIDATE.value if detail.variation_index is not None:
                return SlotDecision(slot=Slot.CANDIDATE, version=version, reason=reason)
            case Slot.STABLE.value:
                return _stable(version, reason)
            case _:
                return _stable(version, "ERROR:NOT_A_SLOT")

    def age_s(self, key: str) -> float:
        """Seconds since what is in force of a flag was last confirmed."""
        return self._feed.age_of(key)

    def status(self) -> FlagDataStatus:
        """How fresh the data is, which versions are in force, and why a newer content is not."""
        return FlagDataStatus(
            ready=self._feed.ready,
            age_s=self._feed.age_s,
            error=self._feed.error,
            versions=self._feed.versions,
            source=self._feed.source,
            environment=self._feed.environment,
        )

    def close(self) -> None:
        """Stop watching."""
        _OPEN.discard(self)
        self._client.close()

    def begin_again(self) -> None:
        """Start the threads that a fork has left in the parent."""
        self._client.postfork(start_wait=0)

    def _version(self, key: str) -> int | None:
        flag = self._store.get(self._features, key)
        return None if flag is None else int(flag.version)


_OPEN: weakref.WeakSet[FlagReader] = weakref.WeakSet()


def _begin_again() -> None:
    for reader in list(_OPEN):
        reader.begin_again()


os.register_at_fork(after_in_child=_begin_again)


def is_key(context_key: str | None) -> TypeGuard[str]:
    """Whether a key can be bucketed: half a surrogate pair cannot, and the SDK would write it into its log."""
    try:
        return bool(context_key and context_key.encode())
    except UnicodeEncodeError:
        return False


def _stable(version: int | None, reason: str) -> SlotDecision:
    return SlotDecision(slot=Slot.STABLE, version=version, reason=reason)


def _reason(reason: Mapping[str, Any] | None) -> str:
    if not reason:
        return "UNKNOWN"
    detail = reason.get("errorKind") or reason.get("ruleId") or reason.get("prerequisiteKey")
    return f"{reason.get('kind')}:{detail}" if detail else str(reason.get("kind"))
