"""What a provider is asked about an arm, and what a metric must name so that the answer can be counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from urllib.parse import quote

from rollout.core.environment import CommandProvider, HttpProvider, PrometheusProvider, Provider, SqlProvider
from rollout.core.metric import Kind, MetricSpec, Query, Stage, Unit

Complaint = tuple[tuple[str, ...], str]
"""(pointer into the metric, what is wrong there)."""

_NEEDED = frozenset({"served", "since", "until"})
_BRACES = re.compile(r"\{([^{}]*)\}|[{}]")
_PATH = re.compile(r"/[!-~]*")
_DOTS = re.compile(r"(^|/)(\.|%2[eE]){1,2}($|[/?])")
# Quoted text and comments first: what looks like a parameter there is none.
_SQL = re.compile(
    r"""(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\$\$.*?\$\$|--[^\n]*|/\*.*?\*/)"""
    r"""|(?<![:\w\\]):(?P<parameter>[A-Za-z_]\w*)""",
    re.DOTALL,
)
_SELECT = re.compile(r"[\s(]*(select|with)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(into|merge|update|delete\s+from)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the placeholders of a query stand for. The window is (since, until], in Unix seconds.

    `served` is the arm that is asked about, `stable` always stable's; of pairs the candidate is asked about.
    """

    name: str
    served: str
    stable: str
    stage: Stage
    since: int
    until: int

    def facts(self) -> dict[str, str | int]:
        """By placeholder."""
        return {key: value if isinstance(value, int) else str(value) for key, value in asdict(self).items()}


PLACEHOLDERS: frozenset[str] = frozenset(Question.__dataclass_fields__)


def asks_for_pairs(spec: MetricSpec) -> bool:
    """Whether the answer has both scores of each pair, so that it is asked once."""
    return spec.kind is Kind.SCORE and spec.source is not None and len(names_of(spec.source.values)) == 2


def names_of(text: str | None) -> tuple[str, ...]:
    """The members or columns that `values` names: one, or two with a comma between them."""
    return tuple(each.strip() for each in text.split(",")) if text else ()


def fill_path(path: str, question: Question) -> str:
    """A path with its placeholders filled in; nothing that they stand for can end a part of it.

    Raises ValueError where a part of the path would be `.` or `..`.
    """
    facts = question.facts()
    filled = _BRACES.sub(lambda found: quote(str(facts[found[1]]), safe=""), path)
    if _DOTS.search(filled.partition("?")[0]):
        raise ValueError(f"{filled} is no path: a part of it is `.` or `..`")
    return filled


def parameters_of(statement: str) -> frozenset[str]:
    """The bound parameters of a statement, without their colons."""
    return frozenset(found["parameter"] for found in _SQL.finditer(statement) if found["parameter"])


def rewritten(statement: str, parameter: Callable[[str], str], other: Callable[[str], str]) -> str:
    """The statement with each parameter, and each stretch of text between them, put as a database wants them."""
    parts, end = [], 0
    for found in _SQL.finditer(statement):
        if found["parameter"]:
            parts += [other(statement[end : found.start()]), parameter(found["parameter"])]
            end = found.end()
    return "".join([*parts, other(statement[end:])])


def complaints(spec: MetricSpec, provider: Provider) -> Iterator[Complaint]:
    """Why the provider could not answer for the metric, or not so that it can be counted. Pure, and asks nobody."""
    query = spec.source
    assert query is not None, "only a metric with a source is asked of a provider"
    yield from _of_members(spec, query)
    match provider:
        case HttpProvider():
            yield from _of_path(query)
            yield from _of_answer(spec, query)
            yield from _of_pointers(query)
        case SqlProvider():
            yield from _of_statement(query)
            yield from _of_answer(spec, query)
        case CommandProvider():
            yield from _of_answer(spec, query)
            yield from _of_pointers(query)
        case PrometheusProvider():
            yield from _of_expressions(query)


def _of_members(spec: MetricSpec, query: Query) -> Iterator[Complaint]:
    wanted = ("total", "bad") if spec.kind is Kind.RATE else ("values",)
    for field in ("total", "bad", "values"):
        given = getattr(query, field) is not None
        if field in wanted and not given:
            yield ("source",), f"a metric of kind {spec.kind} needs `{field}`"
        if given and field not in wanted:
            yield ("source", field), f"`{field}` does not belong to kind {spec.kind}"


def _of_answer(spec: MetricSpec, query: Query) -> Iterator[Complaint]:
    """What holds for every provider that is asked once for each arm."""
    if spec.by_length:
        yield ("by_length",), "a provider's answers have no length, so that none are of like length"
    if spec.per is not Unit.REQUEST:
        yield ("per",), "a provider counts what it is asked to count: group by units in the question"
    if query.values and len(names_of(query.values)) > 2:
        yield ("source", "values"), "names one thing, or two with a comma between them"
    if asks_for_pairs(spec) and spec.stages != (Stage.SHADOW,):
        yield ("source", "values"), "two names are pairs, which are in shadow only: `stages: [shadow]`"


def _of_path(query: Query) -> Iterator[Complaint]:
    if query.ask is None:
        yield ("source",), "a provider of kind http needs `ask`: the path behind its url"
        return
    if not _PATH.fullmatch(query.ask) or "#" in query.ask or "\\" in query.ask:
        yield ("source", "ask"), "a path begins with / and has neither blanks, backslashes nor #"
    if _DOTS.search(query.ask.partition("?")[0]):
        yield ("source", "ask"), "no part of a path is `.` or `..`"
    found = {each[1] if each[1] is not None else each[0] for each in _BRACES.finditer(query.ask)}
    yield from _of_placeholders(found, "{%s}")


def _of_statement(query: Query) -> Iterator[Complaint]:
    if query.ask is None:
        yield ("source",), "a provider of kind sql needs `ask`: one SELECT"
        return
    bare = _SQL.sub(lambda found: " " if found["quoted"] else found[0], query.ask).strip()
    if not _SELECT.match(bare) or _WRITES.search(bare) or ";" in bare.rstrip("; \n\t"):
        yield ("source", "ask"), "is not one SELECT: nothing else is asked of a database"
    if braced := sorted(set(_BRACES.findall(query.ask)) & PLACEHOLDERS):
        yield ("source", "ask"), f"{{{braced[0]}}} is not filled in here: bind it as :{braced[0]}"
    yield from _of_placeholders(set(parameters_of(query.ask)), ":%s")


def _of_placeholders(found: set[str], form: str) -> Iterator[Complaint]:
    for unknown in sorted(found - PLACEHOLDERS):
        known = ", ".join(form % each for each in sorted(PLACEHOLDERS))
        yield ("source", "ask"), f"there is no placeholder {form % unknown}; there are: {known}"
    for missing in sorted(_NEEDED - found):
        why = "both arms would be the same" if missing == "served" else "looks would count things twice"
        yield ("source", "ask"), f"lacks {form % missing}: {why}"


def _of_pointers(query: Query) -> Iterator[Complaint]:
    for field in ("total", "bad", "values"):
        for name in names_of(getattr(query, field)):
            if not name.startswith("/"):
                yield ("source", field), f"{name!r} is no JSON pointer: it begins with /"


def _of_expressions(query: Query) -> Iterator[Complaint]:
    if query.ask is not None:
        yield ("source", "ask"), "a Prometheus is asked for `total` and `bad`, or `values`: leave it out"
    for field in ("total", "bad", "values"):
        expression = getattr(query, field)
        found = set(re.findall(r"\{(\w+)\}", expression or ""))
        for unknown in sorted(found - PLACEHOLDERS):
            yield ("source", field), f"there is no placeholder {{{unknown}}}"
        if expression is not None and "served" not in found:
            yield ("source", field), "lacks {served}: both arms would be the same"
