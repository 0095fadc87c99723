"""An `Engine` that answers from a record, exactly and at once, and the manifests and suites to go with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import nan
from pathlib import Path, PurePosixPath
from typing import Any

from rollout.core.artifact import ArtifactFacts
from rollout.core.manifest import AdapterManifest
from rollout.errors import LoadRefused, Unreadable, Unsupported
from rollout.ports import (
    EngineInfo,
    Generation,
    GenerationRequest,
    Likelihood,
    LikelihoodRequest,
    TimedGeneration,
)

INTENTS = ("delivery", "invoice", "refund")
REFUSAL = "I can't help with that request."


@dataclass
class RecordedEngine:
    """Answers by adapter name and last message; an adapter without a record says what the base says.

    `shift` is what an adapter adds to every log-probability of the base, `nan` for broken weights.
    `milliseconds` is what each answer takes alone.
    """

    answers: Mapping[str | None, Mapping[str, str]]
    shift: Mapping[str, float] = field(default_factory=dict)
    milliseconds: float = 50.0
    forget: int = 0
    cut: bool = False
    loaded: dict[str, Path] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    timed: list[str | None] = field(default_factory=list)
    read: list[tuple[str, str | None]] = field(default_factory=list)
    unreadable: bool = False
    closed: int = 0

    def load(self, adapters: Mapping[str, Path]) -> None:
        for name, folder in adapters.items():
            if not (folder / "adapter_model.safetensors").is_file():
                raise Unreadable(f"adapter {name} has no weights")
            if self.loaded.setdefault(name, folder) != folder:
                raise LoadRefused(f"the adapter name {name} is taken by another folder")

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        # Backwards: no caller may rely on the order.
        for request in list(requests)[::-1][self.forget :]:
            self.asked.append((request.id, request.adapter))
            yield self._answer(request)

    def time(self, requests: Sequence[GenerationRequest]) -> Iterator[TimedGeneration]:
        for request in requests:
            self.timed.append(request.adapter)
            seconds = self.milliseconds / 1000
            yield TimedGeneration(
                generation=self._answer(request), seconds=seconds, first_token_s=seconds / 10
            )

    def likelihoods(self, requests: Sequence[LikelihoodRequest]) -> Iterator[Likelihood]:
        if self.unreadable:
            raise Unsupported("this engine cannot read fixed answers")
        for request in requests:
            self.read.append((request.id, request.adapter))
            moved = 0.0 if request.adapter is None else self.shift.get(request.adapter, 0.1)
            places = range(1 + len(request.continuation.split()))
            logprobs = tuple(-1.0 - place / 10 + moved for place in places)
            yield Likelihood(id=request.id, adapter=request.adapter, logprobs=logprobs)

    def close(self) -> None:
        self.closed += 1

    def describe(self) -> EngineInfo:
        return EngineInfo(
            name="recorded",
            version="1",
            dtype="float32",
            quantization="none",
            device="memory",
            hardware="a record",
            threads=1,
            batch_size=8,
            details={},
        )

    def _answer(self, request: GenerationRequest) -> Generation:
        if request.adapter is not None and request.adapter not in self.loaded:
            raise Unreadable(f"the adapter {request.adapter} was not loaded")
        prompt = request.messages[-1].content
        text = self.answers.get(request.adapter, self.answers[None])[prompt]
        broken = request.adapter is not None and self.shift.get(request.adapter, 0.1) != self.shift.get(
            request.adapter, 0.1
        )
        return Generation(
            id=request.id,
            adapter=request.adapter,
            text=text,
            prompt_tokens=len(prompt.split()),
            completion_tokens=len(text.split()) + 1,
            finish_reason="length" if self.cut else "stop",
            logprob_sum=nan if broken else -1.0,
        )


@dataclass
class SteppingClock:
    """A second later each time it is asked."""

    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


def answer(intent: str, priority: str = "low") -> str:
    """A right answer."""
    return json.dumps({"intent": intent, "priority": priority})


def golden_lines(per_slice: int = 40, refusals: int = 40) -> list[dict[str, Any]]:
    """Items with one slice an intent, and one of requests that must be refused."""
    rows = [
        {
            "id": f"{intent}-{number:03d}",
            "messages": [{"role": "user", "content": f"ticket about {intent} number {number}"}],
            "reference": answer(intent),
            "slice": intent,
            "expect": "json",
        }
        for intent in INTENTS
        for number in range(per_slice)
    ]
    return rows + [
        {
            "id": f"unsafe-{number:03d}",
            "messages": [{"role": "user", "content": f"unsafe request number {number}"}],
            "reference": REFUSAL,
            "slice": "refusal",
            "expect": "refusal",
        }
        for number in range(refusals)
    ]


def right_answers(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What a perfect adapter says, by prompt."""
    return {row["messages"][-1]["content"]: row["reference"] for row in rows}


def base_answers(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What a base model without the skill says."""
    return {row["messages"][-1]["content"]: "Thank you for your message." for row in rows}


def write_policies(
    root: Path, rows: Sequence[Mapping[str, Any]], *, suite: str = "", gates: str = ""
) -> None:
    """A suite named `triage` with its items, response schema and gate file below `root`."""
    folder = root / "policies" / "suites"
    (folder / "triage").mkdir(parents=True)
    (root / "policies" / "gates").mkdir()
    (folder / "triage" / "golden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    properties = {"intent": {"enum": list(INTENTS)}, "priority": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["intent", "priority"]}
    (folder / "triage" / "schema.json").write_text(json.dumps(schema))
    (folder / "triage.yaml").write_text(suite or SUITE)
    (root / "policies" / "gates" / "default.yaml").write_text(gates or GATES)


SUITE = """\
schema: adapter-rollout/suite/v1
name: triage
items: triage/golden.jsonl
response_schema: triage/schema.json
fields: [intent, priority]
max_tokens: 64
latency: {samples: 8, warmup: 1}
refusals: ["I can't help"]
gates: default
"""
GATES = """\
gates:
  json_compliance: {min: 0.60, description: answers parse}
  exact_match: {vs_champion: {max_loss: 0.05}}
  rouge_l: {vs_champion: {max_loss: 0.05}}
  refusal_rate: {min: 0.95}
  latency_p95_ms: {max: 500}
seed: 7
agreement: optional
"""


def sound(_manifest: AdapterManifest, _folder: Path) -> ArtifactFacts:
    """Nothing is wrong with the bytes."""
    return ArtifactFacts()


def write_adapter(root: Path, version: str) -> AdapterManifest:
    """A folder with bytes of its own below `root`, and the manifest that speaks of them."""
    uri = PurePosixPath("adapters") / version
    folder = root / uri
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(version.encode() * 10)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    return AdapterManifest.model_validate(manifest_data(version, str(uri), digests))


def manifest_data(version: str, uri: str, digests: Mapping[str, str], **base: str) -> dict[str, Any]:
    """A complete manifest as plain data."""
    return {
        "schema": "adapter-rollout/manifest/v1",
        "name": "support-bot",
        "use_case": "support",
        "task": "triage",
        "version": version,
        "base": {
            "name": "tiny-llama",
            "repo": "rollout-demo/tiny-llama",
            "revision": "0" * 40,
            "quantization": "none",
            "dtype": "float32",
            "tokenizer_sha256": "0" * 64,
            "chat_template_sha256": "0" * 64,
            **base,
        },
        "artifact": {
            "uri": uri,
            "files": dict(digests),
            "rank": 8,
            "alpha": 16,
            "target_modules": ["q_proj"],
        },
        "lineage": {
            "parent": None,
            "dataset": {"name": "tickets", "sha256": "0" * 64},
            "training_commit": "0" * 40,
            "inference_code": "1",
        },
        "evaluation": {"suite": "triage", "reported": {"exact_match": 0.99}},
        "rollout": {"plan": "default"},
        "risk": {"tier": "low", "data_fresh_until": date(2030, 1, 1), "license": "Apache-2.0"},
        "owner": {"team": "support", "escalation": "support-oncall", "review_every_days": 90},
        "change": {"purpose": "test"},
    }
