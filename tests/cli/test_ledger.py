"""`rollout history` and `rollout ledger` on a real site: what is shown, what is found broken, what is kept."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rollout.cli import VERBS
from rollout.cli.history import command as history_command
from rollout.cli.ledger import _COMMANDS
from rollout.cli.ledger import command as ledger_command
from rollout.core.lifecycle import Adopted, Anchored, LedgerEntry
from rollout.demo.scratch import NAME
from rollout.errors import Unreadable
from rollout.usecases.book import Book
from rollout.wiring import build_world
from tests.support.commands import Ended, in_site, rollout
from tests.support.site import SIGNATURE, Site


def file_of(site: Site) -> Path:
    return site.repository.state / "ledger" / "demo" / f"{NAME}.jsonl"


def record(site: Site, command: str, *words: str, name: str | None = NAME) -> Ended:
    """A command of `rollout ledger`."""
    names = () if name is None else (name,)
    return rollout("ledger", command, *names, "-e", "demo", "--root", str(site.repository.root), *words)


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (history_command.help or "").split("\n")[0] == VERBS["history"]
    assert (ledger_command.help or "").split("\n")[0] == VERBS["ledger"]
    for name, line in _COMMANDS.items():
        told = importlib.import_module(f"rollout.cli.ledger.{name}").command.help
        assert (told or "").split("\n")[0] == line


def test_a_history_says_when_what_why_and_who(ramping: Site) -> None:
    ended = in_site(ramping, "history")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert len(lines) == len(ramping.world.ledger.read(NAME))
    assert lines[0].startswith("2026-03-01 12:00:00  ")
    [shifted] = [line for line in lines if "  shifted  " in line]
    assert "10% to the candidate" in shifted
    assert shifted.endswith("[ann]")
    [intended] = [line for line in lines if "  intended  " in line]
    reason = next(e.event.reason for e in ramping.world.ledger.read(NAME) if e.event.kind == "intended")
    assert f"about to give 10% to the candidate: {reason}" in intended
    assert "\x1b" not in ended.out


def test_a_history_can_be_cut_to_its_end_and_to_a_time(ramping: Site) -> None:
    whole = in_site(ramping, "history").out.splitlines()
    assert in_site(ramping, "history", "--limit", "2").out.splitlines() == whole[-2:]
    assert in_site(ramping, "history", "--since", "2026-03-01T12:00Z").out.splitlines() == whole
    later = in_site(ramping, "history", "--since", "2026-03-02")
    assert (later.status, later.out) == (0, f"nothing happened to {NAME} in that time\n")
    ancient = in_site(ramping, "history", "--since", "7d")
    assert ancient.status == 0
    refused = in_site(ramping, "history", "--since", "yesterday")
    assert refused.status == 2
    assert "is no time" in refused.err


def test_a_history_for_machines_holds_the_entries_as_they_were_written(ramping: Site) -> None:
    document = json.loads(in_site(ramping, "history", "--format", "json").out)
    entries = ramping.world.ledger.read(NAME)
    assert document["schema"] == "adapter-rollout/history/v1"
    assert [each["hash"] for each in document["entries"]] == [entry.hash for entry in entries]
    assert [each["event"] for each in document["entries"]] == [json.loads(e.line)["event"] for e in entries]


def test_nobody_s_words_break_a_page_or_a_terminal(adopted: Site) -> None:
    """What stands in a ledger need not have been written by us."""
    last = adopted.world.ledger.read(NAME)[-1]
    event = Adopted(
        at=last.event.at, actor="\x1b[31meve | <b>", environment="demo", name=NAME, tool="0",
        stable=adopted.state.stable,
    )  # fmt: skip
    adopted.world.ledger.append(NAME, event, after=last.hash)
    assert "\x1b" not in in_site(adopted, "history").out
    page = in_site(adopted, "history", "--format", "markdown").out.splitlines()
    assert page[2] == "| When (UTC) | Event | What and why | Who |"
    assert page[-1].endswith(r"| \[31meve \| &lt;b> |")


def test_an_adapter_that_the_ledger_does_not_know_has_no_history(adopted: Site) -> None:
    ended = in_site(adopted, "history", name="nobody")
    assert ended.status == 3
    assert f"the ledger does not know 'nobody'\n  It knows: {NAME}.\n" in ended.err


def test_a_whole_ledger_is_said_to_be_whole(ramping: Site) -> None:
    entries = ramping.world.ledger.read(NAME)
    ended = record(ramping, "verify")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"ok {NAME}: {len(entries)} entries in one chain, head {entries[-1].hash[:12]}\n"
    assert record(ramping, "verify", name=None).out == ended.out


def test_a_changed_line_is_found_by_file_and_line(ramping: Site) -> None:
    path = file_of(ramping)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join((lines[0], lines[1].replace(b"ann", b"eve"), *lines[2:])))
    ended = record(ramping, "verify")
    assert ended.status == 5
    assert ended.out == (
        f"broken {NAME}: ledger entry 2 does not follow entry 1: the chain is broken ({path}, line 3)\n"
    )
    found = json.loads(record(ramping, "verify", "--format", "json").out)["ledgers"]
    assert [each["problem"] is not None for each in found] == [True]


def test_a_line_that_is_none_is_found_by_file_and_line(ramping: Site) -> None:
    path = file_of(ramping)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join((*lines[:3], b"{}\n", *lines[4:])))
    ended = record(ramping, "verify")
    assert ended.status == 5
    assert f"cannot be read: Field required ({path}, line 4)" in ended.out


def test_a_ledger_that_is_not_there_is_not_in_order(adopted: Site) -> None:
    ended = record(adopted, "verify", name="nobody")
    assert (ended.status, ended.out) == (5, "broken nobody: there is no such ledger\n")


def test_where_there_is_no_ledger_nothing_is_said_to_be_in_order(adopted: Site) -> None:
    """A wrong path in the document must not read as a clean bill of health."""
    file_of(adopted).parent.rename(adopted.repository.state / "elsewhere")
    for words in ((), ("--archive",)):
        ended = record(adopted, "verify", *words, name=None)
        assert (ended.status, ended.out) == (3, "")
        assert "there is no ledger here: nothing was verified" in ended.err
        assert "whether `ledger` in the environment document says where it is" in ended.err
    repaired = record(adopted, "repair", name="nobody")
    assert (repaired.status, repaired.out) == (3, "")
    assert "there is no ledger of nobody in demo: nothing was looked at" in repaired.err


def test_a_file_that_is_no_ledger_is_named_without_its_tricks(adopted: Site) -> None:
    (file_of(adopted).parent / "\x1b[31m##[error]x\n::error::y.jsonl").write_text("hello\n")
    ended = record(adopted, "verify", name=None)
    assert ended.status == 5
    lines = ended.out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"ok {NAME}: ")
    told = r"broken demo/\x1b[31m##\x5berror]x\n::error::y.jsonl: this is no ledger: nothing but rollout writes there"
    assert lines[1].startswith(told)
    page = record(adopted, "verify", "--format", "markdown", name=None).out
    assert "\x1b" not in page
    assert "##[" not in page
    assert record(adopted, "verify").status == 0, "who asks for one ledger is told of that"


def test_a_torn_line_is_shown_then_cut_and_its_bytes_are_kept(adopted: Site) -> None:
    path, whole = file_of(adopted), file_of(adopted).read_bytes()
    path.write_bytes(whole + b'{"event":{"kind":"loo\x1b')
    shown = record(adopted, "repair", "--dry-run")
    assert shown.status == 0
    assert shown.out == (
        f'22 bytes behind the last whole line of {NAME}: {{"event":{{"kind":"loo\n'
        "dry run: nothing was changed\n"
    )
    assert path.read_bytes() == whole + b'{"event":{"kind":"loo\x1b'
    done = record(adopted, "repair")
    assert done.status == 0
    [kept] = path.parent.glob("*.torn-*")
    assert f"cut off, and kept in {kept}" in done.out
    assert (kept.read_bytes(), path.read_bytes()) == (b'{"event":{"kind":"loo\x1b', whole)
    assert adopted.world.ledger.names() == (NAME,)
    again = record(adopted, "repair")
    assert "is whole: nothing is cut off" in again.out


def test_a_long_history_is_compacted_and_can_still_be_verified_and_told(adopted: Site) -> None:
    before = adopted.world.ledger.read(NAME)
    told = in_site(adopted, "history").out
    state = adopted.state
    ended = record(adopted, "compact")
    assert (ended.status, ended.err) == (0, "")
    [anchor] = adopted.world.ledger.read(NAME)
    assert isinstance(anchor.event, Anchored)
    assert (anchor.seq, anchor.previous) == (len(before), before[-1].hash)
    assert ended.out == f"{len(before)} entries of {NAME} are archived as {anchor.event.archive}\n"
    assert (adopted.state.stable, adopted.state.evaluations) == (state.stable, state.evaluations)
    checked = record(adopted, "verify", "--archive")
    assert checked.status == 0
    assert f"1 entry in one chain, {len(before)} more in archives" in checked.out
    assert in_site(adopted, "history", "--archive").out.startswith(told)
    assert record(adopted, "compact").out == f"the history of {NAME} is as short as it can be\n"


def test_archives_of_archives_are_followed_to_the_beginning(adopted: Site) -> None:
    book = Book(adopted.world.ledger, NAME, SIGNATURE)
    first, count = book.entries[0], len(book.entries)
    record(adopted, "compact")
    Book(adopted.world.ledger, NAME, SIGNATURE).add(Adopted, adopted.clock.now(), stable=adopted.state.stable)
    assert record(adopted, "compact").status == 0
    checked = record(adopted, "verify", "--archive")
    assert f"1 entry in one chain, {count + 2} more in archives" in checked.out
    found = json.loads(in_site(adopted, "history", "--archive", "--format", "json").out)["entries"]
    assert [each["seq"] for each in found] == list(range(count + 3))
    assert found[0]["hash"] == first.hash


@pytest.mark.parametrize(
    ("harm", "reason"),
    [("lost", "is not in"), ("changed", "does not match its digest")],
)
def test_an_archive_that_is_lost_or_changed_is_found(adopted: Site, harm: str, reason: str) -> None:
    record(adopted, "compact")
    digest = adopted.world.ledger.read(NAME)[0].event.archive
    path = adopted.repository.state / "evidence" / digest[:2] / digest
    if harm == "lost":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert record(adopted, "verify").status == 0
    ended = record(adopted, "verify", "--archive")
    assert ended.status == 5
    assert reason in ended.out


def another_archive(site: Site, change: Callable[[list[str]], list[str]]) -> Anchored:
    """An anchor like the one that is there, but for the archive that it names: that holds changed lines."""
    anchor = site.world.ledger.read(NAME)[0].event
    assert isinstance(anchor, Anchored)
    lines = change(site.world.evidence.get(anchor.archive).decode().splitlines())
    archive = site.world.evidence.put("".join(f"{line}\n" for line in lines).encode())
    return anchor.model_copy(update={"archive": archive})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: lines[:-1], "its anchor stands for"),
        (lambda _: [], "holds none; its anchor stands for"),
        (lambda lines: [*lines[:1], *lines[2:]], "does not follow"),
        (
            lambda lines: [line.replace('"name":"support-triage"', '"name":"other"') for line in lines],
            "stands for",
        ),
    ],
)
def test_an_archive_that_is_not_what_its_anchor_stands_for_is_found(
    adopted: Site, change: Callable[[list[str]], list[str]], reason: str
) -> None:
    """Also where it is what its digest says: whoever can write an anchor can name another archive."""
    Book(adopted.world.ledger, NAME, SIGNATURE).add(Adopted, adopted.clock.now(), stable=adopted.state.stable)
    record(adopted, "compact")
    [entry] = adopted.world.ledger.read(NAME)
    forged = another_archive(adopted, change)
    line = LedgerEntry(seq=entry.seq, previous=entry.previous, event=forged).line
    file_of(adopted).write_text(f"{line}\n")
    assert record(adopted, "verify").status == 0
    ended = record(adopted, "verify", "--archive")
    assert ended.status == 5
    assert reason in ended.out


def test_nothing_is_compacted_while_a_release_is_under_way(ramping: Site) -> None:
    before = file_of(ramping).read_bytes()
    ended = record(ramping, "compact")
    assert ended.status == 4
    assert f"{NAME} is canary: its history is not folded before that has come to its end" in ended.err
    assert file_of(ramping).read_bytes() == before


def test_a_release_goes_on_behind_an_anchor(adopted: Site) -> None:
    record(adopted, "compact")
    adopted.tick()
    adopted.walk_to("10%")
    assert str(adopted.state.share) == "10%"
    assert record(adopted, "verify", "--archive").status == 0


def on_branch(site: Site, **terms: str) -> None:
    """The environment's ledger is on a branch from now on, and empty there."""
    path = site.repository.root / "policies" / "environments" / "demo.yaml"
    ledger = {"kind": "branch", "path": str(site.repository.state / "leases"), **terms}
    lines = path.read_text().splitlines()
    told = [f"ledger: {json.dumps(ledger)}" if line.startswith("ledger:") else line for line in lines]
    path.write_text("\n".join(told) + "\n")


def test_a_ledger_on_a_branch_is_read_where_the_remote_has_it(adopted: Site) -> None:
    on_branch(adopted)
    empty = record(adopted, "verify", name=None)
    assert (empty.status, empty.out) == (3, "")
    assert "there is no ledger here: nothing was verified" in empty.err
    ledger = build_world(adopted.repository.root, "demo").ledger
    Book(ledger, NAME, SIGNATURE).add(Adopted, adopted.clock.now(), stable=adopted.state.stable)
    assert adopted.repository.git("ls-remote", "origin", "refs/heads/rollout-ledger")
    assert "adopted as stable  [ann]" in in_site(adopted, "history").out
    assert record(adopted, "verify").out.startswith(f"ok {NAME}: 1 entry in one chain, head ")
    refused = record(adopted, "repair")
    assert refused.status == 2
    assert "on a branch, where no line can be torn" in refused.err


def test_the_key_that_a_document_names_signs_and_is_never_shown(
    adopted: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_branch(adopted, signing_key_env="ROLLOUT_LEDGER_KEY")
    monkeypatch.setenv("ROLLOUT_LEDGER_KEY", "hush-hush")
    ledger = build_world(adopted.repository.root, "demo").ledger
    with pytest.raises(Unreadable, match="ROLLOUT_LEDGER_KEY holds no usable key") as caught:
        Book(ledger, NAME, SIGNATURE).add(Adopted, adopted.clock.now(), stable=adopted.state.stable)
    assert "hush" not in f"{caught.value!r} {caught.value.advice}"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key = Ed25519PrivateKey.generate().private_bytes(*form).decode()
    monkeypatch.setenv("ROLLOUT_LEDGER_KEY", key)
    Book(ledger, NAME, SIGNATURE).add(Adopted, adopted.clock.now(), stable=adopted.state.stable)
    assert "1 entry in one chain, 1 signed" in record(adopted, "verify").out
