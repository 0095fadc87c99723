from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from rollout.cli import VERBS, run
from rollout.cli.schema import command
from rollout.core.schemas import DOCUMENTS, build_schema, dump_schema
from rollout.integrations.documents.yaml import parse
from tests.support.adapters import REPOSITORY

SCHEMAS = REPOSITORY / "schemas"


def test_the_help_is_the_line_in_the_list_of_verbs() -> None:
    assert (command.help or "").split("\n")[0] == VERBS["schema"]


def test_without_a_document_the_documents_are_listed() -> None:
    assert CliRunner().invoke(command, [], standalone_mode=False).output.split() == list(DOCUMENTS)


def test_an_unknown_document_is_a_wrong_use_that_names_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["schema", "nope"]) == 2
    assert "There are: manifest, environment" in capsys.readouterr().err


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_committed_schema_is_current(document: str) -> None:
    committed = (SCHEMAS / f"{document}.schema.json").read_text()
    assert committed == dump_schema(document), (
        f"run: rollout schema {document} > schemas/{document}.schema.json"
    )
    assert CliRunner().invoke(command, [document], standalone_mode=False).output == committed


def test_no_schema_is_left_of_a_document_that_is_gone() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == {f"{document}.schema.json" for document in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_schema_is_one_of_draft_2020_12_with_id_and_title(document: str) -> None:
    schema = build_schema(document)
    jsonschema.Draft202012Validator.check_schema(schema)
    version = "v2" if document == "evaluation-report" else "v1"
    assert schema["$id"] == f"urn:adapter-rollout:schema:{document}:{version}"
    assert schema["title"]
    assert schema["additionalProperties"] is False


def documents() -> Iterator[tuple[str, Any]]:
    for path in sorted((REPOSITORY / "policies/rules").glob("*/rule.yaml")):
        yield "rule", path
    yield "waivers", REPOSITORY / "policies/waivers.yaml"
    for kind, folder in (
        ("environment", "environments"),
        ("plan", "plans"),
        ("metric", "metrics"),
        ("suite", "suites"),
    ):
        for path in sorted((REPOSITORY / "policies" / folder).glob("*.yaml")):
            yield kind, path
    for path in sorted((REPOSITORY / "manifests").glob("*/*.yaml")):
        yield "manifest", path


@pytest.mark.parametrize(
    ("document", "path"), [pytest.param(d, p, id=p.parent.name + p.stem) for d, p in documents()]
)
def test_what_the_models_read_the_schema_allows(document: str, path: Any) -> None:
    data = parse(path.read_bytes(), str(path)).data
    jsonschema.Draft202012Validator(build_schema(document)).validate(json.loads(json.dumps(data)))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "manifests").glob("*/*.yaml")), ids=str)
def test_editors_find_the_schema_by_the_first_line(path: Any) -> None:
    first = path.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../../schemas/manifest.schema.json"
    assert (path.parent / "../../schemas/manifest.schema.json").exists()
