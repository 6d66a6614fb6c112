"""Tells keepwarm of the calls that an application makes: one line for each client.

    keepwarm.reporter.install(client)

It sends no prompt text, only digests, and never slows, breaks or changes a call: what goes wrong is counted in
`stats()`. It needs nothing but the standard library and the client that it hooks.
"""

from __future__ import annotations

import threading
import weakref
from types import ModuleType
from typing import Any

from keepwarm.reporter import for_botocore, for_httpx, for_litellm
from keepwarm.reporter.delivery import Destination
from keepwarm.reporter.sender import Limits, Sender, flush_senders
from keepwarm.reporter.tally import Stats, add_up

__all__ = ["Limits", "Stats", "flush", "httpx_hook", "install", "litellm_callback", "stats", "uninstall"]

DEFAULT_URL = "http://127.0.0.1:8378"

_DEFAULT_LIMITS = Limits()
_lock = threading.Lock()
_senders: dict[tuple[str, str | None, Limits], Sender] = {}
_installed: weakref.WeakKeyDictionary[Any, tuple[ModuleType, Any]] = weakref.WeakKeyDictionary()


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
    target, room = _target(client)
    sender = _sender(url, token, limits)
    region = getattr(getattr(target, "meta", None), "region_name", None) or getattr(client, "aws_region", None) or ""
    with _lock:
        _remove(target)
        _installed[target] = room, room.install(target, sender, region)


def uninstall(client: Any) -> None:
    """Report no further call of this client; one that was never installed is left alone."""
    target, _ = _target(client)
    with _lock:
        _remove(target)


def httpx_hook(
    url: str = DEFAULT_URL, *, token: str | None = None, region: str = "", limits: Limits = _DEFAULT_LIMITS
) -> dict[str, list[for_httpx.Hook]]:
    """The `event_hooks` of an httpx client that signs for itself: `httpx.Client(event_hooks=httpx_hook())`.

    Args:
        url: as for `install`, and so are token and limits.
        token: what the daemon asks for.
        region: of calls whose signature and host tell none.
        limits: how much may wait.
    """
    return for_httpx.make_hooks(_sender(url, token, limits), region)


def litellm_callback(url: str = DEFAULT_URL, *, token: str | None = None, limits: Limits = _DEFAULT_LIMITS) -> Any:
    """A callback for LiteLLM: `litellm.callbacks = [litellm_callback()]`.

    Raises:
        ImportError: litellm is not installed.
    """
    return for_litellm.make_callback(_sender(url, token, limits))


def stats(url: str | None = None) -> Stats:
    """What became of the calls so far: those for one url, or all."""
    return add_up([sender.stats() for sender in _senders_of(url)])


def flush(timeout_seconds: float = 1.0, url: str | None = None) -> bool:
    """Send what waits, for one url or all, and tell whether all of it went out in time; blocks at most so long."""
    return flush_senders(_senders_of(url), timeout_seconds)


def _senders_of(url: str | None) -> list[Sender]:
    with _lock:
        return [sender for (own, _, _), sender in _senders.items() if url in {own, None}]


def _sender(url: str, token: str | None, limits: Limits) -> Sender:
    with _lock:
        key = (url, token, limits)
        if key not in _senders:
            _senders[key] = Sender(Destination(url, token, limits.timeout_seconds), limits)
        return _senders[key]


def _remove(target: Any) -> None:
    room, hooks = _installed.pop(target, (None, None))
    if room is not None:
        room.uninstall(target, hooks)


def _target(client: Any) -> tuple[Any, ModuleType]:
    """What bears the hooks: the client, or the one inside it."""
    for candidate in (client, getattr(client, "_client", None), getattr(client, "client", None)):
        model = getattr(getattr(candidate, "meta", None), "service_model", None)
        if getattr(model, "service_name", "") == for_botocore.SERVICE:
            return candidate, for_botocore
        if hasattr(candidate, "event_hooks"):
            return candidate, for_httpx
    raise TypeError(f"{type(client).__name__} is no bedrock-runtime client that keepwarm.reporter knows")
