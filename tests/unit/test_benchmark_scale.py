"""The benchmark of scale: what it calls late, cold and dear, and the page that it writes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.scale import BEGIN, END, Figures, Round, contest, lateness, replaced, shares

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ROUND = Round(1_000, False, 300, 500, 300, Path("nowhere"), "http://127.0.0.1:1")
FIGURES = Figures("keepwarm", 1_000, 0.0, 30, True, (0.01, 0.1, 0.5), 1_100, 2.2, 300, 10.0, 1 << 27, 40, {})


def row(name: str, seconds: float, reason: str = "keep_warm") -> tuple[str, str, str, datetime]:
    return name, "f" * 32, reason, AT + timedelta(seconds=seconds)


def test_late_is_what_comes_after_the_planners_moment_and_is_told_by_the_endpoint() -> None:
    rows = [row("a", 0, "cold_in_busy_hours"), row("a", 268)]
    since = AT.timestamp()
    on_time, way = lateness(ROUND, rows, {"a": [since + 0.1, since + 268.25]}, since, since + 300)
    later, _ = lateness(ROUND, rows, {"a": [since + 0.1, since + 275.25]}, since, since + 300)
    assert way == pytest.approx([0.1, 0.25])
    assert later[0] - on_time[0] == pytest.approx(7)
    # The margin is a tenth of a life, and a ping goes out up to a part of the margin early.
    assert 5.25 <= later[0] < 5.25 + 30


def test_what_came_before_the_window_or_was_a_retry_is_not_called_late() -> None:
    rows = [row("a", 0, "cold_in_busy_hours"), row("a", 290, "retry")]
    since = AT.timestamp()
    assert lateness(ROUND, rows, {"a": [since + 1, since + 291]}, since + 280, since + 300)[0] == []
    assert lateness(ROUND, rows, {}, since, since + 300) == ([], [])


def test_each_figure_of_a_peer_stands_beside_its_ratio() -> None:
    peer = replace(FIGURES, name="cron", warm=500, pings=2_200, cpu_seconds=1.1, usd=30.0, late=(0.1, 1.0, 2.0))
    own, other = contest([FIGURES, peer]).splitlines()[2:]
    assert own.startswith("| **keepwarm** | 1,000 | 0.00 % | 0.01 / 0.1 / 0.5 s | 1,100 | 0.7 % | 2.00 ms | $10.00 |")
    assert "| 500 (0.50) |" in other
    assert "(10.00) | 2,200 (2.00) | 0.4 % (0.50) | 0.50 ms (0.25) | $30.00 (3.00) | 30 s |" in other


def test_the_operators_settings_fit_the_number_of_prefixes() -> None:
    assert (ROUND.workers, ROUND.requests_per_minute) == (16, 600)
    many = replace(ROUND, prefixes=100_000)
    assert many.pings_a_second == pytest.approx(370, abs=1)
    assert (many.workers, many.requests_per_minute) == (371, 25_000)


def test_shares_are_the_median_the_99th_percentile_and_the_greatest() -> None:
    assert shares([float(number) for number in range(101)]) == (50, 99, 100)


def test_the_page_keeps_all_but_its_figures() -> None:
    page = f"# Scale\n\nWords.\n\n{BEGIN}\n\nold\n\n{END}\n\nMore.\n"
    assert replaced(page, "new") == f"# Scale\n\nWords.\n\n{BEGIN}\n\nnew\n\n{END}\n\nMore.\n"
    assert "new" in replaced("", "new")
