"""Places in lists as opaque words: where a page ended, so that the next one begins there whatever has come since.

It knows no list.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TypeVar

_MOST_CHARACTERS = 1_000

Plain = str | int | float | None
Item = TypeVar("Item")


class BadCursor(ValueError):
    """A cursor that this list has not given."""

    def __init__(self) -> None:
        super().__init__("cursor is not one that this list has given; leave it out to begin anew")


def write(kind: str, *place: Plain) -> str:
    """A place in a list of some kind as a word."""
    return base64.urlsafe_b64encode(json.dumps([kind, *place]).encode()).decode().rstrip("=")


def read(kind: str, cursor: str, types: Sequence[type]) -> list[Plain]:
    """The place that a word stands for.

    Raises:
        BadCursor: it is of another list, or of none.
    """
    if len(cursor) > _MOST_CHARACTERS:
        raise BadCursor
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        raise BadCursor from None
    if not isinstance(found, list) or found[:1] != [kind] or len(found) != len(types) + 1:
        raise BadCursor
    place: list[Plain] = found[1:]
    if not all(type(value) is wanted for value, wanted in zip(place, types, strict=True)):
        raise BadCursor
    return place
