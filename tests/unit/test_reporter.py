"""The reporter's pure parts: what a call becomes, which counts an answer tells, and how streams are looked at."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.emulator.eventstream import event
from keepwarm.model import Usage
from keepwarm.reporter.calls import Call, Drawn, Skip, draw, is_call
from keepwarm.reporter.for_litellm import MAX_OPEN_CALLS, Notes, Sent, call_of, sent_of, usage_of_litellm
from keepwarm.reporter.passing import MAX_ANSWER_BYTES, BodyBytes, Events, Frames, Passing, watch_body, watch_events
from keepwarm.reporter.sender import Backlog, Limits
from keepwarm.reporter.tally import Stats, Tally, add_up
from keepwarm.reporter.usage import usage_of, usage_of_headers, usage_of_pieces

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOST = "https://bedrock-runtime.eu-central-1.amazonaws.com"
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
POINT = {"cachePoint": {"type": "default"}}
CONTROL = {"cache_control": {"type": "ephemeral"}}
CONVERSE: dict[str, Any] = {"system": [{"text": "secret"}, POINT], "messages": []}
ANTHROPIC: dict[str, Any] = {"anthropic_version": "x", "system": [{"type": "text", "text": "secret", **CONTROL}]}


def make_call(body: Any = None, **changes: Any) -> Call:
    settings: dict[str, Any] = {
        "url": f"{HOST}/model/{CLAUDE}/converse",
        "region": "",
        "body": json.dumps(CONVERSE if body is None else body).encode(),
        "started_at": NOON,
        "latency_ms": 5,
        "request_id": "r-1",
    }
    return Call(**settings | changes)


def touch_of(call: Call) -> dict[str, Any]:
    drawn = draw(call)
    assert isinstance(drawn, Drawn), drawn
    found: dict[str, Any] = json.loads(drawn.text)
    return found


# -- calls --------------------------------------------------------------------------------------------------------


def test_a_touch_says_who_was_asked_and_when_and_holds_no_text() -> None:
    moment = datetime(2026, 11, 22, 13, 0, 0, 123, tzinfo=timezone(timedelta(hours=1)))
    touch = touch_of(make_call(started_at=moment, usage=Usage(1, 2, 3, 4, 5)))
    assert touch.pop("sketch")["blocks"][0][0] == "system"
    assert touch == {
        "request_id": "r-1",
        "started_at": "2026-11-22T12:00:00.000123Z",
        "api": "converse",
        "model_id": CLAUDE,
        "region": "eu-central-1",
        "source": "reporter",
        "latency_ms": 5,
        "usage": {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_read_tokens": 3,
            "cache_write_tokens": 4,
            "cache_write_1h_tokens": 5,
        },
    }
    assert "secret" not in repr(make_call())


def test_a_call_without_a_request_id_gets_one_of_its_own() -> None:
    assert touch_of(make_call(request_id=""))["request_id"] != touch_of(make_call(request_id=""))["request_id"]


@pytest.mark.parametrize(
    ("url", "headers", "told", "region"),
    [
        (HOST, {}, "us-east-1", "eu-central-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", {}, "", "us-gov-west-1"),
        ("https://vpce-1.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", {}, "", "ap-southeast-2"),
        (
            "http://127.0.0.1:1",
            {"authorization": "AWS4-HMAC-SHA256 Credential=A/20261122/eu-west-1/b/a"},
            "",
            "eu-west-1",
        ),
        ("http://127.0.0.1:1", {"authorization": "Bearer x"}, "us-east-2", "us-east-2"),
    ],
)
def test_the_region_is_that_of_the_signature_else_the_host_else_the_client(
    url: str, headers: dict[str, str], told: str, region: str
) -> None:
    assert touch_of(make_call(url=f"{url}/model/m/converse", headers=headers, region=told))["region"] == region


def test_the_model_id_is_unquoted_whatever_quoted_it() -> None:
    arn = "arn:aws:bedrock:eu-central-1:1:application-inference-profile/abc"
    for quoted in ("arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Aapplication-inference-profile%2Fabc", arn):
        assert touch_of(make_call(ANTHROPIC, url=f"{HOST}/model/{quoted}/invoke"))["model_id"] == arn


@pytest.mark.parametrize(
    ("changes", "skip"),
    [
        ({"headers": {"user-agent": "Boto3/1 keepwarm/0.1"}}, Skip.OURS),
        ({"body": {**CONVERSE, "requestMetadata": {"keepwarm": "ping"}}}, Skip.OURS),
        ({"headers": {"x-amzn-bedrock-request-metadata": '{"keepwarm": "ping"}'}}, Skip.OURS),
        ({"body": {"messages": [{"role": "user", "content": [{"text": "q"}]}]}}, Skip.NO_CACHE_POINT),
        ({"body": {"messages": [{"role": "user", "content": [{"text": '"cachePoint"'}]}]}}, Skip.NO_CACHE_POINT),
        ({"body": {"messages": "cachePoint", "cachePoint": 1}}, Skip.NOT_A_PROMPT),
        ({"url": f"{HOST}/model/m/count-tokens"}, Skip.NOT_A_PROMPT),
        ({"body": ["cachePoint"]}, Skip.NO_CACHE_POINT),
    ],
)
def test_what_is_no_touch_says_why(changes: dict[str, Any], skip: Skip) -> None:
    body = changes.pop("body", None)
    assert draw(make_call(body, **changes)) is skip


@pytest.mark.parametrize("body", [b'{"cachePoint"', b'"cachePoint"' * 2, b'{"cachePoint":' + b"[" * 200_000])
def test_a_body_that_cannot_be_read_is_no_touch(body: bytes) -> None:
    call = make_call()
    call.body = body
    assert draw(call) is Skip.NO_CACHE_POINT


def test_too_many_blocks_make_a_touch_without_a_sketch() -> None:
    drawn = draw(make_call({"system": [*[{"text": "t"}] * 257, POINT], "messages": []}))
    assert isinstance(drawn, Drawn)
    assert not drawn.sketched
    assert "sketch" not in json.loads(drawn.text)
    longest = touch_of(make_call({"system": [*[{"text": "t"}] * 256, POINT, *[{"text": "t"}] * 9]}))
    assert len(longest["sketch"]["blocks"]) == 256


def test_only_the_four_operations_are_calls() -> None:
    paths = ("converse", "converse-stream", "invoke", "invoke-with-response-stream", "count-tokens", "async-invoke")
    assert [is_call(f"/model/m/{path}") for path in paths] == [True] * 4 + [False] * 2
    assert not is_call("/v1/messages")


# -- usage --------------------------------------------------------------------------------------------------------

METRICS = {
    "amazon-bedrock-invocationMetrics": {"inputTokenCount": 1, "outputTokenCount": 2, "cacheReadInputTokenCount": 3}
}
START = {
    "type": "message_start",
    "message": {
        "usage": {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 4,
            "cache_creation": {"ephemeral_1h_input_tokens": 4},
        }
    },
}
DELTA = {"type": "message_delta", "usage": {"output_tokens": 9, "cache_read_input_tokens": None}}


def chunk(content: Any) -> bytes:
    return json.dumps({"bytes": base64.b64encode(json.dumps(content).encode()).decode()}).encode()


@pytest.mark.parametrize(
    ("pieces", "seen", "usage"),
    [
        ([START, DELTA, {"type": "message_stop", **METRICS}], None, Usage(1, 9, 3, 4, 4)),
        ([chunk(START), chunk(DELTA)], None, Usage(1, 9, 3, 4, 4)),
        ([START], None, None),
        ([START, {"type": "content_block_delta"}], None, None),
        ([{"type": "message_stop", **METRICS}], None, Usage(1, 2, 3, 0)),
        ([{"metadata": {"usage": {"inputTokens": 5, "outputTokens": 6}}, **METRICS}], None, Usage(5, 6, 3, 0)),
        ([b'{"usage":{"input_tokens":1,"output_tokens":2}}'], Usage(1, 2, 30, 40), Usage(1, 2, 30, 40)),
        ([b'{"usage":{"input_tok'], Usage(1, 2, 3, 4), Usage(1, 2, 3, 4)),
        ([b"[" * 100_000, b"[]", b'{"bytes":"?"}'], None, None),
        ([], Usage(1, 2, 3, 4), Usage(1, 2, 3, 4)),
        ([], None, None),
    ],
)
def test_the_end_of_an_answer_tells_the_usage(pieces: list[Any], seen: Usage | None, usage: Usage | None) -> None:
    assert usage_of_pieces(pieces, seen) == usage


def test_converse_tells_what_was_written_for_an_hour() -> None:
    told = {
        "inputTokens": 1,
        "cacheReadInputTokens": 2,
        "cacheWriteInputTokens": 7,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 4}, {"ttl": "5m", "inputTokens": 3}, "odd"],
    }
    assert usage_of(told) == Usage(1, 0, 2, 7, 4)
    assert usage_of({"outputTokens": 1}) is None
    assert usage_of({"inputTokens": "many", "outputTokens": -1}) == Usage(0, 0, 0, 0)


def test_headers_tell_counts_or_nothing() -> None:
    names = ("input", "output", "cache-read-input", "cache-write-input")
    headers = {f"x-amzn-bedrock-{name}-token-count": str(count) for count, name in enumerate(names)}
    assert usage_of_headers(headers) == Usage(0, 1, 2, 3)
    assert usage_of_headers({"x-amzn-bedrock-input-token-count": "odd"}) == Usage(0, 0, 0, 0)
    assert usage_of_headers({}) is None


# -- passing ------------------------------------------------------------------------------------------------------


class Stream:
    """Something to iterate over, in either way, and to read."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = list(pieces)

    def __iter__(self) -> Iterator[Any]:
        yield from self.pieces

    async def __aiter__(self) -> AsyncIterator[Any]:
        for piece in self.pieces:
            yield piece

    def read(self, amt: int | None = None) -> bytes:
        found, self.pieces = self.pieces, []
        return b"".join(found) if amt is None else b""

    def readinto(self, b: bytearray) -> int:
        piece = self.pieces.pop(0) if self.pieces else b""
        b[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self.pieces = []

    async def aclose(self) -> None:
        self.pieces = []


def passing(gatherer: Any) -> tuple[Passing, list[Call], Tally]:
    delivered: list[Call] = []
    tally = Tally()
    return Passing(make_call(), gatherer, delivered.append, tally), delivered, tally


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 50))
def test_frames_are_found_however_the_bytes_are_cut(payloads: list[bytes], size: int) -> None:
    stream = b"".join(event("chunk", payload) for payload in payloads)
    whole, cut = Events(), Frames()
    for payload in payloads:
        whole.add({"chunk": {"bytes": payload}})
    for at in range(0, len(stream), size):
        cut.add(stream[at : at + size])
    assert cut.kept() == whole.kept()
    assert len(cut.kept()) <= 5


def test_bytes_that_are_no_event_stream_are_a_counted_mistake() -> None:
    one, delivered, tally = passing(Frames())
    one.saw(b"\xff" * 16)
    one.conclude()
    assert tally.stats(0).errors == {"ValueError": 1}
    assert delivered[0].pieces == ()


def test_a_very_long_body_is_not_kept() -> None:
    body = BodyBytes()
    for _ in range(3):
        body.add(b"x" * (MAX_ANSWER_BYTES // 2))
    assert body.kept() == ()


def test_a_call_is_handed_over_once_whatever_ends_it() -> None:
    one, delivered, _ = passing(BodyBytes())
    stream = Stream(b"a", b"b")
    watch_events(stream, one)
    assert list(stream) == [b"a", b"b"]
    stream.close()
    del stream
    gc.collect()
    one.saw(b"c")
    assert [call.pieces for call in delivered] == [(b"ab",)]


def test_an_asynchronous_stream_is_looked_at_too() -> None:
    async def run() -> None:
        for ends in (0, 1, 2):
            one, delivered, _ = passing(BodyBytes())
            stream = Stream(b"a", b"b")
            watch_events(stream, one)
            if ends == 0:
                assert [piece async for piece in stream] == [b"a", b"b"]
            else:
                pieces = aiter(stream)
                assert await anext(pieces) == b"a"
                if ends == 1:
                    await pieces.aclose()  # type: ignore[attr-defined]
                    assert not delivered
                    await stream.aclose()
                else:
                    with pytest.raises(RuntimeError):
                        await pieces.athrow(RuntimeError("gone"))  # type: ignore[attr-defined]
            assert len(delivered) == 1

    asyncio.run(run())


def test_reading_to_the_end_hands_a_call_over() -> None:
    one, delivered, _ = passing(BodyBytes())
    stream = Stream(b"a", b"b")
    watch_body(stream, one)
    assert stream.read() == b"ab"
    assert delivered[0].pieces == (b"ab",)
    one, delivered, _ = passing(BodyBytes())
    stream = Stream(b"a", b"b")
    watch_body(stream, one)
    room = bytearray(4)
    assert [stream.readinto(room), stream.readinto(room), stream.readinto(room)] == [1, 1, 0]
    assert delivered[0].pieces == (b"ab",)


# -- the backlog and the counters ---------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(1, 20), st.integers(500, 4_000))
def test_the_backlog_keeps_the_latest_within_its_bounds(sizes: list[int], queue: int, room: int) -> None:
    limits = Limits(queue=queue, ready_bytes=room, batch=7, batch_bytes=900)
    backlog = Backlog(limits)
    touches = [str(number).encode().ljust(size) for number, size in enumerate(sizes)]
    dropped = sum(backlog.add(NOON, touch) for touch in touches)
    assert len(backlog) + dropped == len(touches)
    sent: list[bytes] = []
    while batch := backlog.batch():
        assert len(batch) <= 7
        assert len(batch) == 1 or sum(map(len, batch)) + len(batch) <= 900
        sent += batch
        backlog.done(len(batch))
    assert sent == touches[dropped:]
    assert len(sent) <= queue
    assert sum(map(len, sent)) <= room


def test_the_backlog_lets_go_of_what_is_too_old() -> None:
    backlog = Backlog(Limits(oldest=timedelta(hours=1)))
    backlog.add(NOON, b"1")
    backlog.add(NOON + timedelta(hours=1), b"2")
    assert backlog.expire(NOON + timedelta(hours=1, seconds=1)) == 1
    assert backlog.batch() == [b"2"]


def test_what_goes_wrong_is_counted_by_its_class_alone() -> None:
    tally = Tally()
    with tally:
        raise ValueError("quotes the prompt")
    with pytest.raises(KeyboardInterrupt), tally:
        raise KeyboardInterrupt
    assert tally.stats(0) == Stats(errors={"ValueError": 1})


def test_the_counters_of_destinations_add_up() -> None:
    one = Stats(seen=3, reported=1, waiting=1, skipped={"ours": 1})
    two = Stats(seen=2, dropped=1, failed=4, skipped={"ours": 1}, errors={"OSError": 4})
    assert add_up([one, two]) == Stats(5, 1, 1, 4, 1, {}, {"ours": 2}, {"OSError": 4})


# -- LiteLLM ------------------------------------------------------------------------------------------------------


def test_litellm_tells_what_it_sends_or_it_is_not_bedrock() -> None:
    arguments = {
        "api_base": f"{HOST}/model/m/converse",
        "complete_input_dict": {"a": 1},
        "headers": {"User-Agent": "x"},
    }
    sent = sent_of(arguments)
    assert sent
    assert (sent.body, sent.headers) == (b'{"a": 1}', {"user-agent": "x"})
    assert sent_of({**arguments, "api_base": "https://api.example.com/v1/chat/completions"}) is None
    assert sent_of({**arguments, "complete_input_dict": None}) is None
    assert sent_of({}) is None


def test_litellm_counts_what_was_read_and_written_into_the_prompt() -> None:
    told = SimpleNamespace(
        prompt_tokens=10, completion_tokens=2, cache_read_input_tokens=3, cache_creation_input_tokens=4
    )
    assert usage_of_litellm(told) == Usage(3, 2, 3, 4)
    assert usage_of_litellm(SimpleNamespace(prompt_tokens=10)) == Usage(10, 0, 0, 0)
    assert usage_of_litellm(None) is None


def test_litellm_calls_that_never_end_push_one_another_out() -> None:
    notes = Notes()
    for number in range(MAX_OPEN_CALLS + 1):
        notes.note(str(number), Sent("u", b"", {}, NOON, 0.0))
    assert notes.take("0") is None
    assert notes.take("1")
    assert notes.take("1") is None


def test_a_litellm_answer_becomes_a_call() -> None:
    response = SimpleNamespace(
        usage=None, _hidden_params={"additional_headers": {"llm_provider-x-amzn-requestid": "abc"}}
    )
    sent = Sent("u", b"{}", {}, NOON, 0.0)
    call = call_of(sent, {"completion_start_time": NOON + timedelta(seconds=2)}, response)
    assert (call.request_id, call.started_at, call.latency_ms) == ("abc", NOON, 2000)
    assert call_of(sent, {}, SimpleNamespace()).request_id == ""


# -- what it needs ------------------------------------------------------------------------------------------------

ALONE = """
import sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + [sys.argv[1]]
import keepwarm.reporter
keepwarm.reporter.httpx_hook()
foreign = sorted(
    name for name in sys.modules
    if "." not in name and name not in sys.stdlib_module_names and not name.startswith("__") and name != "keepwarm"
)
own = {".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("keepwarm.")}
print(foreign, sorted(own - {"keepwarm.reporter"}))
"""


def test_it_imports_nothing_but_the_standard_library_and_four_rooms_of_ours() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", ALONE, str(root)], capture_output=True, text=True, check=True, timeout=60
    )
    rooms = ["keepwarm.clock", "keepwarm.dialects", "keepwarm.fingerprint", "keepwarm.model"]
    assert done.stdout.strip() == f"[] {rooms}"
