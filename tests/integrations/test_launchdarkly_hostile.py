"""A LaunchDarkly that misbehaves: what it says is bounded in time, and moves no flag but the one that was meant."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click
import pytest

from rollout.core.environment import LaunchDarklyFlags
from rollout.core.flag import FlagState
from rollout.core.flagcheck import FlagCheck, Standing
from rollout.core.plan import Share
from rollout.errors import FlagDenied, FlagUnavailable, WorldChanged
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from rollout.integrations.launchdarkly.audit import LaunchDarklyAudit
from rollout.report.flags import checks_as_text, sight_as_text
from rollout.usecases.flagsight import FlagSight, GatewaySight
from tests.support.patience import Waits

KEY = "lora-support-bot"
LIMITS = {"x-ratelimit-reset": "99999999999999", "x-ratelimit-auth-token-reset": "99999999999999"}

Reply = tuple[int, dict[str, str], object]


class Scripted:
    """A server that answers each request by `answer`; `asked` are methods, paths and tokens."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.answer: Callable[[str, str, str], Reply] = lambda *_: (200, {}, shown())
        outer = self

        class Own(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                request = self.command, self.path, self.headers["authorization"]
                outer.asked.append(request)
                status, headers, body = outer.answer(*request)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_PATCH = do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.asked]

    def store(self, waits: Waits, rollback: str | None = None) -> LaunchDarklyStore:
        return store_at(f"http://127.0.0.1:{self.server.server_port}", waits, rollback)


def store_at(url: str, waits: Waits, rollback: str | None = None, **settings: Any) -> LaunchDarklyStore:
    flags = LaunchDarklyFlags(
        kind="launchdarkly", project="default", environment="production", api=url, **settings
    )
    token = Token(rollback, "LD_ROLLBACK_TOKEN") if rollback else None
    return LaunchDarklyStore(
        flags, token=Token("api-1", "LD_ACCESS_TOKEN"), rollback_token=token, pace=waits.pace
    )


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    it = Scripted()
    yield it
    it.server.shutdown()
    it.server.server_close()


def shown(
    key: str = KEY, *, on: bool = True, values: tuple[str, ...] = ("stable", "candidate")
) -> dict[str, Any]:
    here = {
        "on": on,
        "version": 7,
        "salt": "s",
        "offVariation": 0,
        "fallthrough": {"variation": 1 if on else 0},
    }
    variations = [{"_id": f"id-{value}", "value": value} for value in values]
    return {"key": key, "variations": variations, "environments": {"production": here}}


@pytest.mark.parametrize("status", [500, 502, 504])
def test_limits_in_the_answer_of_a_failure_are_no_reason_to_wait(scripted: Scripted, status: int) -> None:
    waits = Waits()
    scripted.answer = lambda *_: (
        (status, {**LIMITS, "retry-after": "600"}, {}) if len(scripted.asked) == 1 else (200, LIMITS, shown())
    )
    assert scripted.store(waits).read(KEY) is not None
    assert waits.seconds[0] < 1


def test_a_503_may_say_when_to_come_again_and_its_limits_say_nothing(scripted: Scripted) -> None:
    waits = Waits()
    scripted.answer = lambda *_: (
        (503, {**LIMITS, "retry-after": "3"}, {}) if len(scripted.asked) == 1 else (200, {}, shown())
    )
    assert scripted.store(waits).read(KEY) is not None
    assert waits.seconds[0] == pytest.approx(3.2)


def test_an_answer_about_another_flag_changes_nothing(scripted: Scripted) -> None:
    scripted.answer = lambda *_: (200, {}, shown("lora-other"))
    store = scripted.store(Waits())
    with pytest.raises(WorldChanged, match=f"flag {KEY} .* asked for, and flag 'lora-other' was shown"):
        store.read(KEY)
    with pytest.raises(WorldChanged, match="lora-other"):
        store.take_back(KEY, by="bob", comment="")
    assert set(scripted.methods()) == {"GET"}


class Dial:
    """A flag that obeys a patch, unless it is `deaf` so many times."""

    def __init__(self, deaf: int = 0, **more: Any) -> None:
        self.on, self.deaf, self.more = True, deaf, more

    def __call__(self, method: str, path: str, token: str) -> Reply:
        if method == "PATCH" and self.deaf:
            self.deaf -= 1
            return 200, {}, shown(on=False)
        if method == "PATCH":
            self.on = False
        return 200, {}, shown(on=self.on, **self.more)


@pytest.mark.parametrize("status", [429, 500, 503, 404, 422])
def test_the_other_token_is_tried_at_once_whatever_became_of_the_first(
    scripted: Scripted, status: int
) -> None:
    waits, dial = Waits(), Dial()
    scripted.answer = lambda *request: (
        (status, {**LIMITS, "retry-after": "600"}, {}) if request[2] == "api-2" else dial(*request)
    )
    state = scripted.store(waits, rollback="api-2").take_back(KEY, by="bob", comment="")
    assert (state.on, state.changed_by, waits.seconds) == (False, "bob", [])


def test_a_lasting_failure_is_tried_against_until_the_time_is_over(scripted: Scripted) -> None:
    waits = Waits()
    scripted.answer = lambda *_: (500, LIMITS, {})
    with pytest.raises(FlagUnavailable, match="answered 500"):
        scripted.store(waits).take_back(KEY, by="bob", comment="")
    assert 7 < sum(waits.seconds) < 10
    assert max(waits.seconds) <= 1


def test_a_third_variation_does_not_keep_users_on_the_candidate(scripted: Scripted) -> None:
    scripted.answer = Dial(values=("stable", "candidate", "other"))
    assert scripted.store(Waits()).take_back(KEY, by="bob", comment="").on is False


def test_a_flag_whose_first_variation_is_not_stable_is_not_turned(scripted: Scripted) -> None:
    scripted.answer = Dial(values=("candidate", "stable"))
    with pytest.raises(WorldChanged, match="stable is not the first"):
        scripted.store(Waits()).take_back(KEY, by="bob", comment="")
    assert "PATCH" not in scripted.methods()


def test_a_patch_that_only_the_answer_shows_is_sent_once_more_and_not_believed(scripted: Scripted) -> None:
    scripted.answer = Dial(deaf=1)
    assert scripted.store(Waits()).take_back(KEY, by="bob", comment="").on is False
    assert scripted.methods().count("PATCH") == 2
    scripted.asked.clear()
    scripted.answer = Dial(deaf=9)
    with pytest.raises(FlagUnavailable, match=r"took the patch .* and the flag is not back"):
        scripted.store(Waits()).take_back(KEY, by="bob", comment="")
    assert scripted.methods().count("PATCH") == 2


@pytest.fixture(
    params=[b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n", b"103"]
)
def dripping(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server whose answer never ends, in its head, in its body, or by announcing another one."""
    server, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip(connection: socket.socket) -> None:
        early = request.param == b"103"
        with suppress(OSError):
            connection.sendall(b"" if early else request.param)
            while not ended.wait(0.02):
                connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" if early else b" ")

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=server.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    ended.set()
    server.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("act", ["read", "take_back"])
def test_an_answer_that_never_ends_is_given_up(dripping: str, act: str) -> None:
    store = store_at(dripping, Waits(answer_s=0.5), patience_s=2)
    with pytest.raises(FlagUnavailable, match=r"ReadTimeout|no time is left"):
        store.read(KEY) if act == "read" else store.take_back(KEY, by="bob", comment="")
    names = [each.name for each in threading.enumerate() if each.name.startswith("launchdarkly")]
    until = time.monotonic() + 30
    while names and time.monotonic() < until:
        time.sleep(0.05)
        names = [each.name for each in threading.enumerate() if each.name.startswith("launchdarkly")]
    assert names == [], "its connection was not closed"


@pytest.mark.parametrize("depth", [80, 480, 900])
def test_an_answer_nested_too_deeply_is_said_to_be_so(scripted: Scripted, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    scripted.answer = lambda *_: (200, {}, json.dumps(shown()).encode()[:-1] + b', "x": ' + nested + b"}")
    for act in (
        scripted.store(Waits()).read,
        lambda key: scripted.store(Waits()).take_back(key, by="b", comment=""),
    ):
        with pytest.raises(FlagUnavailable, match="nested too deeply"):
            act(KEY)


def test_a_key_that_makes_no_address_is_told_of(scripted: Scripted) -> None:
    with pytest.raises(FlagUnavailable, match="makes no address"):
        scripted.store(Waits()).read("k" * 100_000)


@pytest.mark.parametrize("escaped", [r"\u0061pi-1", r"a\u0000pi-1", r"api\u200b-1"])
def test_a_token_that_is_sent_back_in_disguise_is_not_shown(scripted: Scripted, escaped: str) -> None:
    scripted.answer = lambda *_: (403, {}, b'{"message": "no, ' + escaped.encode() + b'"}')
    with pytest.raises(FlagDenied) as caught:
        scripted.store(Waits()).read(KEY)
    assert "api-1" not in str(caught.value)
    log = b'{"items": [{"member": {"email": "' + escaped.encode() + b'"}}]}'
    scripted.answer = lambda _, path, __: (200, {}, log if "auditlog" in path else shown())
    read = scripted.store(Waits()).read(KEY)
    assert read is not None
    assert read.changed_by == "(token)"


@pytest.mark.parametrize(
    "entry",
    [
        {"comment": "stop (by \x1b[2Jeve\r\n\x00x, adapter-rollout)"},
        {"member": {"email": "\x1b[2Jeve\nx"}},
    ],
)
def test_who_changed_a_flag_is_one_line_that_prints(scripted: Scripted, entry: dict[str, Any]) -> None:
    scripted.answer = lambda _, path, __: (200, {}, {"items": [entry]} if "auditlog" in path else shown())
    read = scripted.store(Waits()).read(KEY)
    assert read is not None
    assert read.changed_by == "[2Jeve x"


def test_what_others_say_reaches_no_terminal_as_a_command() -> None:
    check = FlagCheck(id="a", standing=Standing.BLOCKED, detail="red \x1b[2J\r\x9b", advice="do\x07\n")
    gateway = GatewaySight(gateway="g\x1b]0;", version=1, age_s=None, source="s\x1b[1m", complaint=None)
    state = FlagState(
        key=KEY, version=1, on=True, share=Share.ZERO, changed_by="eve\x1b[2J", read_at=datetime.now(UTC)
    )
    sights = [
        FlagSight(key=KEY, state=state, complaint=None, gateways=(gateway,)),
        FlagSight(key=KEY, state=None, complaint="x\x1b[2J", gateways=()),
    ]
    texts = [
        checks_as_text(KEY, "production", [check]),
        *(sight_as_text(it, datetime.now(UTC)) for it in sights),
    ]
    for text in texts:
        assert all(
            letter.isprintable() or letter == "\n" for letter in click.unstyle(text).replace("\x1b[0m", "")
        )
        assert "\x1b[2J" not in text


@pytest.mark.parametrize(
    "strange", [{"comment": "no time"}, {"date": "soon"}, {"date": True}, {"date": 2**60}, None, 7]
)
def test_a_change_without_a_time_is_left_out_of_the_past_and_told(
    scripted: Scripted, strange: object
) -> None:
    known = {"_id": "1", "date": 1_700_000_000_000, "comment": "step 1"}
    scripted.answer = lambda *_: (200, {}, {"items": [strange, known]})
    flags = LaunchDarklyFlags(
        kind="launchdarkly",
        project="default",
        environment="production",
        api=f"http://127.0.0.1:{scripted.server.server_port}",
    )
    log = LaunchDarklyAudit(flags, token=Token("api-1", "LD_ACCESS_TOKEN"), pace=Waits().pace)
    at = datetime.fromtimestamp(1_700_000_000, UTC)
    found = log.audit(KEY, since=at, until=at)
    assert [change.said for change in found.changes] == ["step 1"]
    assert found.gap == "it has changes without a time, which are left out"


def test_a_whole_page_without_a_time_is_no_empty_past(scripted: Scripted) -> None:
    scripted.answer = lambda *_: (200, {}, {"items": [{"comment": "x"}] * 20})
    flags = LaunchDarklyFlags(
        kind="launchdarkly",
        project="default",
        environment="production",
        api=f"http://127.0.0.1:{scripted.server.server_port}",
    )
    log = LaunchDarklyAudit(flags, token=Token("api-1", "LD_ACCESS_TOKEN"), pace=Waits().pace)
    at = datetime.fromtimestamp(1_700_000_000, UTC)
    assert log.audit(KEY, since=at, until=at).gap is not None
