"""The Rego engine as a program of its own: plans and answers over standard input and output.

It is started by path in an isolated interpreter without an environment, so that a module that loops, crashes or
looks around takes nothing with it. It knows nothing of rollout: whether a plan may run is decided by who reads it.

One JSON object a line; the first, {}, says that it is ready. Then {"module", "text"} -> {"plan", "rules"} or
{"error", "line"}, and {"module", "input"} -> {rule: {"members": [text or null]} or {"error"}}.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import regopy
from regopy import rego_shared as api

MAX_MEMORY_BYTES = 384 << 20
TOO_LARGE = 77
"""Exit status of an engine that took more memory than that."""

MAX_MEMBERS = 200

_RULE = re.compile(r"(deny|violation|warn)(_[A-Za-z0-9_]+)?\Z")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ERROR = re.compile(r"\(error \d+:.*\|(\d+)\|\d+\s+\(errormsg \d+:([^)]*)\)")

Kind = regopy.NodeKind


class Module:
    """One module, compiled: its plan, and the bundle that answers for its rules."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        functions = self._plan(self._build([]))["funcs"]["funcs"]
        rules = [_path(function) for function in functions if len(function["params"]) == 2]
        self.rules = {path[-1]: "/".join(path) for path in rules if _RULE.match(path[-1])}
        self._bundle = self._build(sorted(self.rules.values()))
        self.plan = self._plan(self._bundle)

    def answer(self, document: str) -> dict[str, Any]:
        """What each rule gives for an input document, which is JSON text."""
        return {rule: self._members(entry, document) for rule, entry in self.rules.items()}

    def _members(self, entry: str, document: str) -> dict[str, Any]:
        engine = self._engine()
        engine.set_input_term(document)
        output = api.rego_bundle_query_entrypoint(engine._impl, self._bundle._impl, entry)
        try:
            return _read(api.rego_output_node(output))
        finally:
            api.rego_free_output(output)

    def _build(self, entries: list[str]) -> Any:
        self._kept = self._engine()
        self._kept.add_module(self._name, self._text)
        return self._kept.build("data", entries)

    def _plan(self, bundle: Any) -> dict[str, Any]:
        if not bundle.ok():
            raise ValueError("it cannot be compiled")
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "bundle")
            self._kept.save_bundle(str(place), bundle, regopy.BundleFormat.JSON)
            plan: dict[str, Any] = json.loads((place / "plan.json").read_text(encoding="utf-8"))
        return plan

    def _engine(self) -> Any:
        engine = regopy.Interpreter()
        # Without it, a builtin that fails is undefined, and the rule denies nothing.
        engine.strict_built_in_errors = True
        return engine


def _path(function: dict[str, Any]) -> list[str]:
    """The package and the name of a rule; the first part is the engine's own."""
    path: list[str] = function["path"][1:]
    return path if all(_WORD.match(part) for part in path) else [""]


def _children(node: Any) -> list[Any]:
    return [api.rego_node_get(node, index) for index in range(api.rego_node_size(node))]


def _read(node: Any) -> dict[str, Any]:
    """The members of the set that the output holds, or why there is none."""
    if message := next(_errors(node), None):
        return {"error": message}
    found = _value(node)
    match found and api.rego_node_type(found):
        case Kind.Set:
            members = _children(found)
        case Kind.Object if all(_is_true(item) for item in _children(found)):
            # Rego v0's `deny[msg] { ... }`: to this engine an object that maps each message to true.
            members = [_children(item)[0] for item in _children(found)]
        case _:
            return {"error": "its value is not a set of messages: write `contains msg if { ... }`"}
    if len(members) > MAX_MEMBERS:
        return {"error": f"it gives {len(members)} messages; at most {MAX_MEMBERS} are read"}
    return {"members": [_text(member) for member in members]}


def _errors(node: Any) -> Iterator[str]:
    if api.rego_node_type(node) == Kind.ErrorMessage:
        yield str(api.rego_node_value(node))
    elif api.rego_node_type(node) in (Kind.ErrorSeq, Kind.Error):
        for child in _children(node):
            yield from _errors(child)
        yield "the engine failed without saying why"


def _value(node: Any) -> Any:
    """The value in a tree of results with one term each; None where something is undefined."""
    while api.rego_node_type(node) in (Kind.Results, Kind.Result, Kind.Terms, Kind.Term):
        below = _children(node)
        if not below:
            return None
        node = below[0]
    return node


def _is_true(item: Any) -> bool:
    value = _children(item)[1]
    return bool(api.rego_node_type(value) == Kind.Boolean and api.rego_node_value(value) == "true")


def _text(node: Any) -> str | None:
    """A message: a text, or the text at `msg` of an object; None for anything else."""
    if api.rego_node_type(node) == Kind.Object:
        items = {
            _plain(key): value
            for key, value in map(_children, _children(node))
            if api.rego_node_type(key) == Kind.String
        }
        node = items.get("msg")
    return _plain(node) if node is not None and api.rego_node_type(node) == Kind.String else None


def _plain(node: Any) -> str:
    """The engine keeps texts as JSON writes them, constants with their quotes and all others without."""
    written = api.rego_node_value(node)
    if len(written) > 1 and written[0] == written[-1] == '"':
        written = written[1:-1]
    try:
        return str(json.loads(f'"{written}"', strict=False))
    except ValueError:
        return str(written)


def _complaint(error: str, text: str) -> dict[str, Any]:
    """The first error that the engine names, with its line."""
    if found := _ERROR.search(error):
        return {"error": found[2], "line": text.encode().count(b"\n", 0, int(found[1])) + 1}
    return {"error": error.splitlines()[0][:200] if error else "it cannot be compiled", "line": 1}


def _watch_memory() -> None:
    """The engine reserves 256 GiB of addresses, so no limit of the system fits; what it uses is watched.

    The largest use that the system reports would not do: it begins with that of whoever started this process.
    """
    page = resource.getpagesize()
    with Path("/proc/self/statm").open("rb", buffering=0) as statm:
        while int(os.pread(statm.fileno(), 256, 0).split()[1]) * page < MAX_MEMORY_BYTES:
            time.sleep(0.02)
    os._exit(TOO_LARGE)


def main() -> None:
    """Serve until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_watch_memory, daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # The engine prints what it thinks of a module, and modules may print as well.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    modules: dict[str, Module] = {}
    print("{}", file=answers, flush=True)
    for line in sys.stdin.buffer:
        answer = _answer(modules, json.loads(line))
        print(json.dumps(answer), file=answers, flush=True)


def _answer(modules: dict[str, Module], asked: dict[str, Any]) -> dict[str, Any]:
    name = asked["module"]
    if "input" in asked:
        return modules[name].answer(json.dumps(asked["input"], ensure_ascii=False))
    try:
        modules[name] = Module(name, asked["text"])
    except (ValueError, KeyError, api.RegoError) as error:
        return _complaint(str(error), asked["text"])
    return {"plan": modules[name].plan, "rules": sorted(modules[name].rules)}


if __name__ == "__main__":
    main()
