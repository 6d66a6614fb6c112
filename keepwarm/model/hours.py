"""Busy hours as they are registered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Window:
    """A weekly stretch of busy time on the wall clock.

    Attributes:
        weekdays: days on which it starts, Monday is 0.
        start_minute: minutes after 00:00 of the starting day, 0 to 1439.
        end_minute: minutes after 00:00 of the *starting* day, above start_minute; past 1440 for an overnight window.
    """

    weekdays: frozenset[int]
    start_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True)
class BusyHours:
    """When a prefix is worth keeping warm.

    Attributes:
        name: as the registry calls it.
        timezone: IANA name.
        windows: weekly windows; they may overlap or touch.
        holidays: `country` or `country-subdivision` of python-holidays, None for no holidays.
        closed: inclusive ranges of local dates on which no window starts.
    """

    name: str
    timezone: str
    windows: tuple[Window, ...]
    holidays: str | None = None
    closed: tuple[tuple[date, date], ...] = ()


ALWAYS = BusyHours(name="always", timezone="UTC", windows=(Window(frozenset(range(7)), 0, 24 * 60),))


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open stretch of time [start, end), both aware UTC."""

    start: datetime
    end: datetime

    @property
    def duration(self) -> timedelta:
        """Length of the stretch."""
        return self.end - self.start
