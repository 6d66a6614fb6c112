"""What a write at the opening of busy hours is worth, before anybody has asked: latency, bought at a price.

It knows no calendar and no clock: openings are moments in seconds, counted from when the entry would be written, which
is the lead before busy hours begin. What the ledger guard lets be spent is for `learner` to say; pings would leave an
opening nothing of that, so two writes may be risked beyond it until one was of use.

A write ahead costs w, and with chance p a request reads it for r while it lives: w + p r. Without it that request would
have to write, and somebody would wait, which is worth c: p (w + c). So it pays only if

    p (w - r + c) > w,

and never where c is 0: it replaces a write that was due anyway by a write and a read. That is why it takes a
`cold_start_usd`.
"""

from __future__ import annotations

from collections.abc import Sequence

# Before anything is known of a prefix: one in ten of so many openings was of use. It fades like all that is counted, so
# that a prefix that nobody asks for any more comes down to nothing.
_PSEUDO_COUNT, _PRIOR = 2.0, 0.1

# What each opening is worth after the next one: some seven of them count. A prefix that was always used is believed to
# be dead after nine openings if a fourth of a chance is needed, and after five weeks if a hundredth is.
_MEMORY = 0.85

# So many writes in a row may be of no use before the ledger guard has to allow the next one.
_CREDIT = 2


class Openings:
    """How often an opening of the busy hours of one prefix was followed by a request while its entry would have lived.

    An opening before which a request kept the entry alive counts like any other. It counts as soon as the next request
    tells what became of it.
    """

    __slots__ = ("_heard_at", "_in_vain", "_seen", "_used")

    def __init__(self, heard_at: float) -> None:
        """Begin with the first request."""
        self._heard_at = heard_at
        self._seen = _PSEUDO_COUNT
        self._used = [_PRIOR * _PSEUDO_COUNT] * 2
        self._in_vain = 0

    @property
    def heard_at(self) -> float:
        """When the last request came."""
        return self._heard_at

    @property
    def has_credit(self) -> bool:
        """Whether one more write may be risked, whatever the ledger guard says."""
        return self._in_vain < _CREDIT

    def write(self) -> None:
        """An entry was written at an opening; nobody has asked for it yet."""
        self._in_vain += 1

    def hear(self, at: float, openings: Sequence[float], lifetimes: tuple[float, float]) -> None:
        """A request came.

        Args:
            at: not before the last one.
            openings: since the last one, until this one, ascending.
            lifetimes: of a 5m and of a 1h entry.
        """
        self._heard_at = at
        for opening in openings:
            self._seen = self._seen * _MEMORY + 1.0
            for ttl, lifetime in enumerate(lifetimes):
                of_use = opening is openings[-1] and at - opening <= lifetime
                self._used[ttl] = self._used[ttl] * _MEMORY + of_use
                if of_use:
                    self._in_vain = 0

    def chance(self, ttl: int, unheard: int) -> float:
        """The chance that a request comes within the life of an entry that is written at an opening now.

        Args:
            ttl: 0 for 5m and 1 for 1h.
            unheard: openings since the last request, without that of now.
        """
        fade = _MEMORY**unheard
        return self._used[ttl] * fade / (self._seen * fade + (1.0 - fade) / (1.0 - _MEMORY))

    def to_data(self) -> list[float]:
        """Plain data."""
        return [self._heard_at, self._seen, *self._used, self._in_vain]

    @classmethod
    def from_data(cls, data: Sequence[float]) -> Openings:
        """As `to_data` gave it."""
        heard_at, seen, used_5m, used_1h, in_vain = data
        openings = cls(heard_at)
        openings._seen, openings._used = seen, [used_5m, used_1h]
        openings._in_vain = int(in_vain)
        return openings


def expected(chance: float, read: float, write: float, cold_start: float) -> float:
    """What a write at an opening is expected to save; it pays where that is more than its price, `write`.

    Args:
        chance: that a request comes while the entry lives.
        read: price of a read.
        write: price of the write.
        cold_start: what it is worth that the request does not find the entry cold.
    """
    return chance * (write - read + cold_start)
