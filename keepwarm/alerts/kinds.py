"""What can be wrong, and one alert about it: opened, and resolved once its cause is gone; pure.

It finds nothing out (see `rules`) and sends nothing (see `sender`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What an alert is about; closed."""

    NO_CONFIRMED_HIT = "no_confirmed_hit"
    REWRITES = "rewrites"
    TTL_NOT_HONOURED = "ttl_not_honoured"
    PREFIX_DRIFTED = "prefix_drifted"
    GUARD_TRIPPED = "guard_tripped"
    ACCESS_LOST = "access_lost"
    NET_NEGATIVE = "net_negative"
    LEDGER_NOT_WRITABLE = "ledger_not_writable"
    DAEMON_LATE = "daemon_late"
    TEST = "test"


# Of the daemon itself: told by every daemon, whether it leads or stands by.
OWN = frozenset({Kind.LEDGER_NOT_WRITABLE, Kind.DAEMON_LATE})

SEVERE = frozenset({Kind.NO_CONFIRMED_HIT, Kind.ACCESS_LOST, Kind.LEDGER_NOT_WRITABLE})

HINTS = {
    Kind.NO_CONFIRMED_HIT: "`keepwarm doctor` proves whether its pings warm what production reads",
    Kind.REWRITES: "entries die before their time: see early losses on the page, and `lifetime` in docs/reference.md",
    Kind.TTL_NOT_HONOURED: "the plan follows the billed ttl; register that one, or ask AWS",
    Kind.PREFIX_DRIFTED: "production sends something else than what is registered; register the new request",
    Kind.GUARD_TRIPPED: "`keepwarm guards` shows every guard, docs/reference.md says how to move it",
    Kind.ACCESS_LOST: "`keepwarm doctor` says what to grant; then `keepwarm ping NAME`",
    Kind.NET_NEGATIVE: "`keepwarm advise` says what would cost less",
    Kind.LEDGER_NOT_WRITABLE: "without it no ping is sent: check disk, permissions, database",
    Kind.DAEMON_LATE: "more KEEPWARM_MAX_CONCURRENT_PINGS, a wider `margin`, or a machine that is less busy",
    Kind.TEST: "",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong, or was.

    Attributes:
        subject: name of the prefix, or `all`; the host for what is wrong with a daemon itself.
        about: which of several at once, such as the name of a guard; else empty.
        words: what is wrong, with figures.
        resolved_at: when its cause was gone; None while it stands.
    """

    kind: Kind
    subject: str
    about: str
    words: str
    opened_at: datetime
    resolved_at: datetime | None = None

    @property
    def key(self) -> str:
        """Names the cause: the same for opening and recovery, and for every time it comes back."""
        return ":".join(filter(None, (self.kind.value, self.subject, self.about)))

    @property
    def state(self) -> str:
        """`opened` or `resolved`."""
        return "resolved" if self.resolved_at else "opened"

    @property
    def severity(self) -> str:
        """`info` for a recovery, else `error` or `warning`."""
        if self.resolved_at or self.kind is Kind.TEST:
            return "info"
        return "error" if self.kind in SEVERE else "warning"


def kept(alert: Alert) -> dict[str, str]:
    """An open alert as it is kept over a restart."""
    return {
        "kind": alert.kind.value,
        "subject": alert.subject,
        "about": alert.about,
        "words": alert.words,
        "opened_at": alert.opened_at.isoformat(),
    }


def revived(row: Mapping[str, Any]) -> Alert | None:
    """The alert that was kept; None for what a later version may have written."""
    try:
        opened_at = datetime.fromisoformat(row["opened_at"])
        return Alert(Kind(row["kind"]), str(row["subject"]), str(row["about"]), str(row["words"]), opened_at)
    except (KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on something is wrong.

    Attributes:
        periods: ping periods without a confirmed hit.
        rewrite_share: of the last pings where a hit was due, 0 to 1.
        loss_usd: of a prefix in seven days, by the low bound of its net.
    """

    periods: int = 3
    rewrite_share: float = 0.2
    loss_usd: Decimal = Decimal(1)
