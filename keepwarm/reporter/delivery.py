"""Posts one batch of touches to the daemon and says in one word what became of it; so for closings and ttls.

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
from urllib.parse import quote, urlsplit

PATH = "/v1/touches"

_RETRYABLE = frozenset({408, 425, 429})
_MAX_ANSWER_BYTES = 1_000_000
_LONGEST_AGE_SECONDS = 3600.0
_LONGEST_REASON = 64
_TTLS = frozenset({"5m", "1h"})


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


_NOT_A_DAEMON = Delivery(False, False, "not_a_daemon")


@dataclass(frozen=True, slots=True)
class ToldTtl:
    """What the daemon said that the cache points of a prefix should ask for.

    Attributes:
        max_age_seconds: when to ask again.
    """

    ttl: str
    max_age_seconds: float


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
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json", "User-Agent": "keepwarm-reporter"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout_seconds = timeout_seconds
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    def post(self, touches: list[bytes], dropped: int = 0) -> Delivery:
        """Post these touches, each one JSON object, and how many others were dropped since the last batch taken."""
        end = b'],"dropped":%d}' % dropped if dropped else b"]}"
        found = self._exchange(PATH, b'{"touches":[' + b",".join(touches) + end)
        return found if isinstance(found, Delivery) else _read(found)

    def close(self, prefix: str, closing: bytes) -> Delivery:
        """Tell that no more requests of a prefix come, in one JSON object."""
        found = self._exchange(f"/v1/prefixes/{quote(prefix, safe='')}/closed", closing)
        return found if isinstance(found, Delivery) else _read(found)

    def ask_ttl(self, prefix: str) -> ToldTtl | Delivery:
        """Ask what the cache points of a prefix should ask for; a `Delivery` says why that is not known."""
        found = self._exchange(f"/v1/prefixes/{quote(prefix, safe='')}/ttl", None)
        return found if isinstance(found, Delivery) else _read_ttl(found)

    def _exchange(self, path: str, body: bytes | None) -> bytes | Delivery:
        """The answer to a GET, or with a body to a POST; a `Delivery` when there is none."""
        request = urllib.request.Request(self._url + path, body, self._headers)  # noqa: S310 - the scheme was checked
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as answer:
                found: bytes = answer.read(_MAX_ANSWER_BYTES)
                return found
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
    answer = _object(body)
    if answer is None:
        return _NOT_A_DAEMON
    rows = answer.get("refused")
    refused = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return Delivery(True, refused=Counter(str(row.get("reason"))[:_LONGEST_REASON] for row in refused))


def _read_ttl(body: bytes) -> ToldTtl | Delivery:
    answer = _object(body) or {}
    ttl, age = answer.get("ttl"), answer.get("max_age_seconds")
    if not isinstance(ttl, str) or ttl not in _TTLS or not isinstance(age, int | float):
        return _NOT_A_DAEMON
    if not (age < 1 or age >= 1):  # json reads NaN
        return _NOT_A_DAEMON
    return ToldTtl(ttl, float(min(max(age, 1.0), _LONGEST_AGE_SECONDS)))


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
