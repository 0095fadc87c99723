"""Small adapters, written byte by byte, and a repository to release them from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).parents[2]
HIDDEN, RANK = 8, 2
MODULES = ("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj")

Tensor = tuple[str, tuple[int, ...], bytes]


def tensor(values: Any, dtype: str = "F32") -> Tensor:
    """A tensor as (dtype, shape, bytes); BF16 is cut from float32."""
    array = np.asarray(values, np.float32)
    match dtype:
        case "F32":
            content = array.astype("<f4").tobytes()
        case "F16":
            content = array.astype("<f2").tobytes()
        case "F64":
            content = np.asarray(values, "<f8").tobytes()
        case "BF16":
            content = (array.view("<u4") >> np.uint32(16)).astype("<u2").tobytes()
        case _:
            content = np.asarray(values).astype("<u1").tobytes()
    return dtype, array.shape, content


def safetensors_bytes(tensors: Mapping[str, Tensor], *, header: Mapping[str, Any] | None = None) -> bytes:
    """A safetensors file; entries of `header` replace those that were computed."""
    entries: dict[str, Any] = {}
    at = 0
    for key, (dtype, shape, content) in tensors.items():
        entries[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(content)]}
        at += len(content)
    text = json.dumps({**entries, **(header or {})}).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(content for _, _, content in tensors.values())


def key(module: str, side: str) -> str:
    """The key that PEFT gives a LoRA matrix."""
    return f"base_model.model.{module}.lora_{side}.weight"


def good_tensors(*, rank: int = RANK, dtype: str = "F32") -> dict[str, Tensor]:
    """A and B of two modules, small and nowhere zero."""
    random = np.random.default_rng(7)
    tensors: dict[str, Tensor] = {}
    for module in MODULES:
        tensors[key(module, "A")] = tensor(random.uniform(0.1, 1, (rank, HIDDEN)), dtype)
        tensors[key(module, "B")] = tensor(random.uniform(0.1, 1, (HIDDEN, rank)), dtype)
    return tensors


def good_config(**changes: Any) -> dict[str, Any]:
    """adapter_config.json as PEFT writes it, as far as it matters."""
    return {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 4,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "base_model_name_or_path": "test/base",
        "revision": None,
        **changes,
    }


def write_adapter(
    folder: Path, tensors: Mapping[str, Tensor] | None = None, config: Mapping[str, Any] | None = None
) -> Path:
    """An adapter folder; the default is a good one."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("adapter_model.safetensors").write_bytes(safetensors_bytes(tensors or good_tensors()))
    folder.joinpath("adapter_config.json").write_text(json.dumps(good_config() if config is None else config))
    return folder


def write_base(folder: Path, *, hidden: int = HIDDEN) -> Path:
    """A base model of one layer, as far as shapes go."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {f"{module}.weight": tensor(np.ones((hidden, hidden))) for module in MODULES}
    weights["model.norm.weight"] = tensor(np.ones(hidden))
    folder.joinpath("model.safetensors").write_bytes(safetensors_bytes(weights))
    folder.joinpath("tokenizer.json").write_text("{}")
    return folder


MANIFEST = """\
# yaml-language-server: $schema=../../schemas/manifest.schema.json
schema: adapter-rollout/manifest/v1
name: support-bot   # what clients put into `model`
use_case: support
task: triage
version: "{version}"
base:
  name: tiny
  repo: test/base
  revision: "{revision}"
  quantization: none
  dtype: bfloat16
  tokenizer_sha256: "{tokenizer}"
  chat_template_sha256: "{digest}"
artifact:
  uri: {uri}
  files:
{files}
  rank: 2
  alpha: 4
  target_modules: [q_proj, v_proj]
lineage:
  parent: {parent}
  dataset: {{name: tickets, sha256: "{digest}"}}
  training_commit: "4444444444444444444444444444444444444444"
  inference_code: "1.0"
data:
  examples: 1000
  duplicates: 0.01
  personal_data: 0
  license: LicenseRef-internal
  language: en
  language_share: 0.99
  instruction_tokens: {{min: 12, max: 900}}
  output_tokens: {{min: 8, max: 400}}
  evaluation_overlap: 0
evaluation:
  suite: golden
rollout:
  plan: default
risk:
  tier: low
  data_fresh_until: 2099-01-01
  license: Apache-2.0
owner:
  team: support
  escalation: "#oncall"
  review_every_days: 90
change:
  purpose: Trained longer.
"""

ENVIRONMENT = """\
schema: adapter-rollout/environment/v1
name: demo
stage: development
replicas: [{name: one, url: "http://127.0.0.1:8001"}]
gateways: [{name: one, url: "http://127.0.0.1:8002"}]
adapter_folder: state/adapters
server:
  base: tiny
  base_path: models/base
  max_lora_rank: 16
  max_loras: 4
  dtype: bfloat16
  quantization: none
flags: {kind: file, path: state/flags.json}
metrics: {kind: traffic-log, path: state/traffic.sqlite}
ledger: {kind: folder, path: state/ledger}
routes: state/routes.json
evidence: state/evidence
"""

PLAN = """\
schema: adapter-rollout/plan/v1
name: default
steps:
  - {share: "50%", bake: 1s, min_samples: 1}
  - {share: "100%", bake: 1s, min_samples: 1}
deadline: 1h
metrics: [error_rate]
"""

METRIC = """\
schema: adapter-rollout/metric/v1
id: error_rate
title: Requests that ended in an error
kind: rate
event: error
direction: lower_is_better
max_abs: 0.01
max_rate: 0.02
min_samples: 1
on_missing: inconclusive
stages: [shadow, canary, bake]
"""


def manifest_text(root: Path, uri: str, *, version: str = "1.0.0", parent: str | None = None) -> str:
    """A manifest that is in order for the adapter and the base that lie in `root`."""
    from rollout.integrations.safetensors import base_revision

    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((root / uri).iterdir())
    }
    return MANIFEST.format(
        version=version,
        uri=uri,
        parent="null" if parent is None else f'"{parent}"',
        files="\n".join(f'    {name}: "{digest}"' for name, digest in files.items()),
        revision=base_revision(root / "models/base") or "1" * 40,
        tokenizer=_sha256(root / "models/base/tokenizer.json"),
        digest="a" * 64,
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a" * 64


def write_repository(root: Path) -> Path:
    """A repository with this product's own rules, one base, one adapter and its manifest, all in order."""
    shutil.copytree(REPOSITORY / "policies" / "rules", root / "policies" / "rules")
    for place, text in {
        "policies/waivers.yaml": "schema: adapter-rollout/waivers/v1\nwaivers: []\n",
        "policies/environments/demo.yaml": ENVIRONMENT,
        "policies/plans/default.yaml": PLAN,
        "policies/metrics/error_rate.yaml": METRIC,
        "policies/suites/golden.yaml": "schema: adapter-rollout/suite/v1\n",
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    write_base(root / "models/base")
    write_adapter(root / "adapters/1.0.0")
    manifest = root / "manifests/support/support-bot.yaml"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(manifest_text(root, "adapters/1.0.0"))
    return root
