"""Files that appear whole or not at all: written beside their place, renamed onto it.

It knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType

from keepwarm.errors import ConfigError, Problem

_PRIVATE = 0o600


class Draft:
    """A file beside the one that it shall become; gone at the end of the `with` unless it was published.

    Attributes:
        target: where it shall stand.
        path: where it stands now.
    """

    def __init__(self, target: Path, content: bytes, *, private: bool = False) -> None:
        self.target = target
        self.path = target.parent / f".{target.stem}.{secrets.token_hex(4)}{target.suffix}"
        self._content = content
        self._private = private
        self._made: list[Path] = []

    def __enter__(self) -> Draft:
        """Write it.

        Raises:
            ConfigError: its directory cannot be written.
        """
        try:
            self._make_directory()
            with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode()), "wb") as file:
                file.write(self._content)
                file.flush()
                os.fsync(file.fileno())
            if not self._private and self.target.exists():
                shutil.copymode(self.target, self.path)
        except OSError as error:
            self._clear()
            raise _unwritable(self.target, error) from None
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._clear()

    def _mode(self) -> int:
        return _PRIVATE if self._private else 0o666

    def _make_directory(self) -> None:
        for directory in [*reversed(self.target.parent.parents), self.target.parent]:
            if not directory.exists():
                directory.mkdir()
                self._made.append(directory)

    def _clear(self) -> None:
        self.path.unlink(missing_ok=True)
        for directory in reversed(self._made):
            with contextlib.suppress(OSError):  # somebody has put something into it: the published file, as a rule
                directory.rmdir()


def publish(draft: Draft) -> None:
    """Let a draft take its place at once, also over what stands there; a link is followed.

    Raises:
        ConfigError: it cannot.
    """
    try:
        target = draft.target.resolve()
        if target.parent != draft.path.parent.resolve():
            with Draft(target, draft.path.read_bytes()) as nearer:
                nearer.path.chmod(draft.path.stat().st_mode & 0o777)
                nearer.path.replace(target)
        else:
            draft.path.replace(target)
    except OSError as error:
        raise _unwritable(draft.target, error) from None


def publish_new(draft: Draft, *, overwrite: bool) -> None:
    """Let a draft take its place, and refuse if somebody was faster.

    Raises:
        ConfigError: something stands there, or it cannot be written.
    """
    if overwrite:
        publish(draft)
        return
    try:
        os.link(draft.path, draft.target)
    except OSError as error:
        raise _unwritable(draft.target, error) from None


def _unwritable(path: Path, error: OSError) -> ConfigError:
    message = f"cannot be written: {error.strerror}"
    return ConfigError([Problem(str(path), 0, "", message)], hint="nothing was written")
