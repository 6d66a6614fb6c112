"""What each policy captures of the saving that somebody makes who knows the future, on streams of arrivals.

It replays through `keepwarm.simulate`, that is through the planner and the policies of the daemon; of its own it has
only rules of others that keepwarm does not offer. It writes the section on policies of a page, and prints it.

Run: `python benchmarks/policies.py [DIRECTORY]... [--page docs/benchmarks.md]`. Without a directory of traces (CSV,
`t_seconds,prefix_id,prefix_tokens`) it takes the streams of `benchmarks/streams.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean, median

from keepwarm import planner, simulate
from keepwarm.model import (
    ALWAYS,
    AdaptivePolicy,
    BusyHours,
    BusyHoursPolicy,
    Course,
    Entry,
    IdleLimitPolicy,
    ModelFacts,
    Policy,
    Prefix,
    PrefixState,
    Touch,
    Ttl,
)
from keepwarm.registry import load_catalog
from keepwarm.simulate import CLAIRVOYANT, Candidate, Figures, Measure, Setting, Trace
from keepwarm.simulate.advice import busy_hours_seen
from keepwarm.simulate.traces import MONDAY, Arrival, by_prefix

if __name__ == "__main__":  # a script finds its own directory only
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import streams

MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
SINCE_SHARE = 0.3
GROUPS = ("shared", "sessions", "sparse", "adversarial")
BEGIN, END = "<!-- policies: begin -->", "<!-- policies: end -->"

_FIVE, _HOUR = Ttl.FIVE_MINUTES, Ttl.ONE_HOUR


# -- the rules of others ------------------------------------------------------------------------------------------


class HazardRule:
    """Ping on while the chance of a request in the coming ping period is above a fixed threshold.

    The chances are counted over the gaps of all prefixes that ended so far. Its weaknesses: it looks one period ahead,
    so it never bridges an empty one; and a prefix that nobody asks for any more has no end of its last gap, and is not
    counted.
    """

    # So many gaps must have lasted so long before their endings are believed.
    _LEAST = 20

    def __init__(self, ttl: Ttl, threshold: float) -> None:
        self._ttl = ttl
        self._threshold = threshold
        self._needed: Counter[int] = Counter()
        self._last: dict[str, Touch] = {}
        self._stop = 0
        self._seen = 0

    def hear(self, prefix: Prefix, _before: PrefixState, touch: Touch) -> None:
        """Count the gap that ended, and stop where the next ping is no longer likely enough to be of use."""
        before = self._last.get(prefix.name)
        self._last[prefix.name] = touch
        if before:
            period = planner.mean_ping_period(prefix, PrefixState())
            needed = -((before.started_at + prefix.lifetime - touch.started_at) // period)
            self._needed[max(0, needed)] += 1
            self._seen += 1
            if self._seen % 50 == 0:
                self._stop = self._find_stop()

    def pinged(self, _prefix: Prefix, _entry: Entry) -> None:
        """It believes that entries live as long as they should."""

    def course(self, _prefix: Prefix, _state: PrefixState, _now: datetime) -> Course:
        """How many pings it wants, of any prefix."""
        return Course(self._stop, self._ttl)

    def choose_ttl(self, _prefix: Prefix, _state: PrefixState, _now: datetime) -> Ttl:
        """Always the same."""
        return self._ttl

    def _find_stop(self) -> int:
        lasting = self._seen - self._needed[0]
        stop = 0
        while lasting >= self._LEAST and self._needed[stop + 1] / lasting > self._threshold:
            stop += 1
            lasting -= self._needed[stop]
        return stop


@dataclass(frozen=True)
class Rival:
    """One row of the tables.

    Attributes:
        policy: None is the clairvoyant.
        ttl: None where each write chooses.
        threshold: of the hazard rule; None for others.
    """

    name: str
    policy: Policy | None
    ttl: Ttl | None
    threshold: float | None = None


def rivals() -> Iterator[Rival]:
    """Ours and those of others, the clairvoyants last."""
    yield Rival("5m, never a ping", IdleLimitPolicy(0), _FIVE)
    for pings in (1, 3, 6, 11):
        yield Rival(f"5m, {pings} ping{'s' * (pings > 1)}", IdleLimitPolicy(pings), _FIVE)
    yield Rival("5m, busy hours", BusyHoursPolicy(), _FIVE)
    yield Rival("5m, hazard > 8.7 %", AdaptivePolicy(), _FIVE, 0.087)
    for pings in (0, 1, 3, 19):
        yield Rival(f"1h, {pings or 'never a'} ping{'s' * (pings > 1)}", IdleLimitPolicy(pings), _HOUR)
    yield Rival("1h, busy hours", BusyHoursPolicy(), _HOUR)
    yield Rival("1h, hazard > 5.3 %", AdaptivePolicy(), _HOUR, 0.053)
    yield Rival("**5m, adaptive**", AdaptivePolicy(), _FIVE)
    yield Rival("**1h, adaptive**", AdaptivePolicy(), _HOUR)
    yield Rival("**auto, adaptive**", AdaptivePolicy(), None)
    yield Rival("5m, clairvoyant", None, _FIVE)
    yield Rival("1h, clairvoyant", None, _HOUR)


def run(trace: Trace, measure: Measure, rival: Rival, facts: ModelFacts, busy: BusyHours) -> Figures:
    """One rival on one stream."""
    if rival.policy is None:
        return measure.clairvoyant(CLAIRVOYANT, rival.ttl).total
    learner: Callable[[ModelFacts], simulate.Learner] = simulate.new_learner
    if rival.threshold is not None and rival.ttl:
        ttl, threshold = rival.ttl, rival.threshold
        learner = lambda _: HazardRule(ttl, threshold)  # noqa: E731 - one expression
    hours = busy if isinstance(rival.policy, BusyHoursPolicy) else ALWAYS
    candidate = Candidate(rival.name, rival.policy, rival.ttl)
    return simulate.run(trace, measure, candidate, Setting(facts, learner=learner, busy_hours=hours)).total


# -- streams ------------------------------------------------------------------------------------------------------


def group_of(trace: Trace) -> str:
    """What kind of stream it is, as its arrivals tell.

    Sessions: the median prefix has all its requests, ten or more, on one day. Sparse: fewer than ten requests on a day
    on which a prefix has any.
    """
    if trace.name.startswith("adversarial"):
        return "adversarial"
    days = {name: {each.at.date() for each in arrivals} for name, arrivals in by_prefix(trace.arrivals)}
    requests = Counter(arrival.prefix_id for arrival in trace.arrivals)
    if median(map(len, days.values())) == 1 and median(requests.values()) >= 10:
        return "sessions"
    return "sparse" if len(trace.arrivals) / sum(map(len, days.values())) < 10 else "shared"


def busy_hours_of(trace: Trace) -> BusyHours:
    """The hours that somebody would register who has seen the part of a stream that is not counted."""
    seen = trace.arrivals[: max(1, int(len(trace.arrivals) * SINCE_SHARE))]
    return busy_hours_seen([arrival.at for arrival in seen], "UTC")


def generated(seed: int) -> Iterator[Trace]:
    """The streams of the generator."""
    for name in streams.STREAMS:
        rows = streams.rows_of(name, seed)
        yield Trace(name, tuple(Arrival(MONDAY + timedelta(seconds=at), prefix, tokens) for at, prefix, tokens in rows))


def read(directories: Iterable[Path]) -> Iterator[Trace]:
    """The traces in directories, by name."""
    for directory in directories:
        for path in sorted([*directory.glob("*.csv"), *directory.glob("*.csv.gz")]):
            yield simulate.read_trace(path)


# -- measuring ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One rival on one stream, as plain numbers."""

    saving: float | None
    saving_at_ttl: float | None
    cost_to_never: float | None
    cold: float | None
    pings: int
    usd: float


@dataclass(frozen=True)
class Found:
    """All rivals on one stream."""

    name: str
    group: str
    requests: int
    prefixes: int
    days: float
    rows: Mapping[str, Row]


def measured(trace: Trace) -> Found:
    """Run all rivals on a stream."""
    facts = load_catalog(None).find(MODEL, "")
    if facts is None:
        raise SystemExit(f"the catalog has no prices of {MODEL}")
    measure, busy = Measure(trace, facts, SINCE_SHARE), busy_hours_of(trace)
    rows = {}
    for rival in rivals():
        figures = run(trace, measure, rival, facts, busy)
        rows[rival.name] = Row(
            saving=figures.saving_captured,
            saving_at_ttl=figures.saving_captured_at_ttl,
            cost_to_never=figures.cost_to_never,
            cold=figures.cold_rate,
            pings=figures.spent.pings,
            usd=figures.spent.cost.usd,
        )
    return Found(
        name=trace.name,
        group=group_of(trace),
        requests=len(trace.arrivals),
        prefixes=len({arrival.prefix_id for arrival in trace.arrivals}),
        days=(trace.arrivals[-1].at - trace.arrivals[0].at) / timedelta(days=1),
        rows=rows,
    )


# -- writing ------------------------------------------------------------------------------------------------------


def section(found: Sequence[Found], command: str) -> str:
    """The section on policies, as Markdown."""
    groups = [group for group in GROUPS if any(each.group == group for each in found)]
    names = list(found[0].rows)
    ours = [name for name in names if name.startswith("**")]
    savings = _table(["policy", *groups, "all, mean"], (_saving_row(name, groups, found) for name in names))
    pinging = [name for name in names if "clairvoyant" not in name]
    at_ttl = _table(["policy", *groups, "worst cost / never"], (_ttl_row(name, groups, found) for name in pinging))
    head = ["stream", "kind", "requests", "prefixes", "days", "best rule of others", "captures", *ours]
    each = _table(head, (_stream_row(one, ours) for one in found))
    parts = [_MADE.format(command=command, model=MODEL, share=1 - SINCE_SHARE)]
    return "\n\n".join([*parts, _OF_ALL, savings, _WITHIN, at_ttl, "### Each stream", each])


_MADE = (
    "Made by `{command}`, at the prices of `{model}`. Counted is the last {share:.0%} of the arrivals of each stream; "
    "the adaptive policy learns online, from nothing. *Busy hours* are those that hold nine tenths of the requests of "
    "the part before."
)
_OF_ALL = """### Of the saving of the clairvoyant

Percent of what somebody saves over never pinging at 5m who knows the future and chooses every ttl: median (lowest …
highest) over the streams of a kind. Below 0 it costs more than never pinging."""
_WITHIN = """### Within a ttl

The same within the ttl of the row: percent of what the clairvoyant of that ttl saves over never pinging at that ttl,
mean over the streams of a kind; and the highest cost / never pinging of any stream. `auto` is held against 5m and
against the clairvoyant who chooses."""


def _saving_row(name: str, groups: Sequence[str], found: Sequence[Found]) -> list[str]:
    by_group = _by_group(found, lambda each: each.rows[name].saving)
    every = [value for values in by_group.values() for value in values]
    return [name, *(_spread(by_group[group]) for group in groups), _percent(fmean(every) if every else None)]


def _ttl_row(name: str, groups: Sequence[str], found: Sequence[Found]) -> list[str]:
    by_group = _by_group(found, lambda each: each.rows[name].saving_at_ttl)
    ratios = [ratio for each in found if (ratio := each.rows[name].cost_to_never) is not None]
    means = [_percent(fmean(by_group[group]) if by_group[group] else None) for group in groups]
    return [name, *means, f"{max(ratios):.2f}" if ratios else "-"]


def _stream_row(found: Found, ours: Sequence[str]) -> list[str]:
    fixed = [name for name in found.rows if "clairvoyant" not in name and not name.startswith("**")]
    best = max(fixed, key=lambda name: found.rows[name].saving or 0.0)
    return [
        found.name,
        found.group,
        f"{found.requests:,}",
        f"{found.prefixes:,}",
        f"{found.days:.0f}",
        best,
        _percent(found.rows[best].saving),
        *(_percent(found.rows[name].saving) for name in ours),
    ]


def _by_group(found: Iterable[Found], value: Callable[[Found], float | None]) -> defaultdict[str, list[float]]:
    by_group: defaultdict[str, list[float]] = defaultdict(list)
    for each in found:
        if (known := value(each)) is not None:
            by_group[each.group].append(known)
    return by_group


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle = _percent(median(values))
    return middle if len(values) == 1 else f"{middle} ({_percent(min(values))} … {_percent(max(values))})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replaced(page: str, text: str) -> str:
    """The page with this text as its section on policies; a page without one gets it at its end."""
    if BEGIN not in page:
        page = (page.rstrip() or "# Benchmarks") + f"\n\n## Policies\n\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directories", metavar="DIRECTORY", type=Path, nargs="*", help="with traces; else $TRACES")
    parser.add_argument("--only", action="append", help="this stream only; may be given again")
    parser.add_argument("--seed", type=int, default=1, help="of the generated streams")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="streams at once")
    parser.add_argument("--page", type=Path, help="the page whose section on policies is written")
    chosen = parser.parse_args()
    places = chosen.directories or [Path(place) for place in [os.environ.get("TRACES", "")] if place]
    traces = [
        trace for trace in [*read(places), *generated(chosen.seed)] if not chosen.only or trace.name in chosen.only
    ]
    if not traces:
        raise SystemExit("no stream of that name; see benchmarks/streams.py, or give a directory of traces")
    with ProcessPoolExecutor(chosen.jobs) as pool:
        found = sorted(pool.map(measured, traces), key=lambda each: (GROUPS.index(each.group), each.name))
    named = " ".join(["python benchmarks/policies.py", *(["DIRECTORY"] if places else []), f"--seed {chosen.seed}"])
    text = section(found, named)
    if chosen.page:
        page = chosen.page.read_text() if chosen.page.exists() else ""
        chosen.page.write_text(replaced(page, text))
    print(text)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
