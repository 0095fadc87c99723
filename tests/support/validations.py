"""Validations as the checks would make them, small and hostile."""

from __future__ import annotations

from datetime import date
from typing import Any

from hypothesis import strategies as st

from rollout.core.document import Place, Problem
from rollout.core.finding import Finding, Severity
from rollout.core.policy import Rule
from rollout.core.validation import Validation

FILE = "manifests/support/bot.yaml"

HOSTILE = (
    "::add-mask::x",
    "\n::error file=a,line=1::y",
    "\r\n::stop-commands::t",
    "##[add-mask]z",
    "`a` <img src=x> @everyone [x](javascript:y) | b \\| c",
    "</details><details>",
    "\x1b[31mred\x07",
    "\u202egnitirw\u2066",
    "%0A::error::",
    "]]> & <a b='c'>\x00\x0b\ufffe",
    "half \udcff a pair",
    "漢字 e\u0301 👩\u200d🔬",
    "\u2028::warning::",
    "",
)
"""Texts that a document can bring into a report, and that somebody who reads it could take for something else."""


def rule(name: str = "license-known", **changes: Any) -> Rule:
    return Rule.model_validate(
        {
            "schema": "adapter-rollout/rule/v1",
            "id": name,
            "title": f"The rule {name}",
            "severity": "block",
            "since": "0.1.0",
            "why": "Because.",
            "test": "true",
            "message": "m",
            "remediation": "Do it.",
            "pointer": "",
            **changes,
        }
    )


def finding(**changes: Any) -> Finding:
    return Finding(
        **{
            "rule": "license-known",
            "severity": Severity.BLOCK,
            "message": "the license is unknown",
            "remediation": "Have it cleared.",
            "file": FILE,
            "pointer": "/risk/license",
            "place": Place(3, 12),
            "end": Place(3, 17),
            "source_line": "  license: wrong # why",
            **changes,
        }
    )


def problem(**changes: Any) -> Problem:
    return Problem(
        **{
            "source": FILE,
            "place": Place(2, 1),
            "end": Place(2, 5),
            "pointer": ("base", "repo"),
            "message": "the field 'repo' is missing",
            "source_line": "base:",
            **changes,
        }
    )


def validation(*found: Finding, **changes: Any) -> Validation:
    return Validation(
        **{"checked": (FILE,), "rulebook": (rule(), rule("other")), "findings": found, **changes}
    )


places = st.builds(Place, st.integers(1, 60), st.integers(1, 300))
hostile = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=30), st.lists(st.sampled_from(HOSTILE)).map("".join)
)
file_names = st.one_of(
    st.just(FILE), st.sampled_from(HOSTILE).map(lambda text: text.replace("\0", "") or "a")
)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    begin, end = sorted((draw(places), draw(places)))
    return finding(
        rule=draw(st.sampled_from(("license-known", "other", "rego-rule", "blank-left"))),
        severity=draw(st.sampled_from(Severity)),
        message=draw(hostile),
        remediation=draw(hostile),
        file=draw(file_names),
        pointer=draw(hostile),
        place=begin,
        end=draw(st.sampled_from((None, begin, end))),
        source_line=draw(hostile),
        waived_by=draw(st.none() | hostile),
        waiver_reason=draw(st.none() | hostile),
        waiver_expires=draw(st.none() | st.just(date(2027, 1, 31))),
    )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    begin, end = sorted((draw(places), draw(places)))
    return problem(
        source=draw(file_names),
        place=begin,
        end=draw(st.sampled_from((None, begin, end))),
        pointer=tuple(draw(st.lists(hostile | st.integers(0, 3), max_size=3))),
        message=draw(hostile),
        found=draw(st.none() | hostile),
        source_line=draw(hostile),
    )


validations = st.builds(
    lambda found, wrong, checked, gone: Validation(
        checked=tuple(checked),
        rulebook=(rule(), rule("other", severity="warn"), rule("compared"), rule("later", stage="release")),
        findings=tuple(found),
        problems=tuple(wrong),
        retired=tuple(gone),
        unchecked=("compared", "later"),
    ),
    st.lists(findings(), max_size=6),
    st.lists(problems(), max_size=4),
    st.lists(file_names, max_size=3, unique=True),
    st.lists(file_names, max_size=2, unique=True),
)
"""Any validation, with texts from documents that were written to mislead."""
