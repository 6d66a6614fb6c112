from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from keepwarm import dialects, fingerprint
from keepwarm.dialects import dialect_of
from keepwarm.emulator import Emulator
from keepwarm.errors import LedgerError
from keepwarm.ledger import Ledger
from keepwarm.model import Api, Family, Source
from keepwarm.touches import ReportedTouch
from keepwarm.traffic import Places, followers
from keepwarm.traffic.logs import Bucket, LogGroup
from tests.builders import NOVA, shipped_catalog
from tests.integration.traffic_bench import (
    BUCKET,
    GROUP,
    NEVER,
    Town,
    Wall,
    folder,
    make_bucket,
    make_group,
    put_bytes,
    put_events,
    put_object,
)
from tests.invocation_logs import CLAUDE, REGION, Recorder, anthropic_body, converse_body, make_record


@pytest.fixture(autouse=True)
def invocation_logs(cloud: str) -> None:
    make_bucket()
    make_group()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        yield Town(ledger)


def record(number: int, at: datetime, **changes: Any) -> dict[str, Any]:
    moment = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return make_record(requestId=f"request-{number:05}", timestamp=moment, answer=None, **changes)


def ids(numbers: Sequence[int]) -> list[str]:
    return [f"request-{number:05}" for number in sorted(numbers)]


# -- CloudWatch Logs ----------------------------------------------------------------------------------------------


def test_events_are_told_once_however_they_come(town: Town):
    follower = town.follow(LogGroup(GROUP, REGION))
    shuffled = random.Random(7)
    moments = {number: town.wall() + timedelta(seconds=5 * number) for number in range(60)}
    # Each turns up between at once and fourteen minutes after its moment, and every third one twice.
    arrivals = [(moments[number] + timedelta(seconds=shuffled.uniform(0, 840)), number) for number in moments]
    arrivals += [(at + timedelta(seconds=20), number) for at, number in arrivals if number % 3 == 0]
    arrivals.sort()
    while arrivals:
        due = [number for at, number in arrivals if at <= town.wall()]
        arrivals = arrivals[len(due) :]
        if due:
            put_events([(moments[number], record(number, moments[number])) for number in due])
        assert town.poll(follower)
    town.poll(follower, times=21)
    assert town.ear.written == ids(list(moments))
    assert len(town.ear.heard) == 80  # an event each: the twenty that were written twice are two events
    assert town.told == []


def test_a_restart_reads_on_where_the_last_run_ended(town: Town):
    put_events([(town.wall(), record(1, town.wall()))])
    town.poll(town.follow(LogGroup(GROUP, REGION)))
    town.wall.advance(minutes=50)
    put_events([(town.wall() - timedelta(minutes=40), record(2, town.wall()))])  # while nobody read
    restarted = town.follow(LogGroup(GROUP, REGION))
    town.poll(restarted, times=2)
    assert town.ear.written == ids([1, 2])
    assert town.ear.heard.count("request-00002") == 1


def test_a_first_start_hears_of_the_last_hour(town: Town):
    long_ago, lately = town.wall() - timedelta(minutes=100), town.wall() - timedelta(minutes=50)
    put_events([(long_ago, record(1, long_ago)), (lately, record(2, lately))])
    town.poll(town.follow(LogGroup(GROUP, REGION)))
    assert town.ear.written == ids([2])


def test_thousands_of_events_come_in_bounded_portions(town: Town):
    start = town.wall() - timedelta(minutes=30)
    short = converse_body("stable " * 10)
    put_events([(start + timedelta(milliseconds=500 * n), record(n, town.wall(), body=short)) for n in range(3_500)])
    follower = town.follow(LogGroup(GROUP, REGION))
    assert town.poll(follower)
    assert town.ear.written == ids(range(3_500))
    assert town.ear.largest <= 1_000
    town.poll(follower, times=3)
    assert len(town.ear.heard) == 3_500


def test_what_is_no_request_of_ours_to_keep_is_counted_by_its_reason(town: Town):
    now = town.wall()
    lines: list[dict[str, Any] | str] = [
        record(1, now),
        json.dumps(record(2, now))[:200],
        "Permissions are correctly set for Amazon Bedrock logs.",
        record(3, now, requestMetadata={"keepwarm": "ping", "prefix": "bot"}),
        record(4, now, body=converse_body(system=[{"text": "unmarked"}])),
        record(5, now, schemaType="Other"),
        record(6, now + timedelta(days=400)),
    ]
    put_events([(now, line) for line in lines])
    follower = town.follow(LogGroup(GROUP, REGION))
    town.poll(follower)
    assert follower.tally == {
        "touches": 1, "truncated": 2, "ours": 1, "no_cache_point": 1, "unknown_schema": 1, "future_dated": 1
    }  # fmt: skip
    assert town.ear.written == ids([1])


def test_what_the_ledger_could_not_take_is_told_again(town: Town):
    put_events([(town.wall(), record(1, town.wall()))])
    follower = town.follow(LogGroup(GROUP, REGION))
    full = [True]

    def deliver(touches: Sequence[ReportedTouch]) -> None:
        if full:
            raise LedgerError("no space left on device")
        town.ear(touches)

    assert not follower.poll(NEVER, deliver)
    full.clear()
    assert follower.poll(NEVER, deliver)
    assert town.ear.heard == ["request-00001"]
    assert town.told == [("traffic_source_failed", "ledger_unavailable"), ("traffic_source_recovered", None)]


def test_a_group_that_is_not_there_is_told_once_and_read_once_it_is(town: Town):
    follower = town.follow(LogGroup("/not/yet", REGION))
    pauses = []
    for _ in range(6):
        assert not town.poll(follower)
        pauses.append(follower.pause.total_seconds())
    assert pauses == [30, 60, 120, 240, 300, 300]
    make_group("/not/yet")
    put_events([(town.wall(), record(1, town.wall()))], "/not/yet")
    assert town.poll(follower)
    assert follower.pause == timedelta(seconds=15)
    assert town.told == [("traffic_source_failed", "request_refused"), ("traffic_source_recovered", None)]
    assert town.events[0].fields["hint"]
    assert town.ear.written == ids([1])


class _Busy(BaseHTTPRequestHandler):
    """CloudWatch Logs that has too much to do for its first questions."""

    left = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        kind = type(self)
        kind.left -= 1
        status, body = (400, b'{"__type": "ThrottlingException"}') if kind.left >= 0 else (200, b'{"events": []}')
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_throttling_slows_down_and_is_told_once(town: Town, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    _Busy.left = 9  # three polls of three attempts each
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Busy)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", f"http://127.0.0.1:{server.server_port}")
        follower = town.follow(LogGroup(GROUP, REGION))
        assert [town.poll(follower) for _ in range(4)] == [False, False, False, True]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert town.told == [("traffic_source_failed", "throttled"), ("traffic_source_recovered", None)]
    assert town.events[1].fields["failed_for_seconds"] == 45


# -- S3 -----------------------------------------------------------------------------------------------------------


def test_objects_with_several_records_are_told_once_and_nothing_else_in_the_bucket(town: Town):
    now = town.wall()
    put_object(f"{folder(now, 'bedrock/')}a.json.gz", [record(1, now), record(2, now), ""])
    put_object(f"{folder(now, 'bedrock/', '999999999999')}b.json.gz", [record(3, now)])
    put_object(f"{folder(now, 'bedrock/')}data/request-00009_input.json.gz", [converse_body()])
    put_bytes("bedrock/AWSLogs/123456789012/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check", b"ok")
    follower = town.follow(Bucket(f"s3://{BUCKET}/bedrock", REGION))
    town.poll(follower, times=3)
    put_object(f"{folder(now, 'bedrock/')}c.json.gz", [record(4, now)])
    town.poll(follower, times=3)
    assert town.ear.heard == ids([1, 2, 3, 4])
    assert follower.tally == {"touches": 4}


@pytest.mark.parametrize(
    "uri", [f"s3://{BUCKET}", f"s3://{BUCKET}/", f"s3://{BUCKET}/AWSLogs/123456789012/BedrockModelInvocationLogs/"]
)
def test_the_uri_may_name_the_bucket_or_one_accounts_logs(town: Town, uri: str):
    put_object(f"{folder(town.wall())}a.json.gz", [record(1, town.wall())])
    town.poll(town.follow(Bucket(uri, REGION)))
    assert town.ear.written == ids([1])


def test_an_object_that_comes_late_into_the_folder_of_an_hour_that_is_over_is_found(town: Town):
    follower = town.follow(Bucket(f"s3://{BUCKET}", REGION))
    town.poll(follower)
    put_object(f"{folder(town.wall() - timedelta(hours=1))}late.json.gz", [record(1, town.wall())])
    town.poll(follower)
    assert town.ear.heard == ids([1])


def test_an_object_that_is_written_anew_is_read_anew(town: Town):
    follower = town.follow(Bucket(f"s3://{BUCKET}", REGION))
    put_object(f"{folder(town.wall())}a.json.gz", [record(1, town.wall())])
    town.poll(follower)
    put_object(f"{folder(town.wall())}a.json.gz", [record(1, town.wall()), record(2, town.wall())])
    town.poll(follower)
    assert town.ear.written == ids([1, 2])


def test_a_restart_tells_the_ledger_nothing_twice(town: Town):
    put_object(f"{folder(town.wall())}a.json.gz", [record(1, town.wall())])
    town.poll(town.follow(Bucket(f"s3://{BUCKET}", REGION)))
    put_object(f"{folder(town.wall())}b.json.gz", [record(2, town.wall())])
    town.poll(town.follow(Bucket(f"s3://{BUCKET}", REGION)))
    assert town.ear.written == ids([1, 2])


def test_a_damaged_object_costs_what_is_behind_the_damage_and_no_other(town: Town):
    now = town.wall()
    whole = gzip.compress("\n".join(json.dumps(record(n, now)) for n in range(1, 400)).encode(), compresslevel=0)
    put_bytes(f"{folder(now)}a.json.gz", whole[: len(whole) // 2])
    put_bytes(f"{folder(now)}b.json.gz", b"not gzip at all")
    put_object(f"{folder(now)}c.json.gz", [record(500, now)])
    follower = town.follow(Bucket(f"s3://{BUCKET}", REGION))
    assert town.poll(follower)
    assert town.ear.written[-1] == "request-00500"
    assert len(town.ear.written) > 100
    assert follower.tally["truncated"] == 2


def test_a_bucket_that_is_not_there_is_told_with_what_to_do(town: Town):
    follower = town.follow(Bucket("s3://nobody-has-this", REGION))
    assert not town.poll(follower)
    assert town.told == [("traffic_source_failed", "request_refused")]
    assert "KEEPWARM_TRAFFIC_S3" in str(town.events[0].fields["hint"])


# -- bodies in objects of their own -------------------------------------------------------------------------------


def long_record(number: int, at: datetime, uri: str) -> dict[str, Any]:
    found = record(number, at, body=None)
    found["input"]["inputBodyS3Path"] = uri
    return found


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_a_long_body_has_the_digests_of_one_in_the_record(town: Town, pack: Callable[[bytes], bytes]):
    body = converse_body("stable " * 40_000)
    uri = put_bytes(f"{folder(town.wall())}data/1_input.json.gz", pack(json.dumps(body).encode()))
    put_events([(town.wall(), long_record(1, town.wall(), uri)), (town.wall(), record(2, town.wall(), body=body))])
    town.poll(town.follow(LogGroup(GROUP, REGION)))
    one, two = sorted(town.ear.touches, key=lambda touch: touch.request_id)
    assert one.sketch == two.sketch
    assert one.sketch is not None


def test_a_body_that_comes_after_its_record_is_waited_for(town: Town):
    key = f"{folder(town.wall())}data/1_input.json.gz"
    put_events([(town.wall(), long_record(1, town.wall(), f"s3://{BUCKET}/{key}"))])
    follower = town.follow(LogGroup(GROUP, REGION))
    town.poll(follower, times=2)
    assert town.ear.heard == []
    put_bytes(key, gzip.compress(json.dumps(converse_body()).encode()))
    town.poll(follower, times=2)
    assert town.ear.heard == ids([1])


def test_a_body_that_never_comes_is_counted(town: Town):
    now = town.wall()
    put_events([(now, long_record(1, now, f"s3://{BUCKET}/nothing.json.gz")), (now, long_record(2, now, "elsewhere"))])
    follower = town.follow(LogGroup(GROUP, REGION))
    town.poll(follower, times=10)
    assert town.ear.heard == []
    assert follower.tally["body_missing"] == 2


def test_a_body_over_the_limit_is_never_unpacked_whole(town: Town):
    bomb = gzip.compress(b'{"messages": "' + b" " * 60_000_000 + b'"}')
    uri = put_bytes("bomb.json.gz", bomb)
    put_events([(town.wall(), long_record(1, town.wall(), uri))])
    follower = town.follow(LogGroup(GROUP, REGION))
    town.poll(follower)
    assert follower.tally["too_large"] == 1


# -- the whole way ------------------------------------------------------------------------------------------------


def requests() -> list[tuple[str, dict[str, Any]]]:
    """One of every operation and dialect, with images and tools among them."""
    text = "stable " * 1_200
    png = b"\x89PNG" + bytes(range(256)) * 4
    point = {"cachePoint": {"type": "default"}}
    converse = converse_body(text)
    pictured = converse_body(
        text,
        messages=[
            {"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": png}}}, point, {"text": "?"}]}
        ],
        toolConfig={"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}, point]},
    )
    claude = json.dumps(anthropic_body(text, tools=[{"name": "t", "input_schema": {"type": "object"}}]))
    nova_system = [{"text": text, "cachePoint": {"type": "default"}}]
    nova = json.dumps(
        {
            "system": nova_system,
            "messages": [{"role": "user", "content": [{"text": "?"}]}],
            "inferenceConfig": {"maxTokens": 5},
        }
    )
    return [
        ("Converse", {"modelId": CLAUDE, **converse}),
        ("Converse", {"modelId": CLAUDE, **pictured, "requestMetadata": {"team": "support"}}),
        ("ConverseStream", {"modelId": CLAUDE, **converse}),
        ("InvokeModel", {"modelId": CLAUDE, "body": claude}),
        ("InvokeModelWithResponseStream", {"modelId": CLAUDE, "body": claude}),
        ("InvokeModel", {"modelId": NOVA, "body": nova}),
        ("InvokeModelWithResponseStream", {"modelId": NOVA, "body": nova}),
    ]


def expected_sketch(operation: str, arguments: dict[str, Any]) -> fingerprint.Sketch:
    converse = operation.startswith("Converse")
    family = Family.NOVA if arguments["modelId"] == NOVA else Family.ANTHROPIC
    wire = {name: value for name, value in arguments.items() if name not in {"modelId", "requestMetadata"}}
    body = wire if converse else json.loads(arguments["body"])
    dialect = dialect_of(Api.CONVERSE if converse else Api.INVOKE_MODEL, family)
    return fingerprint.cut(fingerprint.sketch(dialects.read(dialect, body)))


def test_the_log_of_a_real_client_tells_the_digests_and_the_usage_of_its_requests(town: Town):
    with Emulator(catalog=shipped_catalog(), latency_scale=0.0, now=town.wall) as emulator:
        client = boto3.client("bedrock-runtime", region_name=REGION, endpoint_url=emulator.url)
        recorder = Recorder(client, town.wall)
        for operation, arguments in requests() * 2:
            recorder.call(operation, **arguments)
            town.wall.advance(seconds=1)
        client.converse(modelId=CLAUDE, **converse_body(), requestMetadata={"keepwarm": "ping", "prefix": "bot"})
        ping = recorder.records[-1] | {"requestId": "ours", "requestMetadata": {"keepwarm": "ping", "prefix": "bot"}}
        log = emulator.log[:-1]
        client.close()
    put_events([(town.wall(), found) for found in [*recorder.records, ping]])
    follower = town.follow(LogGroup(GROUP, REGION))
    town.poll(follower)
    told = {touch.request_id: touch for touch in town.ear.touches}
    assert len(told) == 14
    assert follower.tally == {"touches": 14, "ours": 1}
    for (operation, arguments), entry, found in zip(requests() * 2, log, recorder.records, strict=True):
        touch = told[found["requestId"]]
        assert touch.sketch == expected_sketch(operation, arguments), operation
        assert entry.usage is not None
        assert touch.usage is not None
        assert touch.usage.prompt_tokens == entry.usage.prompt_tokens
        assert (touch.usage.cache_read_tokens, touch.usage.cache_write_tokens) == (
            entry.usage.cache_read_tokens,
            entry.usage.cache_write_tokens,
        )
        if arguments["modelId"] != NOVA:
            assert touch.usage.cache_write_1h_tokens in {entry.usage.cache_write_1h_tokens, None}
        assert (touch.model_id, touch.region, touch.source) == (arguments["modelId"], REGION, Source.INVOCATION_LOG)
        assert abs(touch.started_at - entry.at) <= timedelta(seconds=1)


def test_the_followers_of_an_installation_run_until_they_are_stopped(town: Town):
    put_events([(town.wall(), record(1, town.wall()))])
    put_object(f"{folder(town.wall())}a.json.gz", [record(2, town.wall())])
    places = Places(GROUP, f"s3://{BUCKET}", REGION, timedelta(seconds=1))
    running = followers(places, town.ledger, lambda: (), now=Wall(), tell=town.events.append)
    assert [follower.name for follower in running] == [
        f"logs:{REGION}:{GROUP}",
        f"s3:{REGION}:s3://{BUCKET}",
        "metrics",
    ]
    stop, both = threading.Event(), threading.Event()

    def deliver(touches: Sequence[ReportedTouch]) -> None:
        town.ear(touches)
        if town.ear.written == ids([1, 2]):
            both.set()

    threads = [threading.Thread(target=follower.run, args=(stop, deliver)) for follower in running]
    for thread in threads:
        thread.start()
    assert both.wait(20)
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert town.told == []


def test_nothing_is_followed_that_is_not_asked_for(town: Town):
    places = Places("", "", "", timedelta(seconds=15))
    assert [follower.name for follower in followers(places, town.ledger, lambda: (), now=Wall(), tell=print)] == [
        "metrics"
    ]
