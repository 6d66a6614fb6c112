"""The tables of the ledger, and the way from a row to an `Entry` or a `Touch` and back.

It connects to nothing. An intent is written before a ping leaves, its outcome when the answer is in, a touch when it is
told, and no row of theirs is ever changed by keepwarm, nor deleted before it is older than the retention and summed up
in `rolled_days`. What the tables look like in a database is decided by `migrations`; a test holds the two together.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME
from sqlalchemy.types import TypeDecorator

from keepwarm.model import (
    Api,
    Closing,
    Entry,
    Intent,
    Outcome,
    PauseOrder,
    Reason,
    Scope,
    Source,
    Touch,
    Ttl,
    Usage,
    Verdict,
)


class Money(TypeDecorator[Decimal]):
    """Exact USD as a plain decimal string; databases that turn decimals into binary floats never see a number."""

    impl = String(64)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:  # noqa: ARG002 SQLAlchemy's
        """Write without exponent, so that people and other programs read the same figure."""
        if value is None:
            return None
        if not value.is_finite():
            raise ValueError(f"{value} is not an amount of money")
        return format(value, "f")

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:  # noqa: ARG002 SQLAlchemy's
        """Read back to the last digit."""
        return None if value is None else Decimal(value)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with microseconds, UTC in the database and aware UTC in the program."""

    # MySQL drops the fraction unless told; its type is named here and asks for no driver.
    impl = DateTime(timezone=True).with_variant(MYSQL_DATETIME(fsp=6), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive datetime: nobody could say which moment it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime names no moment")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give back aware UTC, whatever the database knows of zones."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite counts rows only in a column whose type is exactly INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

intents = Table(
    "intents",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("run_id", String(64), nullable=False),
    Column("prefix", String(255), nullable=False),
    Column("fingerprint", String(128), nullable=False),
    Column("model_id", String(2048), nullable=False),
    Column("region", String(64), nullable=False),
    Column("api", String(32), nullable=False),
    Column("ttl", String(8), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("high_cost_usd", Money, nullable=False),
    Column("provisioned", Boolean, nullable=False),
    Index(None, "fingerprint", "number"),
    Index(None, "started_at"),
    Index(None, "prefix", "started_at"),
    sqlite_autoincrement=True,
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("number", Number, ForeignKey(intents.c.number), primary_key=True, autoincrement=False),
    Column("completed_at", UtcDateTime, nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("cost_usd", Money, nullable=False),
    Column("avoidable_usd", Money, nullable=False),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cache_read_tokens", Integer),
    Column("cache_write_tokens", Integer),
    Column("cache_write_1h_tokens", Integer),
    Column("latency_ms", Integer, nullable=False),
    Column("server_latency_ms", Integer),
    Column("billed_ttl", String(8)),
    Column("request_id", String(255), nullable=False),
    Column("error_code", String(64), nullable=False),
    Column("error_message", Text, nullable=False),
    Column("error_hint", Text, nullable=False),
    Column("retryable", Boolean, nullable=False),
)

# A request id has one row for each prefix that the request belongs to, and one with an empty fingerprint when it
# belongs to none. The digests of its blocks are not kept, only the keyed ones of the whole.
touches = Table(
    "touches",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("request_id", String(255), nullable=False),
    Column("fingerprint", String(128), nullable=False),
    Column("prefix", String(255), nullable=False),
    Column("group", String(128), nullable=False),
    Column("model_id", String(2048), nullable=False),
    Column("region", String(64), nullable=False),
    Column("api", String(32), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("source", String(32), nullable=False),
    Column("drift", String(1024), nullable=False),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cache_read_tokens", Integer),
    Column("cache_write_tokens", Integer),
    Column("cache_write_1h_tokens", Integer),
    Column("latency_ms", Integer),
    Column("writer", String(64)),
    Column("ttl", String(8)),
    UniqueConstraint("request_id", "fingerprint"),
    Index(None, "fingerprint", "started_at"),
    Index(None, "started_at"),
    Index(None, "prefix", "started_at"),
    sqlite_autoincrement=True,
)

# Somebody said that no more requests come; the next touch ends it.
closings = Table(
    "closings",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("fingerprint", String(128), nullable=False),
    Column("prefix", String(255), nullable=False),
    Column("closed_at", UtcDateTime, nullable=False),
    Column("reason", String(255), nullable=False),
    Index(None, "fingerprint", "closed_at"),
    sqlite_autoincrement=True,
)

# Somebody paused a prefix, a tag or all, or resumed it; the latest row of a scope and target counts.
pauses = Table(
    "pauses",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("scope", String(16), nullable=False),
    Column("target", String(512), nullable=False),
    Column("said_at", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),
    Column("resumes", Boolean, nullable=False),
    Column("why", String(255), nullable=False),
    Column("said_by", String(255), nullable=False),
    sqlite_autoincrement=True,
)

# How far a source of touches was read: may be lost without harm.
cursors = Table(
    "cursors",
    metadata,
    Column("source", String(512), primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

# What the adaptive policy has learnt, in the words of `policies.learner`; lost, it is learnt again from the touches.
# The empty fingerprint stands for what belongs to no prefix.
learnt = Table(
    "learnt",
    metadata,
    Column("fingerprint", String(128), primary_key=True),
    Column("value", Text, nullable=False),
    Column("learnt_at", UtcDateTime, nullable=False),
)

# Who leads where several daemons share the ledger: one row, whose term only grows. That the term is the key makes a new
# one wait for the intents that are being written in the old one, and nothing else.
leases = Table(
    "leases",
    metadata,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    Column("holder", String(512), nullable=False),
    Column("key_check", String(64), nullable=False),
    Column("won_at", UtcDateTime),
)

# Days of UTC that are summed up, in the words of `rollups`; what has no row between two of them had neither pings nor
# touches. Lost, they are summed up again, but not those whose intents, outcomes and touches are gone (`details`).
rolled_days = Table(
    "rolled_days",
    metadata,
    Column("day", UtcDateTime, primary_key=True),
    Column("touches_seen", BigInteger, nullable=False),
    Column("details", Boolean, nullable=False),
)

# Of a day, and once a month is over, of all its days together.
rolled_parts = Table(
    "rolled_parts",
    metadata,
    Column("day", UtcDateTime, primary_key=True),
    Column("days", Integer, primary_key=True, autoincrement=False),
    Column("prefix", String(255), primary_key=True),
    Column("fingerprint", String(128), primary_key=True),
    Column("value", Text, nullable=False),
)

# How things stood with a cache entry when a day ended.
rolled_standings = Table(
    "rolled_standings",
    metadata,
    Column("fingerprint", String(128), primary_key=True),
    Column("day", UtcDateTime, primary_key=True),
    Column("prefix", String(255), nullable=False),
    Column("value", Text, nullable=False),
)

# Intents and outcomes have a number; an entry's columns carry the intent's, and tell an orphan by the outcome's moment.
ENTRY_COLUMNS = (*intents.c, *(column for column in outcomes.c if column.name != "number"))


def intent_row(intent: Intent, run_id: str) -> dict[str, Any]:
    """The columns of an intent; the database gives the number."""
    return {
        "run_id": run_id,
        "prefix": intent.prefix,
        "fingerprint": intent.fingerprint,
        "model_id": intent.model_id,
        "region": intent.region,
        "api": intent.api.value,
        "ttl": intent.ttl.value,
        "reason": intent.reason.value,
        "attempt": intent.attempt,
        "started_at": intent.started_at,
        "high_cost_usd": intent.high_cost_usd,
        "provisioned": intent.provisioned,
    }


def outcome_row(number: int, outcome: Outcome) -> dict[str, Any]:
    """The columns of an outcome; without usage its five columns stay NULL, which is not the same as 0 tokens."""
    return {
        "number": number,
        "completed_at": outcome.completed_at,
        "verdict": outcome.verdict.value,
        "cost_usd": outcome.cost_usd,
        "avoidable_usd": outcome.avoidable_usd,
        **_usage_row(outcome.usage),
        "latency_ms": outcome.latency_ms,
        "server_latency_ms": outcome.server_latency_ms,
        "billed_ttl": outcome.billed_ttl.value if outcome.billed_ttl else None,
        "request_id": outcome.request_id,
        "error_code": outcome.error_code,
        "error_message": outcome.error_message,
        "error_hint": outcome.error_hint,
        "retryable": outcome.retryable,
    }


def touch_row(touch: Touch, writer: str) -> dict[str, Any]:
    """The columns of a touch; the database gives the number.

    Args:
        writer: names the open ledger that writes it, so that others find what is not theirs.
    """
    return {
        "request_id": touch.request_id,
        "fingerprint": touch.fingerprint,
        "prefix": touch.prefix,
        "group": touch.group,
        "model_id": touch.model_id,
        "region": touch.region,
        "api": touch.api.value,
        "started_at": touch.started_at,
        "source": touch.source.value,
        "drift": touch.drift,
        **_usage_row(touch.usage),
        "latency_ms": touch.latency_ms,
        "writer": writer,
        "ttl": touch.ttl.value if touch.ttl else None,
    }


def closing_row(closing: Closing) -> dict[str, Any]:
    """The columns of a closing; the database gives the number."""
    return {
        "fingerprint": closing.fingerprint,
        "prefix": closing.prefix,
        "closed_at": closing.at,
        "reason": closing.reason,
    }


def closing_from(row: Row[Any]) -> Closing:
    """A closing from a row of `closings`."""
    return Closing(row.prefix, row.fingerprint, row.closed_at, row.reason)


def pause_row(order: PauseOrder) -> dict[str, Any]:
    """The columns of an order to pause or resume; the database gives the number."""
    return {
        "scope": order.scope.value,
        "target": order.target,
        "said_at": order.at,
        "until": order.until,
        "resumes": order.resumes,
        "why": order.why,
        "said_by": order.by,
    }


def pause_from(row: Row[Any]) -> PauseOrder:
    """An order from a row of `pauses`.

    Raises:
        ValueError: its scope is not known to this version.
    """
    scope = Scope(row.scope)
    return PauseOrder(scope, row.target, row.said_at, row.until, row.why, row.said_by, row.resumes, row.number)


def touch_from(row: Row[Any]) -> Touch:
    """A touch from a row of `touches`.

    Raises:
        ValueError: a word in it (api, source) is not known to this version.
    """
    return Touch(
        request_id=row.request_id,
        fingerprint=row.fingerprint,
        prefix=row.prefix,
        group=row.group,
        model_id=row.model_id,
        region=row.region,
        api=Api(row.api),
        started_at=row.started_at,
        source=Source(row.source),
        drift=row.drift,
        usage=_usage_from(row),
        latency_ms=row.latency_ms,
        ttl=Ttl(row.ttl) if row.ttl else None,
    )


def entry_from(row: Row[Any]) -> Entry:
    """An entry from a row of `ENTRY_COLUMNS`.

    Raises:
        ValueError: a word in it (verdict, reason, api, ttl) is not known to this version.
    """
    intent = Intent(
        prefix=row.prefix,
        fingerprint=row.fingerprint,
        model_id=row.model_id,
        region=row.region,
        api=Api(row.api),
        ttl=Ttl(row.ttl),
        reason=Reason(row.reason),
        attempt=row.attempt,
        started_at=row.started_at,
        high_cost_usd=row.high_cost_usd,
        provisioned=row.provisioned,
    )
    return Entry(number=row.number, intent=intent, outcome=_outcome_from(row) if row.completed_at else None)


def _outcome_from(row: Row[Any]) -> Outcome:
    return Outcome(
        completed_at=row.completed_at,
        verdict=Verdict(row.verdict),
        cost_usd=row.cost_usd,
        avoidable_usd=row.avoidable_usd,
        usage=_usage_from(row),
        latency_ms=row.latency_ms,
        server_latency_ms=row.server_latency_ms,
        billed_ttl=Ttl(row.billed_ttl) if row.billed_ttl else None,
        request_id=row.request_id,
        error_code=row.error_code,
        error_message=row.error_message,
        error_hint=row.error_hint,
        retryable=row.retryable,
    )


def _usage_row(usage: Usage | None) -> dict[str, int | None]:
    return {
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cache_read_tokens": usage.cache_read_tokens if usage else None,
        "cache_write_tokens": usage.cache_write_tokens if usage else None,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens if usage else None,
    }


def _usage_from(row: Row[Any]) -> Usage | None:
    if row.input_tokens is None:
        return None
    return Usage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cache_read_tokens=row.cache_read_tokens,
        cache_write_tokens=row.cache_write_tokens,
        cache_write_1h_tokens=row.cache_write_1h_tokens,
    )
