"""One contract for every ledger: nothing acknowledged is lost or doubled, whoever else writes, whoever dies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.core.lifecycle import Anchored, IllegalHistory, RolloutState, fold
from rollout.errors import Busy, LedgerConflict, Unavailable, Unsupported, Usage
from rollout.ports import Ledger
from tests.core.factories import started
from tests.support.kill import await_orphans, die_at, points_of, race
from tests.support.ledgers import KINDS, Place, anchor_of, said, told, write


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path, request.param)


def test_what_was_appended_is_read_on_another_machine(place: Place) -> None:
    first = place.open().append("bot", said("one"), after=None)
    second = place.open().append("bot", said("two"), after=first.hash)
    assert place.open("b").read("bot") == (first, second)
    assert (first.seq, second.seq, second.previous) == (0, 1, first.hash)


def test_a_ledger_that_nobody_has_written_to_is_empty(place: Place) -> None:
    ledger = place.open()
    assert (ledger.read("bot"), ledger.names(), list(ledger.read_all())) == ((), (), [])


def test_environments_do_not_share_a_ledger(place: Place) -> None:
    write(place.open(), "one")
    other = place.open(environment="staging")
    assert (other.read("bot"), other.names()) == ((), ())
    other.append("bot", said("two", environment="staging"), after=None)
    assert told(place.open()) == ["one"]


def test_a_late_writer_is_refused_and_leaves_nothing(place: Place) -> None:
    first = place.open().append("bot", said("one"), after=None)
    late = place.open("b")
    assert late.read("bot") == (first,)
    place.open().append("bot", said("two"), after=first.hash)
    with pytest.raises(LedgerConflict, match="another writer appended to the ledger of bot first"):
        late.append("bot", said("late"), after=first.hash)
    with pytest.raises(LedgerConflict, match="another writer"):
        late.append("bot", said("first again"), after=None)
    with pytest.raises(LedgerConflict, match="another writer"):
        late.append("bot", said("behind nothing that there is"), after="f" * 64)
    assert told(place.open("b")) == ["one", "two"]


def test_a_writer_of_another_adapter_is_nobody_s_rival(place: Place) -> None:
    write(place.open(), "one")
    stale = place.open("b")
    head = stale.read("bot")[-1].hash
    write(place.open(), "another", name="cat")
    stale.append("bot", said("two"), after=head)
    assert (told(place.open()), told(place.open(), "cat")) == (["one", "two"], ["another"])


def test_long_histories_are_whole_and_in_order(place: Place) -> None:
    words = [f"w{number}" for number in range(70)]
    write(place.open(), *words)
    assert told(place.open("b")) == words
    assert [entry.seq for entry in place.open().verify("bot")] == list(range(70))


def test_all_ledgers_are_read_in_one_look(place: Place) -> None:
    ledger, names = place.open(), [f"bot-{number}" for number in range(5)] + ["bot"]
    for name in names:
        write(ledger, "one", "two", name=name)
    ledger = place.open("b")
    assert ledger.names() == tuple(sorted(names))
    assert dict(ledger.read_all()) == {name: ledger.read(name) for name in names}


def test_states_are_those_of_the_histories_also_when_they_were_seen_before(place: Place) -> None:
    ledger = place.open()
    for name in ("bot", "cat", "dog"):
        write(ledger, "one", "two", name=name)

    def agree() -> bool:
        histories = place.open().read_all()
        expected = {name: fold(entries) for name, entries in histories if isinstance(entries, tuple)}
        return dict(place.open().states()) == expected

    assert agree()
    assert agree(), "from what was remembered"
    write(place.open("b"), "three", name="cat")
    assert agree()
    ledger.anchor("bot", anchor_of(ledger), after=ledger.read("bot")[-1].hash)
    assert agree()
    [remembered] = place.folder.rglob(".folds.json")
    remembered.write_text(remembered.read_text()[:-9])
    assert agree(), "without what was remembered"


def test_a_history_that_cannot_be_folded_is_given_as_its_error(place: Place) -> None:
    write(place.open(), "one", name="cat")
    first = place.open().append("bot", started(), after=None)
    place.open().append("bot", started(), after=first.hash)
    for _ in range(2):
        found = dict(place.open().states())
        assert isinstance(found["bot"], IllegalHistory)
        assert isinstance(found["cat"], RolloutState)


def test_an_event_of_another_adapter_or_environment_does_not_read_as_one_of_these(place: Place) -> None:
    """A copied file, or a caller's mistake: it must not become what happened here."""
    place.open().append("bot", said("one", name="cat"), after=None)
    with pytest.raises(
        LedgerConflict, match=r"entry of the ledger of bot speaks of cat in prod \(.*line 1\)"
    ):
        place.open().read("bot")
    [(name, error)] = place.open().read_all()
    assert name == "bot"
    assert isinstance(error, LedgerConflict)


@pytest.mark.parametrize("name", ["../bot", "a/b", "", ".", "Bot", "bot\n", "-bot", "bot.jsonl", "b" * 64])
def test_a_name_is_never_a_path(place: Place, name: str) -> None:
    ledger = place.open()
    for act in (
        lambda: ledger.read(name),
        lambda: ledger.append(name, said("one"), after=None),
        lambda: ledger.lease(name).__enter__(),
    ):
        with pytest.raises(Usage, match="is not an adapter name"):
            act()


def test_an_event_that_could_not_be_read_again_is_not_written(place: Place) -> None:
    write(place.open(), "one")
    digests = tuple(f"{number:064x}" for number in range(16_000))
    long = started().model_copy(update={"further_reports": digests})
    with pytest.raises(
        Unsupported, match=r"bytes is more than the ledger of bot takes \(1,048,576\)"
    ) as caught:
        place.open().append("bot", long, after=place.open().read("bot")[-1].hash)
    assert "Nothing was written" in caught.value.advice
    assert told(place.open()) == ["one"]


def test_what_is_still_is_what_there_is(place: Place) -> None:
    write(place.open(), "one")
    still = place.open().still()
    assert (still.names(), told(still), tuple(still.strays())) == (("bot",), ["one"], ())
    assert [name for name, _ in still.states()] == ["bot"]


def test_only_one_tick_of_a_machine_holds_the_lease(place: Place) -> None:
    with place.open().lease("bot"):
        with pytest.raises(Busy, match="another tick of bot is running here"):
            place.open().lease("bot").__enter__()
        with place.open().lease("cat"):
            pass
        assert place.open().append("bot", said("a rollback"), after=None).seq == 0
    with place.open().lease("bot"):
        pass


def test_reading_does_not_judge_the_history(place: Place) -> None:
    """The chain is the ledger's business, the order of events is the fold's."""
    first = place.open().append("bot", started(), after=None)
    place.open().append("bot", started(), after=first.hash)
    with pytest.raises(IllegalHistory):
        fold(place.open().read("bot"))


def test_an_anchor_takes_the_place_of_all_that_it_stands_for(place: Place) -> None:
    ledger = place.open()
    write(ledger, *(f"w{number}" for number in range(40)))
    before = ledger.read("bot")
    entry = ledger.anchor("bot", anchor_of(ledger), after=before[-1].hash)
    assert place.open("b").read("bot") == (entry,)
    assert (entry.seq, entry.previous) == (40, before[-1].hash)
    write(ledger, "later")
    entries = place.open("b").verify("bot")
    assert [each.seq for each in entries] == [40, 41]
    assert fold(entries).stable == fold(before).stable


def test_an_anchor_that_comes_late_or_stands_for_something_else_changes_nothing(place: Place) -> None:
    ledger = place.open()
    write(ledger, "one", "two")
    late = anchor_of(ledger)
    write(place.open("b"), "three")
    with pytest.raises(LedgerConflict, match="another writer"):
        ledger.anchor("bot", late, after=late.state.head or "")
    with pytest.raises(Usage, match="an anchor stands for all entries that are there"):
        ledger.anchor("bot", late, after=ledger.read("bot")[-1].hash)
    assert told(ledger) == ["one", "two", "three"]


def test_an_anchor_behind_other_entries_is_no_history(place: Place) -> None:
    ledger = place.open()
    write(ledger, "one")
    ledger.append("bot", anchor_of(ledger), after=ledger.read("bot")[-1].hash)
    with pytest.raises(IllegalHistory, match="cannot hold the event Anchored"):
        fold(ledger.read("bot"))


def appender(ledger: Callable[[], Ledger], who: str, name: str, count: int) -> Callable[[], str]:
    """Append so many events behind whatever is there, as often as it takes."""

    def act() -> str:
        lost = 0
        for number in range(count):
            while True:
                try:
                    entries = ledger().read(name)
                    head = entries[-1].hash if entries else None
                    ledger().append(name, said(f"{who}{number}", name=name), after=head)
                except LedgerConflict:
                    lost += 1
                else:
                    break
        return f"lost {lost} races"

    return act


def test_concurrent_writers_on_several_machines_lose_and_double_nothing(place: Place) -> None:
    writers = [("x", "a"), ("y", "a"), ("z", "b")]
    acts = [appender(lambda machine=machine: place.open(machine), who, "bot", 6) for who, machine in writers]
    place.open("b")
    told_by_them = race(acts, seed=7, delay_s=0.002)
    assert all(each.startswith("lost") for each in told_by_them), told_by_them
    entries = told(place.open("c"))
    assert sorted(entries) == sorted(f"{who}{number}" for who, _ in writers for number in range(6))
    for who, _ in writers:
        assert [word for word in entries if word[0] == who] == [f"{who}{number}" for number in range(6)]


def test_concurrent_writers_of_different_adapters_all_come_through(place: Place) -> None:
    names = ["bot", "cat", "dog"]
    acts = [appender(lambda name=name: place.open(name[0]), "x", name, 5) for name in names]
    for name in names:
        place.open(name[0])
    assert race(acts, seed=11, delay_s=0.002) == ["lost 0 races"] * 3
    for name in names:
        assert told(place.open("c"), name) == [f"x{number}" for number in range(5)]


def test_identical_events_of_two_writers_are_won_by_one_of_them(place: Place) -> None:
    """The same clock, the same actor: only one may believe that its entry is in."""
    write(place.open(), "one")
    head = place.open().read("bot")[-1].hash
    acts = [
        lambda machine=machine: place.open(machine).append("bot", said("same"), after=head).seq
        for machine in ("a", "b")
    ]
    place.open("b")
    results = race(acts, seed=3, delay_s=0.002)  # type: ignore[arg-type]
    assert sorted(each.split(":")[0] for each in results) == ["1", "LedgerConflict"]
    assert told(place.open()) == ["one", "same"]


def ensure(place: Place, what: str) -> Callable[[], None]:
    """What a command does that is run again until it is done."""

    def act() -> None:
        ledger = place.open()
        entries = ledger.read("bot")
        if what == "anchor" and not isinstance(entries[0].event, Anchored):
            ledger.anchor("bot", anchor_of(ledger), after=entries[-1].hash)
        elif what != "anchor" and "me" not in told(ledger):
            write(ledger, "me")

    return act


def seen(place: Place) -> list[str]:
    return [
        "anchor" if isinstance(entry.event, Anchored) else entry.event.actor
        for entry in place.open().read("bot")
    ]


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        ("first", [], ["me"]),
        ("later", ["one", "two"], ["one", "two", "me"]),
        ("anchor", ["one", "two"], ["anchor"]),
    ],
)
def test_whoever_dies_at_any_call_has_written_all_or_nothing(
    place: Place, what: str, before: list[str], after: list[str]
) -> None:
    write(place.open(), *before)
    pristine = place.folder.with_name(f"{place.folder.name}-pristine")
    shutil.copytree(place.folder, pristine, symlinks=True)
    points = points_of(ensure(place, what))
    assert len(points) >= 4
    for point, call in enumerate(points):
        shutil.rmtree(place.folder)
        shutil.copytree(pristine, place.folder, symlinks=True)
        child = die_at(point, ensure(place, what))
        assert seen(place) in (before, after), call
        patiently(ensure(place, what))
        await_orphans(child)
        patiently(ensure(place, what))
        assert seen(place) == after, call
        place.open().verify("bot")


def patiently(act: Callable[[], None]) -> None:
    """As the next ticks would: what an orphan of the dead still does may refuse one."""
    for _ in range(4):
        try:
            return act()
        except (LedgerConflict, Unavailable) as error:
            refused = error
    raise refused
