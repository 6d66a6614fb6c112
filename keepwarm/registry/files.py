"""What one reading of a registry has read: each file by its content, so that a change is known, later or meanwhile.

It watches nothing (see `watching`) and knows the shape of no file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

# Clocks of file systems stand still for some milliseconds, those of others may be off by more.
_UNSURE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was when it was opened.

    Attributes:
        stamp: what changes with every write; None when it could not be opened.
        digest: of its content, or what kept it from being read.
        at_most: how many bytes were read at most.
    """

    stamp: tuple[int, ...] | None
    digest: bytes
    at_most: int


class Files:
    """The files of a reading, those that could not be read among them. Not safe to use from several threads at once."""

    def __init__(self) -> None:
        self._seen: dict[Path, _Seen] = {}
        self._torn = False

    @property
    def paths(self) -> Collection[Path]:
        """Every file that was asked for."""
        return tuple(self._seen)

    def read(self, path: Path, at_most: int = -1) -> bytes:
        """The content of a file, and remember it; also that it cannot be read.

        Args:
            at_most: bytes; -1 for all.

        Raises:
            OSError: it cannot be read, or is no file of a disk: a pipe or a device would hold us up for ever, and what
                the kernel makes up (`/proc/self/environ`) is nobody's prompt.
        """
        found, content = _look(path, at_most)
        before = self._seen.get(path)
        if before and before.at_most == at_most and before.digest != found.digest:
            self._torn = True  # what was made of the one would stand beside what is made of the other
        self._seen[path] = found
        if isinstance(content, OSError):
            raise content
        return content

    def keep(self, path: Path, before: Files, read_at: datetime) -> bool:
        """Whether a file is what another reading found in it; then it counts as read here, too.

        Its stamp tells, but for a file that was written just before it was read: the next write may have the same one.

        Args:
            read_at: when the other reading began.
        """
        seen = before._seen.get(path)
        if path not in self._seen and seen and seen.stamp and seen.stamp == _stamp_of(path):
            written_at = seen.stamp[-1] / 1e9
            if written_at < read_at.timestamp() - _UNSURE_SECONDS:
                self._seen[path] = seen
        return seen is not None and self._seen.get(path) == seen

    def changed(self, *, thorough: bool = False) -> bool:
        """Whether any file is now something else than what was read, or was two things while it was read.

        Args:
            thorough: read all of them, not only those that their stamp tells of: two writes within a few milliseconds
                may have the same one.
        """
        if self._torn:
            return True
        for path, seen in tuple(self._seen.items()):
            if not thorough and seen.stamp is not None and seen.stamp == _stamp_of(path):
                continue
            found, _ = _look(path, seen.at_most)
            if found.digest != seen.digest:
                return True
            self._seen[path] = found
        return False

    def forget(self) -> None:
        """Begin anew."""
        self._seen.clear()
        self._torn = False


def _look(path: Path, at_most: int) -> tuple[_Seen, bytes | OSError]:
    """A file as it is, and its content, or why it has none."""
    try:
        with _open(path) as stream:
            found = os.fstat(stream.fileno())  # before reading: what is written meanwhile moves it on
            stamp = _stamp(found)
            content: bytes | None = stream.read(at_most)
            if content is None or (content and not found.st_size):
                raise _no_file()
    except OSError as error:
        return _Seen(None, str(error.errno).encode(), at_most), error
    return _Seen(stamp, hashlib.sha256(content).digest(), at_most), content


def _open(path: Path) -> IO[Any]:  # which answers None where it would have to wait
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    stream = os.fdopen(descriptor, "rb")
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        stream.close()
        raise _no_file() if not stat.S_ISDIR(mode) else IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return stream


def _no_file() -> OSError:
    return OSError(errno.EINVAL, "is no regular file")


def _stamp_of(path: Path) -> tuple[int, ...] | None:
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
