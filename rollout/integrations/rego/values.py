"""What a variable of a Rego module may hold, as far as the inputs tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rollout.integrations.rego.plan import is_name


@dataclass(frozen=True, slots=True)
class Known:
    """A concrete value. `origin` says where it was read, e.g. `input.manifest`; None for a constant."""

    value: object
    origin: str | None = None

    def child(self, key: object) -> Known | None:
        """What lies at a key or an index, or None if nothing does."""
        value = self.value
        if isinstance(value, Mapping) and isinstance(key, str) and key in value:
            return Known(value[key], self._at(key))
        if isinstance(value, list | tuple) and type(key) is int and 0 <= key < len(value):
            return Known(value[key], self._at(key))
        return None

    def children(self) -> list[tuple[Known, Known]]:
        """(key, value) of everything that it holds."""
        keys: Iterable[object] = self.value if isinstance(self.value, Mapping) else range(self.size() or 0)
        pairs = [(key, self.child(key)) for key in keys]
        return [(Known(key, f"a key of {self.origin}"), child) for key, child in pairs if child is not None]

    def size(self) -> int | None:
        """How many things it holds; None for what holds none, like a text."""
        return len(self.value) if isinstance(self.value, Mapping | list | tuple) else None

    def _at(self, key: object) -> str | None:
        return None if self.origin is None else shown(self.origin, key)


class Made:
    """A list, set or object that the module builds: what was put into it, under a name or not."""

    __slots__ = ("_items", "_named")

    def __init__(self) -> None:
        self._items: dict[object, Value] = {}
        self._named: dict[str, dict[object, Value]] = {}

    @property
    def names(self) -> frozenset[str] | None:
        """All names in it; None if some of what was put into it has a name that is not known, or none at all."""
        return None if self._items or not self._named else frozenset(self._named)

    def add(self, name: str | None, cell: Cell) -> None:
        """Put something into it."""
        into = self._items if name is None else self._named.setdefault(name, {})
        for value in defined(cell):
            into.setdefault(_key(value), value)

    def at(self, name: str) -> Cell:
        """What was put under a name."""
        return tuple(self._named.get(name, {}).values())

    def everything(self) -> Cell:
        """All that it may hold."""
        return join(self._items.values(), *(values.values() for values in self._named.values()))


@dataclass(frozen=True, slots=True)
class Computed:
    """The result of a builtin. `escaped` says whether a text may be in it that the engine misreads."""

    escaped: bool = False


@dataclass(frozen=True, slots=True)
class Undefined:
    """Nothing, as where no rule gave a value."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What would have come of something that was complained about already."""


Value = Known | Made | Computed | Undefined | Lost
Cell = tuple[Value, ...]
"""Everything that a variable may hold."""

UNDEFINED: Cell = (Undefined(),)
LOST: Cell = (Lost(),)


def join(*cells: Iterable[Value]) -> Cell:
    """Any of them, each once."""
    return tuple({_key(value): value for cell in cells for value in cell}.values())


def _key(value: Value) -> object:
    """Equal for what is the same; texts and numbers are compared, all else is what it is."""
    if isinstance(value, Known):
        one = value.value
        return (value.origin, type(one), one if isinstance(one, str | int | float) else id(one))
    return id(value) if isinstance(value, Made) else value


def defined(cell: Cell) -> Cell:
    """Without the possibility that there is nothing."""
    return tuple(value for value in cell if not isinstance(value, Undefined))


def single(cell: Cell) -> Known | None:
    """The one concrete value that it can only be."""
    value = cell[0] if len(cell) == 1 else None
    return value if isinstance(value, Known) else None


def shown(origin: str, key: object) -> str:
    """The way to a field, as Rego writes it."""
    if isinstance(key, str):
        return f"{origin}.{key}" if is_name(key) else f"{origin}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{origin}[{key}]"


def same(left: object, right: object) -> bool:
    """Equality in Rego: 1 is 1.0, but true is not 1."""
    return _canonical(left) == _canonical(right)


def _canonical(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return (type(value) is bool, value)


def escaped(value: Value) -> bool:
    """Whether a text in it needs an escape in JSON: the engine counts and matches the escape instead."""
    if isinstance(value, Known):
        return "\\" in json.dumps(value.value, ensure_ascii=False)
    if isinstance(value, Made):
        return any(escaped(item) for item in value.everything())
    return isinstance(value, Computed) and value.escaped


def _ordered(compare: Callable[[float, float], bool]) -> Callable[[object, object], bool]:
    def decide(left: object, right: object) -> bool:
        if type(left) not in (int, float) or type(right) not in (int, float):
            raise TypeError("only numbers are compared here")
        return compare(left, right)  # type: ignore[arg-type]

    return decide


def _size(value: object) -> int:
    if not isinstance(value, Mapping | Sequence) or isinstance(value, str):
        raise TypeError("only what holds things is counted here")
    return len(value)


# Builtins that are computed, so that a guard like `input.previous != null` is known to hold or not.
DECIDED: Mapping[str, Callable[..., object]] = {
    "equal": same,
    "neq": lambda left, right: not same(left, right),
    "gt": _ordered(lambda left, right: left > right),
    "gte": _ordered(lambda left, right: left >= right),
    "lt": _ordered(lambda left, right: left < right),
    "lte": _ordered(lambda left, right: left <= right),
    "is_null": lambda value: value is None,
    "is_boolean": lambda value: type(value) is bool,
    "is_string": lambda value: isinstance(value, str),
    "is_number": lambda value: type(value) in (int, float),
    "is_object": lambda value: isinstance(value, Mapping),
    "is_array": lambda value: isinstance(value, list | tuple),
    "count": _size,
}

# Builtins that compare or move texts whole, or only write them out: an escape does no harm there.
# fmt: off
WHOLE = frozenset({
    "equal", "neq", "eq", "assign", "is_null", "is_boolean", "is_string", "is_number", "is_object",
    "is_array", "is_set", "type_name", "sprintf", "concat", "internal.template_string", "internal.member_2",
    "internal.member_3", "and", "or", "minus", "union", "intersection", "array.concat", "array.slice",
    "array.reverse", "object.get", "object.keys", "object.union", "object.union_n", "object.filter",
    "object.remove", "object.subset", "json.marshal",
})
# fmt: on
