"""JUnit's XML, which every CI system shows as tests: a suite a manifest, a case a rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from rollout.core.runbook import pointer
from rollout.core.validation import Validation
from rollout.errors import RolloutError
from rollout.report.findings.account import UNREADABLE, Entry, Level, entries, shown_file, unchecked
from rollout.report.findings.plain import visible

_NAME = "rollout validate"


def as_junit(validation: Validation) -> str:
    """Failures are what blocks; warnings and what was waived stand in the output of a case that passed."""
    by_file: dict[str, list[Entry]] = {file: [] for file in validation.checked}
    for entry in entries(validation):
        by_file.setdefault(entry.file, []).append(entry)
    return _written([_suite(file, list(_cases(validation, file, found))) for file, found in by_file.items()])


def error_as_junit(error: RolloutError) -> str:
    """One case that ended with the error of a run that could not be done."""
    case = ElementTree.Element("testcase", {"classname": _NAME, "name": "the run could be done", "time": "0"})
    told = ElementTree.SubElement(case, "error", {"message": visible(error.message), "type": error.code})
    told.text = "\n".join(filter(None, (visible(error.advice), pointer(error.code))))
    return _written([_suite(_NAME, [case])])


def _written(suites: Sequence[ElementTree.Element]) -> str:
    root = ElementTree.Element("testsuites", {"name": _NAME})
    root.extend(suites)
    _count(root, root.iter("testcase"))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(file: str, cases: Sequence[ElementTree.Element]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", {"name": shown_file(file)})
    suite.extend(cases)
    _count(suite, cases)
    return suite


def _count(
    element: ElementTree.Element, cases: Iterator[ElementTree.Element] | Sequence[ElementTree.Element]
) -> None:
    every = list(cases)
    element.set("tests", str(len(every)))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(tag) is not None for case in every)))
    element.set("time", "0")


def _cases(validation: Validation, file: str, found: Sequence[Entry]) -> Iterator[ElementTree.Element]:
    """One for each rule that was asked; where the manifest could not be read, one that says so."""
    rules, skipped = {entry.rule: entry.title for entry in found}, unchecked(validation)
    if file in validation.checked and UNREADABLE not in rules:
        rules = {rule.id: rule.title for rule in validation.rulebook} | rules
    for rule, title in rules.items():
        case = ElementTree.Element(
            "testcase", {"classname": shown_file(file), "name": f"{rule}: {title}", "time": "0"}
        )
        ours = [entry for entry in found if entry.rule == rule]
        case.extend(_outcome(ours, skipped="" if ours else skipped.get(rule, "")))
        yield case


def _outcome(found: Sequence[Entry], *, skipped: str) -> Iterator[ElementTree.Element]:
    if skipped:
        yield ElementTree.Element("skipped", {"message": skipped})
    errors = [entry for entry in found if entry.level is Level.ERROR]
    if errors:
        failure = ElementTree.Element("failure", {"message": errors[0].message, "type": "error"})
        failure.text = "\n".join(map(_told, errors))
        yield failure
    if others := [entry for entry in found if entry.level is not Level.ERROR]:
        output = ElementTree.Element("system-out")
        output.text = "\n".join(map(_told, others))
        yield output


def _told(entry: Entry) -> str:
    label = "" if entry.level is Level.ERROR else f"{entry.level}: "
    at = f"{shown_file(entry.file)}:{entry.place.line}:{entry.place.column}"
    todo = f"help: {entry.help}" if entry.waived_by is None and entry.help else entry.after
    return f"{label}{at}: {entry.message}" + (f"\n  {todo}" if todo else "")
