"""Everything that the daemon hears with, opened and closed together: the HTTP interface and the followers of AWS.

It judges nothing that it hears: a `Listener` does.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

from keepwarm.errors import ConfigError, Problem
from keepwarm.ledger import Ledger
from keepwarm.listener import Listener
from keepwarm.model import Event, Prefix
from keepwarm.settings import PREFIX, Settings
from keepwarm.traffic import Follower, Places, followers
from keepwarm.web import Access, Address, Offers, Server, make_app, parse_address

_LISTEN = f"{PREFIX}LISTEN"
_STOP_SECONDS = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Tell = Callable[[Event], None]


@contextmanager
def listening(
    settings: Settings,
    listener: Listener,
    ledger: Ledger,
    prefixes: Callable[[], Iterable[Prefix]],
    *,
    now: Callable[[], datetime],
    tell: Tell,
    offers: Offers,
) -> Iterator[Address | None]:
    """Hear of organic requests until the block ends.

    Args:
        prefixes: those of the registry as it is now.
        tell: called with what happens to the sources.
        offers: what is served besides touches.

    Yields:
        Where the HTTP interface listens; None when it does not.

    Raises:
        ConfigError: the address is none, cannot be bound although it was asked for, or wants a token that is missing.
    """
    places = Places(settings.traffic_log_group, settings.traffic_s3, settings.traffic_region, settings.traffic_poll)
    found = followers(places, ledger, prefixes, now=now, tell=tell)
    with ExitStack() as stack:
        address = _serve(stack, settings, listener, now, tell, offers)
        stack.enter_context(_following(found, listener, now, tell))
        yield address


def _serve(
    stack: ExitStack,
    settings: Settings,
    listener: Listener,
    now: Callable[[], datetime],
    tell: Tell,
    offers: Offers,
) -> Address | None:
    if settings.listen == "off":
        return None
    address = parse_address(settings.listen, _LISTEN)
    access = _access(settings, address)
    if not address.loopback and access.token is None and access.read_token is None:
        raise _problem(
            f"{settings.listen} can be reached from other machines, so it needs a token",
            f"set {PREFIX}TOKEN_FILE to a file that holds one, such as {secrets.token_urlsafe(24)}",
        )
    try:
        server = Server(make_app(listener.hear_batch, access, offers), address)
    except OSError as error:
        trouble = f"cannot listen on {address}: {error.strerror}"
        if "listen" in settings.model_fields_set:
            raise _problem(trouble, "choose a free port, or off") from None
        # Nobody asked for this port: another keepwarm of this machine has it, and pinging matters more than hearing.
        fields: dict[str, object] = {"error": trouble, "hint": f"set {_LISTEN} to a free port, or to off"}
        tell(Event("web_not_listening", now(), "warning", fields))
        return None
    stack.enter_context(server)
    if offers.stream:
        stack.callback(offers.stream.close)  # before the server stops: it waits for answers that have no end
    return server.address


def _access(settings: Settings, address: Address) -> Access:
    """Who may do what: on loopback only by its own names and those of the settings, elsewhere by any or only those."""
    return Access(
        token=settings.acting_token(),
        read_token=settings.reading_token(),
        hosts=settings.host_names | (_LOOPBACK if address.loopback else frozenset()),
        requests_per_minute=settings.http_requests_per_minute,
    )


@contextmanager
def _following(found: list[Follower], listener: Listener, now: Callable[[], datetime], tell: Tell) -> Iterator[None]:
    stop = threading.Event()

    def follow(follower: Follower) -> None:
        try:
            follower.run(stop, listener.hear)
        finally:
            if not stop.is_set():  # a bug: what a source may fail with, the follower handles itself
                fields: dict[str, object] = {
                    "source": follower.name,
                    "error_code": "follower_died",
                    "error": "its thread ended; nothing more is heard from this source",
                    "hint": "start keepwarm again, and report this as a bug",
                }
                tell(Event("traffic_source_failed", now(), "error", fields))

    threads = [threading.Thread(target=follow, args=(follower,), name=follower.name, daemon=True) for follower in found]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(_STOP_SECONDS)


def _problem(message: str, hint: str) -> ConfigError:
    return ConfigError([Problem("environment", 0, _LISTEN, message)], hint=hint)
