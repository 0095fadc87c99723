"""Suites of other tools, read as data: no template language runs, no file is followed, nothing is fetched.

Files may come from anybody. What is not supported is listed in the result, never dropped silently.
"""

from __future__ import annotations

from rollout.core.suiteimport import ImportedSuite, Match
from rollout.errors import Unreadable
from rollout.integrations.suiteformats.plain import read_json, read_yaml, rows
from rollout.integrations.suiteformats.promptfoo import read_promptfoo
from rollout.integrations.suiteformats.records import read_records

__all__ = ["MAX_BYTES", "read_suite"]

MAX_BYTES = 64 << 20


def read_suite(content: bytes, source: str, *, match: Match | None = None) -> ImportedSuite:
    """The suite in a file, whose name ends in .yaml, .yml, .json or .jsonl.

    `match` says how expected answers are compared; None takes what the format's own tool does. Raises Unreadable
    if the file is no suite that is known, too large or malformed.
    """
    if len(content) > MAX_BYTES:
        raise Unreadable(f"{source} is larger than {MAX_BYTES >> 20} MiB")
    ending = source.rsplit(".", 1)[-1].lower()
    if ending == "jsonl":
        return read_records(rows(content, source), match)
    if ending not in ("yaml", "yml", "json"):
        raise Unreadable(
            f"{source} is no suite that is known: its name ends in .{ending}",
            advice="Known are promptfoo's YAML and records in .jsonl or .json (OpenAI evals, Inspect, DeepEval, "
            "Braintrust, samples of lm-eval).",
        )
    data = read_json(content, source) if ending == "json" else read_yaml(content, source)
    if isinstance(data, list):
        return read_records([(f"record {number}", each) for number, each in enumerate(data, start=1)], match)
    if isinstance(data, dict) and "tests" in data:
        return read_promptfoo(data)
    raise Unreadable(f"{source} is no suite that is known: it has no tests and is no list of records")
