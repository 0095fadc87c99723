"""Everything that can stop a job, each with a code, an exit status and advice.

A verdict is a value and is returned; an error means that the job could not be done. Messages never carry
secrets: whoever raises one puts in names and places, not contents of environment variables or headers.
"""

from __future__ import annotations

from typing import ClassVar


class RolloutError(Exception):
    """A job could not be done.

    `code` names the kind and never changes, `exit_status` is what the process ends with, `advice` says what to do next.
    """

    code: ClassVar[str] = "bug"
    exit_status: ClassVar[int] = 70

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class Usage(RolloutError):
    """The command line asked for something that does not exist or does not fit together."""

    code = "usage"
    exit_status = 2


class Unsupported(Usage):
    """What was asked for is not what this part of the outside world can do."""

    code = "unsupported"


class Unreadable(RolloutError):
    """Inputs or policies could not be read, or there were none."""

    code = "inputs-unreadable"
    exit_status = 3


class NotHeld(Unreadable):
    """A hold was to be lifted that there is not."""

    code = "not-held"


class Unavailable(RolloutError):
    """Something outside did not answer; a retry is reasonable."""

    code = "outside-unavailable"
    exit_status = 4


class FlagUnavailable(Unavailable):
    """The flag store did not answer, or its answer is unknown (a write that timed out)."""

    code = "flag-unavailable"


class FlagAwaitsApproval(Unavailable):
    """A change of the flag was asked for and waits until somebody approves it."""

    code = "flag-approval"


class FlagDenied(RolloutError):
    """The flag service refuses what was asked for good: a token, a permission, a declined approval."""

    code = "flag-denied"
    exit_status = 1


class NotifyUnavailable(Unavailable):
    """Whoever was to be told did not take it."""

    code = "notify-unavailable"


class NotifyDenied(RolloutError):
    """A receiver of notices refuses them for good, or it is not known where it is."""

    code = "notify-denied"
    exit_status = 1


class ServingUnavailable(Unavailable):
    """A replica or a gateway did not answer."""

    code = "serving-unavailable"


class MetricsUnavailable(Unavailable):
    """The metric source did not answer."""

    code = "metrics-unavailable"


class RemoteUnavailable(Unavailable):
    """The git remote did not answer, or a push failed for a reason that is neither a race nor a refusal."""

    code = "remote-unavailable"


class PushRefused(RolloutError):
    """The remote does not take a push to a branch: it is protected, or a hook there says no."""

    code = "push-refused"
    exit_status = 1


class ForgeUnavailable(Unavailable):
    """The forge did not answer, limits us, or its answer is unknown."""

    code = "forge-unavailable"


class ForgeDenied(RolloutError):
    """The forge refuses what was asked for good: a token, a permission, a setting of the repository."""

    code = "forge-denied"
    exit_status = 1


class RevertAwaitsMerge(Unavailable):
    """The manifest's revert waits in a pull request until it is merged."""

    code = "revert-awaits-merge"


class WorldChanged(RolloutError):
    """The world is not what we left it: flag drift, a lost race, a broken ledger chain."""

    code = "world-changed"
    exit_status = 5


class FlagConflict(WorldChanged):
    """The flag has moved past the version that the caller had read."""

    code = "flag-drift"


class FlagPendingChange(WorldChanged):
    """Somebody else has planned a change of the flag, which ours would break."""

    code = "flag-pending-change"


class LedgerConflict(WorldChanged):
    """Another writer appended to the ledger first, or its chain does not verify."""

    code = "ledger-conflict"


class Busy(Unavailable):
    """Another process of ours holds a lock: a tick of the same adapter, or a writer of the same file."""

    code = "busy"


class LoadRefused(RolloutError):
    """A replica refused an adapter for good: a retry with the same bytes will be refused again."""

    code = "adapter-not-applied"
    exit_status = 1
