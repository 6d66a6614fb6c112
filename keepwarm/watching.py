"""Watches the files that a registry was read from, and says when they hold something else.

It reads no registry and applies nothing: whoever it calls does, and tells it what was read.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import watchfiles

from keepwarm.model import Event
from keepwarm.registry import Files

How = Literal["auto", "poll", "off"]

# The system tells of most changes at once; network file systems tell only of those made on this machine.
LOOK_EVERY = timedelta(seconds=2)
# What is written is left alone until it is quiet for so long, or has been written for so long.
_QUIET_MS, _PATIENCE_MS = 100, 1_000
_STOP_SECONDS = 5.0
# As the kernel's own bound on symlinks that lead to symlinks.
_MOST_LINKS = 40


class Watcher:
    """Calls `changed` once when files hold something else than what was read, and then waits to be told what was.

    Args:
        how: `auto` is told by the system, and looks besides; `poll` only looks; `off` does nothing.
        files: what was read last.
        changed: asks for another reading; called in the watcher's own thread.
        observe: called with every event.
    """

    def __init__(
        self,
        how: How,
        files: Files,
        changed: Callable[[], None],
        now: Callable[[], datetime],
        observe: Callable[[Event], None],
    ) -> None:
        self._how = how
        self._files = files
        self._changed = changed
        self._now = now
        self._observe = observe
        self._lock = threading.Lock()
        self._turn = threading.Event()  # there is something else to watch, or nothing any more
        self._stopped = False
        self._asked = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Watch in a thread of its own until the block ends."""
        if self._how == "off":
            yield
            return
        thread = threading.Thread(target=self._run, name="watching", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped = True
            self._turn.set()
            thread.join(_STOP_SECONDS)

    @property
    def waits(self) -> bool:
        """Whether another reading was asked for, and nobody has read since."""
        return self._asked

    def expect(self, files: Files) -> None:
        """These files were read, well or badly; from now on only what differs from them is told."""
        with self._lock:
            moved = places_of(files.paths) != places_of(self._files.paths)
            self._files, self._asked = files, False
        if moved:
            self._turn.set()

    # -- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped:
            self._turn.clear()
            places = places_of(self._files.paths)
            told = self._looks() if self._how == "poll" else self._changes(places)
            with contextlib.closing(told):
                for by_system in told:
                    self._look(thorough=by_system)
                    if by_system and places_of(self._files.paths) != places:
                        break

    def _changes(self, places: Places) -> Generator[bool, None, None]:
        """True whenever the system tells of a change, False after each while without one."""
        try:
            for found in watchfiles.watch(
                *sorted(places.folders),
                watch_filter=lambda _, path: path in places.names,
                debounce=_PATIENCE_MS,
                step=_QUIET_MS,
                stop_event=self._turn,
                rust_timeout=round(LOOK_EVERY.total_seconds() * 1000),
                yield_on_timeout=True,
                recursive=False,
            ):
                yield bool(found)
        except FileNotFoundError:  # a folder is gone since it was looked for; look again
            self._turn.wait(_QUIET_MS / 1000)
        except (OSError, RuntimeError) as error:  # no inotify instance left
            hint = f"it is looked at every {LOOK_EVERY.total_seconds():g} s instead; see fs.inotify.max_user_instances"
            fields: dict[str, object] = {"error": str(error), "hint": hint}
            self._observe(Event("registry_watch_failed", self._now(), "warning", fields))
            self._how = "poll"

    def _looks(self) -> Generator[bool, None, None]:
        while not self._turn.wait(LOOK_EVERY.total_seconds()):
            yield False

    def _look(self, *, thorough: bool) -> None:
        with self._lock:
            if self._asked or not self._files.changed(thorough=thorough):
                return
            self._asked = True
        if not thorough:  # nobody has waited for its writer yet
            self._turn.wait(_QUIET_MS / 1000)
        self._changed()


# -- places -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Places:
    """Where changes of files show.

    Attributes:
        folders: to be watched, none of them a symlink.
        names: in them: the files, and every symlink on the way to them.
    """

    folders: frozenset[str]
    names: frozenset[str]


def places_of(paths: Iterable[Path]) -> Places:
    """The folders in which a rename, a rewrite, or a symlink that is moved changes what these paths lead to."""
    links: dict[Path, str | None] = {}
    names = {name for path in paths for name in _way(path, links)}
    return Places(frozenset(str(name.parent) for name in names), frozenset(map(str, names)))


def _way(path: Path, links: dict[Path, str | None]) -> Iterator[Path]:
    """Every symlink on the way to a file, and the file; where the way ends early, the first name that is missing.

    Args:
        links: where symlinks lead to, None for what is none; filled on the way.
    """
    here, steps = Path(os.sep), list(reversed(path.absolute().parts[1:]))
    found = 0
    while steps and found < _MOST_LINKS:
        name = here / steps.pop()
        if name.name == "..":
            here = here.parent
        elif target := _target(name, links):
            yield name
            found += 1
            here = Path(os.sep) if target.startswith(os.sep) else here
            steps += [step for step in reversed(Path(target).parts) if step != os.sep]
        elif not steps or not name.is_dir():
            yield name
            return
        else:
            here = name


def _target(name: Path, links: dict[Path, str | None]) -> str | None:
    if name not in links:
        try:
            links[name] = os.readlink(name)  # noqa: PTH115 - as it is written
        except OSError:
            links[name] = None
    return links[name]
