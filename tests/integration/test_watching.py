"""A running daemon and the files of its registry, changed in every way that people and machines change files."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from keepwarm.clock import utc_now
from keepwarm.daemon import Daemon, build
from keepwarm.emulator import Emulator
from keepwarm.model import Event
from keepwarm.registry import Files
from keepwarm.settings import Settings
from keepwarm.watching import LOOK_EVERY, Watcher, places_of
from tests.builders import shipped_catalog
from tests.daemons import TIME_SCALE, pings, soon, was_written, write_registry

LONG = {"policy": "busy_hours", "lifetime": "60s", "margin": "5s"}
SHORT = {"policy": "busy_hours"}


class House:
    """A daemon with its registry in a folder of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.registry = place / "registry" / "registry.yaml"
        self.registry.parent.mkdir()
        self.events: list[Event] = []

    def write(self, *names: str, path: Path | None = None, **more: object) -> None:
        write_registry(path or self.registry, *names, **{"defaults": LONG} | more)

    def told(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]

    @contextmanager
    def running(self, **changes: object) -> Iterator[Daemon]:
        chosen = {"registry": self.registry, "state_dir": self.place / "state", "listen": "off"}
        with ExitStack() as stack:
            daemon = stack.enter_context(build(Settings(**chosen | changes), observers=[self.events.append]))
            thread = threading.Thread(target=daemon.run)
            thread.start()
            stack.callback(thread.join, 20)
            stack.callback(daemon.stop)
            assert soon(lambda: daemon.leading and len(self.told("prefix_warmed")) == len(daemon.prefixes))
            yield daemon


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, seed=7) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield emulator


def moments(daemon: Daemon) -> dict[str, object]:
    return {name: daemon._scheduler.moment(name) for name in daemon.parts.keeper.names}  # noqa: SLF001


# -- ways to change a file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["auto", "poll"])
def test_a_registry_rewritten_in_place_is_applied_and_what_stays_keeps_its_moment_and_state(house, emulator, how):
    house.write("stays", "goes")
    with house.running(watch=how) as daemon:
        assert soon(lambda: all(moments(daemon).values()))
        before, state = moments(daemon)["stays"], daemon.parts.keeper.state("stays")
        house.write("comes", "stays")  # in another line, too
        assert soon(lambda: pings(emulator, "comes"))
        assert soon(lambda: house.told("registry_reloaded"))
        assert moments(daemon)["stays"] == before
        assert daemon.parts.keeper.state("stays") == state
        assert moments(daemon).keys() == {"comes", "stays"}
        assert daemon.registry_status.generation == 1 + len(house.told("registry_reloaded"))
    told = house.told("registry_reloaded")[-1].fields
    assert told == {"prefixes": 2, "added": ["comes"], "removed": ["goes"], "changed": [], "unchanged": 1}
    assert [len(pings(emulator, name)) for name in ("stays", "goes", "comes")] == [1, 1, 1]


def test_a_file_moved_over_the_registry_is_applied_each_time_it_happens(house, emulator):
    house.write("a")
    with house.running() as daemon:
        for name in "bcd":
            fresh = house.registry.with_name("registry.new")
            house.write("a", name, path=fresh)
            fresh.replace(house.registry)
            assert soon(lambda name=name: pings(emulator, name))
        assert soon(lambda: daemon.registry_status.generation == 4)
    assert len(pings(emulator, "a")) == 1


def test_a_mounted_configmap_is_applied_when_its_symlink_is_swapped(house, emulator):
    mount = house.registry.parent

    def publish(version: str, *names: str) -> None:
        folder = mount / f"..{version}"
        folder.mkdir()
        house.write(*names, path=folder / "registry.yaml")
        (mount / "..data_tmp").symlink_to(folder.name)
        (mount / "..data_tmp").replace(mount / "..data")
        for name in ("registry.yaml", *(f"{name}.md" for name in names)):
            if not (mount / name).is_symlink():
                (mount / name).symlink_to(f"..data/{name}")

    publish("2026_01", "a")
    with house.running():
        for number, name in enumerate("bcd", 2):
            publish(f"2026_0{number}", "a", name)
            assert soon(lambda name=name: pings(emulator, name))
    assert len(pings(emulator, "a")) == 1


def test_a_text_that_the_registry_names_starts_a_new_entry_when_it_is_edited(house, emulator):
    house.write("a", "b")
    with house.running() as daemon:
        before = {name: daemon.parts.keeper.prefix(name).fingerprint for name in "ab"}
        (house.registry.parent / "a.md").write_text("another text " * 2_000)
        assert soon(lambda: len(pings(emulator, "a")) == 2)
        assert daemon.parts.keeper.prefix("a").fingerprint != before["a"]
        assert daemon.parts.keeper.prefix("b").fingerprint == before["b"]
        assert soon(lambda: house.told("registry_reloaded"))
        found = daemon.parts.ledger.recent(before.values())
        assert len(found[before["a"]]) == 1  # the old entry's history stays
    assert [was_written(request) for request in pings(emulator, "a")] == [True, True]
    assert len(pings(emulator, "b")) == 1
    assert house.told("registry_reloaded")[0].fields["changed"] == ["a"]


def test_a_renamed_prefix_stays_warm_under_its_new_name(house, emulator):
    house.write("old")
    with house.running() as daemon:
        house.registry.write_text(house.registry.read_text().replace('"name": "old"', '"name": "new"'))
        assert soon(lambda: daemon.parts.keeper.names == ("new",))
        assert soon(lambda: moments(daemon)["new"])
        assert daemon.parts.keeper.look("new").warm_until
    assert len(emulator.log) == 1
    assert house.told("registry_reloaded")[0].fields["changed"] == ["old -> new"]


def test_a_registry_that_is_a_symlink_to_a_file_elsewhere_is_watched_there(house, emulator):
    house.write("a")
    elsewhere = house.place / "elsewhere"
    house.registry.parent.rename(elsewhere)
    house.registry.parent.symlink_to(elsewhere)
    with house.running():
        house.write("a", "b", path=elsewhere / "registry.yaml")
        assert soon(lambda: pings(emulator, "b"))


# -- what is bad --------------------------------------------------------------------------------------------------


def test_a_bad_file_changes_nothing_is_told_once_and_a_good_one_after_it_is_applied(house, emulator):
    house.write("a", "b")
    with house.running() as daemon:
        assert soon(lambda: all(moments(daemon).values()))
        before = moments(daemon)
        house.registry.write_text(house.registry.read_text()[:-40])
        assert soon(lambda: house.told("registry_refused"))
        refused = daemon.registry_status
        assert refused.refused_at
        assert "registry.yaml" in refused.problems[0]
        assert refused.generation == 1
        assert moments(daemon) == before
        os.utime(house.registry)  # touched, and holds the same
        assert not soon(lambda: len(house.told("registry_refused")) > 1, 2 * LOOK_EVERY.total_seconds())
        house.write("a", "b", "c")
        assert soon(lambda: pings(emulator, "c"))
        assert soon(lambda: daemon.registry_status.generation == 2)
        assert daemon.registry_status.refused_at is None
        assert not daemon.registry_status.problems
        assert {name: moment for name, moment in moments(daemon).items() if name != "c"} == before


def test_a_registry_that_names_a_file_which_comes_later_is_applied_when_it_is_there(house, emulator):
    house.write("a")
    with house.running():
        house.write("a", "b", b={"system": {"file": "later/b.md"}})
        assert soon(lambda: house.told("registry_refused"))
        (house.registry.parent / "later").mkdir()
        (house.registry.parent / "later" / "b.md").write_text("a text " * 2_000)
        assert soon(lambda: pings(emulator, "b"))


def test_a_registry_that_is_deleted_changes_nothing_and_comes_back_as_it_was(house, emulator):
    house.write("a")
    kept = house.registry.read_bytes()
    with house.running() as daemon:
        assert soon(lambda: all(moments(daemon).values()))
        before = moments(daemon)
        house.registry.unlink()
        assert soon(lambda: house.told("registry_refused"))
        assert "cannot be read" in daemon.registry_status.problems[0]
        house.registry.write_bytes(kept)
        assert soon(lambda: daemon.registry_status.refused_at is None)
        assert moments(daemon) == before
    assert len(emulator.log) == 1
    assert house.told("registry_reloaded")[0].fields["unchanged"] == 1


def test_a_registry_rewritten_ten_times_a_second_never_stops_the_pings_and_its_last_state_is_applied(house, emulator):
    house.write("a", defaults=SHORT)
    pause = threading.Event()
    with house.running() as daemon:
        sent = len(pings(emulator, "a"))
        for number in range(60):
            document = json.loads(house.registry.read_text())
            document["prefixes"][0]["tags"] = {"number": str(number)}
            whole = json.dumps(document)
            with house.registry.open("w") as stream:  # in two strokes: it is read half written sometimes
                stream.write(whole[:200])
                stream.flush()
                pause.wait(0.01)
                stream.write(whole[200:])
            pause.wait(0.09)
        assert soon(lambda: dict(daemon.prefixes[0].tags).get("number") == "59")
        assert soon(lambda: daemon.registry_status.refused_at is None)
        assert soon(lambda: len(pings(emulator, "a")) >= sent + 2)
    assert [was_written(request) for request in pings(emulator, "a")].count(True) == 1
    assert len(house.told("registry_reloaded")) < 60  # grouped


def test_nothing_is_watched_where_the_setting_says_so(house, emulator):
    house.write("a")
    with house.running(watch="off") as daemon:
        house.write("a", "b")
        assert not soon(lambda: house.told("registry_reloaded"), LOOK_EVERY.total_seconds() + 0.5)
        daemon.reload()
        assert soon(lambda: pings(emulator, "b"))


# -- the room itself ----------------------------------------------------------------------------------------------


def watched(path: Path, how: str, changed: Callable[[], None], told: list[Event]) -> tuple[Watcher, Files]:
    files = Files()
    files.read(path)
    return Watcher(how, files, changed, utc_now, told.append), files


def test_where_the_system_cannot_tell_it_is_looked_at_instead(tmp_path, monkeypatch):
    path, told, changed = tmp_path / "file", [], threading.Event()
    path.write_text("1")
    folder = tmp_path / "closed"
    folder.mkdir()
    watcher, _ = watched(path, "auto", changed.set, told)

    def refuse(*_: object, **__: object) -> Iterator[object]:
        raise OSError("too many open files")

    monkeypatch.setattr("watchfiles.watch", refuse)
    with watcher.kept():
        assert soon(lambda: told)
        path.write_text("2")
        assert changed.wait(10)
    assert [event.name for event in told] == ["registry_watch_failed"]
    assert "inotify" in told[0].fields["hint"]


def test_a_change_between_reading_and_telling_is_not_missed(tmp_path):
    path, changed = tmp_path / "file", threading.Semaphore(0)
    path.write_text("1")
    watcher, _ = watched(path, "poll", changed.release, [])
    with watcher.kept():
        path.write_text("2")
        assert changed.acquire(timeout=10)
        files = Files()
        files.read(path)
        path.write_text("3")
        watcher.expect(files)
        assert changed.acquire(timeout=10)
        files = Files()
        files.read(path)
        watcher.expect(files)
        assert not changed.acquire(timeout=(LOOK_EVERY + timedelta(seconds=0.5)).total_seconds())


def test_every_symlink_on_the_way_to_a_file_is_a_place_where_it_may_change(tmp_path):
    real = tmp_path / "real"
    (real / "deep").mkdir(parents=True)
    (real / "deep" / "file").write_text("")
    (tmp_path / "link").symlink_to("real/deep")
    (tmp_path / "absolute").symlink_to(tmp_path / "link" / ".." / "deep" / "file")
    found = places_of([tmp_path / "absolute"])
    here = tmp_path.resolve()
    assert {str(here / "absolute"), str(here / "link"), str(here / "real/deep/file")} <= found.names
    assert {str(here), str(here / "real/deep")} <= found.folders


def test_a_way_that_ends_early_or_never_has_an_end(tmp_path):
    here = tmp_path.resolve()
    assert places_of([here / "not" / "yet" / "there"]).names == {str(here / "not")}
    (here / "round").symlink_to("round")
    assert str(here / "round") in places_of([here / "round"]).names


def test_a_file_is_changed_only_by_another_content(tmp_path):
    path, files = tmp_path / "file", Files()
    with pytest.raises(FileNotFoundError):
        files.read(path)
    assert not files.changed()
    path.write_text("1")
    assert files.changed()
    assert files.changed()  # until it is read anew
    files.forget()
    assert files.read(path) == b"1"
    os.utime(path, ns=(1, 1))
    assert not files.changed()
    path.write_text("2")
    os.utime(path, ns=(1, 1))
    assert files.changed(thorough=True)
    path.unlink()
    assert files.changed()
    assert files.paths == (path,)
