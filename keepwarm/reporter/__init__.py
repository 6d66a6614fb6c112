"""Tells keepwarm of the calls that an application makes: one line for each client.

    keepwarm.reporter.install(client)

It sends no prompt text, only digests, and never slows, breaks or changes a call: what goes wrong is counted in
`stats()`. It needs nothing but the standard library and the client that it hooks.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from keepwarm.reporter import for_botocore, for_httpx, for_litellm
from keepwarm.reporter.delivery import Destination
from keepwarm.reporter.sender import Limits, Sender, all_senders, flush_all
from keepwarm.reporter.tally import Stats, add_up

__all__ = ["Limits", "Stats", "flush", "httpx_hook", "install", "litellm_callback", "stats", "uninstall"]

DEFAULT_URL = "http://127.0.0.1:8378"

_DEFAULT_LIMITS = Limits()
_lock = threading.Lock()
_senders: dict[tuple[str, str | None, Limits], Sender] = {}
_installed: weakref.WeakKeyDictionary[Any, Callable[[], None]] = weakref.WeakKeyDictionary()


def install(client: Any, url: str = DEFAULT_URL, *, token: str | None = None, limits: Limits = _DEFAULT_LIMITS) -> None:
    """Report the Bedrock calls of a client from now on; a client installed before reports to the new url only.

    Args:
        client: a boto3 or botocore `bedrock-runtime` client; an httpx client, or an SDK's client built on one
            (`AnthropicBedrock`, `AsyncAnthropicBedrock`); or an object that holds one of these as its `client`
            (`ChatBedrockConverse`).
        url: of the keepwarm daemon.
        token: what the daemon asks for; None for none.
        limits: how much may wait.

    Raises:
        TypeError: the client is none of these.
        ValueError: the url is not one of http or https.
    """
    target, kind = _target(client)
    sender = _sender(url, token, limits)
    with _lock:
        earlier = _installed.pop(target, None)
        if earlier is not None:
            earlier()
        _installed[target] = kind(target, sender)


def uninstall(client: Any) -> None:
    """Report no further call of this client; one that was never installed is left alone."""
    target, _ = _target(client)
    with _lock:
        remove = _installed.pop(target, None)
        if remove is not None:
            remove()


def httpx_hook(
    url: str = DEFAULT_URL, *, token: str | None = None, limits: Limits = _DEFAULT_LIMITS
) -> dict[str, list[for_httpx.Hook]]:
    """The `event_hooks` of an httpx client that signs for itself: `httpx.Client(event_hooks=httpx_hook())`."""
    return for_httpx.make_hooks(_sender(url, token, limits))


def litellm_callback(url: str = DEFAULT_URL, *, token: str | None = None, limits: Limits = _DEFAULT_LIMITS) -> Any:
    """A callback for LiteLLM: `litellm.callbacks = [litellm_callback()]`.

    Raises:
        ImportError: litellm is not installed.
    """
    return for_litellm.make_callback(_sender(url, token, limits))


def stats() -> Stats:
    """What became of the calls so far, over all destinations."""
    return add_up([sender.stats() for sender in all_senders()])


def flush(timeout_seconds: float = 1.0) -> bool:
    """Send what waits, and tell whether all of it went out in time; blocks at most so long."""
    return flush_all(timeout_seconds)


def _sender(url: str, token: str | None, limits: Limits) -> Sender:
    with _lock:
        key = (url, token, limits)
        if key not in _senders:
            _senders[key] = Sender(Destination(url, token, limits.timeout_seconds), limits)
        return _senders[key]


def _target(client: Any) -> tuple[Any, Callable[[Any, Sender], Callable[[], None]]]:
    """What bears the hooks: the client, or the one inside it."""
    for candidate in (client, getattr(client, "_client", None), getattr(client, "client", None)):
        meta = getattr(candidate, "meta", None)
        if hasattr(meta, "events") and getattr(meta.service_model, "service_name", "") == for_botocore.SERVICE:
            return candidate, for_botocore.install
        if hasattr(candidate, "event_hooks"):
            return candidate, for_httpx.install
    raise TypeError(f"{type(client).__name__} is no bedrock-runtime client that keepwarm.reporter knows")
