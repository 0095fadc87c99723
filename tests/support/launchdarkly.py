"""The local LaunchDarkly on a loopback socket, with what a test wants to know and to spoil."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from rollout.core.environment import LaunchDarklyFlags
from rollout.flagserver.access import Access, AccessToken
from rollout.flagserver.app import FlagServer, FlagServerSettings
from rollout.flagserver.door import Heard
from rollout.flagserver.faults import Fault
from tests.support.upstream import serving

TOKEN = "api-11111111-1111-4111-8111-111111111111"
ROLLBACK_TOKEN = "api-22222222-2222-4222-8222-222222222222"
READER_TOKEN = "api-33333333-3333-4333-8333-333333333333"
REVIEWER_TOKEN = "api-44444444-4444-4444-8444-444444444444"
SDK_KEY = "sdk-55555555-5555-4555-8555-555555555555"

SEMANTIC = "application/json; domain-model=launchdarkly.semanticpatch"


@dataclass
class Speaker:
    """A running server. `url` is REST, stream, polling and events; `path` is its flag file."""

    url: str
    path: Path
    server: FlagServer = field(repr=False)
    client: httpx.Client = field(repr=False)
    requests: list[Heard] = field(default_factory=list, repr=False)
    token: str = TOKEN
    rollback_token: str = ROLLBACK_TOKEN
    reader_token: str = READER_TOKEN
    reviewer_token: str = REVIEWER_TOKEN
    sdk_key: str = SDK_KEY
    project: str = "default"
    environment: str = "production"

    @property
    def flags(self) -> LaunchDarklyFlags:
        """The `flags:` block of an environment that is served here. Its variables are for the test to set."""
        return LaunchDarklyFlags(
            kind="launchdarkly",
            project=self.project,
            environment=self.environment,
            api=self.url,
            stream=self.url,
            events=self.url,
            rollback_token_env="LD_ROLLBACK_TOKEN",
        )

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that `flags` names."""
        return {
            "LD_ACCESS_TOKEN": self.token,
            "LD_ROLLBACK_TOKEN": self.rollback_token,
            "LD_SDK_KEY": self.sdk_key,
        }

    @property
    def writes(self) -> list[Heard]:
        """The requests that were meant to change something, dry runs left out."""
        rest = [one for one in self.requests if one.path.startswith("/api/") and one.method != "GET"]
        return [one for one in rest if "dryRun=true" not in one.path]

    def fault(self, name: str, *, times: int | None = None, seconds: float = 1.0, on: str = "write") -> None:
        """Switch a fault on (`rollout.flagserver.faults.FAULTS`): for `times` requests that `on` write, read or any."""
        self.server.fault(Fault(name=name, times=times, seconds=seconds, on=on))

    def no_faults(self) -> None:
        """Switch all faults off."""
        self.server.no_faults()

    def ask(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        """One request to the REST API, below `/api/v2`."""
        headers = {
            "Authorization": token or self.token,
            "LD-API-Version": "20240415",
            **more.pop("headers", {}),
        }
        return self.client.request(method, f"{self.url}/api/v2{path}", headers=headers, **more)

    def flag(self, key: str) -> dict[str, Any]:
        """A flag as the REST API shows it."""
        answer = self.ask("GET", f"/flags/{self.project}/{key}", params={"env": self.environment})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def config(self, key: str) -> dict[str, Any]:
        """What the environment says of a flag."""
        return self.flag(key)["environments"][self.environment]

    def variation_ids(self, key: str) -> list[str]:
        """The ids of a flag's variations, in order."""
        return [variation["_id"] for variation in self.flag(key)["variations"]]

    def create(self, key: str, **more: Any) -> dict[str, Any]:
        """A dial: two slots, stable first, off."""
        body = {
            "key": key,
            "name": key,
            "variations": [
                {"value": "stable", "name": "stable"},
                {"value": "candidate", "name": "candidate"},
            ],
            "defaults": {"onVariation": 0, "offVariation": 0},
            **more,
        }
        answer = self.ask("POST", f"/flags/{self.project}", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def patch(
        self,
        key: str,
        *instructions: dict[str, Any],
        token: str | None = None,
        comment: str = "",
        **query: str,
    ) -> httpx.Response:
        """A semantic patch by somebody: whatever instructions, whatever token."""
        body = {"environmentKey": self.environment, "comment": comment, "instructions": list(instructions)}
        headers = {"Content-Type": SEMANTIC}
        path = f"/flags/{self.project}/{key}"
        return self.ask("PATCH", path, token=token, headers=headers, json=body, params=query)

    def serve(self, key: str, candidate: int, *, token: str | None = None, **query: str) -> httpx.Response:
        """A patch that sets the candidate's weight in thousandths of a percent, and turns nothing on."""
        stable_id, candidate_id = self.variation_ids(key)
        weights = {stable_id: 100_000 - candidate, candidate_id: candidate}
        dial = {"kind": "updateFallthroughVariationOrRollout", "rolloutWeights": weights}
        return self.patch(key, dial, token=token, **query)


@contextmanager
def speaking(root: Path, **settings: Any) -> Iterator[Speaker]:
    """Serve the flag file `flags.json` in a folder; `settings` are those of FlagServerSettings."""
    path = settings.pop("path", root / "flags.json")
    requests: list[Heard] = []
    access = Access(
        tokens=(
            AccessToken(secret=TOKEN, name="writer"),
            AccessToken(secret=ROLLBACK_TOKEN, name="rollback", bypasses=True),
            AccessToken(secret=READER_TOKEN, name="reader", writes=False),
            AccessToken(secret=REVIEWER_TOKEN, name="reviewer"),
        ),
        sdk_key=SDK_KEY,
    )
    served = FlagServerSettings(path=path, **settings)
    server = FlagServer(served, access, witness=requests.append)
    with serving(server.application()) as url, httpx.Client(timeout=30, verify=False) as client:
        try:
            yield Speaker(
                url=url,
                path=path,
                server=server,
                client=client,
                requests=requests,
                project=served.project,
                environment=served.environment,
            )
        finally:
            server.leave()
