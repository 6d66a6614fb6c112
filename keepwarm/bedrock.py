"""The only room that sends to Bedrock: one ping at a time, and it says in keepwarm's words what came back.

It never retries (a re-send that the ledger does not know of would be billed all the same), never logs, and keeps no
prompt text: also what Bedrock's error messages quote of a prompt is cut out here.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import boto3
import botocore.session
from botocore import credentials as botocore_credentials
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError

from keepwarm import __version__
from keepwarm.errors import AccessDenied, CredentialsRejected, KeepwarmError, RequestRefused, Throttled, Unavailable
from keepwarm.model import Answer, Api, Prefix, Route, Usage

# Bedrock user guide and botocore 1.44.5, read 2026-11-22. What is not here goes by its HTTP status.
_ERRORS: dict[str, type[KeepwarmError]] = {
    "ThrottlingException": Throttled,
    "TooManyRequestsException": Throttled,
    "ModelNotReadyException": Throttled,
    "ServiceUnavailableException": Unavailable,
    "InternalServerException": Unavailable,
    "ModelTimeoutException": Unavailable,
    "ModelErrorException": Unavailable,
    "AccessDeniedException": AccessDenied,
    "ExpiredTokenException": CredentialsRejected,
    "ExpiredToken": CredentialsRejected,
    "UnrecognizedClientException": CredentialsRejected,
    "InvalidClientTokenId": CredentialsRejected,
    "InvalidSignatureException": CredentialsRejected,
    "SignatureDoesNotMatch": CredentialsRejected,
    "RequestExpired": CredentialsRejected,
    "MissingAuthenticationTokenException": CredentialsRejected,
}

_HINTS: dict[type[KeepwarmError], str] = {
    AccessDenied: (
        "grant bedrock:InvokeModel on the model and its inference profile, and check the model's access in the "
        "console; Bedrock answers the same for a model without prompt caching"
    ),
    CredentialsRejected: (
        "check the credentials, the AWS configuration and the machine's clock; for an assumed role also sts:AssumeRole"
    ),
    RequestRefused: "compare the registered request and model id with what production sends today",
    Unavailable: "",
    Throttled: "ask for a higher quota, or lower KEEPWARM_REQUESTS_PER_MINUTE",
}

# Whole, not as `user_agent_extra`: botocore puts its own together anew for every call, twice and letter by letter,
# which is a fifth of the CPU of a call (measured with botocore 1.44 by benchmarks/ping_cost.py).
_USER_AGENT = f"keepwarm/{__version__} Boto3/{boto3.__version__} Botocore/{botocore.__version__}"
_STS_CONFIG = Config(connect_timeout=10, read_timeout=10)

_MAX_MESSAGE = 300
_QUOTE = 20  # as many characters of a prompt in a message make it a quotation
_SHORT_QUOTE = 8  # a shorter text of a prompt that stands whole in a message does so from here on


class Gateway:
    """Sends pings; safe to use from many threads.

    Args:
        pool_size: connections kept per client, as many as there are workers.
    """

    def __init__(
        self, pool_size: int, *, connect_timeout_seconds: float = 10, read_timeout_seconds: float = 120
    ) -> None:
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=connect_timeout_seconds,
            read_timeout=read_timeout_seconds,
            max_pool_connections=pool_size,
            tcp_keepalive=True,
            user_agent=_USER_AGENT,
        )
        self._connections: dict[Route, _Connection] = {}
        self._locks: dict[Route, threading.Lock] = {}
        self._lock = threading.Lock()

    def ping(self, prefix: Prefix) -> Answer:
        """Send one ping and wait for its answer.

        Raises:
            Throttled: quota or load; try again later.
            Unavailable: no answer or a server error; `maybe_billed` tells which.
            CredentialsRejected: the next ping fetches credentials anew.
            AccessDenied: permission, model access, or a model without caching.
            RequestRefused: Bedrock will not take this request as it stands.
        """
        connection = self._connect(prefix.route)
        arguments = _arguments(prefix)
        try:
            if prefix.api is Api.CONVERSE:
                return _read_converse(connection.client.converse(**arguments))
            return _read_invoke(connection.client.invoke_model(**arguments))
        except (boto.BotoCoreError, boto.ClientError) as error:
            translated = _translate(error, prefix)
        except (ResponseParserError, ValueError, OSError) as error:  # an answer that is not what its headers promise
            translated = Unavailable(f"the answer could not be read ({type(error).__name__})", maybe_billed=True)
        if isinstance(translated, CredentialsRejected):
            self._forget(prefix.route, connection)
        raise translated

    def endpoint(self, prefix: Prefix) -> str:
        """Where pings of this route are sent, as a URL; empty before the first and without credentials."""
        with self._lock:
            connection = self._connections.get(prefix.route)
        return str(connection.client.meta.endpoint_url) if connection else ""

    def prepare(self, prefix: Prefix) -> None:
        """Build the client now, so that the first ping is not timed with it; what goes wrong, the ping tells."""
        with contextlib.suppress(CredentialsRejected):
            self._connect(prefix.route)

    def destinations(self, prefix: Prefix) -> list[str]:
        """ARNs of the models behind the inference profile of a prefix, one in each destination region.

        Needs bedrock:GetInferenceProfile; free of charge.

        Raises:
            KeepwarmError: as `ping`, in the words of the control plane.
        """
        try:
            client = _session(prefix.route).client("bedrock", region_name=prefix.route.region, config=self._config)
            answer = client.get_inference_profile(inferenceProfileIdentifier=prefix.model_id)
            return [str(model["modelArn"]) for model in answer["models"]]
        except (boto.BotoCoreError, boto.ClientError) as error:
            raise _translate(error, prefix) from None

    def examine(self, route: Route, hear: Callable[[datetime], None]) -> str:
        """See that there are credentials, and hear the server's own time from every answer of this route, refusals too.

        Returns:
            Where the credentials are from, in botocore's word, such as `env` or `assume-role`.

        Raises:
            CredentialsRejected: there are none, or the AWS configuration is at fault.
        """
        connection = self._connect(route)
        if connection.credentials is None and not os.environ.get("AWS_BEARER_TOKEN_BEDROCK"):
            raise CredentialsRejected("no credentials were found", hint=_HINTS[CredentialsRejected])

        def note(http_response: Any, **_: Any) -> None:
            with contextlib.suppress(ValueError, TypeError):
                hear(parsedate_to_datetime(http_response.headers.get("date")))

        connection.client.meta.events.register("after-call.bedrock-runtime", note)
        return getattr(connection.credentials, "method", None) or "bearer token"

    def _connect(self, route: Route) -> _Connection:
        """The client of a route with fresh credentials; what goes wrong here was never sent to Bedrock.

        Raises:
            CredentialsRejected: also for a profile that does not exist and other faults of the AWS configuration.
        """
        try:
            connection = self._connection(route)
            if connection.credentials:
                connection.credentials.get_frozen_credentials()
        except (boto.BotoCoreError, boto.ClientError, ValueError, OSError, RuntimeError) as error:
            message = " ".join(str(error).split())[:_MAX_MESSAGE]
        else:
            return connection
        self._forget(route, None)
        raise CredentialsRejected(message, hint=_HINTS[CredentialsRejected])

    def _connection(self, route: Route) -> _Connection:
        with self._lock:
            lock = self._locks.setdefault(route, threading.Lock())
        with lock:  # one for each route: fetching credentials may hang, and must not hold up other routes
            if route not in self._connections:
                session = _session(route)
                client = session.client("bedrock-runtime", region_name=route.region, config=self._config)
                self._connections[route] = _Connection(client, session.get_credentials())
            return self._connections[route]

    def _forget(self, route: Route, connection: _Connection | None) -> None:
        """Let the next ping fetch credentials anew, unless another thread has done so already."""
        with self._lock:
            if connection is None or self._connections.get(route) is connection:
                self._connections.pop(route, None)


@dataclass(frozen=True, slots=True, eq=False)
class _Connection:
    """A boto3 client and the credentials that it signs with; None for a bearer token."""

    client: Any
    credentials: Any


def _session(route: Route) -> Any:
    """A boto3 session for a route; an assumed role renews its own credentials before they expire."""
    if route.role_arn is None:
        return boto3.Session(profile_name=route.profile)
    source = botocore.session.Session(profile=route.profile)
    own = source.get_credentials()
    if own is None:
        raise boto.NoCredentialsError
    fetcher = botocore_credentials.AssumeRoleCredentialFetcher(
        client_creator=partial(source.create_client, region_name=route.region, config=_STS_CONFIG),
        source_credentials=own,
        role_arn=route.role_arn,
        extra_args={"RoleSessionName": "keepwarm"},
    )
    assumed = botocore.session.Session(profile=route.profile)
    assumed.register_component("credential_provider", _AssumedRole(fetcher))
    return boto3.Session(botocore_session=assumed)


class _AssumedRole:
    """What botocore calls a credential provider, for one role."""

    def __init__(self, fetcher: Any) -> None:
        self._fetcher = fetcher

    def load_credentials(self) -> Any:
        return botocore_credentials.DeferredRefreshableCredentials(
            method="assume-role", refresh_using=self._fetcher.fetch_credentials
        )


def _arguments(prefix: Prefix) -> dict[str, Any]:
    """What boto3 is called with; marked, so that invocation logs tell a ping from traffic.

    Raises:
        Unavailable: the request, which is kept on disk, cannot be read.
    """
    mark = {"keepwarm": "ping", "prefix": prefix.name}
    told = mark if prefix.api is Api.CONVERSE else json.dumps(mark)
    try:
        return dict(prefix.ping_request.items()) | {"modelId": prefix.model_id, "requestMetadata": told}
    except OSError as error:
        hint = "look at the disk of the temporary directory; a restart reads the request files anew"
        raise Unavailable(f"the request could not be read: {error}", hint=hint) from None


# -- answers ------------------------------------------------------------------------------------------------------


def _read_converse(response: Mapping[str, Any]) -> Answer:
    usage = response.get("usage")
    latency = (response.get("metrics") or {}).get("latencyMs")
    read = _converse_usage(usage) if isinstance(usage, Mapping) and "inputTokens" in usage else None
    return Answer(
        usage=read,
        usage_in_body=read is not None,
        server_latency_ms=latency if isinstance(latency, int) else None,
        request_id=_request_id(response),
    )


def _converse_usage(usage: Mapping[str, Any]) -> Usage:
    details = usage.get("cacheDetails") or []
    return Usage(
        input_tokens=_count(usage, "inputTokens"),
        output_tokens=_count(usage, "outputTokens"),
        cache_read_tokens=_count(usage, "cacheReadInputTokens"),
        cache_write_tokens=_count(usage, "cacheWriteInputTokens"),
        cache_write_1h_tokens=sum(_count(row, "inputTokens") for row in details if row.get("ttl") == "1h")
        if details
        else None,
    )


def _read_invoke(response: Mapping[str, Any]) -> Answer:
    headers = response["ResponseMetadata"].get("HTTPHeaders", {})
    seen = _header_usage(headers)
    latency = headers.get("x-amzn-bedrock-invocation-latency")
    try:
        body = json.loads(response["body"].read())
        told = body.get("usage") if isinstance(body, Mapping) else None
    except (ValueError, OSError, boto.BotoCoreError):  # a body that breaks off; the headers have told the usage
        told = None
    return Answer(
        usage=_body_usage(told, seen) if isinstance(told, Mapping) else seen,
        usage_in_body=isinstance(told, Mapping) and _tells_input(told),
        header_usage=seen,
        server_latency_ms=int(latency) if latency and latency.isdigit() else None,
        request_id=_request_id(response),
    )


def _body_usage(usage: Mapping[str, Any], seen: Usage | None) -> Usage | None:
    """Usage of an Anthropic or a Nova body; cache counters that it leaves out are taken from the headers."""
    if not _tells_input(usage):
        return seen
    split = usage.get("cache_creation")
    read = _count(usage, "cache_read_input_tokens", "cacheReadInputTokenCount", "cacheReadInputTokens")
    written = _count(usage, "cache_creation_input_tokens", "cacheWriteInputTokenCount", "cacheWriteInputTokens")
    if not read and not written and seen:
        read, written = seen.cache_read_tokens, seen.cache_write_tokens
    return Usage(
        input_tokens=_count(usage, "input_tokens", "inputTokens"),
        output_tokens=_count(usage, "output_tokens", "outputTokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=_count(split, "ephemeral_1h_input_tokens") if isinstance(split, Mapping) else None,
    )


def _tells_input(usage: Mapping[str, Any]) -> bool:
    return "input_tokens" in usage or "inputTokens" in usage


def _header_usage(headers: Mapping[str, str]) -> Usage | None:
    found = {name: headers.get(f"x-amzn-bedrock-{name}-token-count") for name in _HEADER_COUNTS}
    if found["input"] is None:
        return None
    counts = {name: int(value) if value and value.isdigit() else 0 for name, value in found.items()}
    return Usage(counts["input"], counts["output"], counts["cache-read-input"], counts["cache-write-input"])


_HEADER_COUNTS = ("input", "output", "cache-read-input", "cache-write-input")


def _count(row: Mapping[str, Any], *names: str) -> int:
    value = next((row[name] for name in names if row.get(name) is not None), 0)
    return value if isinstance(value, int) and value >= 0 else 0


def _request_id(response: Mapping[str, Any]) -> str:
    return str((response.get("ResponseMetadata") or {}).get("RequestId", ""))


# -- errors -------------------------------------------------------------------------------------------------------

# Before the request left: nothing can have been billed. Everything else without an answer may have been.
_NOT_SENT = (boto.ConnectTimeoutError, boto.EndpointConnectionError, boto.ProxyConnectionError, boto.SSLError)
_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.NoAuthTokenError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.InvalidEndpointConfigurationError,
)


def _translate(error: Exception, prefix: Prefix) -> KeepwarmError:
    if isinstance(error, boto.ClientError):
        return _translate_response(error, prefix)
    message = _without_prompt(str(error), prefix)
    if isinstance(error, _CREDENTIALS):
        return CredentialsRejected(message, hint=_HINTS[CredentialsRejected])
    if isinstance(error, boto.ParamValidationError):
        return RequestRefused(message, hint=_HINTS[RequestRefused])
    if isinstance(error, _NOT_SENT):
        return Unavailable(message, hint="check the network, DNS and certificates on the way to Bedrock")
    return Unavailable(message, maybe_billed=True)


def _translate_response(error: boto.ClientError, prefix: Prefix) -> KeepwarmError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = str(error.response.get("Error", {}).get("Message", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind = _ERRORS.get(code) or _by_status(status)
    if error.operation_name not in {"Converse", "InvokeModel"}:  # credentials that were renewed on the way
        kind = CredentialsRejected
    return kind(f"{code}: {_without_prompt(message, prefix)}", hint=_HINTS[kind])


def _by_status(status: int) -> type[KeepwarmError]:
    """Also for answers of proxies and gateways on the way, which know none of Bedrock's codes."""
    if status >= 500:
        return Unavailable
    return _STATUSES.get(status, RequestRefused)


_STATUSES = {401: CredentialsRejected, 403: AccessDenied, 407: CredentialsRejected, 408: Unavailable, 429: Throttled}


def _without_prompt(message: str, prefix: Prefix) -> str:
    """The message, or a note in its place when it quotes the prompt."""
    message = " ".join(message.split())[:_MAX_MESSAGE]
    pieces = {message[start : start + _QUOTE] for start in range(max(1, len(message) - _QUOTE + 1))}
    for text, is_prompt in _texts(prefix.ping_request):
        whole = is_prompt and _SHORT_QUOTE <= len(text) < _QUOTE and text in message
        if whole or (len(text) >= _QUOTE and any(piece in text for piece in pieces if len(piece) == _QUOTE)):
            return "(the message is withheld because it quotes the prompt)"
    return message


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, bool]]:
    """Every text of a request, white space folded like that of the message, and whether it is shown to the model."""
    if isinstance(value, bytes):
        try:
            yield from _texts(json.loads(value))
        except ValueError:
            return  # an image or a document
    elif isinstance(value, str):
        yield " ".join(value.split()), key in {"text", "content", "system", "description"}
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, name)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, key)
