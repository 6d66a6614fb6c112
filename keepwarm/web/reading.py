"""What programs and the page read: `GET /v1/...`.

It computes nothing: whoever answers does, in a thread of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Protocol

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from keepwarm.model import Span
from keepwarm.views.prefixes import Wanted
from keepwarm.views.shapes import (
    Condition,
    Decisions,
    Events,
    Guards,
    LedgerRows,
    PastPauses,
    PrefixList,
    PrefixPage,
    Summary,
    Timeline,
    Timelines,
)
from keepwarm.web.doorman import HAS_TOKEN, MAY_ACT
from keepwarm.web.replies import told, unknown_prefix

LONGEST_STRETCH = timedelta(days=31)
_MOST_TIMELINES = 50
_YEARS = range(2000, 3000)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")


class BadQuery(ValueError):
    """A query that makes no sense, in words."""


class Answers(Protocol):
    """Who answers: `answers.Answers`. None where there is no prefix of that name."""

    def now(self) -> datetime:
        """The present moment."""

    def summary(self, *, may_act: bool, has_token: bool) -> Summary:
        """The daemon in one look."""

    def prefixes(self, wanted: Wanted) -> PrefixList:
        """A page of prefixes."""

    def prefix(self, name: str) -> PrefixPage | None:
        """All that is known of a prefix."""

    def timelines(self, names: Sequence[str], hours: float) -> Timelines:
        """What happened to several prefixes."""

    def timeline(self, name: str, stretch: Span) -> Timeline | None:
        """What happened to a prefix."""

    def ledger(self, name: str, stretch: Span, limit: int, cursor: str) -> LedgerRows | None:
        """Pings and organic requests of a prefix."""

    def decisions(self, name: str) -> Decisions | None:
        """The last decisions of a prefix."""

    def report(self, stretch: Span) -> dict[str, Any]:
        """What `keepwarm report --format json` prints."""

    def guards(self) -> Guards:
        """Every guard on money."""

    def events(self, limit: int, cursor: str) -> Events:
        """The last events."""

    def pauses(self) -> PastPauses:
        """Every pause."""


Cursor = Annotated[str, Query(max_length=1_000, description="`next` of the page before.")]
Moment = Annotated[
    str, Query(max_length=40, json_schema_extra={"format": "date-time"}, description="ISO 8601 with a zone.")
]
_NOTHING_YET = ""


def add_reading(app: FastAPI, answers: Answers) -> None:
    """Serve what is read."""
    _add_lists(app, answers)
    _add_single(app, answers)
    _add_history(app, answers)


def _add_lists(app: FastAPI, answers: Answers) -> None:
    @app.get("/v1/summary", response_model=Summary)
    def summary(request: Request) -> Response:
        """The daemon in one look: role, how many prefixes are warm, money of today, seven and thirty days in UTC."""
        return told(
            answers.summary(may_act=bool(request.scope.get(MAY_ACT)), has_token=bool(request.scope.get(HAS_TOKEN)))
        )

    @app.get("/v1/prefixes", response_model=PrefixList)
    def prefixes(
        query: Annotated[str, Query(max_length=200)] = "",
        tag: Annotated[str, Query(max_length=500, description="`key:value`")] = "",
        state: Condition | None = None,
        sort: Literal["name", "net", "cost", "state"] = "name",
        limit: Annotated[int, Query(ge=1, le=2_000)] = 100,
        cursor: Cursor = "",
    ) -> Response:
        """Prefixes with their state in words and their money; the least net and the most cost come first."""
        return told(answers.prefixes(Wanted(query, tag, state, sort, limit, cursor)))

    @app.get("/v1/guards", response_model=Guards)
    def guards() -> Response:
        """Every guard on money, of all prefixes together and of each."""
        return told(answers.guards())

    @app.get("/v1/pauses", response_model=PastPauses)
    def pauses() -> Response:
        """Every pause and its end, newest first."""
        return told(answers.pauses())

    @app.get("/v1/events", response_model=Events)
    def events(limit: Annotated[int, Query(ge=1, le=1_000)] = 100, cursor: Cursor = "") -> Response:
        """What happened since this daemon started, newest first, within bounds."""
        return told(answers.events(limit, cursor))


def _add_single(app: FastAPI, answers: Answers) -> None:
    @app.get("/v1/prefixes/{name}", response_model=PrefixPage)
    def prefix(name: str) -> Response:
        """All that is known of a prefix."""
        return _told(name, answers.prefix(name))

    @app.get("/v1/prefixes/{name}/decisions", response_model=Decisions)
    def decisions(name: str) -> Response:
        """The last decisions that this daemon took, newest first."""
        return _told(name, answers.decisions(name))

    @app.get("/v1/prefixes/{name}/ledger", response_model=LedgerRows)
    def ledger(
        name: str,
        since: Moment = _NOTHING_YET,
        until: Moment = _NOTHING_YET,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        cursor: Cursor = "",
    ) -> Response:
        """Pings and organic requests, newest first."""
        now = answers.now()
        end = _moment("until", until) or now + timedelta(minutes=1)
        begin = _moment("since", since) or datetime(_YEARS[0], 1, 1, tzinfo=UTC)
        return _told(name, answers.ledger(name, Span(begin, end), limit, cursor))

    @app.get("/v1/prefixes/{name}/timeline", response_model=Timeline)
    def timeline(name: str, since: Moment = _NOTHING_YET, until: Moment = _NOTHING_YET) -> Response:
        """What happened in at most 31 days; by default in the last one."""
        return _told(name, answers.timeline(name, _stretch(since, until, answers.now())))


def _add_history(app: FastAPI, answers: Answers) -> None:
    @app.get("/v1/timelines", response_model=Timelines)
    def timelines(
        name: Annotated[list[str], Query(max_length=_MOST_TIMELINES)],
        hours: Annotated[float, Query(gt=0, le=LONGEST_STRETCH / timedelta(hours=1))] = 24,
    ) -> Response:
        """What happened to several prefixes in the last hours; names that are not known are left out."""
        return told(answers.timelines(name, hours))

    @app.get("/v1/report", response_model=dict[str, Any])
    def report(since: Moment = _NOTHING_YET, until: Moment = _NOTHING_YET) -> Response:
        """What `keepwarm report --format json` prints, of at most 31 days; by default of the last one."""
        return JSONResponse(answers.report(_stretch(since, until, answers.now())))


def _told(name: str, found: object) -> Response:
    return unknown_prefix(name) if found is None else told(found)


def _stretch(since: str, until: str, now: datetime) -> Span:
    """The stretch that is asked for.

    Raises:
        BadQuery: in words.
    """
    end = _moment("until", until) or now
    begin = _moment("since", since) or end - timedelta(days=1)
    if not begin < end:
        raise BadQuery("since must be before until")
    if end - begin > LONGEST_STRETCH:
        raise BadQuery(f"at most {LONGEST_STRETCH.days} days can be asked for at once")
    return Span(begin, end)


def _moment(name: str, text: str) -> datetime | None:
    """A moment in UTC; None for an empty text."""
    if not text:
        return None
    refusal = BadQuery(f"{name} must be a moment with its zone, such as 2026-11-22T20:00:00Z")
    if not _MOMENT.fullmatch(text):
        raise refusal
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise refusal from None
    if moment.year not in _YEARS:
        raise BadQuery(f"{name} must be between the years {_YEARS[0]} and {_YEARS[-1]}")
    return moment
