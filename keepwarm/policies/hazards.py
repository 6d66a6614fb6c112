"""How likely a silent prefix is asked for again in the coming ping period, and until when a ping pays.

It knows neither prefixes nor a clock: a silence is measured in stages. Stage n begins when ping n + 1 is due and ends
when the next one is; a request ends it if without that ping the entry would have been dead. The rule
is that of `docs/decisions/0012-adaptive-policy.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import add
from typing import NamedTuple

# The last stage of each bin: later stages are rarer and alike. Reads at 0.025 of the input price pay for 49 pings.
_LAST_STAGES = (0, 1, 2, 3, 4, 5, 7, 10, 14, 19, 27, 49)
BINS = len(_LAST_STAGES)
STAGES = _LAST_STAGES[-1] + 1
BIN_OF_STAGE = tuple(next(i for i, last in enumerate(_LAST_STAGES) if stage <= last) for stage in range(STAGES))
_STAGES_IN_BIN = tuple(BIN_OF_STAGE.count(i) for i in range(BINS))

# By ttl, and by whether a new prefix had begun meanwhile.
KINDS = 4

# Before anything is known, by ttl (5m, 1h): chances that a silence ends in each stage, in the middle of what streams
# of real requests showed, and falling below the price of a ping after three of them.
PRIORS = (
    (0.25, 0.13, 0.09, 0.07, 0.06, 0.05, 0.045, 0.04, 0.03, 0.02, 0.02, 0.01),
    (0.15, 0.08, 0.05, 0.04, 0.04, 0.035, 0.035, 0.03, 0.03, 0.03, 0.02, 0.01),
)

# So many silences of a wider circle weigh as much as those of a narrower one.
_PSEUDO_COUNT = 20.0
# As the prior speaks of a stage that nobody has seen yet, it is scaled by how right it was in the stages before.
_PRIOR_WEIGHT = 2.0

_NOTHING = (0,) * (2 * BINS)


class Tally:
    """Silences by kind, each by bin: how many stages were silent at their start, and in how many a request came.

    Attributes:
        kinds: by `kind_of`; None until the first is counted, then the counts of the first by bin, and of the second.
    """

    __slots__ = ("kinds",)

    def __init__(self) -> None:
        self.kinds: list[list[int] | None] = [None] * KINDS

    def to_data(self) -> dict[str, list[int]]:
        """Plain data: by kind `[bin, silent, came, bin, ...]`, without what was never counted."""
        return {str(kind): _sparse(counts) for kind, counts in enumerate(self.kinds) if counts}

    @classmethod
    def from_data(cls, data: Mapping[str, Sequence[int]]) -> Tally:
        """As `to_data` gave it."""
        tally = cls()
        for kind, numbers in data.items():
            counts = tally.open(int(kind))
            for i, silent, came in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
                counts[i], counts[BINS + i] = silent, came
        return tally

    @classmethod
    def sum_of(cls, tallies: Iterable[Tally]) -> Tally:
        """All of them together."""
        whole = cls()
        for tally in tallies:
            for kind, counts in enumerate(tally.kinds):
                if counts:
                    whole.kinds[kind] = list(map(add, whole.kinds[kind] or _NOTHING, counts))
        return whole

    def open(self, kind: int) -> list[int]:
        """Counts for a kind of which there were none, to be added to in place."""
        counts = self.kinds[kind] = [0] * (2 * BINS)
        return counts


def _sparse(counts: Sequence[int]) -> list[int]:
    seen = (i for i in range(BINS) if counts[i])
    return [number for i in seen for number in (i, counts[i], counts[BINS + i])]


def kind_of(ttl: int, superseded: bool) -> int:
    """Which kind of silence; ttl is 0 for 5m and 1 for 1h."""
    return 2 * ttl + superseded


@lru_cache(maxsize=STAGES * STAGES)
def stretches(first: int, end: int) -> tuple[tuple[int, int], ...]:
    """The stages from `first` up to `end` as `(bin, stages)`."""
    return tuple(Counter(BIN_OF_STAGE[stage] for stage in range(first, end)).items())


def prior(widest: Tally, ttl: int) -> list[float]:
    """The chances to start from: those built in, scaled where nobody was yet by how right they were before."""
    quiet, superseded = (widest.kinds[kind_of(ttl, each)] or _NOTHING for each in (False, True))
    found = []
    came = expected = _PRIOR_WEIGHT
    for i, chance in enumerate(PRIORS[ttl]):
        found.append(min(0.9, chance * came / expected))
        came += quiet[BINS + i] + superseded[BINS + i]
        expected += chance * (quiet[i] + superseded[i])
    return found


def chances(start: Sequence[float], circles: Iterable[Tally], kind: int) -> Sequence[float]:
    """For each bin, the chance that a silence ends in one of its stages, given that it reached it.

    Args:
        start: as `prior` gives it.
        circles: from the widest to the narrowest; each starts from what the wider ones say.
        kind: of the silence.
    """
    for tally in circles:
        counts = tally.kinds[kind]
        if counts:
            start = [
                (came + _PSEUDO_COUNT * chance) / (silent + _PSEUDO_COUNT)
                for silent, came, chance in zip(counts, counts[BINS:], start, strict=False)
            ]
    return start


class Stop(NamedTuple):
    """After how many pings of a silence to let the entry die.

    Attributes:
        saving: what the first ping beyond is expected to save.
    """

    pings: int
    saving: float


def stop(chance_of: Sequence[float], avoided: float, price: float) -> Stop:
    """The first stage in which one more ping does not pay, by backward induction; exact for these chances.

    A ping in a stage pays `price`; a request in it finds the entry alive and avoids `avoided`; without one, the next
    stage is as open as this one was.

    Args:
        chance_of: for each bin, as `chances` gives them.
        avoided: what a request saves that finds the entry alive.
        price: of one ping.
    """
    worth, stage, found = 0.0, STAGES, STAGES
    for chance, stages in zip(reversed(chance_of), reversed(_STAGES_IN_BIN), strict=True):
        certain, silent = avoided * chance - price, 1.0 - chance
        stage -= stages
        if certain > 0.0:
            left = silent**stages
            worth = certain * (1.0 - left) / chance + left * worth
        elif worth == 0.0:
            found = stage
        else:
            worth, gone = _fallen(worth, certain, silent, stages)
            found = stage if gone else found
    return Stop(found, avoided * chance_of[BIN_OF_STAGE[found]] if found < STAGES else 0.0)


def _fallen(worth: float, certain: float, silent: float, stages: int) -> tuple[float, bool]:
    """What is left of a worth before stages that lose by themselves, and whether it is nothing."""
    for _ in range(stages):
        worth = certain + silent * worth
        if worth <= 0.0:
            return 0.0, True
    return worth, False
