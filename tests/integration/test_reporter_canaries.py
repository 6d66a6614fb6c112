"""Whatever a prompt is made of, nothing of it goes over the wire to keepwarm, and no setting or answer changes that."""

from __future__ import annotations

import base64
import inspect
import json
import re
from typing import Any

import pytest

from keepwarm import reporter
from keepwarm.reporter import Limits
from tests.integration.test_reporter_clients import CLAUDE, client, emulator, receiver  # noqa: F401 - fixtures
from tests.receiver import Receiver

CANARY = "canary-90d1-of-the-wire"
POINT = {"cachePoint": {"type": "default"}}
PNG = b"\x89PNG\r\n\x1a\n" + CANARY.encode() * 3

# Every part of a request that may hold words of a person, with the canary in it.
CONVERSE: dict[str, Any] = {
    "modelId": CLAUDE,
    "toolConfig": {
        "tools": [
            {
                "toolSpec": {
                    "name": CANARY,
                    "description": CANARY,
                    "inputSchema": {"json": {"title": CANARY, "properties": {CANARY: {"enum": [CANARY]}}}},
                }
            },
            POINT,
        ],
        "toolChoice": {"tool": {"name": CANARY}},
    },
    "system": [{"text": f"{CANARY} " * 2_000}, POINT],
    "messages": [
        {
            "role": "user",
            "content": [
                {"text": CANARY},
                {"image": {"format": "png", "source": {"bytes": PNG}}},
                {"document": {"format": "txt", "name": CANARY, "source": {"bytes": CANARY.encode()}}},
                POINT,
            ],
        },
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": CANARY, "name": CANARY, "input": {CANARY: CANARY}}}],
        },
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": CANARY, "content": [{"text": CANARY}, {"json": {"x": CANARY}}]}}],
        },
    ],
    "inferenceConfig": {"maxTokens": 5, "stopSequences": [CANARY]},
    "additionalModelRequestFields": {"metadata": {"user_id": CANARY}},
    "requestMetadata": {"customer": CANARY},
}  # fmt: skip
ANTHROPIC: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 5,
    "metadata": {"user_id": CANARY},
    "stop_sequences": [CANARY],
    "tools": [{"name": CANARY, "description": CANARY, "input_schema": {"type": "object", "title": CANARY}}],
    "system": [{"type": "text", "text": f"{CANARY} " * 2_000, "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": CANARY},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()},
                    "cache_control": {"type": "ephemeral"},
                },
            ],
        }
    ],
}

_DIGEST = re.compile("[0-9a-f]{32}")
_SETTINGS = {"citations", "effort", "extra", "images", "output_format", "speed", "thinking", "tool_choice", "betas"}
_KEYS = {"request_id", "started_at", "api", "model_id", "region", "source", "latency_ms", "usage", "sketch"}


def traces(of: str) -> list[bytes]:
    """How a text may stand somewhere: as it is, reversed, in hexadecimal, in base64 at any offset."""
    plain = of.encode()
    encoded = [base64.b64encode(b"x" * lead + plain)[4:-4] for lead in range(3)]
    return [plain, plain[::-1], plain.hex().encode(), *encoded]


def check_wire(found: Receiver) -> None:
    for body in found.bodies:
        assert not any(trace in body for trace in traces(CANARY))
    heads = json.dumps(found.heads)
    assert CANARY not in heads
    for touch in found.touches:
        assert touch.keys() <= _KEYS
        assert touch["sketch"].keys() == {"dialect", "settings", "blocks"}
        for since, name, digest in touch["sketch"]["settings"]:
            assert since in {"tools", "system", "messages"}
            assert name in _SETTINGS
            assert _DIGEST.fullmatch(digest)
        for section, digest, marker, size in touch["sketch"]["blocks"]:
            assert section in {"tools", "system", "messages"}
            assert _DIGEST.fullmatch(digest)
            assert marker in {None, "5m", "1h"}
            assert type(size) is int
        assert all(value is None or type(value) is int for value in touch.get("usage", {}).values())


def test_nothing_of_a_prompt_goes_over_the_wire(client: Any, receiver: Receiver) -> None:  # noqa: F811
    reporter.install(client, receiver.url)
    client.converse(**CONVERSE)
    for _ in client.converse_stream(**CONVERSE)["stream"]:
        pass
    client.invoke_model(modelId=CLAUDE, body=json.dumps(ANTHROPIC))["body"].read()
    assert reporter.flush(10, receiver.url)
    assert len(receiver.wait(3)) == 3
    check_wire(receiver)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"accepted": 1, "send_bodies": true, "debug": true, "want": ["body", "prompt"]}',
        b'{"refused": [{"index": 0, "reason": "sketch_unknown", "send": "body"}]}',
        b"\xff" * 100,
    ],
    ids=["asks", "refuses", "nonsense"],
)
def test_no_answer_makes_it_send_more(client: Any, receiver: Receiver, answer: bytes) -> None:  # noqa: F811
    receiver.content = answer
    reporter.install(client, receiver.url)
    for _ in range(2):
        client.converse(**CONVERSE)
        reporter.flush(10, receiver.url)
    assert receiver.touches
    check_wire(receiver)
    assert not receiver.errands


def test_no_setting_of_it_has_to_do_with_what_is_sent() -> None:
    """A setting that sends more would be a parameter here, or a field of the limits; and none is read elsewhere."""
    asked = {name for call in (reporter.install, reporter.httpx_hook, reporter.litellm_callback)
             for name in inspect.signature(call).parameters}  # fmt: skip
    assert asked == {"client", "url", "token", "limits", "region"}
    assert all(isinstance(value, int | float) or "timedelta" in type(value).__name__
               for value in (getattr(Limits(), name) for name in Limits.__dataclass_fields__))  # fmt: skip
    sources = "".join(inspect.getsource(module) for name, module in vars(reporter).items() if inspect.ismodule(module))
    assert "environ" not in sources
    assert "getenv" not in sources
