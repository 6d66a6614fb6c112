"""The shapes of Bedrock's good answers: Converse, Anthropic and Nova bodies, token headers and both kinds of stream.

It decides no token count. What the service model leaves open (InvokeModel bodies, stream chunks) follows the Anthropic
and Nova pages of the Amazon Bedrock user guide, read 2026-11-22.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keepwarm.dialects import Dialect
from keepwarm.emulator import eventstream
from keepwarm.emulator.faults import Faults
from keepwarm.emulator.wire import Call, Json, Operation, Reply, common_headers, dump
from keepwarm.model import Ttl, Usage

OUTPUT_TOKENS = 1
_TEXT = "ok"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered, before it is put into the shape of an operation.

    Attributes:
        stop_reason: `end_turn` or `max_tokens`.
        settings: what Converse repeats of its request (`serviceTier`, `performanceConfig`).
        faults: what is left out or broken.
    """

    request_id: str
    model_id: str
    usage: Usage
    latency_ms: int
    stop_reason: str
    settings: Json
    faults: Faults


def answer_reply(call: Call, dialect: Dialect, answer: Answer) -> Reply:
    """The answer in the shape of the call's operation."""
    headers: tuple[tuple[str, str], ...] = ()
    if not call.operation.is_converse:
        headers = call.echoed_headers if answer.faults.omit_headers else call.echoed_headers + _count_headers(answer)
    if not call.operation.is_stream:
        return Reply(200, headers + common_headers(answer.request_id), _body(_SHAPES[dialect](answer), answer))
    if call.operation is Operation.INVOKE_MODEL_STREAM:
        headers += (("X-Amzn-Bedrock-Content-Type", "application/json"),)
    headers += common_headers(answer.request_id, "application/vnd.amazon.eventstream")
    return Reply(200, headers, b"".join(_frames(call.operation, dialect, answer)))


def count_reply(tokens: int, request_id: str) -> Reply:
    """The answer to CountTokens."""
    return Reply(200, common_headers(request_id), dump({"inputTokens": tokens}))


def _count_headers(answer: Answer) -> tuple[tuple[str, str], ...]:
    usage = answer.usage
    counts = {
        "Input-Token-Count": usage.input_tokens,
        "Output-Token-Count": usage.output_tokens,
        "Cache-Read-Input-Token-Count": usage.cache_read_tokens,
        "Cache-Write-Input-Token-Count": usage.cache_write_tokens,
        "Invocation-Latency": answer.latency_ms,
    }
    return tuple((f"X-Amzn-Bedrock-{name}", str(count)) for name, count in counts.items())


def _body(shape: Json, answer: Answer) -> bytes:
    if answer.faults.omit_usage:
        shape = {name: value for name, value in shape.items() if name != "usage"}
    body = dump(shape)
    return body[: len(body) // 2] if answer.faults.wrong_json else body


# -- whole answers ------------------------------------------------------------------------------------------------


def _converse(answer: Answer) -> Json:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": _TEXT}]}},
        "stopReason": answer.stop_reason,
        "usage": _converse_usage(answer),
        "metrics": {"latencyMs": answer.latency_ms},
        **answer.settings,
    }


def _nova(answer: Answer) -> Json:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": _TEXT}]}},
        "stopReason": answer.stop_reason,
        "usage": _nova_usage(answer.usage),
    }


def _anthropic(answer: Answer) -> Json:
    return {
        "model": answer.model_id.rsplit("/", 1)[-1],
        "id": f"msg_bdrk_{answer.request_id.replace('-', '')[:24]}",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": _TEXT}],
        "stop_reason": answer.stop_reason,
        "stop_sequence": None,
        "usage": _anthropic_usage(answer),
    }


_SHAPES = {Dialect.CONVERSE: _converse, Dialect.NOVA: _nova, Dialect.ANTHROPIC: _anthropic}


# -- usage --------------------------------------------------------------------------------------------------------


def _converse_usage(answer: Answer) -> Json:
    shape = _nova_usage(answer.usage) | {
        "cacheReadInputTokens": answer.usage.cache_read_tokens,
        "cacheWriteInputTokens": answer.usage.cache_write_tokens,
    }
    if not answer.faults.omit_cache_split:
        split = reversed(_split(answer.usage).items())  # 1h first, and only what was written
        shape["cacheDetails"] = [{"ttl": ttl.value, "inputTokens": tokens} for ttl, tokens in split if tokens]
    return shape


def _nova_usage(usage: Usage) -> Json:
    return {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.prompt_tokens + usage.output_tokens,
        "cacheReadInputTokenCount": usage.cache_read_tokens,
        "cacheWriteInputTokenCount": usage.cache_write_tokens,
    }


def _anthropic_usage(answer: Answer) -> Json:
    shape: Json = {
        "input_tokens": answer.usage.input_tokens,
        "cache_creation_input_tokens": answer.usage.cache_write_tokens,
        "cache_read_input_tokens": answer.usage.cache_read_tokens,
        "output_tokens": answer.usage.output_tokens,
    }
    if not answer.faults.omit_cache_split:
        split = _split(answer.usage).items()
        shape["cache_creation"] = {f"ephemeral_{ttl.value}_input_tokens": tokens for ttl, tokens in split}
    return shape


def _split(usage: Usage) -> dict[Ttl, int]:
    written_1h = usage.cache_write_1h_tokens or 0
    return {Ttl.FIVE_MINUTES: usage.cache_write_tokens - written_1h, Ttl.ONE_HOUR: written_1h}


# -- streams ------------------------------------------------------------------------------------------------------


def _frames(operation: Operation, dialect: Dialect, answer: Answer) -> Iterator[bytes]:
    if operation is Operation.CONVERSE_STREAM:
        for name, content in _converse_events(answer, _converse_usage(answer)):
            yield eventstream.event(name, _body(content, answer))
        return
    chunks = _anthropic_chunks(answer) if dialect is Dialect.ANTHROPIC else _nova_chunks(answer)
    for chunk in chunks:
        encoded = base64.b64encode(_body(chunk, answer)).decode()
        yield eventstream.event("chunk", dump({"bytes": encoded}))


def _converse_events(answer: Answer, usage: Json) -> Iterator[tuple[str, Json]]:
    yield "messageStart", {"role": "assistant"}
    yield "contentBlockDelta", {"delta": {"text": _TEXT}, "contentBlockIndex": 0}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": answer.stop_reason}
    yield "metadata", {"usage": usage, "metrics": {"latencyMs": answer.latency_ms}, **answer.settings}


def _nova_chunks(answer: Answer) -> Iterator[Json]:
    for name, content in _converse_events(answer, _nova_usage(answer.usage)):
        if name != "metadata":
            yield {name: content}
        elif answer.faults.omit_usage:
            yield {name: {}} | _invocation_metrics(answer)
        else:
            yield {name: {"usage": content["usage"]}} | _invocation_metrics(answer)


def _anthropic_chunks(answer: Answer) -> Iterator[Json]:
    message = _anthropic(answer) | {"content": [], "stop_reason": None}
    if answer.faults.omit_usage:
        del message["usage"]
    yield {"type": "message_start", "message": message}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": _TEXT}}
    yield {"type": "content_block_stop", "index": 0}
    end: dict[str, Any] = {"stop_reason": answer.stop_reason, "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": answer.usage.output_tokens}}
    yield {"type": "message_stop"} | _invocation_metrics(answer)


def _invocation_metrics(answer: Answer) -> Json:
    """The second witness of a stream, which has no headers left to tell counts in."""
    if answer.faults.omit_headers:
        return {}
    return {
        "amazon-bedrock-invocationMetrics": {
            "inputTokenCount": answer.usage.input_tokens,
            "outputTokenCount": answer.usage.output_tokens,
            "invocationLatency": answer.latency_ms,
            "firstByteLatency": answer.latency_ms,
            "cacheReadInputTokenCount": answer.usage.cache_read_tokens,
            "cacheWriteInputTokenCount": answer.usage.cache_write_tokens,
        }
    }
