"""The tripwire: a prefix that lost more than its limit in seven days is not pinged any more.

It looks at no ledger. Only traffic can prove a loss: without organic requests that told their usage the low bound of
what was saved is always 0, and every blind prefix would trip; so a blind one never does, and one that tripped and then
falls silent stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from keepwarm.guards.spending import say_usd
from keepwarm.model import GuardState

WINDOW = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Net:
    """Seven days of one prefix.

    Attributes:
        cost_usd: of its pings.
        avoided_usd: what organic requests saved, low bound.
        requests: organic ones.
        told: those of them whose usage is known.
    """

    cost_usd: Decimal
    avoided_usd: Decimal
    requests: int
    told: int

    @property
    def lost_usd(self) -> Decimal:
        """How far the low bound of the net is below 0; negative for a gain."""
        return self.cost_usd - self.avoided_usd

    @property
    def blind(self) -> bool:
        """Whether the requests cannot prove a loss: there were none, or most did not tell their usage."""
        return not self.requests or 2 * self.told < self.requests


def judge(limit_usd: Decimal, net: Net, *, tripped: bool) -> GuardState:
    """Whether a prefix is stopped.

    Args:
        tripped: whether it was until now; it then stays so until traffic shows that less than half the limit is lost,
            or it would start and stop at the limit again and again.
    """
    if net.blind:
        return GuardState.TRIPPED if tripped else GuardState.BLIND
    return GuardState.TRIPPED if net.lost_usd > (limit_usd / 2 if tripped else limit_usd) else GuardState.OK


def can_trip(limit_usd: Decimal, cost_usd: Decimal, *, tripped: bool) -> bool:
    """Whether a closer look is worth its while: nobody lost more than the pings cost."""
    return tripped or cost_usd > limit_usd


def detail_of(limit_usd: Decimal, net: Net) -> str:
    """The figures, in words."""
    if net.blind:
        return "no organic requests with usage were told in seven days"
    return (
        f"tripwire {say_usd(limit_usd)}: pings cost {say_usd(net.cost_usd)} in seven days and are proven to have saved "
        f"{say_usd(net.avoided_usd)}"
    )
