"""The wire of bedrock-runtime: what a request says, and how a refusal looks to an SDK.

It opens no socket and judges no prompt (see `refusals`); the shapes of good answers are in `answers`. Paths and header
names are those of the service model `bedrock-runtime/2023-09-30` in botocore 1.44.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

_PATH = re.compile(r"/model/(.+)/(converse|converse-stream|invoke|invoke-with-response-stream|count-tokens)")
_SIGNATURE = re.compile(r"AWS4-HMAC-SHA256 +Credential=([^/,\s]+)/\d{8}/([a-z0-9-]+)/[^/,\s]+/aws4_request")
MAX_BODY_BYTES = 25_000_000

_BEARER_REGION = "us-east-1"
_MAX_METADATA_PAIRS = 16

_STATUSES = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "MissingAuthenticationTokenException": 403,
    "ResourceNotFoundException": 404,
    "UnknownOperationException": 404,
    "ModelTimeoutException": 408,
    "ThrottlingException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}

Json = dict[str, Any]


class Operation(StrEnum):
    """The operations that are answered."""

    CONVERSE = "Converse"
    CONVERSE_STREAM = "ConverseStream"
    INVOKE_MODEL = "InvokeModel"
    INVOKE_MODEL_STREAM = "InvokeModelWithResponseStream"
    COUNT_TOKENS = "CountTokens"

    @property
    def is_converse(self) -> bool:
        """Whether the body is written in the Converse dialect."""
        return self in {Operation.CONVERSE, Operation.CONVERSE_STREAM}

    @property
    def is_stream(self) -> bool:
        """Whether the answer is an event stream."""
        return self in {Operation.CONVERSE_STREAM, Operation.INVOKE_MODEL_STREAM}


_OPERATIONS = {
    "converse": Operation.CONVERSE,
    "converse-stream": Operation.CONVERSE_STREAM,
    "invoke": Operation.INVOKE_MODEL,
    "invoke-with-response-stream": Operation.INVOKE_MODEL_STREAM,
    "count-tokens": Operation.COUNT_TOKENS,
}


class Refusal(Exception):
    """An error that the client is to see.

    Attributes:
        code: as `ClientError.response["Error"]["Code"]` shows it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """HTTP status of the code."""
        return _STATUSES.get(self.code, 400)


@dataclass(frozen=True, slots=True)
class Call:
    """What the path and the headers of a request say.

    Attributes:
        access_key: the account; the digest of the token for bearer authentication; empty without authentication.
        region: from the signature's scope.
        echoed_headers: settings that Bedrock repeats in an InvokeModel answer.
    """

    operation: Operation
    model_id: str
    access_key: str
    region: str
    user_agent: str
    metadata_header: str
    echoed_headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer.

    Attributes:
        wait: real time between the start of the request and the answer.
        cut: whether the connection is to be cut instead of answering.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    wait: timedelta = timedelta(0)
    cut: bool = False


# -- requests -----------------------------------------------------------------------------------------------------


def parse_call(method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Call:
    """Read the path and headers (names in lower case); authentication is looked at, signatures are not checked.

    Args:
        body: None for one that is longer than Bedrock takes.

    Raises:
        Refusal: the path is none of Bedrock's, or the body is too long.
    """
    found = _PATH.fullmatch(path.partition("?")[0])
    if method != "POST" or not found:
        raise Refusal("UnknownOperationException", "there is no operation at this path")
    if body is None:
        raise Refusal("ValidationException", f"Input is too long: at most {MAX_BODY_BYTES} bytes are accepted.")
    access_key, region = _caller(headers.get("authorization", ""))
    return Call(
        operation=_OPERATIONS[found[2]],
        model_id=unquote(found[1]),
        access_key=access_key,
        region=region,
        user_agent=headers.get("user-agent", ""),
        metadata_header=headers.get("x-amzn-bedrock-request-metadata", ""),
        echoed_headers=tuple(
            (name, headers[name.lower()])
            for name in ("X-Amzn-Bedrock-Service-Tier", "X-Amzn-Bedrock-PerformanceConfig-Latency")
            if name.lower() in headers
        ),
        body=body,
    )


def parse_json(body: bytes) -> Json:
    """The object in a body.

    Raises:
        Refusal: the body is not a JSON object.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refusal("ValidationException", "Malformed input request, please reformat your input and try again.")
    return found


def parse_metadata(call: Call, body: Json) -> dict[str, str]:
    """The request metadata, from wherever the operation carries it.

    Raises:
        Refusal: it is not 1 to 16 pairs of strings.
    """
    found: Any = body.get("requestMetadata") if call.operation.is_converse else None
    if not call.operation.is_converse and call.metadata_header:
        found = parse_json(call.metadata_header.encode())
    if found is None:
        return {}
    fits = isinstance(found, dict) and 0 < len(found) <= _MAX_METADATA_PAIRS
    if not fits or not all(isinstance(value, str) for value in found.values()):
        raise Refusal("ValidationException", "requestMetadata: must be 1 to 16 pairs of strings")
    return dict(found)


def counted_body(body: Json) -> tuple[bool, Json]:
    """The prompt inside a CountTokens request, and whether it is written in the Converse dialect.

    Raises:
        Refusal: there is none.
    """
    given = body.get("input")
    match given:
        case {"converse": dict(prompt)}:
            return True, prompt
        case {"invokeModel": {"body": str(encoded)}}:
            try:
                return False, parse_json(base64.b64decode(encoded, validate=True))
            except ValueError:
                pass
    raise Refusal("ValidationException", "input: must have either invokeModel with a body or converse")


def _caller(authorization: str) -> tuple[str, str]:
    if found := _SIGNATURE.match(authorization):
        return found[1], found[2]
    scheme, _, token = authorization.partition(" ")
    if scheme == "Bearer" and token.strip():
        return hashlib.sha256(token.strip().encode()).hexdigest()[:20], _BEARER_REGION
    return "", ""


# -- replies ------------------------------------------------------------------------------------------------------


def refusal_reply(refusal: Refusal, request_id: str) -> Reply:
    """The error shape that SDKs read code and message from."""
    headers = (("x-amzn-errortype", refusal.code), *common_headers(request_id))
    return Reply(refusal.status, headers, dump({"message": refusal.message}))


def common_headers(request_id: str, content_type: str = "application/json") -> tuple[tuple[str, str], ...]:
    """The headers of every reply."""
    return (("Content-Type", content_type), ("x-amzn-RequestId", request_id))


def dump(content: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(content, separators=(",", ":")).encode()
