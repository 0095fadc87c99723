"""A real LaunchDarkly, for whoever has an account: settles what could not be verified without one.

Makes a few flags in a throw-away project, asks, prints the answers, and deletes them. See docs/launchdarkly.md.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from rollout.core.environment import LaunchDarklyFlags
from rollout.core.plan import Share
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from rollout.integrations.launchdarkly.client import SEMANTIC_PATCH
from rollout.integrations.launchdarkly.setup import roles

TOKEN, PROJECT = os.environ.get("LD_ACCESS_TOKEN", ""), os.environ.get("LD_SMOKE_PROJECT", "")
ENVIRONMENT = os.environ.get("LD_SMOKE_ENVIRONMENT", "test")
API = os.environ.get("LD_SMOKE_API", "https://app.launchdarkly.com")
STREAM = os.environ.get("LD_SMOKE_STREAM", "https://stream.launchdarkly.com")

if not (TOKEN and PROJECT):
    pytest.skip(
        "needs a LaunchDarkly account: set LD_ACCESS_TOKEN and LD_SMOKE_PROJECT (a throw-away project),"
        " see docs/launchdarkly.md",
        allow_module_level=True,
    )
FIVE, QUARTER, HALF = (Share.parse(text) for text in ("5%", "25%", "50%"))


@dataclass
class Account:
    """The project, and a flag of this test in it."""

    http: httpx.Client
    key: str

    def ask(self, method: str, path: str, *, version: str = "20240415", **more: Any) -> httpx.Response:
        headers = {"LD-API-Version": version, **more.pop("headers", {})}
        return self.http.request(method, f"/api/v2{path}", headers=headers, **more)

    @property
    def path(self) -> str:
        return f"/flags/{PROJECT}/{self.key}"

    def flag(self) -> dict[str, Any]:
        answer = self.ask("GET", self.path, params={"env": ENVIRONMENT})
        assert answer.status_code == 200, answer.status_code
        found: dict[str, Any] = answer.json()
        return found

    def here(self) -> dict[str, Any]:
        found: dict[str, Any] = self.flag()["environments"][ENVIRONMENT]
        return found

    def patch(self, *instructions: dict[str, Any], **query: str) -> httpx.Response:
        body = {"environmentKey": ENVIRONMENT, "comment": "smoke test", "instructions": list(instructions)}
        return self.ask("PATCH", self.path, json=body, params=query, headers={"Content-Type": SEMANTIC_PATCH})

    def weights(self, candidate: int, *, candidate_first: bool = False) -> dict[str, Any]:
        stable_id, candidate_id = (each["_id"] for each in self.flag()["variations"])
        pairs = [(stable_id, 100_000 - candidate), (candidate_id, candidate)]
        return {
            "kind": "updateFallthroughVariationOrRollout",
            "rolloutContextKind": "user",
            "rolloutWeights": dict(reversed(pairs) if candidate_first else pairs),
        }

    def delete(self) -> None:
        self.ask("DELETE", self.path)


@pytest.fixture
def account() -> Iterator[Account]:
    key = f"adapter-rollout-smoke-{secrets.token_hex(4)}"
    with httpx.Client(base_url=API, headers={"Authorization": TOKEN}, timeout=20) as http:
        made = Account(http, key)
        try:
            yield made
        finally:
            with suppress(httpx.HTTPError):
                made.delete()


@pytest.fixture
def store(account: Account) -> LaunchDarklyStore:
    return store_with(TOKEN, account)


def store_with(token: str, account: Account, **changes: Any) -> LaunchDarklyStore:
    settings = LaunchDarklyFlags(
        kind="launchdarkly", project=PROJECT, environment=ENVIRONMENT, api=API, stream=STREAM, **changes
    )
    made = LaunchDarklyStore(settings, token=Token(token, "LD_ACCESS_TOKEN"))
    made.create(account.key, by="smoke")
    return made


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Any:
    """Prints an answer whatever pytest captures."""

    def tell(question: str, answer: object) -> None:
        with capsys.disabled():
            print(f"\n  {question}: {answer}")

    return tell


def test_a_release_from_the_first_step_to_the_way_back(
    account: Account, store: LaunchDarklyStore, say: Any
) -> None:
    state = store.read(account.key)
    assert state is not None
    assert (state.on, state.share) == (False, Share.ZERO)
    for share in (FIVE, QUARTER, HALF, Share.FULL):
        state = store.write(
            account.key, share, turn_on=True, expect_version=state.version, by="smoke", comment=f"to {share}"
        )
        assert (state.on, state.share) == (True, share)
    back = store.take_back(account.key, by="smoke", comment="back")
    assert (back.on, back.share, back.version) == (False, Share.ZERO, state.version + 1)
    say("0  who changed it last, by the audit log", store_with(TOKEN, account).read(account.key))
    say("0  preflight", [f"{each.id}: {each.standing.value}" for each in store.checks(account.key)])


def test_question_1_the_order_in_which_weights_are_stored(
    account: Account, store: LaunchDarklyStore, say: Any
) -> None:
    for candidate_first in (False, True):
        answer = account.patch(account.weights(5000, candidate_first=candidate_first))
        assert answer.status_code == 200, answer.status_code
        stored = account.here()["fallthrough"]["rollout"]["variations"]
        order = [each["variation"] for each in stored]
        say(f"1  stored order, candidate {'first' if candidate_first else 'last'} in the map", order)
        account.patch(account.weights(6000))


def test_question_2_what_a_failed_test_answers_and_how_versions_rise(
    account: Account, store: LaunchDarklyStore, say: Any
) -> None:
    before = account.here()["version"]
    assert account.patch({"kind": "turnFlagOn"}, account.weights(1000)).status_code == 200
    after = account.here()["version"]
    say("2  version after one patch of two instructions", f"+{after - before}")
    account.patch({"kind": "turnFlagOn"}, account.weights(1000))
    say("2  version after a patch that changes nothing", f"+{account.here()['version'] - after}")
    where = f"/environments/{ENVIRONMENT}"
    patch = [
        {"op": "test", "path": f"{where}/version", "value": before},
        {"op": "replace", "path": f"{where}/on", "value": False},
    ]
    answer = account.ask("PATCH", account.path, json={"comment": "smoke test", "patch": patch})
    say("2  a JSON patch whose test fails", f"{answer.status_code} {_code(answer)}")
    assert account.here()["on"] is True
    strict = store_with(TOKEN, account, strict_cas=True)
    state = strict.write(account.key, HALF, turn_on=False, expect_version=None, by="smoke", comment="strict")
    say("2  a strict write", f"version {state.version}, {state.share}")


def test_question_3_a_patch_of_an_archived_flag(account: Account, store: LaunchDarklyStore, say: Any) -> None:
    say("3  archiving", account.patch({"kind": "archiveFlag"}).status_code)
    answer = account.patch({"kind": "turnFlagOff"}, account.weights(1000))
    say("3  a patch of an archived flag", f"{answer.status_code} {_code(answer)}")


def test_question_4_a_patch_while_launchdarkly_releases_by_itself(
    account: Account, store: LaunchDarklyStore, say: Any
) -> None:
    path = f"/projects/{PROJECT}/flags/{account.key}/environments/{ENVIRONMENT}/releases"
    listed = account.ask("GET", path, version="beta")
    say("4  listing releases (beta)", f"{listed.status_code} {_code(listed)}")
    say("4  what a patch does to a running one", "start one by hand on a rule, run this again, look")
    answer = account.patch(account.weights(1000))
    say("4  a patch", f"{answer.status_code} {_code(answer)}")


def test_question_5_what_concurrent_patches_are_answered(
    account: Account, store: LaunchDarklyStore, say: Any
) -> None:
    changes = [account.weights(1000 + 1000 * number) for number in range(12)]
    before = account.here()["version"]
    with ThreadPoolExecutor(len(changes)) as pool:
        answers = list(pool.map(account.patch, changes))
    seen = sorted({f"{each.status_code} {_code(each)}".strip() for each in answers})
    say("5  twelve patches at once", seen)
    done = sum(each.status_code == 200 for each in answers)
    say("5  versions of those that were done", f"{done} done, version +{account.here()['version'] - before}")


def test_question_6_which_limits_are_told(account: Account, store: LaunchDarklyStore, say: Any) -> None:
    answers = [
        account.ask("GET", account.path, params={"env": ENVIRONMENT}),
        account.patch(account.weights(2000)),
    ]
    for answer in answers:
        told = {
            name: value
            for name, value in answer.headers.items()
            if name.lower().startswith(("x-ratelimit", "retry-after"))
        }
        say(f"6  limits told to a {answer.request.method}", told or "none")


def test_question_7_how_long_a_change_takes_to_a_gateway(
    account: Account, store: LaunchDarklyStore, say: Any
) -> None:
    import ldclient
    from ldclient.config import Config

    sdk_key = account.ask("GET", f"/projects/{PROJECT}/environments/{ENVIRONMENT}").json()["apiKey"]
    config = Config(sdk_key, stream_uri=STREAM, base_uri=STREAM, send_events=False, diagnostic_opt_out=True)
    someone = ldclient.Context.create("someone")
    with ldclient.LDClient(config, start_wait=20) as client:
        assert client.is_initialized()
        took = []
        for number in range(10):
            share = Share.FULL if number % 2 == 0 else Share.ZERO
            wanted = "candidate" if share == Share.FULL else "stable"
            begin = time.monotonic()
            store.write(account.key, share, turn_on=True, expect_version=None, by="smoke", comment="7")
            written = time.monotonic()
            while client.variation(account.key, someone, "default") != wanted:
                assert time.monotonic() - begin < 60, "the change never arrived"
                time.sleep(0.001)
            took.append((written - begin, time.monotonic() - begin))
    took.sort(key=lambda pair: pair[1])
    say("7  from before the write until it is evaluated, median and worst, s", (took[5][1], took[-1][1]))
    say("7  the write with its read-back alone, s", sorted(pair[0] for pair in took)[5])


def test_question_8_whether_the_least_role_is_enough(
    account: Account, store: LaunchDarklyStore, say: Any
) -> None:
    settings = LaunchDarklyFlags(kind="launchdarkly", project=PROJECT, environment=ENVIRONMENT)
    writer: Any = roles(settings)["writer"]
    body = {"name": account.key, "serviceToken": True, "inlineRole": writer["policy"]}
    answer = account.ask("POST", "/tokens", json=body)
    if answer.status_code != 201:
        say("8  a token with the least role could not be made", f"{answer.status_code} {_code(answer)}")
        return
    made = answer.json()
    try:
        least = store_with(made["token"], account)
        least.write(account.key, FIVE, turn_on=True, expect_version=None, by="smoke", comment="8")
        least.take_back(account.key, by="smoke", comment="8")
        found = [f"{each.id}: {each.standing.value}" for each in least.checks(account.key)]
        say("8  the least role writes and takes back; its preflight", found)
    finally:
        account.ask("DELETE", f"/tokens/{made['_id']}")


def _code(answer: httpx.Response) -> str:
    """The code and message of an answer that is none of ours to show whole."""
    if answer.status_code < 300:
        return ""
    try:
        body = answer.json()
    except ValueError:
        return "(no JSON)"
    return f"{body.get('code')}: {str(body.get('message'))[:120]}" if isinstance(body, dict) else ""
