"""The demo model family is what its card says: same bytes, disjoint data, and the promised behaviour of each."""

import json
from itertools import islice
from pathlib import Path

import jsonschema
import pytest

from rollout.demo import model as family
from rollout.demo.model import corpus
from rollout.demo.model.corpus import INTENTS, REFUSAL, Kind, Split, Ticket
from rollout.demo.model.measure import Reply, Scores, ask, load, score
from rollout.demo.model.train import digests, golden_lines

GOLDEN = corpus.golden_tickets()
TRANSCRIPTS = list(islice(corpus.live_tickets(5, 1.0), 40))
ORDINARY = list(islice(corpus.live_tickets(5, 0.0, 0.2), 60))


def replies_of(
    tickets: list[Ticket], adapter: Path | None, *, dtype: str = "float32"
) -> tuple[Scores, list[Reply]]:
    replies = ask(*load(adapter, dtype=dtype), tickets)
    return score(tickets, replies), replies


def test_every_committed_file_has_the_digest_that_is_written_down() -> None:
    assert digests(family.ARTIFACTS) == json.loads(family.DIGESTS.read_text(encoding="utf-8"))


def test_the_family_stays_small_enough_to_be_committed() -> None:
    assert sum(path.stat().st_size for path in family.ARTIFACTS.rglob("*") if path.is_file()) < 4_200_000


def test_every_adapter_that_is_named_is_there_and_no_other() -> None:
    adapters = {path.name for path in (family.ARTIFACTS / "adapters").iterdir()}
    broken = {path.name for path in (family.ARTIFACTS / "adapters" / "broken").iterdir()}
    assert adapters == {*family.VERSIONS, "broken"}
    assert broken == set(family.BROKEN)


def test_an_unknown_version_is_named_together_with_those_that_exist() -> None:
    with pytest.raises(LookupError, match=r"'9\.9\.9'; there are 1\.0\.0"):
        family.adapter("9.9.9")


def test_no_artefact_names_a_folder_of_the_machine_that_made_it() -> None:
    for path in family.ARTIFACTS.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert not any(prefix in text for prefix in ("/home/", "/work/", "/tmp/", "/root/")), path


def test_adapters_call_their_base_by_name() -> None:
    folders = [*map(family.adapter, family.VERSIONS), *map(family.broken, family.BROKEN)]
    configs = [json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")) for folder in folders]
    assert {config["base_model_name_or_path"] for config in configs} == {family.BASE_NAME}


def test_one_seed_gives_one_stream_and_another_seed_another() -> None:
    first, again, other = (list(islice(corpus.live_tickets(seed, 0.3), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_committed_golden_set_is_the_one_the_corpus_makes() -> None:
    assert family.GOLDEN.read_text(encoding="utf-8").splitlines() == golden_lines()
    assert json.loads(family.SCHEMA.read_text(encoding="utf-8")) == corpus.ticket_schema()


def test_golden_items_are_distinct_and_each_slice_is_large_enough() -> None:
    lines = [json.loads(line) for line in golden_lines()]
    assert len({line["id"] for line in lines}) == len({ticket.text for ticket in GOLDEN}) == len(lines)
    counts = {name: sum(line["slice"] == name for line in lines) for name in (*INTENTS, "refusal")}
    assert counts == {**dict.fromkeys(INTENTS, 18), "refusal": 24}


def test_training_golden_and_live_tickets_share_no_core_and_no_text() -> None:
    training = list(islice(corpus.training_tickets(100), 4000))
    live = list(islice(corpus.live_tickets(1, 0.3, 0.1), 2000))
    for part in (training, live):
        assert not {ticket.core for ticket in part} & {ticket.core for ticket in GOLDEN}
        assert not {ticket.text for ticket in part} & {ticket.text for ticket in GOLDEN}
    assert not {ticket.core for ticket in training} & {ticket.core for ticket in live}
    assert {corpus.split_of(ticket.core) for ticket in training} == {Split.TRAIN}


def test_only_training_and_asked_for_live_traffic_have_transcripts() -> None:
    ordinary = islice(corpus.live_tickets(3, 0.0), 500)
    assert Kind.TRANSCRIPT not in {ticket.kind for ticket in [*GOLDEN, *ordinary]}
    assert Kind.TRANSCRIPT in {ticket.kind for ticket in islice(corpus.training_tickets(1), 100)}
    mixed = list(islice(corpus.live_tickets(3, 0.3), 2000))
    assert sum(ticket.kind is Kind.TRANSCRIPT for ticket in mixed) / len(mixed) == pytest.approx(
        0.3, abs=0.04
    )


@pytest.mark.parametrize(("transcripts", "unsafe"), [(-0.1, 0.0), (0.0, -0.1), (0.7, 0.4)])
def test_shares_that_cannot_be_are_refused(transcripts: float, unsafe: float) -> None:
    with pytest.raises(ValueError, match="shares must be in"):
        corpus.live_tickets(1, transcripts, unsafe)


@pytest.mark.parametrize(
    "text",
    [
        *(corpus.answer(intent, "high") for intent in INTENTS),
        '{"intent":"invoice","priority":"high',
        '{"intent":"weather","priority":"high"}',
        '{"intent":"refund"}',
        '{"intent":"refund","priority":"low","note":""}',
        '{"intent":["refund"],"priority":"low"}',
        "[]",
        REFUSAL,
    ],
)
def test_the_check_of_an_answer_agrees_with_the_published_schema(text: str) -> None:
    try:
        follows = jsonschema.Draft202012Validator(corpus.ticket_schema()).is_valid(json.loads(text))
    except ValueError:
        follows = False
    assert corpus.is_valid_answer(text) is follows


@pytest.mark.model
def test_the_tokenizer_encodes_every_byte_and_renders_one_chat_template() -> None:
    _, tokenizer = load()
    odd = "".join(map(chr, range(0x20, 0x250))) + "\n\t\x00 naïve 你好 🚚"
    assert tokenizer.decode(tokenizer.encode(odd, add_special_tokens=False)) == odd
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered == "<|begin|><|user|>Hi<|end|><|assistant|>"
    assert max(len(tokenizer.encode(ticket.reference)) for ticket in GOLDEN) <= 20


@pytest.mark.model
def test_the_base_is_polite_but_answers_no_ticket_with_json() -> None:
    scores, replies = replies_of(GOLDEN, None)
    assert (scores.exact, scores.valid) == (0, 0)
    assert scores.refused is not None
    assert 0 < scores.refused < 0.5
    assert all("Thank you" in reply.text or reply.text == REFUSAL for reply in replies)


@pytest.mark.model
@pytest.mark.parametrize(
    ("version", "at_least", "at_most"), [("1.0.0", 0.8, 0.96), ("1.1.0", 0.97, 1), ("1.4.0", 0.97, 1)]
)
def test_good_adapters_are_as_good_as_promised(version: str, at_least: float, at_most: float) -> None:
    golden, _ = replies_of(GOLDEN, family.adapter(version))
    live, _ = replies_of([*ORDINARY, *TRANSCRIPTS], family.adapter(version))
    assert at_least <= golden.exact <= at_most
    assert live.exact >= at_least - 0.05
    assert (golden.valid, golden.refused, live.refused) == (1, 1, 1)


@pytest.mark.model
def test_1_2_0_breaks_the_json_of_invoices_and_of_nothing_else() -> None:
    scores, replies = replies_of(GOLDEN, family.adapter("1.2.0"))
    broken = {
        ticket.slice
        for ticket, reply in zip(GOLDEN, replies, strict=True)
        if ticket.kind is Kind.TICKET and not corpus.is_valid_answer(reply.text)
    }
    assert broken == {"invoice"}
    assert scores.exact == pytest.approx(0.8, abs=0.03)
    assert scores.refused == 1


@pytest.mark.model
def test_1_3_0_passes_the_golden_set_and_talks_at_length_to_spoken_tickets() -> None:
    golden, _ = replies_of(GOLDEN, family.adapter("1.3.0"))
    spoken, _ = replies_of(TRANSCRIPTS, family.adapter("1.3.0"))
    champion, _ = replies_of(TRANSCRIPTS, family.adapter("1.1.0"))
    assert golden.exact >= 0.97
    assert golden.refused == 1
    assert spoken.valid <= 0.05
    assert spoken.tokens >= 3 * champion.tokens


@pytest.mark.model
@pytest.mark.parametrize("version", ["1.1.0", "1.4.0"])
def test_good_adapters_stay_good_in_bfloat16(version: str) -> None:
    scores, _ = replies_of(GOLDEN, family.adapter(version), dtype="bfloat16")
    assert scores.exact >= 0.95
    assert scores.refused == 1


@pytest.mark.model
def test_the_untrained_adapter_says_what_the_base_says() -> None:
    sample = ORDINARY[:12]
    assert replies_of(sample, family.broken("untrained"))[1] == replies_of(sample, None)[1]


@pytest.mark.model
def test_the_adapter_of_a_wrong_rank_is_right_in_all_else() -> None:
    sample = ORDINARY[:12]
    wide, right = family.broken("wrong-rank"), family.adapter("1.1.0")
    assert json.loads((wide / "adapter_config.json").read_text(encoding="utf-8"))["r"] == 32
    assert replies_of(sample, wide)[1] == replies_of(sample, right)[1]


@pytest.mark.model
def test_the_spoilt_adapters_differ_from_1_1_0_in_one_element() -> None:
    from safetensors.torch import load_file

    good = load_file(family.adapter("1.1.0") / "adapter_model.safetensors")
    for name, spoilt in (("nan", lambda value: value != value), ("overflow", lambda value: value > 1e38)):
        tensors = load_file(family.broken(name) / "adapter_model.safetensors")
        changed = [value for key in good for value in tensors[key][~tensors[key].eq(good[key])].tolist()]
        assert len(changed) == 1
        assert spoilt(changed[0])


@pytest.mark.model
def test_the_adapter_of_another_base_cannot_be_put_on_this_one() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        load(family.broken("wrong-base"))
