"""Optional policies in Rego, in conftest's conventions, evaluated by rego-cpp through `regopy`.

Rego itself fails open: a field that does not exist, a builtin that fails and a variable without a value all deny
nothing. Here they block: builtins fail loudly, every field that a module may read must be in its inputs (see
`follow`), and a module that is not understood, crashes or does not end blocks as well.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, Literal

from rollout.errors import Unreadable
from rollout.integrations.rego.follow import complaints
from rollout.integrations.rego.plan import Plan
from rollout.integrations.rego.process import Engine, NoAnswer

__all__ = ["RegoMessage", "evaluate"]

MAX_MODULE_BYTES = 256 << 10
MAX_MESSAGE = 500

_one_at_a_time = threading.Lock()
_given_up: dict[tuple[str, bytes], str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoMessage:
    """What a rule says: `rule` is rego/<file>/<rule>.

    `decided` is False where the rule could not be evaluated: nobody knows what a waiver would excuse.
    """

    rule: str
    severity: Literal["block", "warn"]
    message: str
    decided: bool = True


def evaluate(modules: Mapping[str, bytes], inputs: Mapping[str, object]) -> tuple[RegoMessage, ...]:
    """What the rules of all modules say about the inputs, by module and rule; no message is a pass.

    `modules` maps file names to their bytes, each a module by itself; `inputs` are plain data, under `input`.
    Raises Unreadable if `regopy` is not installed.
    """
    if not modules:
        return ()
    if find_spec("regopy") is None:
        raise Unreadable(
            "there are policies in Rego, and regopy, which evaluates them, is not installed",
            advice="pip install 'adapter-rollout[rego]'",
        )
    try:
        plain: dict[str, object] = json.loads(json.dumps(inputs, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Unreadable(f"the inputs of the policies in Rego are not plain data: {error}") from None
    with _one_at_a_time:
        return tuple(said for name in sorted(modules) for said in _evaluate(name, modules[name], plain))


def _evaluate(name: str, content: bytes, inputs: Mapping[str, object]) -> Iterator[RegoMessage]:
    try:
        if reason := _given_up.get((name, content)):
            raise ValueError(reason)
        plan, answers = _asked(name, _text(content), inputs)
    except NoAnswer as error:
        # The next manifest would wait as long for the same answer.
        _given_up[name, content] = f"it could not be evaluated: {error}"
        _engine.cache_clear()
        yield _undecided(name, _given_up[name, content])
    except ValueError as error:
        yield _undecided(name, str(error))
    else:
        yield from _said(name, plan, answers, inputs)


def _asked(name: str, text: str, inputs: Mapping[str, object]) -> tuple[Plan, Mapping[str, Any]]:
    engine = _engine()
    plan = _sound(name, engine.compile(name, text))
    return plan, engine.answer(name, inputs)


@lru_cache(maxsize=1)
def _engine() -> Engine:
    return Engine()


def _text(content: bytes) -> str:
    if len(content) > MAX_MODULE_BYTES:
        raise ValueError(f"it has {len(content)} bytes; at most {MAX_MODULE_BYTES} are read")
    text = content.decode()
    if "\0" in text:
        raise ValueError("it holds a NUL")
    return text


def _sound(name: str, told: Mapping[str, Any]) -> Plan:
    """The plan of a module that may be asked. Raises ValueError with the reason why it may not."""
    if "error" in told:
        raise ValueError(f"it does not compile: {told['error']} ({name}:{told['line']})")
    if not told["rules"]:
        raise ValueError(
            "it has no rule `deny`, `violation` or `warn`, so it could never say anything: helpers belong into the "
            "module that uses them, and tests elsewhere"
        )
    plan = Plan(told["plan"])
    if reason := plan.refused():
        raise ValueError(reason)
    return plan


def _said(
    name: str, plan: Plan, answers: Mapping[str, Any], inputs: Mapping[str, object]
) -> Iterator[RegoMessage]:
    for rule, answer in sorted(answers.items()):
        if "error" in answer:
            yield _undecided(name, f"it could not be evaluated: {answer['error']}", rule)
            continue
        for complaint in complaints(plan, rule, inputs):
            yield _undecided(
                name, f"could not be evaluated: {complaint.message} ({name}:{complaint.line})", rule
            )
        for member in answer["members"]:
            yield _message(name, rule, member)


def _message(name: str, rule: str, member: str | None) -> RegoMessage:
    said = " ".join((member or "").split())
    if not said:
        return _undecided(name, "it denies without a text, or an object with one at `msg`", rule)
    severity: Literal["block", "warn"] = "warn" if rule.startswith("warn") else "block"
    return RegoMessage(rule=_id(name, rule), severity=severity, message=_shortened(said))


def _undecided(name: str, message: str, rule: str = "module") -> RegoMessage:
    return RegoMessage(rule=_id(name, rule), severity="block", message=_shortened(message), decided=False)


def _id(name: str, rule: str) -> str:
    return f"rego/{PurePosixPath(name).stem}/{rule}"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
