"""What an importer made of another tool's suite: the items, and everything that it could not take along."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import ValidationError

from rollout.core.suite import Item


class Match(StrEnum):
    """How an expected answer is compared: as one assertion, or by likeness (ROUGE-L)."""

    LIKE = "like"
    CONTAINS = "contains"
    EQUALS = "equals"
    STARTS_WITH = "starts-with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Something that was left out. `where` is a case (`test 3`, `line 7`); a whole case if `case`."""

    where: str
    what: str
    case: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSuite:
    """The items in the order of the file, the name of its format, and what was left out of it."""

    format: str
    items: tuple[Item, ...]
    lost: tuple[Lost, ...]

    @property
    def lost_cases(self) -> int:
        """Cases that are not among the items."""
        return sum(each.case for each in self.lost)

    @property
    def summary(self) -> dict[str, list[str]]:
        """What was left out, and where: the places of each, most frequent first."""
        count = Counter(each.what for each in self.lost)
        places: dict[str, dict[str, None]] = {what: {} for what, _ in count.most_common()}
        for each in self.lost:
            places[each.what][each.where] = None
        return {what: list(of) for what, of in places.items()}


@dataclass(slots=True)
class Harvest:
    """Items as they are found, each with an id of its own."""

    items: list[Item] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def add(self, where: str, wanted_id: str, fields: dict[str, object]) -> None:
        """One case; one that makes no item is lost, with the reason."""
        try:
            item = Item.model_validate({**fields, "id": self._free(wanted_id)})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            reason = first["msg"].removeprefix("Value error, ")
            self.lose(where, f"{place}: {reason}" if place else reason, case=True)
            return
        self._ids.add(item.id)
        self.items.append(item)

    def lose(self, where: str, what: str, *, case: bool = False) -> None:
        """Something was left out."""
        self.lost.append(Lost(where=where, what=what, case=case))

    def done(self, format_: str) -> ImportedSuite:
        """What was found."""
        return ImportedSuite(format=format_, items=tuple(self.items), lost=tuple(self.lost))

    def _free(self, wanted: str) -> str:
        tried, number = wanted, 1
        while tried in self._ids:
            number += 1
            tried = f"{wanted}-{number}"
        return tried
