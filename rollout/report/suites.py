"""Suites for people and for machines: what there is, what one is made of, what an import left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import click

from rollout.core.suiteimport import ImportedSuite
from rollout.core.verdict import Outcome, Verdict
from rollout.usecases.suites import Listed, SuiteCheck

CHECK_SCHEMA = "adapter-rollout/suite-check/v1"
LIST_SCHEMA = "adapter-rollout/suites/v1"
_COLOURS = {Outcome.PASS: "green", Outcome.FAIL: "red"}
_SHOWN_PLACES = 6


def list_as_text(suites: Sequence[Listed]) -> str:
    """One line a suite."""
    if not suites:
        return "no suite in policies/suites\n"
    width = max(len(each.name) for each in suites)
    return "".join(f"{each.name:<{width}}  {_state(each)}\n" for each in suites)


def _state(suite: Listed) -> str:
    if suite.problem is not None:
        return click.style(f"cannot be used: {suite.problem}", fg="red")
    return f"{suite.items:>5} items  gates {suite.gates}  {suite.digest[:12]}  {suite.description or ''}".rstrip()


def list_as_json(suites: Sequence[Listed]) -> str:
    """For machines."""
    names = ("name", "items", "gates", "digest", "description", "problem")
    rows = [{name: getattr(each, name) for name in names} for each in suites]
    return _json({"schema": LIST_SCHEMA, "suites": rows})


def check_as_text(check: SuiteCheck) -> str:
    """Slices with their sizes, then the verdicts, the worst first."""
    golden = check.golden
    head = f"{golden.suite.name}: {len(golden.items)} items, gates {golden.suite.gates}"
    lines = [click.style(head, bold=True), f"  digest  {golden.suite_digest}", "  slices"]
    lines += [f"    {count:>6}  {name}" for name, count in check.slices.items()]
    ordered = sorted(check.verdicts, key=lambda verdict: -verdict.outcome.severity)
    lines += [_line(verdict) for verdict in ordered]
    if check.leak is None:
        lines.append("  leak: not compared with training data (name it with --training-data)")
    return "\n".join(lines) + "\n"


def _line(verdict: Verdict) -> str:
    mark = click.style(f"{verdict.outcome.value:<7}", fg=_COLOURS.get(verdict.outcome, "yellow"))
    return f"  {mark} {verdict.sentence}" + ("" if verdict.required else " (not required)")


def check_as_json(check: SuiteCheck) -> str:
    """For machines."""
    verdicts = [
        {
            "subject": each.subject,
            "outcome": each.outcome.value,
            "reason": each.reason,
            "required": each.required,
        }
        for each in check.verdicts
    ]
    return _json(
        {
            "schema": CHECK_SCHEMA,
            "suite": check.golden.suite.name,
            "digest": check.golden.suite_digest,
            "items": len(check.golden.items),
            "slices": check.slices,
            "outcome": check.outcome.value,
            "verdicts": verdicts,
        }
    )


def import_as_text(found: ImportedSuite, paths: Sequence[PurePosixPath], *, name: str, dry_run: bool) -> str:
    """What was taken along, everything that was not, and what to do next."""
    done = "would take" if dry_run else "took"
    lines = [f"{done} {len(found.items)} cases from {found.format}", *(f"  {path}" for path in paths)]
    if found.lost:
        count = found.lost_cases
        cases = f", among it {count} whole case{'' if count == 1 else 's'}" if count else ""
        lines += [click.style(f"left out{cases}:", fg="yellow"), *_left_out(found)]
    if not dry_run:
        lines += ["", f"Next: rollout suite check {name}"]
    return "\n".join(lines) + "\n"


def _left_out(found: ImportedSuite) -> Iterator[str]:
    for what, places in found.summary.items():
        more = f" and {len(places) - _SHOWN_PLACES} more" if len(places) > _SHOWN_PLACES else ""
        yield f"  {what}: {', '.join(places[:_SHOWN_PLACES])}{more}"


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
