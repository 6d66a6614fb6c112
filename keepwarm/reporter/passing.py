"""Looks at an answer while the application reads it, and keeps of it what tells the usage.

It never reads ahead and never keeps the application from anything: the very stream object stays in place and only its
class is exchanged for a subclass that also looks. Works for botocore's StreamingBody and EventStream and for the byte
streams of httpx alike.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Protocol

from keepwarm.reporter.calls import Call
from keepwarm.reporter.tally import Tally

MAX_ANSWER_BYTES = 4_000_000

_KEY = "_keepwarm_passing"
_KINDS: dict[tuple[type, tuple[str, ...]], type] = {}
_ITERATED = ("__iter__", "__aiter__", "close", "aclose")
_READ = ("read", "readinto", "close")
_LAST_EVENTS = 4  # of the events that end a stream, the last two tell counts
_PRELUDE_BYTES = 12  # two lengths and a checksum; another checksum ends the frame
_CHECKSUM_BYTES = 4


class Gatherer(Protocol):
    """What is kept of the pieces that pass."""

    def add(self, piece: Any) -> None:
        """Look at one piece."""

    def kept(self) -> tuple[bytes | Mapping[str, Any], ...]:
        """What may tell the usage."""


class BodyBytes:
    """Keeps a whole body, unless it is very long."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """Look at some bytes."""
        self._size += len(piece)
        if self._size <= MAX_ANSWER_BYTES:
            self._chunks.append(piece)
        else:
            self._chunks.clear()

    def kept(self) -> tuple[bytes, ...]:
        """The body, if all of it was read."""
        return (b"".join(self._chunks),) if self._chunks else ()


class Events:
    """Keeps the first and the last events of a stream that botocore has parsed."""

    def __init__(self) -> None:
        self._first: bytes | Mapping[str, Any] | None = None
        self._last: deque[bytes | Mapping[str, Any]] = deque(maxlen=_LAST_EVENTS)

    def add(self, piece: Mapping[str, Any]) -> None:
        """Look at one event; of a Converse stream only its metadata counts."""
        if "metadata" in piece:
            self._last.append({"usage": dict(piece["metadata"].get("usage") or {})})
        elif "chunk" in piece:
            self._keep(piece["chunk"]["bytes"])

    def _keep(self, payload: bytes) -> None:
        if self._first is None:
            self._first = payload
        else:
            self._last.append(payload)

    def kept(self) -> tuple[bytes | Mapping[str, Any], ...]:
        """First and last events."""
        return (*(() if self._first is None else (self._first,)), *self._last)


class Frames(Events):
    """Keeps the same of the bytes of an event stream (`application/vnd.amazon.eventstream`)."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""

    def add(self, piece: bytes) -> None:  # type: ignore[override]
        """Look at some bytes; frames may be cut anywhere."""
        rest = self._rest + piece if self._rest else piece
        at = 0
        while len(rest) - at >= _PRELUDE_BYTES:
            length = int.from_bytes(rest[at : at + 4])
            head = _PRELUDE_BYTES + int.from_bytes(rest[at + 4 : at + 8])
            if not head + _CHECKSUM_BYTES <= length <= MAX_ANSWER_BYTES:
                raise ValueError("this is no event stream")
            if len(rest) - at < length:
                break
            self._keep(rest[at + head : at + length - _CHECKSUM_BYTES])
            at += length
        self._rest = rest[at:]


class Passing:
    """A call whose answer is still being read; handed over once, when the answer has passed or was given up."""

    def __init__(self, call: Call, gatherer: Gatherer, deliver: Callable[[Call], None], tally: Tally) -> None:
        self._call: Call | None = call
        self._gatherer = gatherer
        self._deliver = deliver
        self._tally = tally

    def saw(self, piece: Any) -> None:
        """A piece has been read and is about to reach the application."""
        if self._call is not None:
            with self._tally:
                self._gatherer.add(piece)

    def conclude(self) -> None:
        """Nothing more will pass."""
        call, self._call = self._call, None
        if call is not None:
            with self._tally:
                call.pieces = self._gatherer.kept()
            self._deliver(call)


def watch_events(stream: Any, passing: Passing) -> None:
    """Look at what is iterated over, synchronously or not."""
    _watch(stream, _watched(type(stream), _ITERATED), passing)


def watch_body(stream: Any, passing: Passing) -> None:
    """Look at what is read from a file-like body."""
    _watch(stream, _watched(type(stream), _READ), passing)


def _watch(stream: Any, kind: type, passing: Passing) -> None:
    vars(stream)[_KEY] = passing
    stream.__class__ = kind
    # Who neither reads to the end nor closes, drops the stream one day.
    weakref.finalize(stream, passing.conclude)


def _watched(kind: type, names: tuple[str, ...]) -> type:
    """A subclass that looks the same and looks on."""
    if (kind, names) not in _KINDS:
        methods = {name: _WRAPPERS[name](getattr(kind, name)) for name in names if hasattr(kind, name)}
        namespace = {"__module__": kind.__module__, "__doc__": kind.__doc__, **methods}
        _KINDS[kind, names] = type(kind.__name__, (kind,), namespace)
    return _KINDS[kind, names]


def _iterating(original: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    def __iter__(self: Any) -> Iterator[Any]:  # noqa: N807 - it becomes a method
        passing: Passing = vars(self)[_KEY]
        try:
            for piece in original(self):
                passing.saw(piece)
                yield piece
        except GeneratorExit:
            raise  # the application paused, and may go on with another iterator
        except BaseException:
            passing.conclude()
            raise
        passing.conclude()

    return __iter__


def _iterating_later(original: Callable[[Any], AsyncIterator[Any]]) -> Callable[[Any], AsyncIterator[Any]]:
    async def __aiter__(self: Any) -> AsyncIterator[Any]:  # noqa: N807 - it becomes a method
        passing: Passing = vars(self)[_KEY]
        try:
            async for piece in original(self):
                passing.saw(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException:
            passing.conclude()
            raise
        passing.conclude()

    return __aiter__


def _reading(original: Callable[..., bytes]) -> Callable[..., bytes]:
    def read(self: Any, *args: Any, **named: Any) -> bytes:
        chunk = original(self, *args, **named)
        passing: Passing = vars(self)[_KEY]
        passing.saw(chunk)
        amount = args[0] if args else named.get("amt")
        if amount is None or (amount and not chunk):
            passing.conclude()
        return chunk

    return read


def _reading_into(original: Callable[[Any, Any], int]) -> Callable[[Any, Any], int]:
    def readinto(self: Any, b: Any) -> int:
        count = original(self, b)
        passing: Passing = vars(self)[_KEY]
        if count:
            passing.saw(bytes(memoryview(b)[:count]))
        else:
            passing.conclude()
        return count

    return readinto


def _closing(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def close(self: Any) -> None:
        try:
            original(self)
        finally:
            vars(self)[_KEY].conclude()

    return close


def _closing_later(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def aclose(self: Any) -> None:
        try:
            await original(self)
        finally:
            vars(self)[_KEY].conclude()

    return aclose


_WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "__iter__": _iterating,
    "__aiter__": _iterating_later,
    "read": _reading,
    "readinto": _reading_into,
    "close": _closing,
    "aclose": _closing_later,
}
