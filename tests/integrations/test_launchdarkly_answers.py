"""Each answer that LaunchDarkly gives to a change: the error, its reason, and how often anything was written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from rollout.core.plan import Share
from rollout.errors import FlagConflict, FlagDenied, FlagPendingChange, FlagUnavailable, WorldChanged
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from tests.support.launchdarkly import Speaker, speaking
from tests.support.patience import Waits

KEY = "lora-support-bot"
FIVE, QUARTER, HALF = Share.parse("5%"), Share.parse("25%"), Share.parse("50%")


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    with speaking(tmp_path) as it:
        yield it


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def store(speaker: Speaker, waits: Waits) -> LaunchDarklyStore:
    return store_of(speaker, waits)


def store_of(
    speaker: Speaker, waits: Waits, *, strict: bool = False, rollback: bool = False
) -> LaunchDarklyStore:
    return LaunchDarklyStore(
        speaker.flags.model_copy(update={"strict_cas": strict}),
        token=Token(speaker.token, "LD_ACCESS_TOKEN"),
        rollback_token=Token(speaker.rollback_token, "LD_ROLLBACK_TOKEN") if rollback else None,
        pace=waits.pace,
    )


def begun(store: LaunchDarklyStore, share: Share = QUARTER) -> int:
    """A flag that is on; its version."""
    store.create(KEY, by="ann")
    return store.write(KEY, share, turn_on=True, expect_version=None, by="ann", comment="begin").version


def write(store: LaunchDarklyStore, share: Share = HALF, expect: int | None = None) -> int:
    comment = "step 2 commit 1a2b3c4 run 7"
    return store.write(KEY, share, turn_on=False, expect_version=expect, by="ann", comment=comment).version


def patches(speaker: Speaker) -> int:
    """Patches on the wire since the requests were last cleared; dry runs left out."""
    return sum(each.method == "PATCH" for each in speaker.writes)


def share_now(speaker: Speaker) -> Share:
    match speaker.config(KEY)["fallthrough"]:
        case {"variation": 0}:
            return Share.ZERO
        case {"variation": 1}:
            return Share.FULL
        case {"rollout": {"variations": [{"variation": 0}, {"variation": 1, "weight": int(weight)}]}}:
            return Share(weight)
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        ("400-pending", FlagDenied, "400"),
        ("401", FlagDenied, "401 to the token in LD_ACCESS_TOKEN"),
        ("403", FlagDenied, "403 to the token in LD_ACCESS_TOKEN"),
        ("404", FlagUnavailable, f"no flag {KEY} .* any more"),
        ("422", FlagDenied, "422"),
    ],
)
def test_a_refusal_is_final_and_writes_nothing(
    speaker: Speaker, store: LaunchDarklyStore, fault: str, error: type[Exception], reason: str
) -> None:
    version = begun(store)
    speaker.requests.clear()
    speaker.fault(fault, times=1)
    with pytest.raises(error, match=reason):
        write(store, expect=version)
    assert patches(speaker) == 1
    assert (speaker.config(KEY)["version"], share_now(speaker)) == (version, QUARTER)


def test_a_refused_token_names_the_actions_that_it_needs(speaker: Speaker, waits: Waits) -> None:
    begun(store_of(speaker, waits))
    reader = LaunchDarklyStore(
        speaker.flags, token=Token(speaker.reader_token, "LD_ACCESS_TOKEN"), pace=waits.pace
    )
    with pytest.raises(FlagDenied) as caught:
        write(reader)
    assert "updateFallthrough" in caught.value.advice
    assert "env/production:flag/lora-support-bot" in caught.value.advice


def test_a_conflict_is_looked_at_again_and_then_written_once(
    speaker: Speaker, store: LaunchDarklyStore, waits: Waits
) -> None:
    version = begun(store)
    speaker.requests.clear()
    speaker.fault("409", times=2)
    assert write(store, expect=version) == version + 1
    assert patches(speaker) == 3
    assert len(waits.seconds) == 2
    assert share_now(speaker) == HALF


def test_conflicts_without_end_are_given_up_after_four_tries(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    version = begun(store)
    speaker.requests.clear()
    speaker.fault("409")
    with pytest.raises(FlagUnavailable, match="others keep changing"):
        write(store, expect=version)
    assert patches(speaker) == 4
    assert speaker.config(KEY)["version"] == version


@pytest.mark.parametrize("strict", [False, True])
def test_a_change_between_the_reads_is_named_and_not_overwritten(
    speaker: Speaker, waits: Waits, strict: bool
) -> None:
    store = store_of(speaker, waits, strict=strict)
    version = begun(store)
    speaker.serve(KEY, 1000, comment="calm down")
    speaker.requests.clear()
    with pytest.raises(FlagConflict, match=rf"version {version + 1}, not {version}"):
        write(store, expect=version)
    assert patches(speaker) == 0
    assert share_now(speaker) == Share(1000)


@pytest.mark.parametrize("fault", ["timeout-after", "500", "502", "503", "timeout-before"])
@pytest.mark.parametrize("strict", [False, True])
def test_an_unknown_outcome_is_looked_at_and_nothing_is_written_twice(
    speaker: Speaker, fault: str, strict: bool
) -> None:
    store = store_of(speaker, Waits(answer_s=2), strict=strict)
    version = begun(store)
    speaker.requests.clear()
    speaker.fault(fault, times=1, seconds=5)
    assert write(store, expect=version) == version + 1
    assert patches(speaker) == (1 if fault == "timeout-after" else 2)
    assert (speaker.config(KEY)["version"], share_now(speaker)) == (version + 1, HALF)


@contextmanager
def way(speaker: Speaker, *acts: str) -> Iterator[str]:
    """A way to the speaker, and what becomes of each patch on it.

    `cut`: no answer, and it is kept; `late`: the kept one arrives just before this one; `refuse`: 422;
    `killed`, `stopped`: somebody turns the flag off, or to 0 %, just before it; else it passes.
    """
    kept: list[tuple[str, dict[str, str], bytes]] = []
    coming = iter(acts)

    class Way(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass(b"")

        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            match next(coming, "pass"):
                case "cut":
                    kept.append((self.path, self._named(), body))
                    self.close_connection = True
                    return
                case "late":
                    path, headers, first = kept.pop()
                    httpx.patch(speaker.url + path, headers=headers, content=first)
                case "killed":
                    speaker.patch(KEY, {"kind": "turnFlagOff"}, token=speaker.reviewer_token)
                case "stopped":
                    speaker.serve(KEY, 0, token=speaker.reviewer_token)
                case "refuse":
                    self._answer(422, b"{}")
                    return
            self._pass(body)

        def _named(self) -> dict[str, str]:
            return {name: self.headers[name] for name in ("authorization", "content-type", "ld-api-version")}

        def _pass(self, body: bytes) -> None:
            url = speaker.url + self.path
            answer = httpx.request(self.command, url, headers=self._named(), content=body)
            self._answer(answer.status_code, answer.content)

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Way)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_flag_that_cannot_be_taken_back_after_a_foreign_write_is_said_to_be_so(
    speaker: Speaker, waits: Waits
) -> None:
    version = begun(store_of(speaker, waits))
    speaker.fault("foreign-write", times=1)
    with way(speaker, "pass", "refuse", "refuse") as url:
        flags = speaker.flags.model_copy(update={"api": url})
        store = LaunchDarklyStore(flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"), pace=waits.pace)
        with pytest.raises(FlagConflict, match=r"it could not be taken back .*422.*`rollout hold NAME "):
            write(store, expect=version)


@pytest.mark.parametrize("strict", [False, True])
def test_a_write_that_arrives_after_it_was_looked_for_is_not_written_twice(
    speaker: Speaker, waits: Waits, strict: bool
) -> None:
    version = begun(store_of(speaker, waits))
    speaker.requests.clear()
    with way(speaker, "cut", "late") as url:
        flags = speaker.flags.model_copy(update={"strict_cas": strict, "api": url})
        store = LaunchDarklyStore(flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"), pace=waits.pace)
        assert write(store, expect=version) == version + 1
    assert patches(speaker) == 2
    assert (speaker.config(KEY)["version"], share_now(speaker)) == (version + 1, HALF)


def test_an_outage_ends_within_the_patience(speaker: Speaker, store: LaunchDarklyStore, waits: Waits) -> None:
    version = begun(store)
    speaker.fault("503", on="any")
    with pytest.raises(FlagUnavailable, match="answered 503"):
        write(store, expect=version)
    assert sum(waits.seconds) <= speaker.flags.patience_s
    speaker.no_faults()
    assert speaker.config(KEY)["version"] == version


def test_nobody_there_is_unavailable_and_names_the_way_out(tmp_path: Path, waits: Waits) -> None:
    with speaking(tmp_path) as speaker:
        store = store_of(speaker, waits)
    with pytest.raises(FlagUnavailable, match="ConnectError") as caught:
        store.read(KEY)
    assert "rollout hold" in caught.value.advice


def test_a_lost_write_is_noticed(speaker: Speaker, store: LaunchDarklyStore) -> None:
    version = begun(store)
    speaker.requests.clear()
    speaker.fault("lost-write", times=1)
    with pytest.raises(FlagUnavailable, match=r"accepted a change .* did not make it"):
        write(store, expect=version)
    assert patches(speaker) == 1
    assert share_now(speaker) == QUARTER


def test_a_write_of_another_in_between_is_taken_back_and_names_who_wrote(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    version = begun(store)
    speaker.requests.clear()
    speaker.fault("foreign-write", times=1)
    with pytest.raises(
        FlagConflict, match=rf"not {version + 1}: changed by .* while we wrote; it was taken back"
    ) as caught:
        write(store, expect=version)
    assert "ann" not in str(caught.value)
    assert "unknown" not in str(caught.value)
    assert (speaker.config(KEY)["on"], share_now(speaker)) == (False, Share.ZERO)
    assert patches(speaker) == 2


def test_a_stop_at_nought_that_our_write_crossed_is_never_undone(speaker: Speaker, waits: Waits) -> None:
    """What somebody set is overwritten and gone: nobody may be on the candidate after that."""
    version = begun(store_of(speaker, waits))
    with way(speaker, "stopped") as url:
        flags = speaker.flags.model_copy(update={"api": url})
        store = LaunchDarklyStore(flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"), pace=waits.pace)
        with pytest.raises(FlagConflict, match="changed by reviewer while we wrote; it was taken back"):
            write(store, expect=version)
    assert (speaker.config(KEY)["on"], share_now(speaker)) == (False, Share.ZERO)


def test_a_write_of_another_while_we_turned_it_on_is_taken_back(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    first = store.create(KEY, by="ann")
    speaker.fault("foreign-write", times=1)
    with pytest.raises(FlagConflict, match="it was taken back"):
        store.write(KEY, FIVE, turn_on=True, expect_version=first.version, by="ann", comment="")
    now = speaker.config(KEY)
    assert (now["on"], share_now(speaker)) == (False, Share.ZERO)


def test_a_flag_that_is_on_is_never_turned_on_again(speaker: Speaker, waits: Waits) -> None:
    """Else a write would undo the kill switch that somebody pulled after it had read the flag."""
    version = begun(store_of(speaker, waits))
    speaker.requests.clear()
    with way(speaker, "killed") as url:
        flags = speaker.flags.model_copy(update={"api": url})
        store = LaunchDarklyStore(flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"), pace=waits.pace)
        with pytest.raises(FlagConflict, match="changed by reviewer while we wrote; it was taken back"):
            store.write(KEY, HALF, turn_on=True, expect_version=version, by="ann", comment="")
    assert (speaker.config(KEY)["on"], share_now(speaker)) == (False, Share.ZERO)
    assert any(b"rolloutWeights" in each.body for each in speaker.writes)
    assert not any(b"turnFlagOn" in each.body for each in speaker.writes)


def test_a_strict_write_lets_launchdarkly_itself_refuse_it(speaker: Speaker, waits: Waits) -> None:
    store = store_of(speaker, waits, strict=True)
    version = begun(store)
    speaker.fault("foreign-write", times=1)
    speaker.requests.clear()
    with pytest.raises(FlagConflict, match=rf"version {version + 1}, not {version}"):
        write(store, expect=version)
    assert patches(speaker) == 1
    assert share_now(speaker) != HALF


def test_slots_stored_in_reverse_are_taken_back_at_once(speaker: Speaker, store: LaunchDarklyStore) -> None:
    version = begun(store)
    speaker.fault("reversed-weights", times=1)
    with pytest.raises(
        WorldChanged, match="stable first, though we have just written it; it was taken back"
    ) as caught:
        write(store, expect=version)
    assert "strict_cas" in caught.value.advice
    assert speaker.config(KEY)["on"] is False


@pytest.mark.parametrize("family", ["429-global", "429-route", "429-token", "429-ip"])
def test_a_rate_limit_is_waited_out_and_the_change_is_written_once(
    speaker: Speaker, store: LaunchDarklyStore, waits: Waits, family: str
) -> None:
    version = begun(store)
    speaker.requests.clear()
    speaker.fault(family, times=1, seconds=7)
    assert write(store, expect=version) == version + 1
    assert waits.seconds[0] == pytest.approx(7.2, abs=1.5)
    assert speaker.config(KEY)["version"] == version + 1


def test_a_reset_in_the_past_is_a_short_wait_that_grows(
    speaker: Speaker, store: LaunchDarklyStore, waits: Waits
) -> None:
    version = begun(store)
    speaker.fault("429-past", times=3)
    assert write(store, expect=version) == version + 1
    assert waits.seconds == pytest.approx([0.2, 0.4, 0.8])


def test_a_limit_longer_than_the_patience_is_not_waited_for(
    speaker: Speaker, store: LaunchDarklyStore, waits: Waits
) -> None:
    version = begun(store)
    speaker.fault("429-ip", seconds=600)
    with pytest.raises(FlagUnavailable, match="answered 429"):
        write(store, expect=version)
    assert waits.seconds == []


def test_taking_back_breaks_what_is_planned_and_says_so(speaker: Speaker, store: LaunchDarklyStore) -> None:
    begun(store)
    speaker.requests.clear()
    speaker.fault("400-pending")
    state = store.take_back(KEY, by="bob", comment="bad answers")
    assert (state.on, state.share) == (False, Share.ZERO)
    first, second = (each for each in speaker.writes if each.method == "PATCH")
    assert "ignoreConflicts" not in first.path
    assert "ignoreConflicts=true" in second.path


def test_nothing_but_taking_back_ignores_conflicts(speaker: Speaker, store: LaunchDarklyStore) -> None:
    begun(store)
    speaker.fault("400-pending")
    with pytest.raises((FlagDenied, FlagPendingChange)):
        write(store)
    assert not any("ignoreConflicts" in each.path for each in speaker.requests)


def test_taking_back_where_approval_is_needed_names_the_gateways(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    begun(store)
    speaker.fault("405")
    with pytest.raises(FlagUnavailable, match="without approval") as caught:
        store.take_back(KEY, by="bob", comment="")
    assert "rollout hold" in caught.value.advice
    assert speaker.config(KEY)["on"] is True


def test_a_token_that_may_bypass_takes_back_at_once(speaker: Speaker, waits: Waits) -> None:
    begun(store_of(speaker, waits))
    speaker.fault("405")
    store_of(speaker, waits, rollback=True).take_back(KEY, by="bob", comment="")
    assert speaker.config(KEY)["on"] is False


def test_a_refused_bypass_token_leaves_taking_back_to_the_other(speaker: Speaker, waits: Waits) -> None:
    begun(store_of(speaker, waits))
    store = LaunchDarklyStore(
        speaker.flags,
        token=Token(speaker.token, "LD_ACCESS_TOKEN"),
        rollback_token=Token("api-revoked", "LD_ROLLBACK_TOKEN"),
        pace=waits.pace,
    )
    assert store.take_back(KEY, by="bob", comment="").on is False


@pytest.mark.parametrize("fault", ["timeout-after", "500"])
def test_taking_back_with_an_unknown_outcome_is_done_once(
    speaker: Speaker, store: LaunchDarklyStore, fault: str
) -> None:
    version = begun(store)
    speaker.fault(fault, times=1, seconds=0.3)
    assert store.take_back(KEY, by="bob", comment="").version == version + 1
    assert speaker.config(KEY)["version"] == version + 1


def test_taking_back_gives_up_within_ten_seconds(
    speaker: Speaker, store: LaunchDarklyStore, waits: Waits
) -> None:
    begun(store)
    waits.seconds.clear()
    speaker.fault("503", on="any")
    with pytest.raises(FlagUnavailable):
        store.take_back(KEY, by="bob", comment="")
    assert sum(waits.seconds) < 10


def test_an_archived_flag_is_no_dial(speaker: Speaker, store: LaunchDarklyStore) -> None:
    begun(store)
    speaker.patch(KEY, {"kind": "archiveFlag"})
    with pytest.raises(WorldChanged, match="archived"):
        store.read(KEY)


def test_a_rule_in_front_is_refused_before_anything_is_sent(
    speaker: Speaker, store: LaunchDarklyStore
) -> None:
    begun(store)
    rule = {
        "kind": "addRule",
        "clauses": [{"contextKind": "user", "attribute": "key", "op": "in", "values": ["x"]}],
        "variationId": speaker.variation_ids(KEY)[1],
    }
    assert speaker.patch(KEY, rule).status_code == 200
    speaker.requests.clear()
    with pytest.raises(WorldChanged, match="rules in front"):
        write(store)
    assert patches(speaker) == 0


def test_a_missing_project_is_said_and_is_no_missing_flag(speaker: Speaker, waits: Waits) -> None:
    flags = speaker.flags.model_copy(update={"environment": "staging"})
    store = LaunchDarklyStore(flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"), pace=waits.pace)
    with pytest.raises(FlagDenied, match="no environment staging in a project default"):
        store.read(KEY)


def test_a_preview_writes_nothing(speaker: Speaker, store: LaunchDarklyStore) -> None:
    version = begun(store)
    speaker.requests.clear()
    seen = store.preview(KEY, HALF, turn_on=True)
    assert (seen.share, seen.on, seen.version) == (HALF, True, version + 1)
    assert speaker.writes == []
    assert speaker.config(KEY)["version"] == version


def test_whoever_changed_it_in_the_browser_is_named(speaker: Speaker, store: LaunchDarklyStore) -> None:
    begun(store)
    speaker.serve(KEY, 1000, token=speaker.reviewer_token)
    read = store.read(KEY)
    assert read is not None
    assert read.changed_by == "reviewer"


def test_another_machine_reads_who_signed_the_write(speaker: Speaker, waits: Waits) -> None:
    begun(store_of(speaker, waits))
    read = store_of(speaker, waits).read(KEY)
    assert read is not None
    assert read.changed_by == "ann"
