"""The ledger guard: what the adaptive policy may still risk, measured against never pinging.

It predicts nothing. Costs are in units: 1 is the input price of the prefix. As long as entries live as long as they are
said to, no stream of requests whatever makes a prefix cost more than 1.05 times never pinging and 1.15 units, or all
together more than 1.02 times and 10 units; entries that die early, and requests that nobody told, are not covered.
"""

from __future__ import annotations

_SHARE, _UNITS = 0.05, 1.15
_SHARE_OF_ALL, _UNITS_OF_ALL = 0.02, 10.0


class Account:
    """What one prefix, or all, cost so far, and would have cost if nobody had pinged.

    Attributes:
        own: pings and organic requests.
        shadow: organic requests alone, on an entry that only they touch.
    """

    __slots__ = ("own", "shadow")

    def __init__(self, own: float = 0.0, shadow: float = 0.0) -> None:
        self.own = own
        self.shadow = shadow

    def pay(self, own: float, shadow: float = 0.0) -> None:
        """Add what something cost here and in the shadow."""
        self.own += own
        self.shadow += shadow

    def to_data(self) -> list[float]:
        """Plain data, as `Account(...)` takes it."""
        return [self.own, self.shadow]


def affordable(prefix: Account, everything: Account, own: float, shadow: float = 0.0) -> bool:
    """Whether a cost leaves both accounts within their bounds.

    Args:
        own: what it costs.
        shadow: what the shadow pays at the same time.
    """
    return (
        prefix.own + own <= (1 + _SHARE) * (prefix.shadow + shadow) + _UNITS
        and everything.own + own <= (1 + _SHARE_OF_ALL) * (everything.shadow + shadow) + _UNITS_OF_ALL
    )
