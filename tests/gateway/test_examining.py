"""What is looked at off the hot path: what is found, what is kept, what is left out and counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.core.environment import KeptTexts
from rollout.core.metric import Comparison, Feedback, RequestRecord, Stage, Texts
from rollout.core.plan import Share
from rollout.gateway import examining
from rollout.gateway.examining import Examiner
from rollout.gateway.keeping import Keeping, UnkeepableError, redacted
from rollout.gateway.looks import Looks
from rollout.gateway.sampling import is_sampled
from rollout.gateway.spoken import Spoken
from rollout.wiring.telemetry import _toxicity
from tests.contracts.test_metric_source import record
from tests.support.gateway import CANDIDATE, NAME, STABLE, eventually, running
from tests.support.upstream import Behaviour

REFUSAL = "I'm sorry, but I can't help with that."
MAIL = "Write to jane.doe@corp.com, card 4111 1111 1111 1111."
ALL = Looks(
    refusals=Share.FULL, personal_data=Share.FULL, toxicity=Share.FULL, is_toxic=lambda text: "idiot" in text
)
REDACTED = Keeping(texts=KeptTexts.REDACTED)
FULL = Keeping(texts=KeptTexts.FULL)


def spoken(text: str | None, request: Any = None, **changes: Any) -> Spoken:
    body = json.dumps(request if request is not None else {"model": "bot", "prompt": "hi"}).encode()
    return Spoken(**{"request": body, "text": text, "overlong": False, "check": None, **changes})


class Rows:
    """A recorder that keeps what it is given; it can be told to wait."""

    def __init__(self) -> None:
        self.rows: list[tuple[RequestRecord, Texts | None]] = []
        self.free = threading.Event()
        self.free.set()

    def record(self, request: RequestRecord, texts: Texts | None = None) -> None:
        self.free.wait(20)
        self.rows.append((request, texts))

    def tell(self, feedback: Feedback) -> None:
        pass

    def close(self) -> None:
        pass


def examined(looks: Looks, *answers: Spoken | None, keeping: Keeping | None = None, **row: Any) -> list[Any]:
    rows = Rows()
    examiner = Examiner(rows, looks, keeping or Keeping())
    for answer in answers:
        examiner.take(record(format_valid=None, **row), answer)
    examiner.close()
    return rows.rows


def found(looks: Looks, answer: Spoken, **row: Any) -> tuple[bool | None, ...]:
    record_ = looks.at(record(format_valid=None, **row), answer, hurried=False)
    return record_.format_valid, record_.refused, record_.personal_data, record_.toxic


def test_answers_are_looked_at_for_all_that_is_asked() -> None:
    assert found(ALL, spoken("It is billing.")) == (None, False, False, False)
    assert found(ALL, spoken(REFUSAL)) == (None, True, False, False)
    assert found(ALL, spoken(MAIL)) == (None, False, True, False)
    assert found(ALL, spoken("You idiot.")) == (None, False, False, True)
    assert found(Looks(), spoken(MAIL)) == (None, None, None, None)


def test_a_form_is_always_looked_at() -> None:
    check: Callable[[str], bool] = lambda text: text == "{}"  # noqa: E731
    assert found(Looks(), spoken("{}", check=check))[0] is True
    assert found(Looks(), spoken("no", check=check))[0] is False
    assert found(Looks(), spoken(None, check=check))[0] is None
    assert found(Looks(), spoken("{}", check=check, overlong=True))[0] is False


def test_what_was_not_looked_at_is_never_called_clean() -> None:
    long = "harmless " * 2000
    assert found(ALL, spoken(None)) == found(ALL, spoken("")) == (None, None, None, None)
    assert found(ALL, spoken(long))[2] is None, "its end was not read"
    assert found(ALL, spoken(MAIL + long))[2] is True
    unsure = replace(ALL, is_toxic=lambda _: None)
    assert found(unsure, spoken("x"))[3] is None
    assert found(replace(ALL, is_toxic=None), spoken("x"))[3] is None
    assert ALL.at(record(), spoken("x"), hurried=True).toxic is None


def test_samples_lie_within_each_other_and_a_copy_goes_with_its_original() -> None:
    looks = Looks(refusals=Share.parse("50%"), personal_data=Share.parse("10%"))
    ids = [f"{number:032x}" for number in range(2000)]
    seen = {id_: found(looks, spoken(MAIL), request_id=id_) for id_ in ids}
    refusals = {id_ for id_ in ids if seen[id_][1] is not None}
    personal = {id_ for id_ in ids if seen[id_][2] is not None}
    assert personal < refusals
    assert (900 < len(refusals) < 1100, 140 < len(personal) < 260) == (True, True)
    for id_ in ids[:100]:
        assert found(looks, spoken(MAIL), request_id="copy", pair=id_, shadow=True) == seen[id_]
        assert looks.wanted(record(request_id=id_)) == (id_ in refusals)


def test_rows_come_complete_and_in_the_order_in_which_requests_ended() -> None:
    answers = [spoken(REFUSAL), None, spoken("yes"), spoken(MAIL), None] * 20
    rows = [row for row, _ in examined(ALL, *answers)]
    assert [row.refused for row in rows] == [True, None, False, False, None] * 20
    numbers = [int(row.request_id.removeprefix("r")) for row in rows]
    assert numbers == sorted(numbers)


def test_a_look_that_breaks_costs_its_findings_and_nothing_else() -> None:
    def breaks(text: str) -> bool:
        raise RuntimeError(text)

    rows = Rows()
    done: list[RequestRecord] = []
    examiner = Examiner(rows, replace(ALL, is_toxic=breaks), FULL, on_done=done.append)
    for _ in range(3):
        examiner.take(record(), spoken("x"))
    examiner.take(record(), None)
    eventually(lambda: len(rows.rows) == 4)
    examiner.close()
    assert examiner.unexamined == 3
    assert [row.refused for row, _ in rows.rows] == [None] * 4
    assert [texts is not None for _, texts in rows.rows] == [True, True, True, False]
    assert done == [row for row, _ in rows.rows]


def test_too_many_answers_are_recorded_without_being_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "_MOST_ANSWERS", 10)
    monkeypatch.setattr(examining, "_MOST_ROWS", 20)
    rows = Rows()
    rows.free.clear()
    examiner = Examiner(rows, ALL, FULL)
    examiner.take(record(), spoken(REFUSAL))
    eventually(lambda: not examiner._waiting)
    for _ in range(30):
        examiner.take(record(), spoken(REFUSAL))
    rows.free.set()
    examiner.close()
    assert [row.refused for row, _ in rows.rows] == [True] * 11 + [None] * 10
    assert [texts is not None for _, texts in rows.rows] == [True] * 11 + [False] * 10
    assert (examiner.unexamined, examiner.texts_lost, examiner.rows_lost) == (10, 10, 10)
    examiner.take(record(), None)
    assert examiner.rows_lost == 11, "closed"


def test_texts_that_wait_have_a_limit_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "_MOST_BYTES", 10_000)
    rows = Rows()
    rows.free.clear()
    examiner = Examiner(rows, ALL, FULL)
    for _ in range(5):
        examiner.take(record(), spoken("x", {"prompt": "y" * 4000}))
    rows.free.set()
    examiner.close()
    assert sum(texts is not None for _, texts in rows.rows) == 2
    assert (examiner.texts_lost, examiner.unexamined, examiner.rows_lost) == (3, 3, 0)


def test_what_nobody_asked_to_see_does_not_wait_in_memory() -> None:
    rows = Rows()
    rows.free.clear()
    examiner = Examiner(rows, Looks(), Keeping())
    examiner.take(record(), None)
    for _ in range(3):
        examiner.take(record(), spoken("x", {"prompt": "y" * 10_000_000}))
    assert all(item.spoken is None for item in examiner._waiting)
    rows.free.set()
    examiner.close()
    assert (len(rows.rows), examiner.unexamined) == (4, 0)


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    assert [texts for _, texts in examined(ALL, spoken("yes"))] == [None]


def test_full_texts_are_as_they_were() -> None:
    asked = {"model": "bot", "user": "jane", "prompt": "grüß dich"}
    ((_, texts),) = examined(Looks(), spoken(MAIL, asked), keeping=FULL)
    assert (json.loads(texts.request), texts.answer) == (asked, MAIL)


def test_redacted_texts_are_without_personal_data_and_without_who_asks() -> None:
    asked = {
        "model": "bot",
        "user": "jane",
        "metadata": {"customer": "jane"},
        "tenant": {"id": "acme"},
        "messages": [
            {"role": "user", "content": 'say "a\nnew.line@corp.com" to +49 30 1234567890'},
            {"role": "user", "content": [{"type": "text", "text": MAIL}]},
        ],
        "phone": 4111111111111111,
        "max_tokens": 16,
        "seed": 1234567,
    }
    keeping = Keeping(texts=KeptTexts.REDACTED, who_asks={"tenant", "messages"})
    ((_, texts),) = examined(Looks(), spoken(MAIL, asked), keeping=keeping)
    assert json.loads(texts.request) == {
        "model": "bot",
        "messages": [
            {"role": "user", "content": 'say "a\n[email]" to [phone]'},
            {"role": "user", "content": [{"type": "text", "text": "Write to [email], card [card]."}]},
        ],
        "phone": "[card]",
        "max_tokens": 16,
        "seed": 1234567,
    }
    assert texts.answer == "Write to [email], card [card]."


def test_what_stands_in_something_longer_is_redacted_as_a_whole() -> None:
    assert (
        redacted("jane@corp.com and jane@corp.com.de, again jane@corp.com")
        == "[email] and [email], again [email]"
    )


@pytest.mark.parametrize(
    "answer",
    [
        spoken("x" * 70_000),
        spoken("x", {"prompt": "y" * 70_000}),
        spoken(None),
        spoken("x", overlong=True),
        Spoken(request=b"[1]", text="x", overlong=False, check=None),
        Spoken(request=b'{"a":' * 50 + b"1" + b"}" * 50, text="x", overlong=False, check=None),
        Spoken(request=b"{", text="x", overlong=False, check=None),
    ],
)
def test_what_cannot_be_redacted_is_not_kept_and_counted(answer: Spoken) -> None:
    with pytest.raises(UnkeepableError):
        REDACTED.of(answer)
    rows = Rows()
    examiner = Examiner(rows, Looks(), REDACTED)
    examiner.take(record(), answer)
    examiner.close()
    assert [texts for _, texts in rows.rows] == [None]
    assert examiner.texts_lost == 1


def test_a_pair_is_kept_together_or_not_at_all(tmp_path: Path) -> None:
    metrics = {"kind": "traffic-log", "path": "traffic.sqlite", "texts": "redacted", "texts_share": "40%"}
    with running(tmp_path, metrics=metrics) as world:
        world.route(2, mirror="100%")
        world.upstream.models[CANDIDATE] = Behaviour(text=MAIL)
        for _ in range(40):
            world.ask("ann", messages=[{"role": "user", "content": "I am jane@corp.com"}])
        eventually(lambda: sum(row["shadow"] for row in world.rows()) == 40, within_s=20)
        compared = Comparison(name=NAME, stable=STABLE, candidate=CANDIDATE, stage=Stage.SHADOW)
        pairs = list(world.log.pairs(compared, since=0.0, limit=99))
    assert len(pairs) == 40
    kept = [pair for pair in pairs if pair.stable_texts is not None]
    assert 0 < len(kept) < 40
    for pair in pairs:
        wanted = is_sampled(pair.stable.request_id, Share.parse("40%"))
        assert (pair.stable_texts is not None) == (pair.candidate_texts is not None) == wanted
    assert kept[0].candidate_texts is not None
    assert kept[0].candidate_texts.answer == "Write to [email], card [card]."
    assert "I am [email]" in kept[0].candidate_texts.request
    everything = b"".join(file.read_bytes() for file in tmp_path.glob("traffic.sqlite*"))
    assert b"corp.com" not in everything


def test_a_classifier_that_is_not_there_measures_nothing_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    is_toxic = _toxicity(tmp_path / "nothing")
    assert [is_toxic("You idiot.") for _ in range(3)] == [None] * 3
    assert [entry.message.partition(":")[0] for entry in caplog.records] == ["toxicity is not measured"]


@pytest.mark.model
def test_a_classifier_in_a_folder_tells_what_is_toxic(tmp_path: Path) -> None:
    from tests.support.textmodels import write_classifier

    model = write_classifier(tmp_path / "classifier")
    examine = {"toxicity": "100%", "toxicity_model": str(model)}
    (tmp_path / "site").mkdir()
    with running(tmp_path / "site", gateway={"examine": examine}) as world:
        for text in ("you are a fool", "you are kind"):
            world.upstream.models[STABLE] = Behaviour(text=text)
            world.ask("ann")
        eventually(lambda: [row["toxic"] for row in world.rows()] == [1, 0], within_s=60)
        page = world.client.get("/metrics").text
    counted = [line for line in page.splitlines() if 'look="toxicity"' in line]
    assert [line.rpartition(" ")[2] for line in counted] == ["2.0", "1.0"]
