"""How often the gate errs, on real answers of a real model: the champion against itself, and with planted losses.

The champion (1.1.0 of the demo, sampled, so that it answers an item differently each time) answers a pool of tickets
four times. A resample draws items with replacement, and for each of them two different answers, one for each side:
both sides are the same adapter, whatever the pool holds. A planted loss replaces answers of the candidate by those of
the base. Judged by the gate file that is shipped. The figures are printed, and stand in the log of CI.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from pathlib import Path
from random import Random

import pytest

from rollout.core.answer import Answer
from rollout.core.comparison import judge_margins
from rollout.core.evaluation import Case, Measured, Rules, Side
from rollout.core.gate import conclude_quality
from rollout.core.score import metric
from rollout.core.scorers import Scorers
from rollout.core.slices import judge_slices
from rollout.core.suite import Expect, Golden, Item, Turn
from rollout.core.verdict import Outcome, Verdict, worst
from rollout.demo.model import BASE, adapter
from rollout.demo.model.corpus import Kind, Ticket, live_tickets
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.workfolder import WorkingFolder
from rollout.ports import GenerationRequest, Message
from rollout.usecases.golden import load_golden
from tests.support.measurements import measured_cases, subject

pytest.importorskip("torch")
pytest.importorskip("peft")
pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]
RESAMPLES, POOL, ANSWERS, TEMPERATURE = 200, 400, 4, 1.0
MARGIN, LEVEL = 0.05, 0.05
JUDGED = ("exact_match", "json_compliance", "rouge_l", "over_refusal_rate", "success")
SIZES = (114, 200, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One item of the pool: the scores of the champion's answers, and of the base's."""

    item: Item
    champion: tuple[dict[str, float], ...]
    base: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What was asked, the rules that judge it, and how often an answer is right."""

    asked: tuple[Asked, ...]
    rules: Rules

    @property
    def exact(self) -> float:
        """The share of exact answers where JSON is expected."""
        found = [each["exact_match"] for one in self.asked for each in one.champion if "exact_match" in each]
        return sum(found) / len(found)

    @property
    def churn(self) -> float:
        """The share of items on which two answers of the champion differ in being right."""
        return sum(one.champion[0]["success"] != one.champion[1]["success"] for one in self.asked) / len(
            self.asked
        )


@pytest.fixture(scope="module")
def pool() -> Pool:
    golden = load_golden(WorkingFolder(Path(__file__).parents[2]), StrictDocuments(), "support-triage")
    tickets = list(islice(live_tickets(20_240, 0.0, 0.2), POOL))
    items = [_item(number, ticket) for number, ticket in enumerate(tickets)]
    scored = dict(_answers(items, golden))
    asked = tuple(
        Asked(
            item=item,
            champion=tuple(scored[item.id, again] for again in range(ANSWERS)),
            base=scored[item.id, ANSWERS],
        )
        for item in items
    )
    gates = {name: gate for name, gate in golden.gates.gates.items() if not metric(name).timed}
    rules = Rules(
        gates=gates,
        confidence=golden.gates.confidence,
        seed=golden.gates.seed,
        on_inconclusive=golden.gates.on_inconclusive,
        agreement="optional",
    )
    return Pool(asked=asked, rules=rules)


def _item(number: int, ticket: Ticket) -> Item:
    return Item(
        id=f"t{number}",
        messages=(Turn(role="user", content=ticket.text),),
        reference=ticket.reference,
        slice=ticket.slice,
        expect=Expect.REFUSAL if ticket.kind is Kind.UNSAFE else Expect.JSON,
    )


def _answers(items: Sequence[Item], golden: Golden) -> Iterator[tuple[tuple[str, int], dict[str, float]]]:
    """The scores of every answer: sampled ones of the champion, and behind them the greedy one of the base."""
    from rollout.integrations.transformers import TransformersEngine, open_base

    engine, scorers = TransformersEngine(open_base(BASE, threads=1), batch_size=64), Scorers(golden)
    engine.load({"champion": adapter("1.1.0")})
    requests = [
        GenerationRequest(
            id=f"{number}:{again}",
            messages=tuple(Message(role=turn.role, content=turn.content) for turn in item.messages),
            adapter="champion" if again < ANSWERS else None,
            max_tokens=32,
            temperature=TEMPERATURE if again < ANSWERS else 0.0,
            seed=again * POOL + number,
        )
        for number, item in enumerate(items)
        for again in range(ANSWERS + 1)
    ]
    for found in engine.generate(requests):
        number, again = (int(part) for part in found.id.split(":"))
        answer = Answer(
            text=found.text,
            prompt_tokens=found.prompt_tokens,
            completion_tokens=found.completion_tokens,
            finish_reason=found.finish_reason,
        )
        scores = scorers.score(items[number], answer)
        yield (items[number].id, again), {name: scores[name] for name in JUDGED if name in scores}


def resampled(pool: Pool, n: int, seed: int, loss: float) -> Measured:
    """One resample of `n` items, in which the candidate lost so much of exact match."""
    dice = Random(seed * 1_000_003 + n)
    return measured_cases([_drawn(number, dice, pool, loss) for number in range(n)])


def _drawn(number: int, dice: Random, pool: Pool, loss: float) -> Case:
    one = dice.choice(pool.asked)
    champion, candidate = dice.sample(one.champion, 2)
    if one.item.expect is Expect.JSON and dice.random() < loss / pool.exact:
        candidate = one.base
    return Case(
        id=f"d{number}",
        slice=one.item.slice,
        expect=one.item.expect,
        messages=one.item.messages,
        scores={Side.CHAMPION: champion, Side.CANDIDATE: candidate, Side.BASE: one.base},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Shares of the resamples, by what the comparisons with the champion and the slices said."""

    exact_passed: float
    passed: float
    failed: float

    def __str__(self) -> str:
        return f"exact match passed {self.exact_passed:6.1%}   all passed {self.passed:6.1%}   failed {self.failed:6.1%}"


def judged(pool: Pool, n: int, loss: float) -> Figures:
    found = [of_the_champion(resampled(pool, n, seed, loss), pool.rules) for seed in range(RESAMPLES)]
    outcomes = [worst(each.outcome for each in verdicts if each.required) for verdicts in found]
    exact = [
        next(each.outcome for each in verdicts if each.subject == "champion/exact_match")
        for verdicts in found
    ]
    return Figures(
        exact_passed=_share(exact, Outcome.PASS),
        passed=_share(outcomes, Outcome.PASS),
        failed=_share(outcomes, Outcome.FAIL),
    )


def of_the_champion(measured: Measured, rules: Rules) -> list[Verdict]:
    """What the gate says of margins and slices. The rest of it speaks of the candidate alone, and costs minutes."""
    return [*judge_margins(measured, rules), *judge_slices(measured, rules)]


def _share(outcomes: Sequence[Outcome], of: Outcome) -> float:
    return outcomes.count(of) / len(outcomes)


def at_most(level: float) -> float:
    """What a rate of at most `level` may show in so many resamples: two standard errors more."""
    return level + 2 * sqrt(level * (1 - level) / RESAMPLES)


def told(capsys: pytest.CaptureFixture[str], what: str, n: int, figures: Figures) -> None:
    with capsys.disabled():
        print(f"\n{what:<28} n={n:<4} {figures}", flush=True)


def test_what_is_counted_here_is_what_the_gate_says(pool: Pool) -> None:
    for loss in (0.0, 2 * MARGIN):
        measured = resampled(pool, 114, 1, loss)
        said = conclude_quality(subject(pool.rules), measured).verdicts
        assert set(of_the_champion(measured, pool.rules)) <= set(said)


def test_the_pool_is_as_noisy_as_real_answers_are(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nchampion: {pool.exact:.1%} exact, {pool.churn:.1%} of items change between two answers")
    assert 0.8 < pool.exact < 0.99
    assert 0.05 < pool.churn < 0.3


@pytest.mark.parametrize("n", SIZES)
def test_a_champion_fails_against_itself_no_more_often_than_declared(
    pool: Pool, n: int, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = judged(pool, n, 0.0)
    told(capsys, "champion against itself", n, figures)
    assert pool.rules.confidence == 1 - LEVEL
    assert figures.failed <= at_most(LEVEL)


@pytest.mark.parametrize("n", SIZES[:2])
def test_a_loss_of_twice_the_margin_is_caught(pool: Pool, n: int, capsys: pytest.CaptureFixture[str]) -> None:
    figures = judged(pool, n, 2 * MARGIN)
    told(capsys, "loss of twice the margin", n, figures)
    gate = pool.rules.gates["exact_match"].vs_champion
    assert gate is not None
    assert gate.max_loss == MARGIN
    assert figures.exact_passed <= 0.05
    assert figures.passed <= 0.05


@pytest.mark.parametrize("n", SIZES[:2])
def test_a_loss_of_the_margin_passes_no_more_often_than_declared(
    pool: Pool, n: int, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = judged(pool, n, MARGIN)
    told(capsys, "loss of just the margin", n, figures)
    assert figures.exact_passed <= at_most(LEVEL)
