"""The golden tickets through our vLLM engine and through lm-eval with its vLLM: `python -m tests.benchmarks.lm_eval`.

Both answer the same prompts greedily for base, champion and candidate, each in processes of their own, start-up
included, with the same number of threads; the answers are compared with the references in both. Prints one JSON
object; `ratio` is our wall time over lm-eval's, so below 1 is faster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rollout.core.panel import LmEval, PinnedFolder, Task
from rollout.demo.model import BASE, adapter
from rollout.integrations.scorers.lmeval import LmEvalRunner
from rollout.integrations.scorers.pinned import digest_of_folder
from rollout.ports import GenerationRequest, Message, TaskSide

SIDES = {"base": None, "champion": adapter("1.0.0"), "candidate": adapter("1.1.0")}
TOKENS = 40
THREADS = 1
GOLDEN = Path(__file__).parents[2] / "policies" / "suites" / "support-triage" / "golden.jsonl"
ENGINE = "--engine"
TASK = """\
task: golden
dataset_path: json
dataset_kwargs: {data_files: {test: golden.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "<|begin|><|user|>{{text}}<|end|><|assistant|>"
doc_to_target: reference
target_delimiter: ""
generation_kwargs: {until: ["<|end|>"], do_sample: false, max_gen_toks: %d}
metric_list: [{metric: exact_match}]
"""


def main() -> None:
    """Run both, print the figures."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    rows = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    ours_s, ours = timed(through_our_engine)
    theirs_s, theirs = timed(through_lm_eval, rows)
    figures = {
        "answers": len(rows) * len(SIDES),
        "ours_s": round(ours_s, 1),
        "lm_eval_s": round(theirs_s, 1),
        "ratio": round(ours_s / theirs_s, 3),
        "right_answers_ours": ours,
        "right_answers_lm_eval": theirs,
    }
    print(json.dumps(figures, indent=2))


def timed(work: Any, *arguments: Any) -> tuple[float, dict[str, int]]:
    """Seconds, and right answers by side."""
    started = time.perf_counter()
    found: dict[str, int] = work(*arguments)
    return time.perf_counter() - started, found


def through_our_engine() -> dict[str, int]:
    """All sides in one engine and one pass, in a process of its own."""
    words = [sys.executable, "-m", "tests.benchmarks.lm_eval", ENGINE]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def engine() -> None:
    """What runs in that process."""
    from rollout.core.manifest import Dtype
    from rollout.integrations.transformers import open_codec
    from rollout.integrations.vllm.engine import VllmEngine

    rows = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    ours = VllmEngine(BASE, open_codec(BASE), dtype=Dtype.FLOAT32, batch_size=64, threads=THREADS)
    ours.load({side: folder for side, folder in SIDES.items() if folder is not None})
    requests = [
        GenerationRequest(
            id=row["id"],
            messages=tuple(Message(**each) for each in row["messages"]),
            adapter=None if folder is None else side,
            max_tokens=TOKENS,
        )
        for row in rows
        for side, folder in SIDES.items()
    ]
    references = {row["id"]: row["reference"] for row in rows}
    right = dict.fromkeys(SIDES, 0)
    for answer in ours.generate(requests):
        right[answer.adapter or "base"] += answer.text == references[answer.id]
    ours.close()
    print(json.dumps(right))


def through_lm_eval(rows: list[dict[str, Any]]) -> dict[str, int]:
    """One run of lm-eval a side, because one run takes one adapter."""
    with tempfile.TemporaryDirectory() as scratch:
        tasks = Path(scratch) / "tasks"
        tasks.mkdir()
        (tasks / "golden.yaml").write_text(TASK % TOKENS)
        documents = [{"text": row["messages"][0]["content"], "reference": row["reference"]} for row in rows]
        (tasks / "golden.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))
        setting = LmEval(
            tasks=(Task(name="golden", samples=tuple(range(len(rows))), metric="exact_match"),),
            include=PinnedFolder(path="tasks", sha256=digest_of_folder(tasks)),
            python=str(interpreter(Path(scratch))),
            backend="vllm",
            dtype="float32",
            batch_size=64,
            model_args={"max_model_len": 512, "enforce_eager": True},
        )
        sides = {side: TaskSide(adapter=folder) for side, folder in SIDES.items()}
        scores = LmEvalRunner(setting, tasks).run(BASE, sides, lambda *_: None)
    if scores.notes:
        raise SystemExit(f"lm-eval did not run: {dict(scores.notes)}")
    return {side: round(sum(each[side]["task_golden"] for each in scores.values.values())) for side in SIDES}


def interpreter(folder: Path) -> Path:
    """This interpreter, to which the distribution `vllm-cpu` is known as `vllm` too.

    lm-eval asks for that name, and vLLM then asks its version whether it was built for CPUs.
    """
    from importlib.metadata import packages_distributions, version

    (distribution, *_) = packages_distributions()["vllm"]
    facts = folder / "names" / "vllm-0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: {version(distribution)}+cpu\n"
    )
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{facts.parent}" exec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return script


if __name__ == "__main__":
    engine() if ENGINE in sys.argv else main()
