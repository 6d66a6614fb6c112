"""How a Bedrock prompt cache behaves: what one request reads, what it writes, and how long that lives.

It knows no HTTP, no models and no clock, and takes no lock: its caller does. Rules from the Anthropic prompt caching
page and the Amazon Bedrock user guide, "Prompt caching", both read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from keepwarm.fingerprint import Position
from keepwarm.model import Ttl

LOOKBACK_POSITIONS = 20
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Whose entries are shared: nothing written in one place is ever read in another.

    Attributes:
        account: access key id, or the digest of a bearer token.
        home: which of the regions behind an inference profile served the request.
    """

    account: str
    region: str
    model_id: str
    home: int = 0


@dataclass(frozen=True, slots=True)
class Bill:
    """What one request does to the cache, and the tokens that this costs.

    Attributes:
        input_tokens: the uncached rest.
        read: digest of the entry that is read, None without one.
        writes: digest and ttl of each entry that is written.
    """

    input_tokens: int
    read_tokens: int
    write_5m_tokens: int
    write_1h_tokens: int
    read: str | None
    writes: tuple[tuple[str, Ttl], ...]


@dataclass(slots=True)
class _Entry:
    ttl: Ttl
    touched_at: datetime
    readable_at: datetime


class Cache:
    """The entries of every place.

    Attributes:
        time_scale: factor on the lifetimes; 0.02 lets a 5m entry live six seconds.
    """

    def __init__(self, *, time_scale: float = 1.0) -> None:
        self.time_scale = time_scale
        self._entries: dict[tuple[Place, str], _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def bill(self, place: Place, prompt: Sequence[Position], *, min_tokens: int, now: datetime) -> Bill:
        """What a request that starts now would read and write; changes nothing.

        With A the longest prefix read, B the last 1h cache point behind it and C the last cache point of all, the
        request is billed A read, B - A written for 1h, C - B written for 5m, and the rest as input.

        Args:
            place: where it is served.
            prompt: every position, in order.
            min_tokens: cache points with fewer tokens up to and with them are ignored.
            now: aware UTC, the start of the request.
        """
        tokens_through = list(accumulate(tokens_of(position) for position in prompt))
        points = [
            index for index, position in enumerate(prompt) if position.marker and tokens_through[index] >= min_tokens
        ]
        hit = self._longest_living(place, prompt, points, now)
        written = [index for index in points if hit is None or index > hit]
        read_tokens = tokens_through[hit] if hit is not None else 0
        through_1h = max(
            (tokens_through[index] for index in written if prompt[index].marker is Ttl.ONE_HOUR), default=read_tokens
        )
        through_all = tokens_through[written[-1]] if written else read_tokens
        return Bill(
            input_tokens=(tokens_through[-1] if tokens_through else 0) - through_all,
            read_tokens=read_tokens,
            write_5m_tokens=through_all - through_1h,
            write_1h_tokens=through_1h - read_tokens,
            read=prompt[hit].digest if hit is not None else None,
            writes=tuple((prompt[index].digest, prompt[index].marker or Ttl.FIVE_MINUTES) for index in written),
        )

    def settle(self, place: Place, bill: Bill, *, started_at: datetime, readable_at: datetime) -> None:
        """Carry a bill out.

        Args:
            place: as for the bill.
            bill: from `bill` for a request of the same start.
            started_at: aware UTC; lifetimes count from here.
            readable_at: when the first byte of the answer is due, and written entries can be read.
        """
        if bill.read is not None and (entry := self._entries.get((place, bill.read))):
            entry.touched_at = max(entry.touched_at, started_at)
        for digest, ttl in bill.writes:
            entry = self._living(place, digest, started_at)
            if entry:  # another request is writing it at the same time
                entry.touched_at = max(entry.touched_at, started_at)
                entry.readable_at = min(entry.readable_at, readable_at)
                entry.ttl = max(entry.ttl, ttl, key=lambda kind: kind.duration)
            else:
                self._entries[place, digest] = _Entry(ttl, started_at, readable_at)

    def forget(self, place: Place, digest: str) -> None:
        """Drop one entry before its time."""
        self._entries.pop((place, digest), None)

    def evict(self, fits: Callable[[Place], bool] = lambda _: True) -> int:
        """Drop every entry of the places that fit, and tell how many there were."""
        doomed = [key for key in self._entries if fits(key[0])]
        for key in doomed:
            del self._entries[key]
        return len(doomed)

    def purge(self, now: datetime) -> None:
        """Drop what is dead anyway, to free memory."""
        self._entries = {key: entry for key, entry in self._entries.items() if now < self._expiry(entry)}

    def _longest_living(
        self, place: Place, prompt: Sequence[Position], points: Sequence[int], now: datetime
    ) -> int | None:
        # Windows end at their cache points, so the first entry found from the back is the longest prefix.
        for point in reversed(points):
            for index in range(point, max(-1, point - LOOKBACK_POSITIONS), -1):
                entry = self._living(place, prompt[index].digest, now)
                if entry and entry.readable_at <= now:
                    return index
        return None

    def _living(self, place: Place, digest: str, now: datetime) -> _Entry | None:
        entry = self._entries.get((place, digest))
        return entry if entry and now < self._expiry(entry) else None

    def _expiry(self, entry: _Entry) -> datetime:
        return entry.touched_at + self._lifetime(entry.ttl)

    def _lifetime(self, ttl: Ttl) -> timedelta:
        return ttl.duration * self.time_scale


def tokens_of(position: Position) -> int:
    """Tokens of one block: one for four characters of its canonical text, and at least one."""
    return max(1, position.size // _CHARACTERS_PER_TOKEN)
