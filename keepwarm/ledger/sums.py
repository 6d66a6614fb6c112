"""Sums of money over many entries, exact although the database keeps amounts as text.

It groups equal amounts in the database, which are few since the hits of a prefix cost the same each time, and adds in
`Decimal`. It connects to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, Select, case, func, select

from keepwarm.guards.spending import Spent
from keepwarm.ledger.tables import intents, outcomes


def spent_query(since: datetime, lately: datetime, up_to: int | None) -> Select[Any]:
    """How often each amount was spent for each prefix, since a moment and lately; provisioned throughput is not money.

    An entry without an outcome counts at its high price.
    """
    wanted = [intents.c.started_at >= since, intents.c.provisioned.is_(False)]
    if up_to is not None:
        wanted.append(intents.c.number <= up_to)
    each = (
        select(
            intents.c.prefix,
            case((intents.c.started_at >= lately, 1), else_=0).label("lately"),
            func.coalesce(outcomes.c.cost_usd, intents.c.high_cost_usd).label("cost_usd"),
        )
        .select_from(intents.outerjoin(outcomes))
        .where(*wanted)
        .subquery()
    )
    return select(*each.c, func.count().label("times")).group_by(*each.c)


def spent_from(rows: Iterable[Row[Any]]) -> list[Spent]:
    """The sums, by name of prefix."""
    found: dict[str, list[Decimal]] = {}
    for row in rows:
        sums = found.setdefault(row.prefix, [Decimal(0), Decimal(0)])
        amount = row.cost_usd * row.times
        sums[0] += amount
        sums[1] += amount * row.lately
    return [Spent(prefix, day_usd=lately, month_usd=whole) for prefix, (whole, lately) in sorted(found.items())]
