"""JSON Schema (draft 2020-12) of every document, generated from the models that read them."""

from __future__ import annotations

import importlib
import json

from rollout.core.manifest import Document

# Document -> (module, model). Imported when asked for: nobody who validates one manifest needs them all.
DOCUMENTS: dict[str, tuple[str, str]] = {
    "manifest": ("rollout.core.manifest", "AdapterManifest"),
    "environment": ("rollout.core.environment", "Environment"),
    "plan": ("rollout.core.plan", "Plan"),
    "metric": ("rollout.core.metric", "MetricSpec"),
    "suite": ("rollout.core.suite", "Suite"),
    "gates": ("rollout.core.gatefile", "Gates"),
    "evaluation-policy": ("rollout.core.evaluationpolicy", "EvaluationPolicy"),
    "evaluation-report": ("rollout.core.evaluation", "EvalReport"),
    "evaluation": ("rollout.core.evaluation", "Evaluation"),
    "evaluation-shard": ("rollout.core.evaluation", "Shard"),
    "shadow-report": ("rollout.core.shadow.document", "ShadowReport"),
    "routes": ("rollout.core.routes", "Routes"),
    "rule": ("rollout.core.policy", "Rule"),
    "freezes": ("rollout.core.freeze", "Freezes"),
    "pull-request": ("rollout.core.approval", "PullRequest"),
    "waivers": ("rollout.core.policy", "Waivers"),
    "findings": ("rollout.core.findingsreport", "FindingsReport"),
    "signers": ("rollout.core.signing", "Signers"),
    "sources": ("rollout.core.source", "Sources"),
}


def model_of(document: str) -> type[Document]:
    """The model of a document. Raises KeyError for a name that is not in DOCUMENTS."""
    module, name = DOCUMENTS[document]
    model: type[Document] = getattr(importlib.import_module(module), name)
    return model


def build_schema(document: str) -> dict[str, object]:
    """The schema of a document, with its id."""
    model = model_of(document)
    field = model.model_fields.get("schema_")
    version = (
        str(field.default).rpartition("/")[2]
        if field is not None and isinstance(field.default, str)
        else "v1"
    )
    generated = model.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:adapter-rollout:schema:{document}:{version}",
        **generated,
    }


def dump_schema(document: str) -> str:
    """The schema as it lies in `schemas/<document>.schema.json`."""
    return json.dumps(build_schema(document), indent=2, ensure_ascii=False) + "\n"
