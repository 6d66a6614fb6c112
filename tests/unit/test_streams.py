"""The generated streams of the benchmark: the same for everybody, and of the character that they are named for."""

from __future__ import annotations

import gzip
from collections import defaultdict
from functools import lru_cache
from itertools import pairwise
from statistics import fmean, median

import pytest

from benchmarks.streams import (
    DAY,
    HEADER,
    HOUR,
    LIFETIME_1H,
    LIFETIME_5M,
    PERIOD_1H,
    PERIOD_5M,
    STREAMS,
    WEEK,
    Row,
    best_stop,
    encoded,
    pings_needed,
    rows_of,
)


@lru_cache
def rows(name: str) -> tuple[Row, ...]:
    return tuple(rows_of(name))


def by_prefix(name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for at, prefix, _ in rows(name):
        found[prefix].append(at)
    return found


def gaps(name: str) -> list[float]:
    return [late - early for moments in by_prefix(name).values() for early, late in pairwise(moments)]


@pytest.mark.parametrize("name", STREAMS)
def test_a_seed_gives_the_same_bytes_and_another_seed_others(name):
    assert encoded(rows_of(name)) == encoded(rows(name))
    if name != "adversarial_fixed":
        assert encoded(rows_of(name, seed=2)) != encoded(rows(name))


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_a_trace_in_order_with_one_size_a_prefix(name):
    lines = gzip.decompress(encoded(rows(name))).decode().splitlines(keepends=True)
    assert lines[0] == HEADER
    assert len(lines) == len(rows(name)) + 1
    moments = [row.at for row in rows(name)]
    assert moments == sorted(moments)
    assert moments[0] >= 0
    sizes = {(row.prefix, row.tokens) for row in rows(name)}
    assert len(sizes) == len(by_prefix(name))
    assert min(tokens for _, tokens in sizes) >= 2_000


def test_dense_prefixes_are_asked_for_all_day_and_half_as_often_or_less_at_night():
    day = sum(7 <= row.at % DAY / HOUR < 19 for row in rows("dense"))
    assert day / (len(rows("dense")) - day) == pytest.approx(3, rel=0.05)
    assert len(rows("dense")) / (4 * 14 * 24) == pytest.approx(24, rel=0.03)
    assert max(gaps("dense")) < 2 * HOUR


def test_nobody_is_in_the_office_at_night_or_at_weekends_and_few_at_lunch():
    for name in ("office_hours", "dying"):
        assert all(row.at % WEEK < 5 * DAY and 8 <= row.at % DAY / HOUR < 18 for row in rows(name))
    lunch = sum(12 <= row.at % DAY / HOUR < 13 for row in rows("office_hours"))
    after = sum(13 <= row.at % DAY / HOUR < 14 for row in rows("office_hours"))
    assert lunch / after == pytest.approx(1 / 3, rel=0.15)
    counts = sorted((len(moments) for moments in by_prefix("office_hours").values()), reverse=True)
    assert all(late / early == pytest.approx(1 / 2, rel=0.25) for early, late in pairwise(counts[:5]))


def test_sessions_are_many_and_short_with_few_long_breaks_and_an_end():
    found = by_prefix("sessions")
    assert len(found) == 400
    assert fmean(map(len, found.values())) == pytest.approx(25, rel=0.15)
    assert median(moments[-1] - moments[0] for moments in found.values()) < 2 * HOUR
    pauses = gaps("sessions")
    assert sum(pause > LIFETIME_5M for pause in pauses) / len(pauses) == pytest.approx(0.11, abs=0.02)
    assert sum(pause > HOUR for pause in pauses) / len(pauses) == pytest.approx(0.03, abs=0.01)


def test_sparse_users_find_5m_entries_dead_more_often_than_not():
    pauses = gaps("sparse")
    assert 0.7 < sum(pause > LIFETIME_5M for pause in pauses) / len(pauses) < 0.85
    assert 0.35 < sum(pause > LIFETIME_1H for pause in pauses) / len(pauses) < 0.6


def test_the_dying_end_long_before_the_stream_does_some_of_them_slowly():
    found, end = by_prefix("dying"), rows("dying")[-1].at
    at_once = [moments[-1] for prefix, moments in found.items() if int(prefix.removeprefix("dying-")) % 2 == 0]
    assert sum(end - last > WEEK for last in at_once) >= len(at_once) * 0.7
    assert all(len(moments) > 50 for moments in found.values())


def test_the_fixed_adversary_comes_just_after_the_last_ping_is_of_use():
    """A policy of N pings pays for all of them and for the write, at every single gap made for it."""
    found = by_prefix("adversarial_fixed")
    made_for = [(LIFETIME_5M, PERIOD_5M, pings) for pings in (0, 1, 3, 6, 11)]
    made_for += [(LIFETIME_1H, PERIOD_1H, pings) for pings in (0, 1, 3, 19)]
    for moments, (lifetime, period, pings) in zip(found.values(), made_for, strict=True):
        assert {pings_needed(late - early, lifetime, period) for early, late in pairwise(moments)} == {pings + 1}


def test_the_learner_is_led_on_and_let_down():
    """Whoever bridges what the last gaps taught pays far more than somebody who never pings."""
    for prefix, moments in by_prefix("adversarial_learner").items():
        hourly = int(prefix[-1]) % 2
        lifetime, period, worth = (LIFETIME_1H, PERIOD_1H, 19) if hourly else (LIFETIME_5M, PERIOD_5M, 11)
        needed = [pings_needed(late - early, lifetime, period) for early, late in pairwise(moments)]
        paid = 0.0
        for number in range(40, len(needed)):
            stop = best_stop(needed[number - 40 : number], worth)
            paid += min(needed[number], stop) + worth * (needed[number] > stop)
        assert paid > 1.05 * worth * sum(need > 0 for need in needed[40:])


@pytest.mark.parametrize(
    ("needed", "stop"),
    [([1, 1, 1], 1), ([0, 0], 0), ([20, 20], 0), ([3, 3, 30], 3), ([1, 30, 30, 30], 1), ([1] + [30] * 11, 0)],
)
def test_the_best_stop_bridges_what_is_worth_it(needed, stop):
    assert best_stop(needed, 11) == stop


def test_pings_needed_are_counted_from_the_end_of_the_lifetime():
    assert [pings_needed(gap, 300, 260) for gap in (10, 300, 301, 560, 561)] == [0, 0, 1, 1, 2]
