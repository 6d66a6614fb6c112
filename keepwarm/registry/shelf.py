"""Keeps the requests of pings on disk while nobody sends them: prompts are large, and sent once in minutes.

It knows no prefix. What it writes has no name in any folder, is readable by this process only, and is gone with it.
Where no temporary file can be had, such as on a read-only root without a /tmp, requests stay in memory.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
from collections.abc import ItemsView, Iterator, Mapping
from pathlib import Path


class Shelf:
    """One unnamed file of requests; it goes when the last of them does. Requests are put by one thread at a time."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._end = 0

    @property
    def size(self) -> int:
        """Bytes on disk, also of requests that nobody has any more."""
        return self._end

    def put(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """The request, read from disk whenever it is looked at; the same as it is where there is no room on disk."""
        data = pickle.dumps(dict(request), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            if self._descriptor is None:
                self._descriptor = _unnamed_file()
                # Not `__del__`: when the interpreter ends, the module `os` may be gone before this is.
                weakref.finalize(self, os.close, self._descriptor).atexit = False
            written = os.pwrite(self._descriptor, data, self._end)
        except OSError:
            return request
        if written < len(data):  # the disk is full
            return request
        self._end += len(data)
        return _Shelved(self, self._end - len(data), len(data))

    def take(self, offset: int, length: int) -> dict[str, object]:
        """What lies at a place.

        Raises:
            OSError: it cannot be read, or is damaged.
        """
        if self._descriptor is None:
            raise OSError("nothing was put here")
        data = os.pread(self._descriptor, length, offset)
        try:
            found: dict[str, object] = pickle.loads(data)  # noqa: S301 - written by this process, where nobody else can
        except (pickle.UnpicklingError, EOFError, ValueError) as error:
            raise OSError(f"a request kept on disk is damaged ({type(error).__name__})") from None
        return found


class _Shelved(Mapping[str, object]):
    """A request on a shelf; it never shows its text by itself."""

    __slots__ = ("_length", "_offset", "_shelf")

    def __init__(self, shelf: Shelf, offset: int, length: int) -> None:
        self._shelf = shelf
        self._offset = offset
        self._length = length

    def __getitem__(self, key: str) -> object:
        return self._whole()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def items(self) -> ItemsView[str, object]:
        """All of it in one reading."""
        return self._whole().items()

    def _whole(self) -> dict[str, object]:
        return self._shelf.take(self._offset, self._length)


def _unnamed_file() -> int:
    descriptor, name = tempfile.mkstemp(prefix="keepwarm-")
    Path(name).unlink()
    return descriptor
