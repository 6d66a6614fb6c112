"""Posts one batch of touches to the daemon and says in one word what became of it.

It never tries again, never waits longer than its timeout, and follows neither redirects nor proxies: what carries a
token goes where it was told to go.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATH = "/v1/touches"

_RETRYABLE = frozenset({408, 425, 429})
_MAX_ANSWER_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a batch.

    Attributes:
        taken: whether the daemon has it.
        again: whether trying later may help.
        kind: of the failure, such as `http_500` or the name of an error; empty when taken.
        refused: touches that the daemon did not want, by its reason.
    """

    taken: bool
    again: bool = False
    kind: str = ""
    refused: Mapping[str, int] = field(default_factory=dict)


class Destination:
    """Where batches go.

    Args:
        url: of the daemon, with http or https.
        token: sent as a bearer token; None for a daemon that wants none.
        timeout_seconds: for connecting, and for each wait on the answer.
    """

    def __init__(self, url: str, token: str | None, timeout_seconds: float) -> None:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise ValueError(f"the daemon's url must look like http://127.0.0.1:8378, not {url!r}")
        self._url = url.rstrip("/") + PATH
        self._headers = {"Content-Type": "application/json", "User-Agent": "keepwarm-reporter"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout_seconds = timeout_seconds
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    def post(self, touches: list[bytes]) -> Delivery:
        """Post these touches, each one JSON object."""
        body = b'{"touches":[' + b",".join(touches) + b"]}"
        request = urllib.request.Request(self._url, body, self._headers)  # noqa: S310 - the scheme was checked
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as answer:
                return _read(answer.read(_MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            error.close()
            return Delivery(False, error.code >= 500 or error.code in _RETRYABLE, f"http_{error.code}")
        except urllib.error.URLError as error:
            return Delivery(False, True, type(error.reason).__name__)
        except (OSError, http.client.HTTPException) as error:
            return Delivery(False, True, type(error).__name__)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other refusal."""

    def redirect_request(self, *_: Any) -> None:
        """Go nowhere."""


def _read(body: bytes) -> Delivery:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return Delivery(False, False, "not_a_daemon")
    rows = answer.get("refused")
    reasons = [str(row.get("reason")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return Delivery(True, refused=Counter(reasons))
