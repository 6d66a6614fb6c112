"""What is found wrong with a registry, and where it stands in the file.

It knows no rules: `load` and the schema do. A value that an entry takes from the defaults is at fault there.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from keepwarm.errors import Problem
from keepwarm.registry.document import Document, Location
from keepwarm.registry.schema import say

Shape = TypeVar("Shape", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one prefix stands in the file.

    Attributes:
        inherited: keys whose values come from the defaults.
        broken: keys whose values cannot be used, which has been told already.
    """

    entry: Location
    inherited: Set[str] = frozenset()
    broken: Set[str] = frozenset()

    def of(self, key: str) -> Location:
        """Where the value of a key stands."""
        return ("defaults", key) if key in self.inherited else (*self.entry, key)


class Findings:
    """Problems and warnings of one reading, each with its line."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    @property
    def count(self) -> int:
        """How many problems and warnings there are so far."""
        return len(self.problems) + len(self.warnings)

    def line(self, location: Location) -> int:
        """The line of a location."""
        return self._document.line(location)

    def refuse(self, location: Location, message: str) -> None:
        """Note a problem."""
        self.problems.append(self._document.problem(location, message))

    def refuse_value(self, place: Place, key: str, message: str) -> None:
        """Note a problem of a value that is wrong for this prefix; one from the defaults says for which."""
        self.refuse(place.of(key), message + self._whose(place, key))

    def warn_value(self, place: Place, key: str, message: str) -> None:
        """Note a warning, placed as `refuse_value` does."""
        self.warnings.append(self._document.problem(place.of(key), message + self._whose(place, key)))

    def warn(self, location: Location, message: str) -> None:
        """Note a warning."""
        self.warnings.append(self._document.problem(location, message))

    def validate(self, schema: type[Shape], raw: Any, place: Place) -> Shape | None:
        """The value of this shape, or None after noting everything that is wrong with it."""
        try:
            return schema.model_validate(raw)
        except ValidationError as error:
            for detail in error.errors():
                allowed = tuple(keys(schema)) if len(detail["loc"]) == 1 else ()
                self.refuse(_locate(place, detail["loc"], raw), say(dict(detail), allowed))
            return None

    def _whose(self, place: Place, key: str) -> str:
        return f" (for the prefix in line {self.line(place.entry)})" if key in place.inherited else ""


def keys(schema: type[BaseModel]) -> list[str]:
    """The keys of a shape as the file writes them."""
    return [field.alias or name for name, field in schema.model_fields.items()]


def _locate(place: Place, loc: tuple[Any, ...], raw: Any) -> Location:
    """Where a pydantic error stands in the file; its locations also name steps that no file has."""
    found: list[Any] = []
    for step in loc:
        if isinstance(raw, dict) and (step in raw or step == loc[-1]):
            raw = raw.get(step)
        elif isinstance(raw, list) and isinstance(step, int) and step < len(raw):
            raw = raw[step]
        else:
            continue
        found.append(step)
    start: Location = ("defaults",) if loc and loc[0] in place.inherited else place.entry
    return (*start, *found)
