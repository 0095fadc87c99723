"""SARIF 2.1.0 for code scanning and other viewers of static analysis."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rollout import __version__
from rollout.core.finding import Severity
from rollout.core.policy import Rule
from rollout.core.runbook import pointer
from rollout.core.validation import Validation
from rollout.errors import RolloutError
from rollout.report.findings.account import UNREADABLE, Entry, Level, entries, exit_status, outcome, unchecked
from rollout.report.findings.json import dump
from rollout.report.findings.origin import Origin
from rollout.report.findings.plain import encodable

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "%SRCROOT%"
_CATEGORY = "rollout/validate/"
_LEVELS = {Severity.BLOCK: "error", Severity.WARN: "warning"}
_OUTCOMES = {
    "pass": "nothing blocks",
    "blocked": "a finding blocks",
    "unreadable": "a document could not be read, so it was not checked",
}

Json = dict[str, object]


def as_sarif(validation: Validation, origin: Origin) -> str:
    """One log with one run. Columns are counted in characters, and URIs are relative to the repository."""
    found = entries(validation)
    rules = _rules(validation, found, origin)
    index = {rule["id"]: at for at, rule in enumerate(rules)}
    files = _files(validation, found)
    run: Json = {
        "tool": {"driver": {"name": "rollout", "semanticVersion": __version__, "rules": rules}},
        "invocations": [_invocation(validation, index)],
        "automationDetails": {"id": _CATEGORY},
        "columnKind": "unicodeCodePoints",
        "artifacts": [{"location": _location(file, origin), "roles": ["analysisTarget"]} for file in files],
        "results": list(_results(found, index, files, origin)),
    }
    return _log(run, origin)


def error_as_sarif(error: RolloutError, origin: Origin) -> str:
    """A log of a run that could not be done: no results, which is not the same as none found."""
    told = encodable(f"{error.message} {error.advice}".strip()).replace("](", "] (")
    why = {
        "level": "error",
        "descriptor": {"id": error.code},
        "message": {"text": f"{told} ({pointer(error.code)})"},
    }
    ended = {
        "executionSuccessful": False,
        "exitCode": error.exit_status,
        "exitCodeDescription": "the run could not be done, so nothing was checked",
        "toolExecutionNotifications": [why],
    }
    run: Json = {
        "tool": {"driver": {"name": "rollout", "semanticVersion": __version__}},
        "invocations": [ended],
        "automationDetails": {"id": _CATEGORY},
        "columnKind": "unicodeCodePoints",
        "results": [],
    }
    return _log(run, origin)


def _log(run: Json, origin: Origin) -> str:
    if origin.repository is not None:
        run["versionControlProvenance"] = [_provenance(origin)]
    return dump({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _files(validation: Validation, found: Sequence[Entry]) -> list[str]:
    return sorted({*validation.checked, *(entry.file for entry in found)})


def _rules(validation: Validation, found: Sequence[Entry], origin: Origin) -> list[Json]:
    """Those of the policy, and what else something was found of."""
    known = [_rule(rule, origin) for rule in validation.rulebook]
    ids = {rule.id for rule in validation.rulebook}
    others = {entry.rule: entry.title for entry in found if entry.rule not in ids}
    return known + [
        {"id": rule, "name": _name(rule), "shortDescription": {"text": title}}
        for rule, title in others.items()
    ]


def _rule(rule: Rule, origin: Origin) -> Json:
    see = rule.anchor if "://" in rule.anchor else _page(rule.anchor, origin)
    described: Json = {
        "id": rule.id,
        "name": _name(rule.id),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remediation, "markdown": f"{rule.remediation}\n\n*Why:* {rule.why}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }
    return described | ({"helpUri": see} if see else {})


def _page(anchor: str, origin: Origin) -> str | None:
    """A viewer cannot follow a path in the repository; the forge's URL of it, where that is known."""
    file, _, heading = anchor.partition("#")
    page = origin.link(file)
    return f"{page}#{heading}" if page and heading else page


def _name(rule: str) -> str:
    """The id as an identifier in Pascal case, which the format asks for."""
    return "".join(part.capitalize() for part in rule.replace("_", "-").split("-")) or rule


def _invocation(validation: Validation, index: Mapping[object, int]) -> Json:
    return {
        "executionSuccessful": outcome(validation) != "unreadable",
        "exitCode": exit_status(validation),
        "exitCodeDescription": _OUTCOMES[outcome(validation)],
        "toolConfigurationNotifications": [
            {
                "level": "note",
                "message": {"text": f"This rule was not checked: {why}."},
                "associatedRule": {"id": rule, "index": index[rule]},
            }
            for rule, why in unchecked(validation).items()
        ],
    }


def _provenance(origin: Origin) -> Json:
    known = {"repositoryUri": origin.repository, "revisionId": origin.revision, "branch": origin.branch}
    return {name: value for name, value in known.items() if value is not None} | {
        "mappedTo": {"uriBaseId": _ROOT}
    }


def _results(
    found: Sequence[Entry], index: Mapping[object, int], files: Sequence[str], origin: Origin
) -> Iterator[Json]:
    number = {file: at for at, file in enumerate(files)}
    before: Counter[str] = Counter()
    for entry in found:
        mark = _fingerprint(entry)
        before[mark] += 1
        yield {
            "ruleId": entry.rule,
            "ruleIndex": index[entry.rule],
            "level": _LEVELS[entry.severity],
            "message": {"text": _message(entry)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": _location(entry.file, origin) | {"index": number[entry.file]},
                        "region": _region(entry),
                    },
                    "logicalLocations": [{"fullyQualifiedName": encodable(entry.pointer) or "/"}],
                }
            ],
            "partialFingerprints": {"ruleFileAndField/v1": f"{mark}:{before[mark]}"},
            "suppressions": _suppressions(entry),
        }


def _message(entry: Entry) -> str:
    """What a bracket and a parenthesis would make a link of stays text."""
    parts = [entry.message if entry.message.endswith(".") else f"{entry.message}.", entry.help]
    return " ".join(filter(None, parts)).replace("](", "] (")


def _location(file: str, origin: Origin) -> Json:
    return {"uri": origin.uri(file), "uriBaseId": _ROOT}


def _region(entry: Entry) -> Json:
    begin: Json = {"startLine": entry.place.line, "startColumn": entry.place.column}
    if entry.end is None or entry.end <= entry.place:
        return begin
    return begin | {"endLine": entry.end.line, "endColumn": entry.end.column}


def _fingerprint(entry: Entry) -> str:
    """Of rule, file and field: neither lines that move nor another wrong value make another finding of it."""
    what = entry.message if entry.rule == UNREADABLE else ""
    told = "\0".join((entry.rule, entry.file, entry.pointer, what))
    return hashlib.sha256(encodable(told).encode()).hexdigest()[:32]


def _suppressions(entry: Entry) -> list[Json]:
    if entry.level is not Level.WAIVED:
        return []
    return [{"kind": "external", "status": "accepted", "justification": entry.after}]
