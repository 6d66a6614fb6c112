"""Files of arrivals: what is read, and how what is wrong is told."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path

import pytest

from keepwarm.errors import ConfigError
from keepwarm.model import Usage
from keepwarm.simulate.traces import MONDAY, Arrival, read_trace, seconds_of, trace_of
from tests.builders import MONDAY as MARCH
from tests.builders import make_prefix, make_touch

HEADER = "t_seconds,prefix_id,prefix_tokens\n"


@pytest.fixture
def write(tmp_path: Path):
    def put(data: str | bytes, name: str = "trace.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return put


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_trace(path)
    assert "CSV" in caught.value.hint
    return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]


def test_arrivals_count_from_a_monday(write):
    trace = read_trace(write(HEADER + "86400.5,a,1000\n"))
    assert MONDAY.weekday() == 0
    assert trace.name == "trace"
    assert trace.arrivals == (Arrival(MONDAY + timedelta(days=1, seconds=0.5), "a", 1000),)
    assert seconds_of(trace.arrivals[0].at) == 86_400.5


def test_a_compressed_trace_is_read_by_whatever_name(write):
    text = (HEADER + "1,a,10\n").encode()
    assert read_trace(write(gzip.compress(text), "x.csv.gz")).name == "x"
    assert len(read_trace(write(gzip.compress(text), "anything")).arrivals) == 1


def test_rows_out_of_order_are_put_in_order_and_those_of_a_moment_stay(write):
    trace = read_trace(write(HEADER + "5,a,1\n3,b,1\n5,c,1\n3,d,1\n"))
    assert [arrival.prefix_id for arrival in trace.arrivals] == ["b", "d", "a", "c"]


def test_columns_may_stand_elsewhere_among_others(write):
    trace = read_trace(write("\ufeffprefix_tokens, prefix_id,note,t_seconds\n7,a,x,3\n\n8.0,b,x,4\n"))
    assert [(each.prefix_id, each.prefix_tokens) for each in trace.arrivals] == [("a", 7), ("b", 8)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("soon,a,1", ":3: t_seconds 'soon' is not a number"),
        ("nan,a,1", ":3: t_seconds 'nan' is not a number"),
        ("-1,a,1", ":3: t_seconds '-1' must be from 0 to"),
        ("inf,a,1", ":3: t_seconds 'inf' must be from 0 to"),
        ("1700000000000,a,1", ":3: t_seconds '1700000000000' must be from 0 to"),
        ("1,a,-5", ":3: prefix_tokens '-5' must be from 0 to"),
        ("1,a,many", ":3: prefix_tokens 'many' is not a number"),
        ("1,a", ":3: has 2 of at least 3 columns"),
        ("1, ,5", ":3: prefix_id is empty"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(write, row, told):
    (found,) = problems(write(HEADER + "1,a,1\n" + row + "\n2,b,1\n"))
    assert found.startswith(told)


def test_every_wrong_row_is_told_at_once_but_not_thousands(write):
    assert len(problems(write(HEADER + "x,a,1\n" * 3))) == 3
    assert len(problems(write(HEADER + "x,a,1\n" * 3_000))) == 20


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", ": is empty"),
        (HEADER, ": holds no arrivals, only a header"),
        ("1,a,5\n2,a,5\n", ":1: the header lacks t_seconds, prefix_id, prefix_tokens"),
        ("t_seconds,prefix_id\n1,a\n", ":1: the header lacks prefix_tokens"),
        (b"\xff\xfe\x00", ": is not text in UTF-8"),
        (HEADER + '1,"a,5\n', ":2: is not CSV"),
        (gzip.compress(HEADER.encode() * 99)[:-9], ": is damaged"),
        (b"\x1f\x8bnonsense", ": is damaged"),
    ],
    ids=["empty", "only a header", "no header", "a column missing", "not text", "open quote", "cut gzip", "no gzip"],
)
def test_a_wrong_file_is_told(write, data, told):
    (found,) = problems(write(data))
    assert found.startswith(told)


def test_what_cannot_be_read_is_told(tmp_path):
    assert problems(tmp_path / "missing.csv") == [": cannot be read: No such file or directory"]
    assert problems(tmp_path) == [": cannot be read: Is a directory"]


def test_the_touches_of_the_ledger_are_arrivals_with_the_size_that_usage_told():
    known, unknown = make_prefix(fingerprint="k"), make_prefix(name="other", fingerprint="u")
    touches = [
        make_touch(known, 1, started_at=MARCH + timedelta(minutes=1)),
        make_touch(known, 2, usage=Usage(1, 1, 4_000, 500)),
        make_touch(known, 3, fingerprint=""),
        make_touch(unknown, 4, started_at=MARCH + timedelta(minutes=2)),
    ]
    trace = trace_of("ledger", touches, {"k": 5_000, "u": 700})
    assert [(each.at, each.prefix_id, each.prefix_tokens) for each in trace.arrivals] == [
        (MARCH, "support-bot", 4_500),
        (MARCH + timedelta(minutes=1), "support-bot", 4_500),
        (MARCH + timedelta(minutes=2), "other", 700),
    ]


def test_a_ledger_without_touches_is_no_trace():
    with pytest.raises(ConfigError, match="holds no organic requests"):
        trace_of("ledger", [], {})
