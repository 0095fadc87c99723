"""The composition root: the one package that knows every integration and hands them to the use cases."""

from __future__ import annotations

from rollout.wiring.alerting import alert_receiver, alerted
from rollout.wiring.artifacts import (
    artifact_folder,
    inspect_artifact,
    inspect_path,
    locate_artifact,
    passing_shelf,
)
from rollout.wiring.checks import (
    ask_rego,
    build_checks,
    build_gatekeeper,
    build_tools,
    read_pull_request,
    replace_file,
)
from rollout.wiring.drafting import manifest_writing, new_files, read_adapter, scaffold_files, write_draft
from rollout.wiring.engines import EngineKind, build_engine, reference_engine
from rollout.wiring.evaluations import EngineChoice, adapter_inspector, build_means
from rollout.wiring.panel import build_panel, build_tasks
from rollout.wiring.places import (
    commit_at,
    find_root,
    load_environment,
    path_below,
    repository_above,
    tree_at,
    working_folder,
)
from rollout.wiring.serving import engine_middleware, gateway_app
from rollout.wiring.shadows import (
    replay,
    replay_targets,
    shadow_means,
    shadow_traffic,
    skipped_questions,
)
from rollout.wiring.signatures import private_key, sign_adapter, sigstore_identity, verify_artifact
from rollout.wiring.trainingdata import training_texts
from rollout.wiring.worlds import build_signature, build_world, champion_of

__all__ = [
    "EngineChoice",
    "EngineKind",
    "adapter_inspector",
    "alert_receiver",
    "alerted",
    "artifact_folder",
    "ask_rego",
    "build_checks",
    "build_engine",
    "build_gatekeeper",
    "build_means",
    "build_panel",
    "build_signature",
    "build_tasks",
    "build_tools",
    "build_world",
    "champion_of",
    "commit_at",
    "engine_middleware",
    "find_root",
    "gateway_app",
    "inspect_artifact",
    "inspect_path",
    "load_environment",
    "locate_artifact",
    "manifest_writing",
    "new_files",
    "passing_shelf",
    "path_below",
    "private_key",
    "read_adapter",
    "read_pull_request",
    "reference_engine",
    "replace_file",
    "replay",
    "replay_targets",
    "repository_above",
    "scaffold_files",
    "shadow_means",
    "shadow_traffic",
    "sign_adapter",
    "sigstore_identity",
    "skipped_questions",
    "training_texts",
    "tree_at",
    "verify_artifact",
    "working_folder",
    "write_draft",
]
