"""The campaign's own eyes: each invariant is seen broken where it is."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from keepwarm.emulator import Request
from keepwarm.model import Usage
from tests.builders import CLAUDE, MONDAY, facts_of
from tests.chaos import invariants
from tests.chaos.invariants import Findings
from tests.chaos.scenarios import Heard, judge
from tests.chaos.schedule import Kind, draw
from tests.chaos.world import straightened

SECOND = timedelta(seconds=1)
WRITE = Usage(7, 1, 0, 5_000)


def request(seconds: float, *, name: str = "a", code: str = "", usage: Usage | None = WRITE) -> Request:
    refused = bool(code)
    return Request(
        number=1,
        at=MONDAY + seconds * SECOND,
        access_key="AKIAEXAMPLE",
        region="eu-central-1",
        model_id=CLAUDE,
        operation="InvokeModel",
        status=429 if refused else 200,
        error_code=code,
        metadata={} if refused else {"prefix": name},
        user_agent="Boto3/1 keepwarm/1",
        usage=None if refused else usage,
        cache_point_digests=(),
        latency_ms=0,
        home=0,
    )


def row(seconds: float, *, name: str = "a", verdict: str | None = "hit") -> dict[str, object]:
    started_at = f"{MONDAY + seconds * SECOND:%Y-%m-%d %H:%M:%S.%f}"
    return {"prefix": name, "started_at": started_at, "verdict": verdict, "reason": "keep_warm", "model_id": CLAUDE}


def broken(check: object, *arguments: object) -> list[str]:
    findings = Findings()
    check(findings, *arguments)
    return [told for found in findings.broken.values() for told in found]


@pytest.mark.parametrize(
    ("log", "rows", "count"),
    [
        ([request(1), request(9)], [row(0.9), row(8.9)], 0),
        ([request(1), request(9)], [row(0.9)], 1),
        ([request(1)], [row(2)], 1),  # written after it was sent
        ([request(1)], [row(0.9, name="b")], 1),
        ([request(1, code="ThrottlingException")], [row(0.9)], 0),
        ([request(1, code="ThrottlingException"), request(1.2)], [row(0.9)], 1),
        ([], [row(1)], 0),  # killed between writing and sending
    ],
)
def test_a_request_without_an_entry_from_before_it_is_seen(log, rows, count):
    assert len(broken(invariants.check_entries, log, rows)) == count


@pytest.mark.parametrize(("verdict", "count"), [("hit", 1), (None, 1), ("error", 0), ("unknown", 0)])
def test_two_pings_of_one_slot_are_seen_unless_the_first_failed(verdict, count):
    rows = [row(0, verdict=verdict), row(2), row(9), row(3, name="b")]
    assert len(broken(invariants.check_gaps, rows, 5 * SECOND)) == count


def test_a_ping_at_the_end_of_busy_hours_or_later_is_seen():
    rows = [row(0), row(10), row(11), row(99, name="b")]
    assert len(broken(invariants.check_hours, rows, {"a": MONDAY + 10 * SECOND})) == 2


def test_one_ping_too_many_in_a_minute_is_seen():
    assert not broken(invariants.check_pace, [row(0), row(1), row(60)], 2)
    assert len(broken(invariants.check_pace, [row(0), row(1), row(59)], 2)) == 1
    assert not broken(invariants.check_pace, [row(0), row(1), row(59, name="b")], 2, {"b"})


def test_a_cap_that_was_passed_at_what_was_billed_is_seen():
    prices, log = facts_of(CLAUDE).prices, [request(0), request(1), request(2, name="b")]
    assert not broken(invariants.check_caps, log, {"a": Decimal("0.05")}, prices)
    assert len(broken(invariants.check_caps, log, {"a": Decimal("0.03")}, prices)) == 1


def test_a_gap_across_a_clock_that_was_set_is_not_held_against_anybody_and_any_other_is():
    rows = [row(0), row(2), row(4)]
    assert len(broken(invariants.check_gaps, rows, 5 * SECOND, [MONDAY + SECOND / 2])) == 1


def test_stamps_of_a_clock_that_was_set_are_brought_back_by_whole_hours():
    for hours in (-1, 0, 1):
        told = straightened(row(3_600 * hours + 7.5), MONDAY)
        assert told["started_at"] == row(7.5)["started_at"]


def test_a_canary_in_any_file_is_seen_but_where_it_belongs(tmp_path):
    (tmp_path / "prompt.md").write_text("canary")
    (tmp_path / "ledger.sqlite-wal").write_bytes(b"\x00canary\x00")
    (tmp_path / "log.jsonl").write_text("nothing")
    assert broken(invariants.check_files, tmp_path, ["canary"]) == ["'canary' in ledger.sqlite-wal"]


def test_a_scenario_that_failed_is_seen_and_so_is_that_there_are_none():
    heard = Heard()
    assert broken(judge, heard) == ["none was found"]
    heard.results |= {"one": "passed", "two": "failed"}
    heard.told["two"] = "assert False"
    assert broken(judge, heard) == ["two: assert False"]


def test_the_same_seed_draws_the_same_faults_and_a_round_has_every_kind():
    assert draw(7, 60) == draw(7, 60) != draw(8, 60)
    assert {episode.kind for episode in draw(3, len(Kind))} == set(Kind)
