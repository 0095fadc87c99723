"""Deployments at GitHub: one for each walk of a candidate, with a status for each share of it, none twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from rollout.core.plain import plain
from rollout.errors import ForgeDenied, ForgeUnavailable
from rollout.integrations.github.client import Client

MOST: Final = 140
"""Characters of a status's description."""
TASK: Final = "rollout"


@dataclass(frozen=True, slots=True)
class Walk:
    """What a deployment is of: a candidate's identity in an environment, since one generation of the ledger."""

    environment: str
    identity: str
    generation: int
    commit: str
    production: bool

    @property
    def payload(self) -> dict[str, Any]:
        """By which it is found again."""
        return {"rollout": 1, "identity": self.identity, "generation": self.generation}


@dataclass(frozen=True, slots=True)
class Step:
    """One status, in the order of the ledger; addresses that are no https are left out."""

    state: Literal["in_progress", "success", "failure", "inactive"]
    description: str
    environment_url: str = ""
    log_url: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """`denied` is why GitHub does not show all of it; `written` is how many statuses are new."""

    written: int
    denied: str | None = None


class Deployments:
    """The deployments of one repository. Writing them needs `deployments: write`."""

    def __init__(self, client: Client, repository: str) -> None:
        self._client = client
        self._path = f"/repos/{repository}/deployments"

    def show(self, walk: Walk, steps: Sequence[Step]) -> Shown:
        """Have the deployment of `walk`, with all `steps` so far as its statuses. Whatever is refused is in `denied`."""
        written = 0
        try:
            number = self._of(walk)
            if number is None:
                number = self._made(walk)
            for step in steps[self._told(number, steps) :]:
                self._tell(number, step)
                written += 1
        except (ForgeDenied, ForgeUnavailable) as error:
            return Shown(written, str(error.message))
        return Shown(written)

    def _of(self, walk: Walk) -> int | None:
        query = {"environment": walk.environment, "task": TASK}
        found = [
            int(item["id"])
            for item in self._client.pages(self._path, query)
            if _payload(item.get("payload")) == walk.payload and isinstance(item.get("id"), int)
        ]
        return min(found, default=None)

    def _made(self, walk: Walk) -> int:
        wanted = {
            "ref": walk.commit,
            "task": TASK,
            "environment": walk.environment,
            "payload": walk.payload,
            "description": plain(f"Candidate {walk.identity[:12]}", MOST, nothing="A candidate"),
            "auto_merge": False,
            "required_contexts": [],
            "production_environment": walk.production,
            "transient_environment": False,
        }
        return self._sent(self._path, wanted, "a deployment")

    def _told(self, number: int, steps: Sequence[Step]) -> int:
        """How many of the steps are told: up to the last one that a status is of, as GitHub has the newest first."""
        said = [
            (item.get("state"), item.get("description"))
            for item in self._client.pages(f"{self._path}/{number}/statuses", {})
        ]
        told = 0
        for each in reversed(said):
            if told < len(steps) and each == (steps[told].state, _description(steps[told])):
                told += 1
        return told

    def _tell(self, number: int, step: Step) -> None:
        wanted: dict[str, Any] = {
            "state": step.state,
            "description": _description(step),
            "auto_inactive": step.state == "success",
        }
        for name, url in (("environment_url", step.environment_url), ("log_url", step.log_url)):
            if url.startswith("https://"):
                wanted[name] = url
        self._sent(f"{self._path}/{number}/statuses", wanted, "a deployment's status")

    def _sent(self, path: str, wanted: dict[str, Any], what: str) -> int:
        # Never sent twice: the next tick finds what was done.
        answer = self._client.ask("POST", path, wanted, again=False)
        # 202 is a merge that was made instead, which we never ask for: it has no id.
        if not answer.ok or not isinstance(answer.body, dict) or not isinstance(answer.body.get("id"), int):
            raise self._client.unexpected(what, answer)
        return int(answer.body["id"])


def _description(step: Step) -> str:
    return plain(step.description, MOST, nothing=step.state)


def _payload(payload: object) -> object:
    """GitHub gives an object back as it was, or as its JSON."""
    if isinstance(payload, str):
        try:
            return json.loads(payload)
        except ValueError:
            return None
    return payload
