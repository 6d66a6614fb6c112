"""A callback for LiteLLM, which signs and sends Bedrock requests itself.

It does not import litellm before it is asked for, and alters nothing that LiteLLM hands it.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keepwarm import clock
from keepwarm.model import Usage
from keepwarm.reporter.calls import Call, is_call
from keepwarm.reporter.sender import Sender

MAX_OPEN_CALLS = 1_000


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt on its way."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    started_at: datetime
    ticked_at: float


class Notes:
    """The attempts that wait for their answers, by LiteLLM's id of the call; the last attempt counts."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Sent] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, call_id: str, sent: Sent) -> None:
        """Keep an attempt; calls that never end push one another out."""
        with self._lock:
            self._open.pop(call_id, None)
            self._open[call_id] = sent
            if len(self._open) > MAX_OPEN_CALLS:
                self._open.popitem(last=False)

    def take(self, call_id: str) -> Sent | None:
        """The attempt that was answered, once."""
        with self._lock:
            return self._open.pop(call_id, None)


def make_callback(sender: Sender) -> Any:
    """An instance of a subclass of LiteLLM's CustomLogger, for `litellm.callbacks`.

    Raises:
        ImportError: litellm is not installed.
    """
    from litellm.integrations.custom_logger import CustomLogger  # noqa: PLC0415 - no dependency of ours

    notes = Notes()
    tally = sender.tally

    class KeepwarmReporter(CustomLogger):  # type: ignore[misc]
        """Tells keepwarm of Bedrock calls."""

        def log_pre_api_call(self, model: str, messages: Any, kwargs: dict[str, Any]) -> None:  # noqa: ARG002
            with tally:
                sent = sent_of(kwargs.get("additional_args") or {})
                if sent is not None:
                    notes.note(kwargs["litellm_call_id"], sent)

        def log_success_event(
            self,
            kwargs: dict[str, Any],
            response_obj: Any,
            start_time: Any,  # noqa: ARG002 - LiteLLM names it
            end_time: Any,  # noqa: ARG002
        ) -> None:
            with tally:
                sent = notes.take(kwargs["litellm_call_id"])
                if sent is not None:
                    sender.offer(call_of(sent, kwargs, response_obj))

        async def async_log_success_event(
            self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            self.log_success_event(kwargs, response_obj, start_time, end_time)

    return KeepwarmReporter()


def sent_of(arguments: Mapping[str, Any]) -> Sent | None:
    """What LiteLLM says it sends; None when it does not go to Bedrock."""
    url, body = arguments.get("api_base"), arguments.get("complete_input_dict")
    if not isinstance(url, str) or not is_call(url) or not body:
        return None
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    headers = {str(name).lower(): str(value) for name, value in dict(arguments.get("headers") or {}).items()}
    return Sent(url, body, headers, clock.utc_now(), clock.monotonic_seconds())


def call_of(sent: Sent, kwargs: Mapping[str, Any], response: Any) -> Call:
    """The call behind an answer, whose usage LiteLLM has already read and, of a stream, put together."""
    began_at = kwargs.get("completion_start_time")
    elapsed = clock.monotonic_seconds() - sent.ticked_at
    if isinstance(began_at, datetime):
        elapsed = min(elapsed, max(0.0, (began_at.astimezone() - sent.started_at).total_seconds()))
    return Call(
        url=sent.url,
        region="",
        body=sent.body,
        started_at=sent.started_at,
        latency_ms=round(1000 * elapsed),
        request_id=_request_id(response),
        headers=sent.headers,
        usage=usage_of_litellm(getattr(response, "usage", None)),
    )


def usage_of_litellm(told: Any) -> Usage | None:
    """LiteLLM's usage, whose prompt tokens include what was read and written."""
    prompt = getattr(told, "prompt_tokens", None)
    if not isinstance(prompt, int):
        return None
    read = getattr(told, "cache_read_input_tokens", None) or 0
    written = getattr(told, "cache_creation_input_tokens", None) or 0
    return Usage(max(0, prompt - read - written), getattr(told, "completion_tokens", None) or 0, read, written)


def _request_id(response: Any) -> str:
    hidden = getattr(response, "_hidden_params", None) or {}
    headers = hidden.get("additional_headers") or {}
    return str(headers.get("llm_provider-x-amzn-requestid") or "")
