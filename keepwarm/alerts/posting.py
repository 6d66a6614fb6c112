"""Posts to an http(s) address that is a secret: no redirects, bounded in time, and never its URL in words.

It tries once; who wants to try again does so (see `sender`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from keepwarm import __version__
from keepwarm.errors import KeepwarmError, RequestRefused, Throttled, Unavailable

_PATIENCE = timedelta(seconds=10)
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429})


class Mailbox:
    """One address that takes posts; for one thread at a time.

    Args:
        url: http or https; it never shows in a repr, an error or a log.
        patience: how long a connection, and then each part of an answer, may take.
    """

    def __init__(self, url: str, patience: timedelta = _PATIENCE) -> None:
        self._url = url
        timeout = urllib3.Timeout(connect=patience.total_seconds(), read=patience.total_seconds())
        self._pool = _pool_for(url, timeout)

    def post(self, body: bytes, headers: Mapping[str, str], path: str = "") -> int:
        """Post once; `path` is put behind that of the URL.

        Returns:
            The status, 2xx.

        Raises:
            KeepwarmError: it was not taken; retryable where trying again may help.
        """
        parts = urlsplit(self._url)
        url = parts._replace(path=parts.path.rstrip("/") + path).geturl() if path else self._url
        try:
            answer = self._pool.request(
                "POST",
                url,
                body=body,
                headers={"User-Agent": f"keepwarm/{__version__}", **headers},
                redirect=False,
                retries=False,
                preload_content=False,
            )
        except (HTTPError, OSError, ValueError) as error:
            # Without the message of the library, which quotes the URL.
            raise Unavailable(f"no answer ({type(error).__name__})", hint="check its URL and the network") from None
        answer.close()
        _raise_for(answer.status)
        return answer.status

    def close(self) -> None:
        """Let connections go."""
        self._pool.clear()


def _pool_for(url: str, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, timeout=timeout, maxsize=1)
    return urllib3.PoolManager(timeout=timeout, maxsize=1)


def _raise_for(status: int) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise RequestRefused(f"HTTP {status}: redirects are not followed", hint="name the address it leads to")
    error: type[KeepwarmError] = RequestRefused
    if status == 429:
        error = Throttled
    elif status >= 500 or status in _WORTH_ANOTHER_TRY:
        error = Unavailable
    raise error(f"HTTP {status}", hint="check its URL and its secret")
