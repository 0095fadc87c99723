"""A compiled Rego module as its engine planned it, in the intermediate representation of the Open Policy Agent.

The representation is described at https://www.openpolicyagent.org/docs/ir: functions of blocks of statements
over numbered locals, 0 the input and 1 the data. Names of fields are constants in it, whatever alias, variable or
helper they go through in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Statement = dict[str, Any]
"""{"type": name, "stmt": fields, and "file", "row" and "col" where known}."""

# What takes nothing but its arguments. Others reach outside (http.send, net.*), tell about this machine
# (opa.runtime) or differ from call to call (time.now_ns, rand.intn, uuid.*): `input.now` is the time.
# fmt: off
_FAMILIES = (
    "array.", "base64.", "base64url.", "bits.", "crypto.hmac.", "glob.", "graph.", "hex.",
    "internal.member_", "json.", "numbers.", "object.", "regex.", "semver.", "strings.", "time.", "units.",
    "urlquery.", "crypto.md5", "crypto.sha1", "crypto.sha256",
)
# fmt: on
# fmt: off
_OTHERS = frozenset({
    "abs", "all", "and", "any", "assign", "ceil", "concat", "contains", "count", "div", "endswith", "eq",
    "equal", "floor", "format_int", "gt", "gte", "indexof", "indexof_n", "internal.template_string",
    "intersection", "is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string",
    "lower", "lt", "lte", "max", "min", "minus", "mul", "neq", "or", "plus", "product", "rem", "replace",
    "round", "sort", "split", "sprintf", "startswith", "substring", "sum", "to_number", "trim", "trim_left",
    "trim_prefix", "trim_right", "trim_space", "trim_suffix", "type_name", "union", "upper", "walk",
})
# fmt: on
_REFUSED = frozenset({"time.now_ns"})


class Plan:
    """One module's plan: its functions, constants and builtins."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        static = document["static"]
        self._written = [entry["value"] for entry in static.get("strings") or ()]
        self.builtins = tuple(entry["name"] for entry in static.get("builtin_funcs") or ())
        self.functions = {function["name"]: function for function in document["funcs"]["funcs"]}

    def rules(self) -> dict[str, dict[str, Any]]:
        """The functions of the module by the last part of their names."""
        return {function["path"][-1]: function for function in self.functions.values()}

    def text(self, index: int) -> str:
        """A constant. The plan keeps texts as JSON writes them, some with their quotes."""
        return str(json.loads(f'"{_unquoted(self._written[index])}"', strict=False))

    def number(self, index: int) -> int | float:
        """A constant that is a number."""
        value: int | float = json.loads(self._written[index])
        return value

    def refused(self) -> str | None:
        """Why this module is not run, or None."""
        for name in self.builtins:
            if name in _REFUSED or not (name in _OTHERS or name.startswith(tuple(_FAMILIES))):
                return f"{name} is not available: a rule sees its input, and nothing else"
        for written in self._written:
            if not _is_plain(_unquoted(written)):
                return f"write the character itself instead of its escape in {written}"
        if "exception" in self.rules():
            return "conftest's exceptions are not heeded: put a waiver into policies/waivers.yaml"
        return None


def _unquoted(written: str) -> str:
    return written[1:-1] if len(written) > 1 and written[0] == written[-1] == '"' else written


def _is_plain(written: str) -> bool:
    """Whether a constant is written as the inputs are: the engine compares escapes, not characters."""
    try:
        return json.dumps(json.loads(f'"{written}"', strict=False), ensure_ascii=False) == f'"{written}"'
    except ValueError:
        return False


def targets(node: object) -> Iterator[int]:
    """Every local that something is put into, anywhere in a function's blocks."""
    if isinstance(node, Mapping):
        if node.get("type") == "ScanStmt":
            yield from (node["stmt"]["key"], node["stmt"]["value"])
        elif str(node.get("type")).endswith("Stmt"):
            yield from (node["stmt"][name] for name in ("target", "result") if name in node["stmt"])
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for item in node:
            yield from targets(item)


def is_name(text: str) -> bool:
    """Whether a field can be written behind a dot."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) is not None
