"""Tells keepwarm of the calls that an application makes: one line for each client.

    keepwarm.reporter.install(client)

Where keepwarm chooses the ttl, it tells it: `ttl`, `cache_control` and `cache_point`; and `closed` ends its pinging.

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

__all__ = [
    "Limits",
    "Stats",
    "cache_control",
    "cache_point",
    "closed",
    "flush",
    "httpx_hook",
    "install",
    "litellm_callback",
    "stats",
    "ttl",
    "uninstall",
]

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


def ttl(prefix: str, default: str = "5m", url: str | None = None, *, token: str | None = None) -> str:
    """What all cache points of the next request of a prefix should ask for: `5m` or `1h`; never waits.

    The first call learns the answer in the background and keeps it fresh from then on.

    Args:
        prefix: its name in keepwarm's registry.
        default: what counts while the daemon's answer is not known: at first, and when it cannot be asked for a minute.
        url: of the daemon; that of `install` where there is only one.
        token: what the daemon asks for; that of `install` where it was given there.

    Raises:
        ValueError: the url is not one of http or https.
    """
    return _known_sender(url, token).ttl(prefix) or default


def cache_control(
    prefix: str, default: str = "5m", url: str | None = None, *, token: str | None = None
) -> dict[str, str]:
    """The marker inside a block of an InvokeModel body, under the key `cache_control`; as `ttl`."""
    return {"type": "ephemeral", "ttl": ttl(prefix, default, url, token=token)}


def cache_point(
    prefix: str, default: str = "5m", url: str | None = None, *, token: str | None = None
) -> dict[str, dict[str, str]]:
    """The cache point of a Converse request, an element behind the block it marks; as `ttl`."""
    return {"cachePoint": {"type": "default", "ttl": ttl(prefix, default, url, token=token)}}


def closed(prefix: str, reason: str = "", url: str | None = None, *, token: str | None = None) -> None:
    """Tell that no more requests of a prefix come, so that pinging ends until the next one; never waits.

    Args:
        prefix: its name in keepwarm's registry.
        reason: for keepwarm's log and ledger, up to 255 printable characters.
        url: as for `ttl`, and so is token.
        token: what the daemon asks for.

    Raises:
        ValueError: the url is not one of http or https.
    """
    _known_sender(url, token).close(prefix, reason)


def stats(url: str | None = None) -> Stats:
    """What became of the calls so far: those for one url, or all."""
    return add_up([sender.stats() for sender in _senders_of(url)])


def flush(timeout_seconds: float = 1.0, url: str | None = None) -> bool:
    """Send what waits, for one url or all, and tell whether all of it went out in time; blocks at most so long."""
    return flush_senders(_senders_of(url), timeout_seconds)


def _senders_of(url: str | None) -> list[Sender]:
    with _lock:
        return [sender for (own, _, _), sender in _senders.items() if url in {own, None}]


def _known_sender(url: str | None, token: str | None) -> Sender:
    """The sender of this url that is there already, without a url the only one; else a new one."""
    with _lock:
        known = [
            sender
            for (own, own_token, _), sender in _senders.items()
            if url in {own, None} and token in {own_token, None}
        ]
    return known[0] if len(known) == 1 or (known and url) else _sender(url or DEFAULT_URL, token, _DEFAULT_LIMITS)


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
