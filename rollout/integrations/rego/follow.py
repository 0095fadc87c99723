"""Follows what a compiled module reads of its inputs, and complains about everything that is not there.

Rego takes a field that does not exist for a condition that does not hold: a typing error in a name denies
nothing, for ever. So each module is walked with the very inputs that it is asked about. What the inputs decide
(`input.previous != null`) is decided, and what stands beside a condition that fails is never reached; whatever
else may be read must exist. What cannot be followed is a complaint too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from rollout.integrations.rego.plan import Plan, Statement, targets
from rollout.integrations.rego.values import (
    DECIDED,
    LOST,
    UNDEFINED,
    WHOLE,
    Cell,
    Computed,
    Known,
    Lost,
    Made,
    Undefined,
    Value,
    defined,
    escaped,
    join,
    same,
    shown,
    single,
)

MAX_STATEMENTS = 100_000
"""About a second; no policy over one manifest comes near it."""

Locals = dict[int, Cell]


class Holds(IntEnum):
    """Whether a statement succeeds, as far as the inputs tell."""

    NO = 0
    MAYBE = 1
    YES = 2


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a rule reads and does not find; `line` counts from 1."""

    line: int
    message: str


class TooMuch(Exception):
    """The module takes more steps than anybody would follow."""


def complaints(plan: Plan, rule: str, inputs: Mapping[str, object]) -> tuple[Complaint, ...]:
    """What the rule reads that the inputs do not hold, each once, by line."""
    walk = _Walk(plan, inputs)
    try:
        walk.rule(plan.rules()[rule]["name"])
    except (TooMuch, RecursionError):
        return (Complaint(1, "the module takes too many steps to be followed"),)
    except (LookupError, TypeError, ValueError) as error:
        return (Complaint(1, f"the module cannot be followed: {type(error).__name__}"),)
    return tuple(sorted(set(walk.found), key=lambda complaint: (complaint.line, complaint.message)))


class _Walk:
    """One walk through the plan of a module."""

    def __init__(self, plan: Plan, inputs: Mapping[str, object]) -> None:
        self._plan = plan
        self._arguments: tuple[Cell, ...] = ((Known(inputs, "input"),), (Known({}, "data"),))
        self._rules: dict[str, tuple[Cell, list[Complaint]]] = {}
        self._assigned: set[int] = set()
        self._escaped: dict[int, bool] = {}
        self._steps = 0
        self._line = 1
        self.found: list[Complaint] = []

    def rule(self, name: str) -> Cell:
        """The value of a rule; its complaints are remembered for whoever asks again."""
        if name not in self._rules:
            before, self.found = self.found, []
            value = self._function(name, self._arguments)
            self._rules[name], self.found = (value, self.found), before
        value, complaints = self._rules[name]
        self.found += complaints
        return value

    def _function(self, name: str, arguments: tuple[Cell, ...]) -> Cell:
        function = self._plan.functions[name]
        here: Locals = dict(zip(function["params"], arguments, strict=True))
        self._assigned |= {*function["params"], *targets(function["blocks"])}
        self._blocks(function["blocks"], here)
        return here.get(function["return"], UNDEFINED)

    def _blocks(self, blocks: Sequence[Mapping[str, Any]], here: Locals) -> None:
        for block in blocks:
            self._branch(block["stmts"], here)

    def _branch(self, statements: Sequence[Statement], here: Locals) -> Holds:
        """Statements that may break off: what they assigned by then may hold afterwards, or not."""
        before = dict(here)
        outcome = self._statements(statements, here)
        if outcome is not Holds.YES:
            for local in {*before, *here}:
                if before.get(local) is not here.get(local):
                    here[local] = join(before.get(local, UNDEFINED), here.get(local, UNDEFINED))
        return outcome

    def _statements(self, statements: Sequence[Statement], here: Locals) -> Holds:
        outcome, mark = Holds.YES, len(self.found)
        for statement in statements:
            outcome = min(outcome, self._statement(statement, here))
            if outcome is Holds.NO:
                # All of them must hold together, in whatever order: nothing here is ever reached.
                del self.found[mark:]
                break
        return outcome

    def _statement(self, statement: Statement, here: Locals) -> Holds:
        self._steps += 1
        if self._steps > MAX_STATEMENTS:
            raise TooMuch
        fields = statement["stmt"]
        self._line = fields.get("row", self._line - 1) + 1
        step = getattr(self, f"_{statement['type']}", None)
        if step is None:
            return self._complain(f"it uses {statement['type']}, which cannot be followed")
        outcome: Holds = step(fields, here)
        return outcome

    def _complain(self, message: str) -> Holds:
        self.found.append(Complaint(self._line, message))
        return Holds.MAYBE

    def _cell(self, operand: Any, here: Locals) -> Cell:
        """What an operand may be. A local that nothing ever assigns is a misspelt variable."""
        match operand:
            case {"type": "bool", "value": value}:
                return (Known(value),)
            case {"type": "string_index", "value": index}:
                return (Known(self._plan.text(index)),)
            case {"type": "local", "value": local} | int(local):
                if local not in here and local not in self._assigned:
                    self._complain("a variable is used here that never gets a value")
                    return LOST
                return here.get(local, UNDEFINED)
        raise TooMuch

    # Statements that put something into a local.

    def _put(self, target: int, cell: Cell, here: Locals) -> Holds:
        here[target] = defined(cell) or UNDEFINED
        return _is_defined(cell)

    def _AssignVarStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802 - named as in the plan
        return self._put(fields["target"], self._cell(fields["source"], here), here)

    def _AssignVarOnceStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        cell = self._cell(fields["source"], here)
        return self._put(fields["target"], join(defined(here.get(fields["target"], UNDEFINED)), cell), here)

    def _ResetLocalStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        here[fields["target"]] = UNDEFINED
        return Holds.YES

    def _MakeNullStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return self._put(fields["target"], (Known(None),), here)

    def _MakeNumberIntStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return self._put(fields["target"], (Known(fields["value"]),), here)

    def _MakeNumberRefStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return self._put(fields["target"], (Known(self._plan.number(fields["index"])),), here)

    def _MakeArrayStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return self._put(fields["target"], (Made(),), here)

    _MakeObjectStmt = _MakeSetStmt = _MakeArrayStmt

    def _LenStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        known = single(self._cell(fields["source"], here))
        size = known.size() if known else None
        return self._put(fields["target"], (Computed() if size is None else Known(size, "a length"),), here)

    # Statements that put something into a list, a set or an object.

    def _ArrayAppendStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return self._add(here.get(fields["array"], UNDEFINED), None, self._cell(fields["value"], here))

    def _SetAddStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return self._add(here.get(fields["set"], UNDEFINED), None, self._cell(fields["value"], here))

    def _ObjectInsertStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        key = single(self._cell(fields["key"], here))
        into = here.get(fields["object"], UNDEFINED)
        return self._add(into, key, self._cell(fields["value"], here))

    _ObjectInsertOnceStmt = _ObjectInsertStmt

    def _add(self, into: Cell, key: Known | None, value: Cell) -> Holds:
        name = key.value if key is not None and isinstance(key.value, str) else None
        for made in into:
            if isinstance(made, Made):
                made.add(name, value)
        return _is_defined(value)

    def _ObjectMergeStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        both = join(self._cell(fields["a"], here), self._cell(fields["b"], here))
        return self._put(fields["target"], (Computed(any(map(escaped, both))),), here)

    # Conditions.

    def _EqualStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        left, right = (self._cell(fields[side], here) for side in ("a", "b"))
        if UNDEFINED in (left, right):
            return Holds.NO
        one, other = single(left), single(right)
        if one is None or other is None:
            return Holds.MAYBE
        return Holds.YES if same(one.value, other.value) else Holds.NO

    def _NotEqualStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        if UNDEFINED in (self._cell(fields["a"], here), self._cell(fields["b"], here)):
            return Holds.NO
        return Holds(2 - self._EqualStmt(fields, here))

    def _IsDefinedStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return _is_defined(self._cell(fields["source"], here))

    def _IsUndefinedStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return Holds(2 - _is_defined(self._cell(fields["source"], here)))

    def _IsArrayStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return self._is_a("is_array", fields, here)

    def _IsObjectStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return self._is_a("is_object", fields, here)

    def _is_a(self, kind: str, fields: Any, here: Locals) -> Holds:
        known = single(self._cell(fields["source"], here))
        if known is None:
            return Holds.MAYBE
        return Holds.YES if DECIDED[kind](known.value) else Holds.NO

    def _NotStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        return Holds(2 - self._statements(fields["block"]["stmts"], dict(here)))

    def _BlockStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        self._blocks(fields["blocks"], here)
        return Holds.YES

    def _ReturnLocalStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802, ARG002
        return Holds.YES

    def _WithStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802, ARG002
        return self._complain("`with` changes the inputs, which cannot be followed")

    def _CallDynamicStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        here[fields["result"]] = LOST
        return self._complain("a rule is looked up by a name that is not written here")

    # Reading.

    def _DotStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        source, key = self._cell(fields["source"], here), self._cell(fields["key"], here)
        found = join(*(self._read(value, key) for value in source))
        return self._put(fields["target"], found, here)

    def _read(self, source: Value, key: Cell) -> Cell:
        known = single(key)
        match source:
            case Known():
                return self._read_known(source, known)
            case Made():
                return self._read_made(source, known)
            case Computed() if known and known.origin is None and isinstance(known.value, str):
                self._complain(f"{known.value!r} of a computed value cannot be followed: read it from input")
                return LOST
            case Computed():
                return join((source,), UNDEFINED)
        return (source,)

    def _read_known(self, source: Known, known: Known | None) -> Cell:
        if known is None:
            return join((child for _, child in source.children()), UNDEFINED)
        if child := source.child(known.value):
            return (child,)
        if known.origin is None and source.origin is not None:
            self._complain(f"there is no {shown(source.origin, known.value)}")
            return LOST
        return UNDEFINED

    def _read_made(self, source: Made, known: Known | None) -> Cell:
        name = known.value if known is not None and isinstance(known.value, str) else None
        if known is None or name is None or source.names is None:
            return join(source.everything(), UNDEFINED)
        if known.origin is None and name not in source.names:
            self._complain(f"there is no {name!r} in what the module builds")
            return LOST
        return join(source.at(name), UNDEFINED)

    def _ScanStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        outcome = Holds.YES
        for value in self._cell(fields["source"], here):
            if isinstance(value, Known) and value.size() is None and value.origin is not None:
                outcome = self._complain(f"{value.origin} holds nothing that could be looked through")
            for key, item in _groups(value):
                inner = {**here, fields["key"]: key, fields["value"]: item}
                self._branch(fields["block"]["stmts"], inner)
                # What is first assigned in the loop is not seen behind it.
                for local in here:
                    if here[local] is not inner[local]:
                        here[local] = join(here[local], inner[local])
        return outcome

    # Calling.

    def _CallStmt(self, fields: Any, here: Locals) -> Holds:  # noqa: N802
        arguments = tuple(self._cell(operand, here) for operand in fields["args"])
        if UNDEFINED in arguments:
            return Holds.NO
        name = fields["func"]
        if name not in self._plan.functions:
            result = self._builtin(name, arguments)
        elif arguments == self._arguments:
            result = self.rule(name)
        else:
            result = self._function(name, tuple(map(defined, arguments)))
        return self._put(fields["result"], result, here)

    def _builtin(self, name: str, arguments: tuple[Cell, ...]) -> Cell:
        values = [value for cell in arguments for value in cell]
        misread = [value for value in values if self._is_escaped(value)]
        if name not in WHOLE and (read := next(filter(_is_foreign_text, misread), None)):
            self._complain(
                f"{name} would misread {read.origin if isinstance(read, Known) else 'a text'}, which holds a "
                "line break, a quote or a backslash: write this rule in CEL"
            )
            return LOST
        known = [single(cell) for cell in arguments]
        if name in DECIDED and all(value is not None for value in known):
            try:
                return (Known(DECIDED[name](*(value.value for value in known if value)), "a result"),)
            except TypeError:
                pass
        return (Computed(bool(misread)),)

    def _is_escaped(self, value: Value) -> bool:
        if not isinstance(value, Known) or value.origin is None:
            return escaped(value)
        # What has an origin lives as long as the inputs do, so its id stays its own.
        if id(value.value) not in self._escaped:
            self._escaped[id(value.value)] = escaped(value)
        return self._escaped[id(value.value)]


def _is_defined(cell: Cell) -> Holds:
    if not defined(cell):
        return Holds.NO
    return Holds.MAYBE if any(isinstance(value, Undefined | Lost) for value in cell) else Holds.YES


def _is_foreign_text(value: Value) -> bool:
    """Whether it may be a text that the module itself does not hold."""
    if isinstance(value, Known):
        return isinstance(value.value, str) and value.origin is not None
    return isinstance(value, Computed)


def _groups(value: Value) -> list[tuple[Cell, Cell]]:
    """(key, item) as a loop sees them: each thing that has fields by itself, all others at once."""
    match value:
        case Known():
            pairs = value.children()
            flat = [pair for pair in pairs if pair[1].size() is None]
            groups = [((key,), (item,)) for key, item in pairs if item.size() is not None]
            together = [(tuple(key for key, _ in flat), tuple(item for _, item in flat))] if flat else []
            return [*groups, *together]
        case Made():
            return [((Computed(),), value.everything())] if value.everything() else []
        case Undefined():
            return []
    return [((value,), (value,))]
