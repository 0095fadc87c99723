from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hypothesis import given, settings

from rollout.core.document import Place
from rollout.core.finding import Severity
from rollout.report.findings import Origin, origin_of
from rollout.report.findings.github import as_commands
from tests.support.validations import FILE, finding, problem, validation, validations

HERE = Origin()


@dataclass
class Command:
    """A workflow command, as the runner reads it."""

    name: str
    properties: dict[str, str]
    data: str


def commands(output: str) -> list[Command]:
    """What the runner takes from a log: a line that begins with `::`, or else `##[` anywhere in a line."""
    found = []
    for line in re.split(r"\r\n|\r|\n", output):
        trimmed = line.strip()
        if trimmed.startswith("::"):
            head, _, data = trimmed[2:].partition("::")
            name, _, rest = head.partition(" ")
            pairs = [pair.partition("=") for pair in rest.split(",") if pair]
            found.append(Command(name, {key: unescape(value) for key, _, value in pairs}, unescape(data)))
        elif "##[" in line:
            found.append(Command("old", {}, line))
    return found


def unescape(text: str) -> str:
    for escape, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, character)
    return text


def test_a_finding_is_an_annotation_at_its_line() -> None:
    found = finding(message="100 % of a:b, c", waived_by=None)
    assert as_commands(validation(found), HERE).splitlines() == [
        f"::error file={FILE},line=3,col=12,endLine=3,endColumn=16,"
        "title=license-known%3A The rule license-known::100 %25 of a:b, c%0AHave it cleared.",
        "1 manifest, 2 rules: 1 blocking finding",
    ]


def test_what_the_runner_reads_is_what_was_found() -> None:
    found = finding(file="a,b:c%.yaml", message="x\ny ::z", severity=Severity.WARN, end=Place(5, 1))
    (command,) = commands(as_commands(validation(found), HERE))
    assert command == Command(
        "warning",
        {"file": "a,b:c%.yaml", "line": "3", "col": "12", "title": "license-known: The rule license-known"},
        "x y ::z\nHave it cleared.",
    )


def test_what_was_waived_is_a_notice_and_a_problem_is_an_error() -> None:
    found = commands(as_commands(validation(finding(waived_by="ann"), problems=(problem(),)), HERE))
    assert [(command.name, command.data) for command in found] == [
        ("error", "/base/repo: the field 'repo' is missing"),
        ("notice", "the license is unknown\nwaived by ann"),
    ]


def test_ten_of_a_kind_are_all_shown_and_of_eleven_the_first_nine() -> None:
    ten = [finding(place=Place(line, 1)) for line in range(1, 11)]
    assert len(commands(as_commands(validation(*ten), HERE))) == 10
    warnings = [finding(severity=Severity.WARN)] * 10
    found = commands(as_commands(validation(*ten, finding(place=Place(11, 1)), *warnings), HERE))
    errors = [command for command in found if command.name == "error"]
    assert [command.properties.get("line") for command in errors] == [*map(str, range(1, 10)), None]
    assert errors[-1].data.startswith("and 2 errors more")
    assert len(found) == 20


def test_a_file_is_named_from_the_root_of_the_workspace(tmp_path: Path) -> None:
    root = tmp_path / "ml" / "adapters"
    root.mkdir(parents=True)
    origin = origin_of(root.resolve(), {"GITHUB_WORKSPACE": str(tmp_path)})
    assert origin == Origin(prefix=PurePosixPath("ml/adapters"))
    (command,) = commands(as_commands(validation(finding()), origin))
    assert command.properties["file"] == f"ml/adapters/{FILE}"
    assert origin_of(root, {"GITHUB_WORKSPACE": str(tmp_path / "other")}).prefix == PurePosixPath()


@settings(deadline=None, max_examples=200)
@given(validations)
def test_no_text_of_a_document_is_a_command_of_its_own(found: object) -> None:
    output = as_commands(found, HERE)  # type: ignore[arg-type]
    levels = {"error": 0, "warning": 0, "notice": 0}
    for command in commands(output):
        levels[command.name] += 1
        assert set(command.properties) <= {"file", "line", "col", "endLine", "endColumn", "title"}
    shown = [each for each in found.findings if each.waived_by is not None]  # type: ignore[attr-defined]
    assert levels["notice"] == len(shown)
    assert sum(levels.values()) == len(found.findings) + len(found.problems)  # type: ignore[attr-defined]
    output.encode()
