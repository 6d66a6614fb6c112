"""Builds records of Bedrock's model invocation logging as they arrive in CloudWatch Logs and S3."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

REGION = "eu-central-1"
ACCOUNT = "123456789012"
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def make_record(**changes: Any) -> dict[str, Any]:
    """One record: a Converse request with one cache point that read 5,000 tokens and took 800 ms.

    `body`, `answer` and `counts` (of the input) replace those parts; None leaves one out.
    """
    body = changes.pop("body", converse_body())
    answer = changes.pop("answer", {"metrics": {"latencyMs": 800}, "usage": {"inputTokens": 12, "outputTokens": 3}})
    counts = changes.pop(
        "counts", {"inputTokenCount": 12, "cacheReadInputTokenCount": 5000, "cacheWriteInputTokenCount": 0}
    )
    record = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": NOON.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "accountId": ACCOUNT,
        "identity": {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/application/i-0abc"},
        "region": REGION,
        "requestId": "5c8b6c1c-7a8e-4ad7-9d0e-000000000001",
        "operation": "Converse",
        "modelId": CLAUDE,
        "input": {"inputContentType": "application/json", "inputBodyJson": body, **(counts or {})},
        "output": {"outputContentType": "application/json", "outputBodyJson": answer, "outputTokenCount": 3},
    }
    return {name: value for name, value in (record | changes).items() if value is not None}


def converse_body(text: str = "stable " * 900, **changes: Any) -> dict[str, Any]:
    """A Converse request as it goes over the wire: the keyword arguments without modelId."""
    body = {
        "system": [{"text": text}, {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": "and now?"}]}],
        "inferenceConfig": {"maxTokens": 10},
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def anthropic_body(text: str = "stable " * 900, **changes: Any) -> dict[str, Any]:
    """An InvokeModel body of a Claude model with one cache point."""
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 10,
        "system": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "and now?"}],
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


@dataclass(slots=True)
class Recorder:
    """Bedrock's logging for one boto3 client: writes down what the client sends and what it is answered.

    Attributes:
        records: one for each call that was answered, oldest first; an answer that is a stream must have been read.
    """

    client: Any
    now: Any
    records: list[dict[str, Any]] = field(default_factory=list)
    _sent: tuple[str, bytes, str] = ("", b"", "")

    def __post_init__(self) -> None:
        self.client.meta.events.register("before-send.bedrock-runtime.*", self._overhear)

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and write its record.

        Args:
            operation: as records name it.
            arguments: of the boto3 call.
        """
        at = self.now()
        method = {
            "Converse": "converse",
            "ConverseStream": "converse_stream",
            "InvokeModel": "invoke_model",
            "InvokeModelWithResponseStream": "invoke_model_with_response_stream",
        }[operation]
        response = getattr(self.client, method)(**arguments)
        answer = _answer(operation, response)
        model_id, body, metadata = self._sent
        sent = json.loads(body)
        told = sent.pop("requestMetadata", None) or (json.loads(metadata) if metadata else None)
        self.records.append(
            make_record(
                timestamp=at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                requestId=response["ResponseMetadata"]["RequestId"],
                region=self.client.meta.region_name,
                operation=operation,
                modelId=model_id,
                requestMetadata=told,
                body=sent,
                answer=answer,
                counts=_counts(answer),
            )
        )
        return self.records[-1]

    def _overhear(self, request: Any, **_: Any) -> None:
        path = request.url.split("/model/")[1]
        metadata = request.headers.get("X-Amzn-Bedrock-Request-Metadata", b"")
        model_id = path.rsplit("/", 1)[0].replace("%3A", ":").replace("%2F", "/")
        self._sent = model_id, request.body, metadata.decode() if isinstance(metadata, bytes) else metadata


def _answer(operation: str, response: Mapping[str, Any]) -> Any:
    if operation == "Converse":
        return {name: value for name, value in response.items() if name != "ResponseMetadata"}
    if operation == "ConverseStream":
        last = [event["metadata"] for event in response["stream"] if "metadata" in event]
        return {"output": {"message": {"role": "assistant", "content": []}}, **last[-1]}
    if operation == "InvokeModel":
        return json.loads(response["body"].read())
    return [json.loads(event["chunk"]["bytes"]) for event in response["body"]]


def _counts(answer: Any) -> dict[str, int]:
    """The counts that a record tells beside the bodies."""
    events = answer if isinstance(answer, list) else [answer]
    usage = next(event.get("usage") or event.get("message", {}).get("usage") or event.get("metadata", {}).get("usage")
                 for event in ([events[0]] if "message" in events[0] else events[-1:]))  # fmt: skip

    def count(*names: str) -> int:
        return next((usage[name] for name in names if name in usage), 0)

    return {
        "inputTokenCount": count("input_tokens", "inputTokens"),
        "cacheReadInputTokenCount": count(
            "cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount"
        ),
        "cacheWriteInputTokenCount": count(
            "cache_creation_input_tokens", "cacheWriteInputTokens", "cacheWriteInputTokenCount"
        ),
    }


def wire_text(raw: bytes) -> str:
    """Bytes as JSON carries them."""
    return base64.b64encode(raw).decode()
