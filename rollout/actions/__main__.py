"""`python -m rollout.actions VERB`: what the step of an action runs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from rollout.actions.credentials import git_credentials
from rollout.actions.event import Event
from rollout.actions.inputs import Inputs
from rollout.actions.publish import refusal
from rollout.actions.step import Step
from rollout.cli.endings import end_with, end_with_bug
from rollout.errors import RolloutError, Usage

ACTIONS: Final = ("validate", "evaluate", "shadow", "advance", "rollback", "promote", "report")
_NOTHING_KNOWN: Final = 70


def main(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one action; the answer is the exit status of its verb. The outputs are written however it ends."""
    step = Step(environment)
    try:
        if len(words) != 1 or words[0] not in ACTIONS:
            raise Usage(f"there is no such action: name one of {', '.join(ACTIONS)}")
        action = importlib.import_module(f"rollout.actions.{words[0]}")
        with git_credentials(environment):
            status = action.act(Inputs(environment), Event.read(environment), step)
        assert isinstance(status, int)
        # A step is green only where its outcome says so.
        return status if status or step.outputs["outcome"] == "pass" else _NOTHING_KNOWN
    except RolloutError as error:
        step.outputs["outcome"] = "error"
        step.annotate(error)
        step.summarise(f"## ⛔ rollout {words[0] if words else ''}\n\n{refusal(error)}")
        return end_with(error)
    except Exception:
        step.outputs["outcome"] = "error"
        return end_with_bug()
    finally:
        step.write_outputs()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
