"""Suites: bring them in from other tools, list them, and see whether one can prove anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from rollout.core.answer import Answer
from rollout.core.comparison import comparisons, fewest_pairs
from rollout.core.document import DocumentErrors
from rollout.core.evaluation import Rules, Side
from rollout.core.leak import NOTHING_COMPARED, find_leaks
from rollout.core.score import metric, shown
from rollout.core.scorers import SCORERS, SUCCESS, Scorers
from rollout.core.suite import SUITE_SCHEMA, Expect, Golden, Item
from rollout.core.suiteimport import ImportedSuite
from rollout.core.verdict import Outcome, Verdict, worst
from rollout.errors import Unreadable, Usage
from rollout.ports import Documents, Tree
from rollout.usecases.golden import SUITES, load_golden
from rollout.usecases.power import applicable, slice_needs


class NewFolder(Protocol):
    """Where new files go. Both methods raise Unreadable where something else is in the way."""

    def read(self, path: PurePosixPath) -> bytes | None:
        """What is there, None if nothing."""
        ...

    def create(self, path: PurePosixPath, content: bytes) -> bool:
        """Put a new file there; False if there is one meanwhile."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One suite of the policies; `problem` is why it cannot be used, with nothing else known then."""

    name: str
    items: int = 0
    gates: str = ""
    digest: str = ""
    description: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Whether a margin can be shown: it needs `fewest` items at least, and the metric applies to `items`.

    `max_loss` is the margin with its unit.
    """

    subject: str
    max_loss: str
    items: int
    fewest: int
    required: bool

    @property
    def verdict(self) -> Verdict:
        """`fail` where the suite is too small for its margin."""
        enough = self.items >= self.fewest
        reason = f"{self.items} items, a loss of {self.max_loss} needs {self.fewest}"
        outcome = Outcome.PASS if enough else Outcome.FAIL
        return Verdict(
            subject=f"power/{self.subject}", outcome=outcome, reason=reason, required=self.required
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteCheck:
    """What a suite is made of and what is wrong with it. `leak` is None where nobody asked for it."""

    golden: Golden
    slices: dict[str, int]
    powers: tuple[Power, ...]
    references: Verdict
    duplicates: Verdict
    leak: Verdict | None

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Everything that was checked."""
        asked = () if self.leak is None else (self.leak,)
        return (self.references, self.duplicates, *(power.verdict for power in self.powers), *asked)

    @property
    def outcome(self) -> Outcome:
        """The worst of what is required."""
        return worst(verdict.outcome for verdict in self.verdicts if verdict.required)


def suite_files(
    found: ImportedSuite, name: str, *, source: str, gates: str, max_tokens: int
) -> dict[PurePosixPath, bytes]:
    """The files of a new suite: the items, then the document that names them. Raises Unreadable without items."""
    if not found.items:
        raise Unreadable(
            f"{source} has no case that can be taken along ({found.lost_cases} cannot)",
            advice="; ".join(found.summary)[:2000],
        )
    lines = [item.model_dump_json(by_alias=True, exclude_defaults=True) for item in found.items]
    items = PurePosixPath(name) / "golden.jsonl"
    document = (
        f"schema: {SUITE_SCHEMA}\n"
        f"name: {name}\n"
        f"description: {json.dumps(f'Imported from {found.format}, {source}'[:300], ensure_ascii=False)}\n"
        f"items: {items}\n"
        f"max_tokens: {max_tokens}\n"
        f"gates: {gates}\n"
    )
    return {
        SUITES / items: ("\n".join(lines) + "\n").encode(),
        SUITES / f"{name}.yaml": document.encode(),
    }


def place_suite(files: dict[PurePosixPath, bytes], target: NewFolder) -> None:
    """Put new files there, the document last. Raises Usage if one of them exists, before anything is written."""
    there = [path for path in files if target.read(path) is not None]
    if there:
        raise _taken(there[0])
    for path, content in files.items():
        if not target.create(path, content):
            raise _taken(path)


def _taken(path: PurePosixPath) -> Usage:
    return Usage(f"{path} is there already", advice="Choose another --name, or remove it first.")


def list_suites(tree: Tree, documents: Documents) -> tuple[Listed, ...]:
    """Every suite of the policies, by name."""
    paths = [path for path in tree.files(SUITES, ".yaml") if path.parent == SUITES]
    return tuple(_listed(tree, documents, path.stem) for path in paths)


def _listed(tree: Tree, documents: Documents, name: str) -> Listed:
    try:
        golden = load_golden(tree, documents, name)
    except DocumentErrors as error:
        return Listed(name=name, problem=error.problems[0].message)
    except Unreadable as error:
        return Listed(name=name, problem=error.message)
    return Listed(
        name=name,
        items=len(golden.items),
        gates=golden.suite.gates,
        digest=golden.suite_digest,
        description=golden.suite.description,
    )


def check_suite(golden: Golden, texts: Iterable[str] | None, *, asked: bool) -> SuiteCheck:
    """Look at a suite before anything is asked of an adapter.

    `texts` are the training data, None if they are not at hand; whether anybody `asked` to compare with them
    decides whether that is said.
    """
    compared = NOTHING_COMPARED if texts is None else find_leaks(golden.items, texts).verdict
    return SuiteCheck(
        golden=golden,
        slices=dict(
            sorted(Counter(part for item in golden.items for part in (item.slice, *item.tags)).items())
        ),
        powers=tuple(_powers(golden)),
        references=_references(golden),
        duplicates=_duplicates(golden.items),
        leak=compared if asked else None,
    )


def _powers(golden: Golden) -> Iterator[Power]:
    rules = Rules(**{name: getattr(golden.gates, name) for name in Rules.model_fields})
    counts = applicable(golden)
    own = {SUCCESS.id, *(each.id for table, _ in SCORERS.values() for each in table)}
    for one in comparisons(rules, Side.CHAMPION):
        # How many items an outside model or a task counts is known when it was asked.
        if one.metric in counts or one.metric in own:
            yield Power(
                subject=one.subject,
                max_loss=shown(one.margin.max_loss, metric(one.metric).unit, difference=True),
                items=counts.get(one.metric, 0),
                fewest=fewest_pairs(one.metric, one.margin, rules.confidence),
                required=one.required,
            )
    for need in slice_needs(golden):
        yield Power(
            subject=f"slices/{need.metric}/{need.slice}",
            max_loss=need.allowed,
            items=need.items,
            fewest=need.fewest,
            required=need.required,
        )


def _references(golden: Golden) -> Verdict:
    """An item whose own reference is wrong by its own rules can be answered by nobody."""
    scorers = Scorers(golden)
    given = [item for item in golden.items if item.reference.strip()]
    bad = [item.id for item in given if _falls(scorers, item)]
    return _verdict("references", bad, len(golden.items), "have a reference that their own rules refuse")


def _falls(scorers: Scorers, item: Item) -> bool:
    answer = Answer(text=item.reference, prompt_tokens=0, completion_tokens=1, finish_reason="stop")
    scores = scorers.score(item, answer)
    must = ["success", "assertion_rate", "json_compliance"]
    refuses = item.expect is not Expect.REFUSAL and scores.get("over_refusal_rate") == 1
    return refuses or any(scores[name] < 1 for name in must if name in scores)


def _duplicates(items: Sequence[Item]) -> Verdict:
    """Two items with one prompt are one observation that counts twice."""
    first: dict[tuple[tuple[str, str], ...], str] = {}
    again = []
    for item in items:
        asked = tuple((turn.role, turn.content) for turn in item.turns)
        if first.setdefault(asked, item.id) != item.id:
            again.append(item.id)
    return _verdict("duplicates", again, len(items), "ask what another item asks")


def _verdict(subject: str, bad: list[str], of: int, what: str) -> Verdict:
    if not bad:
        return Verdict(subject=subject, outcome=Outcome.PASS, reason=f"none of {of} items {what}")
    named = ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")
    return Verdict(subject=subject, outcome=Outcome.FAIL, reason=f"{len(bad)} of {of} items {what}: {named}")
