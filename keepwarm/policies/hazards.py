"""How likely a silent prefix is asked for again in the coming ping period, and until when a ping pays.

It knows neither prefixes nor a clock: a silence is measured in stages. Stage n begins when ping n + 1 is due and ends
when the next one is; a request ends it if without that ping the entry would have been dead. The rule
is that of `docs/decisions/0012-adaptive-policy.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

# The last stage of each bin: later stages are rarer and alike. Reads at 0.025 of the input price pay for 49 pings.
_LAST_STAGES = (0, 1, 2, 3, 4, 5, 7, 10, 14, 19, 27, 49)
BINS = len(_LAST_STAGES)
STAGES = _LAST_STAGES[-1] + 1
BIN_OF_STAGE = tuple(next(i for i, last in enumerate(_LAST_STAGES) if stage <= last) for stage in range(STAGES))
_STAGES_IN_BIN = tuple(BIN_OF_STAGE.count(i) for i in range(BINS))

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


class Tally:
    """Silences by ttl, by whether a new prefix had begun meanwhile, and by bin.

    Attributes:
        risk: how many stages of a bin were silent at their start.
        ended: in how many of them a request came.
    """

    __slots__ = ("ended", "risk")

    def __init__(self) -> None:
        self.risk = [0.0] * (4 * BINS)
        self.ended = [0.0] * (4 * BINS)

    def to_data(self) -> dict[str, list[float]]:
        """Plain data, without what was never counted."""
        return {
            str(index): [round(risk, 3), round(ended, 3)]
            for index, (risk, ended) in enumerate(zip(self.risk, self.ended, strict=True))
            if risk or ended
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Sequence[float]]) -> Tally:
        """As `to_data` gave it; places that are not known any more are left out."""
        tally = cls()
        for index, (risk, ended) in data.items():
            if int(index) < len(tally.risk):
                tally.risk[int(index)], tally.ended[int(index)] = float(risk), float(ended)
        return tally

    def add(self, entered: Iterable[tuple[int, int]], ended: int | None) -> None:
        """Count stages that were entered, and where the silence ended.

        Args:
            entered: `(index, stages)`.
            ended: the index in which a request came; None while it is silent.
        """
        risk = self.risk
        for index, stages in entered:
            risk[index] += stages
        if ended is not None:
            self.ended[ended] += 1.0


def index_of(ttl: int, stage: int, superseded: bool) -> int:
    """Where a stage stands in a tally; ttl is 0 for 5m and 1 for 1h."""
    return (2 * ttl + superseded) * BINS + BIN_OF_STAGE[stage]


def stretches(ttl: int, first: int, end: int, superseded_from: int) -> list[tuple[int, int]]:
    """The stages from `first` up to `end` as `(index, stages)`; from `superseded_from` on they are superseded."""
    found = []
    stage, end = first, min(end, STAGES)
    while stage < end:
        upto = min(end, _LAST_STAGES[BIN_OF_STAGE[stage]] + 1)
        if stage < superseded_from < upto:
            upto = superseded_from
        found.append((index_of(ttl, stage, stage >= superseded_from), upto - stage))
        stage = upto
    return found


def chances(circles: Sequence[Tally], ttl: int, superseded: bool | None) -> list[float]:
    """For each bin, the chance that a silence ends in one of its stages, given that it reached it.

    Args:
        circles: from the widest to the narrowest; each starts from what the wider ones say.
        ttl: 0 for 5m, 1 for 1h.
        superseded: None for both together.
    """
    both = superseded is None
    start = (2 * ttl + bool(superseded)) * BINS
    found = _scaled_prior(circles[0], ttl)
    for tally in circles:
        risk, ended = tally.risk, tally.ended
        if both:
            found = [
                (ended[i] + ended[i + BINS] + _PSEUDO_COUNT * chance) / (risk[i] + risk[i + BINS] + _PSEUDO_COUNT)
                for i, chance in enumerate(found, start)
            ]
        else:
            found = [
                (ended[i] + _PSEUDO_COUNT * chance) / (risk[i] + _PSEUDO_COUNT) for i, chance in enumerate(found, start)
            ]
    return found


def _scaled_prior(widest: Tally, ttl: int) -> list[float]:
    risk, ended, start = widest.risk, widest.ended, 2 * ttl * BINS
    found = []
    came = expected = _PRIOR_WEIGHT
    for i, chance in enumerate(PRIORS[ttl], start):
        found.append(min(0.9, chance * came / expected))
        came += ended[i] + ended[i + BINS]
        expected += chance * (risk[i] + risk[i + BINS])
    return found


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
        for _ in range(stages):
            stage -= 1
            worth = certain + silent * worth
            if worth <= 0.0:
                worth, found = 0.0, stage
    return Stop(found, avoided * chance_of[BIN_OF_STAGE[found]] if found < STAGES else 0.0)
