"""What the reporter does when the daemon is away, slow or unwilling, and when the process forks or ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from keepwarm import clock, reporter
from keepwarm.emulator import Emulator
from keepwarm.reporter import for_botocore
from keepwarm.reporter.calls import Call
from keepwarm.reporter.delivery import Destination
from keepwarm.reporter.sender import Limits, Sender
from tests.builders import shipped_catalog
from tests.receiver import CUT, Receiver

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
QUICK = Limits(interval_seconds=0.02, first_backoff_seconds=0.02, last_backoff_seconds=0.05, timeout_seconds=0.5)
BODY = json.dumps({"system": [{"text": "x"}, {"cachePoint": {"type": "default"}}], "messages": []}).encode()
ARGUMENTS: dict[str, Any] = {
    "modelId": CLAUDE,
    "system": [{"text": "x" * 9000}, {"cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": "q"}]}],
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def client(aws: Path) -> Iterator[Any]:
    with Emulator(catalog=shipped_catalog(), latency_scale=0) as emulator:
        made = boto3.client("bedrock-runtime", region_name="eu-central-1", endpoint_url=emulator.url)
        yield made
        made.close()


def make_sender(url: str, token: str | None = None, **limits: Any) -> Sender:
    settings = replace(QUICK, **limits)
    return Sender(Destination(url, token, settings.timeout_seconds), settings)


def make_call(number: int = 0, body: bytes = BODY, age: timedelta = timedelta(0)) -> Call:
    return Call(
        url=f"https://bedrock-runtime.eu-central-1.amazonaws.com/model/{CLAUDE}/converse",
        region="eu-central-1",
        body=body,
        started_at=clock.utc_now() - age,
        latency_ms=1,
        request_id=f"call-{number}",
    )


def settle(sender: Sender, done: Callable[[reporter.Stats], bool], timeout_seconds: float = 10) -> reporter.Stats:
    """The stats as soon as they are as wanted."""
    until = clock.steady_seconds() + timeout_seconds
    while not done(sender.stats()):
        assert clock.steady_seconds() < until, sender.stats()
        threading.Event().wait(0.005)
    return sender.stats()


def balance(stats: reporter.Stats) -> int:
    """Everything that was seen went somewhere."""
    return stats.reported + stats.dropped + stats.waiting + sum(stats.refused.values()) + sum(stats.skipped.values())


# -- the daemon ---------------------------------------------------------------------------------------------------


def test_touches_go_in_batches_with_the_token(receiver: Receiver) -> None:
    sender = make_sender(receiver.url, token="secret", interval_seconds=60)
    for number in range(1200):
        sender.offer(make_call(number))
    assert sender.hurry().wait(10)
    assert [touch["request_id"] for touch in receiver.touches] == [f"call-{number}" for number in range(1200)]
    assert max(len(json.loads(body)["touches"]) for body in receiver.bodies) == 500
    path, headers = receiver.heads[0]
    assert (path, headers["authorization"]) == ("/v1/touches", "Bearer secret")
    assert sender.stats() == reporter.Stats(seen=1200, reported=1200)


def test_a_touch_arrives_without_anybody_asking(receiver: Receiver) -> None:
    sender = make_sender(receiver.url)
    for number in range(3):
        sender.offer(make_call(number))
        receiver.wait(number + 1)
    assert settle(sender, lambda stats: stats.reported == 3).waiting == 0


@pytest.mark.parametrize("status", [500, 503, 429, CUT])
def test_a_daemon_in_trouble_gets_the_same_touches_later(status: int, receiver: Receiver) -> None:
    receiver.script.extend([status, status])
    sender = make_sender(receiver.url)
    sender.offer(make_call(7))
    assert receiver.wait(1)[0]["request_id"] == "call-7"
    stats = settle(sender, lambda stats: stats.reported == 1)
    assert (stats.failed, sum(stats.errors.values()), stats.dropped) == (2, 2, 0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 302])
def test_a_daemon_that_refuses_the_batch_is_not_asked_again(status: int, receiver: Receiver) -> None:
    receiver.always = status
    sender = make_sender(receiver.url)
    sender.offer(make_call())
    stats = settle(sender, lambda stats: stats.dropped == 1)
    assert (stats.failed, stats.errors, stats.waiting) == (1, {f"http_{status}": 1}, 0)
    assert receiver.attempts == 1


def test_something_else_on_the_daemons_port_is_no_delivery(receiver: Receiver) -> None:
    receiver.content = b"<html>It works!</html>"
    sender = make_sender(receiver.url)
    sender.offer(make_call())
    assert settle(sender, lambda stats: stats.dropped == 1).errors == {"not_a_daemon": 1}


def test_touches_that_the_daemon_did_not_want_are_counted_by_reason(receiver: Receiver) -> None:
    receiver.refuse = [{"index": 0, "request_id": "call-0", "reason": "too_old", "message": "is old"}]
    sender = make_sender(receiver.url, interval_seconds=60)
    for number in range(3):
        sender.offer(make_call(number))
    assert sender.hurry().wait(10)
    stats = sender.stats()
    assert (stats.reported, stats.refused) == (2, {"too_old": 1})
    assert balance(stats) == stats.seen


def test_a_daemon_that_is_away_costs_bounded_memory_and_the_latest_touches_survive(receiver: Receiver) -> None:
    sender = make_sender("http://127.0.0.1:9", queue=50)
    for number in range(500):
        sender.offer(make_call(number))
        if number % 40 == 0:
            settle(sender, lambda _: vars(sender)["_calls"].empty())
    stats = settle(sender, lambda stats: stats.failed > 1 and balance(stats) == stats.seen and stats.waiting <= 50)
    assert stats.dropped >= 450
    assert set(stats.errors) == {"ConnectionRefusedError"}
    vars(sender)["_post"] = Destination(receiver.url, None, 1).post
    assert receiver.wait(50)[-1]["request_id"] == "call-499"


def test_a_queue_that_is_full_drops_what_comes_and_blocks_nobody(receiver: Receiver) -> None:
    receiver.gate.clear()
    sender = make_sender(receiver.url, queue=20, timeout_seconds=30)
    sender.offer(make_call())
    receiver.wait_attempts(1)  # now its thread hangs in a post
    began = clock.steady_seconds()
    for number in range(1000):
        sender.offer(make_call(number))
    assert clock.steady_seconds() - began < 2
    assert sender.stats().dropped == 980
    receiver.gate.set()
    assert settle(sender, lambda stats: stats.waiting == 0).reported == 21


def test_the_daemon_is_told_once_how_many_were_dropped(receiver: Receiver) -> None:
    receiver.script.append(500)
    sender = make_sender(receiver.url, interval_seconds=60)
    sender.offer(make_call(1, age=timedelta(hours=25)))
    for number in (2, 3):
        sender.offer(make_call(number))
        assert settle(sender, lambda _: sender.hurry().wait(0.1)).dropped == 1
    told = [json.loads(body).get("dropped") for body in receiver.bodies]
    assert told == [1, None]  # also told to the answer 500, which did not count


def test_bodies_that_wait_are_bounded_in_bytes(receiver: Receiver) -> None:
    receiver.gate.clear()
    sender = make_sender(receiver.url, raw_bytes=10_000, timeout_seconds=30)
    sender.offer(make_call())
    receiver.wait_attempts(1)
    for _ in range(30):
        sender.offer(make_call(body=BODY.ljust(1000)))
    assert sender.stats().dropped == 20
    receiver.gate.set()
    assert settle(sender, lambda stats: stats.waiting == 0).reported == 11


def test_touches_too_old_for_the_daemon_are_dropped(receiver: Receiver) -> None:
    sender = make_sender(receiver.url, interval_seconds=60)
    sender.offer(make_call(1, age=timedelta(hours=25)))
    sender.offer(make_call(2))
    assert sender.hurry().wait(10)
    assert [touch["request_id"] for touch in receiver.touches] == ["call-2"]
    assert sender.stats().dropped == 1


# -- the application ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["away", "slow", "500", "401", "cut"])
def test_the_application_notices_nothing(trouble: str, client: Any, receiver: Receiver) -> None:
    plain = client.converse(**ARGUMENTS)
    receiver.always = {"500": 500, "401": 401, "cut": CUT}.get(trouble)
    if trouble == "slow":
        receiver.gate.clear()
    url = "http://127.0.0.1:9" if trouble == "away" else receiver.url
    reporter.install(client, url, token=trouble, limits=QUICK)
    began = clock.steady_seconds()
    answers = [client.converse(**ARGUMENTS) for _ in range(20)]
    assert clock.steady_seconds() - began < 5
    assert all(answer["output"] == plain["output"] for answer in answers)


def test_a_mistake_in_the_hook_is_counted_and_never_raised(client: Any, receiver: Receiver) -> None:
    reporter.install(client, receiver.url)

    def spoil(request: Any, **_: Any) -> None:
        request.context[for_botocore._KEY] = ("nonsense", None, None)  # noqa: SLF001 - what no application does

    client.meta.events.register_last("request-created.bedrock-runtime", spoil)
    assert client.converse(**ARGUMENTS)["stopReason"]
    assert reporter.stats(receiver.url).errors == {"AttributeError": 1}


def test_a_stream_that_cannot_be_looked_at_is_handed_out_all_the_same(client: Any, receiver: Receiver) -> None:
    reporter.install(client, receiver.url)

    class Sealed:
        __slots__ = ()

    def seal(parsed: dict[str, Any], **_: Any) -> None:
        parsed["stream"].close()
        parsed["stream"] = Sealed()

    client.meta.events.register_first("after-call.bedrock-runtime.ConverseStream", seal)
    assert isinstance(client.converse_stream(**ARGUMENTS)["stream"], Sealed)
    assert reporter.flush(10, receiver.url)
    assert "usage" not in receiver.touches[0]
    assert reporter.stats(receiver.url).errors == {"TypeError": 1}


def test_a_prompt_that_cannot_be_read_is_dropped_and_the_next_one_reported(receiver: Receiver) -> None:
    sender = make_sender(receiver.url)
    sender.offer(replace(make_call(), started_at="now"))  # type: ignore[arg-type]
    sender.offer(make_call(2))
    assert receiver.wait(1)[0]["request_id"] == "call-2"
    stats = settle(sender, lambda stats: stats.reported == 1)
    assert (stats.dropped, stats.errors) == (1, {"AttributeError": 1})


# -- the process --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_reports_its_own_calls_and_none_of_its_parents(receiver: Receiver) -> None:
    sender = make_sender(receiver.url, interval_seconds=60)
    sender.offer(make_call(1))
    child = os.fork()
    if child == 0:
        sender.offer(make_call(2))
        done = sender.hurry().wait(10) and sender.stats() == reporter.Stats(seen=1, reported=1)
        os._exit(0 if done else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [touch["request_id"] for touch in receiver.touches] == ["call-2"]
    assert sender.hurry().wait(10)
    assert [touch["request_id"] for touch in receiver.touches] == ["call-2", "call-1"]


END = """
import sys
from tests.integration.test_reporter_delivery import make_call, make_sender
sender = make_sender(sys.argv[1], interval_seconds=60, timeout_seconds=30)
sender.offer(make_call(1))
"""


def run_to_the_end(url: str) -> float:
    began = time.perf_counter()  # noqa: TID251 - a child process has no clock of ours
    subprocess.run([sys.executable, "-c", END, url], check=True, timeout=60, cwd=Path(__file__).parents[2])
    return time.perf_counter() - began  # noqa: TID251


def test_the_end_of_the_process_sends_the_rest(receiver: Receiver) -> None:
    run_to_the_end(receiver.url)
    assert [touch["request_id"] for touch in receiver.touches] == ["call-1"]


def test_a_daemon_that_hangs_holds_the_end_up_for_a_second_at_most(receiver: Receiver) -> None:
    usual = run_to_the_end(receiver.url)
    receiver.gate.clear()
    assert run_to_the_end(receiver.url) < usual + 4
